"""A volunteer on a machine of a fixed speed: `cc-node`, but that a chunk takes as long as it is told to.

Chunks are computed as ever, in the worker pool and one after the other; each then ends when its time has passed, not
before. So what a network of such nodes can do at most is known however many cores there are and whoever else wants
them, as long as they need little of each.

A node is forked from a process that has loaded Python, its libraries and ours already, and enters the network namespace
of its machine: what a machine needs to boot, the cores of this one would have to do for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

# What a node loads when it begins to run.
import h11  # noqa: F401
import uvloop  # noqa: F401

from crowdcompute.node import cli, consent, service  # noqa: F401
from crowdcompute.node import config as _config  # noqa: F401
from crowdcompute.node import runtime as _runtime  # noqa: F401
from crowdcompute.node.executors import fetching, pool  # noqa: F401
from crowdcompute.node.store import records  # noqa: F401
from crowdcompute.node.transports import aiortc_link, direct_link, native  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.context import ForkProcess

    from crowdcompute.protocol.events import ChunkInput, ChunkOutcome

_CLONE_NEWNET = 0x40000000


def start(netns: str, chunk_s: float, batches: Path, said: Path, home: Path, arguments: Sequence[str]) -> ForkProcess:
    """`cc-node run ARGUMENTS` in a network namespace, its home in a folder, what it says in a file.

    The file `batches` gets a line for each batch when it begins, and another one when it ends: when it began, when it
    ended or null (seconds of the machine's monotonic clock), and its chunks.
    """
    process = multiprocessing.get_context("fork").Process(
        target=_run, args=(netns, chunk_s, str(batches), str(said), str(home), ["run", *arguments])
    )
    process.start()
    return process


def _run(netns: str, chunk_s: float, batches: str, said: str, home: str, arguments: list[str]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(out, descriptor)
    namespace = os.open(f"/run/netns/{netns}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"the namespace {netns} cannot be entered")
    for name in [name for name in os.environ if name.startswith("CC_")]:
        del os.environ[name]
    os.environ["CC_HOME"] = home
    pool.WorkerPool = _paced(chunk_s, batches)  # type: ignore[misc]
    raise SystemExit(cli.main(arguments))


async def _lead_children() -> None:
    """Let our sandboxes go before what else runs, as we do: Linux shares the cores among sessions, and each is one."""
    while True:
        _lead()
        await asyncio.sleep(0.005)


def _lead() -> None:
    group = Path("/proc/self/autogroup")
    if not group.exists():
        return
    niceness = group.read_text().split()[-1]
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # It has ended.
            for child in (thread / "children").read_text().split():
                Path(f"/proc/{child}/autogroup").write_text(niceness)


def _paced(chunk_s: float, batches: str) -> type[pool.WorkerPool]:
    """The pool of a machine on which each chunk takes `chunk_s`."""

    def tell(batch: list[Any]) -> None:
        with Path(batches).open("a", encoding="ascii") as lines:
            lines.write(json.dumps(batch) + "\n")

    class PacedPool(pool.WorkerPool):
        def __init__(self, slots: int, **settings: Any) -> None:
            super().__init__(slots, **settings)
            self._places = asyncio.Semaphore(slots)

        async def start(self) -> None:
            leading = asyncio.create_task(_lead_children())
            try:
                await super().start()
            finally:
                leading.cancel()

        async def execute(
            self, code: bytes, module: bytes, limits: Any, numbers: bool, chunks: Sequence[ChunkInput], *more: Any
        ) -> tuple[ChunkOutcome, ...]:
            loop = asyncio.get_running_loop()
            async with self._places:
                began, names = loop.time(), [chunk.chunk for chunk in chunks]
                tell([began, None, names])
                outcomes = await super().execute(code, module, limits, numbers, chunks, *more)
                await asyncio.sleep(began + chunk_s * len(chunks) - loop.time())
                tell([began, loop.time(), names])
            # As in the pool: what waits begins before anybody looks at these outcomes.
            await asyncio.sleep(0)
            return outcomes

    return PacedPool
