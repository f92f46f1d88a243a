"""The pool: a few worker processes, and batches of chunks waiting for one.

Batches wait in the order they came; each runs on one slot, served by one worker process at a time:

    STARTING --Ready--> IDLE --Run--> RUNNING --done--> IDLE
                                         └── time limit, death, cancellation: killed, then STARTING again

A worker has one engine inside. A slot's first worker has wasmtime; one for JavaScript joins it when the first such
batch comes, and only one of the two works at a time. Kernels go to the GPU, which is a slot and a queue of its own
(gpu.py); where there is none, or it refuses one, to the slots as the module that the package brings for that.

The pool enforces the time limit, with kill: a guest cannot be asked to stop. Executing is deterministic, so a chunk
whose outcome was lost with a worker simply runs again, and only a chunk known to be the cause ends without a result.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from crowdcompute.protocol.errors import ModuleRefused
from crowdcompute.protocol.events import ChunkInput, ChunkOutcome, Status
from crowdcompute.protocol.javascript import decode_source
from crowdcompute.protocol.wasm import admit

from .child import Child, WorkerLost, WorkerSilent
from .engine import has_v8
from .frames import ERROR_BYTES_MAX, REPORT_INTERVAL_S, Forget, Load, Loaded, Report, Run, Saved
from .gpu import GpuPlace, as_a_kernels, read_package, reproduces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crowdcompute.protocol.manifest import Limits, Runtime

    from .engine import EngineName
    from .gpu import GpuChoice

COMPILE_S_MAX = 60.0
"""The slowest real module tried (Go, 2.1 MB) compiled in 2.7 s."""
REPORT_SLACK_S = 2 * REPORT_INTERVAL_S
"""How late a worker's report may be: the time limit is exact to this."""
PIPE_BYTES_PER_S = 20_000_000
"""The least a pipe carries (a guess, low): a batch's own bytes must not count as its first chunk's time."""
RUN_BYTES = 8 * 1024 * 1024
"""A batch with more input than this goes to the worker in parts."""
PROGRAMS_PER_WORKER = 8
VERDICTS_KEPT = 256
SAVE_EVERY_S = 5.0
"""What a kill may cost a chunk that writes savepoints. A guess between disk and work lost."""
DETAIL_CHARACTERS = 500
OTHER_BYTES = "module refused: its bytes are not those the task names"


class Savepoints(Protocol):
    """Where the states of one task's chunks are kept, from which they go on after a kill."""

    def load(self, chunk: int) -> bytes: ...
    def save(self, chunk: int, state: bytes) -> None: ...


class PoolClosed(Exception):
    """The pool was closed before these chunks were executed."""


@dataclass(frozen=True, slots=True)
class PoolDescription:
    """What `cc-node status` shows."""

    slots: int
    pids: tuple[int, ...]
    layers: tuple[str, ...]
    """What confines the workers, of "process", "rlimits", "no_new_privs", "landlock", "seccomp"."""
    running: int
    waiting: int
    workers_lost: int
    resumed: int
    """Chunks that went on from a savepoint."""
    gpu: str
    """The GPU's name, or why there is none."""


