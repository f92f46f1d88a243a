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
FURTHER_S = 1.0
"""How long chunks between the edges are looked at, in each engine: a person waits for it."""
FURTHER_BYTES_MAX = 16 * 2**20
"""Of their inputs, which are compared once more when all is done."""


Report: TypeAlias = "Callable[[ChunkOutcome], bool | None]"


@dataclass(frozen=True, slots=True)
class Sample:
    """What two executions of a few chunks showed."""

    outcomes: tuple[ChunkOutcome, ...]
    """Those that had to be looked at; then, as far as time allowed, others."""
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

    further: frozenset[int] = frozenset()
    """Of `outcomes`, those that were looked at because there was time."""

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


async def sample(work: Work, chunks: Iterable[int], further: Iterable[int] = ()) -> Sample:
    """Execute `chunks` twice, the second time in reverse order, and compare; and `further` ones, while a second lasts.

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
        pairs = list(zip(first, second[::-1], strict=True))
        kept.is_read = True
        resumable = [chunk for chunk in inputs if chunk.chunk in kept.states]
        resumed = await _execute(pool, work, resumable, kept)
        is_fine = all(outcome.status == Status.OK for outcome in first)
        more = await _look_further(pool, work, further) if is_fine else []
        inputs += [chunk for chunk, _, _ in more]
        pairs += [(before, after) for _, before, after in more]
    differing = tuple(
        before.chunk for before, after in pairs if (before.status, before.data) != (after.status, after.data)
    )
    strictly: tuple[ChunkOutcome, ...] = ()
    if work.runtime == "js":
        async with open_pool(1, "quickjs") as pool:
            strictly = await _execute(pool, work, inputs[: len(first)])
            strictly += await _for_a_while(pool, work, inputs[len(first) :])
    devices = await on_devices(work, inputs) if work.runtime == "gpu" else ()
    outcomes = tuple(before for before, _ in pairs)
    per_chunk = elapsed / max(1, len(first))
    return Sample(
        outcomes,
        differing,
        per_chunk,
        strictly,
        devices,
        resumed,
        frozenset(kept.strayed),
        frozenset(chunk.chunk for chunk, _, _ in more),
    )


async def _look_further(
    pool: WorkerPool, work: Work, chunks: Iterable[int]
) -> list[tuple[ChunkInput, ChunkOutcome, ChunkOutcome]]:
    """Execute chunks twice, one after another, until time is over or one has shown what is wrong."""
    looked: list[tuple[ChunkInput, ChunkOutcome, ChunkOutcome]] = []
    deadline, size = time.monotonic() + FURTHER_S, 0
    for chunk in chunks:
        (given,) = _inputs(work, [chunk])
        size += len(given.data)
        if time.monotonic() >= deadline or size > FURTHER_BYTES_MAX:
            break
        (before,) = await _execute(pool, work, [given])
        (after,) = await _execute(pool, work, [given]) if before.status == Status.OK else (before,)
        looked.append((given, before, after))
        if before.status != Status.OK or before.data != after.data:
            break
    return looked


async def _for_a_while(pool: WorkerPool, work: Work, inputs: list[ChunkInput]) -> tuple[ChunkOutcome, ...]:
    """What comes of some chunks, one after another, until time is over."""
    outcomes: list[ChunkOutcome] = []
    deadline = time.monotonic() + FURTHER_S
    for given in inputs:
        if time.monotonic() >= deadline:
            break
        outcomes += await _execute(pool, work, [given])
    return tuple(outcomes)


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
