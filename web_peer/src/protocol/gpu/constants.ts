/**
 * What constants come to (spec/gpu.md, "Constants").
 *
 * All arithmetic between constants is done here, so that no engine has to: engines refuse what overflows or divides by
 * zero among constants, and not all of them the same. A value that its type cannot hold is refused.
 */

import type { Constant, Scalar, Type } from "./syntax";

const F32_MAX = 2 ** 128 - 2 ** 104;
const RANGES: Partial<Record<Type, readonly [bigint, bigint]>> = {
  i32: [-(2n ** 31n), 2n ** 31n - 1n],
  u32: [0n, 2n ** 32n - 1n],
  int: [-(2n ** 63n), 2n ** 63n - 1n],
};
const NAMES: Partial<Record<Type, string>> = { int: "64 bits", float: "a number" };
const word = new DataView(new ArrayBuffer(4));

/** There is no such constant; the message says why. */
export class Unusable extends Error {}

/**
 * The constant that a number of the source stands for.
 *
 * @throws Unusable when its type cannot hold it.
 */
export function literal(text: string): Constant {
  if (/^0[xX]/.test(text)) return suffixed(text.replace(/[iu]$/, ""), text);
  if (text.endsWith("f") || /[.eE]/.test(text)) {
    return checked(text.endsWith("f") ? "f32" : "float", Number(text.replace(/f$/, "")));
  }
  return suffixed(text.replace(/[iu]$/, ""), text);
}

function suffixed(digits: string, text: string): Constant {
  return checked(text.endsWith("u") ? "u32" : text.endsWith("i") ? "i32" : "int", BigInt(digits));
}

/**
 * `value` as a constant of this type, an f32 rounded to the nearest.
 *
 * @throws Unusable when the type cannot hold it.
 */
export function checked(type: Type, value: bigint | number): Constant {
  const range = RANGES[type];
  if (range !== undefined) {
    const whole = BigInt(value);
    if (whole < range[0] || whole > range[1]) throw new Unusable(`a constant does not fit ${NAMES[type] ?? type}`);
    return { kind: "constant", type, value: whole };
  }
  const number = Number(value);
  // What is beyond the largest f32 does not fit, though it were rounded to it: compilers see it so.
  if (!Number.isFinite(number) || (type === "f32" && Math.abs(number) > F32_MAX)) {
    throw new Unusable(`a constant does not fit ${NAMES[type] ?? type}`);
  }
  return { kind: "constant", type, value: type === "f32" ? Math.fround(number) : number };
}

/**
 * `TYPE(constant)`.
 *
 * @throws Unusable when the type cannot hold it.
 */
export function converted({ type, value }: Constant, to: Scalar): Constant {
  if (to === "bool") return { kind: "constant", type: to, value: Boolean(value) };
  if (to === "f32") return checked(to, Number(value));
  if (type === "i32" || type === "u32") return fromBits(Number(BigInt.asUintN(32, BigInt(value))), to);
  return checked(to, typeof value === "number" ? Math.trunc(value) : BigInt(value));
}

/** The 32 bits of an i32, u32 or f32. */
export function bits({ type, value }: Constant): number {
  if (type !== "f32") return Number(BigInt.asUintN(32, BigInt(value)));
  word.setFloat32(0, Number(value));
  return word.getUint32(0);
}

/** An f32 as a number of WGSL, exactly: whole times a power of two, in hexadecimal. */
export function literalOf(constant: Constant): string {
  const unsigned = bits(constant);
  const exponent = (unsigned >>> 23) & 0xff;
  const fraction = unsigned & 0x7fffff;
  const sign = unsigned >>> 31 === 1 ? "-" : "";
  if (exponent === 0) return `${sign}0x${fraction.toString(16)}p-149f`;
  return `${sign}0x${(fraction | 0x800000).toString(16)}p${exponent - 150}f`;
}

/**
 * The constant of this type with these bits.
 *
 * @throws Unusable when they are no finite number.
 */
export function fromBits(unsigned: number, type: Scalar): Constant {
  word.setUint32(0, unsigned);
  if (type === "f32") return checked(type, word.getFloat32(0));
  return { kind: "constant", type, value: BigInt(type === "i32" ? word.getInt32(0) : unsigned) };
}

export function negated({ type, value }: Constant): Constant {
  return checked(type, typeof value === "bigint" ? -value : -Number(value));
}

export function complement({ type, value }: Constant): Constant {
  const whole = ~BigInt(value);
  return { kind: "constant", type, value: type === "u32" ? BigInt.asUintN(32, whole) : whole };
}

/**
 * Two constants of one type (of a shift, of an integer's and u32) and a binary operator.
 *
 * @throws Unusable when the result does not fit the type, or there is none.
 */
export function combined(operator: string, left: Constant, right: Constant): Constant {
  const { type } = left;
  const [a, b] = [left.value, right.value];
  const bool = (value: boolean): Constant => ({ kind: "constant", type: "bool", value });
  switch (operator) {
    case "==":
      return bool(a === b);
    case "!=":
      return bool(a !== b);
    case "<":
      return bool(a < b);
    case "<=":
      return bool(a <= b);
    case ">":
      return bool(a > b);
    case ">=":
      return bool(a >= b);
    case "&&":
      return bool(Boolean(a) && Boolean(b));
    case "||":
      return bool(Boolean(a) || Boolean(b));
  }
  if ((operator === "/" || operator === "%") && Number(b) === 0) throw new Unusable("a constant is divided by zero");
  if (type === "f32" || type === "float") {
    const [x, y] = [Number(a), Number(b)];
    return checked(type, operator === "+" ? x + y : operator === "-" ? x - y : operator === "*" ? x * y : x / y);
  }
  const [m, n] = [BigInt(a), BigInt(b)];
  const exact = (value: bigint): Constant => ({ kind: "constant", type, value });
  switch (operator) {
    case "+":
      return checked(type, m + n);
    case "-":
      return checked(type, m - n);
    case "*":
      return checked(type, m * n);
    case "/":
      return checked(type, m / n);
    case "%":
      return checked(type, m % n);
    case "&":
      return exact(m & n);
    case "|":
      return exact(m | n);
    case "^":
      return exact(m ^ n);
    case "<<":
      return checked(type, m << n);
    default:
      return exact(m >> n);
  }
}
