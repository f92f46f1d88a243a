"""Random statements of kernels: valid, of every kind of operator, and meaning the same to every compiler.

They see `start` and `id.x`, and write `out[id.x]` (tests/node/test_gpu_executor.py, `kernel`). Some burn all their
fuel, some leave their arrays: that ends every device's chunk alike.

Those of floats write eight numbers for each invocation, which may be anything that kernel_reference.py allows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

ARITHMETIC = ("+", "-", "*", "/", "%", "&", "|", "^")
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
FUNCTIONS = """
var<private> state: u32;
var<private> memory: array<i32, 5>;
const PRIMES = array<u32, 4>(2u, 3u, 0x80000001u, 0xffffffffu);
fn mixed(x: u32, y: i32) -> u32 {
    if (y < 0) { return x * 2654435761u; }
    return (x ^ (x >> 15u)) + u32(y);
}
fn stepped(x: u32) -> u32 {
    state = state * 1664525u + x;
    memory[state % 5u] -= i32(x);
    return state >> 3u;
}
"""


class _Flow(ABC):
    """Statements that hold others, whatever those compute."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._count = 0

    @abstractmethod
    def _statement(self, depth: int) -> str:
        """A statement; those it holds are at most so deep."""

    @abstractmethod
    def _bool(self, depth: int) -> str:
        """A condition, at most so deep."""

    def _branch(self, depth: int, condition_depth: int) -> str:
        other = f" else {{ {self._statement(depth - 1)} }}" if self._rng.random() < 0.6 else ""
        condition = self._bool(condition_depth)
        return f"if ({condition}) {{ {self._statement(depth - 1)} {self._statement(depth - 1)} }}{other}"

    def _loop(self, name: str, depth: int, condition_depth: int, turns_max: int) -> str:
        leave = f"if ({self._bool(condition_depth)}) {{ {self._rng.choice(('break', 'continue'))}; }}"
        turns = f"var {name} = 0u; {name} < {self._rng.randint(1, turns_max)}u; {name}++"
        return f"for ({turns}) {{ {leave} {self._statement(depth - 1)} }}"


