"""A slot of the pool: one worker process at a time, the programs it has loaded, and one batch on it.

    STARTING --Ready--> IDLE --Run--> RUNNING --done--> IDLE
                                         └── time limit, death, cancellation: killed, then STARTING again

It enforces the time limit, with kill: a guest cannot be asked to stop. Executing is deterministic, so a chunk whose
outcome was lost with a worker simply runs again, and only a chunk known to be the cause ends without a result.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from crowdcompute.protocol.events import STATUSES, ChunkInput, ChunkOutcome, Status
from crowdcompute.protocol.gpu import CLASS_BYTES

from .child import Child, WorkerLost, WorkerSilent
from .frames import ERROR_BYTES_MAX, REPORT_INTERVAL_S, Forget, Load, Loaded, Report, Run, Saved

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crowdcompute.protocol.manifest import Runtime

    from .engine import EngineName

COMPILE_S_MAX = 60.0
"""The slowest real module tried (Go, 2.1 MB) compiled in 2.7 s."""
REPORT_SLACK_S = 2 * REPORT_INTERVAL_S
"""How late a worker's report may be: the time limit is exact to this."""
PIPE_BYTES_PER_S = 20_000_000
"""The least a pipe carries (a guess, low): a batch's own bytes must not count as its first chunk's time."""
RUN_BYTES = 8 * 1024 * 1024
"""A batch with more input than this goes to the worker in parts."""
ABANDONED_S = 0.1
"""How long a batch that nobody waits for any more may go on: a worker in place of one that was killed takes as long to
start, on an idle machine, and several times that of processor time. Of small chunks most batches end by then."""
PROGRAMS_PER_WORKER = 8
DETAIL_CHARACTERS = 500


