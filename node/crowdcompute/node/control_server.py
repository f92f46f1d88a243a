"""Answer the commands that control.py sends to a running node."""

from __future__ import annotations

import asyncio
import json
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .control import LINE_BYTES_MAX, SCHEMA, ControlError, address_of, open_socket

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    Handler = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
    """Given a command and its arguments, the answer as JSON values; a `ControlError` becomes the asker's."""

GRACE_S = 2.0
"""How long answers being worked on may take once the server closes: `stop` itself is one of them."""


class ControlServer:
    """The node's end of the control socket, as an async context manager.

    Every connection is answered in order, request by request; connections do not wait for each other. A bug in the
    handler ends that connection and goes to the event loop's exception handler.
    """

    def __init__(self, path: Path, handler: Handler) -> None:
        """The caller holds the folder's lock (lock.py), so a socket file already at `path` is a dead node's."""
        self._path = path
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._answering: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> ControlServer:
        """Listen.

        Raises:
            ControlError: The path is no place for a socket.
        """
        listener = _listener(self._path)
        self._server = await asyncio.start_unix_server(self._converse, sock=listener, limit=LINE_BYTES_MAX)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the answers being worked on, hang up, and remove the socket."""
        assert self._server is not None
        self._server.close()
        self._path.unlink(missing_ok=True)
        if self._answering:
            await asyncio.wait(self._answering, timeout=GRACE_S)
        for late in self._answering:
            late.cancel()
        # Hung up on, the others stop by themselves; asyncio would report a cancelled one as an error.
        for writer in self._connections.values():
            writer.close()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            while line := await _next_line(reader):
                self._answering.add(task)
                answer = await self._answer(line)
                writer.write(json.dumps({"schema": SCHEMA, **answer}).encode() + b"\n")
                self._answering.discard(task)
                with suppress(ConnectionError):  # The asker went away; reading tells us so as well.
                    await writer.drain()
        finally:
            self._answering.discard(task)
            del self._connections[task]
            writer.close()

    async def _answer(self, line: bytes) -> Mapping[str, Any]:
        try:
            request = json.loads(line)
            command = request.pop("command")
            if not isinstance(command, str):
                raise TypeError
        except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
            return {"error": 'a request is one JSON object a line, such as {"command": "status"}'}
        try:
            return await self._handler(command, request)
        except ControlError as error:
            return {"error": str(error)}


def _listener(path: Path) -> socket.socket:
    address = address_of(path)
    listener = open_socket()
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
        listener.bind(address)
        # Before anybody listens, so that nobody can connect while the mode is still what umask left.
        path.chmod(0o600)
    except OSError as error:
        listener.close()
        raise ControlError(
            f"the control socket {path} cannot be made ({error.strerror}): make its folder writable, "
            "remove what stands there, or set CC_HOME to another folder"
        ) from error
    return listener


async def _next_line(reader: asyncio.StreamReader) -> bytes:
    """The next request, or nothing once the asker has hung up or sends a line without end."""
    try:
        return await reader.readline()
    except (ValueError, ConnectionError):
        return b""
