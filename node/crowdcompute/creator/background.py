"""An event loop in a thread of its own, and a thread that hands out what happens there.

    the program's threads --call--> loop thread --tell--> delivery thread --> futures, callbacks, iterators

Callbacks of the program never run on the loop's thread: one that takes long delays the next one, and not the network.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

Main: TypeAlias = "Callable[[Callable[[], None], asyncio.Event], Coroutine[Any, Any, None]]"
"""`main(ready, stop)`: calls `ready` once whoever waits may go on, and returns soon after `stop` is set."""


class Background:
    """Runs `main(ready, stop)` until `close`, or until it raises."""

    def __init__(self, name: str, main: Main) -> None:
        """Start it, and return once it has called `ready`.

        Raises:
            Exception: What `main` raised before that.
        """
        self.loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._main = main
        self._ready: Future[None] = Future()
        self._told: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.failure: BaseException | None = None
        self._loop_thread = threading.Thread(target=self._run, name=f"crowdcompute {name}", daemon=True)
        self._delivery = threading.Thread(target=self._deliver, name=f"crowdcompute {name} results", daemon=True)
        self._loop_thread.start()
        self._delivery.start()
        try:
            self._ready.result()
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        return self._loop_thread.is_alive()

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a function on the loop's thread and return what it returns.

        Raises:
            RuntimeError: The loop has ended.
        """
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(function(*arguments))
            except BaseException as error:
                answer.set_exception(error)

        self.loop.call_soon_threadsafe(run)  # RuntimeError: the loop is closed
        return answer.result()

    def tell(self, call: Callable[[], None]) -> None:
        """Have `call` called on the delivery thread, after everything told before."""
        self._told.put(call)

    def close(self) -> None:
        """End `main`, and wait until everything that was told is delivered."""
        with suppress(RuntimeError):  # The loop has ended by itself.
            self.loop.call_soon_threadsafe(self._stop.set)
        self._loop_thread.join()
        self._told.put(None)
        if threading.current_thread() is not self._delivery:
            self._delivery.join()

    def _run(self) -> None:
        async def run() -> None:
            self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            await self._main(lambda: self._ready.set_result(None), self._stop)

        try:
            _run_loop(run())
        except BaseException as error:
            self.failure = error
            if not self._ready.done():
                self._ready.set_exception(error)

    def _deliver(self) -> None:
        while (call := self._told.get()) is not None:
            call()


def _run_loop(main: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)
