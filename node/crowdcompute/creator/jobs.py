"""A published task as its creator's Python program sees it: results as they come, the certificate, cancelling.

    OPEN --every chunk settled, checked--> CLOSED
      '--- the place was left, or failed --> LOST     (the task goes on without us: `Network.job` picks it up)

A place (places.py) feeds a job from its delivery thread; everything else may be called from any thread.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .earlier import Earlier

T = TypeVar("T")

_log = logging.getLogger("crowdcompute.creator")


class JobLeft(Exception):
    """The program left the network before this was known. The job goes on: pick it up with `Network.job(id)`."""


class ChunkFailed(Exception):
    """A chunk has no result: which one, its arguments, why, and the command that shows it on this machine."""

    def __init__(self, chunk: int, arguments: tuple[int, ...] | None, why: str, reproduce: str) -> None:
        given = "" if arguments is None else f" (arguments {' '.join(map(str, arguments))})"
        super().__init__(f"chunk {chunk}{given}: {why}; to see it here: {reproduce}")
        self.chunk = chunk
        self.arguments = arguments
        self.why = why
        self.reproduce = reproduce


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """One settled chunk."""

    chunk: int
    status: Literal["ok", "task error", "failed"]
    """"task error" is the kernel's own word, "failed" a trap, a limit, or that the creator cancelled it."""
    data: bytes
    """The result, byte for byte; empty unless "ok"."""
    why: str
    """Why there is no result."""
    arguments: tuple[int, ...] | None
    """The numbers the chunk got, if it got numbers."""
    reproduce: str
    """The command that computes this chunk on this machine."""
    decode: Callable[[bytes], T] = field(repr=False, compare=False)

    @property
    def value(self) -> T:
        """The result, decoded.

        Raises:
            ChunkFailed: There is none.
        """
        if self.status != "ok":
            raise ChunkFailed(self.chunk, self.arguments, f"{self.status}: {self.why}", self.reproduce)
        return self.decode(self.data)


@dataclass(frozen=True, slots=True)
class Progress:
    """A job in numbers."""

    state: Literal["running", "auditing", "closed"]
    chunks: int
    accepted: int
    failed: int
    votes: int
    workers: int
    convicted: int


@dataclass(frozen=True, slots=True)
class Certificate:
    """How surely the results are right, signed by their creator; `cc-task audit` checks it for anybody."""

    statement: str
    chunks: int
    accepted: int
    failed: int
    executions: int
    bound: float
    """At most this share of the accepted results is wrong …"""
    confidence: float
    """… with this confidence."""
    convicted: tuple[str, ...]
    """Peer ids of workers that were found lying."""
    document: dict[str, Any] = field(repr=False)
    """certificate.json."""


class Source(Protocol):
    """Where a job is computed."""

    def progress(self, job: Job[Any]) -> Progress: ...
    def cancel(self, job: Job[Any]) -> None: ...
    def export(self, job: Job[Any], folder: Path) -> int: ...
    def wait_until_held(self, job: Job[Any], timeout: float | None) -> None: ...
    def earlier(self, job: Job[Any]) -> Earlier: ...


