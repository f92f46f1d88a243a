/** What a person reads when this tab has no peer: what happened, and what to do about it. */

const ADVICE = "Load the page again. If that does not help, try a current browser outside of private mode.";

/** The Worker's script did not come, which has no message, or broke off. */
export function notLoaded(message: string | undefined): string {
  const reason = message === undefined || message === "" ? "" : ` (${ended(message)})`;
  return `The peer of this tab could not be loaded${reason}. ${ADVICE}`;
}

/** Nothing was heard of it for so long. */
export function isSilent(seconds: number): string {
  return `The peer of this tab has not started for ${seconds} seconds. It may still come. ${ADVICE}`;
}

/** Starting ended with `error`. An error of our own is a sentence already; a browser's names only its kind. */
export function notStarted(error: unknown): string {
  if (!(error instanceof Error)) return `The peer of this tab could not start. ${ADVICE}`;
  if (error.constructor === Error) return error.message;
  return `The peer of this tab could not start (${error.name}: ${ended(error.message)}). ${ADVICE}`;
}

function ended(message: string): string {
  return message.replace(/\.$/, "");
}