class Kernels(_Flow):
    """A source of kernels' statements; the same for the same `rng`."""

    def statements(self) -> str:
        self._count = 0
        lines = ["var a = start + id.x; var b = i32(start) - i32(id.x) * 3; var c = start > 5u; var t: array<u32, 6>;"]
        lines += [self._statement(3) for _ in range(self._rng.randint(3, 8))]
        lines.append("out[id.x] = a ^ u32(b) ^ (u32(c) << 7u) ^ t[a % 6u] ^ state ^ u32(memory[b & 3]);")
        return "\n".join(lines)

    def _statement(self, depth: int) -> str:
        rng = self._rng
        self._count += 1
        name = f"n{self._count}"
        match rng.randint(0, 10 if depth else 4):
            case 0:
                return f"a {rng.choice(ARITHMETIC)}= {self._u32(3)};" if rng.random() < 0.8 else "a++;"
            case 1:
                return f"b = {self._i32(3)};"
            case 2:
                return f"c = {self._bool(3)};"
            case 3:
                return f"t[{self._index(6)}] = {self._u32(2)};"
            case 4:
                return f"let {name} = stepped({self._u32(2)}); a ^= {name};"
            case 5 | 6:
                return self._branch(depth, 3)
            case 7:
                return self._loop(name, depth, 2, 9)
            case 8:
                return (
                    f"var {name} = {self._i32(1)} & 7; while ({name} > 0) {{ {name}--; {self._statement(depth - 1)} }}"
                )
            case 9:
                cases = (
                    f"case {rng.randint(0, 2)}u, 3u: {{ {self._statement(depth - 1)} }} case 4u: {{ a += 1u; break; }}"
                )
                return f"switch ({self._u32(2)} % 6u) {{ {cases} default: {{ {self._statement(depth - 1)} }} }}"
            case _:
                return f"memory[{self._index(5)}] {rng.choice(ARITHMETIC[:3])}= {self._i32(2)};"

    def _index(self, length: int) -> str:
        """Mostly within; signed indices may be negative."""
        return self._rng.choice((f"{self._u32(1)} % {length}u",) * 8 + (f"{self._i32(1)} % {length}",))

    def _u32(self, depth: int) -> str:
        rng = self._rng
        if depth == 0:
            return rng.choice(("a", "start", "id.x", "state", f"{rng.getrandbits(32)}u", f"{rng.randint(0, 40)}u"))

        def x() -> str:
            return self._u32(depth - 1)

        def y() -> str:
            return self._i32(depth - 1)

        match rng.randint(0, 12):
            case 0 | 1 | 2 | 3:
                return f"({x()} {rng.choice(ARITHMETIC)} (a ^ {x()}))"
            case 4:
                return f"(({x()} ^ a) {rng.choice(('<<', '>>'))} ({x()} ^ start))"
            case 5:
                return f"u32({y()} ^ b)"
            case 6:
                return f"bitcast<u32>({y()} | b)"
            case 7:
                return f"select({x()}, a, {self._bool(depth - 1)})"
            case 8:
                name = rng.choice(("countOneBits", "countLeadingZeros", "countTrailingZeros", "reverseBits", "abs"))
                return f"{name}({x()} ^ a)"
            case 9:
                return f"{rng.choice(('min', 'max'))}({x()}, a)"
            case 10:
                return f"clamp(a, {x()}, ({x()} ^ start))"
            case 11:
                return f"mixed({x()}, {y()})"
            case _:
                return f"(~{x()} + PRIMES[{x()} & 3u] + t[{x()} % 6u])"

    def _i32(self, depth: int) -> str:
        rng = self._rng
        if depth == 0:
            return rng.choice(("b", "memory[2]", f"{rng.randint(0, 2**31 - 1)}", f"({-rng.randint(1, 2**31)})"))

        def y() -> str:
            return self._i32(depth - 1)

        match rng.randint(0, 7):
            case 0 | 1 | 2:
                return f"({y()} {rng.choice(ARITHMETIC)} (b ^ {y()}))"
            case 3:
                return f"(({y()} ^ b) {rng.choice(('<<', '>>'))} ({self._u32(depth - 1)} ^ a))"
            case 4:
                return f"i32({self._u32(depth - 1)} ^ a)"
            case 5:
                return f"-(b - {y()})"
            case 6:
                return f"{rng.choice(('min', 'max'))}({y()}, b)"
            case _:
                return f"select({y()}, abs(b), {self._bool(depth - 1)})"

    def _bool(self, depth: int) -> str:
        rng = self._rng
        if depth == 0:
            return rng.choice(("c", "true", "(a > 9u)", "(b < 0)"))
        match rng.randint(0, 4):
            case 0 | 1:
                return f"({self._u32(depth - 1)} {rng.choice(COMPARISONS)} a)"
            case 2:
                return f"({self._i32(depth - 1)} {rng.choice(COMPARISONS)} b)"
            case 3:
                return f"(c {rng.choice(('&&', '||'))} {self._bool(depth - 1)})"
            case _:
                return f"!{self._bool(depth - 1)}"


NUMBERS = 8
"""That each invocation of a kernel of floats puts out."""
FLOAT_FUNCTIONS = """
var<private> zero: u32;
var<private> state: f32 = -0.75;
const WEIGHTS = array<f32, 8>(0.1, -3.0, 0.0, 1e-40, -1e-38, 65504.0, 0.333333333, -7.25);
fn opaque(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ zero); }
fn given(seed: u32) -> f32 {
    var x = seed * 2654435769u;
    x = (x ^ (x >> 15u)) * 2246822519u;
    return f32(i32(x >> 15u) - 65536) * 0.0078125;
}
fn blended(x: f32, y: f32) -> f32 {
    if (y < 0.0) { return x - y; }
    return x + y * 0.5;
}
"""


