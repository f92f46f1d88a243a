/** Execute chunks of a JavaScript task (spec/javascript.md); how the source itself is run is javascript.ts. */

import { prepareJs, type JsParts } from "./javascript";
import type { Allowance, Execute } from "./ended";
import { NoResult, Refused, noResult, readNumbers } from "./ended";
import { Status } from "../protocol/events";

const UTF_8 = new TextDecoder("utf-8", { fatal: true });
const NO_BYTES = new Uint8Array(0);

/**
 * Evaluate a source.
 *
 * @throws Refused when it is not UTF-8, or cannot be evaluated.
 */
export async function prepareScript(
  code: Uint8Array,
  { outputBytes, numbers }: Allowance,
  parts: JsParts,
): Promise<Execute> {
  const call = await prepareJs(decoded(code), parts);
  return (data, seed) => {
    try {
      const ended = numbers ? call(readNumbers(data), NO_BYTES, seed) : call(null, data, seed);
      const isTooMuch = ended.status === Status.OK && ended.data.length > outputBytes;
      return isTooMuch ? noResult("output limit") : ended;
    } catch (error) {
      return noResult(error instanceof NoResult ? error.message : String(error));
    }
  };
}

function decoded(code: Uint8Array): string {
  try {
    return UTF_8.decode(code);
  } catch {
    throw new Refused("the source is not UTF-8");
  }
}
