"""The signaling server's rules: introductions, relaying, caps, and that no client can hurt it."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.identity import Identity
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
from crowdcompute.protocol.signaling import (
    PEERS_MAX,
    Ask,
    Enter,
    Entered,
    FromClient,
    FromServer,
    Ice,
    Peers,
    RefusalCode,
    Refused,
    Relay,
    Relayed,
    Undeliverable,
    Welcome,
    enter,
    parse_from_server,
)
from crowdcompute.protocol.turn import turn_server

T = TypeVar("T")

KEYS = [Identity(bytes([seed]) * 32) for seed in range(1, 5)]


@dataclass
class Server:
    """A rendezvous with its driver's bookkeeping: what every client was told, and whom it wants disconnected."""

    config: RendezvousConfig = field(default_factory=RendezvousConfig)
    now: float = 1_000.0
    told: dict[int, list[FromServer]] = field(default_factory=dict)
    disconnected: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rules = Rendezvous(self.config, Random(7))

    def feed(self, event: Input) -> None:
        for output in self.rules.handle(event, now=self.now):
            match output:
                case Send(client, data):
                    assert client not in self.disconnected, "nothing is sent after a disconnect"
                    self.told[client].append(parse_from_server(data))
                case Disconnect(client):
                    assert isinstance(self.told[client][-1], Refused), "a disconnect is explained"
                    self.disconnected.add(client)
        self.rules.check_invariants()

    def connect(self, client: int, address: str = "192.0.2.1") -> None:
        self.told[client] = []
        self.feed(ClientConnected(ClientId(client), address, 5e8))

    def send(self, client: int, message: FromClient) -> None:
        self.feed(MessageReceived(ClientId(client), encode(message)))

    def leave(self, client: int) -> None:
        self.feed(ClientLeft(ClientId(client)))

    def last(self, client: int, kind: type[T]) -> T:
        message = self.told[client][-1]
        assert isinstance(message, kind), message
        return message

    def enter(self, client: int, identity: Identity, network: str = "main", address: str = "192.0.2.1") -> None:
        self.connect(client, address)
        self.send(client, enter(identity, network, self.last(client, Welcome).nonce))

    def refusal(self, client: int) -> RefusalCode:
        assert client in self.disconnected
        return self.last(client, Refused).code


@pytest.fixture
def server() -> Server:
    return Server()


def numbered(number: int) -> Identity:
    return Identity(number.to_bytes(32))


def test_a_welcome_tells_the_time_and_a_nonce_that_is_never_the_same(server: Server) -> None:
    server.connect(1)
    server.connect(2)
    assert server.last(1, Welcome).time_s == 5e8
    assert server.last(1, Welcome).nonce != server.last(2, Welcome).nonce


def test_turn_credentials_are_for_one_peer_and_renewed_before_they_expire() -> None:
    url = "turn:turn.example.org"
    server = Server(RendezvousConfig(turn_urls=(url,), turn_secret="hush", turn_lifetime_s=1_000))
    server.enter(1, KEYS[0])
    assert server.told[1][1] == Ice((turn_server(url, "hush", KEYS[0].peer_id, int(5e8) + 1_000),))
    assert isinstance(server.told[1][2], Entered), "who hears of peers can dial them at once"
    server.now += 100
    server.enter(2, KEYS[1])
    assert server.told[2][1] != server.told[1][1]
    for client, key in ((1, KEYS[0]), (2, KEYS[1])):
        assert server.rules.wake_at is not None
        server.now = server.rules.wake_at
        server.feed(Woke())
        expires_s = (
            int(5e8 + server.now - 1_100) + 1_000
        )  # Client 2 connected at 1,100, when the wall clock showed 5e8.
        assert server.last(client, Ice) == Ice((turn_server(url, "hush", key.peer_id, expires_s),))
    server.leave(1)
    server.leave(2)
    assert server.rules.wake_at is None


def test_uninvited_strangers_get_no_credentials() -> None:
    config = RendezvousConfig(invites=(("private", "horse-horse"),), turn_urls=("turn:a",), turn_secret="hush")
    server = Server(config)
    server.enter(1, KEYS[0], "private")
    assert not any(isinstance(message, Ice) for message in server.told[1])


def test_a_turn_password_is_what_the_servers_of_that_scheme_expect() -> None:
    # printf '%s' "1795000000:$PEER_ID" | openssl dgst -sha1 -hmac north -binary | base64
    made = turn_server("turn:a", "north", numbered(1).peer_id, 1_795_000_000)
    assert made.username == f"1795000000:{numbered(1).peer_id}"
    assert made.credential == "esPr6JWxK4AoviOjbJ8IJY3tmws="


def test_who_enters_hears_of_those_who_are_there(server: Server) -> None:
    for client, identity in enumerate(KEYS):
        server.enter(client, identity)
        assert set(server.last(client, Entered).peers) == {known.public_key for known in KEYS[:client]}


