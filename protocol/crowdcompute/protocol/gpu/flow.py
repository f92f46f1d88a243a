"""How a block may be left (WGSL's "behaviors"): at its end, or by a word that leaves more than it.

What the guard prints ends in any case. But compilers look at this too, and a kernel is WGSL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from .syntax import Block, Break, Continue, If, Loop, Return, Switch

if TYPE_CHECKING:
    from .syntax import Statement

Way: TypeAlias = Literal["next", "break", "continue", "return"]

_NEXT: frozenset[Way] = frozenset({"next"})
_TO_LOOPS: frozenset[Way] = frozenset({"break", "continue"})


def ways(node: Statement) -> frozenset[Way]:
    """The ways out of a statement. A loop that has none is endless."""
    match node:
        case Block(statements):
            found: frozenset[Way] = frozenset()
            for each in statements:
                inner = ways(each)
                found = (found - _NEXT) | inner
                if "next" not in inner:
                    return found
            return found | _NEXT
        case If(_, then, otherwise):
            return ways(then) | (_NEXT if otherwise is None else ways(otherwise))
        case Loop(_, condition, _, body):
            inner = ways(body)
            ends = condition is not None or "break" in inner
            return (inner | _NEXT if ends else inner - _NEXT) - _TO_LOOPS
        case Switch(_, cases, otherwise):
            inner = ways(otherwise).union(*(ways(body) for _, body in cases))
            return (inner | _NEXT) - {"break"} if "break" in inner else inner
        case Break():
            return frozenset({"break"})
        case Continue():
            return frozenset({"continue"})
        case Return():
            return frozenset({"return"})
        case _:
            return _NEXT


def returns(block: Block) -> bool:
    """Whether a block always ends with a return."""
    match block.statements[-1:]:
        case (Return(),):
            return True
        case (If(then=then, otherwise=Block() as otherwise),):
            return returns(then) and returns(otherwise)
        case (Block() as inner,):
            return returns(inner)
        case _:
            return False
