"""The pool: a few worker processes, and batches of chunks waiting for one.

    execute --admitted?--> queue --a slot is free (slot.py)--> outcomes
               '--no: every chunk ends without a result

Batches wait in the order they came; each runs on one slot, served by one worker process at a time.

A worker has one engine inside. A slot's first worker has wasmtime; one for JavaScript joins it when the first such
batch comes, and only one of the two works at a time. Kernels go to GPUs, which have a queue of their own (gpu.py) and a
slot each; where there is none, or one refuses a kernel, to the other slots as the module that the package brings.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from crowdcompute.protocol.errors import ModuleRefused
from crowdcompute.protocol.events import ChunkInput, ChunkOutcome
from crowdcompute.protocol.javascript import decode_source
from crowdcompute.protocol.wasm import admit

from .child import WorkerLost
from .engine import has_v8
from .gpu import DEVICES_MAX, GpuPlace, as_a_kernels, read_package, reproduces
from .slot import Job, Program, Slot, no_results

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crowdcompute.protocol.manifest import Limits, Runtime

    from .engine import EngineName
    from .gpu import GpuChoice
    from .slot import Savepoints

VERDICTS_KEPT = 256
SAVE_EVERY_S = 5.0
"""What a kill may cost a chunk that writes savepoints. A guess between disk and work lost."""
OTHER_BYTES = "module refused: its bytes are not those the task names"


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
    """The names of its GPUs, or why there is none."""


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
        self._slots: list[dict[Runtime, Slot]] = [
            {"wasm": Slot("wasmtime", niceness), "js": Slot(javascript, niceness)} for _ in range(slots)
        ]
        self._save_every_s = save_every_s
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self.gpu = GpuPlace(gpu)
        self._niceness = niceness
        self._gpu_slots: list[Slot] = []
        self._gpu_jobs: asyncio.Queue[Job] = asyncio.Queue()
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
        self._serving += [
            asyncio.create_task(self._serve_device(slot, device))
            for slot, device in zip(self._gpu_slots, self.gpu.devices, strict=True)
        ]

    async def _start_gpu(self) -> None:
        if self.gpu.missing:
            return
        lacking = []
        for engine in self.gpu.engines:
            first = Slot(engine, self._niceness)
            self._gpu_slots = [first]
            try:
                count = (await first.ready()).devices
            except WorkerLost as lost:
                # A worker that finds none says so and ends.
                lacking.append(str(lost).removeprefix("worker died: exit code 1 "))
                self._gpu_slots = []
                continue
            self._gpu_slots += [Slot(engine, self._niceness, number) for number in range(1, min(count, DEVICES_MAX))]
            await asyncio.gather(*(slot.ready() for slot in self._gpu_slots), return_exceptions=True)
            self._gpu_slots = [slot for slot in self._gpu_slots if slot.child is not None]
            self.gpu.devices = [slot.child.device for slot in self._gpu_slots if slot.child is not None]
            return
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
        began: Callable[[], None] = lambda: None,
    ) -> tuple[ChunkOutcome, ...]:
        """Execute `chunks`, each in a fresh instance, and return their outcomes in the same order.

        With `savepoints`, a chunk goes on from what is kept of it there, and its savepoints are kept there. `began` is
        called when they have a worker, after other batches.

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
            return no_results(chunks, refusal)
        if self._closed:
            raise PoolClosed
        program = Program(runtime, code, module, limits.memory_bytes, limits.output_bytes, numbers)
        if runtime == "gpu":
            return await self._execute_kernel(program, limits, chunks, began)
        return await self._queued(self._jobs, program, limits, chunks, began, savepoints)

    async def _execute_kernel(
        self, program: Program, limits: Limits, chunks: Sequence[ChunkInput], began: Callable[[], None]
    ) -> tuple[ChunkOutcome, ...]:
        """On the GPU; where it is missing or refuses the kernel, as a module, which has to prove itself likewise."""
        if self.gpu.takes(program.digest):
            outcomes = await self._queued(self._gpu_jobs, program, limits, chunks, began)
            if self.gpu.takes(program.digest):
                return outcomes
        task = read_package(program.module)
        module = task.package.fallback
        instead = replace(program, runtime="wasm", digest=hashlib.sha256(module).digest(), module=module)
        if program.digest not in self._proven:
            golden = task.package.golden
            inputs = [ChunkInput(number, vector.input, 0) for number, vector in enumerate(golden)]
            tried = await self._queued(self._jobs, instead, limits, inputs, began)
            for vector, outcome in zip(golden, tried, strict=True):
                if not reproduces(vector, outcome):
                    refusal = f"module refused: its fallback does not reproduce golden vector {outcome.chunk}"
                    self._remember(("gpu", program.digest), refusal)
                    return no_results(chunks, refusal)
            if len(self._proven) >= VERDICTS_KEPT:
                self._proven.clear()
            self._proven.add(program.digest)
        outcomes = await self._queued(self._jobs, instead, limits, chunks, began)
        return tuple(
            as_a_kernels(task, limits, chunk, outcome, numbers=program.numbers)
            for chunk, outcome in zip(chunks, outcomes, strict=True)
        )

    async def _queued(
        self,
        queue: asyncio.Queue[Job],
        program: Program,
        limits: Limits,
        chunks: Sequence[ChunkInput],
        began: Callable[[], None],
        savepoints: Savepoints | None = None,
    ) -> tuple[ChunkOutcome, ...]:
        """Wait for a place in `queue`, and for the outcomes."""
        if self._closed:
            raise PoolClosed
        answer = asyncio.get_running_loop().create_future()
        job = Job(program, limits.seconds, chunks, answer, savepoints, self._save_every_s, began)
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

    def _all_slots(self) -> list[Slot]:
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

    async def _serve(self, queue: asyncio.Queue[Job], slots: dict[Runtime, Slot]) -> None:
        """Run job after job, each on the slot of its runtime."""
        while True:
            job = await queue.get()
            if job.answer.done():
                continue  # cancelled while it waited
            slot = slots[job.program.runtime]
            job.began()
            job.answer.add_done_callback(slot.abandon)
            outcomes, refusal = await slot.execute(job)
            if refusal:
                self._remember((job.program.runtime, job.program.digest), refusal)
            if not job.answer.done():
                job.answer.set_result(outcomes)

    async def _serve_device(self, slot: Slot, device: str) -> None:
        """Run job after job on one device, while its driver starts; others go on with what it leaves."""
        while True:
            job = await self._gpu_jobs.get()
            if job.answer.done():
                continue
            job.began()
            job.answer.add_done_callback(slot.abandon)
            outcomes, refusal = await slot.execute(job)
            if refusal:
                self.gpu.refuses(job.program.digest, refusal)
            elif slot.child is None and not slot.is_starting and device in self.gpu.devices:
                self.gpu.lost(device, outcomes[-1].detail)
                if self.gpu.devices:
                    self._gpu_jobs.put_nowait(job)
                    return
            if not job.answer.done():
                job.answer.set_result(outcomes)


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
