"""A kernel as WGSL that is safe to run (spec/gpu.md, "Guard")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .constants import bits, literal_of
from .printing import OUT_OF_BOUNDS, OUT_OF_FUEL, Printer
from .syntax import Constant

if TYPE_CHECKING:
    from .syntax import Atomic, Binary, Bitcast, Call, Convert, Function, Intrinsic, Kernel, Unary, Variable

ENTRY = "g_main"
STATUS_BINDING, RUN_BINDING = 0, 1
"""Of group 1; the kernel's own are in group 0."""

_HEAD = """\
struct g_Run {{
    base: u32,
    total: u32,
    input: u32,
    spare: u32,
}}

@group(1) @binding({status}) var<storage, read_write> g_status: atomic<u32>;
@group(1) @binding({run}) var<uniform> g_run: g_Run;
var<private> g_fuel: u32 = {fuel}u;
var<private> g_item: u32;
var<private> g_last: u32;
var<private> g_astray: u32;

fn g_index(index: u32, last: u32) -> u32 {{
    let within = min(index, last);
    g_astray |= within ^ index;
    return within;
}}

fn g_slot(index: u32, last: u32) -> u32 {{
    let first = g_item * (last + 1u);
    let within = min(index - first, last);
    {whose}
}}
"""
_OWN = """g_astray |= within ^ (index - first);
    return first + within;"""
_PERHAPS_OWN = """let is_own = g_item < g_run.total;
    g_astray |= (within ^ (index - first)) | u32(!is_own);
    return select(0u, first + within, is_own);"""
"""Where there is a barrier, the surplus invocations of the last workgroup take part."""


def guarded_wgsl(kernel: Kernel, fuel: int, shares: tuple[int, ...]) -> str:
    """The text that a browser or a WebGPU library gets; its entry point is `g_main`."""
    return _Wgsl(kernel, fuel, shares).text()


