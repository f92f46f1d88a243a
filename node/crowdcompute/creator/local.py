"""Execute a task's chunks on this machine, in the same sandbox and by the same rules as a volunteer does."""

from __future__ import annotations

import asyncio
import os
import shlex
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from crowdcompute.node.executors.fetching import FetchingExecutor
from crowdcompute.node.executors.pool import SAVE_EVERY_S, WorkerPool
from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.protocol.events import ChunkInput, Status
from crowdcompute.protocol.split import is_numbers, seed

from .devices import on_devices

if TYPE_CHECKING:
    from crowdcompute.node.executors.engine import EngineName
    from crowdcompute.node.executors.slot import Savepoints
    from crowdcompute.protocol.events import ChunkOutcome
    from crowdcompute.protocol.manifest import Split

    from .devices import OnDevice
    from .work import Work

BATCH_S = 0.5
"""Chunks are sent in batches of about this length: long enough to hide the pipe, short enough to show progress."""
BATCH_CHUNKS_MAX = 512
TEXT_CHARACTERS = 500


Report: TypeAlias = "Callable[[ChunkOutcome], bool | None]"


@dataclass(frozen=True, slots=True)
class Sample:
    """What two executions of a few chunks showed."""

    outcomes: tuple[ChunkOutcome, ...]
    differing: tuple[int, ...]
    """Chunks whose two executions did not end alike."""
    seconds_per_chunk: float
    strictly: tuple[ChunkOutcome, ...] = ()
    """JavaScript: the same chunks in the strict engine. They may end without a result there, for it is slow."""

    devices: tuple[OnDevice, ...] = ()
    """Kernels: the same chunks on each device of this machine."""

    resumed: tuple[ChunkOutcome, ...] = ()
    """Commands that write savepoints: the same chunks, gone on from one of theirs."""

    strayed: frozenset[int] = frozenset()
    """Those of them that wrote other savepoints then than from scratch."""

    @property
    def diverging(self) -> tuple[int, ...]:
        """Chunks that end otherwise when they go on from a savepoint, or write other savepoints on the way."""
        whole = {outcome.chunk: (outcome.status, outcome.data) for outcome in self.outcomes}
        return tuple(
            each.chunk
            for each in self.resumed
            if (each.status, each.data) != whole[each.chunk] or each.chunk in self.strayed
        )

    @property
    def disputed(self) -> tuple[int, ...]:
        """Chunks for which the two engines would vote against each other."""
        votes = (Status.OK, Status.TASK_ERROR)
        return tuple(
            fast.chunk
            for fast, strict in zip(self.outcomes, self.strictly, strict=False)
            if fast.status in votes and strict.status in votes and fast[1:3] != strict[1:3]
        )


async def sample(work: Work, chunks: Iterable[int]) -> Sample:
    """Execute `chunks` twice, the second time in reverse order, and compare.

    JavaScript also in its strict engine, kernels also on every device there is; what writes savepoints also from one of
    them on.
    """
    inputs = _inputs(work, chunks)
    kept = _Savepoints()
    async with open_pool(1, save_every_s=0.0) as pool:
        first = await _execute(pool, work, inputs, kept)
        # The first pass has paid for compiling, so the second one is timed.
        started = time.monotonic()
        second = await _execute(pool, work, inputs[::-1])
        elapsed = time.monotonic() - started
        kept.is_read = True
        resumable = [chunk for chunk in inputs if chunk.chunk in kept.states]
        resumed = await _execute(pool, work, resumable, kept)
    differing = tuple(
        before.chunk
        for before, after in zip(first, second[::-1], strict=True)
        if (before.status, before.data) != (after.status, after.data)
    )
    strictly: tuple[ChunkOutcome, ...] = ()
    if work.runtime == "js":
        async with open_pool(1, "quickjs") as pool:
            strictly = await _execute(pool, work, inputs)
    devices = await on_devices(work, inputs) if work.runtime == "gpu" else ()
    return Sample(first, differing, elapsed / max(1, len(first)), strictly, devices, resumed, frozenset(kept.strayed))


class _Savepoints:
    """Of each chunk the state whose number is the greatest power of two: from its second half (executors.pool)."""

    def __init__(self) -> None:
        self.states: dict[int, bytes] = {}
        self.is_read = False
        self.strayed: set[int] = set()
        self._hashes: dict[tuple[int, int], bytes] = {}

    def load(self, chunk: int) -> bytes:
        return self.states.get(chunk, b"") if self.is_read else b""

    def save(self, chunk: int, number: int, state: bytes) -> None:
        digest = sha256(state).digest()
        if self.is_read:
            # A state that another has made is held against one from scratch (protocol/spec/handover.md).
            if self._hashes.get((chunk, number)) != digest:
                self.strayed.add(chunk)
            return
        self._hashes[chunk, number] = digest
        if number & (number - 1) == 0:
            self.states[chunk] = state


