"""Calls of one kernel that go into a stream: a task that stays open, and is fed as calls come (spec/streams.md).

    a stream:  NONE --the first call--> OPEN --full, or no call for IDLE_S, or `end`--> ENDED, and soon certified

A call that nothing is before goes at once; others wait up to GAP_S for company, or as long as the network's thread is
busy: so the busier it is, the more calls share a signature, a frame and a vote.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from crowdcompute.protocol.feeding import FED_BYTES_MAX

from .jobs import ChunkFailed, JobLeft

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from concurrent.futures import Future

    from .jobs import Job, Result
    from .kernel import Kernel

IDLE_S = 2.0
"""A stream without a call for so long is ended: its audits are drawn, and it gets its certificate."""
GAP_S = 0.002
"""Between two feeds while calls are on their way. A guess: a tenth of what a call takes."""


@dataclass(slots=True)
class Call:
    """One call of a kernel, and whoever waits for it."""

    arguments: tuple[Any, ...]
    data: bytes
    future: Future[Any]

    @property
    def is_small(self) -> bool:
        """Whether its input may be one of a stream's."""
        return len(self.data) <= FED_BYTES_MAX

    def give(self, kernel: Kernel[Any], result: Result[Any]) -> None:
        """Settle its future."""
        if result.status != "ok":
            here_call = f"Kernel({str(kernel.file.folder)!r})({', '.join(map(repr, self.arguments))})"
            why = f"{result.status}: {result.why}"
            self.future.set_exception(ChunkFailed(result.chunk, self.arguments, why, result.reproduce or here_call))
            return
        try:
            value = result.value
        except Exception as error:  # `decode` is the program's own.
            self.future.set_exception(error)
        else:
            self.future.set_result(value)


class Streaming(Protocol):
    """A network, as streams see it. All but `loop` and `on_loop` is for its loop's thread."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    def on_loop(self, function: Callable[[], None]) -> None:
        """Call a function on the loop's thread, and wait until it returns.

        Raises:
            JobLeft: The network was left.
        """

    def open_stream(self, kernel: Kernel[Any]) -> Job[Any]: ...
    def feed(self, job: Job[Any], inputs: tuple[bytes, ...], *, ends: bool = False) -> None:
        """Give a stream further inputs: its next chunks."""

    def room(self, job: Job[Any]) -> int:
        """How many more inputs a stream takes; none once it has ended."""


class Streams:
    """The streams of one kernel at one network, one after the other.

    Args:
        on_job: Told each stream as it is opened.
    """

    def __init__(self, place: Streaming, kernel: Kernel[Any], on_job: Callable[[Job[Any]], None]) -> None:
        self._place = place
        self._kernel = kernel
        self._on_job = on_job
        self._lock = threading.Lock()
        self._waiting: list[Call] = []
        self._is_due = False
        """Whether `_feed` is going to look at what waits."""
        # What follows is the loop thread's own.
        self._batch: _Fed | None = None
        self._fed_at = 0.0
        self._idle: asyncio.TimerHandle | None = None

    def add(self, call: Call) -> None:
        """Have a call computed. From any thread.

        Raises:
            JobLeft: The network was left.
        """
        with self._lock:
            self._waiting.append(call)
            if self._is_due:
                return
            self._is_due = True
        try:
            self._place.loop.call_soon_threadsafe(self._feed)
        except RuntimeError:
            raise JobLeft("the network was left: make a new Network to go on") from None

    def cancel_waiting(self) -> None:
        """Cancel the futures of calls that were not fed yet. From any thread."""
        with self._lock:
            for call in self._waiting:
                call.future.cancel()

    def end(self) -> None:
        """Feed what waits, and no more: the stream is certified. From any thread; a network may have been left."""

        def end() -> None:
            self._feed(at_once=True)
            self._end()

        with suppress(JobLeft):
            self._place.on_loop(end)

    # ---- on the loop's thread

    def _feed(self, *, at_once: bool = False) -> None:
        loop = self._place.loop
        left_s = self._fed_at + GAP_S - loop.time()
        if not at_once and left_s > 0 and self._batch is not None and self._batch.is_busy:
            loop.call_later(left_s, self._feed)
            return
        with self._lock:
            waiting, self._waiting, self._is_due = self._waiting, [], False
        calls = [call for call in waiting if call.future.set_running_or_notify_cancel()]
        while calls:
            try:
                calls = calls[self._feed_some(calls) :]
            except Exception as error:
                for call in calls:
                    call.future.set_exception(error)
                return

    def _feed_some(self, calls: list[Call]) -> int:
        """Feed as many of these as the open stream takes, or a new one; how many."""
        loop = self._place.loop
        if self._batch is None or not self._place.room(self._batch.job):
            job = self._place.open_stream(self._kernel)
            self._batch = _Fed(self._kernel, job)
            self._on_job(job)
        batch = self._batch
        some = calls[: self._place.room(batch.job)]
        is_full = len(some) == self._place.room(batch.job)
        first = batch.job.chunks
        batch.take(first, some)
        try:
            self._place.feed(batch.job, tuple(call.data for call in some), ends=is_full)
        except Exception:
            batch.drop(first, len(some))
            self._batch = None  # Whatever is wrong with it, the next call has another one.
            raise
        self._fed_at = loop.time()
        if self._idle is not None:
            self._idle.cancel()
        self._idle = loop.call_later(IDLE_S, self._look)
        return len(some)

    def _look(self) -> None:
        """End the stream if nobody waits for anything."""
        if self._batch is not None and self._batch.is_busy:
            self._idle = self._place.loop.call_later(IDLE_S, self._look)
        else:
            self._end()

    def _end(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        batch, self._batch = self._batch, None
        if batch is not None and self._place.room(batch.job):
            self._place.feed(batch.job, (), ends=True)


class _Fed:
    """The futures of one stream."""

    def __init__(self, kernel: Kernel[Any], job: Job[Any]) -> None:
        self.job = job
        self._kernel = kernel
        self._calls: dict[int, Call] = {}
        job.on_result(self._settle)
        job.on_done(self._lost)

    @property
    def is_busy(self) -> bool:
        """Whether a call is on its way."""
        return bool(self._calls)

    def take(self, first: int, calls: list[Call]) -> None:
        self._calls.update(enumerate(calls, first))

    def drop(self, first: int, count: int) -> None:
        """These calls were not fed after all."""
        for chunk in range(first, first + count):
            self._calls.pop(chunk, None)

    def _settle(self, result: Result[Any]) -> None:
        call = self._calls.pop(result.chunk, None)
        if call is not None:  # Else it settled before, with a result that was taken back: a future cannot.
            call.give(self._kernel, result)

    def _lost(self) -> None:
        for result in self.job.results_so_far():
            self._settle(result)
        for call in [self._calls.pop(chunk) for chunk in list(self._calls)]:
            call.future.set_exception(JobLeft(f"the place was left before {self.job!r} was done"))