class _Wgsl(Printer):
    def text(self) -> str:
        kernel = self.kernel
        self.lines = _HEAD.format(
            status=STATUS_BINDING,
            run=RUN_BINDING,
            fuel=self.fuel + 1,
            whose=_PERHAPS_OWN if kernel.has_barrier else _OWN,
        ).splitlines()
        if kernel.uniform:
            self.line("")
            self.line("struct g_Uniform {")
            for each in kernel.uniform:
                self.line(f"    {each.name}: {each.type},")
            self.line("}")
            self.line("")
            self.line(f"@group(0) @binding({kernel.uniform_binding}) var<uniform> g_uniform: g_Uniform;")
        for each in (*([kernel.input] if kernel.input is not None else []), *kernel.outputs):
            access = "read_write" if each.space == "output" else "read"
            self.line(f"@group(0) @binding({each.binding}) var<storage, {access}> {each.name}: {self._array(each)};")
        for each in kernel.globals:
            self._global(each)
        for function in kernel.functions:
            self._function(function)
        self._entry(kernel.entry)
        return "\n".join(self.lines) + "\n"

    def _array(self, variable: Variable) -> str:
        element = f"atomic<{variable.type}>" if variable.is_atomic else variable.type
        if variable.length is None:
            return element
        return f"array<{element}, {variable.length}>" if variable.length else f"array<{element}>"

    def _global(self, variable: Variable) -> None:
        # Not every compiler computes a bitcast where nothing runs yet.
        values = ", ".join(literal_of(each) if each.type == "f32" else self.constant(each) for each in variable.values)
        match variable.space:
            case "table":
                kind = self._array(variable)
                self.line(f"const {variable.name}: {kind} = {kind}({values});")
            case space:
                value = f" = {values}" if values else ""
                self.line(f"var<{space}> {variable.name}: {self._array(variable)}{value};")

    def _function(self, function: Function) -> None:
        parameters = ", ".join(f"{each.name}: {each.type}" for each in function.parameters)
        result = f" -> {function.type}" if function.type is not None else ""
        self.line("")
        self.block(function.body, f"fn {function.name}({parameters}){result}")

    def _entry(self, function: Function) -> None:
        parameters = (
            "@builtin(global_invocation_id) g_global: vec3<u32>, @builtin(local_invocation_id) g_local: vec3<u32>"
        )
        self.line("")
        self.line(f"@compute @workgroup_size({self.kernel.workgroup_size})")
        self.line(f"fn {ENTRY}({parameters}) {{")
        self.line("    g_item = g_run.base + g_global.x;")
        if not self.kernel.has_barrier:
            self.line("    if (g_item >= g_run.total) {")
            self.line("        return;")
            self.line("    }")
        values = {
            "global_invocation_id": "g_item",
            "local_invocation_id": "g_local.x",
            "local_invocation_index": "g_local.x",
            "workgroup_id": f"g_item / {self.kernel.workgroup_size}u",
        }
        if self.kernel.input is not None:
            self.line("    g_last = max(g_run.input, 1u) - 1u;")
        self.line(f"    {function.name}({', '.join(values[each.source_name] for each in function.parameters)});")
        self.line(f"    if (g_fuel == 0u) {{ atomicOr(&g_status, {OUT_OF_FUEL}u); }}")
        self.line(f"    if (g_astray != 0u) {{ atomicOr(&g_status, {OUT_OF_BOUNDS}u); }}")
        self.line("}")

    # ---- the words of WGSL

    def constant(self, constant: Constant) -> str:
        if constant.type == "bool":
            return "true" if constant.value else "false"
        if constant.type == "f32":
            return f"bitcast<f32>({bits(constant):#010x}u)"
        if constant.type == "u32":
            return f"{constant.value}u"
        return f"{constant.value}i" if constant.value >= 0 else f"i32({constant.value})"

    def place(self, variable: Variable) -> str:
        return f"g_uniform.{variable.name}" if variable.space == "uniform" else variable.name

    def index(self, index: str, last: str) -> str:
        return f"g_index({index}, {last})"

    def slot(self, index: str, last: str) -> str:
        return f"g_slot({index}, {last})"

    def input_length(self) -> str:
        return "g_run.input"

    def input_last(self) -> str:
        return "g_last"

    def unsigned(self, text: str) -> str:
        return f"u32({text})"

    def unary(self, unary: Unary, operand: str) -> str:
        return f"({unary.operator}{operand})"

    def binary(self, binary: Binary, left: str, right: str) -> str:
        if binary.operator in ("<<", ">>") and not isinstance(binary.right, Constant):
            right = f"({right} & 31u)"
        return f"({left} {binary.operator} {right})"

    def convert(self, convert: Convert, operand: str) -> str:
        return f"{convert.type}({operand})"

    def bitcast(self, bitcast: Bitcast, operand: str) -> str:
        return f"bitcast<{bitcast.type}>({operand})"

    def intrinsic(self, intrinsic: Intrinsic, arguments: list[str]) -> str:
        if intrinsic.name == "clamp":
            value, low, high = arguments
            return f"min(max({value}, {low}), {high})"
        return f"{intrinsic.name}({', '.join(arguments)})"

    def call(self, call: Call, arguments: list[str]) -> str:
        return f"{call.function.name}({', '.join(arguments)})"

    def loaded(self, place: str) -> str:
        return f"atomicLoad(&{place})"

    def atomic(self, atomic: Atomic, place: str, value: str) -> str:
        return f"{atomic.function}(&{place}, {value})"

    def declaration(self, variable: Variable, value: str | None) -> str:
        word = "var" if variable.is_mutable else "let"
        return f"{word} {variable.name}: {self._array(variable)}" + (f" = {value}" if value is not None else "")

    def barrier(self) -> str:
        return "workgroupBarrier()"

    def burn(self) -> str:
        return "g_fuel = max(g_fuel, 1u) - 1u; if (g_fuel == 0u) { break; }"

    def case(self, selectors: list[str]) -> str:
        return f"case {', '.join(selectors)}:" if selectors else "default:"

    def end_of_case(self) -> str | None:
        return None
