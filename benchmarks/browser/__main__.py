"""The page in a real Chromium: how soon it helps, how fast it computes, what it costs, and what happens to its work.

    python -m benchmarks.browser            about four minutes; --quick for a look at whether it runs

Everything is real and on loopback: a signaling server, a native creator in this process, native nodes, and tabs of a
headless Chromium, each with a profile of its own, driven over the browser's own protocol and not by a test tool, which
would switch off what browsers do to tabs in the background. What a number should be compared with is measured beside
it: native nodes in the same network, plain Node with the same module, an empty tab. Each part has its own browser.

A first verified result is a chunk that this page has voted on since its link was opened and that the creator has
accepted, with another worker's equal vote (replication 2), seen by the creator. The person's own thinking is not in it:
Start is pressed the moment it is there.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from benchmarks.cases import Report, answer, parser
from benchmarks.network import COLLATZ_STEP, NO_OP, measure

from crowdcompute.creator.chromium import check_page, chromium
from crowdcompute.creator.local_network import signaling_server

from .background import hidden
from .computing import collatz_rows, no_op, node_alone, two_tabs
from .first_load import first_load
from .first_result import joins
from .harness import COLLATZ_BULK, COLLATZ_FILE, Place
from .idle import idle
from .killed import kills

if TYPE_CHECKING:
    from crowdcompute.creator.chromium import Devtools

    from .harness import Row


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


PARTS_S = {
    "first load": 60,
    "first result": 180,
    "no-op": 120,
    "collatz": 150,
    "collatz bulk": 150,
    "hidden": 90,
    "kills": 180,
    "idle": 90,
}
"""Its time limit: ten times what it takes on a quiet machine at full size."""


def main() -> int:
    options = parser("browser", __doc__).parse_args()
    if options.case:
        answer(options, case)
    with Report("browser", options) as report:
        report.found.update(aiortc=version("aiortc"), rows=[])
        for part, limit_s in PARTS_S.items():
            found = report.case(part, limit_s=limit_s, part=part, quick=options.quick)
            if found is not None:
                report.found["browser"] = found["browser"]
                for row in found["rows"]:
                    report.found["rows"].append(row)
                    beside = ", ".join(f"{name} {shown(value)}" for name, value in row["beside"].items())
                    goal = f"(goal {row['goal']})" if row["goal"] else ""
                    print(f"{row['what']:58} {shown(row['value']):>11} {row['unit']:14} {goal:14} {beside}", flush=True)
    return report.code


def shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"


def case(part: str, quick: bool) -> dict[str, Any]:
    sizes = QUICK if quick else FULL
    with tempfile.TemporaryDirectory(prefix="cc-bench-") as made:
        folder = Path(made)
        native = natively(part, sizes)
        alone = node_alone(1_000_000 // (10 if quick else 1)) if part.startswith("collatz") else {}
        with signaling_server(folder) as server:
            check_page(server["url"])
            return uvloop.run(in_browser(part, Place(folder, server["url"]), sizes, native, alone))


def natively(part: str, sizes: Sizes) -> Any:
    """What two native nodes do with the same task, before a browser runs here."""
    collatz = COLLATZ_FILE.read_bytes()
    match part:
        case "no-op":
            return measure("no-op", NO_OP, sizes.no_op_chunks, 1)[0]
        case "collatz":
            return measure("collatz", collatz, sizes.collatz_chunks, COLLATZ_STEP)[0]
        case "collatz bulk":
            return measure("collatz bulk", collatz, sizes.bulk_chunks, COLLATZ_BULK)[0]
    return None


async def in_browser(part: str, place: Place, sizes: Sizes, native: Any, alone: dict[str, Any]) -> dict[str, Any]:
    with chromium(place.folder) as browser:
        async with browser.devtools() as devtools:
            name = str((await devtools.call("Browser.getVersion"))["product"])
            rows = [] if part == "idle" else await rows_of(part, place, devtools, sizes, native, alone)
    if part == "idle":  # In a browser of its own, with nothing in reserve.
        rows = await idle(place, sizes.watched_s)
    return {"browser": name, "rows": [asdict(row) for row in rows]}


async def rows_of(
    part: str, place: Place, devtools: Devtools, sizes: Sizes, native: Any, alone: dict[str, Any]
) -> list[Row]:
    collatz = COLLATZ_FILE.read_bytes()
    match part:
        case "first load":
            return await first_load(place, devtools)
        case "first result":
            return await joins(place, devtools, sizes.joins)
        case "no-op":
            return await no_op(place, devtools, sizes.no_op_chunks, native)
        case "collatz":
            computed = await two_tabs(place, devtools, part, collatz, sizes.collatz_chunks, COLLATZ_STEP)
            return collatz_rows(computed, native, alone)
        case "collatz bulk":
            computed = await two_tabs(place, devtools, part, collatz, sizes.bulk_chunks, COLLATZ_BULK)
            return collatz_rows(computed, native, alone)
        case "hidden":
            return await hidden(place, devtools, sizes.watched_s)
        case "kills":
            return await kills(place, devtools, sizes.kills)
    raise ValueError(part)


if __name__ == "__main__":
    sys.exit(main())
