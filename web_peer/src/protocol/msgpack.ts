/**
 * MessagePack, one thing at a time: what schemas (codec.ts) read from and write to.
 *
 * Nothing is allocated before its bytes are there. The shortest form of each value is written; any is read.
 *
 * A general library decodes to untyped values first, which loses what the protocol checks (a float from an integer, a
 * key that occurs twice, 64 bits); `@msgpack/msgpack` is the independent oracle in the tests.
 */

import { LocalProtocolError, RemoteProtocolError } from "./errors";

/** A position in the bytes of one message. Every method takes one thing of MessagePack or refuses the whole message. */
export class Reader {
  position = 0;
  private readonly view: DataView;

  constructor(
    readonly bytes: Uint8Array,
    private readonly message: string,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  refuse(why: string): never {
    throw new RemoteProtocolError(`not a valid ${this.message}: ${why} (byte ${this.position})`);
  }

  /** Step over `count` bytes and return where they begin. */
  take(count: number): number {
    const begin = this.position;
    if (count > this.bytes.length - begin) this.refuse("it is truncated");
    this.position = begin + count;
    return begin;
  }

  /** The next header byte, not yet taken. */
  peek(): number {
    const byte = this.bytes[this.position];
    return byte === undefined ? this.refuse("it is truncated") : byte;
  }

  unsigned(bytes: 1 | 2 | 4): number {
    const at = this.take(bytes);
    return bytes === 1 ? this.view.getUint8(at) : bytes === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }

  /** An integer from -2^63 to 2^64-1. Beyond 53 bits it comes rounded, which keeps it outside of every u53 range. */
  integer(): number {
    const head = this.peek();
    if (head < 0x80) {
      this.position++;
      return head;
    }
    if (head < 0xe0 && (head < 0xcc || head > 0xd3)) this.refuse("an integer was expected");
    this.position++;
    if (head >= 0xe0) return head - 0x100;
    switch (head) {
      case 0xcc:
        return this.view.getUint8(this.take(1));
      case 0xcd:
        return this.view.getUint16(this.take(2));
      case 0xce:
        return this.view.getUint32(this.take(4));
      case 0xd0:
        return this.view.getInt8(this.take(1));
      case 0xd1:
        return this.view.getInt16(this.take(2));
      case 0xd2:
        return this.view.getInt32(this.take(4));
      default: {
        const at = this.take(8);
        const high = head === 0xcf ? this.view.getUint32(at) : this.view.getInt32(at);
        return high * 0x1_0000_0000 + this.view.getUint32(at + 4);
      }
    }
  }

  /** The same, exact. */
  bigInteger(): bigint {
    const head = this.peek();
    if (head !== 0xcf && head !== 0xd3) return BigInt(this.integer());
    this.position++;
    const at = this.take(8);
    return head === 0xcf ? this.view.getBigUint64(at) : this.view.getBigInt64(at);
  }

  float(): number {
    const head = this.peek();
    if (head !== 0xca && head !== 0xcb) return Number(this.bigInteger());
    this.position++;
    return head === 0xca ? this.view.getFloat32(this.take(4)) : this.view.getFloat64(this.take(8));
  }

  isNil(): boolean {
    if (this.peek() !== 0xc0) return false;
    this.position++;
    return true;
  }

  bytesHeader(): number {
    const head = this.peek();
    if (head < 0xc4 || head > 0xc6) this.refuse("bytes were expected");
    this.position++;
    return this.unsigned(head === 0xc4 ? 1 : head === 0xc5 ? 2 : 4);
  }

  textHeader(): number {
    const head = this.peek();
    const isShort = head >= 0xa0 && head <= 0xbf;
    if (!isShort && (head < 0xd9 || head > 0xdb)) this.refuse("text was expected");
    this.position++;
    return isShort ? head - 0xa0 : this.unsigned(head === 0xd9 ? 1 : head === 0xda ? 2 : 4);
  }

  arrayHeader(): number {
    const head = this.peek();
    const isShort = head >= 0x90 && head <= 0x9f;
    if (!isShort && head !== 0xdc && head !== 0xdd) this.refuse("an array was expected");
    this.position++;
    return isShort ? head - 0x90 : this.unsigned(head === 0xdc ? 2 : 4);
  }

  mapHeader(): number {
    const head = this.peek();
    const isShort = head >= 0x80 && head <= 0x8f;
    if (!isShort && head !== 0xde && head !== 0xdf) this.refuse("a map was expected");
    this.position++;
    return isShort ? head - 0x80 : this.unsigned(head === 0xde ? 2 : 4);
  }

  /** Which of the `names` the next text is; -1 when it is none of them. */
  nameIndex(names: readonly Uint8Array[]): number {
    const length = this.textHeader();
    const begin = this.take(length);
    for (let index = 0; index < names.length; index++) {
      const name = names[index]!;
      if (name.length !== length) continue;
      let at = 0;
      while (at < length && this.bytes[begin + at] === name[at]) at++;
      if (at === length) return index;
    }
    return -1;
  }

  /** Step over one value of any type. It counts what is still to come instead of calling itself. */
  skip(): void {
    for (let left = 1; left > 0; left--) {
      const head = this.peek();
      if (head <= 0x7f || head >= 0xe0 || (head >= 0xc2 && head <= 0xc3) || head === 0xc0) this.position++;
      else if (head <= 0x8f || head === 0xde || head === 0xdf) left += 2 * this.mapHeader();
      else if (head <= 0x9f || head === 0xdc || head === 0xdd) left += this.arrayHeader();
      else if (head <= 0xbf || (head >= 0xd9 && head <= 0xdb)) this.take(this.textHeader());
      else if (head >= 0xc4 && head <= 0xc6) this.take(this.bytesHeader());
      else if (head >= 0xca && head <= 0xd3) this.float();
      else this.refuse("extension types are not used");
    }
  }
}

/** Bytes being written. One is kept and grown, so that encoding allocates nothing but the result. */
export class Writer {
  length = 0;
  bytes = new Uint8Array(4_096);
  private view = new DataView(this.bytes.buffer);