class FloatKernels(_Flow):
    """A source of statements that compute with floats; the same for the same `rng`.

    Args:
        is_opaque: Each operation's result goes through bits, so that no compiler does them in another order.
    """

    def __init__(self, rng: Random, *, is_opaque: bool) -> None:
        super().__init__(rng)
        self._is_opaque = is_opaque

    def statements(self) -> str:
        self._count = 0
        # A chunk from 5 on: so this is zero, but only who runs it knows.
        lines = ["zero = start - 5u; let seed = start * 64u + id.x; var t: array<f32, 4>;"]
        lines += [f"var x{number} = given(seed * 4u + {number}u);" for number in range(4)]
        lines += [self._statement(2) for _ in range(self._rng.randint(3, 7))]
        lines += [f"out[{NUMBERS}u * id.x + {number}u] = {self._kept(self._f32(3))};" for number in range(NUMBERS)]
        return "\n".join(lines)

    def _kept(self, value: str) -> str:
        """What stays as small as it was, so that it can be computed with again."""
        return f"clamp({value}, -512.0, 512.0)"

    def _statement(self, depth: int) -> str:
        rng = self._rng
        self._count += 1
        name = f"n{self._count}"
        target = f"x{rng.randrange(4)}"
        match rng.randint(0, 8 if depth else 3):
            case 0 | 1:
                return f"{target} = {self._kept(self._f32(3))};"
            case 2:
                return f"t[{self._index()}] = {self._kept(self._f32(2))};"
            case 3:
                return f"let {name} = {self._f32(2)}; state = {self._kept(f'state + {name}')};"
            case 4 | 5:
                return self._branch(depth, 1)
            case 6:
                return self._loop(name, depth, 1, 6)
            case 7:
                case = f"case 1u: {{ {self._statement(depth - 1)} }}"
                return f"switch (u32({self._variable()}) % 3u) {{ {case} default: {{ }} }}"
            case _:
                return f"{target} = {self._kept(f'{target} + {self._f32(2)}')};"

    def _index(self) -> str:
        return f"u32(abs({self._variable()} - {self._f32(1)})) % 4u"

    def _seen(self, value: str) -> str:
        return f"opaque({value})" if self._is_opaque else value

    def _number(self) -> str:
        return repr(self._rng.choice((0.1, 0.3, 0.5, 1.0, 2.0, 3.0, 7.0, self._rng.uniform(-9, 9))))

    def _f32(self, depth: int) -> str:
        rng = self._rng
        if depth == 0:
            number = self._number()
            return rng.choice(("x0", "x1", "x2", "x3", "state", f"({number})" if number[0] == "-" else number))

        def x() -> str:
            return self._f32(depth - 1)

        match rng.randint(0, 15):
            case 0 | 1 | 2 | 3:
                return self._seen(f"({x()} {rng.choice('+-*')} {self._variable()})")
            case 4:
                return self._seen(
                    f"({x()} / ({self._seen(f'(abs({self._variable()}) + 0.5)')} * {rng.choice(('1.0', '(-3.0)'))}))"
                )
            case 5:
                return self._seen(f"(x0 / {rng.choice(('3.0', '7.0', '0.1', '10.0'))})")
            case 6:
                return f"-({x()} - {self._variable()})"
            case 7:
                return f"{rng.choice(('min', 'max'))}({x()}, {self._variable()})"
            case 8:
                return f"select({x()}, {self._variable()}, {self._bool(depth - 1)})"
            case 9:
                return self._seen(
                    f"{rng.choice(('floor', 'ceil', 'trunc', 'round', 'sign', 'fract'))}({self._variable()})"
                )
            case 10:
                return self._seen(f"fma({self._variable()}, {x()}, {x()})")
            case 11:
                return rng.choice((f"f32(i32({self._variable()} * 4.0))", f"round(floor({self._variable()}) * 0.5)"))
            case 12:
                return self._seen(f"blended({x()}, {self._variable()})")
            case 13:
                return rng.choice((f"t[{rng.randrange(4)}]", f"WEIGHTS[u32(abs({self._variable()})) % 8u]"))
            case _:
                return self._seen(self._transcendental())

    def _variable(self) -> str:
        """What no compiler knows beforehand."""
        return self._rng.choice(("x0", "x1", "x2", "x3"))

    def _transcendental(self) -> str:
        name = self._rng.choice(
            ("sqrt", "inverseSqrt", "exp", "exp2", "log", "log2", "pow", "sin", "cos", "tan", "asin", "acos", "atan",
             "atan2", "sinh", "cosh", "tanh")
        )  # fmt: skip
        x = self._variable()
        positive = self._seen(f"(abs({x}) + 0.25)")
        match name:
            case "sqrt" | "inverseSqrt" | "log" | "log2":
                return f"{name}({positive})"
            case "pow":
                return f"pow({positive}, clamp({self._variable()}, -2.0, 2.0))"
            case "atan2":
                return f"atan2({x}, {self._seen(f'(abs({self._variable()}) + 0.25)')})"
            case "asin" | "acos":
                return f"{name}(clamp({x}, -0.99, 0.99))"
            case "tan":
                return f"tan(clamp({x}, -1.25, 1.25))"
            case "sin" | "cos":
                return f"{name}(clamp({x}, -3.0, 3.0))"
            case "atan":
                return f"atan({x})"
            case _:
                return f"{name}(clamp({x}, -8.0, 8.0))"

    def _bool(self, depth: int) -> str:
        rng = self._rng
        if depth == 0:
            return f"({self._variable()} {rng.choice(COMPARISONS)} {self._number()})"
        match rng.randint(0, 3):
            case 0 | 1:
                return f"({self._f32(1)} {rng.choice(COMPARISONS)} {self._variable()})"
            case 2:
                return f"({self._bool(0)} {rng.choice(('&&', '||'))} {self._bool(0)})"
            case _:
                return f"!{self._bool(depth - 1)}"
