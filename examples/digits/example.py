"""The digits of scikit-learn (BSD; UCI's optical recognition of handwritten digits), and what comes of them.

The last 797 of 1,797 images are told by the first 1,000. scikit-learn's own nearest neighbour is the reference for what
they are taken for; and some correlations are computed again in pure Python: those must be within the tolerance.
"""

from __future__ import annotations

import struct
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING

from examples.digits.reference import alike

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CLASSES, KNOWN, UNKNOWN, PIXELS = 10, 1_000, 64, 64
TOLERANCE = 5e-6


def digits() -> tuple[list[bytes], list[int]]:
    """The images, a byte for each pixel, and what they show."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    return [bytes(map(int, image)) for image in loaded.data], [int(each) for each in loaded.target]


def prepare(folder: Path) -> None:
    """Replace the sample by the real inputs. The package keeps its golden vector, so that is not replaced."""
    images, labels = digits()
    (folder / "golden").write_bytes((folder / "inputs" / "0000").read_bytes())
    task = folder / "task.toml"
    task.write_text(task.read_text().replace('["inputs/0000"]', '["golden"]'))
    write_inputs(folder / "inputs", by_class(images[:KNOWN], labels[:KNOWN]), images[KNOWN:])


def by_class(images: Sequence[bytes], labels: Sequence[int]) -> list[list[bytes]]:
    return [[image for image, label in zip(images, labels, strict=True) if label == each] for each in range(CLASSES)]


def write_inputs(folder: Path, classes: Sequence[Sequence[bytes]], unknown: Sequence[bytes]) -> None:
    """One file for each 64 images; what is missing of the last is black."""
    for file in folder.iterdir():
        file.unlink()
    begins = [0, *accumulate(map(len, classes))]
    head = struct.pack(f"<{CLASSES + 1}I", *begins) + b"".join(image for known in classes for image in known)
    for number, begin in enumerate(range(0, len(unknown), UNKNOWN)):
        images = b"".join(unknown[begin : begin + UNKNOWN])
        (folder / f"{number:04}").write_bytes(head + images.ljust(UNKNOWN * PIXELS, b"\0"))


def write_sample(folder: Path) -> None:
    """Invented images: what is in `inputs`."""
    rng = Random(1)
    images = [bytes(rng.randrange(17) for _ in range(PIXELS)) for _ in range(100 + UNKNOWN)]
    write_inputs(folder, [images[10 * each : 10 * each + 10] for each in range(CLASSES)], images[100:])


def finish(results: Mapping[int, bytes], out: Path) -> list[str]:
    """What each image was taken for, and how far that is from what others compute."""
    from sklearn.neighbors import KNeighborsClassifier

    images, labels = digits()
    unknown, shown = images[KNOWN:], labels[KNOWN:]
    found = [number for chunk in sorted(results) for (number,) in struct.iter_unpack("<f", results[chunk])]
    rows = [found[CLASSES * number : CLASSES * number + CLASSES] for number in range(len(unknown))]
    taken_for = [row.index(max(row)) for row in rows]
    nearest = KNeighborsClassifier(1, metric="correlation", algorithm="brute")
    nearest.fit([list(image) for image in images[:KNOWN]], labels[:KNOWN])
    theirs = [int(each) for each in nearest.predict([list(image) for image in unknown])]
    classes = by_class(images[:KNOWN], labels[:KNOWN])
    checked = range(0, len(unknown), 40)
    off = max(
        abs(mine - right)
        for number in checked
        for mine, right in zip(rows[number], alike(unknown[number], classes), strict=True)
    )
    (out / "digits.txt").write_text("".join(f"{mine} {right}\n" for mine, right in zip(taken_for, shown, strict=True)))
    right = sum(mine == label for mine, label in zip(taken_for, shown, strict=True))
    same = sum(mine == other for mine, other in zip(taken_for, theirs, strict=True))
    return [
        f"digits     {right} of {len(unknown)} are taken for what they are: {out / 'digits.txt'}",
        f"reference  {same} of {len(unknown)} as scikit-learn's nearest neighbour takes them",
        f"reference  {CLASSES * len(checked)} correlations in pure Python: at most {off:.1e} beside, "
        f"{'within' if off <= TOLERANCE else 'BEYOND'} the tolerance of {TOLERANCE:g}",
    ]