  /** Make room for `count` bytes and return where they begin. */
  add(count: number): number {
    const begin = this.length;
    this.length = begin + count;
    if (this.length > this.bytes.length) {
      const larger = new Uint8Array(Math.max(this.length, 2 * this.bytes.length));
      larger.set(this.bytes);
      this.bytes = larger;
      this.view = new DataView(larger.buffer);
    }
    return begin;
  }

  byte(value: number): void {
    const at = this.add(1);
    this.bytes[at] = value;
  }

  /** A header byte and a big-endian number of 1, 2 or 4 bytes. */
  headed(head: number, bytes: 1 | 2 | 4, value: number): void {
    const at = this.add(1 + bytes);
    this.bytes[at] = head;
    if (bytes === 1) this.bytes[at + 1] = value;
    else if (bytes === 2) this.view.setUint16(at + 1, value);
    else this.view.setUint32(at + 1, value);
  }

  integer(value: number): void {
    if (!Number.isSafeInteger(value)) throw new LocalProtocolError(`${value} cannot be sent as an integer`);
    if (value >= 0) {
      if (value < 0x80) this.byte(value);
      else if (value < 0x100) this.headed(0xcc, 1, value);
      else if (value < 0x1_0000) this.headed(0xcd, 2, value);
      else if (value < 0x1_0000_0000) this.headed(0xce, 4, value);
      else this.wide(0xcf, BigInt(value));
    } else if (value >= -0x20) this.byte(value + 0x100);
    else if (value >= -0x80) this.headed(0xd0, 1, value);
    else if (value >= -0x8000) this.headed(0xd1, 2, value);
    else if (value >= -0x8000_0000) this.headed(0xd2, 4, value);
    else this.wide(0xd3, BigInt(value));
  }

  bigInteger(value: bigint): void {
    if (value >= -0x8000_0000n && value < 0x1_0000_0000n) this.integer(Number(value));
    else this.wide(value < 0n ? 0xd3 : 0xcf, value);
  }

  float(value: number): void {
    const at = this.add(9);
    this.bytes[at] = 0xcb;
    this.view.setFloat64(at + 1, value);
  }

  binary(value: Uint8Array): void {
    const length = value.length;
    if (length < 0x100) this.headed(0xc4, 1, length);
    else if (length < 0x1_0000) this.headed(0xc5, 2, length);
    else this.headed(0xc6, 4, length);
    const at = this.add(length); // First: it may move the bytes.
    this.bytes.set(value, at);
  }

  text(utf8: Uint8Array): void {
    const length = utf8.length;
    if (length < 0x20) this.byte(0xa0 + length);
    else if (length < 0x100) this.headed(0xd9, 1, length);
    else if (length < 0x1_0000) this.headed(0xda, 2, length);
    else this.headed(0xdb, 4, length);
    const at = this.add(length); // First: it may move the bytes.
    this.bytes.set(utf8, at);
  }

  array(length: number): void {
    if (length < 0x10) this.byte(0x90 + length);
    else if (length < 0x1_0000) this.headed(0xdc, 2, length);
    else this.headed(0xdd, 4, length);
  }

  map(length: number): void {
    if (length < 0x10) this.byte(0x80 + length);
    else if (length < 0x1_0000) this.headed(0xde, 2, length);
    else this.headed(0xdf, 4, length);
  }

  private wide(head: number, value: bigint): void {
    const at = this.add(9);
    this.bytes[at] = head;
    this.view.setBigUint64(at + 1, BigInt.asUintN(64, value));
  }
}
