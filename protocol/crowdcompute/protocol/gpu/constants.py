"""What constants come to (spec/gpu.md, "Constants").

All arithmetic between constants is done here, so that no engine has to: engines refuse what overflows or divides by
zero among constants, and not all of them the same. A value that its type cannot hold is refused.
"""

from __future__ import annotations

import math
import operator
import struct
from typing import TYPE_CHECKING

from .syntax import Constant

if TYPE_CHECKING:
    from collections.abc import Callable

    from .syntax import Scalar, Type

RANGES: dict[Type, tuple[int, int]] = {
    "i32": (-(2**31), 2**31 - 1),
    "u32": (0, 2**32 - 1),
    "int": (-(2**63), 2**63 - 1),
}
F32_MAX = 2.0**128 - 2.0**104
_BITS = 32
_F32 = struct.Struct("<f")
_U32 = struct.Struct("<I")


class Unusable(Exception):
    """There is no such constant; the message says why."""


def literal(text: str) -> Constant:
    """The constant that a number of the source stands for.

    Raises:
        Unusable: Its type cannot hold it.
    """
    if text[:2] in ("0x", "0X"):
        digits = text[2:].rstrip("iu")
        return _suffixed(int(digits, 16), text[-1])
    if text[-1] == "f" or any(mark in text for mark in ".eE"):
        value = float(text.rstrip("f"))
        return checked("f32" if text[-1] == "f" else "float", value)
    return _suffixed(int(text.rstrip("iu")), text[-1])


def _suffixed(value: int, suffix: str) -> Constant:
    return checked("u32" if suffix == "u" else "i32" if suffix == "i" else "int", value)


def checked(type_: Type, value: float) -> Constant:
    """`value` as a constant of this type, an f32 rounded to the nearest.

    Raises:
        Unusable: The type cannot hold it.
    """
    if type_ in RANGES:
        low, high = RANGES[type_]
        if not low <= value <= high:
            raise Unusable(f"a constant does not fit {_name(type_)}")
        return Constant(type_, value)
    # What is beyond the largest f32 does not fit, though it were rounded to it: compilers see it so.
    if not math.isfinite(value) or (type_ == "f32" and abs(value) > F32_MAX):
        raise Unusable(f"a constant does not fit {_name(type_)}")
    return Constant(type_, _F32.unpack(_F32.pack(value))[0] if type_ == "f32" else float(value))


def _name(type_: Type) -> str:
    return {"int": "64 bits", "float": "a number"}.get(type_, type_)


def converted(constant: Constant, type_: Scalar) -> Constant:
    """`TYPE(constant)`.

    Raises:
        Unusable: The type cannot hold it.
    """
    value = constant.value
    if type_ == "bool":
        return Constant("bool", bool(value))
    if type_ == "f32":
        return checked("f32", float(value))
    if constant.type in ("i32", "u32"):
        return from_bits(int(value) & 0xFFFF_FFFF, type_)
    return checked(type_, math.trunc(value))


def bits(constant: Constant) -> int:
    """The 32 bits of an i32, u32 or f32."""
    if constant.type == "f32":
        found: int = _U32.unpack(_F32.pack(constant.value))[0]
        return found
    return int(constant.value) & 0xFFFF_FFFF


def literal_of(constant: Constant) -> str:
    """An f32 as a number of WGSL and of C, exactly: whole times a power of two, in hexadecimal."""
    word = bits(constant)
    exponent, fraction = word >> 23 & 0xFF, word & 0x7F_FFFF
    sign = "-" if word >> 31 else ""
    if exponent == 0:
        return f"{sign}0x{fraction:x}p-149f"
    return f"{sign}0x{fraction | 0x80_0000:x}p{exponent - 150}f"


def from_bits(word: int, type_: Scalar) -> Constant:
    """The constant of this type with these bits.

    Raises:
        Unusable: They are no finite number.
    """
    if type_ == "f32":
        return checked("f32", _F32.unpack(_U32.pack(word))[0])
    return Constant(type_, word - 2**_BITS if type_ == "i32" and word >= 2**31 else word)


def negated(constant: Constant) -> Constant:
    return checked(constant.type, -constant.value)


def complement(constant: Constant) -> Constant:
    value = ~int(constant.value)
    return Constant(constant.type, value & 0xFFFF_FFFF if constant.type == "u32" else value)


_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def combined(symbol: str, left: Constant, right: Constant) -> Constant:
    """Two constants of one type (of a shift, of an integer's and u32) and a binary operator.

    Raises:
        Unusable: The result does not fit the type, or there is none.
    """
    a, b, type_ = left.value, right.value, left.type
    if symbol in _COMPARE:
        return Constant("bool", _COMPARE[symbol](a, b))
    if symbol in ("&&", "||"):
        return Constant("bool", bool(a and b) if symbol == "&&" else bool(a or b))
    if symbol in ("/", "%") and b == 0:
        raise Unusable("a constant is divided by zero")
    if type_ in ("f32", "float"):
        try:
            return checked(type_, {"+": a + b, "-": a - b, "*": a * b}[symbol] if symbol != "/" else a / b)
        except OverflowError:
            raise Unusable(f"a constant does not fit {_name(type_)}") from None
    m, n = int(a), int(b)
    match symbol:
        case "+":
            return checked(type_, m + n)
        case "-":
            return checked(type_, m - n)
        case "*":
            return checked(type_, m * n)
        case "/":
            return checked(type_, _quotient(m, n))
        case "%":
            return checked(type_, m - n * _quotient(m, n))
        case "&":
            return Constant(type_, m & n)
        case "|":
            return Constant(type_, m | n)
        case "^":
            return Constant(type_, m ^ n)
        case "<<":
            return checked(type_, m << n)
        case _:
            assert symbol == ">>"
            return Constant(type_, m >> n)


def _quotient(m: int, n: int) -> int:
    """Rounded towards zero."""
    quotient = abs(m) // abs(n)
    return quotient if (m < 0) == (n < 0) else -quotient
