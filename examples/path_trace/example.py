"""What `make example NAME=path_trace` makes of the results."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from examples.path_trace.reference import pixel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TILE, COLUMNS, WIDTH, HEIGHT = 60, 8, 480, 360
COMPARED = 40


def finish(results: Mapping[int, bytes], out: Path) -> list[str]:
    """The picture is there already (`[assemble]`): compare some of its pixels with pure Python."""
    rng, different = Random(0), 0
    for _ in range(COMPARED):
        column, row = rng.randrange(WIDTH), rng.randrange(HEIGHT)
        tile = results[row // TILE * COLUMNS + column // TILE]
        at = 3 * (row % TILE * TILE + column % TILE)
        different += tile[at : at + 3] != pixel(column, row)
    return [
        f"picture    {out / 'path_trace.png'}  {WIDTH} x {HEIGHT}, 400 paths a pixel",
        f"reference  {COMPARED} pixels in pure Python: {different} differ",
    ]
