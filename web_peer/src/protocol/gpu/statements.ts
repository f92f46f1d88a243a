/** Statements of a kernel. */

import { ExpressionParser } from "./expressions";
import { ways } from "./flow";
import { ATOMICS, type Meaning, PRIVATE_BYTES_MAX } from "./reading";
import type { Assign, Block, Constant, Declare, Expression, Func, If, Scalar, Simple, Statement, Variable } from "./syntax";

const STATEMENT_NESTING_MAX = 24;
const TABLE_BYTES_MAX = 16_384;

const ASSIGNMENTS: readonly string[] = ["+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="];
const LEAVING: readonly string[] = ["break", "continue", "return"];

/** Reads blocks, and what may stand in them. */
export class StatementParser extends ExpressionParser {
  protected readonly globals: Variable[] = [];
  protected hasBarrier = false;
  private tableBytes = 0;

  protected block(hasScope = false): Block {
    this.expect("{");
    this.deepen();
    if (!hasScope) this.scopes.push(new Map<string, Meaning>());
    const statements: Statement[] = [];
    while (!this.take("}")) {
      if (this.take(";")) continue;
      if (LEAVING.includes(statements.at(-1)?.kind ?? "")) this.refuse("a statement follows what leaves the block");
      statements.push(this.statement());
    }
    if (!hasScope) this.scopes.pop();
    this.depth--;
    return { kind: "block", statements };
  }

  private deepen(): void {
    if (++this.depth > STATEMENT_NESTING_MAX) this.refuse(`blocks go deeper than ${STATEMENT_NESTING_MAX}`);
  }

  private statement(): Statement {
    this.operators = 0;
    switch (this.word) {
      case "{":
        return this.block();
      case "if":
        return this.if();
      case "loop":
        this.at++;
        return this.ending({ kind: "loop", first: null, condition: null, after: null, body: this.loopBody() });
      case "while": {
        this.at++;
        const condition = this.condition();
        return { kind: "loop", first: null, condition, after: null, body: this.loopBody() };
      }
      case "for":
        return this.for();
      case "switch":
        return this.switch();
      case "const":
        this.constant();
        return { kind: "block", statements: [] };
      default: {
        const statement = this.simple();
        this.expect(";");
        return statement;
      }
    }
  }

  /** A statement that ends with a semicolon. */
  private simple(): Simple {
    const { word } = this;
    switch (word) {
      case "let":
      case "var":
        return this.declaration();
      case "break":
        this.at++;
        if (this.state.breakable === 0) this.refuse("break stands in a loop or a switch");
        return { kind: "break" };
      case "continue":
        this.at++;
        if (this.state.loops === 0) this.refuse("continue stands in a loop");
        return { kind: "continue" };
      case "return":
        return this.return();
      case "workgroupBarrier":
        return this.barrier();
    }
    if (ATOMICS.has(word)) return this.atomic();
    const meaning = this.find(word);
    return meaning?.kind === "function" ? this.perform(meaning) : this.assignment();
  }

  private declaration(): Declare {
    const isMutable = this.next().text === "var";
    const name = this.name();
    let type: Scalar | null = null;
    if (this.take(":")) {
      const given = this.memoryType(true);
      if (given.isAtomic || (given.length !== null && !isMutable)) {
        this.refuse("a function's array is var, and not atomic");
      }
      ({ type } = given);
      if (given.length !== null) {
        this.addPrivate(given.length);
        return { kind: "declare", variable: this.declared(name, type, isMutable, given.length), value: null };
      }
    }
    let value: Expression | null = null;
    if (this.take("=")) {
      value = this.expression(true);
      value = type === null ? this.concrete(value) : this.as(value, type);
    } else if (!isMutable || type === null) this.refuse(`${name} needs a value, or as var a type`);
    const variable = this.declared(name, type ?? (value!.type as Scalar), isMutable, null);
    return { kind: "declare", variable, value };
  }

  private declared(name: string, type: Scalar, isMutable: boolean, length: number | null): Variable {
    const variable = this.variable(name, "local", type, length);
    variable.isMutable = isMutable;
    this.declare(name, variable);
    return variable;
  }

  private assignment(): Assign {
    const target = this.operand();
    if (
      (target.kind !== "read" && target.kind !== "element") ||
      !target.variable.isMutable ||
      target.variable.isAtomic
    ) {
      return this.refuse("only a var can be assigned to");
    }
    if (target.variable.space !== "local") this.state.isPure = false;
    const { text } = this.next();
    if (text === "++" || text === "--") {
      if (target.type !== "i32" && target.type !== "u32") this.refuse(`${text} does not take ${target.type}`);
      const one = this.as({ kind: "constant", type: "int", value: 1n }, target.type);
      return { kind: "assign", target, value: this.binary(text.charAt(0), target, one) };
    }
    const value = this.expression();
    if (text === "=") return { kind: "assign", target, value: this.as(value, target.type) };
    if (!ASSIGNMENTS.includes(text)) this.refuse(`= is expected, not ${text}`);
    return { kind: "assign", target, value: this.as(this.binary(text.slice(0, -1), target, value), target.type) };
  }

  private perform(called: Func): Simple {
    this.at++;
    const call = this.call(called);
    const calls = this.state.impureCalls;
    const [first] = calls;
    if (first !== undefined && (calls.length > 1 || called.isPure)) this.refuse(`${first.sourceName} writes: call it alone`);
    this.state.impureCalls = [];
    return { kind: "perform", call };
  }

