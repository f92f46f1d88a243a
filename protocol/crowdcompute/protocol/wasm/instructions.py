"""Walk the instructions of one function body: allowed opcodes, limits, and where NaNs would become visible.

Types are not checked here: the engine does that. What is checked is what engines disagree about or pay dearly for.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from .nan import INSTRUCTIONS, NEVER_NAN, SCALAR_OBSERVERS, VECTOR_OBSERVERS, VECTOR_PRODUCERS, Canonical
from .rules import BRANCH_TARGETS_MAX, INSTRUCTIONS_MAX, NESTING_MAX, Rule, RuleBroken

VALUE_TYPES = frozenset({0x7F, 0x7E, 0x7D, 0x7C, 0x7B, 0x70, 0x6F})
"""i32, i64, f32, f64, v128, funcref, externref."""
REFERENCE_TYPES = frozenset({0x70, 0x6F})
EMPTY_BLOCK = 0x40
INDEX_BYTES_MAX = 5
I64_BYTES_MAX = 10


class NanPoint(NamedTuple):
    """At `offset` of the body, code for `kind` must be inserted."""

    offset: int
    kind: Canonical


class _Form(IntEnum):
    """What follows an opcode."""

    FORBIDDEN = 0
    NOTHING = 1
    NUMBER = 2
    TWO_NUMBERS = 3
    BLOCK = 4
    END = 5
    BRANCH_TABLE = 6
    MEMORY_ARGUMENT = 7
    MEMORY_INDEX = 8
    I64 = 9
    F32 = 10
    F64 = 11
    TYPED_SELECT = 12
    REFERENCE_TYPE = 13
    PREFIX_FC = 14
    PREFIX_FD = 15


def _forms() -> list[_Form]:
    forms = [_Form.FORBIDDEN] * 256
    for form, opcodes in (
        (_Form.NOTHING, (0x00, 0x01, 0x05, 0x0F, 0x1A, 0x1B, 0xD1, *range(0x45, 0xC5))),
        (_Form.NUMBER, (0x0C, 0x0D, 0x10, *range(0x20, 0x27), 0x41, 0xD2)),
        (_Form.TWO_NUMBERS, (0x11,)),
        (_Form.BLOCK, (0x02, 0x03, 0x04)),
        (_Form.END, (0x0B,)),
        (_Form.BRANCH_TABLE, (0x0E,)),
        (_Form.MEMORY_ARGUMENT, range(0x28, 0x3F)),
        (_Form.MEMORY_INDEX, (0x3F, 0x40)),
        (_Form.I64, (0x42,)),
        (_Form.F32, (0x43,)),
        (_Form.F64, (0x44,)),
        (_Form.TYPED_SELECT, (0x1C,)),
        (_Form.REFERENCE_TYPE, (0xD0,)),
        (_Form.PREFIX_FC, (0xFC,)),
        (_Form.PREFIX_FD, (0xFD,)),
    ):
        for opcode in opcodes:
            forms[opcode] = form
    return forms


_FORMS = _forms()
# Behind 0xFC: how many numbers follow. memory.init, data.drop, memory.copy, memory.fill, table.init, elem.drop,
# table.copy, table.grow, table.size, table.fill; 0 to 7 are the saturating truncations.
_FC_NUMBERS = (0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2, 1, 2, 1, 2, 1, 1, 1)
# Numbers behind 0xFD that mean nothing. 0x100 and above is relaxed SIMD, whose results the engine may choose.
_FD_UNASSIGNED = frozenset(
    {154, 162, 165, 166, 175, 176, 178, 179, 180, 187, 194, 197, 198, 207, 208, 210, 211, 212, 226, 238}
)
_FD_MEMORY_ARGUMENT = frozenset({*range(12), *range(84, 94)})
_FD_LANE = frozenset({*range(21, 35), *range(84, 92)})
_FD_SIXTEEN_BYTES = frozenset({12, 13})


def walk(body: bytes, position: int, function: int) -> list[NanPoint]:
    """Check the instructions of `body` from `position` (behind the locals) to its end.

    Returns:
        The points where a NaN would become visible, in ascending order; none when the body is canonical.

    Raises:
        RuleBroken: The body is malformed, uses what is not allowed, or is too large.
    """
    try:
        return _walk(body, position, function)
    except IndexError:
        raise RuleBroken(Rule.MALFORMED, f"function {function} ends inside an instruction") from None


def _walk(body: bytes, position: int, function: int) -> list[NanPoint]:
    end = len(body)
    points: list[NanPoint] = []
    starts: list[int] = []
    depth = 1
    previous = -1
    while position < end:
        start = position
        starts.append(start)
        if len(starts) > INSTRUCTIONS_MAX:
            raise RuleBroken(
                Rule.INSTRUCTIONS, f"function {function} has more than {INSTRUCTIONS_MAX} instructions; split it"
            )
        opcode = body[position]
        position += 1
        form = _FORMS[opcode]
        if form == _Form.NOTHING:
            pass
        elif form == _Form.NUMBER:
            position = _skip(body, position, INDEX_BYTES_MAX)
        elif form == _Form.MEMORY_ARGUMENT:
            position = _memory_argument(body, position, function)
        elif form == _Form.BLOCK:
            depth += 1
            if depth > NESTING_MAX:
                raise RuleBroken(Rule.NESTING, f"function {function} nests deeper than {NESTING_MAX} blocks")
            if body[position] == EMPTY_BLOCK or body[position] in VALUE_TYPES:
                position += 1
            else:
                position = _skip(body, position, INDEX_BYTES_MAX)
        elif form == _Form.END:
            depth -= 1
            if depth == 0:
                break
        elif form == _Form.TWO_NUMBERS:
            position = _skip(body, _skip(body, position, INDEX_BYTES_MAX), INDEX_BYTES_MAX)
        elif form == _Form.I64:
            position = _skip(body, position, I64_BYTES_MAX)
        elif form == _Form.F32:
            position += 4
        elif form == _Form.F64:
            position += 8
        elif form == _Form.PREFIX_FC:
            position = _numeric_and_bulk(body, position, function)
        elif form == _Form.PREFIX_FD:
            position = _vector(body, start, position, function, starts, previous, points)
        elif form == _Form.BRANCH_TABLE:
            count, position = _number(body, position)
            if count > BRANCH_TARGETS_MAX:
                raise RuleBroken(
                    Rule.BRANCH_TARGETS,
                    f"function {function} branches to one of {count} targets; only {BRANCH_TARGETS_MAX} are allowed",
                )
            for _ in range(count + 1):
                position = _skip(body, position, INDEX_BYTES_MAX)
        elif form == _Form.MEMORY_INDEX:
            position = _zero(body, position, function)
        elif form == _Form.TYPED_SELECT:
            count, position = _number(body, position)
            if count != 1 or body[position] not in VALUE_TYPES:
                raise RuleBroken(Rule.FEATURE, f"function {function} selects a type that is not allowed")
            position += 1
        elif form == _Form.REFERENCE_TYPE:
            if body[position] not in REFERENCE_TYPES:
                raise RuleBroken(Rule.FEATURE, f"function {function} uses a reference type that is not allowed")
            position += 1
        else:
            raise RuleBroken(Rule.FEATURE, f"function {function} uses opcode 0x{opcode:02x}, which is not allowed")
        if opcode in SCALAR_OBSERVERS:
            kind = SCALAR_OBSERVERS[opcode]
            if previous not in NEVER_NAN[kind] and not _canonical_before(body, starts, kind):
                points.append(NanPoint(start, kind))
        previous = opcode
    if depth or position != end:
        raise RuleBroken(Rule.MALFORMED, f"function {function} does not end where its body ends")
    return points


def _canonical_before(body: bytes, starts: list[int], kind: Canonical) -> bool:
    """Whether the instructions before the newest one make its operand canonical."""
    return len(starts) > INSTRUCTIONS and kind.match(body, starts[-1 - INSTRUCTIONS]) == starts[-1]


def _vector(
    body: bytes, start: int, position: int, function: int, starts: list[int], previous: int, points: list[NanPoint]
) -> int:
    operation, position = _number(body, position)
    if operation > 0xFF:
        raise RuleBroken(Rule.FEATURE, f"function {function} uses relaxed SIMD, whose results differ between machines")
    if operation in _FD_UNASSIGNED:
        raise RuleBroken(Rule.FEATURE, f"function {function} uses the unassigned opcode 0xfd {operation}")
    if operation in _FD_MEMORY_ARGUMENT:
        position = _memory_argument(body, position, function)
    if operation in _FD_LANE:
        position += 1
    elif operation in _FD_SIXTEEN_BYTES:
        position += 16
    if operation in VECTOR_OBSERVERS:
        kind = VECTOR_OBSERVERS[operation]
        if previous not in NEVER_NAN[kind] and not _canonical_before(body, starts, kind):
            points.append(NanPoint(start, kind))
    elif operation in VECTOR_PRODUCERS:
        kind = VECTOR_PRODUCERS[operation]
        if kind.match(body, position) is None:
            points.append(NanPoint(position, kind))
    return position


def _numeric_and_bulk(body: bytes, position: int, function: int) -> int:
    operation, position = _number(body, position)
    if operation >= len(_FC_NUMBERS):
        raise RuleBroken(Rule.FEATURE, f"function {function} uses opcode 0xfc {operation}, which is not allowed")
    for _ in range(_FC_NUMBERS[operation]):
        position = _skip(body, position, INDEX_BYTES_MAX)
    return position


def _memory_argument(body: bytes, position: int, function: int) -> int:
    alignment, position = _number(body, position)
    if alignment > 15:
        # Bit 6 names another memory; nothing aligns to more than 2**4 bytes.
        raise RuleBroken(Rule.FEATURE, f"function {function} addresses memory in a way that is not allowed")
    return _skip(body, position, INDEX_BYTES_MAX)


def _zero(body: bytes, position: int, function: int) -> int:
    if body[position] != 0:
        raise RuleBroken(Rule.FEATURE, f"function {function} uses a second memory")
    return position + 1


def _number(body: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        part = body[position]
        position += 1
        value |= (part & 0x7F) << shift
        if part < 0x80:
            return value, position
        shift += 7
        if shift > 28:
            raise RuleBroken(Rule.MALFORMED, "a number in a function body is longer than 32 bits")


def _skip(body: bytes, position: int, length_max: int) -> int:
    if body[position] < 0x80:
        return position + 1
    limit = position + length_max
    while body[position] & 0x80:
        position += 1
        if position >= limit:
            raise RuleBroken(Rule.MALFORMED, "a number in a function body is too long")
    return position + 1
