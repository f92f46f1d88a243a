/**
 * From a kernel's source to its tree, or the reason why not (spec/gpu.md, "Grammar" and "Rules").
 *
 *     source --tokens--> words --Reading, ExpressionParser, StatementParser, parse--> Kernel
 *
 * One pass: a name is declared before it is used. So no function can come back to itself, and each expression's type is
 * known when it has been read. Whatever the bytes are, they become a `Kernel` or `ModuleRefused`.
 */

import { WEIGHT_MAX } from "./expressions";
import { returns } from "./flow";
import { FunctionState, type Meaning, type Uniform } from "./reading";
import { StatementParser } from "./statements";
import type { Func, Kernel, Variable } from "./syntax";
import { tokens } from "./tokens";

/** Both are what WebGPU promises on every device. */
const WORKGROUP_SIZE_MAX = 256;
const WORKGROUP_BYTES_MAX = 16_384;
/** Besides the one that the guard takes; WebGPU promises eight storage buffers. */
const BINDINGS_MAX = 7;
const FIELDS_MAX = 64;

const BUILTINS: ReadonlyMap<string, "vec3" | "u32"> = new Map([
  ["global_invocation_id", "vec3"],
  ["local_invocation_id", "vec3"],
  ["workgroup_id", "vec3"],
  ["local_invocation_index", "u32"],
]);

/**
 * The kernel of a source.
 *
 * @throws ModuleRefused when it is not a kernel; the message names the line and the rule.
 */
export function parse(source: Uint8Array): Kernel {
  return new Parser(tokens(source)).kernel();
}

interface Attributes {
  group?: number;
  binding?: number;
  builtin?: string;
  workgroup_size?: number;
  isCompute: boolean;
  readonly names: string[];
}

class Parser extends StatementParser {
  private workgroupBytes = 0;
  private readonly functions: Func[] = [];
  private readonly bindings = new Map<number, Variable | Uniform>();
  private uniformBinding = 0;
  private uniform: readonly Variable[] = [];
  private input: Variable | null = null;
  private workgroupSize = 0;
  private readonly builtins: string[] = [];

  kernel(): Kernel {
    while (this.token.kind !== "end") {
      if (this.workgroupSize > 0) this.refuse("nothing may follow the entry point");
      this.operators = 0;
      const attributes = this.attributes();
      switch (this.word) {
        case "struct":
          this.only(attributes);
          this.structure();
          break;
        case "const":
          this.only(attributes);
          this.constant();
          break;
        case "var":
          this.global(attributes);
          break;
        case "fn":
          this.func(attributes);
          break;
        default:
          this.refuse(`${this.word} cannot stand here: a kernel has struct, const, var and fn`);
      }
    }
    const entry = this.functions.at(-1);
    if (this.workgroupSize === 0 || entry === undefined) return this.refuse("there is no @compute entry point");
    if (this.workgroupBytes > 0 && !this.hasBarrier) {
      this.refuse("workgroup memory without a barrier holds nothing certain");
    }
    const outputs = [...this.bindings]
      .sort(([a], [b]) => a - b)
      .flatMap(([, each]) => (each.kind === "variable" && each.space === "output" ? [each] : []));
    if (outputs.length === 0) this.refuse("there is no var<storage, read_write>, so nothing could come out");
    const { functions, workgroupSize, uniformBinding, uniform, input, globals, hasBarrier, usesFloats } = this;
    return {
      ...{ functions, entry, workgroupSize, uniformBinding, uniform, input, outputs },
      ...{ globals, hasBarrier, usesFloats },
    };
  }

  private attributes(): Attributes {
    const found: Attributes = { isCompute: false, names: [] };
    while (this.take("@")) {
      const name = this.next().text;
      if (found.names.includes(name)) this.refuse(`@${name} stands twice`);
      found.names.push(name);
      if (name === "compute") {
        found.isCompute = true;
        continue;
      }
      this.expect("(");
      if (name === "builtin") found.builtin = this.next().text;
      else if (name === "group" || name === "binding" || name === "workgroup_size") {
        found[name] = this.size(name);
        while (this.take(",") && !this.is(")")) {
          if (name !== "workgroup_size" || this.size(name) !== 1) {
            this.refuse("a dispatch has one dimension: the others' size is 1");
          }
        }
      } else this.refuse(`@${name} is not an attribute of a kernel`);
      this.expect(")");
    }
    return found;
  }

