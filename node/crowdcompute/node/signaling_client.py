"""Our side of the connection to a signaling server.

    CONNECTING --entered--> ENTERED --connection lost--> UNREACHABLE --back-off--> CONNECTING
        |                      |                              ^
        |                      '------- refused --------.     |
        '-- cannot connect, refused for now ------------+-----'
        '-- refused for good (same key elsewhere, not invited) --> REFUSED

Only new introductions need the server: links that exist do not notice when it dies.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import PeerId, peer_id_of
from crowdcompute.protocol.rendezvous import RendezvousConfig
from crowdcompute.protocol.signaling import (
    MESSAGE_BYTES_MAX,
    PEERS_MAX,
    Ask,
    Entered,
    FromClient,
    FromServer,
    Ice,
    IceServer,
    Peers,
    Refused,
    Relay,
    Relayed,
    Undeliverable,
    Welcome,
    enter,
    parse_from_server,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from crowdcompute.protocol.identity import Signer

log = logging.getLogger(__name__)

CONNECT_WITHIN_S = 10.0
BACK_OFF_S = (0.5, 30.0)
"""First and longest pause between attempts; it doubles, times a random 0.5 to 1.5 so that not all come at once."""

OUTGOING_MAX = 1_000
"""Messages waiting to be sent. More are dropped: the dials they belong to run into their timeout."""

# The server's default bucket; four fifths of it, because the two clocks differ and its refusal costs a reconnect.
_CAPS = RendezvousConfig()
_MESSAGES_PER_S = 0.8 * _CAPS.messages_per_s
_MESSAGES_BURST = 0.8 * _CAPS.messages_burst


class SignalingState(Enum):
    CONNECTING = "connecting"
    ENTERED = "entered"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class StateChanged:
    state: SignalingState
    detail: str
    """Why it is UNREACHABLE or REFUSED: one clause for a person."""


@dataclass(frozen=True, slots=True)
class PeersNamed:
    """The server names peers of our network. It may lie; a dial will tell."""

    peer_ids: tuple[PeerId, ...]


@dataclass(frozen=True, slots=True)
class SignalReceived:
    """Bytes somebody sent us through the server. Only the signature inside says who."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PeerAbsent:
    """A signal to this peer could not be delivered."""

    peer_id: PeerId


SignalingEvent: TypeAlias = StateChanged | PeersNamed | SignalReceived | PeerAbsent


class Signaling(Protocol):
    """What introduces us to strangers: a client of one server, or of all of a network."""

    @property
    def ice_servers(self) -> tuple[IceServer, ...]: ...

    async def run(self, on_event: Callable[[SignalingEvent], None]) -> None: ...

    def relay(self, to: bytes, signal: bytes) -> bool: ...

    def ask(self) -> bool: ...


