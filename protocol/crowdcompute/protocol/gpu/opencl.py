"""A kernel as OpenCL C 1.2 that means what its WGSL means (spec/gpu.md, "OpenCL").

Signed arithmetic goes through unsigned, because C leaves its overflow open; dividing by zero, shifting too far and
converting what does not fit have the results that WGSL gives them; and nothing is contracted into a fused operation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .constants import bits, literal_of
from .printing import OUT_OF_BOUNDS, OUT_OF_FUEL, Printer
from .syntax import Constant

if TYPE_CHECKING:
    from .syntax import Atomic, Binary, Bitcast, Call, Convert, Function, Intrinsic, Kernel, Unary, Variable

ENTRY = "g_main"

_TYPES = {"bool": "bool", "i32": "int", "u32": "uint", "f32": "float"}
_HEAD = """\
#pragma OPENCL FP_CONTRACT OFF

uint g_divide_uint(uint a, uint b) { return b == 0u ? a : a / b; }
uint g_remainder_uint(uint a, uint b) { return b == 0u ? 0u : a % b; }
bool g_undivided(int a, int b) { return b == 0 || (b == -1 && as_uint(a) == 0x80000000u); }
int g_divide_int(int a, int b) { return g_undivided(a, b) ? a : a / b; }
int g_remainder_int(int a, int b) { return g_undivided(a, b) ? 0 : a % b; }
uint g_reverse(uint a) {
    a = (a >> 1 & 0x55555555u) | (a & 0x55555555u) << 1;
    a = (a >> 2 & 0x33333333u) | (a & 0x33333333u) << 2;
    a = (a >> 4 & 0x0f0f0f0fu) | (a & 0x0f0f0f0fu) << 4;
    a = (a >> 8 & 0x00ff00ffu) | (a & 0x00ff00ffu) << 8;
    return a >> 16 | a << 16;
}
uint g_trailing(uint a) { return a == 0u ? 32u : 31u - clz(a & (0u - a)); }
"""
_GUARD = """\
uint g_index(g_State *g, uint index, uint last) {{
    uint within = min(index, last);
    g->astray |= within ^ index;
    return within;
}}

