"""The same for asyncio programs: a network, jobs and calls that are awaited.

async with AsyncClient("http://127.0.0.1:8765/j#n=main") as client:
    async for value in client.map(kernel, range(100)):
        ...
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .executor import Executor
from .places import Network

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path
    from types import TracebackType

    from .jobs import Certificate, Job, Progress, Result
    from .kernel import Kernel
    from .places import Place
    from .task import Task

T = TypeVar("T")


class AsyncClient:
    """A creator on a network, for one event loop."""

    def __init__(self, place: Place | str | None = None) -> None:
        """As `Executor`: a place that stays open, or a join link (`CC_LINK` if nothing is given)."""
        self._asked = place
        self._place: Place
        self._executor: Executor

    async def __aenter__(self) -> AsyncClient:
        asked = self._asked
        self._place = await asyncio.to_thread(Network, asked) if asked is None or isinstance(asked, str) else asked
        self._executor = Executor(self._place)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # After an error nobody waits for certificates: the jobs go on, and can be picked up.
        await asyncio.to_thread(self._executor.shutdown, error is None)
        if self._place is not self._asked:
            await asyncio.to_thread(self._place.close)

    async def submit(self, kernel: Kernel[T], *arguments: Any) -> T:
        """One call."""
        return await asyncio.wrap_future(self._executor.submit(kernel, *arguments))

    async def map(self, kernel: Kernel[T], *iterables: Iterable[Any]) -> AsyncIterator[T]:
        """All calls as one task; values in the order of the arguments."""
        futures = [self._executor.submit(kernel, *arguments) for arguments in zip(*iterables, strict=False)]
        await asyncio.to_thread(self._executor.flush)
        for future in futures:
            yield await asyncio.wrap_future(future)

    async def publish(self, task: Task[T]) -> AsyncJob[T]:
        """Sign a task and hand it to volunteers."""
        return AsyncJob(await asyncio.to_thread(self._place.publish, task))

    async def job(self, job_id: str, *, decode: Callable[[bytes], Any] = bytes) -> AsyncJob[Any]:
        """A job published before, by its id or the first digits of it.

        Raises:
            TypeError: This place forgets its jobs.
        """
        if not isinstance(self._place, Network):
            raise TypeError("only a Network remembers jobs: this place computes on this machine")
        network = self._place
        return AsyncJob(await asyncio.to_thread(lambda: network.job(job_id, decode=decode)))


class AsyncJob(Generic[T]):
    """A published task."""

    def __init__(self, job: Job[T]) -> None:
        self.job = job
        self.id = job.id

    async def results(self) -> AsyncIterator[Result[T]]:
        """Every result as it comes; `Job.results` says when one comes again."""
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Any]()

        def tell(result: Result[T] | None) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, result)

        await asyncio.to_thread(self.job.on_result, tell)
        self.job.on_done(lambda: tell(None))
        settled: set[int] = set()
        while len(settled) < self.job.chunks and (result := await queue.get()) is not None:
            settled.add(result.chunk)
            yield result

    async def wait(self) -> Certificate | None:
        """As `Job.wait`."""
        return await asyncio.to_thread(self.job.wait)

    async def cancel(self) -> None:
        """As `Job.cancel`."""
        await asyncio.to_thread(self.job.cancel)

    async def progress(self) -> Progress:
        """As `Job.progress`."""
        return await asyncio.to_thread(self.job.progress)

    async def export(self, folder: str | Path) -> int:
        """As `Job.export`."""
        return await asyncio.to_thread(self.job.export, folder)
