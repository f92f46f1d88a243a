"""`concurrent.futures.Executor` over volunteers: what accepts an executor accepts this one.

    submit --> gathered for a moment --> one task of many chunks --> futures settle as chunks do
                    '--two tasks of the kernel are on their way: until one of them is back, or 50 ms are over

A task's chunks are fixed when it is signed, so calls are gathered: all of one `map`, or those submitted one after the
other without a pause. Whoever submits a call for each result would otherwise have a task for each: those that come
while others are on their way share one, the more the busier it is. The futures are the standard library's own.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Executor as StandardExecutor
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from .calls import Call, Streams
from .dask_graph import calls_of
from .jobs import JobLeft
from .kernel import Kernel, NotPortable, kernel_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .jobs import Job, Result
    from .places import Place

P = ParamSpec("P")
T = TypeVar("T")

PAUSE_S = 0.0005
"""A call shares a task with those that follow it sooner than this: a program that submits in a loop takes a tenth of it
from one call to the next."""
LINGER_S = 0.05
"""How long a call waits at most while others keep coming, or are on their way."""
TASKS_AT_ONCE = 2
"""Tasks of one kernel on their way while further calls are gathered: one is computed while another travels."""
BATCH_CALLS = 65_536
"""Calls of one task at most: 16 shards."""
THREADS_HERE = 4
"""For functions that run in this process (`here`)."""


class here(Generic[P, T]):
    """Marks a Python function to be run in this process: it never leaves it, and nobody votes on what it returns.

    A class that reads like a function: `submit(here(sum), parts)`.
    """

    def __init__(self, function: Callable[P, T]) -> None:
        self.function = function
        self.__name__ = getattr(function, "__name__", "here")

    def __call__(self, *arguments: P.args, **named: P.kwargs) -> T:
        return self.function(*arguments, **named)


class Executor(StandardExecutor):
    """Calls of kernels, computed by volunteers and verified by votes."""

    def __init__(self, place: Place | str | None = None, *, certified: bool = False) -> None:
        """Compute at `place`.

        Args:
            place: A `Network` or `ThisMachine`, which stays open; or a join link (`CC_LINK` if nothing is given),
                whose network is left by `shutdown`.
            certified: Futures settle when their task has its certificate, not as soon as a result's votes agree.

        Raises:
            CommandError: The network cannot be joined.
        """
        self._owns_place = place is None or isinstance(place, str)
        if place is None or isinstance(place, str):
            from .places import Network

            place = Network(place)
        self._place = place
        self._certified = certified
        self._lock = threading.RLock()
        self._waiting: dict[Kernel[Any], list[Call]] = {}
        self._streams: dict[Kernel[Any], Streams | None] = {}
        self._submitted = 0
        self._came = threading.Condition(self._lock)
        self._back = threading.Condition(self._lock)
        self._on_their_way: dict[Kernel[Any], int] = {}
        """Tasks of each kernel that have not given all results."""
        self._gatherer: threading.Thread | None = None
        self._corks = 0
        self._shut = False
        self._threads = ThreadPoolExecutor(THREADS_HERE, thread_name_prefix="crowdcompute here")
        self.jobs: list[Job[Any]] = []
        """The tasks published so far, the oldest first: their certificates are here, and `cancel`."""
        self._max_workers = BATCH_CALLS  # What dask asks an executor for: it submits so many calls at a time.

    def __enter__(self) -> Executor:
        return self

    # ---- the standard interface

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a kernel called with these arguments by volunteers.

        A call that gives no result makes its future raise `ChunkFailed`, which says why and how to see it here.

        Raises:
            NotPortable: `fn` is Python, or an argument cannot travel. The sentence says what to do instead.
            RuntimeError: This executor was shut down.
        """
        with self._lock:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if isinstance(fn, here):
                return self._threads.submit(fn, *args, **kwargs)
            glue = calls_of(fn, args)
            if glue is not None:
                return glue(self)
            kernel = kernel_of(fn)
            if kwargs:
                raise NotPortable(f"{kernel!r} takes arguments by position, not by name ({', '.join(kwargs)})")
            call = Call(args, kernel.encode(*args), Future())
            stream = self._stream(kernel) if call.is_small and not self._corks else None
            if stream is not None:
                stream.add(call)
                return call.future
            calls = self._waiting.setdefault(kernel, [])
            calls.append(call)
            self._submitted += 1
            if len(calls) >= BATCH_CALLS:
                self._publish(kernel)
            elif self._gatherer is None:
                self._gatherer = threading.Thread(target=self._gather, name="crowdcompute calls", daemon=True)
                self._gatherer.start()
            else:
                self._came.notify()
            return call.future

    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[T]:
        """As the standard library's; all calls become one task. `chunksize` is ignored: a call is a chunk."""
        with self._lock:
            self._corks += 1
        try:
            results = super().map(fn, *iterables, timeout=timeout)
        finally:
            with self._lock:
                self._corks -= 1
            self.flush()
        return results

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. With `wait`, return when every task has its certificate; else volunteers go on alone."""
        with self._lock:
            self._shut = True
            self._came.notify()
            self._back.notify()
            if cancel_futures:
                for calls in self._waiting.values():
                    for call in calls:
                        call.future.cancel()
        streams = [stream for stream in self._streams.values() if stream is not None]
        for stream in streams:
            if cancel_futures:
                stream.cancel_waiting()
            stream.end()
        self.flush()
        if cancel_futures:
            for job in self.jobs:
                if not job.done:
                    job.cancel()
        if wait:
            for job in self.jobs:
                job.wait()
        self._threads.shutdown(wait=wait)
        if self._owns_place:
            self._place.close()

    # ---- besides

    def flush(self) -> None:
        """Publish at once what was submitted so far."""
        with self._lock:
            for kernel in list(self._waiting):
                self._publish(kernel)

    def _stream(self, kernel: Kernel[Any]) -> Streams | None:
        """Where calls of a kernel go one by one; None where a group of them is a task of its own."""
        if kernel not in self._streams:
            self._streams[kernel] = None if self._certified else self._place.calls(kernel, self.jobs.append)
        return self._streams[kernel]

    def _gather(self) -> None:
        """Publish what was submitted as soon as nothing more comes."""
        while True:
            with self._lock:
                while not self._shut and (not self._waiting or self._corks):
                    self._came.wait()
                if self._shut:
                    return  # `shutdown` publishes the rest.
                began = time.monotonic()
                while self._is_busy() and (left_s := began + LINGER_S - time.monotonic()) > 0:
                    self._back.wait(left_s)
            seen = -1
            while seen != self._submitted and time.monotonic() < began + LINGER_S:
                seen = self._submitted
                time.sleep(PAUSE_S)
            with self._lock:
                if not self._corks:
                    self.flush()

    def _is_busy(self) -> bool:
        """Whether calls of what waits are on their way, as many as are worth it."""
        return not self._shut and all(self._on_their_way.get(kernel, 0) >= TASKS_AT_ONCE for kernel in self._waiting)

    def _publish(self, kernel: Kernel[Any]) -> None:
        calls = [call for call in self._waiting.pop(kernel) if call.future.set_running_or_notify_cancel()]
        if not calls:
            return
        try:
            job = self._place.publish(kernel.task([call.data for call in calls]))
        except Exception as error:
            for call in calls:
                call.future.set_exception(error)
            return
        self.jobs.append(job)
        self._on_their_way[kernel] = self._on_their_way.get(kernel, 0) + 1
        _Batch(kernel, calls, job, lambda: self._is_back(kernel), certified=self._certified)

    def _is_back(self, kernel: Kernel[Any]) -> None:
        with self._lock:
            self._on_their_way[kernel] -= 1
            if not self._on_their_way[kernel]:
                del self._on_their_way[kernel]
            self._back.notify()


class _Batch:
    """The futures of one task."""

    def __init__(
        self, kernel: Kernel[Any], calls: list[Call], job: Job[Any], on_all: Callable[[], None], *, certified: bool
    ) -> None:
        self._kernel = kernel
        self._calls: dict[int, Call] = dict(enumerate(calls))
        self._job = job
        self._on_all = on_all
        if not certified:
            job.on_result(self._settle)
        job.on_done(self._end)

    def _settle(self, result: Result[Any]) -> None:
        call = self._calls.pop(result.chunk, None)
        if call is None:
            return  # It settled before, with a result that was taken back: a future cannot.
        call.give(self._kernel, result)
        if not self._calls:
            self._on_all()

    def _end(self) -> None:
        for result in self._job.results_so_far():
            self._settle(result)
        if not self._calls:
            return
        left, self._calls = self._calls, {}
        self._on_all()
        for call in left.values():
            call.future.set_exception(JobLeft(f"the place was left before {self._job!r} was done"))


def gathered(futures: list[Future[Any]], combine: Callable[[list[Future[Any]]], Any]) -> Future[Any]:
    """One future over several: `combine` makes its result once all are done."""
    whole: Future[Any] = Future()
    whole.set_running_or_notify_cancel()
    left = threading.Lock()
    count = len(futures)

    def finished(_: Future[Any]) -> None:
        nonlocal count
        with left:
            count -= 1
            if count:
                return
        try:
            whole.set_result(combine(futures))
        except BaseException as error:
            whole.set_exception(error)

    for future in futures:
        future.add_done_callback(finished)
    return whole
