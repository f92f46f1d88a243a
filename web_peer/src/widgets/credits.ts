/** `12.5 credits`, from millicredits. */
export function credits(millicredits: number): string {
  const amount = (millicredits / 1_000).toLocaleString("en");
  return `${amount} ${millicredits === 1_000 ? "credit" : "credits"}`;
}