class SignalingClient:
    """One client of one server, for one identity in one network. It reconnects by itself.

    `rng` spreads the reconnects; it need not be unpredictable.
    """

    def __init__(self, url: str, signer: Signer, network: str, rng: Random, invite: str = "") -> None:
        self._url = url
        self._signer = signer
        self._network = network
        self._rng = rng
        self._invite = invite
        self._outgoing: asyncio.Queue[FromClient] | None = None
        """None while not ENTERED."""
        self.state = SignalingState.CONNECTING
        self.clock_skew_s: float | None = None
        """The server's wall clock minus ours, once known. For a warning; no decision rests on a server's word."""
        self.ice_servers: tuple[IceServer, ...] = ()
        """What the server recommends, with credentials that it renews while we are ENTERED."""

    async def run(self, on_event: Callable[[SignalingEvent], None]) -> None:
        """Stay connected until cancelled, telling everything to `on_event`. Returns only when REFUSED for good."""
        first_s, longest_s = BACK_OFF_S
        pause_s = first_s
        while True:
            self._change(SignalingState.CONNECTING, "", on_event)
            try:
                refusal = await self._connection(on_event)
            except (OSError, WebSocketException, RemoteProtocolError) as error:
                detail = _plain(error)
            else:
                if refusal.code in ("replaced", "signature", "malformed", "invite"):
                    self._change(SignalingState.REFUSED, refusal.reason, on_event)
                    return
                detail = refusal.reason
            if self.state is SignalingState.ENTERED:
                pause_s = first_s
            self._change(SignalingState.UNREACHABLE, detail, on_event)
            await asyncio.sleep(pause_s * self._rng.uniform(0.5, 1.5))
            pause_s = min(2 * pause_s, longest_s)

    def relay(self, to: bytes, signal: bytes) -> bool:
        """Send a signal to the peer with this public key; False when we are not ENTERED or far behind."""
        return self._put(Relay(to, signal))

    def ask(self, count: int = PEERS_MAX) -> bool:
        """Ask for other peers, to be told by `PeersNamed`; False when we are not ENTERED or far behind."""
        return self._put(Ask(min(count, PEERS_MAX)))

    def _put(self, message: FromClient) -> bool:
        if self._outgoing is None or self._outgoing.qsize() >= OUTGOING_MAX:
            return False
        self._outgoing.put_nowait(message)
        return True

    async def _connection(self, on_event: Callable[[SignalingEvent], None]) -> Refused:
        """One connection, from its first byte until the server refuses us or (as an exception) it is lost."""
        async with connect(
            self._url,
            open_timeout=CONNECT_WITHIN_S,
            close_timeout=1,
            max_size=MESSAGE_BYTES_MAX,
            compression=None,
            # A proxy from the environment cannot reach this machine's own loopback.
            proxy=None if _is_loopback(self._url) else True,
        ) as websocket:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                welcome = await _receive(websocket)
                if isinstance(welcome, Refused):
                    return welcome
                if not isinstance(welcome, Welcome):
                    raise RemoteProtocolError("the server's first message is not a welcome")
                self.clock_skew_s = welcome.time_s - time.time()
                self.ice_servers = ()
                await websocket.send(encode(enter(self._signer, self._network, welcome.nonce, self._invite)))
            self._outgoing = asyncio.Queue()
            writer = asyncio.create_task(self._write(websocket, self._outgoing))
            try:
                while True:
                    match await _receive(websocket):
                        case Ice(servers):
                            self.ice_servers = servers
                        case Entered(peers):
                            self._change(SignalingState.ENTERED, "", on_event)
                            on_event(PeersNamed(tuple(map(peer_id_of, peers))))
                        case Peers(peers):
                            on_event(PeersNamed(tuple(map(peer_id_of, peers))))
                        case Relayed(_, signal):
                            on_event(SignalReceived(signal))
                        case Undeliverable(to):
                            on_event(PeerAbsent(peer_id_of(to)))
                        case Refused() as refusal:
                            return refusal
                        case Welcome():
                            raise RemoteProtocolError("the server sent a second welcome")
            finally:
                self._outgoing = None
                writer.cancel()

    async def _write(self, websocket: ClientConnection, outgoing: asyncio.Queue[FromClient]) -> None:
        """Send what is queued, never faster than the server's token bucket refills."""
        loop = asyncio.get_running_loop()
        tokens, refilled_at = _MESSAGES_BURST, loop.time()
        # A connection that is lost meanwhile ends the reader too, which reports it.
        with suppress(WebSocketException, OSError):
            while True:
                message = await outgoing.get()
                now = loop.time()
                tokens = min(_MESSAGES_BURST, tokens + (now - refilled_at) * _MESSAGES_PER_S) - 1
                refilled_at = now
                if tokens < 0:
                    await asyncio.sleep(-tokens / _MESSAGES_PER_S)
                await websocket.send(encode(message))

    def _change(self, state: SignalingState, detail: str, on_event: Callable[[SignalingEvent], None]) -> None:
        self.state = state
        log.info("signaling %s %s", state.value, detail)
        on_event(StateChanged(state, detail))


async def _receive(websocket: ClientConnection) -> FromServer:
    data = await websocket.recv()
    if isinstance(data, str):
        raise RemoteProtocolError("the server sent text")
    return parse_from_server(data)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _plain(error: Exception) -> str:
    """One clause for a person about a connection that failed."""
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_WITHIN_S:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, ConnectionClosed):
        return "the connection was lost"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
