"""Inputs from the package `scikit-image`: the Hubble eXtreme Deep Field (NASA, public domain), blurred, with noise.

Richardson-Lucy deconvolution in tiles, each with as much around it as counts. The reference is scikit-image's own,
which uses Fourier transforms on the whole picture. Some tiles are computed again in numpy: those must be equal.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

COLUMNS = ROWS = 8
ROUNDS, RADIUS, WIDTH_OF_BLUR = 10, 3, 1.5
NOISE = 0.01
HALO = 2 * RADIUS * ROUNDS
COMPARED = (0, 27, 63)


def blur() -> Any:
    """A telescope that is a little out of focus."""
    import numpy

    along = numpy.exp(-(numpy.arange(-RADIUS, RADIUS + 1) ** 2) / (2 * WIDTH_OF_BLUR**2))
    taps = numpy.outer(along, along)
    return taps / taps.sum()


def pictures() -> tuple[Any, Any]:
    """As the telescope saw it, and as we are given it."""
    import numpy
    from examples.deep_field.reference import convolved
    from skimage.data import hubble_deep_field

    photograph: Any = hubble_deep_field
    sharp = photograph()
    light = numpy.stack([convolved(sharp[:, :, colour] / 255.0, blur()) for colour in range(3)], axis=2)
    light += numpy.random.default_rng(2012).normal(scale=NOISE, size=light.shape)
    return sharp, (255 * numpy.clip(light, 0, 1) + 0.5).astype(numpy.uint8)


def tiles(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of each tile."""
    for row in range(ROWS):
        for column in range(COLUMNS):
            yield (
                slice(height * row // ROWS, height * (row + 1) // ROWS),
                slice(width * column // COLUMNS, width * (column + 1) // COLUMNS),
            )


def part(picture: Any, rows: slice, columns: slice) -> tuple[Any, int, int]:
    """What a tile depends on, and where it begins in that."""
    top, left = max(0, rows.start - HALO), max(0, columns.start - HALO)
    return picture[top : rows.stop + HALO, left : columns.stop + HALO], rows.start - top, columns.start - left


def packed(pixels: Any, top: int, left: int, height: int, width: int, taps: Any, rounds: int) -> bytes:
    """One chunk's input."""
    sides = (pixels.shape[1], pixels.shape[0], left, top, width, height, rounds, taps.shape[0] // 2)
    return struct.pack("<8I", *sides) + bytes(taps.astype("<f8")) + bytes(pixels)


def prepare(folder: Path) -> None:
    """Replace the sample by the real inputs."""
    for file in (folder / "inputs").iterdir():
        file.unlink()
    _, given = pictures()
    for number, (rows, columns) in enumerate(tiles(*given.shape[:2])):
        pixels, top, left = part(given, rows, columns)
        sides = (rows.stop - rows.start, columns.stop - columns.start)
        (folder / "inputs" / f"{number:04}").write_bytes(packed(pixels, top, left, *sides, blur(), ROUNDS))


def finish(results: Mapping[int, bytes], out: Path) -> list[str]:
    """The pictures side by side, and how far ours is from the others."""
    import numpy
    from examples.deep_field.reference import restored
    from PIL import Image
    from skimage.metrics import peak_signal_noise_ratio
    from skimage.restoration import richardson_lucy

    deconvolution: Any = richardson_lucy
    decibels: Any = peak_signal_noise_ratio
    sharp, given = pictures()
    ours, different = given.copy(), 0
    for number, (rows, columns) in enumerate(tiles(*given.shape[:2])):
        sides = (rows.stop - rows.start, columns.stop - columns.start, 3)
        ours[rows, columns] = numpy.frombuffer(results[number], dtype=numpy.uint8).reshape(sides)
        if number in COMPARED:
            pixels, top, left = part(given, rows, columns)
            again = restored(pixels, blur(), ROUNDS)[top : top + sides[0], left : left + sides[1]]
            different += int((again != ours[rows, columns]).any(axis=2).sum())
    theirs = numpy.stack([deconvolution(given[:, :, at] / 255.0, blur(), ROUNDS) for at in range(3)], axis=2)
    apart = numpy.abs(ours.astype(float) - 255 * numpy.clip(theirs, 0, 1))
    Image.fromarray(ours).save(out / "deep_field.png")
    # A corner, twice as large: on the left what we were given.
    detail = numpy.concatenate([given[300:620, 380:700], ours[300:620, 380:700]], axis=1)
    Image.fromarray(detail).resize((1280, 640), Image.Resampling.NEAREST).save(out / "before_and_after.png")
    before, after = (decibels(sharp, picture) for picture in (given, ours))
    return [
        f"picture    {out / 'deep_field.png'}  {ours.shape[1]} x {ours.shape[0]}; before_and_after.png shows a part",
        f"restored   from {before:.1f} to {after:.1f} dB of the original",
        f"reference  scikit-image's own is at most {apart.max():.3f} of 255 apart (rounding makes 0.5)",
        f"reference  {len(COMPARED)} tiles in numpy: {different} pixels differ",
    ]
