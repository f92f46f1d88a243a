"""Where a task is computed: on a network, by volunteers, or on this machine, to develop without any.

    with Network("http://127.0.0.1:8765/j#n=main") as network:
        job = network.publish(Task("primes"))

Both places have the same methods, so that a program is tried out with `ThisMachine()` and published by changing a word.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import weakref
from abc import ABC, abstractmethod
from dataclasses import replace
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.protocol.closing import TaskState
from crowdcompute.protocol.events import CANCELLED, ChunkOutcome, Notable, Status
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.split import Calls, Items

from .background import Background
from .calls import Streams
from .earlier import of_bytes, of_role
from .jobs import Certificate, Job, JobLeft, Progress, Result
from .local import cores, describe_outcome, numbers_of, open_pool, reproduce_words, run_in
from .plan import assemble
from .results import accepted_results, arguments, certificate, chunk_file, export

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from crowdcompute.node.executors.pool import WorkerPool
    from crowdcompute.node.runtime import Runtime
    from crowdcompute.node.transports.link import StackName
    from crowdcompute.protocol.bundle import Bundle
    from crowdcompute.protocol.creator import CreatorRole
    from crowdcompute.protocol.events import Notice

    from .earlier import Earlier
    from .kernel import Kernel
    from .plan import Plan
    from .session import Creator
    from .task import Task
    from .work import Work

T = TypeVar("T")


class Place(Protocol):
    """Somewhere tasks are computed."""

    def publish(self, task: Task[T]) -> Job[T]: ...
    def calls(self, kernel: Kernel[Any], on_job: Callable[[Job[Any]], None]) -> Streams | None:
        """Where calls of a kernel go as they come; None where each group of them is a task."""

    def close(self) -> None: ...


class _Closing(ABC):
    """A place is closed by the end of its block, by `close`, or when the program ends."""

    def __init__(
        self, name: str, main: Callable[[Callable[[], None], asyncio.Event], Coroutine[Any, Any, None]]
    ) -> None:
        self._background = Background(name, main)
        # Daemon threads end with the interpreter; worker processes and neighbours are told before.
        atexit.register(_close, weakref.ref(self))

    @abstractmethod
    def close(self) -> None:
        """Leave. What is not settled by then raises `JobLeft` for whoever waits for it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _close(place: weakref.ref[_Closing]) -> None:
    there = place()
    if there is not None:
        there.close()