class Job(Generic[T]):
    """A published task. Places make them; `Network.job` does for a job of an earlier program."""

    def __init__(self, source: Source, job_id: str, name: str, chunks: int, decode: Callable[[bytes], T]) -> None:
        self.id = job_id
        self.name = name
        self.chunks = chunks
        self.is_open = False
        """Whether more chunks may come: a stream of calls that has not ended."""
        self.link = ""
        """Where volunteers join for exactly this task; empty on this machine."""
        self.decode = decode
        self._source = source
        self._changed = threading.Condition()
        self._results: dict[int, Result[T]] = {}
        self._arrivals: list[Result[T]] = []
        self._listeners: list[Callable[[Result[T]], None]] = []
        self._enders: list[Callable[[], None]] = []
        self._certificate: Certificate | None = None
        self._closed = False
        self._lost: BaseException | None = None

    def __repr__(self) -> str:
        return f"<job {self.name!r} {self.id[:12]}: {len(self._results)} of {self.chunks} chunks>"

    # ---- for programs

    def results(
        self, *, ordered: bool = False, certified: bool = False, timeout: float | None = None
    ) -> Iterator[Result[T]]:
        """Every chunk's result: as they come, or by chunk.

        A result comes when its votes agree. Should it turn out wrong while the task is still being checked, the right
        one comes again, for the same chunk, as long as this iterates; `certified` waits for the certificate first.

        Raises:
            TimeoutError: Not all have come within `timeout` seconds.
            JobLeft: The place was left.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if certified:
            self._wait(lambda: self._closed, deadline)
        for number in _forever():
            with self._changed:
                if ordered:
                    self._wait(
                        lambda number=number: number in self._results or self._is_last(number),  # type: ignore[misc]
                        deadline,
                    )
                    if number not in self._results:
                        return
                    result = self._results[number]
                else:
                    self._wait(
                        lambda number=number: number < len(self._arrivals) or self._is_complete(),  # type: ignore[misc]
                        deadline,
                    )
                    if number >= len(self._arrivals):
                        return
                    result = self._arrivals[number]
            yield result

    def results_so_far(self) -> list[Result[T]]:
        """The results there are now, in no order."""
        with self._changed:
            return list(self._results.values())

    def on_result(self, call: Callable[[Result[T]], None]) -> None:
        """Have `call` called with each result, those that are there already included, one at a time in one thread."""
        with self._changed:
            known = list(self._arrivals)
            self._listeners.append(call)
        for result in known:
            _guarded(call, result)

    def on_done(self, call: Callable[[], None]) -> None:
        """Have `call` called once the job is closed, or its place was left."""
        with self._changed:
            if not self._closed and self._lost is None:
                self._enders.append(call)
                return
        call()

    def wait(self, timeout: float | None = None) -> Certificate | None:
        """Wait until the task is closed, and return its certificate; None on this machine, where nobody votes.

        Raises:
            TimeoutError, JobLeft: As `results`.
        """
        self._wait(lambda: self._closed, None if timeout is None else time.monotonic() + timeout)
        return self._certificate

    def wait_until_held(self, timeout: float | None = None) -> None:
        """Wait until a volunteer holds the task: from then on it goes on without this program.

        Raises:
            TimeoutError: Nobody came.
        """
        self._source.wait_until_held(self, timeout)

    @property
    def certificate(self) -> Certificate | None:
        """The certificate, once the task is closed."""
        return self._certificate

    @property
    def done(self) -> bool:
        """Whether the task is closed."""
        return self._closed

    def progress(self) -> Progress:
        """How far it is."""
        return self._source.progress(self)

    def cancel(self) -> None:
        """Give up every chunk that has no result yet. What is accepted stays, is checked and certified as before."""
        self._source.cancel(self)

    def earlier(self) -> Earlier:
        """The results as inputs of another task, which is told by `Task(…, inputs=job)`; waits for the certificate.

        Raises:
            CommandError: A chunk has no result.
        """
        self.wait()
        return self._source.earlier(self)

    def export(self, folder: str | Path) -> int:
        """Write what `cc-task results` writes; the number of results."""
        from pathlib import Path

        return self._source.export(self, Path(folder))

    # ---- for the place, on its delivery thread

    def decoded(self, data: bytes) -> T:
        """A result's bytes as a value, by what whoever asked for this job last has said."""
        return self.decode(data)

    def take(self, result: Result[T]) -> None:
        """A chunk is settled; perhaps once more, because it was wrong before."""
        with self._changed:
            if self._results.get(result.chunk) == result:
                return
            self._results[result.chunk] = result
            self._arrivals.append(result)
            listeners = list(self._listeners)
            self._changed.notify_all()
        for call in listeners:
            _guarded(call, result)

    def grow(self, chunks: int, *, is_open: bool) -> None:
        """There are so many chunks now."""
        with self._changed:
            self.chunks, self.is_open = chunks, is_open
            self._changed.notify_all()

    def take_back(self, chunk: int) -> None:
        """A chunk is open again."""
        with self._changed:
            self._results.pop(chunk, None)

    def close(self, certificate: Certificate | None) -> None:
        with self._changed:
            self._certificate = certificate
            self._closed = True
        self._end()

    def lose(self, error: BaseException) -> None:
        with self._changed:
            if self._closed:
                return
            self._lost = error
        self._end()

    # ---- inside

    def _end(self) -> None:
        with self._changed:
            enders, self._enders = self._enders, []
            self._changed.notify_all()
        for call in enders:
            _guarded(call)

    def _is_complete(self) -> bool:
        return self._closed or (not self.is_open and len(self._results) == self.chunks)

    def _is_last(self, number: int) -> bool:
        """Whether there is no chunk of this number, and will be none."""
        return number >= self.chunks and not self.is_open

    def _wait(self, until: Callable[[], bool], deadline: float | None) -> None:
        with self._changed:
            while not until():
                if self._lost is not None:
                    raise self._lost
                remaining_s = None if deadline is None else deadline - time.monotonic()
                if remaining_s is not None and remaining_s <= 0:
                    raise TimeoutError(f"{self!r} is not done yet; it goes on")
                self._changed.wait(remaining_s)


def _forever() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def _guarded(call: Callable[..., None], *arguments: Any) -> None:
    # As concurrent.futures does with callbacks: one that raises must not stop those of others.
    try:
        call(*arguments)
    except Exception:
        _log.exception("calling %r", call)
