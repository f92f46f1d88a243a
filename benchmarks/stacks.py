"""What a call costs over each kind of link in one run: aiortc, wrtc and direct; the same Executor, two volunteers.

    python -m benchmarks.stacks [--quick]

Calls that do nothing, each settled by one vote, with 1, 16 and 64 in flight: the round trip of one, calls a second, and
the CPU time of all processes for each; and calls of 4 MiB, four in flight. What carries the links is all that differs;
the kinds take turns. benchmarks/links.py has the links alone.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, cast

import wasmtime
from benchmarks.cases import Report, answer, parser

from crowdcompute.creator import Executor, Kernel, Network
from crowdcompute.creator.local_network import LOOPBACK, signaling_server, volunteer

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.node.transports.link import StackName

KINDS = {"aiortc": "aiortc", "wrtc": "wrtc", "direct": "auto"}
IN_FLIGHT = (1, 16, 64)
BULK_BYTES = 4 << 20
BULK_IN_FLIGHT = 4
CASE_S_MAX = 90.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def main() -> int:
    arguments = parser("stacks", __doc__)
    arguments.add_argument("--repeat", type=int, help="default: 3, --quick 1")
    arguments.add_argument("--seconds", type=float, help="for each number in flight (default: 4, --quick 2)")
    options = arguments.parse_args()
    if options.case:
        answer(options, measure)
    seconds = options.seconds or (2.0 if options.quick else 4.0)
    with Report("stacks", options) as report:
        rows: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
        for number in range(options.repeat or (1 if options.quick else 3)):
            for kind, found in rows.items():
                # A process of its own: a creator that is a new one, and nothing left of the one before.
                row = report.case(f"{kind}, {number + 1}", limit_s=CASE_S_MAX, kind=kind, seconds=seconds)
                if row is not None:
                    found.append(row)
        kinds = report.found["kinds"] = {
            kind: {name: round(statistics.median(row[name] for row in found), 3) for name in found[0]}
            for kind, found in rows.items()
            if found
        }
        print(f"{'':26}" + "".join(f"{kind:>10}" for kind in kinds))
        for name in next(iter(kinds.values()), {}):
            print(f"{name:26}" + "".join(f"{row[name]:10.3f}" for row in kinds.values()), flush=True)
    return report.code


def measure(kind: str, seconds: float) -> dict[str, float]:
    """One network whose links are of this kind."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cc-stacks-", ignore_cleanup_errors=True)))
        os.environ.update({"CC_STACK": KINDS[kind], "CC_HOME": str(folder / "creator")})
        link = stack.enter_context(signaling_server(folder))["join"]
        nodes = [stack.enter_context(volunteer(folder, f"node-{number}", link)) for number in range(2)]
        made = cast("StackName", KINDS[kind])
        network = stack.enter_context(Network(link, hosts=(LOOPBACK,), stack=made))
        while network.neighbours < len(nodes):
            time.sleep(0.02)
        executor = Executor(network)
        pids = [os.getpid(), *(node.process.pid for node in nodes)]
        small, bulk = (kernel(folder / name, text) for name, text in (("small", NO_OP), ("bulk", BULK)))
        row: dict[str, float] = {}
        executor.submit(small, 0, 0).result()  # By now volunteers have joined, and compiled it.
        for in_flight in IN_FLIGHT:
            used_s, began = cpu_s(pids), time.monotonic()
            times_s = flowing(executor, small, in_flight, seconds, lambda number: (1, number))
            row[f"{in_flight} in flight, trip ms"] = statistics.median(times_s) * 1e3
            row[f"{in_flight} in flight, calls/s"] = len(times_s) / (time.monotonic() - began)
            row[f"{in_flight} in flight, CPU ms"] = (cpu_s(pids) - used_s) / len(times_s) * 1e3
        blocks = [Random(number).randbytes(BULK_BYTES) for number in range(4)]
        executor.submit(bulk, blocks[0][::-1]).result()
        used_s, began = cpu_s(pids), time.monotonic()
        times_s = flowing(
            executor, bulk, BULK_IN_FLIGHT, seconds, lambda number: (number.to_bytes(8) + blocks[number % 4][8:],)
        )
        gigabytes = len(times_s) * BULK_BYTES / 1e9
        row["bulk, MB/s"] = gigabytes * 1e3 / (time.monotonic() - began)
        row["bulk, CPU-s/GB"] = (cpu_s(pids) - used_s) / gigabytes
        return row


NO_OP = """(module (memory (export "memory") 1)
  (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "cc_run") (param i32 i32) (result i64) (i64.const 0x40000000008)))"""
BULK = NO_OP.replace('(export "memory") 1', '(export "memory") 160')


def kernel(folder: Path, text: str) -> Kernel[bytes]:
    folder.mkdir()
    (folder / "kernel.wasm").write_bytes(bytes(wasmtime.wat2wasm(text)))
    (folder / "task.toml").write_text(
        'schema = 1\nname = "Benchmark"\n[code]\nmodule = "kernel.wasm"\n[split]\nrange = [0, 1, 1]\n'
        '[limits]\nmemory = "16MiB"\noutput = "1KiB"\nseconds = 60\n'
        "[verify]\nreplication = 1\neps = 0.05\npow_bits = 8\n"
    )
    return Kernel(folder, decode=bytes)


def flowing(
    executor: Executor, task: Kernel[bytes], in_flight: int, seconds: float, call: Callable[[int], tuple[Any, ...]]
) -> list[float]:
    """Keep so many calls in flight for some time; how long each took."""
    waiting: deque[tuple[float, Any]] = deque()
    times_s: list[float] = []
    number, began = 0, time.monotonic()
    while waiting or time.monotonic() < began + seconds:
        while len(waiting) < in_flight and time.monotonic() < began + seconds:
            waiting.append((time.monotonic(), executor.submit(task, *call(number))))
            number += 1
        if waiting:
            sent, future = waiting.popleft()
            future.result()
            times_s.append(time.monotonic() - sent)
    return times_s


def cpu_s(pids: list[int]) -> float:
    """CPU time of these processes and all below them."""
    total, left = 0, list(pids)
    seen: set[int] = set()
    while left:
        pid = left.pop()
        if pid in seen:
            continue
        seen.add(pid)
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
        left += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return total / TICKS_PER_S


if __name__ == "__main__":
    raise SystemExit(main())