class Savepoints(Protocol):
    """Where the states of one task's chunks are kept, from which they go on after a kill."""

    def load(self, chunk: int) -> bytes: ...
    def save(self, chunk: int, number: int, state: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Program:
    """A module together with what its chunks may use: what a worker keeps compiled."""

    runtime: Runtime
    digest: bytes
    module: bytes = field(compare=False, repr=False)
    memory_bytes: int
    output_bytes: int
    numbers: bool


@dataclass(frozen=True, slots=True)
class Job:
    """One call of `execute`."""

    program: Program
    seconds: float
    chunks: Sequence[ChunkInput]
    answer: asyncio.Future[tuple[ChunkOutcome, ...]]
    savepoints: Savepoints | None
    save_every_s: float
    began: Callable[[], None]


class Slot:
    """A place for one worker at a time, which is replaced when it is lost."""

    def __init__(self, engine: EngineName, niceness: int, device: int = 0) -> None:
        self._engine: EngineName = engine
        self._device = device
        self._niceness = niceness
        self._loaded: OrderedDict[Program, int] = OrderedDict()
        self._numbers_given = 0
        self._starting: asyncio.Task[Child] | None = None
        self.child: Child | None = None
        self._answer: asyncio.Future[tuple[ChunkOutcome, ...]] | None = None
        """What the job is waited for by that runs."""
        self.workers_lost = 0
        self.resumed = 0

    async def ready(self) -> Child:
        """The slot's worker, started first when there is none."""
        if self.child is None:
            if self._starting is None:
                self._start()
            assert self._starting is not None
            self._loaded.clear()
            try:
                self.child = await self._starting
            except WorkerLost:
                self._starting = None
                raise
            # Only now: whoever is cancelled while waiting leaves a worker that `close` has to find.
            self._starting = None
        return self.child

    def _start(self) -> None:
        self._starting = asyncio.create_task(Child.start(self._engine, self._niceness, self._device))

    @property
    def busy(self) -> bool:
        return self._answer is not None

    @property
    def is_starting(self) -> bool:
        return self._starting is not None

    async def close(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
            if not self._starting.cancelled() and self._starting.exception() is None:
                await self._starting.result().kill()  # it was there, and nobody had asked for it yet
        if self.child is not None:
            await self.child.kill()
            self.child = None

    def abandon(self, answer: asyncio.Future[tuple[ChunkOutcome, ...]]) -> None:
        """Nobody waits for the job any more: if it does not end by itself soon, stop it in the only way there is."""
        if answer.cancelled() and self._answer is answer:
            asyncio.get_running_loop().call_later(ABANDONED_S, self._stop, answer)

    def _stop(self, answer: asyncio.Future[tuple[ChunkOutcome, ...]]) -> None:
        if self._answer is answer and self.child is not None:
            self.child.terminate()

    async def execute(self, job: Job) -> tuple[tuple[ChunkOutcome, ...], str]:
        """Outcomes of all chunks of `job`, and why the module is to be refused from now on, if it is."""
        self._answer = job.answer
        try:
            return await self._execute(job)
        finally:
            self._answer = None

    async def _execute(self, job: Job) -> tuple[tuple[ChunkOutcome, ...], str]:
        outcomes: list[ChunkOutcome] = []
        suspected = cautious = False
        while len(outcomes) < len(job.chunks) and not job.answer.done():
            rest = job.chunks[len(outcomes) :]
            try:
                child = await self.ready()
            except WorkerLost as lost:
                return (*outcomes, *no_results(rest, str(lost))), ""
            try:
                program, refusal = await self._load(child, job.program)
            except WorkerLost as lost:
                await self._replace()
                if isinstance(lost, WorkerSilent):
                    refusal = f"compile time limit {COMPILE_S_MAX:g} s"
                elif suspected:
                    refusal = f"while compiling, the {lost}"
                else:
                    suspected = True
                    continue
            if refusal:
                refusal = f"module refused: {refusal}"
                return (*outcomes, *no_results(rest, refusal)), refusal
            if job.answer.done():
                break  # cancelled while there was no worker to kill
            try:
                await self._run(child, program, job, _part(rest), cautious, outcomes)
            except WorkerLost as lost:
                await self._replace()
                if job.answer.done():
                    break
                culprit = job.chunks[len(outcomes)].chunk
                if isinstance(lost, WorkerSilent):
                    outcomes.append(ChunkOutcome(culprit, Status.NO_RESULT, b"", f"time limit {job.seconds:g} s"))
                elif cautious:
                    outcomes.append(ChunkOutcome(culprit, Status.NO_RESULT, b"", str(lost)[:DETAIL_CHARACTERS]))
                # Which chunk ran when a worker died is known only if it reported each one: the next one will.
                cautious = not cautious and not isinstance(lost, WorkerSilent)
        return tuple(outcomes), ""

    async def _load(self, child: Child, program: Program) -> tuple[int, str]:
        """The number of `program` in the worker, compiled now if it was not, and why it is refused, if it is."""
        if program in self._loaded:
            self._loaded.move_to_end(program)
            return self._loaded[program], ""
        if len(self._loaded) >= PROGRAMS_PER_WORKER:
            _, forgotten = self._loaded.popitem(last=False)
            await child.send(Forget(forgotten))
        number = self._numbers_given
        self._numbers_given += 1
        await child.send(
            Load(number, program.digest, program.module, program.memory_bytes, program.output_bytes, program.numbers)
        )
        loaded = await child.receive(Loaded, COMPILE_S_MAX)
        if not loaded.refusal:
            self._loaded[program] = number
        return number, loaded.refusal[:DETAIL_CHARACTERS]

    async def _run(
        self,
        child: Child,
        program: int,
        job: Job,
        chunks: Sequence[ChunkInput],
        cautious: bool,
        outcomes: list[ChunkOutcome],
    ) -> None:
        """Execute `chunks` and append their outcomes as they are reported."""
        saves = job.savepoints
        # Not from a state that may have been what took the last worker down.
        states = [b"" if cautious or chunk.watched else self._state(saves, chunk) for chunk in chunks]
        self.resumed += sum(map(bool, states))
        every_s = job.save_every_s if saves is not None else None
        ordered = [
            (chunk.chunk, chunk.data, chunk.seed, state, chunk.watched)
            for chunk, state in zip(chunks, states, strict=True)
        ]
        await child.send(Run(program, ordered, cautious, every_s))
        sent_bytes = sum(len(chunk.data) for chunk in chunks)
        timeout_s = job.seconds + REPORT_SLACK_S + sent_bytes / PIPE_BYTES_PER_S
        expected = iter(chunks)
        names = {chunk.chunk for chunk in chunks}
        saved_at = -math.inf

        def on_saved(saved: Saved) -> None:
            nonlocal saved_at
            now = asyncio.get_running_loop().time()
            # A worker that was taken over could fill the disk: it gets no more than twice the pace it was asked for.
            if saves is None or saved.chunk not in names or now < saved_at + job.save_every_s / 2:
                return
            saved_at = now
            saves.save(saved.chunk, saved.number, saved.state)

        done = False
        while not done:
            report = await child.receive(Report, timeout_s, on_saved)
            timeout_s = job.seconds + REPORT_SLACK_S
            for chunk, status, data, detail, seen in report.outcomes:
                asked = next(expected, None)
                if (
                    asked is None
                    or chunk != asked.chunk
                    or len(data) > max(job.program.output_bytes + CLASS_BYTES, ERROR_BYTES_MAX)
                ):
                    raise WorkerLost("worker misbehaved: it reported what was not asked for")
                if len(seen) != len(asked.watched):
                    raise WorkerLost("worker misbehaved: it saw other savepoints than it was to watch")
                outcomes.append(ChunkOutcome(chunk, STATUSES[status], data, detail[:DETAIL_CHARACTERS], tuple(seen)))
            done = report.done
        if next(expected, None) is not None:
            raise WorkerLost("worker misbehaved: it left chunks out")

    @staticmethod
    def _state(saves: Savepoints | None, chunk: ChunkInput) -> bytes:
        """Where a chunk goes on from: where another was, or we ourselves."""
        return chunk.state or (saves.load(chunk.chunk) if saves is not None else b"")

    async def _replace(self) -> None:
        """Kill the worker and start another in the background."""
        self.workers_lost += 1
        if self.child is not None:
            await self.child.kill()
            self.child = None
        self._start()


def no_results(chunks: Sequence[ChunkInput], detail: str) -> tuple[ChunkOutcome, ...]:
    return tuple(ChunkOutcome(chunk.chunk, Status.NO_RESULT, b"", detail[:DETAIL_CHARACTERS]) for chunk in chunks)


def _part(chunks: Sequence[ChunkInput]) -> Sequence[ChunkInput]:
    """As many of the first chunks as go into one frame; at least one."""
    total = 0
    for count, chunk in enumerate(chunks):
        total += len(chunk.data)
        if total > RUN_BYTES and count:
            return chunks[:count]
    return chunks