class Network(_Closing):
    """A creator on a network. One program at a time holds a creator's data folder (`CC_HOME`).

    It reconnects by itself, to peers and to the signaling server. When it is closed, volunteers go on with what was
    published; the next `Network`, or `cc-task watch`, collects and checks what they did.
    """

    def __init__(
        self,
        link: str | None = None,
        *,
        key: Path | None = None,
        hosts: Sequence[str] = (),
        stack: StackName = "auto",
    ) -> None:
        """Join a network; everything published before from this folder is taken up again.

        Args:
            link: Its join link; `CC_LINK` if not given.
            key: The key file that signs tasks; the creator's own if not given.
            hosts: Offer only these local addresses to peers: `("127.0.0.1",)` for a network on one machine.
            stack: What makes links: `auto`, or WebRTC only, by `aiortc` or `wrtc`.

        Raises:
            CommandError: The network cannot be joined; the sentence says why.
        """
        link = link or os.environ.get("CC_LINK")
        if not link:
            raise CommandError("which network? Give its join link, Network('http://…/j#n=…'), or CC_LINK", Exit.USAGE)
        self._link = JoinLink.parse(link)
        self._key = key
        self._hosts = tuple(hosts)
        self._stack = stack
        self._jobs: dict[bytes, Job[Any]] = {}
        self._creator: Creator
        self._runtime: Runtime
        super().__init__("network", self._main)

    def __enter__(self) -> Network:
        return self

    # ---- for programs

    def publish(self, task: Task[T]) -> Job[T]:
        """Sign a task and hand it to volunteers.

        Raises:
            CommandError: It cannot be published; the sentence says why.
            JobLeft: This network was closed.
        """
        bundle = task.bundle(self._creator.identity)
        # Here, because the network's thread has others to serve meanwhile.
        staged = self._creator.stage_bundle(bundle) if self._background.alive else {}
        return self._call(self._publish, bundle, task.plan, task.decode, staged)

    def calls(self, kernel: Kernel[Any], on_job: Callable[[Job[Any]], None]) -> Streams:
        """Streams that take calls of a kernel as they come; `on_job` is told each of them, on the network's thread."""
        return Streams(self, kernel, on_job)

    def job(self, job_id: str, *, decode: Callable[[bytes], Any] = bytes) -> Job[Any]:
        """A job published before, by this program or another one, by its id or the first digits of it.

        Raises:
            CommandError: There is none, or more than one.
        """
        return self._call(self._find, job_id, decode)

    def jobs(self) -> list[Job[Any]]:
        """All jobs published from this folder with this key, the oldest first."""
        return self._call(self._all)

    def close(self) -> None:
        self._background.close()

    @property
    def neighbours(self) -> int:
        """How many peers this program is connected to."""
        return self._call(lambda: len(self._runtime.peer.neighbours))

    @property
    def given_bytes(self) -> int:
        """How many bytes of code, inputs and results this program has sent to others."""
        return self._call(lambda: self._runtime.peer.given_bytes)

    # ---- for jobs

    def progress(self, job: Job[Any]) -> Progress:
        return self._call(lambda: _progress(self._role(job)))

    def cancel(self, job: Job[Any]) -> None:
        self._call(lambda: self._runtime.give_up(bytes.fromhex(job.id)))

    def export(self, job: Job[Any], folder: Path) -> int:
        task = bytes.fromhex(job.id)
        count = self._call(lambda: export(self._role(job), folder))
        plan = self._creator.plan_of(task)
        if plan.how != "none":
            # In a loop of its own, for a reducer may take long: the network's has others to serve.
            found = self._call(lambda: accepted_results(self._role(job)))
            asyncio.run(assemble(plan, self._role(job).ledger.manifest.split, found, folder))
        return count

    def earlier(self, job: Job[Any]) -> Earlier:
        found = self._call(lambda: of_role(self._role(job)))
        return replace(found, result=lambda chunk: self._call(found.result, chunk))

    def wait_until_held(self, job: Job[Any], timeout: float | None) -> None:
        role = self._role(job)

        async def held() -> None:
            while not role.is_held and role.state is not TaskState.CLOSED:
                await self._stirred.wait()
                self._stirred.clear()

        waiting = asyncio.run_coroutine_threadsafe(asyncio.wait_for(held(), timeout), self._background.loop)
        try:
            waiting.result()
        except TimeoutError:
            raise TimeoutError(f"no volunteer holds {job!r} yet") from None

    # ---- for streams

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._background.loop

    def on_loop(self, function: Callable[[], None]) -> None:
        self._call(function)

    def open_stream(self, kernel: Kernel[Any]) -> Job[Any]:
        for number in count():
            task = kernel.stream(number)
            bundle = task.bundle(self._creator.identity)
            if bundle.task_id not in self._runtime.peer.creators:
                return self._publish(bundle, task.plan, task.decode)
        raise AssertionError("a number is free")

    def feed(self, job: Job[Any], inputs: tuple[bytes, ...], *, ends: bool = False) -> None:
        job.grow(job.chunks + len(inputs), is_open=not ends)
        self._runtime.feed_calls(bytes.fromhex(job.id), inputs, ends=ends)

    def room(self, job: Job[Any]) -> int:
        ledger = self._role(job).ledger
        return 0 if ledger.is_whole or ledger.is_forked else ledger.manifest.chunks - ledger.chunks

    # ---- on the loop's thread

    async def _main(self, ready: Callable[[], None], stop: asyncio.Event) -> None:
        from .session import online, open_creator

        self._stirred = asyncio.Event()
        error: BaseException | None = None
        try:
            with open_creator(self._key) as self._creator:
                async with online(
                    self._creator, self._link, hosts=self._hosts, stack=self._stack, on_notice=self._noticed
                ) as self._runtime:
                    ready()
                    asked = asyncio.ensure_future(stop.wait())
                    while not asked.done():
                        changed = asyncio.ensure_future(self._runtime.changed())
                        await asyncio.wait({asked, changed}, return_when=asyncio.FIRST_COMPLETED)
                        self._stirred.set()
                        if changed.done():
                            changed.result()
                        else:
                            changed.cancel()
        except BaseException as failure:
            error = failure
            raise
        finally:
            for job in self._jobs.values():
                left = error or JobLeft(
                    f"the network was left before {job!r} was done; volunteers go on, and "
                    f"Network.job({job.id[:12]!r}) picks it up"
                )
                self._background.tell(_bound(job.lose, left))

    def _publish(
        self,
        bundle: Bundle,
        plan: Plan,
        decode: Callable[[bytes], T],
        staged: Mapping[bytes, Path] | None = None,
    ) -> Job[T]:
        self._creator.store_bundle(bundle, staged)
        self._creator.remember_plan(bundle.task_id, plan)
        self._runtime.publish(bundle.signed)
        self._creator.remember(bundle.task_id, self._link)
        return self._attach(self._runtime.peer.creators[bundle.task_id], decode)

    def _find(self, job_id: str, decode: Callable[[bytes], T]) -> Job[T]:
        task = self._creator.find(job_id).task_id
        job = self._jobs.get(task)
        if job is not None:
            job.decode = decode
            return job
        return self._attach(self._runtime.peer.creators.get(task) or self._creator.role(task), decode)

    def _all(self) -> list[Job[Any]]:
        ours = self._creator.identity.public_key
        stored = [task for task in self._creator.home.records.tasks() if task.creator == ours]
        return [self._jobs.get(task.task_id) or self._find(task.task_id.hex(), bytes) for task in stored]

    def _attach(self, role: CreatorRole, decode: Callable[[bytes], T]) -> Job[T]:
        task, manifest = role.ledger.task, role.ledger.manifest
        job: Job[T] = Job(self, task.hex(), manifest.name, role.ledger.chunks, decode)
        job.is_open = not role.ledger.is_whole
        job.link = str(replace(self._link, task_id=task))
        self._jobs[task] = job
        for chunk in role.settled_chunks():
            self._background.tell(_bound(job.take, _result(role, chunk, job)))
        if role.state is TaskState.CLOSED:
            self._background.tell(_bound(job.close, _certificate(role)))
        return job

    def _noticed(self, notice: Notice) -> None:
        job = None if notice.task_id is None else self._jobs.get(notice.task_id)
        if job is None or notice.task_id is None:
            return
        role = self._runtime.peer.creators[notice.task_id]
        match notice.what:
            case Notable.CHUNK_ACCEPTED | Notable.CHUNK_FAILED if notice.chunk is not None:
                if role.result(notice.chunk).state != "open":
                    self._background.tell(_bound(job.take, _result(role, notice.chunk, job)))
            case Notable.CHUNK_REOPENED if notice.chunk is not None:
                self._background.tell(_bound(job.take_back, notice.chunk))
            case Notable.TASK_CLOSED:
                self._background.tell(_bound(job.close, _certificate(role)))
            case _:
                pass

    def _role(self, job: Job[Any]) -> CreatorRole:
        task = bytes.fromhex(job.id)
        return self._runtime.peer.creators.get(task) or self._creator.role(task)

    def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        if not self._background.alive:
            raise JobLeft("the network was left: make a new Network to go on") from self._background.failure
        return self._background.call(function, *arguments)


