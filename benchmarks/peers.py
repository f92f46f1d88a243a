"""Ours beside the executors people would pick, in one run: dispatch, round trip, CPU and memory for each task.

    python benchmarks/peers.py        `make bench` installs Dask and Ray first; without them their rows are missing

Each has two workers and runs a task that does nothing, with 1, 16 and 64 tasks in flight. Ours is a WebAssembly kernel
in locked-down processes: on this machine alone, and on a network of two volunteers over WebRTC, with one vote and
audits and with two votes; a call is over when its result is accepted. The others call a Python function in their own
processes over TCP or shared memory, and believe what comes back. CPU and memory are those of all processes that a case
started, and of the one that calls: whatever inherited a mark in its environment, or descends from what did.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
import time
import warnings
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import run
from typing import TYPE_CHECKING, Any

import wasmtime

from crowdcompute.creator import Executor, Kernel, Network, ThisMachine
from crowdcompute.creator.local_network import LOOPBACK, signaling_server, volunteer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
WORKERS = 2
IN_FLIGHT = (1, 16, 64)
MARK = "BENCH_OF_PEERS"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
NO_OP = """(module (memory (export "memory") 1)
  (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "cc_run") (param i32 i32) (result i64) (i64.const 0x40000000008)))"""


@dataclass
class Row:
    executor: str
    executions_per_task: float
    per_s: dict[str, float]
    """Tasks a second, by how many are in flight."""
    round_trip_ms: float
    """Median with one in flight."""
    cpu_ms_per_task: float
    """With 64 in flight."""
    memory_mb: float
    """Proportional set size of all its processes at the end."""


def nothing(number: int) -> int:
    return number


def kernel(folder: Path, replication: int) -> Kernel[bytes]:
    (folder / "kernel.wasm").write_bytes(wasmtime.wat2wasm(NO_OP))
    (folder / "task.toml").write_text(
        'schema = 1\nname = "Nothing"\n[code]\nmodule = "kernel.wasm"\n[split]\nrange = [0, 1, 1]\n'
        f"[verify]\nreplication = {replication}\neps = 0.05\npow_bits = 8\n"
    )
    return Kernel(folder, decode=bytes)


@contextlib.contextmanager
def this_machine(folder: Path) -> Iterator[Any]:
    task = kernel(folder, 1)
    with ThisMachine(WORKERS) as place, Executor(place) as executor:
        yield lambda number: executor.submit(task, number).result


@contextlib.contextmanager
def network(folder: Path, replication: int) -> Iterator[Any]:
    task = kernel(folder, replication)
    with ExitStack() as stack:
        join = stack.enter_context(signaling_server(folder))["join"]
        for number in range(WORKERS):
            stack.enter_context(volunteer(folder, f"node-{number}", join))
        os.environ["CC_HOME"] = str(folder / "creator")
        place = stack.enter_context(Network(join, hosts=(LOOPBACK,)))
        while place.neighbours < WORKERS:
            time.sleep(0.05)
        executor = Executor(place)
        stack.callback(executor.shutdown, wait=False)
        yield lambda number: executor.submit(task, number).result


@contextlib.contextmanager
def processes(folder: Path) -> Iterator[Any]:
    with ProcessPoolExecutor(WORKERS) as pool:
        yield lambda number: pool.submit(nothing, number).result


@contextlib.contextmanager
def dask(folder: Path) -> Iterator[Any]:
    import distributed

    Client: Any = distributed.Client
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Client(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as client:
            yield lambda number: client.submit(nothing, number, pure=False).result


@contextlib.contextmanager
def ray_cluster(folder: Path) -> Iterator[Any]:
    import ray  # type: ignore[import-not-found,unused-ignore]

    module: Any = ray
    module.init(num_cpus=WORKERS, include_dashboard=False, logging_level="error")
    try:
        remote = module.remote(nothing)

        def submit(number: int) -> Callable[[], object]:
            reference = remote.remote(number)
            return lambda: module.get(reference)

        yield submit
    finally:
        module.shutdown()


CASES: dict[str, tuple[float, Callable[[Path], Any]]] = {
    "ours, this machine": (1, this_machine),
    "ours, network, 1 vote": (1, lambda folder: network(folder, 1)),
    "ours, network, 2 votes": (2, lambda folder: network(folder, 2)),
    "ProcessPoolExecutor": (1, processes),
    "Dask": (1, dask),
    "Ray": (1, ray_cluster),
}


def marked() -> Iterator[Path]:
    """Processes of this case: their environment holds the mark, or an ancestor's does (our workers have none)."""
    mark = f"{MARK}={os.environ[MARK]}".encode()
    parents: dict[str, str] = {}
    ours: set[str] = set()
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit():
                parents[process.name] = (process / "stat").read_text().rpartition(")")[2].split()[1]
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    ours.add(process.name)
    for name in parents:
        ancestor = name
        while ancestor in parents and ancestor not in ours:
            ancestor = parents[ancestor]
        if ancestor in ours:
            yield Path("/proc") / name


