/** Expressions of a kernel: read, typed, and computed where they are constant. */

import { checked, combined, complement, converted, bits, fromBits, literal, negated, Unusable } from "./constants";
import { PRIVATE_BYTES_MAX, Reading, SCALARS } from "./reading";
import type { Call, Constant, Element, Expression, Func, Scalar, Type, Variable } from "./syntax";
import { FLOAT_INTRINSICS, INTEGER_INTRINSICS, INTRINSICS } from "./syntax";

/** In one statement: engines parse and fold them recursively. */
const OPERATORS_MAX = 64;
/** Words after every call has been replaced by what it calls, which is what engines compile. */
export const WEIGHT_MAX = 65_536;

const COMPARISONS: readonly string[] = ["==", "!=", "<", "<=", ">", ">="];

/** An expression, and whether it may stand beside an operator that takes none but unary ones. */
type Operand = readonly [Expression, boolean];

/** Reads expressions, and the types that stand beside them. */
export class ExpressionParser extends Reading {
  protected scalar(): Scalar {
    const { text } = this.token;
    if (!SCALARS.includes(text)) this.refuse(`bool, i32, u32 or f32 is expected, not ${text}`);
    this.at++;
    if (text === "f32") this.usesFloats = true;
    return text as Scalar;
  }

  /** A scalar or an array: its scalar, its length (null for a scalar), and whether it is atomic. */
  protected memoryType(withLength: boolean): { type: Scalar; length: number | null; isAtomic: boolean } {
    if (!this.take("array")) return { type: this.scalar(), length: null, isAtomic: false };
    this.expect("<");
    const isAtomic = this.take("atomic");
    if (isAtomic) this.expect("<");
    const type = this.scalar();
    if (isAtomic) {
      if (type !== "i32" && type !== "u32") this.refuse("an atomic is i32 or u32");
      this.closeAngle();
    }
    const length = this.take(",") ? this.arrayLength() : 0;
    this.closeAngle();
    if (length > 0 !== withLength) this.refuse("an array needs a length, but in storage it has none");
    return { type, length, isAtomic };
  }

  /** The length in an array's type. A sum would need brackets, since `>` ends the type. */
  private arrayLength(): number {
    const value = this.primary();
    if (value.kind !== "constant" || !isWhole(value.type)) {
      return this.refuse("the length of an array is a constant whole number");
    }
    const length = BigInt(value.value);
    if (length < 1n || length > BigInt(PRIVATE_BYTES_MAX / 4)) {
      this.refuse(`an array has 1 to ${PRIVATE_BYTES_MAX / 4} elements`);
    }
    return Number(length);
  }

  /** A whole expression. Where a function that writes is called, it is all there is. */
  protected expression(mayBeImpure = false): Expression {
    const outer = this.state.impureCalls;
    this.state.impureCalls = [];
    const value = this.logical();
    const calls = this.state.impureCalls;
    this.state.impureCalls = outer;
    const [first] = calls;
    if (first !== undefined) {
      const isAlone = mayBeImpure && calls.length === 1 && value.kind === "call" && value.function === first;
      if (!isAlone) this.refuse(`${first.sourceName} writes: call it alone, as in let x = ${first.sourceName}()`);
    }
    return value;
  }

  private logical(): Expression {
    const [first, isUnary] = this.relation();
    let value = first;
    for (const operator of ["&&", "||"]) {
      if (!this.is(operator)) continue;
      while (this.take(operator)) value = this.binary(operator, value, this.relation()[0]);
      return value;
    }
    for (const operator of ["&", "|", "^"]) {
      if (!this.is(operator)) continue;
      if (!isUnary) this.refuse(`what stands beside ${operator} needs brackets`);
      while (this.take(operator)) value = this.binary(operator, value, this.unary());
      return value;
    }
    return value;
  }

  private relation(): Operand {
    const [value, isUnary] = this.shift();
    if (!COMPARISONS.includes(this.word) || this.token.kind !== "mark") return [value, isUnary];
    const operator = this.next().text;
    return [this.binary(operator, value, this.shift()[0]), false];
  }

