"""How far apart two machines' floats are, and the tolerance that leaves room for more machines than were here."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crowdcompute.protocol.gpu.compare import Tolerance, Ulp, Within, place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from crowdcompute.protocol.gpu import Task
    from crowdcompute.protocol.gpu.compare import Comparator

ROOM = 4
"""A proposed tolerance is so many times what the machines here need (research: gpu, section 8)."""
LEAST = 1e-6
"""Of the largest number: what a tolerance allows where all machines here agree to the bit. A few roundings of f32."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """One output of one or more chunks, on two machines."""

    output: str
    scale: float
    """The largest magnitude."""
    off: float
    """The largest difference."""
    used: float
    """The share of the tolerance that it takes: above 1 the results are different ones."""

    def words(self) -> str:
        if not self.off:
            return f"{self.output} is the same to the bit"
        return f"{self.output} is up to {self.off:.2g} off where the largest is {self.scale:.2g}, {_share(self.used)}"


def agreements(task: Task, pairs: Iterable[tuple[bytes, bytes]]) -> tuple[Agreement, ...]:
    """Each output of a float task over all pairs of results that are as long as they should be."""
    found: list[list[tuple[float, float, float]]] = [[] for _ in task.package.outputs]
    for left, right in pairs:
        begin, count = 0, len(left) // 4
        items = count // sum(output.elements for output in task.package.outputs)
        numbers = list(zip(struct.unpack(f"<{count}f", left), struct.unpack(f"<{count}f", right), strict=True))
        for seen, output in zip(found, task.package.outputs, strict=True):
            end = begin + items * output.elements
            part = numbers[begin:end]
            scale = max(max(abs(x), abs(y)) for x, y in part)
            seen.append((scale, max(abs(x - y) for x, y in part), _used(output.compare, part)))
            begin = end
    return tuple(
        Agreement(output.name, *(max(numbers) for numbers in zip(*seen, strict=True)))
        for output, seen in zip(task.package.outputs, found, strict=True)
        if seen
    )


def proposals(seen: Sequence[Agreement]) -> tuple[str, ...]:
    """For each output a comparator as task.toml writes it, from what several machines made of it."""
    said = []
    for name in dict.fromkeys(each.output for each in seen):
        those = [each for each in seen if each.output == name]
        scale, off = max(each.scale for each in those), max(each.off for each in those)
        absolute = _rounded_up(max(ROOM * off, LEAST * scale) or LEAST)
        if ROOM * off >= LEAST * scale:
            room = f"{ROOM} times what the machines here need"
        else:
            room = "a few roundings: the machines here hardly differ, which says little of others"
        said.append(
            f'{name}: compare = {{ kind = "tol", absolute = {absolute:g}, relative = 0, outliers = 0 }} leaves {room}'
        )
    return tuple(said)


def _used(comparator: Comparator, part: Sequence[tuple[float, float]]) -> float:
    """The largest share of the tolerance that an element takes; with outliers, of those that must be within it."""
    match comparator:
        case Tolerance(absolute, relative, outliers) | Within(absolute, relative, outliers):
            shares = sorted(_ratio(abs(x - y), absolute + relative * max(abs(x), abs(y))) for x, y in part)
            return shares[-1 - int(outliers * len(shares))]
        case Ulp(steps, absolute):
            return max(min(_ratio(abs(place(x) - place(y)), steps), _ratio(abs(x - y), absolute)) for x, y in part)
        case _:
            return max(_ratio(abs(x - y), 0.0) for x, y in part)


def _ratio(off: float, allowed: float) -> float:
    return 0.0 if off == 0 else off / allowed if allowed else math.inf


def _share(used: float) -> str:
    return f"{100 * used:.0f} % of the tolerance" if used < 10 else f"{used:.2g} times the tolerance"


def _rounded_up(value: float) -> float:
    """To 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(each * power for each in (1, 2, 5, 10) if each * power >= value * (1 - 1e-9))
