/**
 * JavaScript tasks in this realm (spec/javascript.md): the prelude that every engine evaluates, on the browser's own.
 *
 * The first source makes the realm what tasks find, and for good: most of its globals are gone then, the intrinsics
 * replaced and frozen. What else runs in this Worker must hold what it needs of them beforehand.
 */

import libmUrl from "../../../protocol/crowdcompute/protocol/javascript/libm.wasm?url&inline";
import preludeText from "../../../protocol/crowdcompute/protocol/javascript/prelude.js?raw";

import type { Ended } from "./ended";
import { Refused } from "./ended";

/** Executes one chunk: its numbers, or null and its bytes. Never throws, and never twice in the same state. */
export type JsProgram = (args: readonly bigint[] | null, stdin: Uint8Array, seed: bigint) => Ended;

interface Prelude {
  load(source: string): (...chunk: [...Parameters<JsProgram>, outputBytesMax: number]) => Ended;
}

let prelude: Prelude | null = null;

/**
 * Compile a task's source.
 *
 * @throws Refused when it is none; the message says why.
 */
export async function prepareJs(source: string): Promise<JsProgram> {
  prelude ??= evaluatePrelude();
  let program: ReturnType<Prelude["load"]>;
  try {
    program = prelude.load(source);
  } catch (error) {
    throw new Refused((error as Error).message);
  }
  // How large a result may be, whoever asks knows.
  return (args, stdin, seed) => program(args, stdin, seed, Infinity);
}

function evaluatePrelude(): Prelude {
  const binary = atob(libmUrl.slice(libmUrl.indexOf(",") + 1));
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  const libm = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports;
  // As a property it evaluates in the global scope. By another name it would too, until a bundler puts `eval` back.
  return (globalThis.eval(preludeText) as (libm: WebAssembly.Exports) => Prelude)(libm);
}
