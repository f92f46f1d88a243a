"""Whether links leave anything behind: thousands of connections made, used and closed, and what the process holds.

    python benchmarks/link_soak.py [--cycles 2000] [--stacks aiortc-aiortc wrtc-wrtc aiortc-wrtc]

Each row is a process of its own in which both ends of every link live. A cycle makes a link over loopback, sends
64 KiB in each direction, closes it from one side and waits until nothing of it is left. *After warm-up* is measured
when a tenth of the cycles is done.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import platform
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from crowdcompute.node.transports.webrtc import link_class
from crowdcompute.protocol.events import Channel
from crowdcompute.protocol.identity import Identity
from crowdcompute.protocol.signals import fingerprint_of

if TYPE_CHECKING:
    from crowdcompute.node.transports.link import StackName

ROOT = Path(__file__).parents[1]
LOOPBACK = ("127.0.0.1",)
FRAME = bytes(64 * 1024)
STEPS = 10


@dataclass
class Row:
    """One soak. `rss_mb` and the other lists have a value for the start and after each tenth."""

    stacks: str
    cycles: int
    seconds: float
    rss_mb: list[float]
    files: list[int]
    threads: list[int]

    @property
    def kb_per_cycle(self) -> float:
        """Growth after warm-up."""
        return (self.rss_mb[-1] - self.rss_mb[1]) * 1024 / (self.cycles * (STEPS - 1) / STEPS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cycles", type=int, default=2_000)
    parser.add_argument("--stacks", nargs="+", default=["aiortc-aiortc", "wrtc-wrtc", "aiortc-wrtc"])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "link_soak.json")
    options = parser.parse_args()
    rows = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as processes:
        for stacks in options.stacks:
            row = processes.apply(soak, (stacks, options.cycles))
            rows.append(row)
            marks = " ".join(f"{before:.0f}" for before in row.rss_mb)
            print(
                f"{stacks:16} {row.cycles:6} cycles {row.seconds:6.0f} s   RSS MB {marks}   "
                f"{row.kb_per_cycle:+.2f} kB a cycle   files {row.files[1]}→{row.files[-1]}  "
                f"threads {row.threads[1]}→{row.threads[-1]}",
                flush=True,
            )
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "system": platform.platform()}
    options.out.write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")


def soak(stacks: str, cycles: int) -> Row:
    first, _, second = stacks.partition("-")
    return asyncio.run(_soak(stacks, first, second, cycles))  # type: ignore[arg-type]


async def _soak(stacks: str, first: StackName, second: StackName, cycles: int) -> Row:
    row = Row(stacks, cycles, 0.0, [], [], [])
    started = time.perf_counter()
    _note(row)
    for begin, end in pairwise(cycles * step // STEPS for step in range(STEPS + 1)):
        for _ in range(begin, end):
            async with asyncio.timeout(30):
                await _cycle(first, second)
        _note(row)
    row.seconds = time.perf_counter() - started
    return row


async def _cycle(first: StackName, second: StackName) -> None:
    peer_id = Identity(bytes(32)).peer_id
    one, other = (link_class(stack)(peer_id, hosts=LOOPBACK) for stack in (first, second))
    offer = await one.make_offer()
    answer = await other.accept_offer(offer)
    await one.accept_answer(answer)
    await asyncio.gather(one.opened(fingerprint_of(answer)), other.opened(fingerprint_of(offer)))
    arrived = [asyncio.Event(), asyncio.Event()]
    one.attach(lambda channel, frame: arrived[0].set(), lambda reason: None)
    other.attach(lambda channel, frame: arrived[1].set(), lambda reason: None)
    one.send(Channel.BULK, FRAME)
    other.send(Channel.BULK, FRAME)
    await asyncio.gather(*(each.wait() for each in arrived))
    one.close("enough")
    await asyncio.gather(one.wait_closed(), other.wait_closed())


def _note(row: Row) -> None:
    gc.collect()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    row.rss_mb.append(round(int(status["VmRSS"].split()[0]) / 1024, 1))
    row.threads.append(int(status["Threads"]))
    row.files.append(len(list(Path("/proc/self/fd").iterdir())))


if __name__ == "__main__":
    main()
