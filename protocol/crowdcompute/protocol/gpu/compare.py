"""Whether two results are the same one (spec/gpu.md, "Comparators").

Comparators are symmetric and functions of two byte strings alone. Closeness is not transitive, so votes are not
grouped: the result that most others are close to stands for them (`pivot`), the same one on every peer.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Annotated, TypeAlias, assert_never

from msgspec import Meta

from crowdcompute.protocol.split import Part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .syntax import Scalar

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


Comparator: TypeAlias = Exact | Ulp | Tolerance

_WORD = 4


def is_valid(data: bytes, type_: Scalar, elements: int) -> bool:
    """Whether these bytes are an array of that many elements, all of them finite. What is not is no vote."""
    if len(data) != _WORD * elements:
        return False
    return type_ != "f32" or all(map(math.isfinite, struct.unpack(f"<{elements}f", data)))


def agree(comparator: Comparator, type_: Scalar, left: bytes, right: bytes) -> bool:
    """Whether two valid arrays of one length are the same result. Of integers, only the same bytes are."""
    if isinstance(comparator, Exact) or type_ != "f32":
        return left == right
    count = len(left) // _WORD
    pairs = zip(struct.unpack(f"<{count}f", left), struct.unpack(f"<{count}f", right), strict=True)
    match comparator:
        case Ulp(steps, absolute):
            orders = zip(_order(left, count), _order(right, count), strict=True)
            return all(
                abs(a - b) <= steps or abs(x - y) <= absolute for (a, b), (x, y) in zip(orders, pairs, strict=True)
            )
        case Tolerance(absolute, relative, outliers):
            far = sum(abs(x - y) > absolute + relative * max(abs(x), abs(y)) for x, y in pairs)
            return bool(far <= outliers * count)
        case _:
            assert_never(comparator)


def _order(data: bytes, count: int) -> list[int]:
    """The place of each f32 among all of them; both zeros have one."""
    words = struct.unpack(f"<{count}i", data)
    return [word if word >= 0 else -(word & 0x7FFF_FFFF) for word in words]


def pivot(comparator: Comparator, type_: Scalar, results: Mapping[str, bytes], quorum: int) -> tuple[str, ...]:
    """The peers whose results stand together, the one that stands for them first; nobody without a quorum.

    The one with most others close to it stands for them; of several the one whose bytes, then whose peer id, come
    first. `results` are valid and of one length.
    """
    best: tuple[int, bytes, str] | None = None
    near: list[str] = []
    for peer_id, data in sorted(results.items()):
        close = [other for other in sorted(results) if agree(comparator, type_, data, results[other])]
        rank = (-len(close), data, peer_id)
        if best is None or rank < best:
            best, near = rank, close
    if best is None or len(near) < quorum:
        return ()
    return (best[2], *(peer_id for peer_id in near if peer_id != best[2]))