  private shift(): Operand {
    const [value, isUnary] = this.sum();
    if (this.word !== "<<" && this.word !== ">>") return [value, isUnary];
    const operator = this.next().text;
    if (!isUnary) this.refuse(`what stands beside ${operator} needs brackets`);
    return [this.binary(operator, value, this.unary()), false];
  }

  private sum(): Operand {
    let [value, isUnary] = this.product();
    while (this.word === "+" || this.word === "-") {
      const operator = this.next().text;
      [value, isUnary] = [this.binary(operator, value, this.product()[0]), false];
    }
    return [value, isUnary];
  }

  private product(): Operand {
    let value = this.unary();
    let isUnary = true;
    while (this.word === "*" || this.word === "/" || this.word === "%") {
      const operator = this.next().text;
      [value, isUnary] = [this.binary(operator, value, this.unary()), false];
    }
    return [value, isUnary];
  }

  private countOperator(): void {
    if (++this.operators > OPERATORS_MAX) this.refuse(`an expression has more than ${OPERATORS_MAX} operators`);
  }

  private unary(): Expression {
    const operator = this.word;
    if (operator !== "-" && operator !== "!" && operator !== "~") {
      const operand = this.operand();
      if (operand.kind === "element" && operand.variable.isAtomic) {
        this.refuse("an atomic is used by atomic functions alone");
      }
      return operand;
    }
    this.at++;
    this.countOperator();
    const operand = this.unary();
    const { type } = operand;
    const allowed: readonly Type[] =
      operator === "-" ? ["i32", "f32", "int", "float"] : operator === "!" ? ["bool"] : ["i32", "u32", "int"];
    if (!allowed.includes(type)) this.refuse(`${operator} does not take ${type}`);
    if (operand.kind !== "constant") return { kind: "unary", type, operator, operand };
    if (operator === "!") return { kind: "constant", type, value: !operand.value };
    return this.computed(() => (operator === "-" ? negated(operand) : complement(operand)));
  }

  protected binary(operator: string, a: Expression, b: Expression): Expression {
    this.countOperator();
    if (operator === "<<" || operator === ">>") return this.shifted(operator, a, b);
    const [left, right] = a.type === b.type ? [a, b] : this.met(a, b);
    const { type } = left;
    if (type !== right.type) {
      this.refuse(`${operator} stands between ${type} and ${right.type}: convert one of them`);
    }
    if (!operandTypes(operator).includes(type)) this.refuse(`${operator} does not take ${type}`);
    if (left.kind === "constant" && right.kind === "constant") {
      return this.computed(() => combined(operator, left, right));
    }
    if ((operator === "/" || operator === "%") && right.kind === "constant" && Number(right.value) === 0) {
      this.refuse("a division by zero");
    }
    const isBool = COMPARISONS.includes(operator) || operator === "&&" || operator === "||";
    return { kind: "binary", type: isBool ? "bool" : type, operator, left, right };
  }

  private shifted(operator: string, a: Expression, b: Expression): Expression {
    const right = this.as(b, "u32");
    if (right.kind === "constant" && Number(right.value) >= 32) this.refuse("a shift by 32 or more");
    if (!isWhole(a.type)) this.refuse(`${operator} does not take ${a.type}`);
    if (a.kind === "constant" && right.kind === "constant") return this.computed(() => combined(operator, a, right));
    const left = this.concrete(a);
    return { kind: "binary", type: left.type, operator, left, right };
  }

  /** Two operands, of which a constant without a type takes the other's. */
  private met(left: Expression, right: Expression): readonly [Expression, Expression] {
    const taken = (one: Expression, other: Expression): Expression | null => {
      if (one.kind !== "constant" || (one.type !== "int" && one.type !== "float")) return null;
      if (other.type === "float") return { kind: "constant", type: "float", value: Number(one.value) };
      return other.type !== "bool" && SCALARS.includes(other.type) ? this.as(one, other.type) : null;
    };
    const first = taken(left, right);
    if (first !== null) return [first, right];
    return [left, taken(right, left) ?? right];
  }

