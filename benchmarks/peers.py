"""Ours beside the executors people would pick, in one run: everything a person might compare.

    python benchmarks/peers.py        `make bench` installs Dask and Ray first; without them their rows are missing

For each contender (contenders.py), in a process of its own:

    in flight      calls that do nothing, with 1, 16 and 64 in flight: calls a second, the round trip of one, CPU a call
    Collatz        numbers a second, 17,500 in a call; Mandelbrot: tiles of 64 x 64 points a second
    bulk           MB a second to workers, four calls of 4 MiB in flight
    join           from starting one more worker until it takes part
    recovery       one of two workers is stopped (SIGSTOP) while both are busy with calls of a quarter of a second: how
                   much later the last result comes than at half the rate until then. 60 s is given up
    memory         of all processes at the end of the calls that do nothing
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from subprocess import TimeoutExpired, run
from threading import Thread
from typing import TYPE_CHECKING

from contenders import (  # type: ignore[import-not-found]  # the file beside this one
    CONTENDERS,
    MARK,
    NO_OP,
    ROOT,
    WORKERS,
    Kernel,
    cpu_s,
    cpu_s_of,
    memory_mb,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from contenders import Place

IN_FLIGHT = (1, 16, 64)
COLLATZ_NUMBERS = 17_500
TILE = 64
BULK_BYTES = 4 << 20
BULK_IN_FLIGHT = 4
CALL_S = 0.25
STOP_AFTER_S = 5.0
GIVEN_UP_S = 60.0
CASE_S_MAX = 240.0
BULK = NO_OP.replace('(export "memory") 1', '(export "memory") 160')


@dataclass
class Row:
    contender: str
    executions_per_call: int
    per_s: dict[str, float] = field(default_factory=dict)
    """Calls a second, by how many are in flight."""
    round_trip_ms: float | None = None
    """Median with one in flight."""
    cpu_ms_per_call: float | None = None
    """With 64 in flight."""
    memory_mb: float | None = None
    collatz_numbers_per_s: float | None = None
    mandelbrot_tiles_per_s: float | None = None
    bulk_mb_per_s: float | None = None
    join_s: float | None = None
    recovery_s: float | None = None
    """None where workers are no machines of their own, or nothing stops; infinite is 60 s, given up."""


def flowing(place: Place, in_flight: int, seconds: float, call: Callable[[int], tuple[object, ...]]) -> list[float]:
    """Keep so many calls in flight for some time; how long each took."""
    waiting: deque[tuple[float, Callable[[], object]]] = deque()
    times_s: list[float] = []
    number, began = 0, time.monotonic()
    while waiting or time.monotonic() < began + seconds:
        while len(waiting) < in_flight and (time.monotonic() < began + seconds or not number):
            waiting.append((time.monotonic(), place.submit(*call(number))))
            number += 1
        if waiting:
            sent, result = waiting.popleft()
            result()
            times_s.append(time.monotonic() - sent)
    return times_s


def calls(row: Row, folder: Path, seconds: float) -> None:
    """No-ops, and who comes while there are some."""
    with CONTENDERS[row.contender].opened(folder, Kernel.of_text(NO_OP)) as place:
        flowing(place, 1, 0.0, lambda number: (0, number))
        for in_flight in IN_FLIGHT:
            used_s, began = cpu_s(), time.monotonic()
            times_s = flowing(place, in_flight, seconds, lambda number: (1, number))
            row.per_s[str(in_flight)] = round(len(times_s) / (time.monotonic() - began), 1)
            row.cpu_ms_per_call = round(1_000 * (cpu_s() - used_s) / len(times_s), 3)
            if in_flight == 1:
                row.round_trip_ms = round(1_000 * sorted(times_s)[len(times_s) // 2], 2)
        row.memory_mb = round(memory_mb(), 1)
        if place.join is not None:
            began = time.monotonic()
            place.join()
            row.join_s = round(time.monotonic() - began, 2)


def work(row: Row, folder: Path, seconds: float) -> None:
    """Collatz, Mandelbrot and bytes."""
    opened = CONTENDERS[row.contender].opened
    with opened(folder / "collatz", Kernel((ROOT / "examples/collatz/collatz.wasm").read_bytes())) as place:
        count = max(4, int(seconds * 100))
        place.map([(0, 1)])
        began = time.monotonic()
        place.map([(COLLATZ_NUMBERS * each, COLLATZ_NUMBERS * (each + 1)) for each in range(count)])
        row.collatz_numbers_per_s = round(count * COLLATZ_NUMBERS / (time.monotonic() - began))
    kernel = Kernel((ROOT / "examples/deep_zoom/deep_zoom.wasm").read_bytes(), output="8KiB")
    with opened(folder / "mandelbrot", kernel) as place:
        place.map([(0, 0, 1, 1)])
        tiles = [(TILE * x, TILE * y, TILE, TILE) for y in range(4) for x in range(16)]
        began = time.monotonic()
        place.map(tiles)
        row.mandelbrot_tiles_per_s = round(len(tiles) / (time.monotonic() - began), 1)
    with opened(folder / "bulk", Kernel.of_text(BULK)) as place:
        rng = Random(1)
        blocks = [rng.randbytes(BULK_BYTES) for _ in range(BULK_IN_FLIGHT)]
        flowing(place, 1, 0.0, lambda _: (blocks[0][::-1],))
        began = time.monotonic()
        times_s = flowing(place, BULK_IN_FLIGHT, seconds, lambda number: (number.to_bytes(8) + blocks[number % 4][8:],))
        row.bulk_mb_per_s = round(len(times_s) * BULK_BYTES / 1e6 / (time.monotonic() - began), 1)


def recovery(row: Row, folder: Path) -> None:
    """Stop a worker, and all its children, and see when what it held is there all the same."""
    steps = int(1e8)
    steps = int(steps * CALL_S / cpu_s_of(Kernel.spinning(steps), 1, 2))
    count = int(4 * STOP_AFTER_S / CALL_S)
    with CONTENDERS[row.contender].opened(folder / "recovery", Kernel.spinning(steps)) as place:
        place.map([(1, number) for number in range(2 * WORKERS)])
        if not (pids := place.workers()):
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
        stopped = [pids[0], *descendants(pids[0])]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        stopped_at, done = time.monotonic(), len(results)
        gathering.join(GIVEN_UP_S)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        alone_s = (count - done) * STOP_AFTER_S * WORKERS / max(1, done)
        row.recovery_s = float("inf")
        if len(results) == count:
            row.recovery_s = round(max(0.0, results[-1] - stopped_at - alone_s), 1)


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(each for child in children for each in descendants(child))]


def measure(name: str, seconds: float) -> Row:
    row = Row(name, CONTENDERS[name].executions)
    with tempfile.TemporaryDirectory(prefix="cc-bench-", ignore_cleanup_errors=True) as folder:
        calls(row, Path(folder), seconds)
        print(json.dumps(asdict(row)), flush=True)
        work(row, Path(folder), seconds)
        print(json.dumps(asdict(row)), flush=True)
        recovery(row, Path(folder))
        print(json.dumps(asdict(row)), flush=True)
    return row


def shown(row: Row) -> str:
    """A row of the table; a dash where there is no such thing (or it was not reached)."""

    def cell(value: float | None, places: int = 0) -> str:
        if value == float("inf"):
            return f"{'> 60':>9}"
        return f"{'-':>9}" if value is None else f"{value:9,.{places}f}"

    numbers = None if row.collatz_numbers_per_s is None else row.collatz_numbers_per_s / 1e6
    rates = "".join(cell(row.per_s.get(str(in_flight))) for in_flight in IN_FLIGHT)
    costs = cell(row.round_trip_ms, 1) + cell(row.cpu_ms_per_call, 2) + cell(row.memory_mb)
    done = cell(numbers, 2) + cell(row.mandelbrot_tiles_per_s, 1) + cell(row.bulk_mb_per_s, 1)
    return f"{row.contender:24}{rates}{costs}{done}{cell(row.join_s, 2)}{cell(row.recovery_s, 1)}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--seconds", type=float, default=4.0, help="for each number in flight")
    arguments.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "peers.json")
    arguments.add_argument("--only", help="one contender, by its name")
    arguments.add_argument("--case", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.case:
        measure(options.case, options.seconds)
        os._exit(0)  # What waits for a worker that was stopped would wait for ever.
    rows = []
    ways = ["1", "16", "64", "trip ms", "CPU ms", "MB", "Collatz M", "tiles", "MB/s", "join s", "recover s"]
    print(" " * 24 + "".join(f"{way:>9}" for way in ways))
    for number, name in enumerate(CONTENDERS):
        if options.only and name != options.only:
            continue
        said, why = case(name, f"{os.getpid()}-{number}", options.seconds)
        if not said:
            print(f"{name:24} {why}", flush=True)
            continue
        rows.append(Row(**json.loads(said[-1])))
        print(shown(rows[-1]) + (f"   {why}" if why else ""), flush=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    load = round(os.getloadavg()[1], 1)
    report = {"machine": machine, "load_average_5_min": load, "rows": [asdict(row) for row in rows]}
    options.output.write_text(json.dumps(report, indent=2) + "\n")


def case(name: str, mark: str, seconds: float) -> tuple[list[str], str]:
    """The rows that a contender's own process printed, each fuller than the one before, and what went wrong."""
    command = [sys.executable, __file__, "--case", name, "--seconds", str(seconds)]
    environment = {**os.environ, MARK: mark}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        try:
            code = run(command, env=environment, stdout=out, stderr=errors, check=False, timeout=CASE_S_MAX).returncode
        except TimeoutExpired:
            code = -1
        out.seek(0)
        errors.seek(0)
        said = [line for line in out.read().splitlines() if line.startswith('{"contender"')]
        why = "" if not code else (errors.read().strip().splitlines() or ["it did not end"])[-1]
    return said, why


if __name__ == "__main__":
    main()
