/** Read WebAssembly's binary encodings, never past the end of what was given. */

import { RuleBroken } from "./rules";

// A byte order mark is part of the name.
const UTF_8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A cursor over `data` from `start` to `end`. Anything that would leave the window is a malformed module. */
export class Reader {
  readonly data: Uint8Array;
  readonly end: number;
  position: number;

  constructor(data: Uint8Array, start: number, end: number) {
    this.data = data;
    this.position = start;
    this.end = end;
  }

  get exhausted(): boolean {
    return this.position >= this.end;
  }

  byte(): number {
    if (this.position >= this.end) throw new RuleBroken("malformed", `the module ends early at byte ${this.position}`);
    return this.data[this.position++]!;
  }

  /** The next `count` bytes. */
  take(count: number): Uint8Array {
    const stop = this.position + count;
    if (stop > this.end) throw new RuleBroken("malformed", `the module ends early at byte ${this.end}`);
    const taken = this.data.subarray(this.position, stop);
    this.position = stop;
    return taken;
  }

  /** An unsigned LEB128 number of at most five bytes and 32 bits. */
  u32(): number {
    let value = 0;
    // Multiplied, not shifted: five bytes hold 35 bits.
    for (let place = 1; ; place *= 128) {
      if (place > 2 ** 28) {
        throw new RuleBroken("malformed", `a number before byte ${this.position} is longer than 32 bits`);
      }
      const part = this.byte();
      value += (part & 0x7f) * place;
      if (part < 0x80) break;
    }
    if (value > 0xffff_ffff) {
      throw new RuleBroken("malformed", `a number before byte ${this.position} is larger than 32 bits`);
    }
    return value;
  }

  /** Pass over one LEB128 number of at most `lengthMax` bytes whose value does not matter here. */
  skipLeb(lengthMax: number): void {
    for (let length = 0; length < lengthMax; length++) if (this.byte() < 0x80) return;
    throw new RuleBroken("malformed", `a number before byte ${this.position} is too long`);
  }

  /** A length and that many bytes of UTF-8. */
  name(): string {
    const bytes = this.take(this.u32());
    try {
      return UTF_8.decode(bytes);
    } catch {
      throw new RuleBroken("malformed", `the name before byte ${this.position} is not UTF-8`);
    }
  }

  /** A reader over the next `length` bytes; this one continues behind them. */
  window(length: number): Reader {
    const start = this.position;
    if (start + length > this.end) {
      throw new RuleBroken("malformed", `a part of ${length} bytes at byte ${start} is longer than what holds it`);
    }
    this.position = start + length;
    return new Reader(this.data, start, this.position);
  }

  /** Require that nothing is left. */
  finish(what: string): void {
    if (this.position !== this.end) {
      throw new RuleBroken("malformed", `${what} has ${this.end - this.position} bytes too many`);
    }
  }
}

/** The shortest unsigned LEB128 encoding. */
export function u32Leb(value: number): number[] {
  const encoded: number[] = [];
  for (; value > 0x7f; value >>>= 7) encoded.push((value & 0x7f) | 0x80);
  encoded.push(value);
  return encoded;
}