def cpu_s() -> float:
    total = 0
    for process in marked():
        with contextlib.suppress(OSError):
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS_PER_S


def memory_mb() -> float:
    total = 0
    for process in marked():
        with contextlib.suppress(OSError):
            lines = (process / "smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1_024


def measure(name: str, seconds: float) -> Row:
    executions, opened = CASES[name]
    with tempfile.TemporaryDirectory(prefix="cc-bench-") as folder, opened(Path(folder)) as submit:
        number = 0
        for _ in range(3):
            submit(number := number + 1)()
        per_s: dict[str, float] = {}
        times_s: list[float] = []
        spent_ms = 0.0
        for in_flight in IN_FLIGHT:
            waiting: deque[tuple[float, Callable[[], object]]] = deque()
            done, used_s, began = 0, cpu_s(), time.monotonic()
            while time.monotonic() < began + seconds or not done:
                while len(waiting) < in_flight:
                    waiting.append((time.monotonic(), submit(number := number + 1)))
                sent, result = waiting.popleft()
                result()
                done += 1
                if in_flight == 1:
                    times_s.append(time.monotonic() - sent)
            while waiting:
                waiting.popleft()[1]()
                done += 1
            per_s[str(in_flight)] = round(done / (time.monotonic() - began), 1)
            spent_ms = 1_000 * (cpu_s() - used_s) / done
        median_ms = 1_000 * sorted(times_s)[len(times_s) // 2]
        return Row(name, executions, per_s, round(median_ms, 2), round(spent_ms, 3), round(memory_mb(), 1))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--seconds", type=float, default=5.0, help="for each number in flight")
    arguments.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "peers.json")
    arguments.add_argument("--case", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.case:
        print(json.dumps(asdict(measure(options.case, options.seconds))))
        return
    rows = []
    print(f"{'':24}{'1':>9}{'16':>9}{'64':>9}  tasks/s in flight; round trip ms, CPU ms a task, MB")
    for number, name in enumerate(CASES):
        done = run(
            [sys.executable, __file__, "--case", name, "--seconds", str(options.seconds)],
            env={**os.environ, MARK: f"{os.getpid()}-{number}"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"{name:24} {(done.stderr.strip().splitlines() or ['it ended by itself'])[-1]}", flush=True)
            continue
        row = Row(**json.loads(done.stdout.splitlines()[-1]))
        rows.append(row)
        rates = "".join(f"{row.per_s[str(in_flight)]:9,.0f}" for in_flight in IN_FLIGHT)
        print(f"{name:24}{rates}  {row.round_trip_ms:9.2f} {row.cpu_ms_per_task:9.3f} {row.memory_mb:7.0f}", flush=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    load = round(os.getloadavg()[1], 1)
    report = {"machine": machine, "load_average_5_min": load, "rows": [asdict(row) for row in rows]}
    options.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
