"""Fetches what tasks name, in the node itself and never in the sandbox (protocol/spec/permissions.md, "Fetching").

    an address --resolve--> IP addresses --public ones only--> connected --GET--> 200 and all of its bytes: the result
                                '--none--> no result               '--anything else, too late, too large--> no result

What is connected to is the very address that was looked at: a name that means something else a moment later gains
nothing. Nothing of this machine goes out but the request: no cookies, no credentials, no proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

import h11

from crowdcompute.protocol.events import ChunkOutcome, Status
from crowdcompute.protocol.permissions import FETCH_RULES, is_address

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from crowdcompute.node.runtime import Executor
    from crowdcompute.protocol.events import ChunkInput
    from crowdcompute.protocol.manifest import Limits, Runtime

    from .slot import Savepoints

    Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]

AT_ONCE = 4
"""Connections at the same time: as many as a careful crawler has. A guess."""
PER_MINUTE = 120
SECONDS_MAX = 60.0
"""One address, from its name to its last byte, however long a task would wait."""
HEAD_BYTES_MAX = 16 * 1024
"""Headers of one answer."""
ADDRESSES_TRIED = 3
"""Of one host: one of each kind, and one more."""
READ_BYTES = 64 * 1024
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
"""IPv6 addresses that a gateway translates to IPv4 ones, private ones perhaps."""


class _NotFetchedError(Exception):
    """There is nothing to vote on. The message is one sentence, without a word of the server's."""


class FetchingExecutor:
    """Fetches the chunks of tasks that fetch, and leaves all others to `executor`.

    Args:
        loopback: Connect to this machine, too. For tests.
        resolve: Gives the IP addresses of a host.
        tls: Whom to believe that a server is who it says.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        per_minute: float = PER_MINUTE,
        loopback: bool = False,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._executor = executor
        self._gap_s = 60.0 / per_minute
        self._loopback = loopback
        self._resolve = resolve or _resolved
        self._tls = tls
        self._next_at = 0.0
        self._room = asyncio.Semaphore(AT_ONCE)

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
        """Outcomes in the order of `chunks`; of an address that gives nothing, why not."""
        if runtime != "net":
            return await self._executor.execute(code, module, limits, numbers, chunks, runtime, savepoints, began)
        if module != FETCH_RULES:
            return tuple(_none(chunk, "these are no rules that this node knows") for chunk in chunks)
        return tuple(await asyncio.gather(*(self._fetched(chunk, limits) for chunk in chunks)))

    async def _fetched(self, chunk: ChunkInput, limits: Limits) -> ChunkOutcome:
        loop = asyncio.get_running_loop()
        async with self._room:
            at = max(loop.time(), self._next_at)
            self._next_at = at + self._gap_s
            await asyncio.sleep(at - loop.time())
            seconds = min(limits.seconds, SECONDS_MAX)
            try:
                async with asyncio.timeout(seconds):
                    body = await self._get(chunk.data.decode("ascii", "replace"), limits.output_bytes)
            except _NotFetchedError as reason:
                return _none(chunk, str(reason))
            except TimeoutError:
                return _none(chunk, f"the server takes longer than {seconds:g} s")
            except (OSError, UnicodeError):
                return _none(chunk, "the server cannot be reached")
        return ChunkOutcome(chunk.chunk, Status.OK, body)

    async def _get(self, address: str, bytes_max: int) -> bytes:
        if not is_address(address):
            raise _NotFetchedError("this is no address that may be fetched")
        parts = urlsplit(address)
        host, is_secure = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if is_secure else 80)
        found = [each for each in await self._resolve(host, port) if self._may_connect(each)]
        if not found:
            raise _NotFetchedError("the address leads into a private network")
        if is_secure and self._tls is None:
            self._tls = ssl.create_default_context()
        reader, writer = await _connected(found[:ADDRESSES_TRIED], port, self._tls if is_secure else None, host)
        try:
            target = parts.path + (f"?{parts.query}" if parts.query or address.endswith("?") else "")
            return await _exchange(reader, writer, parts.netloc, target, bytes_max)
        except h11.ProtocolError:
            raise _NotFetchedError("the server does not speak HTTP, or breaks off") from None
        finally:
            writer.transport.abort()

    def _may_connect(self, ip: str) -> bool:
        address = ipaddress.ip_address(ip.partition("%")[0])
        return is_public(address) or (self._loopback and address.is_loopback)


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is one of the whole internet's, and neither leads nor is translated to one that is not."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.sixtofour is not None or address.teredo is not None or any(address in each for each in _TRANSLATED):
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


async def _resolved(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


async def _connected(
    found: Sequence[str], port: int, tls: ssl.SSLContext | None, host: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first of these addresses that takes one."""
    for ip in found[:-1]:
        with contextlib.suppress(OSError):
            return await asyncio.open_connection(ip, port, ssl=tls, server_hostname=host if tls else None)
    return await asyncio.open_connection(found[-1], port, ssl=tls, server_hostname=host if tls else None)


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, target: str, bytes_max: int
) -> bytes:
    """One request, and the body of its answer if that is 200."""
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
    headers = [("Host", host), ("User-Agent", "crowdcompute"), ("Accept", "*/*"), ("Accept-Encoding", "identity")]
    request = h11.Request(method="GET", target=target, headers=[*headers, ("Connection", "close")])
    writer.write((http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b""))
    body = bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(READ_BYTES))
        elif isinstance(event, h11.Response):
            _check_head(event, bytes_max)
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > bytes_max:
                raise _NotFetchedError(f"the answer is larger than {bytes_max} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return bytes(body)


def _check_head(head: h11.Response, bytes_max: int) -> None:
    if 300 <= head.status_code < 400:
        raise _NotFetchedError("the server sends elsewhere: name the address that it sends to")
    if head.status_code != 200:
        raise _NotFetchedError(f"the server answers {head.status_code}")
    said = {name: value for name, value in head.headers if name in (b"content-length", b"transfer-encoding")}
    if not said:
        # Where the answer ends with the connection, nobody can tell whether all of it came.
        raise _NotFetchedError("the server does not say how long its answer is")
    with contextlib.suppress(ValueError):
        if int(said.get(b"content-length", b"0")) > bytes_max:
            raise _NotFetchedError(f"the answer is larger than {bytes_max} bytes")


def _none(chunk: ChunkInput, reason: str) -> ChunkOutcome:
    return ChunkOutcome(chunk.chunk, Status.NO_RESULT, b"", f"fetch: {reason}")
