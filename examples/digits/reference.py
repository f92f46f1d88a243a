"""The correlations of images in pure Python, with more digits than f32 has."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def alike(image: bytes, classes: Sequence[Sequence[bytes]]) -> list[float]:
    """For each class the correlation of an image with that of the class that it is most like."""
    return [max((correlation(image, known) for known in each), default=-1.0) for each in classes]


def correlation(left: bytes, right: bytes) -> float:
    x = [pixel - sum(left) / len(left) for pixel in left]
    y = [pixel - sum(right) / len(right) for pixel in right]
    squares = _dot(x, x) * _dot(y, y)
    return _dot(x, y) / math.sqrt(squares) if squares else 0.0


def _dot(x: Sequence[float], y: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(x, y, strict=True))
