"""The signaling server's rules, without its sockets (spec/signaling.md).

One client's life. Whatever is not on the picture is answered with `Refused` and a disconnect:

    connected --Welcome--> WAITING --Enter--> ENTERED --Ask, Relay, credentials half used up--> ENTERED
                              |                  |
                              '--late, refused---'--left, replaced, refused--> gone

The server introduces strangers and passes signed bytes on. It knows nothing of tasks or results, keeps nothing, and
is trusted with nothing: what it could do at worst is in the specification. Every table is bounded by a cap of
`RendezvousConfig`, every client by a token bucket.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from hmac import compare_digest
from typing import TYPE_CHECKING, NewType, TypeAlias, assert_never

from .codec import encode
from .errors import RemoteProtocolError
from .identity import peer_id_of, verify
from .signaling import (
    MESSAGE_BYTES_MAX,
    NONCE_BYTES,
    PEERS_MAX,
    Ask,
    Enter,
    Entered,
    FromServer,
    Ice,
    IceServer,
    Peers,
    RefusalCode,
    Refused,
    Relay,
    Relayed,
    Undeliverable,
    Welcome,
    check_enter,
    invitation_of,
    parse_from_client,
)
from .turn import turn_server

if TYPE_CHECKING:
    from random import Random

    from .identity import Verifier

ClientId = NewType("ClientId", int)
"""The driver's name for one connection; never used twice."""


@dataclass(frozen=True, slots=True)
class RendezvousConfig:
    """Caps of one server. The defaults fit one core and 512 MB (research/webrtc.md section 5)."""

    message_bytes_max: int = MESSAGE_BYTES_MAX
    """A longer message disconnects its sender. The WebSocket library is given the same number."""

    peers_per_network: int = 5_000
    networks: int = 1_000
    clients: int = 10_000
    """Connections in all: research/webrtc.md measured 9,800 in 365 MB."""

    clients_per_address: int = 256
    """Connections of one IP address: a school behind one NAT fits, an attacker needs many addresses."""

    messages_per_s: float = 20.0
    """Refill of each client's token bucket. A join takes 2 to 8 messages, a browser's trickle about 10 per link."""

    messages_burst: float = 200.0
    """Size of the bucket: eight offers at once with all their candidates, twice over."""

    enter_within_s: float = 10.0
    """A connection that has not entered by then is closed: it only costs us memory."""

    invites: tuple[tuple[str, str], ...] = ()
    """(network, invite) of the networks that only invited peers may enter; all others are open."""

    ice_servers: tuple[IceServer, ...] = ()
    """STUN servers, told to everybody who enters. None by default: with one that is unreachable every dial waits."""

    turn_urls: tuple[str, ...] = ()
    turn_secret: str = ""
    """What the TURN servers know as their static secret; needed when there are any."""

    turn_lifetime_s: float = 24 * 3600.0
    """How long credentials are good. Fresh ones come at half of it, so a link can begin at any time; what leaks is
    worthless a day later."""


# ---- inputs


@dataclass(frozen=True, slots=True)
class ClientConnected:
    """Somebody connected from `address` when the wall clock showed `time_s` (unix seconds)."""

    client: ClientId
    address: str
    time_s: float


@dataclass(frozen=True, slots=True)
class MessageReceived:
    client: ClientId
    data: bytes


@dataclass(frozen=True, slots=True)
class ClientLeft:
    """The connection is gone, whoever ended it. Fed exactly once per connected client, also after `Disconnect`."""

    client: ClientId


@dataclass(frozen=True, slots=True)
class Woke:
    """`Rendezvous.wake_at` has come."""


Input: TypeAlias = ClientConnected | MessageReceived | ClientLeft | Woke

# ---- outputs


