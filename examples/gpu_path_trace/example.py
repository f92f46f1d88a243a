"""What `make example NAME=gpu_path_trace` makes of the results: a picture, and how far its light is from Python's."""

from __future__ import annotations

import struct
from random import Random
from typing import TYPE_CHECKING

from examples.gpu_path_trace.reference import HEIGHT, WIDTH, pixel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TILE, COLUMNS = 16, WIDTH // 16
ABSOLUTE, RELATIVE, OUTLIERS = 5e-5, 1e-4, 0.02
COMPARED = 120


def finish(results: Mapping[int, bytes], out: Path) -> list[str]:
    """Brightness with the square root for a gamma curve; some pixels are computed again in pure Python."""
    from PIL import Image

    picture = Image.new("RGB", (WIDTH, HEIGHT))
    for chunk, data in results.items():
        shown = bytes(int(255 * min(max(each, 0.0), 1.0) ** 0.5 + 0.5) for (each,) in struct.iter_unpack("<f", data))
        tile = Image.frombytes("RGB", (TILE, TILE), shown)
        picture.paste(tile, (chunk % COLUMNS * TILE, chunk // COLUMNS * TILE))
    picture.save(out / "gpu_path_trace.png")
    rng = Random(0)
    places = [(rng.randrange(WIDTH), rng.randrange(HEIGHT)) for _ in range(COMPARED)]
    far = sum(
        is_far(one, other)
        for column, row in places
        for one, other in zip(pixel(column, row), light_of(results, column, row), strict=True)
    )
    within = "within" if far <= OUTLIERS * 3 * COMPARED else "BEYOND"
    return [
        f"picture    {out / 'gpu_path_trace.png'}  {WIDTH} x {HEIGHT}, 64 paths a pixel, in floats",
        f"reference  {3 * COMPARED} numbers in pure Python: {far} are outliers, {within} the tolerance",
    ]


def light_of(results: Mapping[int, bytes], column: int, row: int) -> Sequence[float]:
    """Red, green and blue of a pixel."""
    return struct.unpack_from(
        "<3f", results[row // TILE * COLUMNS + column // TILE], 12 * (row % TILE * TILE + column % TILE)
    )


def is_far(one: float, other: float) -> bool:
    """Whether two numbers are further apart than the task's tolerance has it."""
    return abs(one - other) > ABSOLUTE + RELATIVE * max(abs(one), abs(other))