def test_peers_of_another_network_are_neither_named_nor_reachable(server: Server) -> None:
    server.enter(1, KEYS[0], "main")
    server.enter(2, KEYS[1], "other")
    assert server.last(2, Entered).peers == ()
    server.send(2, Relay(KEYS[0].public_key, b"signal"))
    assert server.last(2, Undeliverable).to == KEYS[0].public_key
    assert server.rules.networks == 2


def test_at_most_32_peers_are_named_and_they_are_drawn_anew(server: Server) -> None:
    for client in range(1, 101):
        server.enter(client, numbered(client))
    assert len(set(server.last(100, Entered).peers)) == PEERS_MAX
    drawn = []
    for _ in range(4):
        server.send(100, Ask(PEERS_MAX))
        peers = server.last(100, Peers).peers
        assert len(set(peers)) == PEERS_MAX
        assert numbered(100).public_key not in peers
        drawn.append(frozenset(peers))
    assert len(set(drawn)) == 4
    server.send(100, Ask(1))
    assert len(server.last(100, Peers).peers) == 1


def test_a_signal_is_passed_on_untouched_with_its_senders_key(server: Server) -> None:
    server.enter(1, KEYS[0])
    server.enter(2, KEYS[1])
    server.send(1, Relay(KEYS[1].public_key, b"signal"))
    assert server.last(2, Relayed) == Relayed(KEYS[0].public_key, b"signal")
    assert (server.rules.relayed_messages, server.rules.relayed_bytes) == (1, 6)


def test_a_signal_to_a_peer_who_left_is_undeliverable(server: Server) -> None:
    server.enter(1, KEYS[0])
    server.enter(2, KEYS[1])
    server.leave(2)
    server.send(1, Relay(KEYS[1].public_key, b"signal"))
    assert server.last(1, Undeliverable).to == KEYS[1].public_key


def test_of_two_connections_with_one_key_the_newest_wins(server: Server) -> None:
    server.enter(1, KEYS[0])
    server.enter(2, KEYS[1])
    server.enter(3, KEYS[0])
    assert server.refusal(1) == "replaced"
    server.leave(1)
    server.send(2, Relay(KEYS[0].public_key, b"signal"))
    assert server.last(3, Relayed).signal == b"signal"
    assert server.rules.peers == 2


def test_the_only_peer_of_a_network_can_be_replaced(server: Server) -> None:
    server.enter(1, KEYS[0])
    server.enter(2, KEYS[0])
    assert server.refusal(1) == "replaced"
    assert server.last(2, Entered).peers == ()


def test_a_key_may_be_in_two_networks(server: Server) -> None:
    server.enter(1, KEYS[0], "main")
    server.enter(2, KEYS[0], "other")
    assert server.rules.peers == 2


def test_who_does_not_hold_the_key_does_not_enter(server: Server) -> None:
    server.connect(1)
    nonce = server.last(1, Welcome).nonce
    genuine = enter(KEYS[0], "main", nonce)
    server.send(1, Enter(KEYS[1].public_key, "main", b"", genuine.signature))
    assert server.refusal(1) == "signature"


INVITED = RendezvousConfig(invites=(("private", "correct-horse"),))


def test_a_private_network_lets_in_whoever_knows_its_invite() -> None:
    server = Server(INVITED)
    for client, invite in ((1, "correct-horse"), (2, "battery-staple"), (3, "")):
        server.connect(client)
        server.send(client, enter(KEYS[client - 1], "private", server.last(client, Welcome).nonce, invite))
    assert server.last(1, Entered).peers == ()
    assert server.refusal(2) == server.refusal(3) == "invite"
    server.connect(4)
    server.send(4, enter(KEYS[3], "public", server.last(4, Welcome).nonce))
    assert server.last(4, Entered)
    assert server.rules.peers == 2


def test_an_overheard_invitation_is_worth_nothing_to_another_key() -> None:
    server = Server(INVITED)
    server.connect(1)
    overheard = enter(KEYS[1], "private", server.last(1, Welcome).nonce, "correct-horse")
    server.connect(2)
    own = enter(KEYS[2], "private", server.last(2, Welcome).nonce)
    server.send(2, structs.replace(own, invitation=overheard.invitation))
    assert server.refusal(2) == "invite"


def test_an_overheard_enter_is_worth_nothing_on_another_connection(server: Server) -> None:
    server.connect(1)
    overheard = enter(KEYS[0], "main", server.last(1, Welcome).nonce)
    server.connect(2)
    server.send(2, overheard)
    assert server.refusal(2) == "signature"


@pytest.mark.parametrize("message", [Ask(1), Relay(KEYS[1].public_key, b"signal")])
def test_nothing_but_enter_is_taken_from_a_stranger(server: Server, message: FromClient) -> None:
    server.connect(1)
    server.send(1, message)
    assert server.refusal(1) == "malformed"


def test_a_second_enter_is_refused(server: Server) -> None:
    server.enter(1, KEYS[0])
    server.send(1, enter(KEYS[0], "other", bytes(32)))
    assert server.refusal(1) == "malformed"
    assert server.rules.peers == 0


