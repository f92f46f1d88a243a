"""Put the tiles of the deep zoom together to a picture.

python -m examples.deep_zoom.render RESULTS PICTURE.png

RESULTS is the folder `cc-task run --local` writes, one file for each chunk. Tiles that are missing stay grey, so an
unfinished picture can be looked at too.
"""

from __future__ import annotations

import math
import sys
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PICTURE = 1024
TILE = 64
GREY = (40, 40, 44)
TURNS_PER_E = 2.0
"""Turns of the colour wheel while the iterations grow by the factor e."""
PHASES = (0.55, 0.45, 0.30)
"""Where red, green and blue stand on the wheel: dark blue, gold, white."""


def render(tiles: Iterable[tuple[int, bytes]]) -> Image.Image:
    """The picture made of (chunk, result) pairs."""
    values = {chunk: _u16s(result) for chunk, result in tiles}
    escaped = [value for tile in values.values() for value in tile if value]
    colours = _colours(min(escaped, default=1), max(escaped, default=1))
    picture = Image.new("RGB", (PICTURE, PICTURE), GREY)
    for chunk, tile in values.items():
        row, column = divmod(chunk, PICTURE // TILE)
        pixels = b"".join(colours[value] for value in tile)
        picture.paste(Image.frombytes("RGB", (TILE, TILE), pixels), (column * TILE, row * TILE))
    return picture


def _colours(low: int, high: int) -> dict[int, bytes]:
    """A colour for every value: a wheel over the logarithm, since iterations grow exponentially towards the set."""
    colours = {0: bytes(3)}
    for value in range(low, high + 1):
        turn = TURNS_PER_E * math.log(value / low)
        colours[value] = bytes(round(127.5 + 127.5 * math.cos(math.tau * (turn + phase))) for phase in PHASES)
    return colours


def _u16s(result: bytes) -> array[int]:
    values = array("H", result)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _results(folder: Path) -> Iterator[tuple[int, bytes]]:
    for file in sorted(folder.glob("*.bin")):
        yield int(file.stem), file.read_bytes()


if __name__ == "__main__":
    render(_results(Path(sys.argv[1]))).save(sys.argv[2])
