/**
 * A kernel as WGSL that is safe to run (spec/gpu.md, "Guard").
 *
 * Brackets stand around everything, so nothing depends on precedences. A loop burns fuel at its head, an index goes
 * through a function that sees to it that it is one. Neither branches for what goes wrong, for devices that compute many
 * invocations in step would go both ways: what did is looked at once, when the entry point has returned.
 */

import { bits, literalOf } from "./constants";
import { ENTRY, RUN_BINDING, STATUS_BINDING } from "./guard";
import type { Block, Constant, Element, Expression, Func, Kernel, Simple, Statement, Variable } from "./syntax";

const headOf = (fuel: number, whose: string): string => `\
struct g_Run {
    base: u32,
    total: u32,
    input: u32,
    spare: u32,
}

@group(1) @binding(${STATUS_BINDING}) var<storage, read_write> g_status: atomic<u32>;
@group(1) @binding(${RUN_BINDING}) var<uniform> g_run: g_Run;
var<private> g_fuel: u32 = ${fuel}u;
var<private> g_item: u32;
var<private> g_last: u32;
var<private> g_astray: u32;

fn g_index(index: u32, last: u32) -> u32 {
    let within = min(index, last);
    g_astray |= within ^ index;
    return within;
}

fn g_slot(index: u32, last: u32) -> u32 {
    let first = g_item * (last + 1u);
    let within = min(index - first, last);
    ${whose}
}`;
const OWN = `\
g_astray |= within ^ (index - first);
    return first + within;`;
/** Where there is a barrier, the surplus invocations of the last workgroup take part. */
const PERHAPS_OWN = `\
let is_own = g_item < g_run.total;
    g_astray |= (within ^ (index - first)) | u32(!is_own);
    return select(0u, first + within, is_own);`;
const BURN = "g_fuel = max(g_fuel, 1u) - 1u; if (g_fuel == 0u) { break; }";

/**
 * The text that WebGPU gets; its entry point is `g_main`.
 *
 * @param fuel Turns of loops that one invocation may take.
 * @param shares For each output, how many elements belong to each invocation; for atomics, all there are.
 */
export function guardedWgsl(kernel: Kernel, fuel: number, shares: readonly number[]): string {
  return new Printer(kernel, shares).text(fuel);
}

class Printer {
  private lines: string[] = [];
  private indent = 0;
  private readonly shares = new Map<Variable, number>();

  constructor(
    private readonly kernel: Kernel,
    shares: readonly number[],
  ) {
    kernel.outputs.forEach((output, position) => this.shares.set(output, shares[position]!));
  }

  text(fuel: number): string {
    const { uniform, uniformBinding, input, outputs, globals, functions, entry, hasBarrier } = this.kernel;
    this.lines = headOf(fuel + 1, hasBarrier ? PERHAPS_OWN : OWN).split("\n");
    if (uniform.length > 0) {
      this.line("");
      this.line("struct g_Uniform {");
      for (const { name, type } of uniform) this.line(`    ${name}: ${type},`);
      this.line("}");
      this.line("");
      this.line(`@group(0) @binding(${uniformBinding}) var<uniform> g_uniform: g_Uniform;`);
    }
    for (const each of [...(input === null ? [] : [input]), ...outputs]) {
      const access = each.space === "output" ? "read_write" : "read";
      this.line(`@group(0) @binding(${each.binding}) var<storage, ${access}> ${each.name}: ${typeOf(each)};`);
    }
    for (const each of globals) this.global(each);
    for (const each of functions) this.function(each);
    this.main(entry);
    return `${this.lines.join("\n")}\n`;
  }

  private line(text: string): void {
    this.lines.push("    ".repeat(this.indent) + text);
  }

  private global(variable: Variable): void {
    const { name, space } = variable;
    const kind = typeOf(variable);
    // Not every compiler computes a bitcast where nothing runs yet.
    const values = variable.values.map((each) => (each.type === "f32" ? literalOf(each) : constantText(each))).join(", ");
    if (space === "table") this.line(`const ${name}: ${kind} = ${kind}(${values});`);
    else this.line(`var<${space}> ${name}: ${kind}${values === "" ? "" : ` = ${values}`};`);
  }

  private function({ name, parameters, type, body }: Func): void {
    const given = parameters.map((each) => `${each.name}: ${each.type}`).join(", ");
    this.line("");
    this.block(body, `fn ${name}(${given})${type === null ? "" : ` -> ${type}`}`);
  }

  private main({ name: entry, parameters }: Func): void {
    const { workgroupSize, hasBarrier, input } = this.kernel;
    this.line("");
    this.line(`@compute @workgroup_size(${workgroupSize})`);
    this.line(
      `fn ${ENTRY}(@builtin(global_invocation_id) g_global: vec3<u32>, @builtin(local_invocation_id) g_local: vec3<u32>) {`,
    );
    this.line("    g_item = g_run.base + g_global.x;");
    if (!hasBarrier) {
      this.line("    if (g_item >= g_run.total) {");
      this.line("        return;");
      this.line("    }");
    }
    const values: Readonly<Record<string, string>> = {
      global_invocation_id: "g_item",
      local_invocation_id: "g_local.x",
      local_invocation_index: "g_local.x",
      workgroup_id: `g_item / ${workgroupSize}u`,
    };
    if (input !== null) this.line("    g_last = max(g_run.input, 1u) - 1u;");
    this.line(`    ${entry}(${parameters.map(({ sourceName }) => values[sourceName]).join(", ")});`);
    this.line("    if (g_fuel == 0u) { atomicOr(&g_status, 1u); }");
    this.line("    if (g_astray != 0u) { atomicOr(&g_status, 2u); }");
    this.line("}");
  }

