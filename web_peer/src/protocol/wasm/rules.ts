/**
 * What a module may be: every limit and every rule, by the name the specification gives it (spec/modules.md).
 *
 * Native nodes hold the same table. A number changed here changes there and in the specification, in one commit.
 */

import { ModuleRefused } from "../errors";

export const PAGE_BYTES = 65_536;

// Sources: spec/modules.md, "Limits".
export const MODULE_BYTES_MAX = 8 * 1024 * 1024;
export const BODY_BYTES_MAX = 256 * 1024;
export const INSTRUCTIONS_MAX = 120_000;
export const FUNCTIONS_MAX = 20_000;
export const TYPES_MAX = 10_000;
export const PARAMETERS_MAX = 255;
export const RESULTS_MAX = 16;
export const IMPORTS_MAX = 64;
export const EXPORTS_MAX = 256;
export const GLOBALS_MAX = 10_000;
export const SEGMENTS_MAX = 10_000;
export const ELEMENTS_MAX = 100_000;
export const LOCALS_MAX = 2_000;
export const BRANCH_TARGETS_MAX = 8_192;
export const NESTING_MAX = 512;
export const MEMORY_PAGES_MAX = 4_096;

/** The rule a refused module breaks, by the name that the vectors and native nodes use too. */
export type Rule =
  | "malformed"
  | "module-bytes"
  | "body-bytes"
  | "instructions"
  | "functions"
  | "types"
  | "parameters"
  | "results"
  | "imports"
  | "exports"
  | "globals"
  | "segments"
  | "elements"
  | "locals"
  | "branch-targets"
  | "nesting"
  | "memory"
  | "memory-pages"
  | "memory-maximum"
  | "table"
  | "table-maximum"
  | "feature"
  | "import"
  | "shape"
  | "custom-section"
  | "nan";

/** A module breaks `rule`. The message is one sentence that ends with the rule's name. */
export class RuleBroken extends ModuleRefused {
  readonly rule: Rule;

  constructor(rule: Rule, sentence: string) {
    super(`${sentence} (rule ${rule})`);
    this.rule = rule;
  }
}

/** Throw `RuleBroken` when there are more than `maximum` of something. */
export function checkCount(rule: Rule, count: number, maximum: number, what: string): void {
  if (count > maximum) throw new RuleBroken(rule, `the module has ${count} ${what}; at most ${maximum} are allowed`);
}