  private only({ names }: Attributes, ...allowed: readonly string[]): void {
    for (const name of names) if (!allowed.includes(name)) this.refuse(`@${name} cannot stand here`);
  }

  /** A constant whole number. */
  private size(what: string): number {
    const value = this.expression();
    if (value.kind !== "constant" || typeof value.value !== "bigint") {
      return this.refuse(`${what} takes a constant whole number`);
    }
    return Number(value.value);
  }

  private structure(): void {
    this.expect("struct");
    const name = this.name();
    this.expect("{");
    const fields = new Map<string, Variable>();
    while (!this.take("}")) {
      const field = this.name();
      if (fields.has(field)) this.refuse(`${field} is declared twice`);
      this.expect(":");
      const type = this.scalar();
      if (type === "bool") this.refuse("a field is i32, u32 or f32");
      fields.set(field, this.variable(field, "uniform", type));
      if (!this.take(",")) {
        this.expect("}");
        break;
      }
    }
    this.take(";");
    if (fields.size < 1 || fields.size > FIELDS_MAX) this.refuse(`a struct has 1 to ${FIELDS_MAX} fields`);
    this.declare(name, { kind: "structure", fields });
  }

  private global(attributes: Attributes): void {
    this.expect("var");
    this.expect("<");
    const words = [this.next().text];
    if (this.take(",")) words.push(this.next().text);
    this.closeAngle();
    const name = this.name();
    this.expect(":");
    const space = words.join(", ");
    const isBound = words[0] === "uniform" || words[0] === "storage";
    this.only(attributes, ...(isBound ? ["group", "binding"] : []));
    switch (space) {
      case "uniform":
        this.uniformVariable(name, attributes);
        break;
      case "storage":
      case "storage, read":
      case "storage, read_write":
        this.storage(name, attributes, space === "storage, read_write");
        break;
      case "private":
        this.private(name);
        break;
      case "workgroup":
        this.workgroup(name);
        break;
      default:
        this.refuse(`var<${space}> is not a kernel's`);
    }
    this.expect(";");
  }

  private bind({ group, binding }: Attributes, what: Variable | Uniform): number {
    if (group !== 0 || binding === undefined || binding < 0 || binding >= BINDINGS_MAX) {
      return this.refuse(`a binding has @group(0) and @binding(0) to @binding(${BINDINGS_MAX - 1})`);
    }
    if (this.bindings.has(binding)) this.refuse(`@binding(${binding}) is declared twice`);
    this.bindings.set(binding, what);
    return binding;
  }

  private uniformVariable(name: string, attributes: Attributes): void {
    const structure = this.find(this.name());
    if (structure?.kind !== "structure" || this.uniform.length > 0) {
      return this.refuse("a kernel has one uniform, and its type is a struct");
    }
    const uniform: Uniform = { kind: "uniform", fields: structure.fields };
    this.uniformBinding = this.bind(attributes, uniform);
    this.uniform = [...structure.fields.values()];
    this.declare(name, uniform);
  }

  private storage(name: string, attributes: Attributes, isOutput: boolean): void {
    const { type, length, isAtomic } = this.memoryType(false);
    if (length === null || type === "bool" || (isAtomic && !isOutput)) {
      this.refuse("storage holds array<i32>, array<u32> or array<f32>, and read_write atomics too");
    }
    const variable = this.variable(name, isOutput ? "output" : "input", type, 0);
    variable.isMutable = isOutput;
    variable.isAtomic = isAtomic;
    variable.binding = this.bind(attributes, variable);
    if (!isOutput) {
      if (this.input !== null) this.refuse("a kernel has one var<storage, read>");
      this.input = variable;
    }
    this.declare(name, variable);
  }

