"""What a kernel may compute, invocation by invocation, without any driver: a third opinion beside OpenCL and WebGPU.

Whole numbers have one value. A float is a **span**, of all that WGSL lets a device make of it ("Accuracy of built-in
functions" of its specification; `+ - *` and conversions are rounded to the nearest everywhere, research: gpu, section
7). Compilers may reorder what stands in one expression: so its span grows with the magnitudes of all its terms, until
it goes through bits that nobody sees through, as `opaque` in random_kernels.py does. What depends on a comparison that
could go both ways is not known: `Undecided`.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from crowdcompute.protocol.gpu.printing import OUT_OF_BOUNDS, OUT_OF_FUEL
from crowdcompute.protocol.gpu.syntax import (
    Assign,
    Atomic,
    Binary,
    Bitcast,
    Block,
    Break,
    Call,
    Constant,
    Continue,
    Convert,
    Declare,
    Element,
    If,
    Intrinsic,
    Length,
    Loop,
    Perform,
    Read,
    Return,
    Switch,
    Unary,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from crowdcompute.protocol.gpu import Task
    from crowdcompute.protocol.gpu.syntax import Expression, Function, Statement, Variable

HALF_ULP = 2.0**-24
SMALLEST_NORMAL = 2.0**-126
LARGEST = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]


class Undecided(Exception):
    """Devices may differ from here on."""


class _Left(Exception):
    """`break`, `continue` or `return` on its way out."""

    def __init__(self, how: type[Break | Continue | Return], value: Value = False) -> None:
        super().__init__()
        self.how = how
        self.value = value


def single(number: float) -> float:
    """The f32 nearest to a number.

    Raises:
        Undecided: It may overflow.
    """
    if not abs(number) <= LARGEST:
        raise Undecided
    rounded: float = struct.unpack("<f", struct.pack("<f", number))[0]
    return rounded


@dataclass(frozen=True, slots=True)
class Span:
    """All f32 numbers from `low` to `high`."""

    low: float
    high: float
    magnitude: float = 0.0
    """The sum of what has been added up since the last number that compilers could not see through."""
    operations: int = 0
    """How many were done since then."""

    @property
    def largest(self) -> float:
        return max(abs(self.low), abs(self.high))

    def has(self, number: float) -> bool:
        return self.low <= number <= self.high

    def opaque(self) -> Span:
        return Span(self.low, self.high, self.largest, 0)


@dataclass(frozen=True, slots=True)
class Bits:
    """The bits of a float that is not known exactly."""

    span: Span


Value: TypeAlias = bool | int | Span | Bits


def made(low: float, high: float, magnitude: float = 0.0, operations: int = 0) -> Span:
    """A span of what was computed exactly, then rounded; what is too small to be normal may be zero."""
    low, high = single(low), single(high)
    if -SMALLEST_NORMAL < low < 0 or 0 < high < SMALLEST_NORMAL or 0 < low < SMALLEST_NORMAL:
        low, high = min(low, 0.0), max(high, 0.0)
    if -SMALLEST_NORMAL < high < 0:
        high = 0.0
    return Span(low, high, max(magnitude, abs(low), abs(high)), operations)


def widened(low: float, high: float, steps: float, absolute: float = 0.0, *given: Span) -> Span:
    """A span whose ends are at most `steps` units in the last place, or `absolute`, beside the right ones."""
    by_steps = steps * 2 * HALF_ULP
    low -= max(abs(low) * by_steps, absolute)
    high += max(abs(high) * by_steps, absolute)
    operations = max((each.operations for each in given), default=0)
    return made(low, high, 0.0, operations + 1)


def rearranged(low: float, high: float, magnitude: float, operations: int) -> Span:
    """A span of a sum or a product that compilers may do in another order, with other roundings."""
    spare = 0.0 if operations == 1 else operations * HALF_ULP * magnitude
    return made(low - spare, high + spare, magnitude, operations)


def added(left: Span, right: Span) -> Span:
    operations = left.operations + right.operations + 1
    return rearranged(left.low + right.low, left.high + right.high, left.magnitude + right.magnitude, operations)


def negated(span: Span) -> Span:
    return Span(-span.high, -span.low, span.magnitude, span.operations)


def _corners(left: Span, right: Span, operator: Callable[[float, float], float]) -> tuple[float, float]:
    found = [operator(x, y) for x in (left.low, left.high) for y in (right.low, right.high)]
    return min(found), max(found)


def multiplied(left: Span, right: Span) -> Span:
    low, high = _corners(left, right, lambda x, y: x * y)
    operations = left.operations + right.operations + 1
    return rearranged(low, high, left.magnitude * right.magnitude, operations)


def divided(left: Span, right: Span) -> Span:
    if right.low <= 0 <= right.high:
        raise Undecided
    low, high = _corners(left, right, lambda x, y: x / y)
    spread = 2 * HALF_ULP * (left.operations + right.operations) * left.magnitude * right.magnitude
    nearest = min(abs(right.low), abs(right.high))
    found = widened(low, high, 2.5, spread / nearest**2, left, right)
    return replace(found, magnitude=max(found.magnitude, left.magnitude * right.magnitude / nearest**2))


def _rising(function: Callable[[float], float], span: Span, steps: float, absolute: float = 0.0) -> Span:
    return widened(function(span.low), function(span.high), steps, absolute, span)


def _waved(function: Callable[[float], float], span: Span) -> Span:
    """Sine or cosine: neither changes faster than its argument."""
    middle, half = (span.low + span.high) / 2, (span.high - span.low) / 2
    if span.largest > math.pi:
        raise Undecided
    return widened(function(middle) - half, function(middle) + half, 0, 2.0**-11, span)


def _within(span: Span, low: float, high: float = math.inf) -> None:
    if not (low <= span.low and span.high <= high):
        raise Undecided


def _power_of_two(span: Span) -> Span:
    _within(span, -126, 127)
    return _rising(lambda x: 2.0**x, span, 3 + 2 * span.largest)


def _logarithm(function: Callable[[float], float], span: Span) -> Span:
    _within(span, SMALLEST_NORMAL)
    is_near_one = span.high >= 0.5 and span.low <= 2
    return _rising(function, span, 3, 2.0**-21 if is_near_one else 0.0)


def _exponential(span: Span) -> Span:
    _within(span, -87, 88)
    return _rising(math.exp, span, 3 + 2 * span.largest)


def _inverse_root(span: Span) -> Span:
    _within(span, SMALLEST_NORMAL)
    return widened(1 / math.sqrt(span.high), 1 / math.sqrt(span.low), 2, 0.0, span)


def _root(span: Span) -> Span:
    """As 1.0 / inverseSqrt(x): 2 and 2.5 units; of zero it is zero, or next to it."""
    _within(span, 0)
    return _rising(math.sqrt, span, 4.5, 2.0**-60 if span.low < SMALLEST_NORMAL else 0.0)


def _angle(y: Span, x: Span) -> Span:
    _within(x, SMALLEST_NORMAL)
    if y.low < SMALLEST_NORMAL and y.high > -SMALLEST_NORMAL:
        # WGSL says nothing of a y that may be zero; SwiftShader made pi of one.
        raise Undecided
    low, high = _corners(y, x, math.atan2)
    return widened(low, high, 4096, 0.0, y, x)


def _hyperbolic(span: Span, sign: float) -> Span:
    up, down = _exponential(span), _exponential(negated(span))
    total = added(up, down if sign > 0 else negated(down))
    return multiplied(total.opaque(), Span(0.5, 0.5, 0.5))


def _arc(span: Span, *, is_sine: bool) -> Span:
    _within(span, -1, 1)
    found = (math.asin(span.low), math.asin(span.high)) if is_sine else (math.acos(span.high), math.acos(span.low))
    rest = made(max(0.0, min(1 - span.low**2, 1 - span.high**2)), 1.0)
    if rest.low < 2.0**-10:
        # Inherited from atan2(…, sqrt(1.0 - x * x)), which cancels there.
        raise Undecided
    return widened(*found, 4200, 6.81e-5, span)


def _fraction(span: Span) -> Span:
    whole = math.floor(span.low)
    if whole != math.floor(span.high):
        return made(0.0, 1.0)
    return rearranged(span.low - whole, span.high - whole, span.magnitude + abs(whole), span.operations + 1)


def _stepped(function: Callable[[float], float]) -> Callable[[Span], Span]:
    return lambda span: made(float(function(span.low)), float(function(span.high)), 0.0, span.operations)


def _larger(left: Span, right: Span) -> Span:
    operations = max(left.operations, right.operations)
    magnitude = max(left.magnitude, right.magnitude)
    return Span(max(left.low, right.low), max(left.high, right.high), magnitude, operations)


def _smaller(left: Span, right: Span) -> Span:
    return negated(_larger(negated(left), negated(right)))


def _absolute(span: Span) -> Span:
    return (
        _larger(_larger(span, negated(span)), Span(0.0, 0.0))
        if span.low <= 0 <= span.high
        else (span if span.low > 0 else negated(span))
    )


def _fused(x: Span, y: Span, z: Span) -> Span:
    """Fused or not."""
    low, high = _corners(x, y, lambda a, b: a * b)
    apart = added(multiplied(x, y), z)
    return made(
        min(apart.low, single(low + z.low)), max(apart.high, single(high + z.high)), apart.magnitude, apart.operations
    )


FUNCTIONS: Mapping[str, Callable[..., Span]] = {
    "floor": _stepped(math.floor), "ceil": _stepped(math.ceil), "trunc": _stepped(math.trunc),
    "round": _stepped(round), "sign": _stepped(lambda x: (x > 0) - (x < 0)),
    "abs": _absolute, "min": _smaller, "max": _larger, "fract": _fraction, "fma": _fused,
    "clamp": lambda x, low, high: _smaller(_larger(x, low), high),
    "sqrt": _root, "inverseSqrt": _inverse_root, "exp": _exponential, "exp2": _power_of_two,
    "log": lambda x: _logarithm(math.log, x), "log2": lambda x: _logarithm(math.log2, x),
    "pow": lambda x, y: _power_of_two(multiplied(y, _logarithm(math.log2, x))),
    "sin": lambda x: _waved(math.sin, x), "cos": lambda x: _waved(math.cos, x),
    "tan": lambda x: divided(_waved(math.sin, x), _waved(math.cos, x)),
    "asin": lambda x: _arc(x, is_sine=True), "acos": lambda x: _arc(x, is_sine=False),
    "atan": lambda x: _rising(math.atan, x, 4096), "atan2": _angle,
    "sinh": lambda x: _hyperbolic(x, -1), "cosh": lambda x: _hyperbolic(x, 1),
    "tanh": lambda x: _larger_of_both(divided(_hyperbolic(x, -1), _hyperbolic(x, 1)), _rising(math.tanh, x, 1, 1e-5)),
}  # fmt: skip


def _larger_of_both(one: Span, other: Span) -> Span:
    return made(min(one.low, other.low), max(one.high, other.high), 0.0, max(one.operations, other.operations))


@dataclass(frozen=True, slots=True)
class Ended:
    """How a chunk may end."""

    status: int
    """Bits of the status word, of the invocations that are decided."""
    floats: tuple[Span | None, ...]
    """Each element of the result; None where nothing is known."""
    words: tuple[int | None, ...]
    """The same for a kernel of whole numbers."""
    is_decided: bool
    """Whether all invocations are."""


def computed(task: Task, data: bytes) -> Ended:
    """What may become of a chunk of a task with one plain output, numbers for its input, and no workgroup memory."""
    chunk = task.arrange(data, numbers=True, memory_bytes=1 << 26, output_bytes=1 << 24)
    (output,), (share,) = task.kernel.outputs, task.shares
    status, is_decided = 0, True
    found: list[Value | None] = []
    words = struct.unpack(f"<{len(chunk.uniform) // 4}I", chunk.uniform)
    for item in range(chunk.invocations):
        run = _Invocation(task, dict(zip(task.kernel.uniform, words, strict=False)), item, chunk.invocations)
        try:
            run.perform()
            found += run.slot
        except Undecided:
            is_decided = False
            found += [None] * share
        status |= run.status
    if output.type == "f32":
        return Ended(status, tuple(cast("Span | None", each) for each in found), (), is_decided)
    return Ended(status, (), tuple(cast("int | None", each) for each in found), is_decided)


class _Invocation:
    def __init__(self, task: Task, uniform: Mapping[Variable, int], item: int, total: int) -> None:
        self._kernel = task.kernel
        self._total = total
        self._fuel = task.package.fuel
        (self._share,) = task.shares
        self.item = item
        self.status = 0
        (output,) = task.kernel.outputs
        self.slot: list[Value] = [_zero(output)] * self._share
        self._values: dict[Variable, Any] = dict(uniform)
        for each in task.kernel.globals:
            given: list[Value] = [_constant(value) for value in each.values]
            if each.length is None:
                self._values[each] = given[0] if given else _zero(each)
            else:
                self._values[each] = given or [_zero(each)] * each.length

    def perform(self) -> None:
        entry, size = self._kernel.entry, self._kernel.workgroup_size
        values = {
            "global_invocation_id": self.item,
            "local_invocation_id": self.item % size,
            "local_invocation_index": self.item % size,
            "workgroup_id": self.item // size,
        }
        self._called(entry, [values[each.source_name] for each in entry.parameters])

    def _called(self, function: Function, values: Sequence[Value]) -> Value:
        # No function calls itself, so its variables need no frame of their own.
        self._values.update(zip(function.parameters, values, strict=True))
        try:
            self._block(function.body)
        except _Left as left:
            return left.value
        return False

    # ---- statements

    def _block(self, block: Block) -> None:
        for statement in block.statements:
            self._statement(statement)

    def _statement(self, node: Statement) -> None:
        match node:
            case Block():
                self._block(node)
            case Declare(variable, value):
                if variable.length is not None:
                    self._values[variable] = [_zero(variable)] * variable.length
                else:
                    self._values[variable] = _zero(variable) if value is None else self._value(value)
            case Assign(target, value):
                self._assign(target, value)
            case Perform(call):
                self._value(call)
            case If(condition, then, otherwise):
                if self._value(condition):
                    self._block(then)
                elif otherwise is not None:
                    self._block(otherwise)
            case Loop():
                self._loop(node)
            case Switch(value, cases, otherwise):
                chosen = self._value(value)
                body = next(
                    (body for selectors, body in cases if any(each.value == chosen for each in selectors)), otherwise
                )
                try:
                    self._block(body)
                except _Left as left:
                    if left.how is not Break:
                        raise
            case Return(value):
                raise _Left(Return, False if value is None else self._value(value))
            case Break() | Continue():
                raise _Left(type(node))
            case Atomic():
                raise Undecided
            case _:
                raise Undecided

    def _loop(self, loop: Loop) -> None:
        if loop.first is not None:
            self._statement(loop.first)
        while loop.condition is None or self._value(loop.condition):
            if self._fuel == 0:
                self.status |= OUT_OF_FUEL
                return
            self._fuel -= 1
            try:
                self._block(loop.body)
            except _Left as left:
                if left.how is Break:
                    return
                if left.how is Return:
                    raise
            if loop.after is not None:
                self._statement(loop.after)

    def _assign(self, target: Read | Element, value: Expression) -> None:
        if isinstance(target, Read):
            self._values[target.variable] = self._value(value)
            return
        array, index = self._array(target)
        array[index] = self._value(value)

    def _array(self, element: Element) -> tuple[list[Value], int]:
        variable, index = element.variable, self._value(element.index)
        array: list[Value]
        if not isinstance(index, int):
            raise Undecided
        index &= 0xFFFF_FFFF
        if variable.space == "output":
            array, index = self.slot, (index - self.item * self._share) & 0xFFFF_FFFF
        else:
            array = self._values[variable]
        if index >= len(array):
            self.status |= OUT_OF_BOUNDS
            index = len(array) - 1
        return array, index

    # ---- expressions

    def _value(self, node: Expression) -> Value:  # one for each kind of node
        match node:
            case Constant():
                return _constant(node)
            case Read(variable):
                value: Value = self._values[variable]
                return value
            case Element():
                array, index = self._array(node)
                return array[index]
            case Length():
                raise Undecided
            case Unary(operator, operand):
                return self._unary(operator, self._value(operand), node.type)
            case Binary("&&", left, right):
                return bool(self._value(left) and self._value(right))
            case Binary("||", left, right):
                return bool(self._value(left) or self._value(right))
            case Binary(operator, left, right):
                return _binary(operator, self._value(left), self._value(right), left.type)
            case Convert(operand, type_):
                return _converted(self._value(operand), operand.type, type_)
            case Bitcast(operand, type_):
                return _recast(self._value(operand), type_)
            case Intrinsic(name, arguments):
                return self._intrinsic(name, [self._value(each) for each in arguments], node.type)
            case Call(function, arguments):
                return self._called(function, [self._value(each) for each in arguments])
            case _:
                raise Undecided

    @staticmethod
    def _unary(operator: str, value: Value, type_: str) -> Value:
        if operator == "!":
            return not value
        if isinstance(value, Span):
            return negated(value)
        if not isinstance(value, int):
            raise Undecided
        return _wrapped(-value if operator == "-" else ~value, type_)

    @staticmethod
    def _intrinsic(name: str, values: list[Any], type_: str) -> Value:
        if name == "select":
            return cast("Value", values[1] if values[2] else values[0])
        if any(isinstance(each, Bits) for each in values):
            raise Undecided
        if type_ == "f32":
            return FUNCTIONS[name](*values)
        word = values[0] & 0xFFFF_FFFF
        found: Mapping[str, Callable[[], int]] = {
            "abs": lambda: abs(values[0]),
            "min": lambda: min(values),
            "max": lambda: max(values),
            "clamp": lambda: min(max(values[0], values[1]), values[2]),
            "countOneBits": lambda: word.bit_count(),
            "countLeadingZeros": lambda: 32 - word.bit_length(),
            "countTrailingZeros": lambda: (word & -word).bit_length() - 1 if word else 32,
            "reverseBits": lambda: int(f"{word:032b}"[::-1], 2),
        }
        return _wrapped(found[name](), type_)


def _zero(variable: Variable) -> Value:
    return Span(0.0, 0.0) if variable.type == "f32" else False if variable.type == "bool" else 0


def _constant(constant: Constant) -> Value:
    if constant.type == "f32":
        return made(float(constant.value), float(constant.value))
    return cast("Value", constant.value)


def _wrapped(number: int, type_: str) -> int:
    number &= 0xFFFF_FFFF
    return number - 2**32 if type_ == "i32" and number >= 2**31 else number


def _binary(operator: str, left: Value, right: Value, type_: str) -> Value:
    if isinstance(left, Bits) or isinstance(right, Bits):
        if operator == "^" and isinstance(left, Bits) and right == 0:
            return left
        raise Undecided
    if isinstance(left, Span):
        assert isinstance(right, Span)
        return _of_floats(operator, left, right)
    assert not isinstance(right, Span)
    return _of_integers(operator, left, right, type_)


def _of_floats(operator: str, left: Span, right: Span) -> Value:  # one for each operator
    match operator:
        case "+":
            return added(left, right)
        case "-":
            return added(left, negated(right))
        case "*":
            return multiplied(left, right)
        case "/":
            return divided(left, right)
        case "<" | ">=":
            if left.high < right.low or left.low >= right.high:
                return (left.high < right.low) == (operator == "<")
        case ">" | "<=":
            if left.low > right.high or left.high <= right.low:
                return (left.low > right.high) == (operator == ">")
        case _:
            if left.high < right.low or left.low > right.high:
                return operator == "!="
            if left.low == left.high == right.low == right.high:
                return operator == "=="
    raise Undecided


def _of_integers(operator: str, a: int, b: int, type_: str) -> Value:  # one for each operator
    match operator:
        case "==":
            return a == b
        case "!=":
            return a != b
        case "<":
            return a < b
        case "<=":
            return a <= b
        case ">":
            return a > b
        case ">=":
            return a >= b
        case "<<":
            return _wrapped(a << (b & 31), type_)
        case ">>":
            return _wrapped(a >> (b & 31), type_)
        case "/" | "%":
            is_none = b == 0 or (a == -(2**31) and b == -1)
            quotient = a if is_none else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
            return quotient if operator == "/" else 0 if is_none else a - b * quotient
        case "&" | "|" | "^":
            return _wrapped({"&": a & b, "|": a | b, "^": a ^ b}[operator], type_)
        case _:
            return _wrapped({"+": a + b, "-": a - b, "*": a * b}[operator], type_)


def _converted(value: Value, source: str, target: str) -> Value:
    if isinstance(value, Bits):
        raise Undecided
    if isinstance(value, Span):
        if target == "f32":
            return value
        if target == "bool":
            return _of_floats("!=", value, Span(0.0, 0.0))
        low, high = (0, 2**32 - 1) if target == "u32" else (-(2**31), 2**31 - 1)
        ends = {min(max(math.trunc(each), low), high) for each in (value.low, value.high)}
        if len(ends) != 1 or value.largest >= 2**31 - 128:
            raise Undecided
        return ends.pop()
    if target == "f32":
        nearest = single(value)
        # Devices round what has more than 24 bits either way.
        spare = 0.0 if nearest == value else math.ulp(float(value)) * 2.0**29
        return made(nearest - spare, nearest + spare)
    return bool(value) if target == "bool" else int(value) if source == "bool" else _wrapped(value, target)


def _recast(value: Value, type_: str) -> Value:
    match value:
        case Bits(span):
            if type_ != "f32":
                return value
            return span.opaque()
        case Span(low, high):
            if type_ == "f32":
                return value
            if low != high or low == 0:
                return Bits(value)
            (word,) = struct.unpack("<I", struct.pack("<f", low))
            return _wrapped(word, type_)
        case _:
            if type_ != "f32":
                return _wrapped(value, type_)
            (number,) = struct.unpack("<f", struct.pack("<I", value & 0xFFFF_FFFF))
            if not math.isfinite(number):
                raise Undecided
            return made(number, number)


def strayed(task: Task, data: bytes, result: bytes) -> list[str]:
    """What in a device's result no device may have computed, in words; empty for a right one."""
    allowed = computed(task, data)
    found = struct.unpack(f"<{len(result) // 4}f", result)
    return [
        f"number {place} is {number!r}, {span.low!r} to {span.high!r} may be"
        for place, (number, span) in enumerate(zip(found, allowed.floats, strict=True))
        if span is not None and not span.has(number)
    ]
