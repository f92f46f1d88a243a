/**
 * Where a program could see which NaN it holds, and the instructions that make every NaN the same one.
 *
 * Only recognised here: inserting them is the creator's part (spec/modules.md, "Rewriting"). A module where every point
 * is preceded (scalars) or followed (vectors) by exactly these six instructions, over any local, is canonical:
 *
 *     local.tee t · T.const canonical NaN · local.get t · local.get t · T.eq · select (v128.bitselect)
 */

const TEE = 0x22;
const GET = 0x20;

/** One kind of float: its canonical NaN as a constant, and its equality and choosing instructions. */
export interface Canonical {
  readonly constant: readonly number[];
  readonly equalAndChoose: readonly number[];
}

const SELECT = [0x1b];
const BITSELECT = [0xfd, 0x52];
const NAN_32 = [0x00, 0x00, 0xc0, 0x7f];
const NAN_64 = [0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf8, 0x7f];
const VECTOR = [0xfd, 0x0c];

const F32: Canonical = { constant: [0x43, ...NAN_32], equalAndChoose: [0x5b, ...SELECT] };
const F64: Canonical = { constant: [0x44, ...NAN_64], equalAndChoose: [0x61, ...SELECT] };
const F32X4: Canonical = {
  constant: [...VECTOR, ...NAN_32, ...NAN_32, ...NAN_32, ...NAN_32],
  equalAndChoose: [0xfd, 0x41, ...BITSELECT],
};
const F64X2: Canonical = {
  constant: [...VECTOR, ...NAN_64, ...NAN_64],
  equalAndChoose: [0xfd, 0x47, ...BITSELECT],
};

/** How many instructions canonical code has. */
export const CANONICAL_INSTRUCTIONS = 6;

/** By opcode: the stores, the sign copied from a second operand, the reinterpretations. */
export const SCALAR_OBSERVERS: ReadonlyMap<number, Canonical> = new Map([
  [0x38, F32],
  [0x39, F64],
  [0x98, F32],
  [0xa6, F64],
  [0xbc, F32],
  [0xbd, F64],
]);

/** What comes straight from an integer needs no check: f32.convert_*, f64.convert_*. */
const NEVER_NAN: ReadonlyMap<Canonical, ReadonlySet<number>> = new Map([
  [F32, new Set([0xb2, 0xb3, 0xb4, 0xb5])],
  [F64, new Set([0xb7, 0xb8, 0xb9, 0xba])],
]);

/** By opcode behind 0xfd: the splats and lane replacements. */
export const VECTOR_OBSERVERS: ReadonlyMap<number, Canonical> = new Map([
  [19, F32],
  [20, F64],
  [32, F32],
  [34, F64],
]);

// abs, neg, pmin and pmax are missing on purpose: they move bits and leave nothing open.
export const VECTOR_PRODUCERS: ReadonlyMap<number, Canonical> = new Map([
  ...[94, 103, 104, 105, 106, 227, 228, 229, 230, 231, 232, 233].map((operation) => [operation, F32X4] as const),
  ...[95, 116, 117, 122, 148, 239, 240, 241, 242, 243, 244, 245].map((operation) => [operation, F64X2] as const),
]);

/** Whether the result of the instruction with `opcode` is certainly no NaN of this kind. */
export function isNeverNan(kind: Canonical, opcode: number): boolean {
  return NEVER_NAN.get(kind)?.has(opcode) ?? false;
}

/**
 * Where canonical code for `kind` ends, over any local, if it begins at `start`, where an instruction begins.
 *
 * A stretch that starts at an instruction and reads like the code is the code: decoding has no second reading.
 */
export function matchCanonical(kind: Canonical, body: Uint8Array, start: number): number | null {
  if (body[start] !== TEE) return null;
  let stop = start + 1;
  while (stop < body.length && body[stop]! & 0x80) stop++;
  const local = body.subarray(start + 1, stop + 1);
  let position: number | null = start + 1 + local.length;
  for (const part of [kind.constant, [GET], local, [GET], local, kind.equalAndChoose]) {
    position = behind(body, position, part);
    if (position === null) return null;
  }
  return position;
}

function behind(body: Uint8Array, position: number, part: ArrayLike<number>): number | null {
  for (let index = 0; index < part.length; index++) if (body[position + index] !== part[index]) return null;
  return position + part.length;
}