class WorkerPool:
    """Executes chunks of WebAssembly modules, JavaScript sources and kernels in locked-down processes."""

    def __init__(
        self,
        slots: int,
        *,
        niceness: int = 0,
        javascript: EngineName | None = None,
        gpu: GpuChoice = "off",
        save_every_s: float = SAVE_EVERY_S,
    ) -> None:
        """Prepare `slots` workers, one for each core that may be used; `niceness` as in nice(2).

        `javascript` names the engine for tasks of that runtime; the fastest there is if not given. `gpu` says whether
        kernels may go to the GPU, `save_every_s` how often at most a chunk's savepoint is kept.
        """
        if javascript is None:
            javascript = "v8" if has_v8() else "quickjs"
        if slots < 1:
            raise ValueError(f"a pool needs at least one slot, not {slots}")
        self._slots: list[dict[Runtime, _Slot]] = [
            {"wasm": _Slot("wasmtime", niceness), "js": _Slot(javascript, niceness)} for _ in range(slots)
        ]
        self._save_every_s = save_every_s
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self.gpu = GpuPlace(gpu)
        self._gpu_slots = [_Slot(engine, niceness) for engine in self.gpu.engines]
        self._gpu_jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._unanswered: set[asyncio.Future[tuple[ChunkOutcome, ...]]] = set()
        self._serving: list[asyncio.Task[None]] = []
        self._closed = False
        # By a module's runtime and digest: why it is not executed, or nothing when admission has let it through.
        self._verdicts: OrderedDict[tuple[Runtime, bytes], str] = OrderedDict()
        self._examining: dict[tuple[Runtime, bytes], asyncio.Task[str]] = {}
        # Packages whose fallback has reproduced the golden vectors.
        self._proven: set[bytes] = set()

    async def start(self) -> None:
        """Start all workers and wait until they are ready.

        Raises:
            RuntimeError: This machine cannot run workers. The message holds what the worker said.
        """
        *started, _ = await asyncio.gather(
            *(slots["wasm"].ready() for slots in self._slots), self._start_gpu(), return_exceptions=True
        )
        for error in started:
            if isinstance(error, BaseException):
                await self.close()
                raise RuntimeError(f"the sandbox does not start: {error}") from error
        self._serving = [asyncio.create_task(self._serve(self._jobs, slots)) for slots in self._slots]
        if self.gpu.device:
            self._serving.append(asyncio.create_task(self._serve(self._gpu_jobs, {"gpu": self._gpu_slots[0]})))

    async def _start_gpu(self) -> None:
        if self.gpu.missing:
            return
        lacking = []
        while self._gpu_slots:
            try:
                self.gpu.device = (await self._gpu_slots[0].ready()).device
                return
            except WorkerLost as lost:
                # A worker that finds none says so and ends.
                lacking.append(str(lost).removeprefix("worker died: exit code 1 "))
                del self._gpu_slots[0]
        self.gpu.missing = "; ".join(lacking)

    async def execute(
        self,
        code: bytes,
        module: bytes,
        limits: Limits,
        numbers: bool,
        chunks: Sequence[ChunkInput],
        runtime: Runtime = "wasm",
        savepoints: Savepoints | None = None,
    ) -> tuple[ChunkOutcome, ...]:
        """Execute `chunks`, each in a fresh instance, and return their outcomes in the same order.

        With `savepoints`, a chunk goes on from what is kept of it there, and its savepoints are kept there.

        `module` holds the bytes whose SHA-256 is `code`: a module in rewritten form, JavaScript source, or a kernel's
        package. `numbers` says that inputs are little-endian i64s (spec/modules.md, "Command"; spec/javascript.md).
        Whatever goes wrong with the module, a chunk or a worker becomes NO_RESULT with its kind as the detail.
        Cancelling takes a waiting batch out of the queue and kills the worker of a running one.

        Raises:
            PoolClosed: The pool is closed.
        """
        if not chunks:
            return ()
        refusal = await self._verdict(runtime, code, module)
        if refusal:
            return _no_results(chunks, refusal)
        if self._closed:
            raise PoolClosed
        program = Program(runtime, code, module, limits.memory_bytes, limits.output_bytes, numbers)
        if runtime == "gpu":
            return await self._execute_kernel(program, limits, chunks)
        return await self._queued(self._jobs, program, limits, chunks, savepoints)

    async def _execute_kernel(
        self, program: Program, limits: Limits, chunks: Sequence[ChunkInput]
    ) -> tuple[ChunkOutcome, ...]:
        """On the GPU; where it is missing or refuses the kernel, as a module, which has to prove itself likewise."""
        if self.gpu.takes(program.digest):
            outcomes = await self._queued(self._gpu_jobs, program, limits, chunks)
            if self.gpu.takes(program.digest):
                return outcomes
        task = read_package(program.module)
        module = task.package.fallback
        instead = replace(program, runtime="wasm", digest=hashlib.sha256(module).digest(), module=module)
        if program.digest not in self._proven:
            golden = task.package.golden
            inputs = [ChunkInput(number, vector.input, 0) for number, vector in enumerate(golden)]
            for vector, outcome in zip(golden, await self._queued(self._jobs, instead, limits, inputs), strict=True):
                if not reproduces(vector, outcome):
                    refusal = f"module refused: its fallback does not reproduce golden vector {outcome.chunk}"
                    self._remember(("gpu", program.digest), refusal)
                    return _no_results(chunks, refusal)
            if len(self._proven) >= VERDICTS_KEPT:
                self._proven.clear()
            self._proven.add(program.digest)
        outcomes = await self._queued(self._jobs, instead, limits, chunks)
        return tuple(
            as_a_kernels(task, limits, chunk, outcome, numbers=program.numbers)
            for chunk, outcome in zip(chunks, outcomes, strict=True)
        )

    async def _queued(
        self,
        queue: asyncio.Queue[_Job],
        program: Program,
        limits: Limits,
        chunks: Sequence[ChunkInput],
        savepoints: Savepoints | None = None,
    ) -> tuple[ChunkOutcome, ...]:
        """Wait for a place in `queue`, and for the outcomes."""
        if self._closed:
            raise PoolClosed
        answer = asyncio.get_running_loop().create_future()
        job = _Job(program, limits.seconds, chunks, answer, savepoints, self._save_every_s)
        self._unanswered.add(job.answer)
        queue.put_nowait(job)
        try:
            return await job.answer
        finally:
            self._unanswered.discard(job.answer)

    async def close(self) -> None:
        """Kill all workers. Batches that run or wait end with `PoolClosed`."""
        self._closed = True
        for answer in self._unanswered:
            if not answer.done():
                answer.set_exception(PoolClosed())
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await asyncio.gather(*(slot.close() for slot in self._all_slots()))

    def describe(self) -> PoolDescription:
        running = sum(slot.busy for slot in self._all_slots())
        children = [slot.child for slot in self._all_slots() if slot.child is not None]
        return PoolDescription(
            slots=len(self._slots),
            pids=tuple(child.pid for child in children),
            layers=children[0].layers if children else (),
            running=running,
            waiting=len(self._unanswered) - running,
            workers_lost=sum(slot.workers_lost for slot in self._all_slots()),
            resumed=sum(slot.resumed for slot in self._all_slots()),
            gpu=self.gpu.device or f"none: {self.gpu.missing}",
        )

    def _all_slots(self) -> list[_Slot]:
        return [*(slot for slots in self._slots for slot in slots.values()), *self._gpu_slots]

    async def _verdict(self, runtime: Runtime, code: bytes, module: bytes) -> str:
        """Why `module` is not executed; empty when it is. Admission runs once per module, off the event loop."""
        key = (runtime, code)
        if key not in self._verdicts:
            # All who ask meanwhile wait for the same answer, and so keep their order.
            examining = self._examining.get(key)
            if examining is None:
                examining = asyncio.create_task(asyncio.to_thread(_examine, runtime, code, module))
                examining.add_done_callback(lambda _: self._examining.pop(key, None))
                self._examining[key] = examining
            verdict = await asyncio.shield(examining)
            if verdict == OTHER_BYTES:
                return verdict  # says nothing about the module of that name
            self._remember(key, verdict)
        return self._verdicts[key]

    def _remember(self, key: tuple[Runtime, bytes], verdict: str) -> None:
        self._verdicts[key] = verdict
        if len(self._verdicts) > VERDICTS_KEPT:
            self._verdicts.popitem(last=False)

    async def _serve(self, queue: asyncio.Queue[_Job], slots: dict[Runtime, _Slot]) -> None:
        """Run job after job, each on the slot of its runtime."""
        while True:
            job = await queue.get()
            if job.answer.done():
                continue  # cancelled while it waited
            slot = slots[job.program.runtime]
            job.answer.add_done_callback(slot.abandon)
            outcomes, refusal = await slot.execute(job)
            if job.program.runtime == "gpu":
                if refusal:
                    self.gpu.refuses(job.program.digest, refusal)
                elif slot.child is None and not slot.is_starting:
                    self.gpu.lost(outcomes[-1].detail)
            elif refusal:
                self._remember((job.program.runtime, job.program.digest), refusal)
            if not job.answer.done():
                job.answer.set_result(outcomes)


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
class _Job:
    """One call of `execute`."""

    program: Program
    seconds: float
    chunks: Sequence[ChunkInput]
    answer: asyncio.Future[tuple[ChunkOutcome, ...]]
    savepoints: Savepoints | None
    save_every_s: float


