"""The page in a real Chromium: how soon it helps, how fast it computes, what it costs, and what happens to its work.

    python -m benchmarks.browser            about three minutes; --quick for a look at whether it runs

Everything is real and on loopback: a signaling server, a native creator in this process, native nodes, and tabs of a
headless Chromium, each with a profile of its own, driven over the browser's own protocol and not by a test tool, which
would switch off what browsers do to tabs in the background. What a number should be compared with is measured in the
same run: native nodes in the same network, plain Node with the same module, an empty tab.

A first verified result is a chunk that this page has voted on since its link was opened and that the creator has
accepted, with another worker's equal vote (replication 2), seen by the creator. The person's own thinking is not in it:
Start is pressed the moment it is there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from benchmarks.network import COLLATZ_STEP, NO_OP, measure

from crowdcompute.creator.chromium import check_page, chromium
from crowdcompute.creator.local_network import signaling_server

from .background import hidden
from .computing import collatz_rows, no_op, node_alone, two_tabs
from .first_load import first_load
from .first_result import joins
from .harness import COLLATZ_BULK, COLLATZ_FILE, ROOT, Place, Row
from .idle import idle
from .killed import kills

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Sizes:
    joins: int
    no_op_chunks: int
    collatz_chunks: int
    bulk_chunks: int
    kills: int
    watched_s: float
    """How long an idle page, and a page visible or hidden, is watched."""


FULL = Sizes(joins=5, no_op_chunks=30_000, collatz_chunks=30_000, bulk_chunks=2_000, kills=2, watched_s=8.0)
QUICK = Sizes(joins=1, no_op_chunks=4_000, collatz_chunks=4_000, bulk_chunks=200, kills=1, watched_s=2.0)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--quick", action="store_true", help="small sizes: shows that it runs, measures little")
    arguments.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "browser.json")
    options = arguments.parse_args()
    sizes = QUICK if options.quick else FULL
    collatz = COLLATZ_FILE.read_bytes()
    # Before anything else runs here.
    alone = node_alone(1_000_000 // (10 if options.quick else 1))
    native = {
        "no-op": measure("no-op", NO_OP, sizes.no_op_chunks, 1)[0],
        "collatz": measure("collatz", collatz, sizes.collatz_chunks, COLLATZ_STEP)[0],
        "collatz bulk": measure("collatz bulk", collatz, sizes.bulk_chunks, COLLATZ_BULK)[0],
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cc-bench-")))
        server = stack.enter_context(signaling_server(folder))
        check_page(server["url"])
        place = Place(folder, server["url"])
        rows, browser_version = uvloop.run(in_browsers(place, sizes, native, alone))
    print(f"\n{'what':58} {'':>11} {'':14} {'goal':>9}  beside it, in the same run")
    for row in rows:
        beside = ", ".join(f"{name} {shown(value)}" for name, value in row.beside.items())
        print(f"{row.what:58} {shown(row.value):>11} {row.unit:14} {row.goal:>9}  {beside}")
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "browser": browser_version,
        "node": alone["version"] if alone else None,
        "aiortc": version("aiortc"),
        "rows": [asdict(row) for row in rows],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=2) + "\n")


def shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"


async def in_browsers(
    place: Place, sizes: Sizes, native: dict[str, Any], alone: dict[str, Any]
) -> tuple[list[Row], str]:
    rows: list[Row] = []

    def add(found: Iterable[Row]) -> None:
        for row in found:
            rows.append(row)
            print(f"{row.what}: {shown(row.value)} {row.unit}", flush=True)

    with chromium(place.folder) as browser:
        async with browser.devtools() as devtools:
            add(await first_load(place, devtools))
            add(await joins(place, devtools, sizes.joins))
            collatz = COLLATZ_FILE.read_bytes()
            add(await no_op(place, devtools, sizes.no_op_chunks, native["no-op"]))
            for name, chunks, items in (
                ("collatz", sizes.collatz_chunks, COLLATZ_STEP),
                ("collatz bulk", sizes.bulk_chunks, COLLATZ_BULK),
            ):
                computed = await two_tabs(place, devtools, name, collatz, chunks, items)
                add(collatz_rows(computed, native[name], alone))
            add(await hidden(place, devtools, sizes.watched_s))
            add(await kills(place, devtools, sizes.kills))
            browser_version = str((await devtools.call("Browser.getVersion"))["product"])
    add(await idle(place, sizes.watched_s))
    return rows, browser_version


if __name__ == "__main__":
    main()
