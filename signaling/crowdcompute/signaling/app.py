"""FastAPI around `protocol.rendezvous`: sockets, the timer, a page and `/healthz`. It decides nothing.

One connection has one reader (the handler itself) and one writer task, joined by a queue, so that a client that reads
slowly delays nobody: when its queue holds too much it is cut off.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from random import SystemRandom
from typing import assert_never

from fastapi import FastAPI, WebSocket
from pydantic import BaseModel

from crowdcompute.protocol.rendezvous import (
    ClientConnected,
    ClientId,
    ClientLeft,
    Disconnect,
    Input,
    MessageReceived,
    Rendezvous,
    RendezvousConfig,
    Send,
    Woke,
)

from .accounts import serve_accounts
from .web import serve_page

OUTGOING_BYTES_MAX = 1024 * 1024
"""Bytes queued for one client: 40 of the longest signals. A client this far behind does not read any more."""

_POLICY_VIOLATION = 1008


class Health(BaseModel):
    """What `/healthz` tells: totals since the start, nothing about anybody."""

    status: str = "ok"
    peers: int
    networks: int
    relayed_messages: int
    relayed_bytes: int


class _Line:
    """The outgoing half of one connection."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._queue: asyncio.Queue[bytes | Disconnect] = asyncio.Queue()
        self._queued_bytes = 0
        self._handler = asyncio.current_task()
        self.is_overrun = False

    def put(self, data: bytes) -> None:
        self._queued_bytes += len(data)
        self._queue.put_nowait(data)
        if self._queued_bytes > OUTGOING_BYTES_MAX and not self.is_overrun:
            self.is_overrun = True
            assert self._handler is not None
            self._handler.cancel()

    def hang_up(self, disconnect: Disconnect) -> None:
        self._queue.put_nowait(disconnect)

    async def write(self) -> None:
        """Send what is queued, in order, until told to hang up or the connection is gone."""
        # Starlette and uvicorn report a connection that closed meanwhile in three ways; the reader sees it as well.
        with suppress(RuntimeError, OSError):
            while True:
                item = await self._queue.get()
                if isinstance(item, Disconnect):
                    await self._websocket.close(_POLICY_VIOLATION, item.reason[:100])
                    return
                await self._websocket.send_bytes(item)
                self._queued_bytes -= len(item)


class Switchboard:
    """Feeds the rendezvous, performs what it returns, keeps its timer."""

    def __init__(self, config: RendezvousConfig) -> None:
        self._rendezvous = Rendezvous(config, SystemRandom())
        self._lines: dict[ClientId, _Line] = {}
        self._ids = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None

    async def serve(self, websocket: WebSocket) -> None:
        """One client, from its connection to its end."""
        await websocket.accept()
        client, line = ClientId(next(self._ids)), _Line(websocket)
        self._lines[client] = line
        writer = asyncio.create_task(line.write())
        try:
            address = websocket.client.host if websocket.client is not None else ""
            self._feed(ClientConnected(client, address, time.time()))
            while (message := await websocket.receive())["type"] != "websocket.disconnect":
                # A text message has no bytes: it is refused like an empty one.
                self._feed(MessageReceived(client, message.get("bytes") or b""))
        except asyncio.CancelledError:
            # Cancelled by its own line, the handler returns and uvicorn drops the connection.
            if not line.is_overrun:
                raise
        finally:
            del self._lines[client]
            self._feed(ClientLeft(client))
            writer.cancel()

    def health(self) -> Health:
        rules = self._rendezvous
        return Health(
            peers=rules.peers,
            networks=rules.networks,
            relayed_messages=rules.relayed_messages,
            relayed_bytes=rules.relayed_bytes,
        )

    def _feed(self, event: Input) -> None:
        loop = asyncio.get_running_loop()
        for output in self._rendezvous.handle(event, now=loop.time()):
            # A client may have gone while its `ClientLeft` waits its turn.
            line = self._lines.get(output.client)
            if line is None:
                continue
            match output:
                case Send(_, data):
                    line.put(data)
                case Disconnect():
                    line.hang_up(output)
                case _:
                    assert_never(output)
        if self._timer is not None:
            self._timer.cancel()
        wake_at = self._rendezvous.wake_at
        self._timer = None if wake_at is None else loop.call_at(wake_at, self._feed, Woke())


def create_app(config: RendezvousConfig, also: Sequence[str] = (), origins: Collection[str] = ()) -> FastAPI:
    """The ASGI application. Everything it knows is in memory and gone with it.

    `origins` are what devices may call this server when they log in.
    """
    app = FastAPI(title="CrowdCompute signaling", docs_url=None, redoc_url=None, openapi_url=None)
    switchboard = Switchboard(config)

    @app.get("/healthz")
    async def healthz() -> Health:
        return switchboard.health()

    @app.websocket("/ws")
    async def ws(websocket: WebSocket) -> None:
        await switchboard.serve(websocket)

    serve_accounts(app, origins)
    serve_page(app, also=also)
    return app