class _Slot:
    """A place for one worker at a time, which is replaced when it is lost."""

    def __init__(self, engine: EngineName, niceness: int) -> None:
        self._engine: EngineName = engine
        self._niceness = niceness
        self._loaded: OrderedDict[Program, int] = OrderedDict()
        self._numbers_given = 0
        self._starting: asyncio.Task[Child] | None = None
        self.child: Child | None = None
        self.busy = False
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
        self._starting = asyncio.create_task(Child.start(self._engine, self._niceness))

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
        """Nobody waits for the job any more: stop it in the only way there is."""
        if answer.cancelled() and self.busy and self.child is not None:
            self.child.terminate()

    async def execute(self, job: _Job) -> tuple[tuple[ChunkOutcome, ...], str]:
        """Outcomes of all chunks of `job`, and why the module is to be refused from now on, if it is."""
        self.busy = True
        try:
            return await self._execute(job)
        finally:
            self.busy = False

    async def _execute(self, job: _Job) -> tuple[tuple[ChunkOutcome, ...], str]:
        outcomes: list[ChunkOutcome] = []
        suspected = cautious = False
        while len(outcomes) < len(job.chunks) and not job.answer.done():
            rest = job.chunks[len(outcomes) :]
            try:
                child = await self.ready()
            except WorkerLost as lost:
                return (*outcomes, *_no_results(rest, str(lost))), ""
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
                return (*outcomes, *_no_results(rest, refusal)), refusal
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
        job: _Job,
        chunks: Sequence[ChunkInput],
        cautious: bool,
        outcomes: list[ChunkOutcome],
    ) -> None:
        """Execute `chunks` and append their outcomes as they are reported."""
        saves = job.savepoints
        # Not from a state that may have been what took the last worker down.
        states = [saves.load(chunk.chunk) if saves is not None and not cautious else b"" for chunk in chunks]
        self.resumed += sum(map(bool, states))
        every_s = job.save_every_s if saves is not None else None
        ordered = [(*chunk, state) for chunk, state in zip(chunks, states, strict=True)]
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
            saves.save(saved.chunk, saved.state)

        done = False
        while not done:
            report = await child.receive(Report, timeout_s, on_saved)
            timeout_s = job.seconds + REPORT_SLACK_S
            for chunk, status, data, detail in report.outcomes:
                asked = next(expected, None)
                if asked is None or chunk != asked.chunk or len(data) > max(job.program.output_bytes, ERROR_BYTES_MAX):
                    raise WorkerLost("worker misbehaved: it reported what was not asked for")
                outcomes.append(ChunkOutcome(chunk, Status(status), data, detail[:DETAIL_CHARACTERS]))
            done = report.done
        if next(expected, None) is not None:
            raise WorkerLost("worker misbehaved: it left chunks out")

    async def _replace(self) -> None:
        """Kill the worker and start another in the background."""
        self.workers_lost += 1
        if self.child is not None:
            await self.child.kill()
            self.child = None
        self._start()


def _examine(runtime: Runtime, code: bytes, module: bytes) -> str:
    """Why `module` is not executed; empty when it is. What JavaScript may say, its engine's prelude knows."""
    if hashlib.sha256(module).digest() != code:
        return OTHER_BYTES
    try:
        if runtime == "js":
            decode_source(module)
        elif runtime == "gpu":
            read_package(module)
        else:
            admit(module)
    except ModuleRefused as refused:
        return f"module refused: {refused}"
    return ""


def _no_results(chunks: Sequence[ChunkInput], detail: str) -> tuple[ChunkOutcome, ...]:
    return tuple(ChunkOutcome(chunk.chunk, Status.NO_RESULT, b"", detail[:DETAIL_CHARACTERS]) for chunk in chunks)


def _part(chunks: Sequence[ChunkInput]) -> Sequence[ChunkInput]:
    """As many of the first chunks as go into one frame; at least one."""
    total = 0
    for count, chunk in enumerate(chunks):
        total += len(chunk.data)
        if total > RUN_BYTES and count:
            return chunks[:count]
    return chunks
