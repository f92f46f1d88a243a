"""The restoration in numpy, without anything of CrowdCompute: the same operations in the same order, on all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Plane = NDArray[numpy.float64]


def restored(picture: NDArray[numpy.uint8], blur: Plane, rounds: int) -> NDArray[numpy.uint8]:
    """The picture (height, width, colours) made sharp."""
    planes = [_restored(picture[:, :, colour] / 255.0, blur, rounds) for colour in range(picture.shape[2])]
    light = numpy.clip(numpy.stack(planes, axis=2), 0, 1)
    return (255 * light + 0.5).astype(numpy.uint8)


def _restored(seen: Plane, blur: Plane, rounds: int) -> Plane:
    guess = numpy.full(seen.shape, 0.5)
    for _ in range(rounds):
        ratio = seen / (convolved(guess, blur) + 1e-12)
        guess *= convolved(ratio, blur[::-1, ::-1])
    return guess


def convolved(plane: Plane, taps: Plane) -> Plane:
    """With zeros outside of the plane."""
    radius = taps.shape[0] // 2
    height, width = plane.shape
    wide = numpy.pad(plane, radius)
    total = numpy.zeros(plane.shape)
    for y in range(2 * radius + 1):
        for x in range(2 * radius + 1):
            down, right = 2 * radius - y, 2 * radius - x
            total += taps[y, x] * wide[down : down + height, right : right + width]
    return total