class ThisMachine(_Closing):
    """Volunteers' sandbox without a network: every chunk once, no votes, no certificate, nothing remembered."""

    def __init__(self, jobs: int | None = None) -> None:
        """Start the sandbox.

        Args:
            jobs: Processes to use; as many as there are cores if not given.

        Raises:
            CommandError: This machine has no working sandbox.
        """
        self._slots = jobs or cores()
        self._numbers = count(1)
        self._jobs: dict[str, tuple[Job[Any], Work, asyncio.Task[None]]] = {}
        self._pool: WorkerPool
        super().__init__("sandbox", self._main)

    def __enter__(self) -> ThisMachine:
        return self

    def publish(self, task: Task[T]) -> Job[T]:
        """Begin to compute a task.

        Raises:
            JobLeft: This place was closed.
        """
        if not self._background.alive:
            raise JobLeft("the sandbox was closed: make a new ThisMachine")
        work = task.work()
        return self._background.call(self._begin, work, task.decode)

    def calls(self, kernel: Kernel[Any], on_job: Callable[[Job[Any]], None]) -> None:
        """Nobody votes here, so a group of calls costs nothing that a stream would save."""

    def close(self) -> None:
        self._background.close()

    def progress(self, job: Job[Any]) -> Progress:
        results = list(job.results_so_far())
        accepted = sum(result.status == "ok" for result in results)
        state = "closed" if job.done else "running"
        return Progress(state, job.chunks, accepted, len(results) - accepted, len(results), self._slots, 0)  # type: ignore[arg-type]

    def cancel(self, job: Job[Any]) -> None:
        def cancel() -> None:
            _, _, running = self._jobs[job.id]
            running.cancel(CANCELLED)

        self._background.call(cancel)

    def export(self, job: Job[Any], folder: Path) -> int:
        folder.mkdir(parents=True, exist_ok=True)
        good = [result for result in job.results_so_far() if result.status == "ok"]
        for result in good:
            (folder / chunk_file(result.chunk)).write_bytes(result.data)
        _, work, _ = self._jobs[job.id]
        asyncio.run(assemble(work.plan, work.split, {result.chunk: result.data for result in good}, folder))
        return len(good)

    def earlier(self, job: Job[Any]) -> Earlier:
        return of_bytes([result.value for result in _undecoded(job)])

    def wait_until_held(self, job: Job[Any], timeout: float | None) -> None:
        """This machine holds it already; it goes no further than this program."""

    async def _main(self, ready: Callable[[], None], stop: asyncio.Event) -> None:
        async with open_pool(self._slots) as self._pool:
            ready()
            await stop.wait()
            running = [task for _, _, task in self._jobs.values() if not task.done()]
            for task in running:
                task.cancel("closed")
            await asyncio.gather(*running, return_exceptions=True)
        for job, _, _ in self._jobs.values():
            self._background.tell(_bound(job.lose, JobLeft(f"the sandbox was closed before {job!r} was done")))

    def _begin(self, work: Work, decode: Callable[[bytes], T]) -> Job[T]:
        job: Job[T] = Job(self, f"here-{next(self._numbers)}", work.name, work.chunks, decode)
        self._jobs[job.id] = (job, work, asyncio.ensure_future(self._compute(job, work)))
        return job

    async def _compute(self, job: Job[Any], work: Work) -> None:
        left = set(range(work.chunks))

        def settled(outcome: ChunkOutcome) -> bool:
            left.discard(outcome.chunk)
            self._background.tell(_bound(job.take, _outcome(work, outcome, job)))
            return outcome.status == Status.OK and work.plan.is_solution(outcome.data)

        try:
            await run_in(self._pool, self._slots, work, range(work.chunks), settled)
            for chunk in sorted(left):
                settled(ChunkOutcome(chunk, Status.NO_RESULT, b"", CANCELLED))
        except asyncio.CancelledError as cancelled:
            if cancelled.args != (CANCELLED,):
                raise
            for chunk in sorted(left):
                settled(ChunkOutcome(chunk, Status.NO_RESULT, b"", CANCELLED))
        self._background.tell(_bound(job.close, None))


