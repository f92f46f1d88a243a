"""Whether two results are the same one (spec/gpu.md, "Comparators").

Comparators are symmetric and functions of two byte strings alone. Closeness is not transitive: how votes are counted
all the same is the tally's matter (tally.py).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Annotated, TypeAlias, assert_never

from msgspec import Meta

from crowdcompute.protocol.events import Status
from crowdcompute.protocol.split import Part

_Amount = Annotated[float, Meta(ge=0, le=1e30)]


class Exact(Part, frozen=True, tag="exact", tag_field="kind"):
    """The same bytes."""


class Ulp(Part, frozen=True, tag="ulp", tag_field="kind"):
    """Each element within `steps` representable numbers of the other, or within `absolute`."""

    steps: Annotated[int, Meta(ge=0, le=2**20)]
    absolute: _Amount


class Tolerance(Part, frozen=True, tag="tol", tag_field="kind"):
    """Each element within `absolute + relative * the larger magnitude`, but for a share of `outliers`."""

    absolute: _Amount
    relative: _Amount
    outliers: Annotated[float, Meta(ge=0, lt=1)]


class Within(Part, frozen=True, tag="class", tag_field="kind"):
    """The same bytes within a class of devices (classes.py); between classes as `Tolerance`."""

    absolute: _Amount
    relative: _Amount
    outliers: Annotated[float, Meta(ge=0, lt=1)]


Comparator: TypeAlias = Exact | Ulp | Tolerance | Within

CLASS_BYTES = 32
"""A result that is compared within classes ends with its device's."""

_WORD = 4
_F32, _I32 = struct.Struct("<f"), struct.Struct("<i")


def agree(comparator: Comparator, left: bytes, right: bytes) -> bool:
    """Whether two arrays of f32, of one length and all finite, are the same result."""
    count = len(left) // _WORD
    pairs = zip(struct.unpack(f"<{count}f", left), struct.unpack(f"<{count}f", right), strict=True)
    match comparator:
        case Exact():
            return left == right
        case Ulp(steps, absolute):
            return all(abs(place(x) - place(y)) <= steps or abs(x - y) <= absolute for x, y in pairs)
        case Tolerance(absolute, relative, outliers) | Within(absolute, relative, outliers):
            far = sum(abs(x - y) > absolute + relative * max(abs(x), abs(y)) for x, y in pairs)
            return bool(far <= outliers * count)
        case _:
            assert_never(comparator)


def place(number: float) -> int:
    """The place of an f32 among all of them; both zeros have one."""
    word: int = _I32.unpack(_F32.pack(number))[0]
    return word if word >= 0 else -(word & 0x7FFF_FFFF)


@dataclass(frozen=True, slots=True)
class Array:
    """One of the arrays of f32 that a result is made of, one after another."""

    elements: int
    """For each invocation of the chunk."""
    comparator: Comparator


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the results of a task are compared that are not compared by their bytes."""

    arrays: tuple[Array, ...]

    @property
    def has_classes(self) -> bool:
        """Whether votes are compared byte by byte within the class that each result names."""
        return any(isinstance(array.comparator, Within) for array in self.arrays)

    def class_of(self, data: bytes) -> bytes:
        """The class that a vote's result names; of results without classes all are in one."""
        return data[-CLASS_BYTES:] if self.has_classes else b""

    def arrays_of(self, data: bytes) -> bytes:
        """A vote's result without the class it names."""
        return data[:-CLASS_BYTES] if self.has_classes else data

    def is_result(self, data: bytes) -> bool:
        """Whether these bytes may be voted for: whole, and all their numbers finite."""
        return len(data) >= len(self.class_of(data)) and self.are_arrays(self.arrays_of(data))

    def are_close(self, left: bytes, right: bytes) -> bool:
        """Whether two votes' results are one. Symmetric; what is no result is like nothing.

        Of two that differ in the class of modules one is wrong, however near they are.
        """
        if not self.has_classes:
            return self.are_near(left, right)
        if left != right and left[-CLASS_BYTES:] == right[-CLASS_BYTES:] == bytes(CLASS_BYTES):
            return False
        shortest = min(len(left), len(right))
        return shortest >= CLASS_BYTES and self.are_near(self.arrays_of(left), self.arrays_of(right))

    def are_arrays(self, data: bytes) -> bool:
        """Whether these bytes are arrays of the task, all their numbers finite."""
        whole = _WORD * sum(array.elements for array in self.arrays)
        return len(data) % whole == 0 and all(map(math.isfinite, struct.unpack(f"<{len(data) // _WORD}f", data)))

    def are_near(self, left: bytes, right: bytes) -> bool:
        """Whether two devices' arrays are within the tolerance of each other."""
        if len(left) != len(right) or not self.are_arrays(left) or not self.are_arrays(right):
            return False
        items = len(left) // _WORD // sum(array.elements for array in self.arrays)
        begin = 0
        for array in self.arrays:
            end = begin + _WORD * array.elements * items
            if not agree(array.comparator, left[begin:end], right[begin:end]):
                return False
            begin = end
        return True

    def is_same(self, value: bytes, data: bytes, other: bytes, other_data: bytes) -> bool:
        """Whether two votes' values (tally.py), whose results these are, are one."""
        return value[0] == other[0] == Status.OK and self.are_close(data, other_data)

    def farthest(self, left: bytes, right: bytes) -> float:
        """The largest difference between two results of one length."""
        count = len(left) // _WORD
        pairs = zip(struct.unpack(f"<{count}f", left), struct.unpack(f"<{count}f", right), strict=True)
        return float(max(abs(x - y) for x, y in pairs))

    def halved(self) -> Comparison:
        """With half of every tolerance: what two devices are each as close to, they are close to each other."""
        return Comparison(tuple(Array(array.elements, _halved(array.comparator)) for array in self.arrays))


def _halved(comparator: Comparator) -> Comparator:
    match comparator:
        case Ulp(steps, absolute):
            return Ulp(steps=steps // 2, absolute=absolute / 2)
        case Tolerance(absolute, relative, outliers):
            return Tolerance(absolute=absolute / 2, relative=relative / 2, outliers=outliers / 2)
        case Within(absolute, relative, outliers):
            return Within(absolute=absolute / 2, relative=relative / 2, outliers=outliers / 2)
        case Exact():
            return comparator
        case _:
            assert_never(comparator)