uint g_slot(g_State *g, uint index, uint last) {{
    uint first = g->item * (last + 1u), within = min(index - first, last);
    {whose}
}}
"""
_OWN = """g->astray |= within ^ (index - first);
    return first + within;"""
_PERHAPS_OWN = """bool is_own = g->item < g->total;
    g->astray |= (within ^ (index - first)) | (uint)!is_own;
    return is_own ? first + within : 0u;"""
"""Where there is a barrier, the surplus invocations of the last workgroup take part."""
_FLOATS = {"inverseSqrt": "rsqrt", "round": "rint", "min": "fmin", "max": "fmax", "abs": "fabs"}
_ATOMICS = {
    "atomicAdd": "atomic_add", "atomicSub": "atomic_sub", "atomicMax": "atomic_max", "atomicMin": "atomic_min",
    "atomicAnd": "atomic_and", "atomicOr": "atomic_or", "atomicXor": "atomic_xor",
}  # fmt: skip


def opencl(kernel: Kernel, fuel: int, shares: tuple[int, ...]) -> str:
    """The text that an OpenCL driver gets.

    Its kernel `g_main` takes, in this order, the uniform's buffer if there is one, the input's if there is one, each
    output's, the status word's, and three uints: the first invocation of this dispatch, the number of all, and the
    number of elements of the input.
    """
    return _OpenCl(kernel, fuel, shares).text()


class _OpenCl(Printer):
    def text(self) -> str:
        kernel = self.kernel
        self.lines = _HEAD.splitlines()
        for each in kernel.globals:
            if each.space == "table":
                # as_float is computed where something runs.
                values = ", ".join(
                    literal_of(value) if value.type == "f32" else self.constant(value) for value in each.values
                )
                self.line(f"__constant {_TYPES[each.type]} {each.name}[{each.length}] = {{{values}}};")
        self._state()
        self.lines += _GUARD.format(whose=_PERHAPS_OWN if kernel.has_barrier else _OWN).splitlines()
        for function in kernel.functions:
            self._function(function)
        self._entry()
        return "\n".join(self.lines) + "\n"

    def _buffers(self) -> list[tuple[str, str]]:
        """Type and name of each parameter that is a buffer, in order."""
        kernel = self.kernel
        found = [("__constant g_Uniform *", "uniform")] if kernel.uniform else []
        if kernel.input is not None:
            found.append((f"__global const {_TYPES[kernel.input.type]} *", kernel.input.name))
        for each in kernel.outputs:
            found.append((f"__global {'volatile ' if each.is_atomic else ''}{_TYPES[each.type]} *", each.name))
        return found

    def _state(self) -> None:
        """The structure through which functions reach everything outside of them."""
        kernel = self.kernel
        if kernel.uniform:
            fields = " ".join(f"{_TYPES[each.type]} {each.name};" for each in kernel.uniform)
            self.line("")
            self.line(f"typedef struct {{ {fields} }} g_Uniform;")
        self.line("")
        self.line("typedef struct {")
        for kind, name in self._buffers():
            self.line(f"    {kind}{name};")
        for each in kernel.globals:
            if each.space == "private":
                self.line(f"    {self._declared(each)};")
            elif each.space == "workgroup":
                self.line(f"    __local {'volatile ' if each.is_atomic else ''}{_TYPES[each.type]} *{each.name};")
        self.line("    uint item, total, input, last, fuel, astray;")
        self.line("} g_State;")
        self.line("")

    def _declared(self, variable: Variable) -> str:
        length = "" if variable.length is None else f"[{variable.length}]"
        return f"{_TYPES[variable.type]} {variable.name}{length}"

    def _function(self, function: Function) -> None:
        parameters = ", ".join(["g_State *g", *(f"{_TYPES[each.type]} {each.name}" for each in function.parameters)])
        result = "void" if function.type is None else _TYPES[function.type]
        self.line("")
        self.block(function.body, f"{result} {function.name}({parameters})")

    def _entry(self) -> None:
        kernel = self.kernel
        size = kernel.workgroup_size
        buffers = "".join(f"{kind}{name}, " for kind, name in self._buffers())
        self.line("")
        self.line(f"__kernel __attribute__((reqd_work_group_size({size}, 1, 1)))")
        self.line(f"void {ENTRY}({buffers}__global volatile uint *status, uint base, uint total, uint input) {{")
        self._indent += 1
        shared = [each for each in kernel.globals if each.space == "workgroup"]
        for each in shared:
            self.line(f"__local {_TYPES[each.type]} l_{each.name}[{each.length or 1}];")
        self.line("uint local_item = (uint)get_local_id(0);")
        self.line("uint item = base + (uint)get_global_id(0);")
        if not kernel.has_barrier:
            self.line("if (item >= total) {")
            self.line("    return;")
            self.line("}")
        self.line("g_State state;")
        self.line("g_State *g = &state;")
        for _, name in self._buffers():
            self.line(f"g->{name} = {name};")
        for each in kernel.globals:
            if each.space == "private" and each.length is None:
                self.line(f"g->{each.name} = {self.constant(each.values[0]) if each.values else '0'};")
            elif each.space == "private":
                self.line(f"for (uint i = 0u; i < {each.length}u; i++) g->{each.name}[i] = 0;")
        for each in shared:
            self.line(f"g->{each.name} = l_{each.name};")
            self.line(f"for (uint i = local_item; i < {each.length or 1}u; i += {size}u) l_{each.name}[i] = 0;")
        self.line("g->item = item; g->total = total; g->input = input; g->last = max(input, 1u) - 1u;")
        self.line(f"g->fuel = {self.fuel + 1}u; g->astray = 0u;")
        if shared and kernel.has_barrier:
            self.line(f"{self.barrier()};")
        values = {
            "global_invocation_id": "item",
            "local_invocation_id": "local_item",
            "local_invocation_index": "local_item",
            "workgroup_id": f"item / {size}u",
        }
        arguments = ", ".join(["g", *(values[each.source_name] for each in kernel.entry.parameters)])
        self.line(f"{kernel.entry.name}({arguments});")
        self.line(f"if (g->fuel == 0u) {{ atomic_or(status, {OUT_OF_FUEL}u); }}")
        self.line(f"if (g->astray != 0u) {{ atomic_or(status, {OUT_OF_BOUNDS}u); }}")
        self._indent -= 1
        self.line("}")

    # ---- the words of OpenCL C

    def constant(self, constant: Constant) -> str:
        if constant.type == "bool":
            return "true" if constant.value else "false"
        if constant.type == "f32":
            return f"as_float({bits(constant):#010x}u)"
        if constant.type == "u32":
            return f"{constant.value}u"
        return f"{constant.value}" if constant.value >= 0 else f"as_int({bits(constant):#010x}u)"

    def place(self, variable: Variable) -> str:
        match variable.space:
            case "uniform":
                return f"g->uniform->{variable.name}"
            case "workgroup" if variable.length is None:
                return f"(*g->{variable.name})"
            case "input" | "output" | "private" | "workgroup":
                return f"g->{variable.name}"
            case _:
                return variable.name

    def index(self, index: str, last: str) -> str:
        return f"g_index(g, {index}, {last})"

    def slot(self, index: str, last: str) -> str:
        return f"g_slot(g, {index}, {last})"

    def input_length(self) -> str:
        return "g->input"

    def input_last(self) -> str:
        return "g->last"

    def unsigned(self, text: str) -> str:
        return f"as_uint({text})"

    def unary(self, unary: Unary, operand: str) -> str:
        if unary.operator == "-" and unary.type == "i32":
            return f"as_int(0u - as_uint({operand}))"
        return f"({unary.operator}{operand})"

    def binary(self, binary: Binary, left: str, right: str) -> str:
        operator, type_ = binary.operator, binary.left.type
        if operator in ("<<", ">>"):
            if not isinstance(binary.right, Constant):
                right = f"({right} & 31u)"
            if type_ == "i32" and operator == "<<":
                return f"as_int(as_uint({left}) << {right})"
        elif (
            operator in ("/", "%")
            and type_ in ("i32", "u32")
            and (type_ == "i32" or not isinstance(binary.right, Constant))
        ):
            return f"g_{'divide' if operator == '/' else 'remainder'}_{_TYPES[type_]}({left}, {right})"
        elif operator in ("+", "-", "*") and type_ == "i32":
            return f"as_int(as_uint({left}) {operator} as_uint({right}))"
        return f"({left} {operator} {right})"

    def convert(self, convert: Convert, operand: str) -> str:
        source, target = convert.operand.type, convert.type
        if target == "bool":
            return f"({operand} != 0)"
        if source == "bool":
            return f"({operand} ? ({_TYPES[target]})1 : ({_TYPES[target]})0)"
        if source == "f32":
            # The largest f32 that the integer type holds.
            return (
                f"convert_uint_sat_rtz(fmin({operand}, 4294967040.0f))"
                if target == "u32"
                else f"convert_int_sat_rtz(fmin({operand}, 2147483520.0f))"
            )
        return f"convert_float({operand})" if target == "f32" else f"as_{_TYPES[target]}({operand})"

    def bitcast(self, bitcast: Bitcast, operand: str) -> str:
        return f"as_{_TYPES[bitcast.type]}({operand})"

    def intrinsic(self, intrinsic: Intrinsic, arguments: list[str]) -> str:
        name, type_ = intrinsic.name, intrinsic.type
        match name:
            case "select":
                otherwise, value, condition = arguments
                return f"({condition} ? {value} : {otherwise})"
            case "clamp":
                value, low, high = arguments
                prefix = "f" if type_ == "f32" else ""
                return f"{prefix}min({prefix}max({value}, {low}), {high})"
            case "abs" if type_ == "i32":
                return f"as_int(abs({arguments[0]}))"
            case "abs" if type_ == "u32":
                return arguments[0]
            case "fma":
                # Neither Vulkan driver tried fuses it, and WGSL lets them.
                return f"({arguments[0]} * {arguments[1]} + {arguments[2]})"
            case "fract":
                return f"({arguments[0]} - floor({arguments[0]}))"
            case "countOneBits":
                return f"popcount({arguments[0]})"
            case "countLeadingZeros":
                return f"clz({arguments[0]})"
            case "countTrailingZeros" | "reverseBits":
                function = "g_trailing" if name == "countTrailingZeros" else "g_reverse"
                if type_ == "i32":
                    return f"as_int({function}(as_uint({arguments[0]})))"
                return f"{function}({arguments[0]})"
            case _:
                function = _FLOATS.get(name, name) if type_ == "f32" else name
                return f"{function}({', '.join(arguments)})"

    def call(self, call: Call, arguments: list[str]) -> str:
        return f"{call.function.name}({', '.join(['g', *arguments])})"

    def loaded(self, place: str) -> str:
        return f"({place})"

    def atomic(self, atomic: Atomic, place: str, value: str) -> str:
        return f"{_ATOMICS[atomic.function]}(&{place}, {value})"

    def declaration(self, variable: Variable, value: str | None) -> str:
        if value is None:
            value = "0" if variable.length is None else "{0}"
        return f"{self._declared(variable)} = {value}"

    def barrier(self) -> str:
        return "barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)"

    def burn(self) -> str:
        return "g->fuel = max(g->fuel, 1u) - 1u; if (g->fuel == 0u) { break; }"

    def case(self, selectors: list[str]) -> str:
        return " ".join(f"case {each}:" for each in selectors) if selectors else "default:"

    def end_of_case(self) -> str | None:
        return "break;"