async def run(work: Work, slots: int, report: Report, chunks: Iterable[int] | None = None) -> None:
    """Execute chunks (all, if not told) on `slots` processes, and report each as soon as it is done, in any order.

    When `report` returns true, no further chunks are begun.
    """
    async with open_pool(slots) as pool:
        await run_in(pool, slots, work, range(work.chunks) if chunks is None else chunks, report)


async def run_in(pool: WorkerPool, slots: int, work: Work, chunks: Iterable[int], report: Report) -> None:
    """The same with a pool of `slots` processes that is there already, for these chunks."""
    waiting = iter(chunks)
    enough = False

    async def work_off() -> None:
        nonlocal enough
        batch_chunks = 1
        while not enough and (batch := list(islice(waiting, batch_chunks))):
            started = time.monotonic()
            for outcome in await _execute(pool, work, _inputs(work, batch)):
                enough = bool(report(outcome)) or enough
            seconds_per_chunk = (time.monotonic() - started) / len(batch)
            # At most double: the first chunks of a task may be its easy ones.
            batch_chunks = max(1, min(2 * len(batch), BATCH_CHUNKS_MAX, int(BATCH_S / seconds_per_chunk)))

    await asyncio.gather(*(work_off() for _ in range(slots)))


@asynccontextmanager
async def open_pool(
    slots: int, javascript: EngineName | None = None, *, save_every_s: float = SAVE_EVERY_S
) -> AsyncIterator[WorkerPool]:
    """Worker processes, ready.

    Raises:
        CommandError: This machine has no working sandbox.
    """
    pool = WorkerPool(slots, javascript=javascript, save_every_s=save_every_s)
    try:
        await pool.start()
    except RuntimeError as error:
        raise CommandError(str(error), Exit.NOT_READY) from None
    try:
        yield pool
    finally:
        await pool.close()


def _inputs(work: Work, chunks: Iterable[int]) -> list[ChunkInput]:
    return [ChunkInput(chunk, work.inputs.read(chunk), seed(work.task_id, chunk)) for chunk in chunks]


async def _execute(
    pool: WorkerPool, work: Work, inputs: list[ChunkInput], savepoints: Savepoints | None = None
) -> tuple[ChunkOutcome, ...]:
    digest = sha256(work.module).digest()
    numbers = is_numbers(work.split)
    executor = FetchingExecutor(pool, loopback=True) if work.runtime == "net" else pool
    return await executor.execute(digest, work.module, work.limits, numbers, inputs, work.runtime, savepoints)


def describe_outcome(outcome: ChunkOutcome) -> str:
    """How a chunk ended, in words."""
    match outcome.status:
        case Status.OK:
            return f"{len(outcome.data)} bytes"
        case Status.TASK_ERROR:
            # A command's own words are on its standard error, an exception's in the engine's: no part of the vote.
            said = outcome.data.decode(errors="replace")
            says_more = said.startswith("exit ") or ":" in outcome.detail
            more = f"; it says: {printable(outcome.detail.strip())}" if says_more and outcome.detail.strip() else ""
            return f"task error: {printable_lines(said)}{more}"
        case Status.NO_RESULT:
            return f"no result: {printable(outcome.detail)}"


def printable(text: str) -> str:
    """A guest's text, which may hold anything, as one harmless line."""
    return "".join(character if character.isprintable() else "�" for character in text[:TEXT_CHARACTERS])


def printable_lines(text: str) -> str:
    """A guest's text with its line breaks, such as a traceback: harmless lines, all but a single one indented."""
    lines = [printable(line) for line in text.splitlines()]
    return "".join(f"\n    {line}" for line in lines) if len(lines) > 1 else "".join(lines)


def numbers_of(split: Split, data: bytes) -> tuple[int, ...] | None:
    """A chunk's input as the numbers it consists of; None if it is bytes."""
    return struct.unpack(f"<{len(data) // 8}q", data) if is_numbers(split) else None


def reproduce_words(task: str, chunk: int) -> str:
    """The command that computes one chunk here, of a folder, a bundle or a published task."""
    return f"cc-task run --local --chunk {chunk} {shlex.quote(task)}"


def cores() -> int:
    """How many cores this process may use."""
    # In a container os.cpu_count() counts the host's cores, the affinity mask what we may use.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
