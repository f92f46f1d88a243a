"""Whether links leave anything behind: thousands of connections made, used and closed, and what the process holds.

    python -m benchmarks.link_soak [--quick] [--cycles 2000] [--stacks aiortc-aiortc wrtc-wrtc aiortc-wrtc]

Each row is a process of its own in which both ends of every link live. A cycle makes a link over loopback, sends
64 KiB in each direction, closes it from one side and waits until nothing of it is left. *After warm-up* is measured
when a tenth of the cycles is done.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cases import Report, answer, parser

from crowdcompute.node.transports.webrtc import link_class
from crowdcompute.protocol.events import Channel
from crowdcompute.protocol.identity import Identity
from crowdcompute.protocol.signals import fingerprint_of

if TYPE_CHECKING:
    from crowdcompute.node.transports.link import StackName

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


def main() -> int:
    arguments = parser("link_soak", __doc__)
    arguments.add_argument("--cycles", type=int, help="default: 2000, --quick 100")
    arguments.add_argument("--stacks", nargs="+", default=["aiortc-aiortc", "wrtc-wrtc", "aiortc-wrtc"])
    options = arguments.parse_args()
    if options.case:
        answer(options, case)
    cycles = options.cycles or (100 if options.quick else 2_000)
    with Report("link_soak", options) as report:
        rows = report.found["rows"] = []
        for stacks in options.stacks:
            found = report.case(stacks, limit_s=60 + cycles, stacks=stacks, cycles=cycles)
            if found is None:
                continue
            rows.append(found)
            row = Row(**found)
            marks = " ".join(f"{before:.0f}" for before in row.rss_mb)
            print(
                f"{stacks:16} {row.cycles:6} cycles {row.seconds:6.0f} s   RSS MB {marks}   "
                f"{row.kb_per_cycle:+.2f} kB a cycle   files {row.files[1]}→{row.files[-1]}  "
                f"threads {row.threads[1]}→{row.threads[-1]}",
                flush=True,
            )
    return report.code


def case(stacks: str, cycles: int) -> dict[str, Any]:
    return asdict(soak(stacks, cycles))


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
    sys.exit(main())