  // ---- statements

  /** `head {` … `}`, with a line before the block's own. */
  private block(block: Block, head: string, first: string | null = null): void {
    this.line(head === "" ? "{" : `${head} {`);
    this.indent++;
    if (first !== null) this.line(first);
    for (const statement of block.statements) this.statement(statement);
    this.indent--;
    this.line("}");
  }

  private statement(node: Statement): void {
    switch (node.kind) {
      case "block":
        if (node.statements.length > 0) this.block(node, "");
        return;
      case "if":
        this.block(node.then, `if (${this.expression(node.condition)})`);
        if (node.otherwise !== null) this.block(node.otherwise, "else");
        return;
      case "loop": {
        const condition = node.condition === null ? "" : this.expression(node.condition);
        const first = node.first === null ? "" : this.simple(node.first);
        const after = node.after === null ? "" : this.simple(node.after);
        return this.block(node.body, `for (${first}; ${condition}; ${after})`, BURN);
      }
      case "switch":
        this.line(`switch (${this.expression(node.value)}) {`);
        this.indent++;
        for (const { selectors, body } of node.cases) {
          this.block(body, `case ${selectors.map(constantText).join(", ")}:`);
        }
        this.block(node.otherwise, "default:");
        this.indent--;
        return this.line("}");
      default:
        return this.line(`${this.simple(node)};`);
    }
  }

  private simple(node: Simple): string {
    switch (node.kind) {
      case "declare": {
        const { variable, value } = node;
        const head = `${variable.isMutable ? "var" : "let"} ${variable.name}: ${typeOf(variable)}`;
        return value === null ? head : `${head} = ${this.expression(value)}`;
      }
      case "assign":
        return `${this.place(node.target)} = ${this.expression(node.value)}`;
      case "perform":
        return this.expression(node.call);
      case "atomic":
        return `${node.function}(&${this.place(node.element)}, ${this.expression(node.value)})`;
      case "barrier":
        return "workgroupBarrier()";
      case "return":
        return node.value === null ? "return" : `return ${this.expression(node.value)}`;
      default:
        return node.kind;
    }
  }

  // ---- expressions

  private place(node: Expression): string {
    if (node.kind === "element") return this.element(node);
    if (node.kind !== "read") throw new Error("only a variable has a place");
    const { name, space } = node.variable;
    return space === "uniform" ? `g_uniform.${name}` : name;
  }

  private element({ variable, index }: Element): string {
    let text = this.expression(index);
    if (index.type === "i32") text = `u32(${text})`;
    if (variable.space === "input") text = `g_index(${text}, g_last)`;
    else if (variable.space === "output") {
      text = `${variable.isAtomic ? "g_index" : "g_slot"}(${text}, ${this.shares.get(variable)! - 1}u)`;
    } else if (index.kind !== "constant") text = `g_index(${text}, ${variable.length! - 1}u)`;
    return `${variable.name}[${text}]`;
  }

  private expression(node: Expression): string {
    switch (node.kind) {
      case "constant":
        return constantText(node);
      case "read":
      case "element":
        return this.place(node);
      case "length":
        return "g_run.input";
      case "unary":
        return `(${node.operator}${this.expression(node.operand)})`;
      case "binary": {
        const { operator, left, right } = node;
        const isOpenShift = (operator === "<<" || operator === ">>") && right.kind !== "constant";
        const second = isOpenShift ? `(${this.expression(right)} & 31u)` : this.expression(right);
        return `(${this.expression(left)} ${operator} ${second})`;
      }
      case "convert":
        return `${node.type}(${this.expression(node.operand)})`;
      case "bitcast":
        return `bitcast<${node.type}>(${this.expression(node.operand)})`;
      case "intrinsic": {
        const given = node.arguments.map((each) => this.expression(each));
        if (node.name === "clamp") return `min(max(${given[0]}, ${given[1]}), ${given[2]})`;
        return `${node.name}(${given.join(", ")})`;
      }
      case "call":
        return `${node.function.name}(${node.arguments.map((each) => this.expression(each)).join(", ")})`;
      case "loaded":
        return `atomicLoad(&${this.element(node.element)})`;
    }
  }
}

function typeOf({ type, length, isAtomic }: Variable): string {
  const element = isAtomic ? `atomic<${type}>` : type;
  return length === null ? element : length === 0 ? `array<${element}>` : `array<${element}, ${length}>`;
}

function constantText(constant: Constant): string {
  const { type, value } = constant;
  if (type === "bool") return value ? "true" : "false";
  if (type === "f32") return `bitcast<f32>(0x${bits(constant).toString(16).padStart(8, "0")}u)`;
  if (type === "u32") return `${value}u`;
  return (value as bigint) >= 0n ? `${value}i` : `i32(${value})`;
}
