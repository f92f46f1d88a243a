/** The committed vectors that both languages read, and what a case of one is. */

import { readFileSync } from "node:fs";

import { expect } from "vitest";

import { fromHex, hex } from "../../src/protocol/bytes";
import { RemoteProtocolError } from "../../src/protocol/errors";

/** One thing both languages must agree on. */
export interface Case {
  readonly name: string;
  check(): void;
}

/** The content of protocol/vectors/NAME.json. Its shape is what the test on the Python side writes. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export function vectors(name: string): any {
  return JSON.parse(readFileSync(new URL(`../../../protocol/vectors/${name}.json`, import.meta.url), "utf-8"));
}

export function expectBytes(bytes: Uint8Array, expected: string): void {
  expect(hex(bytes)).toBe(expected);
}

/** Fail unless `act` refuses what a peer sent, and throws nothing else. */
export function expectRefused(act: () => unknown): void {
  expect(act).toThrow(RemoteProtocolError);
}

/** A typed value as the vectors write it: fields in snake case, bytes in hexadecimal. */
export function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return hex(value);
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([field, each]) => [snakeCase(field), plain(each)]));
}

export function snakeCase(field: string): string {
  return field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

export function camelCase(field: string): string {
  return field.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

export { fromHex, hex };
