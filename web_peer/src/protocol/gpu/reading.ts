/** A kernel's words one after another, and what its names mean so far. */

import { ModuleRefused } from "../errors";
import type { AtomicFamily, Constant, Func, Scalar, Space, Variable } from "./syntax";
import { INTRINSICS } from "./syntax";
import type { Token } from "./tokens";

/** Arrays of all functions and private variables together: a compiler keeps them all in registers, or tries to. */
export const PRIVATE_BYTES_MAX = 16_384;

export const SCALARS: readonly string[] = ["bool", "i32", "u32", "f32"];
export const ATOMICS: ReadonlyMap<string, AtomicFamily> = new Map([
  ["atomicAdd", "add"],
  ["atomicSub", "add"],
  ["atomicMax", "max"],
  ["atomicMin", "min"],
  ["atomicAnd", "and"],
  ["atomicOr", "or"],
  ["atomicXor", "xor"],
]);
const KEYWORDS =
  "alias break case const continue continuing default diagnostic discard else enable false fn for if let loop " +
  "override requires return struct switch true var while array atomic vec2 vec3 vec4 vec3u ptr bitcast arrayLength " +
  "workgroupBarrier storageBarrier atomicLoad";
/** Words that WGSL keeps for later: no compiler takes them as names. */
const RESERVED =
  "NULL Self abstract active alignas alignof as asm asm_fragment async attribute auto await become cast catch " +
  "class co_await co_return co_yield coherent column_major common compile compile_fragment concept const_cast " +
  "consteval constexpr constinit crate debugger decltype delete demote demote_to_helper do dynamic_cast enum " +
  "explicit export extends extern external fallthrough filter final finally friend from fxgroup get goto " +
  "groupshared highp impl implements import inline instanceof interface layout lowp macro macro_rules match " +
  "mediump meta mod module move mut mutable namespace new nil noexcept noinline nointerpolation non_coherent " +
  "noncoherent noperspective null nullptr of operator package packoffset partial pass patch pixelfragment " +
  "precise precision premerge priv protected pub public readonly ref regardless register reinterpret_cast " +
  "require resource restrict self set shared sizeof smooth snorm static static_assert static_cast std " +
  "subroutine super target template this thread_local throw trait try type typedef typeid typename typeof union " +
  "unless unorm unsafe unsized use using varying virtual volatile wgsl where with writeonly yield";
/** Words that mean something only within `var<…>`, unless the kernel gives them another meaning. */
const SPACES = ["function", "private", "read", "read_write", "storage", "uniform", "workgroup", "write"];
const TAKEN: ReadonlySet<string> = new Set([
  ...`${KEYWORDS} ${RESERVED}`.split(" "),
  ...SCALARS,
  ...INTRINSICS.keys(),
  ...ATOMICS.keys(),
]);

/** A parameter of the entry that is a vector, of which only x says anything. */
interface Builtin {
  readonly kind: "builtin";
  readonly variable: Variable;
}

export interface Structure {
  readonly kind: "structure";
  readonly fields: ReadonlyMap<string, Variable>;
}

export interface Uniform {
  readonly kind: "uniform";
  readonly fields: ReadonlyMap<string, Variable>;
}

export type Meaning = Variable | Constant | Func | Builtin | Structure | Uniform;

/** What is known about the function being read. */
export class FunctionState {
  isPure = true;
  weight = 0;
  loops = 0;
  breakable = 0;
  hasReturn = false;
  impureCalls: Func[] = [];

  constructor(
    readonly type: Scalar | null,
    readonly isEntry: boolean,
  ) {}
}

/** Where a parser stands. */
export class Reading {
  protected at = 0;
  protected readonly scopes: Map<string, Meaning>[] = [new Map()];
  protected count = 0;
  protected depth = 0;
  protected operators = 0;
  protected state = new FunctionState(null, false);
  protected privateBytes = 0;
  protected usesFloats = false;

  constructor(protected readonly words: Token[]) {}

  protected get token(): Token {
    return this.words[this.at]!;
  }

  protected get word(): string {
    return this.token.text;
  }

  protected refuse(why: string): never {
    throw new ModuleRefused(`line ${this.token.line}: ${why}`);
  }

  protected next(): Token {
    const { token } = this;
    if (token.kind === "end") this.refuse("the kernel ends too early");
    this.at++;
    return token;
  }

  /** Whether the next word is this mark or keyword. */
  protected is(text: string): boolean {
    return this.word === text && this.token.kind !== "end";
  }

  protected take(text: string): boolean {
    if (!this.is(text)) return false;
    this.at++;
    return true;
  }

  protected expect(text: string): void {
    if (!this.take(text)) this.refuse(`${text} is expected, not ${this.word}`);
  }

  /** The `>` that ends a type, which may be the beginning of a longer mark. */
  protected closeAngle(): void {
    const { token } = this;
    if ([">>", ">=", ">>="].includes(token.text)) this.words[this.at] = { ...token, text: token.text.slice(1) };
    else this.expect(">");
  }

  /** A name that the kernel gives. */
  protected name(): string {
    const { token } = this;
    if (token.kind !== "name") this.refuse(`a name is expected, not ${token.text}`);
    if (TAKEN.has(token.text)) this.refuse(`${token.text} cannot be a name: it means something already`);
    this.at++;
    return token.text;
  }

  protected declare(name: string, meaning: Meaning): void {
    const scope = this.scopes.at(-1)!;
    if (scope.has(name)) this.refuse(`${name} is declared twice`);
    if (this.scopes.length === 1 && SPACES.includes(name)) {
      this.refuse(`${name} cannot be a name outside of functions: it means something already`);
    }
    scope.set(name, meaning);
  }

  protected find(name: string): Meaning | undefined {
    for (let level = this.scopes.length - 1; level >= 0; level--) {
      const meaning = this.scopes[level]!.get(name);
      if (meaning !== undefined) return meaning;
    }
    return undefined;
  }

  protected variable(name: string, space: Space, type: Scalar, length: number | null = null): Variable {
    this.count++;
    if (type === "f32") this.usesFloats = true;
    return {
      ...{ kind: "variable", name: `v${this.count}_${name}`, sourceName: name, space, type, length },
      ...{ isMutable: false, isAtomic: false, family: null, binding: 0, values: [] },
    };
  }
}