def test_a_message_that_is_too_long_is_refused() -> None:
    server = Server(RendezvousConfig(message_bytes_max=100))
    server.enter(1, KEYS[0])
    assert server.refusal(1) == "malformed"


def test_who_was_refused_is_not_listened_to_any_more(server: Server) -> None:
    server.connect(1)
    nonce = server.last(1, Welcome).nonce
    server.feed(MessageReceived(ClientId(1), b"garbage"))
    server.send(1, enter(KEYS[0], "main", nonce))
    assert server.refusal(1) == "malformed"
    assert server.rules.peers == 0


def test_who_does_not_enter_in_time_is_disconnected(server: Server) -> None:
    server.connect(1)
    server.now += 4
    server.connect(2)
    server.enter(3, KEYS[0])
    assert server.rules.wake_at == 1_010
    server.now = 1_010
    server.feed(Woke())
    assert server.refusal(1) == "late"
    assert 2 not in server.disconnected
    assert server.rules.wake_at == 1_014
    server.leave(2)
    assert server.rules.wake_at is None


def test_a_burst_is_taken_and_a_flood_is_not() -> None:
    server = Server(RendezvousConfig(messages_per_s=8, messages_burst=5))
    server.enter(1, KEYS[0])
    for _ in range(4):
        server.send(1, Ask(1))
    server.now += 0.25
    for _ in range(2):
        server.send(1, Ask(1))
    assert 1 not in server.disconnected
    server.send(1, Ask(1))
    assert server.refusal(1) == "rate"


def test_an_idle_client_does_not_save_up_more_than_one_burst() -> None:
    server = Server(RendezvousConfig(messages_per_s=10, messages_burst=5))
    server.enter(1, KEYS[0])
    server.now += 1e6
    for _ in range(5):
        server.send(1, Ask(1))
    assert 1 not in server.disconnected
    server.send(1, Ask(1))
    assert server.refusal(1) == "rate"


def test_one_address_gets_no_more_than_its_share() -> None:
    server = Server(RendezvousConfig(clients_per_address=2))
    for client in (1, 2, 3):
        server.connect(client)
    assert server.refusal(3) == "full"
    server.connect(4, "192.0.2.2")
    server.leave(3)
    server.leave(1)
    server.connect(5)
    assert not {2, 4, 5} & server.disconnected


def test_the_caps_on_clients_networks_and_peers_hold() -> None:
    server = Server(RendezvousConfig(clients=6, networks=2, peers_per_network=2))
    server.enter(1, KEYS[0], "a")
    server.enter(2, KEYS[1], "a")
    server.enter(3, KEYS[2], "a")
    assert server.refusal(3) == "full"
    server.enter(4, KEYS[2], "b")
    server.enter(5, KEYS[3], "c")
    assert server.refusal(5) == "full"
    # A full network still lets a peer back in who lost its connection.
    server.enter(6, KEYS[0], "a")
    assert server.refusal(1) == "replaced"
    server.connect(7)
    assert server.refusal(7) == "full"


def test_an_empty_network_makes_room_for_another() -> None:
    server = Server(RendezvousConfig(networks=1))
    server.enter(1, KEYS[0], "a")
    server.leave(1)
    server.enter(2, KEYS[0], "b")
    assert 2 not in server.disconnected


Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["connect", "enter", "ask", "relay", "garbage", "mutated", "leave", "wait"]),
        st.integers(0, 5),
        st.integers(0, 2**16),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_no_sequence_of_clients_and_bytes_breaks_the_invariants(sequence: list[Step]) -> None:
    config = RendezvousConfig(
        clients=5, clients_per_address=3, networks=2, peers_per_network=2, messages_per_s=2, messages_burst=6
    )
    server = Server(config)
    connections: dict[int, int] = {}
    for step, (action, slot, number) in enumerate(sequence):
        rng = Random(number)
        client = connections.get(slot)
        if action == "wait":
            server.now += number % 8
            if server.rules.wake_at is not None and server.rules.wake_at <= server.now:
                server.feed(Woke())
        elif client is None:
            connections[slot] = step
            server.connect(step, f"192.0.2.{slot % 2}")
        elif action == "leave":
            server.leave(connections.pop(slot))
        elif action == "enter" and isinstance(welcome := server.told[client][0], Welcome):
            server.send(client, enter(rng.choice(KEYS), rng.choice(["a", "b", "c"]), welcome.nonce))
        elif action == "ask":
            server.send(client, Ask(1 + number % PEERS_MAX))
        elif action == "relay":
            server.send(client, Relay(rng.choice(KEYS).public_key, rng.randbytes(number % 200)))
        else:
            data = bytearray(encode(Relay(rng.choice(KEYS).public_key, b"signal")))
            if action == "garbage":
                data = bytearray(rng.randbytes(number % 100))
            else:
                data[number % len(data)] ^= 1 + number % 255
            server.feed(MessageReceived(ClientId(client), bytes(data)))
    for client in connections.values():
        server.leave(client)
    assert (server.rules.peers, server.rules.networks, server.rules.wake_at) == (0, 0, None)
