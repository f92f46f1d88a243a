/**
 * JavaScript tasks in this realm (spec/javascript.md): the prelude that every engine evaluates, on the browser's own.
 *
 * The first source makes the realm what tasks find, and for good: most of its globals are gone then, the intrinsics
 * replaced and frozen. What else runs in this Worker must hold what it needs of them beforehand.
 */

import type { Ended } from "./ended";
import { Refused } from "./ended";

/** Executes one chunk: its numbers, or null and its bytes. Never throws, and never twice in the same state. */
export type JsProgram = (args: readonly bigint[] | null, stdin: Uint8Array, seed: bigint) => Ended;

/** What every engine evaluates around a source (protocol/crowdcompute/protocol/javascript/), the same bytes everywhere. */
export interface JsParts {
  readonly prelude: string;
  readonly libm: Uint8Array;
}

interface Prelude {
  load(source: string): (...chunk: [...Parameters<JsProgram>, outputBytesMax: number]) => Ended;
}

let prelude: Prelude | null = null;

/**
 * Compile a task's source. `parts` count the first time only: a realm has one prelude.
 *
 * @throws Refused when it is none; the message says why.
 */
export async function prepareJs(source: string, parts: JsParts): Promise<JsProgram> {
  prelude ??= evaluatePrelude(parts);
  let program: ReturnType<Prelude["load"]>;
  try {
    program = prelude.load(source);
  } catch (error) {
    throw new Refused((error as Error).message);
  }
  // How large a result may be, whoever asks knows.
  return (args, stdin, seed) => program(args, stdin, seed, Infinity);
}

function evaluatePrelude(parts: JsParts): Prelude {
  const libm = new WebAssembly.Instance(new WebAssembly.Module(parts.libm as BufferSource)).exports;
  // As a property it evaluates in the global scope. By another name it would too, until a bundler puts `eval` back.
  return (globalThis.eval(parts.prelude) as (libm: WebAssembly.Exports) => Prelude)(libm);
}
