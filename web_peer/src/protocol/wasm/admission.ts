/** Decide whether a module may be compiled at all, before any compiler sees it (spec/modules.md, "Admission"). */

import { ModuleRefused } from "../errors";
import { ELEMENTS_MAX, MEMORY_PAGES_MAX, MODULE_BYTES_MAX, RuleBroken } from "./rules";
import type { Shape } from "./survey";
import { survey } from "./survey";

/** What admission found out about a module. */
export interface ModuleFacts {
  readonly shape: Shape;
  readonly imports: readonly string[];
  readonly memoryPagesMin: number;
  readonly memoryPagesMax: number;
  readonly functions: number;
  readonly bodyBytesMax: number;
  readonly sizeBytes: number;
}

/**
 * Check a rewritten module against every rule.
 *
 * Admission does not check types: an engine may still refuse what is admitted. It promises that compiling stays
 * affordable, that nothing outside the chunk can be reached, and that the same input gives the same bytes on every
 * engine, NaNs included.
 *
 * @throws ModuleRefused when the module breaks a rule; the message says which. Nothing else, whatever the bytes.
 */
export function admit(module: Uint8Array): ModuleFacts {
  try {
    return admitted(module);
  } catch (error) {
    if (error instanceof ModuleRefused) throw error;
    // A fault of ours must not let a module through, nor bring down who asked.
    throw new RuleBroken("malformed", `the module cannot be read: ${String(error)}`);
  }
}

function admitted(module: Uint8Array): ModuleFacts {
  if (module.length > MODULE_BYTES_MAX) {
    throw new RuleBroken(
      "module-bytes",
      `the module has ${module.length} bytes; at most ${MODULE_BYTES_MAX} are allowed`,
    );
  }
  const found = survey(module);
  const { memory, table } = found;
  if (memory.maximum === null || memory.maximum > MEMORY_PAGES_MAX) {
    throw new RuleBroken(
      "memory-maximum",
      `the memory has no maximum of at most ${MEMORY_PAGES_MAX} pages: rewrite it`,
    );
  }
  if (table !== null && (table.maximum === null || table.maximum > ELEMENTS_MAX)) {
    throw new RuleBroken("table-maximum", `the table has no maximum of at most ${ELEMENTS_MAX} elements: rewrite it`);
  }
  if (found.hasCustomSections) {
    throw new RuleBroken("custom-section", "the module carries a custom section: rewrite it");
  }
  const visible = found.bodies.findIndex((body) => body.showsNan);
  if (visible >= 0) {
    const index = found.imports.length + visible;
    throw new RuleBroken(
      "nan",
      `function ${index} lets the bits of a NaN be seen, which differ between engines: rewrite it`,
    );
  }
  return {
    shape: found.shape,
    imports: found.imports,
    memoryPagesMin: memory.minimum,
    memoryPagesMax: memory.maximum,
    functions: found.bodies.length,
    bodyBytesMax: found.bodies.reduce((largest, body) => Math.max(largest, body.sizeBytes), 0),
    sizeBytes: module.length,
  };
}