@dataclass(frozen=True, slots=True)
class Send:
    client: ClientId
    data: bytes


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close this connection after what was sent to it. Nothing it still says is listened to."""

    client: ClientId
    reason: str


Output: TypeAlias = Send | Disconnect


@dataclass(slots=True)
class _Client:
    address: str
    nonce: bytes
    enter_by: float
    tokens: float
    refilled_at: float
    public_key: bytes = b""
    network: str = ""
    """Both empty while WAITING."""
    dropped: bool = False
    """We asked for its disconnect; the driver has not reported it gone yet."""


class _Network:
    """The peers of one network: found by key, and drawn at random in time that does not grow with their number."""

    def __init__(self) -> None:
        self.clients: dict[bytes, ClientId] = {}
        self._keys: list[bytes] = []
        self._positions: dict[bytes, int] = {}

    def add(self, public_key: bytes, client: ClientId) -> None:
        if public_key not in self.clients:
            self._positions[public_key] = len(self._keys)
            self._keys.append(public_key)
        self.clients[public_key] = client

    def remove(self, public_key: bytes) -> None:
        del self.clients[public_key]
        position, last = self._positions.pop(public_key), self._keys.pop()
        if last != public_key:
            self._keys[position], self._positions[last] = last, position

    def sample(self, count: int, rng: Random, *, besides: bytes) -> tuple[bytes, ...]:
        drawn = rng.sample(self._keys, min(count + 1, len(self._keys)))
        return tuple(key for key in drawn if key != besides)[:count]

    def check_invariants(self) -> None:
        assert self._positions == {key: position for position, key in enumerate(self._keys)}
        assert self.clients.keys() == self._positions.keys()


class Rendezvous:
    """Everything the signaling server decides. `rng` must be unpredictable in production: it draws the nonces."""

    def __init__(self, config: RendezvousConfig, rng: Random, verifier: Verifier = verify) -> None:
        self._config = config
        self._invites = dict(config.invites)
        self._rng = rng
        self._verifier = verifier
        self._clients: dict[ClientId, _Client] = {}
        self._waiting: dict[ClientId, float] = {}
        """Clients that have not entered and when they must have: in the order they connected, so by deadline."""
        self._renewals: dict[ClientId, float] = {}
        """When each client gets fresh TURN credentials: in that order, as all are good for the same time."""
        self._epoch_offset_s = 0.0
        """Unix time minus `now`."""
        self._networks: dict[str, _Network] = {}
        self._addresses: Counter[str] = Counter()
        self.relayed_messages = 0
        self.relayed_bytes = 0

    @property
    def peers(self) -> int:
        """How many peers are in all networks together."""
        return sum(len(network.clients) for network in self._networks.values())

    @property
    def networks(self) -> int:
        return len(self._networks)

    @property
    def wake_at(self) -> float | None:
        """When to feed `Woke`, on the clock of `now`; None when nothing is due."""
        return min((next(iter(each.values())) for each in (self._waiting, self._renewals) if each), default=None)

    def handle(self, event: Input, *, now: float) -> list[Output]:
        """Apply one input and return what to do about it. No client's bytes raise anything."""
        match event:
            case ClientConnected():
                return self._connected(event, now)
            case MessageReceived(client, data):
                return self._received(client, data, now)
            case ClientLeft(client):
                return self._left(client)
            case Woke():
                late = [client for client, enter_by in self._waiting.items() if enter_by <= now]
                seconds = self._config.enter_within_s
                outputs = [
                    out for client in late for out in self._refuse(client, "late", f"no enter within {seconds:g} s")
                ]
                renewing = [client for client, renew_at in self._renewals.items() if renew_at <= now]
                return outputs + [out for client in renewing for out in self._ice(client, now)]
            case _:
                assert_never(event)

    def _connected(self, event: ClientConnected, now: float) -> list[Output]:
        config, client = self._config, event.client
        self._epoch_offset_s = event.time_s - now
        full = ""
        if len(self._clients) >= config.clients:
            full = "this server has as many clients as it takes"
        elif self._addresses[event.address] >= config.clients_per_address:
            full = "your address has as many connections as this server takes from one address"
        self._clients[client] = _Client(
            address=event.address,
            nonce=self._rng.randbytes(NONCE_BYTES),
            enter_by=now + config.enter_within_s,
            tokens=config.messages_burst,
            refilled_at=now,
        )
        self._addresses[event.address] += 1
        if full:
            return self._refuse(client, "full", full)
        self._waiting[client] = now + config.enter_within_s
        return [_send(client, Welcome(self._clients[client].nonce, event.time_s))]

    def _received(self, client: ClientId, data: bytes, now: float) -> list[Output]:
        state = self._clients[client]
        if state.dropped:
            return []
        if not self._spend_token(state, now):
            return self._refuse(client, "rate", f"more than {self._config.messages_per_s:g} messages a second")
        if len(data) > self._config.message_bytes_max:
            return self._refuse(client, "malformed", f"a message over {self._config.message_bytes_max} bytes")
        try:
            message = parse_from_client(data)
        except RemoteProtocolError as error:
            return self._refuse(client, "malformed", str(error))
        if isinstance(message, Enter):
            return self._enter(client, state, message, now)
        if not state.network:
            return self._refuse(client, "malformed", "the first message must be an enter")
        network = self._networks[state.network]
        match message:
            case Ask(count):
                return [_send(client, Peers(network.sample(count, self._rng, besides=state.public_key)))]
            case Relay(to, signal):
                receiver = network.clients.get(to)
                if receiver is None:
                    return [_send(client, Undeliverable(to))]
                self.relayed_messages += 1
                self.relayed_bytes += len(signal)
                return [_send(receiver, Relayed(state.public_key, signal))]
            case _:
                assert_never(message)

    def _enter(self, client: ClientId, state: _Client, message: Enter, now: float) -> list[Output]:
        config = self._config
        if state.network:
            return self._refuse(client, "malformed", "a second enter on one connection")
        try:
            check_enter(self._verifier, message, state.nonce)
        except RemoteProtocolError as error:
            return self._refuse(client, "signature", str(error))
        if not self._is_invited(message, state.nonce):
            reason = f"network {message.network} asks for an invitation: use the whole join link"
            return self._refuse(client, "invite", reason)
        network = self._networks.get(message.network)
        if network is None:
            if len(self._networks) >= config.networks:
                return self._refuse(client, "full", "this server has as many networks as it takes")
            network = _Network()
        outputs: list[Output] = []
        older = network.clients.get(message.public_key)
        if older is not None:
            # The newest wins: after a crash the old connection may look alive for a minute.
            outputs += self._refuse(older, "replaced", "the same key entered from another connection")
        elif len(network.clients) >= config.peers_per_network:
            return self._refuse(client, "full", f"network {message.network} has as many peers as this server takes")
        # `_refuse` may have removed the network with its last peer: put it (back) in place.
        self._networks[message.network] = network
        network.add(message.public_key, client)
        state.public_key, state.network = message.public_key, message.network
        del self._waiting[client]
        outputs += self._ice(client, now)
        outputs.append(_send(client, Entered(network.sample(PEERS_MAX, self._rng, besides=message.public_key))))
        return outputs

    def _ice(self, client: ClientId, now: float) -> list[Output]:
        """Tell a client that has entered which ICE servers to use, with TURN credentials of its own."""
        config = self._config
        servers = list(config.ice_servers)
        if config.turn_urls:
            expires_s = int(now + self._epoch_offset_s + config.turn_lifetime_s)
            peer_id = peer_id_of(self._clients[client].public_key)
            servers += (turn_server(url, config.turn_secret, peer_id, expires_s) for url in config.turn_urls)
            self._renewals.pop(client, None)
            self._renewals[client] = now + config.turn_lifetime_s / 2
        return [_send(client, Ice(tuple(servers)))] if servers else []

    def _is_invited(self, message: Enter, nonce: bytes) -> bool:
        invite = self._invites.get(message.network)
        return invite is None or compare_digest(message.invitation, invitation_of(invite, message.public_key, nonce))

    def _left(self, client: ClientId) -> list[Output]:
        self._forget(client)
        address = self._clients.pop(client).address
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
        return []

    def _refuse(self, client: ClientId, code: RefusalCode, reason: str) -> list[Output]:
        self._forget(client)
        self._clients[client].dropped = True
        return [_send(client, Refused(code, reason[:200])), Disconnect(client, reason)]

    def _forget(self, client: ClientId) -> None:
        """Take a client out of everything but the count of connections, which only its leaving ends."""
        state = self._clients[client]
        self._waiting.pop(client, None)
        self._renewals.pop(client, None)
        if state.network:
            network = self._networks[state.network]
            network.remove(state.public_key)
            if not network.clients:
                del self._networks[state.network]
            state.network = ""

    def _spend_token(self, state: _Client, now: float) -> bool:
        config = self._config
        state.tokens = min(config.messages_burst, state.tokens + (now - state.refilled_at) * config.messages_per_s)
        state.refilled_at = now
        if state.tokens < 1:
            return False
        state.tokens -= 1
        return True

    def check_invariants(self) -> None:
        """What holds between any two inputs (for tests)."""
        config = self._config
        assert len(self._networks) <= config.networks
        entered = {}
        for name, network in self._networks.items():
            network.check_invariants()
            assert 0 < len(network.clients) <= config.peers_per_network
            entered.update({client: (name, key) for key, client in network.clients.items()})
        for client, state in self._clients.items():
            assert (state.network != "") == (client in entered)
            if state.network:
                assert entered[client] == (state.network, state.public_key)
            assert (client in self._waiting) == (not state.network and not state.dropped)
        assert entered.keys() <= self._clients.keys()
        assert list(self._waiting.values()) == sorted(self._waiting.values())
        assert list(self._renewals.values()) == sorted(self._renewals.values())
        assert self._renewals.keys() == (entered.keys() if config.turn_urls else set())
        assert sum(not state.dropped for state in self._clients.values()) <= config.clients
        assert +self._addresses == Counter(state.address for state in self._clients.values())
        assert all(self._addresses.values())


def _send(client: ClientId, message: FromServer) -> Send:
    return Send(client, encode(message))
