"""Inputs from the package `arch` (University of Illinois/NCSA licence; S&P 500, 1999 to 2018), and what comes of them.

The reference is arch's own CircularBlockBootstrap, with its own random numbers: the two must agree within what chance
allows. And some paths are computed again in pure Python: those must be equal.
"""

from __future__ import annotations

import math
import struct
from array import array
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from examples.value_at_risk.reference import path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CHUNKS, PATHS, DAYS, BLOCK = 50, 20_000, 10, 5
LEVELS = (0.95, 0.99, 0.999)
REFERENCE_PATHS = 40_000


def log_returns() -> list[float]:
    """Daily log returns of the S&P 500."""
    from arch.data import sp500

    closes = [float(close) for close in sp500.load()["Adj Close"]]
    return [math.log(later / earlier) for earlier, later in pairwise(closes)]


def prepare(folder: Path) -> None:
    """Replace the sample by the real inputs."""
    write_inputs(folder / "inputs", log_returns(), CHUNKS, PATHS)


def write_inputs(folder: Path, returns: list[float], chunks: int, paths: int) -> None:
    """One file for each chunk."""
    for file in folder.iterdir():
        file.unlink()
    for chunk in range(chunks):
        head = struct.pack("<Q4I", chunk * paths, paths, DAYS, BLOCK, len(returns))
        (folder / f"{chunk:04}").write_bytes(head + struct.pack(f"<{len(returns)}d", *returns))


def finish(results: Mapping[int, bytes], out: Path) -> list[str]:
    """The table, and how far it is from the reference."""
    returns = log_returns()
    paths = array("i", b"".join(results[chunk] for chunk in sorted(results)))
    different = sum(paths[number] != path(number, returns, DAYS, BLOCK) for number in range(0, len(paths), 4_999))
    ours, theirs = sorted(paths), sorted(reference(returns))
    lines = [f"S&P 500, {len(returns):,} days; ten days ahead, {len(paths):,} paths"]
    lines.append(f"{'':8}{'at risk':>9}{'arch':>9}{'apart':>9}{'chance':>9}")
    for level in LEVELS:
        mine, other = loss(ours, level), loss(theirs, level)
        lines.append(f"{level:<8.1%}{mine:9.2%}{other:9.2%}{abs(mine - other):9.2%}{error(theirs, level):9.2%}")
    (out / "value_at_risk.txt").write_text("\n".join(lines) + "\n")
    compared = len(range(0, len(paths), 4_999))
    return [
        *lines,
        f"table      {out / 'value_at_risk.txt'}",
        f"arch       is arch's own bootstrap of {REFERENCE_PATHS:,} paths; chance is its standard error",
        f"reference  {compared} paths in pure Python: {different} differ",
    ]


def loss(paths: list[int], level: float) -> float:
    """The loss that is not exceeded with this probability."""
    return 1 - math.exp(paths[int(len(paths) * (1 - level))] * 1e-7)


def error(paths: list[int], level: float) -> float:
    """Standard error of `loss`, from the spread of its order statistic."""
    at, width = len(paths) * (1 - level), math.sqrt(len(paths) * level * (1 - level))
    return abs(quantile(paths, at - width) - quantile(paths, at + width)) / 2


def quantile(paths: list[int], at: float) -> float:
    return 1 - math.exp(paths[max(0, int(at))] * 1e-7)


def reference(returns: list[float]) -> list[int]:
    """The same by `arch`: a resample is as long as the data, so it holds many times ten days."""
    import numpy
    from arch.bootstrap import CircularBlockBootstrap

    bootstrap: Any = CircularBlockBootstrap(BLOCK, numpy.array(returns), seed=20_181_231)
    found: list[int] = []
    for (sample,), _ in bootstrap.bootstrap(math.ceil(REFERENCE_PATHS / (len(returns) // DAYS))):
        whole = sample[: len(sample) // DAYS * DAYS].reshape(-1, DAYS).sum(axis=1)
        found.extend(int(value) for value in numpy.floor(whole * 1e7))
    return found[:REFERENCE_PATHS]