  private private(name: string): void {
    const { type, length, isAtomic } = this.memoryType(true);
    if (isAtomic) this.refuse("atomics are in storage or workgroup memory");
    const variable = this.variable(name, "private", type, length);
    variable.isMutable = true;
    if (length !== null) this.addPrivate(length);
    else if (this.take("=")) {
      const value = this.as(this.expression(), type);
      if (value.kind !== "constant") return this.refuse(`${name} is not constant`);
      variable.values = [value];
    }
    this.globals.push(variable);
    this.declare(name, variable);
  }

  private workgroup(name: string): void {
    const { type, length, isAtomic } = this.memoryType(true);
    if (type === "bool") this.refuse("workgroup memory holds i32, u32 or f32");
    const variable = this.variable(name, "workgroup", type, length);
    variable.isMutable = true;
    variable.isAtomic = isAtomic;
    this.workgroupBytes += 4 * (length ?? 1);
    if (this.workgroupBytes > WORKGROUP_BYTES_MAX) {
      this.refuse(`workgroup memory has more than ${WORKGROUP_BYTES_MAX} bytes`);
    }
    this.globals.push(variable);
    this.declare(name, variable);
  }

  private func(attributes: Attributes): void {
    const { isCompute, workgroup_size: size } = attributes;
    const begin = this.at;
    this.only(attributes, ...(isCompute ? ["compute", "workgroup_size"] : []));
    this.expect("fn");
    const sourceName = this.name();
    const name = `f${++this.count}_${sourceName}`;
    this.scopes.push(new Map<string, Meaning>());
    this.expect("(");
    const parameters: Variable[] = [];
    while (!this.take(")")) {
      parameters.push(this.parameter(isCompute));
      if (!this.take(",")) {
        this.expect(")");
        break;
      }
    }
    const type = this.take("->") ? this.scalar() : null;
    const state = (this.state = new FunctionState(type, isCompute));
    if (isCompute) {
      if (type !== null) this.refuse("the entry point returns nothing");
      if (size === undefined || size < 1 || size > WORKGROUP_SIZE_MAX) {
        return this.refuse(`the entry point has @workgroup_size(1) to @workgroup_size(${WORKGROUP_SIZE_MAX})`);
      }
      this.workgroupSize = size;
    }
    const body = this.block(true);
    if (type !== null && !returns(body)) this.refuse(`${sourceName} may end without a value: it must end with return`);
    if (this.hasBarrier && isCompute && state.hasReturn) {
      this.refuse("an entry point with a barrier cannot return early");
    }
    this.scopes.pop();
    const weight = state.weight + this.at - begin;
    if (weight > WEIGHT_MAX) this.refuse(`${sourceName} has more than ${WEIGHT_MAX} words with all that it calls`);
    const made: Func = {
      ...{ kind: "function", name, sourceName, parameters, type, body, isPure: state.isPure, weight },
    };
    this.functions.push(made);
    this.declare(sourceName, made);
  }

  private parameter(isEntry: boolean): Variable {
    const attributes = this.attributes();
    this.only(attributes, "builtin");
    const { builtin } = attributes;
    const name = this.name();
    this.expect(":");
    if (!isEntry) {
      if (builtin !== undefined) this.refuse("only the entry point has built-in parameters");
      const variable = this.variable(name, "local", this.scalar());
      this.declare(name, variable);
      return variable;
    }
    const kind = BUILTINS.get(builtin ?? "");
    if (builtin === undefined || kind === undefined) {
      return this.refuse(`a parameter of the entry point is one of ${[...BUILTINS.keys()].join(", ")}`);
    }
    if (this.builtins.includes(builtin)) this.refuse(`${builtin} is declared twice`);
    this.builtins.push(builtin);
    if (kind === "u32") this.expect("u32");
    else if (this.take("vec3")) {
      this.expect("<");
      this.expect("u32");
      this.closeAngle();
    } else this.expect("vec3u");
    const variable = this.variable(name, "builtin", "u32");
    variable.sourceName = builtin;
    this.declare(name, kind === "u32" ? variable : { kind: "builtin", variable });
    return variable;
  }
}