  /** `value` where a `type` is wanted. */
  protected as(value: Expression, type: Type): Expression {
    if (value.type === type) return value;
    const isFitting = value.type === "int" || (value.type === "float" && type === "f32");
    if (value.kind !== "constant" || !isFitting || type === "bool" || !SCALARS.includes(type)) {
      return this.refuse(`${type} is expected, not ${value.type}`);
    }
    if (type === "f32") this.usesFloats = true;
    return this.computed(() => checked(type, value.value as bigint | number));
  }

  /** `value` with the type it takes when nothing else decides. */
  protected concrete(value: Expression): Expression {
    return value.type === "int" ? this.as(value, "i32") : value.type === "float" ? this.as(value, "f32") : value;
  }

  private computed(compute: () => Constant): Constant {
    try {
      return compute();
    } catch (error) {
      if (error instanceof Unusable) return this.refuse(error.message);
      throw error;
    }
  }

  /** A primary expression, and the index or field behind it. */
  protected operand(): Expression {
    const { token } = this;
    const meaning = token.kind === "name" ? this.find(token.text) : undefined;
    switch (meaning?.kind) {
      case "variable":
        this.at++;
        return this.variableValue(meaning);
      case "builtin":
        this.at++;
        this.expect(".");
        if (!this.take("x")) this.refuse("only .x says anything: a dispatch has one dimension");
        return { kind: "read", type: meaning.variable.type, variable: meaning.variable };
      case "uniform": {
        this.at++;
        this.expect(".");
        const name = this.next().text;
        const field = meaning.fields.get(name);
        if (field === undefined) return this.refuse(`the uniform has no field ${name}`);
        return { kind: "read", type: field.type, variable: field };
      }
      default:
        return this.primary();
    }
  }

  private variableValue(variable: Variable): Expression {
    const { type, length } = variable;
    if (length === null) return { kind: "read", type, variable };
    this.expect("[");
    this.countOperator();
    const given = this.expression();
    this.expect("]");
    const index = given.type === "int" ? this.as(given, "u32") : given;
    if (index.type !== "i32" && index.type !== "u32") this.refuse("an index is i32 or u32");
    if (index.kind === "constant" && length > 0 && (Number(index.value) < 0 || Number(index.value) >= length)) {
      this.refuse(`${variable.sourceName} has ${length} elements`);
    }
    return { kind: "element", type, variable, index };
  }

  private primary(): Expression {
    const { kind, text } = this.next();
    if (kind === "number") {
      const constant = this.computed(() => literal(text));
      if (constant.type === "f32" || constant.type === "float") this.usesFloats = true;
      return constant;
    }
    if (text === "(") {
      const value = this.logical();
      this.expect(")");
      return value;
    }
    if (kind !== "name") this.refuse(`a value is expected, not ${text}`);
    if (text === "true" || text === "false") return { kind: "constant", type: "bool", value: text === "true" };
    if (SCALARS.includes(text)) return this.conversion(text as Scalar);
    if (text === "bitcast") return this.bitcast();
    if (text === "arrayLength") return this.length();
    if (text === "atomicLoad") return this.loaded();
    if (INTRINSICS.has(text)) return this.intrinsic(text);
    const meaning = this.find(text);
    if (meaning?.kind === "constant") return meaning;
    if (meaning?.kind === "function") {
      if (meaning.type === null) this.refuse(`${text} returns nothing`);
      return this.call(meaning);
    }
    return this.refuse(`${text} is not known here`);
  }

  private arguments(name: string, count: number): Expression[] {
    this.countOperator();
    this.expect("(");
    const found: Expression[] = [];
    while (!this.take(")")) {
      found.push(this.logical());
      if (!this.take(",")) {
        this.expect(")");
        break;
      }
    }
    if (found.length !== count) this.refuse(`${name} takes ${count} arguments, not ${found.length}`);
    return found;
  }

