/**
 * A chunk's memory, made by us: modules define their own, and are changed here to import it instead.
 *
 * So it can be bounded by the manifest's limit, and most of all be used again. Chromium sets eight gigabytes of
 * addresses aside for each memory, has room for about a hundred in one process, and makes that room slowly: a Worker
 * that was ended before its garbage was collected takes the room from the next one for seconds. Used again, a memory
 * also costs a fifth.
 */

import { concat } from "../protocol/bytes";
import type { ModuleFacts } from "../protocol/wasm";
import { PAGE_BYTES } from "../protocol/wasm";
import { Reader, u32Leb } from "../protocol/wasm/reader";
import { HEADER, Section } from "../protocol/wasm/survey";

/** Where the module finds its memory: a place that admission lets no module name. */
export const MEMORY_MODULE = "m";
const MEMORY_NAME = "m";
const MEMORY_KIND = 2;
const HAS_MAXIMUM = 1;

/** Clearing more than this takes longer than asking the system for new pages, most of which stay untouched; a guess. */
const CLEARED_BYTES_MAX = 1024 * 1024;

/** Thrown when there is no room for a memory. */
export class NoRoom extends Error {}

/** An admitted module with its memory imported: the first thing of its kind it had, so no index changes. */
export function withMemoryImported(code: Uint8Array, facts: ModuleFacts): Uint8Array<ArrayBuffer> {
  const name = (text: string): number[] => [text.length, ...Array.from(text, (letter) => letter.charCodeAt(0))];
  const limits = [HAS_MAXIMUM, ...u32Leb(facts.memoryPagesMin), ...u32Leb(facts.memoryPagesMax)];
  const wanted = Uint8Array.from([...name(MEMORY_MODULE), ...name(MEMORY_NAME), MEMORY_KIND, ...limits]);
  const parts: Uint8Array[] = [HEADER];
  const add = (section: number, data: Uint8Array): void => {
    parts.push(Uint8Array.from([section, ...u32Leb(data.length)]), data);
  };
  let isImported = false;
  const reader = new Reader(code, HEADER.length, code.length);
  while (!reader.exhausted) {
    const section = reader.byte();
    const data = reader.take(reader.u32());
    if (!isImported && section !== Section.TYPE) {
      const known = section === Section.IMPORT ? data : Uint8Array.of(0);
      const imports = new Reader(known, 0, known.length);
      const count = imports.u32();
      add(Section.IMPORT, concat(Uint8Array.from(u32Leb(count + 1)), known.subarray(imports.position), wanted));
      isImported = true;
    }
    if (section !== Section.IMPORT && section !== Section.MEMORY) add(section, data);
  }
  return new Uint8Array(concat(...parts));
}

/** Gives chunk after chunk a memory of `pages`, as good as new, and `NoRoom` when there is no place for one. */
export function memories(pages: number, pagesMax: number): () => WebAssembly.Memory {
  const bytes = pages * PAGE_BYTES;
  let last: WebAssembly.Memory | null = null;
  return () => {
    // What a chunk made larger cannot be made smaller, and a program can ask how large its memory is.
    const isUsable = last !== null && last.buffer.byteLength === bytes && bytes <= CLEARED_BYTES_MAX;
    if (last !== null && isUsable) new Uint8Array(last.buffer).fill(0);
    else last = allocated(pages, pagesMax);
    return last;
  };
}

function allocated(initial: number, maximum: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial, maximum });
  } catch {
    throw new NoRoom();
  }
}

/** What a module that `withMemoryImported` made wants for its memory. */
export function memoryImport(memory: WebAssembly.Memory): WebAssembly.Imports {
  return { [MEMORY_MODULE]: { [MEMORY_NAME]: memory } };
}