_HERE_LOCK = Lock()
_here: ThisMachine | None = None


def compute_here(kernel: Kernel[T], arguments: tuple[Any, ...]) -> T:
    """One call of a kernel in a sandbox that stays for the next call."""
    global _here
    with _HERE_LOCK:
        if _here is None or not _here._background.alive:
            _here = ThisMachine(1)
        job = _here.publish(kernel.task([kernel.encode(*arguments)]))
    return next(job.results(ordered=True)).value


def _result(role: CreatorRole, chunk: int, job: Job[T]) -> Result[T]:
    found = role.result(chunk)
    data = role.result_bytes(chunk) or b""
    reproduce = reproduce_words(role.ledger.task.hex(), chunk)
    numbers = arguments(role.ledger.manifest, chunk)
    if found.state == "ok":
        return Result(chunk, "ok", data, "", numbers, reproduce, job.decoded)
    if found.state == "task error":
        return Result(chunk, "task error", b"", data.decode(errors="replace"), numbers, reproduce, job.decoded)
    return Result(chunk, "failed", b"", "; ".join(found.reasons), numbers, reproduce, job.decoded)


def _outcome(work: Work, outcome: ChunkOutcome, job: Job[T]) -> Result[T]:
    numbers = numbers_of(work.split, work.inputs.read(outcome.chunk))
    # A kernel's call is no chunk of the folder's own task.
    reproduce = "" if isinstance(work.split, Calls | Items) else reproduce_words(work.where, outcome.chunk)
    if outcome.status == Status.OK:
        return Result(outcome.chunk, "ok", outcome.data, "", numbers, reproduce, job.decoded)
    status, _, why = describe_outcome(outcome).partition(": ")
    kind = "task error" if status == "task error" else "failed"
    return Result(outcome.chunk, kind, b"", why, numbers, reproduce, job.decoded)  # type: ignore[arg-type]


def _certificate(role: CreatorRole) -> Certificate | None:
    document = certificate(role)
    if document is None:
        return None
    return Certificate(
        statement=document["statement"],
        chunks=document["chunks"],
        accepted=document["accepted"],
        failed=document["failed"],
        executions=document["executions"],
        bound=document["bound"],
        confidence=document["confidence"],
        convicted=tuple(entry["worker"] for entry in document["convicted"]),
        document=document,
    )


def _undecoded(job: Job[Any]) -> list[Result[bytes]]:
    return sorted((replace(result, decode=bytes) for result in job.results_so_far()), key=lambda result: result.chunk)


def _progress(role: CreatorRole) -> Progress:
    now = role.progress()
    assert now.state is not TaskState.SETTLED, "only a steward's task, never one of ours"
    return Progress(now.state.value, now.chunks, now.accepted, now.failed, now.votes, now.workers, now.convicted)


def _bound(call: Callable[..., None], *arguments: Any) -> Callable[[], None]:
    return lambda: call(*arguments)
