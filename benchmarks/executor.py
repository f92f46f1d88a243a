"""Chunks per second through `crowdcompute.creator.Executor`, beside the executors people know, in one run.

    python benchmarks/executor.py        `make bench` installs Dask and Ray first; without them their rows are missing

Each contender (contenders.py) maps a kernel over `--calls` numbers with two workers, and makes one call alone to a warm
pool. On a network all futures have settled when time is taken; certificates come after.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from contenders import CONTENDERS, ROOT, Kernel  # type: ignore[import-not-found]  # the file beside this one

RUNS = {"no-op": 1, "1 ms": 1_000_000}
"""Steps of the loop in each call."""

CASE_S_MAX = 40.0
"""A contender that takes longer for one of them is left out: there are twelve."""


@dataclass
class Row:
    executor: str
    chunk: str
    executions_per_chunk: int
    chunks_per_s: float
    one_call_s: float


def measure(name: str, chunk: str, calls: int) -> Row:
    contender = CONTENDERS[name]
    with (
        tempfile.TemporaryDirectory(prefix="cc-bench-", ignore_cleanup_errors=True) as folder,
        contender.opened(Path(folder), Kernel.spinning(RUNS[chunk])) as place,
    ):
        place.submit(1)()
        started = time.monotonic()
        place.submit(2)()
        alone_s = time.monotonic() - started
        started = time.monotonic()
        place.map([(number,) for number in range(calls)])
        rate = calls / (time.monotonic() - started)
        row = Row(name, chunk, contender.executions, round(rate, 1), round(alone_s, 4))
        print(json.dumps(asdict(row)), flush=True)
    return row


def case(name: str, chunk: str, calls: int) -> Row | str:
    """One contender in a process of its own, or why there is no row of it."""
    command = [sys.executable, __file__, "--case", name, "--chunk", chunk, "--calls", str(calls)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=CASE_S_MAX)
    except subprocess.TimeoutExpired:
        return f"not done in {CASE_S_MAX:.0f} s"
    for line in done.stdout.splitlines():
        if line.startswith('{"executor"'):
            return Row(**json.loads(line))
    return (done.stderr.strip().splitlines() or ["it said nothing"])[-1]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--calls", type=int, default=10_000)
    arguments.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "executor.json")
    arguments.add_argument("--case", help=argparse.SUPPRESS)
    arguments.add_argument("--chunk", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.case:
        measure(options.case, options.chunk, options.calls)
        return
    rows: list[Row] = []
    for chunk, steps in RUNS.items():
        for name in CONTENDERS:
            row = case(name, chunk, options.calls if steps == 1 else options.calls // 5)
            if isinstance(row, str):
                print(f"{name:22} {chunk:6} {row}", flush=True)
                continue
            rows.append(row)
            print(f"{name:22} {chunk:6} {row.chunks_per_s:10,.0f} chunks/s  {row.one_call_s:8.4f} s alone", flush=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    load = os.getloadavg()[1]
    report = {"machine": machine, "load_average_5_min": round(load, 1), "rows": [asdict(row) for row in rows]}
    options.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
