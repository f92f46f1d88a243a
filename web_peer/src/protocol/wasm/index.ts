/** WebAssembly modules as bytes: which may be compiled. */

export { admit } from "./admission";
export type { ModuleFacts } from "./admission";
export { PAGE_BYTES, RuleBroken } from "./rules";
export type { Rule } from "./rules";
export type { Shape } from "./survey";
