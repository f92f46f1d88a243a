"""How others reach this machine: STUN, TURN, and what kind of NAT it is behind.

A STUN server says from which public address a packet came. Asking several of them from one socket shows the NAT's kind:
if all see the same address, whoever is told that address can reach us; if each sees another, only a relay helps.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ifaddr
from aioice import stun, turn

from .findings import Finding, bad, good, note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crowdcompute.protocol.signaling import IceServer

Address = tuple[str, int]

ANSWER_WITHIN_S = 5.0
"""Far more than the farthest server needs; a dial itself waits only one second (aiortc_patches)."""
ASK_AGAIN_S = 0.5
DEFAULT_PORTS = {"stun": 3478, "turn": 3478, "stuns": 5349, "turns": 5349}


@dataclass(frozen=True, slots=True)
class Server:
    """An ICE server's URL, taken apart."""

    scheme: str
    host: str
    port: int
    transport: str
    username: str
    credential: str

    @classmethod
    def of(cls, server: IceServer) -> Server:
        scheme, _, rest = server.url.partition(":")
        rest, _, query = rest.partition("?transport=")
        host, _, port = rest.partition(":")
        transport = query or ("tcp" if scheme.endswith("s") else "udp")
        port_number = int(port) if port else DEFAULT_PORTS[scheme]
        return cls(scheme, host, port_number, transport, server.username, server.credential)

    @property
    def relays(self) -> bool:
        return self.scheme.startswith("turn")

    @property
    def answers_binding(self) -> bool:
        """Whether it can be asked over plain UDP for our address: TURN servers can be, too."""
        return self.transport == "udp" and not self.scheme.endswith("s")


@dataclass(frozen=True, slots=True)
class Mappings:
    """From where each server that answered saw one and the same socket."""

    asked: int
    seen: dict[Address, Address]
    """By server."""
    local: frozenset[str]
    """Addresses of this machine."""


async def mappings(servers: Sequence[Server], host: str = "0.0.0.0") -> Mappings:
    """Ask every STUN server, from one socket bound to `host`, how it sees us."""
    loop = asyncio.get_running_loop()
    asked = [server for server in servers if server.answers_binding]
    local = frozenset(str(ip.ip) for adapter in ifaddr.get_adapters() for ip in adapter.ips) | {"127.0.0.1"}
    addresses = {address for server in asked for address in await _resolved(server)}
    if not addresses:
        return Mappings(len(asked), {}, local)
    transport, asker = await loop.create_datagram_endpoint(_Asker, local_addr=(host, 0))
    try:
        answers = await asyncio.gather(*(asker.ask(address) for address in addresses))
    finally:
        transport.close()
    return Mappings(len(asked), {server: seen for server, seen in zip(addresses, answers, strict=True) if seen}, local)


async def _resolved(server: Server) -> tuple[Address, ...]:
    """Its IPv4 address: IPv6 has no NAT to find out about."""
    loop = asyncio.get_running_loop()
    found = []
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(ANSWER_WITHIN_S):
            found = await loop.getaddrinfo(server.host, server.port, family=socket.AF_INET, type=socket.SOCK_DGRAM)
    return tuple((str(address[4][0]), server.port) for address in found[:1])


class _Asker(asyncio.DatagramProtocol):
    """One socket that asks STUN servers for its own address."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, asyncio.Future[Address]] = {}

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.DatagramTransport = transport

    async def ask(self, server: Address) -> Address | None:
        """What the server says, or None if it does not answer."""
        request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
        answer: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
        self._waiting[request.transaction_id] = answer
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_WITHIN_S):
                while not answer.done():
                    self._transport.sendto(bytes(request), server)
                    await asyncio.wait({answer}, timeout=ASK_AGAIN_S)
                return answer.result()
        return None

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        try:
            message = stun.parse_message(data)
        except ValueError:
            return
        waiting = self._waiting.get(message.transaction_id)
        seen = message.attributes.get("XOR-MAPPED-ADDRESS") or message.attributes.get("MAPPED-ADDRESS")
        if waiting is not None and not waiting.done() and seen is not None:
            waiting.set_result((seen[0], seen[1]))

    def error_received(self, exc: Exception) -> None:
        """An address nobody listens at: no answer will come, which `ask` notices by itself."""


UNKNOWN = "Unknown: the signaling server would say, and did not get to."


def stun_found(servers: Sequence[Server] | None, found: Mappings) -> Finding:
    """What the STUN servers of a network said; None is a network that could not be asked for its servers."""
    if servers is None:
        return note(UNKNOWN)
    if not any(server.scheme.startswith("stun") for server in servers):
        return note("This network names no STUN server: peers of one local network connect, others may not.")
    if not found.seen:
        return bad(
            f"None of {found.asked} STUN server{'s' if found.asked != 1 else ''} answers: a firewall drops UDP, or "
            "the signaling server's --stun names one that is gone. Only the local network can be reached."
        )
    if len(found.seen) < found.asked:
        return good(f"{len(found.seen)} of {found.asked} STUN servers say how others see this machine.")
    return good("The STUN servers say how others see this machine, so UDP leaves it and comes back.")


def nat_found(servers: Sequence[Server] | None, found: Mappings) -> Finding:
    """What several servers seeing one socket say about the NAT before it."""
    if not found.seen:
        return note("Unknown: that takes a STUN server that answers.")
    if {address for address, _ in found.seen.values()} <= found.local:
        return good("None: others see this machine at an address of its own.")
    if len(found.seen) == 1:
        return note("There is one; with a single STUN server its kind cannot be told (cc-signaling serve takes more).")
    if len(set(found.seen.values())) == 1:
        return good("There is one that keeps one address for everybody: other peers can connect through it.")
    if any(server.relays for server in servers or ()):
        return note("It gives each connection another address (symmetric), so links may have to go through TURN.")
    return bad(
        "It gives each connection another address (symmetric), so most others cannot connect: ask whoever runs the "
        "signaling server for a TURN server (--turn), or use another access to the internet."
    )


async def turn_found(servers: Sequence[Server] | None) -> Finding:
    """Ask every TURN server for an allocation, with the credentials the signaling server made for us."""
    if servers is None:
        return note(UNKNOWN)
    relays = [server for server in servers if server.relays]
    if not relays:
        return note("This network names no TURN server: where both ends are behind strict firewalls, no link is made.")
    refusals = [reason for reason in await asyncio.gather(*map(_refusal, relays)) if reason]
    if not refusals:
        return good("A TURN server relays for this machine, so strict firewalls are no obstacle.")
    if len(refusals) < len(relays):
        return good(f"{len(relays) - len(refusals)} of {len(relays)} TURN servers relay for this machine.")
    return bad(f"No TURN server relays for this machine: {refusals[0]}.")


async def _refusal(server: Server) -> str:
    """Why it does not relay for us; empty when it does."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            transport, _ = await turn.create_turn_endpoint(
                asyncio.DatagramProtocol,
                server_addr=(server.host, server.port),
                username=server.username,
                password=server.credential,
                ssl=server.scheme == "turns",
                transport=server.transport,
            )
    except TimeoutError:
        return f"it does not answer within {ANSWER_WITHIN_S:g} s"
    except stun.TransactionFailed as refused:
        code, reason = refused.response.attributes.get("ERROR-CODE", (0, "no reason given"))
        if code == 401:
            return (
                "it refuses the credentials: --turn-secret of cc-signaling must be its static-auth-secret, and both "
                "clocks must be right"
            )
        return f"it refuses ({reason})"
    except (OSError, stun.TransactionError) as error:
        return f"it cannot be reached ({getattr(error, 'strerror', None) or error})"
    transport.close()
    return ""
