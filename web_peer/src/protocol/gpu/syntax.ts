/**
 * A kernel as a tree, in which every name is resolved and every expression has a type (spec/gpu.md).
 *
 * There is no node for a pointer, an address or a call to anything but a function of the same kernel or one of
 * `INTRINSICS`: what cannot be written down here cannot be printed.
 */

export type Scalar = "bool" | "i32" | "u32" | "f32";
/** `int` and `float` are constants that take the type of what they meet. */
export type Type = Scalar | "int" | "float";
export type Space = "local" | "private" | "workgroup" | "uniform" | "input" | "output" | "table" | "builtin";
/** Operations of one family commute: so their result does not depend on who came first. */
export type AtomicFamily = "add" | "max" | "min" | "and" | "or" | "xor";

export const INTEGER_INTRINSICS: ReadonlySet<string> = new Set([
  "countOneBits",
  "countLeadingZeros",
  "countTrailingZeros",
  "reverseBits",
]);
const ONE_FLOAT =
  "floor ceil trunc round sqrt inverseSqrt fract sign exp exp2 log log2 sin cos tan asin acos atan sinh cosh tanh";
export const FLOAT_INTRINSICS: ReadonlySet<string> = new Set([...ONE_FLOAT.split(" "), "pow", "atan2", "fma"]);
/** Built-in functions and their number of arguments. */
export const INTRINSICS: ReadonlyMap<string, number> = new Map([
  ...[...INTEGER_INTRINSICS, ...ONE_FLOAT.split(" "), "abs"].map((name) => [name, 1] as const),
  ...["min", "max", "pow", "atan2"].map((name) => [name, 2] as const),
  ...["clamp", "fma", "select"].map((name) => [name, 3] as const),
]);

/** Something with a name that holds one scalar, or an array of them. */
export interface Variable {
  readonly kind: "variable";
  /** As it is printed: unique in the kernel, and no word of any language. */
  readonly name: string;
  sourceName: string;
  readonly space: Space;
  readonly type: Scalar;
  /** Elements of an array; 0 where only the run knows; null for one scalar. */
  readonly length: number | null;
  isMutable: boolean;
  isAtomic: boolean;
  family: AtomicFamily | null;
  binding: number;
  /** A table's, or the first value of a private variable. */
  values: readonly Constant[];
}

/** Integers are bigints, so that they can be of any size before they have a type. */
export interface Constant {
  readonly kind: "constant";
  readonly type: Type;
  readonly value: boolean | bigint | number;
}

export interface Read {
  readonly kind: "read";
  readonly type: Type;
  readonly variable: Variable;
}

/** The value of an array's element; whoever prints it sees to it that there is one. */
export interface Element {
  readonly kind: "element";
  readonly type: Type;
  readonly variable: Variable;
  readonly index: Expression;
}

export interface Call {
  readonly kind: "call";
  readonly type: Type;
  readonly function: Func;
  readonly arguments: readonly Expression[];
}

export type Expression =
  | Constant
  | Read
  | Element
  | Call
  | { readonly kind: "length"; readonly type: Type }
  | { readonly kind: "unary"; readonly type: Type; readonly operator: string; readonly operand: Expression }
  | {
      readonly kind: "binary";
      readonly type: Type;
      readonly operator: string;
      readonly left: Expression;
      readonly right: Expression;
    }
  | { readonly kind: "convert" | "bitcast"; readonly type: Type; readonly operand: Expression }
  | {
      readonly kind: "intrinsic";
      readonly type: Type;
      readonly name: string;
      readonly arguments: readonly Expression[];
    }
  | { readonly kind: "loaded"; readonly type: Type; readonly element: Element };

export interface Declare {
  readonly kind: "declare";
  readonly variable: Variable;
  /** Without one it is zero. */
  readonly value: Expression | null;
}

export interface Assign {
  readonly kind: "assign";
  readonly target: Read | Element;
  readonly value: Expression;
}

export type Simple =
  | Declare
  | Assign
  | { readonly kind: "perform"; readonly call: Call }
  | { readonly kind: "atomic"; readonly function: string; readonly element: Element; readonly value: Expression }
  | { readonly kind: "barrier" }
  | { readonly kind: "break" }
  | { readonly kind: "continue" }
  | { readonly kind: "return"; readonly value: Expression | null };

export interface Block {
  readonly kind: "block";
  readonly statements: readonly Statement[];
}

export interface If {
  readonly kind: "if";
  readonly condition: Expression;
  readonly then: Block;
  readonly otherwise: Block | null;
}

export type Statement =
  | Simple
  | Block
  | If
  | {
      readonly kind: "loop";
      readonly first: Declare | Assign | null;
      readonly condition: Expression | null;
      readonly after: Assign | null;
      readonly body: Block;
    }
  | {
      readonly kind: "switch";
      readonly value: Expression;
      readonly cases: readonly { readonly selectors: readonly Constant[]; readonly body: Block }[];
      readonly otherwise: Block;
    };

/** A function of the kernel. */
export interface Func {
  readonly kind: "function";
  readonly name: string;
  readonly sourceName: string;
  readonly parameters: readonly Variable[];
  readonly type: Scalar | null;
  body: Block;
  /** It writes nothing but its own variables: so it does not matter when in an expression it is called. */
  isPure: boolean;
  /** Words, those of the functions it calls included at each call. */
  weight: number;
}

export interface Kernel {
  /** In the order of the source; the entry is the last. */
  readonly functions: readonly Func[];
  readonly entry: Func;
  readonly workgroupSize: number;
  readonly uniformBinding: number;
  /** The fields of the uniform structure; empty when there is none. */
  readonly uniform: readonly Variable[];
  readonly input: Variable | null;
  /** By binding. */
  readonly outputs: readonly Variable[];
  /** Tables, private and workgroup variables, in the order of the source. */
  readonly globals: readonly Variable[];
  readonly hasBarrier: boolean;
  readonly usesFloats: boolean;
}