  private conversion(type: Scalar): Expression {
    if (type === "f32") this.usesFloats = true;
    const operand = this.arguments(type, 1)[0]!;
    if (operand.kind === "constant") return this.computed(() => converted(operand, type));
    return operand.type === type ? operand : { kind: "convert", type, operand };
  }

  private bitcast(): Expression {
    this.expect("<");
    const type = this.scalar();
    this.closeAngle();
    const operand = this.concrete(this.arguments("bitcast", 1)[0]!);
    if (type === "bool" || operand.type === "bool") this.refuse("bitcast does not take bool");
    if (operand.kind === "constant") return this.computed(() => fromBits(bits(operand), type));
    return { kind: "bitcast", type, operand };
  }

  private length(): Expression {
    this.expect("(");
    this.expect("&");
    const variable = this.find(this.next().text);
    if (variable?.kind !== "variable" || variable.space !== "input") {
      this.refuse("arrayLength takes the address of the var<storage, read>");
    }
    this.expect(")");
    return { kind: "length", type: "u32" };
  }

  protected address(): Element {
    this.expect("&");
    const target = this.operand();
    if (target.kind !== "element" || !target.variable.isAtomic) {
      return this.refuse("an atomic function takes the address of an element of an atomic array");
    }
    return target;
  }

  private loaded(): Expression {
    this.expect("(");
    const element = this.address();
    this.expect(")");
    if (element.variable.space !== "workgroup") {
      this.refuse("atomicLoad is for workgroup memory: what others have written so far is no result");
    }
    return { kind: "loaded", type: element.type, element };
  }

  private intrinsic(name: string): Expression {
    const given = this.arguments(name, INTRINSICS.get(name)!);
    if (given.every(({ kind }) => kind === "constant")) this.refuse(`${name} of constants: write its value`);
    const last = name === "select" ? [this.as(given.pop()!, "bool")] : [];
    const typed = given.find(({ type }) => type !== "int" && type !== "float")?.type;
    const isFloat = FLOAT_INTRINSICS.has(name) || given.some(({ type }) => type === "float");
    const type = typed ?? (isFloat ? "f32" : "i32");
    const values = given.map((each) => this.as(each, type));
    const isRight = FLOAT_INTRINSICS.has(name)
      ? type === "f32"
      : INTEGER_INTRINSICS.has(name)
        ? type === "i32" || type === "u32"
        : type !== "bool" || name === "select";
    if (!isRight) this.refuse(`${name} does not take ${type}`);
    if (name === "clamp") {
      const [, low, high] = values;
      if (low?.kind === "constant" && high?.kind === "constant" && low.value > high.value) {
        this.refuse("clamp has a low above its high");
      }
    }
    return { kind: "intrinsic", type, name, arguments: [...values, ...last] };
  }

  protected call(called: Func): Call {
    const given = this.arguments(called.sourceName, called.parameters.length);
    const values = given.map((value, position) => this.as(value, called.parameters[position]!.type));
    this.state.weight += called.weight;
    if (this.state.weight > WEIGHT_MAX) {
      this.refuse(`a function has more than ${WEIGHT_MAX} words with all that it calls`);
    }
    if (!called.isPure) {
      this.state.isPure = false;
      this.state.impureCalls.push(called);
    }
    // Of a function without a value, nothing looks at the type: it is called as a statement alone.
    return { kind: "call", type: called.type ?? "bool", function: called, arguments: values };
  }
}

function isWhole(type: Type): boolean {
  return type === "i32" || type === "u32" || type === "int";
}

function operandTypes(operator: string): readonly Type[] {
  switch (operator) {
    case "&&":
    case "||":
      return ["bool"];
    case "==":
    case "!=":
      return ["bool", "i32", "u32", "f32", "int", "float"];
    case "&":
    case "|":
    case "^":
    case "%":
      return ["i32", "u32", "int"];
    default:
      return ["i32", "u32", "f32", "int", "float"];
  }
}
