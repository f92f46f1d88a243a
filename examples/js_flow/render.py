"""Put the tiles of the flow together to a picture.

python -m examples.js_flow.render RESULTS PICTURE.png

RESULTS is the folder `cc-task run --local` writes, one file for each chunk. Tiles that are missing stay black.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PICTURE = 512
TILE = 64
INK, PAPER = (18, 32, 58), (250, 236, 205)


def render(tiles: Iterable[tuple[int, bytes]]) -> Image.Image:
    """The picture made of (chunk, result) pairs."""
    picture = Image.new("RGB", (PICTURE, PICTURE))
    shades = [
        bytes(low + (high - low) * value // 255 for low, high in zip(INK, PAPER, strict=True)) for value in range(256)
    ]
    for chunk, tile in tiles:
        row, column = divmod(chunk, PICTURE // TILE)
        pixels = b"".join(shades[value] for value in tile)
        picture.paste(Image.frombytes("RGB", (TILE, TILE), pixels), (column * TILE, row * TILE))
    return picture


def _results(folder: Path) -> Iterator[tuple[int, bytes]]:
    for file in sorted(folder.glob("*.bin")):
        yield int(file.stem), file.read_bytes()


if __name__ == "__main__":
    render(_results(Path(sys.argv[1]))).save(sys.argv[2])
