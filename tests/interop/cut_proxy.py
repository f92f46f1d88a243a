"""A way to a server of this machine that a test can cut, for one peer while all others keep theirs.

    proxy = CutProxy(desk.port)
    node = place.node(proxy.join("network"), "alice")    everything of hers goes through it, a page's too
    proxy.cut()                                          for her the server is gone

It passes bytes on and knows nothing of what they mean. Its loop runs in a thread of its own, so that tests that drive
browsers can use it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, Self

from crowdcompute.protocol.join_link import JoinLink

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Coroutine

HOST = "127.0.0.1"
READ_BYTES = 64 * 1024
WITHIN_S = 60.0
"""Nothing here takes a tenth of it; it only keeps a broken test from waiting for ever."""


class CutProxy:
    """Passes connections on to a port of loopback until it is cut."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._connections: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._pass_on, HOST, 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"

    def join(self, network: str) -> str:
        """The join link of a network of the server behind; it is the same network as by the server's own link."""
        return str(JoinLink(self.url, network))

    def cut(self) -> None:
        """End every connection and refuse new ones. When this returns it is so."""
        self._do(self._cut())

    def close(self) -> None:
        """Cut, if it is not yet, and end the thread."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WITHIN_S)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WITHIN_S)

    async def _cut(self) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _pass_on(self, reader: StreamReader, writer: StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        ends = [writer]
        try:
            with contextlib.suppress(OSError):  # One end is gone, and with it the connection.
                from_server, to_server = await asyncio.open_connection(HOST, self._to_port)
                ends.append(to_server)
                await asyncio.gather(_copy(reader, to_server), _copy(from_server, writer))
        finally:
            self._connections.remove(connection)
            for end in ends:
                end.transport.abort()


async def _copy(source: StreamReader, target: StreamWriter) -> None:
    while data := await source.read(READ_BYTES):
        target.write(data)
        await target.drain()
    target.write_eof()