  private atomic(): Simple {
    const name = this.next().text;
    this.expect("(");
    const element = this.address();
    this.expect(",");
    const value = this.as(this.expression(), element.type);
    this.take(",");
    this.expect(")");
    const { variable } = element;
    const family = ATOMICS.get(name)!;
    if (variable.family !== null && variable.family !== family) {
      this.refuse(`${variable.sourceName} is used with atomics that do not commute`);
    }
    variable.family = family;
    this.state.isPure = false;
    return { kind: "atomic", function: name, element, value };
  }

  private barrier(): Simple {
    this.at++;
    this.expect("(");
    this.expect(")");
    if (!this.state.isEntry || this.depth !== 1) {
      this.refuse("a barrier stands in the entry point and in no inner block");
    }
    this.hasBarrier = true;
    return { kind: "barrier" };
  }

  private return(): Simple {
    this.at++;
    this.state.hasReturn = true;
    const { type } = this.state;
    if (this.is(";")) {
      if (type !== null) this.refuse("return needs a value here");
      return { kind: "return", value: null };
    }
    const value = this.expression();
    if (type === null) return this.refuse("this function returns nothing");
    return { kind: "return", value: this.as(value, type) };
  }

  private condition(): Expression {
    return this.as(this.expression(), "bool");
  }

  private if(): If {
    this.expect("if");
    const condition = this.condition();
    const then = this.block();
    if (!this.take("else")) return { kind: "if", condition, then, otherwise: null };
    if (!this.is("if")) return { kind: "if", condition, then, otherwise: this.block() };
    this.deepen();
    const otherwise: Block = { kind: "block", statements: [this.if()] };
    this.depth--;
    return { kind: "if", condition, then, otherwise };
  }

  private loopBody(): Block {
    this.state.loops++;
    this.state.breakable++;
    const body = this.block();
    this.state.loops--;
    this.state.breakable--;
    return body;
  }

  private for(): Statement {
    this.expect("for");
    this.scopes.push(new Map<string, Meaning>());
    this.expect("(");
    let first: Declare | Assign | null = null;
    if (!this.is(";")) first = this.word === "let" || this.word === "var" ? this.declaration() : this.assignment();
    this.expect(";");
    const condition = this.is(";") ? null : this.condition();
    this.expect(";");
    const after = this.is(")") ? null : this.assignment();
    this.expect(")");
    const body = this.loopBody();
    this.scopes.pop();
    return this.ending({ kind: "loop", first, condition, after, body });
  }

  private ending(loop: Statement): Statement {
    if (ways(loop).size === 0) this.refuse("a loop without a condition needs a break or a return");
    return loop;
  }

  private switch(): Statement {
    this.expect("switch");
    const value = this.concrete(this.expression());
    if (value.type !== "i32" && value.type !== "u32") this.refuse("a switch decides by i32 or u32");
    this.expect("{");
    const cases: { readonly selectors: readonly Constant[]; readonly body: Block }[] = [];
    const seen = new Set<unknown>();
    let otherwise: Block | null = null;
    while (!this.take("}")) {
      if (this.take("default")) {
        this.take(":");
        if (otherwise !== null) this.refuse("a switch has one default");
        otherwise = this.caseBody();
        continue;
      }
      this.expect("case");
      this.operators = 0;
      const selectors: Constant[] = [];
      do {
        const selector = this.as(this.expression(), value.type);
        if (selector.kind !== "constant" || seen.has(selector.value)) {
          return this.refuse("a case is a constant, and none stands twice");
        }
        seen.add(selector.value);
        selectors.push(selector);
      } while (this.take(",") && !this.is("{") && !this.is(":"));
      this.take(":");
      cases.push({ selectors, body: this.caseBody() });
    }
    if (otherwise === null) return this.refuse("a switch has a default");
    return { kind: "switch", value, cases, otherwise };
  }

  private caseBody(): Block {
    this.state.breakable++;
    const body = this.block();
    this.state.breakable--;
    return body;
  }

  protected constant(): void {
    this.expect("const");
    const name = this.name();
    const type = this.take(":") ? this.scalar() : null;
    this.expect("=");
    if (type === null && this.is("array")) this.table(name);
    else {
      const value = this.expression();
      if (value.kind !== "constant") return this.refuse(`${name} is not constant`);
      this.declare(name, type === null ? value : (this.as(value, type) as Constant));
    }
    this.expect(";");
  }

  private table(name: string): void {
    const { type, length, isAtomic } = this.memoryType(true);
    if (isAtomic || length === null || this.scopes.length > 1) {
      return this.refuse("a constant array stands outside of functions and holds plain values");
    }
    this.expect("(");
    const values: Constant[] = [];
    while (!this.take(")")) {
      this.operators = 0;
      const value = this.as(this.expression(), type);
      if (value.kind !== "constant") return this.refuse(`${name} is not constant`);
      values.push(value);
      if (!this.take(",")) {
        this.expect(")");
        break;
      }
    }
    if (values.length !== length) this.refuse(`${name} has ${length} elements, not ${values.length}`);
    this.tableBytes += 4 * length;
    if (this.tableBytes > TABLE_BYTES_MAX) this.refuse(`constant arrays have more than ${TABLE_BYTES_MAX} bytes`);
    const table = this.variable(name, "table", type, length);
    table.values = values;
    this.globals.push(table);
    this.declare(name, table);
  }

  protected addPrivate(length: number): void {
    this.privateBytes += 4 * length;
    if (this.privateBytes > PRIVATE_BYTES_MAX) this.refuse(`private arrays have more than ${PRIVATE_BYTES_MAX} bytes`);
  }
}
