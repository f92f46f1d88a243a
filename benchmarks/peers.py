"""Ours beside the executors people would pick, in one run: everything a person might compare, with ratios.

    python -m benchmarks.peers        `make bench` installs the others first; a row says why it is not there

For each contender (contenders.py), in processes of their own, so that one that fails or hangs costs nobody else's row:

    in flight      calls that do nothing, with 1, 16 and 64 in flight: calls a second, the round trip of one, CPU a call
    all at once    calls that do nothing, given as one map: as many as 64 in flight have done, 10,000 at most
    join           from starting one more worker until it takes part
    memory         of all processes at the end of the calls that do nothing
    Collatz        numbers a second, 17,500 in a call; Mandelbrot: tiles of 64 x 64 points a second
    bulk           MB a second to workers and back, four calls of 4 MiB in flight
    recovery       one of two workers is stopped (SIGSTOP) while both are busy with calls of a quarter of a second: how
                   much later the last result comes than at half the rate until then

All contenders do one of these parts before any does the next, so that what is compared was measured at about the same
time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from random import Random
from threading import Thread
from typing import TYPE_CHECKING, Any

from benchmarks.cases import ROOT, Report, answer, descendants, parser
from benchmarks.contenders import CONTENDERS, WORKERS, cpu_s, cpu_s_of, memory_mb
from benchmarks.kernels import NO_OP, Kernel
from benchmarks.tables import IN_FLIGHT, MEASURES, beside, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.contenders import Place

COLLATZ_NUMBERS = 17_500
TILE = 64
BULK_BYTES = 4 << 20
BULK_IN_FLIGHT = 4
AT_ONCE_MAX = 10_000
CALL_S = 0.25
STOP_AFTER_S = 5.0
ALONE_S_MAX = 60.0
"""On a machine so busy that it takes longer nothing is learnt; it is 10 s on one that is not."""
BULK = NO_OP.replace('(export "memory") 1', '(export "memory") 160')

Found = dict[str, Any]
"""Measures by name (tables.py); a text where there is no number, and why."""


def flowing(place: Place, in_flight: int, seconds: float, call: Callable[[int], tuple[object, ...]]) -> list[float]:
    """Keep so many calls in flight for some time; how long each took."""
    waiting: deque[tuple[float, Callable[[], object]]] = deque()
    times_s: list[float] = []
    number, began = 0, time.monotonic()
    while waiting or time.monotonic() < began + seconds:
        while len(waiting) < in_flight and time.monotonic() < began + seconds:
            waiting.append((time.monotonic(), place.submit(*call(number))))
            number += 1
        if waiting:
            sent, result = waiting.popleft()
            result()
            times_s.append(time.monotonic() - sent)
    return times_s


def warm(place: Place, calls: list[tuple[object, ...]]) -> None:
    """Many at once and one after another, so that both workers have met the kernel, and calls of either kind."""
    place.map(calls)
    for call in calls[:3]:
        place.submit(*call)()


def calls(name: str, folder: Path, seconds: float, given_up_s: float) -> Iterator[Found]:
    """No-ops, and who comes while there are some."""
    found: Found = {}
    with CONTENDERS[name].opened(folder, Kernel.of_text(NO_OP)) as place:
        warm(place, [(0, number) for number in range(8 * WORKERS)])
        for in_flight in IN_FLIGHT:
            used_s, began = cpu_s(), time.monotonic()
            times_s = flowing(place, in_flight, seconds, lambda number: (1, number))
            found[f"per_s_{in_flight}"] = round(len(times_s) / (time.monotonic() - began), 1)
            found["cpu_ms"] = round(1_000 * (cpu_s() - used_s) / len(times_s), 3)
            if in_flight == 1:
                found["round_trip_ms"] = round(1_000 * sorted(times_s)[len(times_s) // 2], 2)
            yield found
        found["memory_mb"] = round(memory_mb(), 1)
        yield found
        many = [(2, number) for number in range(min(AT_ONCE_MAX, len(times_s)))]
        began = time.monotonic()
        place.map(many)
        found["per_s_all"] = round(len(many) / (time.monotonic() - began), 1)
        yield found
        if place.join is None:
            found["join_s"] = "–: workers are fixed"
        else:
            began = time.monotonic()
            place.join()
            found["join_s"] = round(time.monotonic() - began, 2)
        yield found


def work(name: str, folder: Path, seconds: float, given_up_s: float) -> Iterator[Found]:
    """Collatz, Mandelbrot and bytes."""
    found: Found = {}
    opened = CONTENDERS[name].opened
    with opened(folder / "collatz", Kernel((ROOT / "examples/collatz/collatz.wasm").read_bytes())) as place:
        count = max(4, int(seconds * 100))
        warm(place, [(0, number) for number in range(8 * WORKERS)])
        began = time.monotonic()
        place.map([(COLLATZ_NUMBERS * each, COLLATZ_NUMBERS * (each + 1)) for each in range(count)])
        found["collatz_per_s"] = round(count * COLLATZ_NUMBERS / (time.monotonic() - began))
    yield found
    kernel = Kernel((ROOT / "examples/deep_zoom/deep_zoom.wasm").read_bytes(), output="8KiB")
    with opened(folder / "mandelbrot", kernel) as place:
        warm(place, [(0, number, 1, 1) for number in range(8 * WORKERS)])
        tiles = [(TILE * x, TILE * y, TILE, TILE) for y in range(4) for x in range(16)]
        began = time.monotonic()
        place.map(tiles)
        found["tiles_per_s"] = round(len(tiles) / (time.monotonic() - began), 1)
    yield found
    with opened(folder / "bulk", Kernel.of_text(BULK)) as place:
        rng = Random(1)
        blocks = [rng.randbytes(BULK_BYTES) for _ in range(BULK_IN_FLIGHT)]
        warm(place, [(block[::-1],) for block in blocks])
        began = time.monotonic()
        times_s = flowing(place, BULK_IN_FLIGHT, seconds, lambda number: (number.to_bytes(8) + blocks[number % 4][8:],))
        found["bulk_mb_per_s"] = round(len(times_s) * BULK_BYTES / 1e6 / (time.monotonic() - began), 1)
    yield found


def recovery(name: str, folder: Path, seconds: float, given_up_s: float) -> Iterator[Found]:
    """Stop a worker, and all its children, and see when what it held is there all the same."""
    steps = int(1e8)
    # Elsewhere: a process that has compiled has threads, which those that are forked from it miss and wait for.
    with ProcessPoolExecutor(1, get_context("spawn")) as elsewhere:
        steps = int(steps * CALL_S / elsewhere.submit(cpu_s_of, Kernel.spinning(steps), 1, 2).result())
    count = int(4 * STOP_AFTER_S / CALL_S)
    with CONTENDERS[name].opened(folder / "recovery", Kernel.spinning(steps)) as place:
        warm(place, [(1, number) for number in range(2 * WORKERS)])
        if not (pids := place.workers()):
            yield {"recovery_s": "–: workers are its own children, whom nobody else stops"}
            return
        results: list[float] = []

        def gather() -> None:
            with contextlib.suppress(Exception):  # The place is left when we give up.
                for waiting in [place.submit(2, number) for number in range(count)]:
                    waiting()
                    results.append(time.monotonic())

        gathering = Thread(target=gather, daemon=True)
        gathering.start()
        time.sleep(STOP_AFTER_S)
        for pid in (pids[0], *descendants(pids[0])):
            os.kill(pid, signal.SIGSTOP)
        stopped_at, done = time.monotonic(), len(results)
        alone_s = (count - done) * STOP_AFTER_S * WORKERS / max(1, done)
        gathering.join(min(alone_s, ALONE_S_MAX) + given_up_s)
        if len(results) == count:
            yield {"recovery_s": round(max(0.0, results[-1] - stopped_at - alone_s), 1)}
        else:
            late = f"{given_up_s:.0f} s after all could have been there"
            yield {"recovery_s": f"never: {len(results)} of {count} results {late}"}
        # Leaving would wait for whom we have stopped. What was found is written down; who started us ends the rest.
        os._exit(0)


PARTS = {"calls": calls, "work": work, "recovery": recovery}
MEASURED = {
    "calls": ("per_s_1", "per_s_16", "per_s_64", "per_s_all", "round_trip_ms", "cpu_ms", "memory_mb", "join_s"),
    "work": ("collatz_per_s", "tiles_per_s", "bulk_mb_per_s"),
    "recovery": ("recovery_s",),
}
LIMITS_S = {"calls": 60.0, "work": 90.0, "recovery": 40.0 + ALONE_S_MAX}
"""Beside what `--seconds` and giving up take; a dozen seconds on a quiet machine."""


def measure(part: str, contender: str, seconds: float, given_up_s: float) -> Iterator[Found]:
    with tempfile.TemporaryDirectory(prefix="cc-bench-", ignore_cleanup_errors=True) as folder:
        yield from PARTS[part](contender, Path(folder), seconds, given_up_s)


def main() -> int:
    arguments = parser("peers", __doc__)
    arguments.add_argument("--seconds", type=float, help="for each number in flight (default: 4, --quick 2)")
    arguments.add_argument("--only", choices=CONTENDERS, nargs="+", default=list(CONTENDERS), help="these contenders")
    options = arguments.parse_args()
    if options.case:
        answer(options, measure)
    seconds = options.seconds or (2.0 if options.quick else 4.0)
    given_up_s = 20.0 if options.quick else 60.0
    with Report("peers", options) as report:
        rows: list[Found] = [
            {"contender": name, "executions_per_call": CONTENDERS[name].executions} for name in options.only
        ]
        report.found.update(seconds_each=seconds, given_up_s=given_up_s, workers=WORKERS, rows=rows)
        for part in PARTS:
            for row in rows:
                name = row["contender"]
                if (needs := CONTENDERS[name].module) and not find_spec(needs):
                    row.update(dict.fromkeys(MEASURED[part], f"absent: {needs} is not installed"))
                    continue
                limit_s = LIMITS_S[part] + 12 * seconds + given_up_s
                case = {"part": part, "contender": name, "seconds": seconds, "given_up_s": given_up_s}
                found = report.case(f"{name}: {part}", limit_s=limit_s, **case) or {}
                why = report.failed.get(f"{name}: {part}", "")
                row.update({measure: found.get(measure, f"failed: {why}") for measure in MEASURED[part]})
                report.write()
                said = (f"{each.head} {each.cell(row)}" for each in MEASURES if each.name in MEASURED[part])
                print(f"{name:24} {part:9}", *said, sep="  ", flush=True)
        print(f"\n{text(beside(report.found))}")
    return report.code


if __name__ == "__main__":
    sys.exit(main())
