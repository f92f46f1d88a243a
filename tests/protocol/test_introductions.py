"""Peers introduce peers: one hop, only what the sender signed, no more than the share, without a signaling server."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.events import SeekPeers, SignalArrived, SignalUndelivered
from crowdcompute.protocol.identity import Identity, PeerId, verify
from crowdcompute.protocol.introductions import IntroductionFrame, Introductions
from crowdcompute.protocol.neighbours import FAILED_INTRODUCTIONS_MAX, Neighbours
from crowdcompute.protocol.signaling import Ask, Peers, Relay, Relayed, Undeliverable
from crowdcompute.protocol.signals import Offer, sign_signal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crowdcompute.protocol.events import Output

ANNA, BERTA, CARLA, DORA = (Identity(bytes([number]) * 32) for number in range(1, 5))
NAMES = {identity.peer_id: name for name, identity in zip("ABCD", (ANNA, BERTA, CARLA, DORA), strict=True)}
SDP = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=fingerprint:sha-256 " + ":".join(["ab"] * 32)
FEW = ProtocolConfig(neighbours_target=3, introductions_burst=5, introductions_per_s=1)


def offer(by: Identity, to: Identity, *, network: str = "main", forged: bool = False) -> bytes:
    body = Offer(network, bytes(16), by.public_key, to.public_key, b"\xab" * 32, SDP)
    signal = sign_signal(DORA if forged else by, body)
    return encode(type(signal)(signal.kind, by.public_key, signal.body, signal.signature))


class Host:
    """One peer's introductions with its neighbours, and what it said."""

    def __init__(self, *linked: Identity, identity: Identity = BERTA, config: ProtocolConfig = FEW) -> None:
        self.neighbours = Neighbours(config, Random(1), 0.0)
        self.host = Introductions(config, identity.public_key, verify, Random(1), self.neighbours, 0.0)
        for other in linked:
            self.link(other)
        self.said()

    def link(self, other: Identity, now: float = 0.0) -> None:
        self.neighbours.opened(other.peer_id, now, dialled=True)
        self.host.link_opened(other.peer_id, now)

    def hears(
        self, sender: Identity, frame: IntroductionFrame, now: float = 0.0
    ) -> tuple[list[tuple[PeerId, IntroductionFrame]], Sequence[Output]]:
        self.host.received(sender.peer_id, frame, now)
        return self.host.drain()

    def said(self) -> tuple[list[tuple[PeerId, IntroductionFrame]], Sequence[Output]]:
        return self.host.drain()


def test_a_new_neighbour_is_asked_for_its_own_while_links_are_lacking() -> None:
    host = Host()
    for number, other in enumerate((ANNA, CARLA, DORA)):
        host.link(other)
        frames, _ = host.said()
        assert frames == ([(other.peer_id, Ask(32))] if number < 2 else [])


def test_who_asks_is_named_the_other_neighbours() -> None:
    frames, _ = Host(ANNA, CARLA, DORA).hears(ANNA, Ask(32))
    assert [(peer_id, type(frame)) for peer_id, frame in frames] == [(ANNA.peer_id, Peers)]
    [(_, answer)] = frames
    assert isinstance(answer, Peers)
    assert set(answer.peers) == {CARLA.public_key, DORA.public_key}
    [(_, fewer)], _ = Host(ANNA, CARLA, DORA).hears(ANNA, Ask(1))
    assert isinstance(fewer, Peers)
    assert len(fewer.peers) == 1


def test_named_peers_are_dialled_through_who_named_them_and_never_ourselves() -> None:
    host = Host(ANNA)
    host.hears(ANNA, Peers((CARLA.public_key, BERTA.public_key)))
    assert host.neighbours.dials(0.0) == [(CARLA.peer_id, ANNA.peer_id)]


def test_a_signal_is_passed_to_the_neighbour_it_is_for() -> None:
    signal = offer(ANNA, CARLA)
    frames, outputs = Host(ANNA, CARLA).hears(ANNA, Relay(CARLA.public_key, signal))
    assert frames == [(CARLA.peer_id, Relayed(ANNA.public_key, signal))]
    assert outputs == []


def test_what_was_passed_to_us_reaches_the_driver_and_goes_no_further() -> None:
    signal = offer(ANNA, BERTA)
    frames, outputs = Host(CARLA, DORA).hears(CARLA, Relayed(ANNA.public_key, signal))
    assert frames == []
    assert outputs == [SignalArrived(CARLA.peer_id, signal)]


def test_a_signal_to_a_stranger_comes_back() -> None:
    frames, _ = Host(ANNA, CARLA).hears(ANNA, Relay(DORA.public_key, offer(ANNA, DORA)))
    assert frames == [(ANNA.peer_id, Undeliverable(DORA.public_key))]
    _, outputs = Host(ANNA).hears(ANNA, Undeliverable(DORA.public_key))
    assert outputs == [SignalUndelivered(DORA.peer_id, ANNA.peer_id)]


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (Relay(CARLA.public_key, offer(DORA, CARLA)), "not the sender's own"),
        (Relay(DORA.public_key, offer(ANNA, CARLA)), "not between its author and us"),
        (Relay(CARLA.public_key, offer(ANNA, CARLA, forged=True)), "signature"),
        (Relay(CARLA.public_key, offer(ANNA, CARLA, network="other")), "network"),
        (Relay(CARLA.public_key, b"\x90"), "not a valid Signal"),
        (Relayed(CARLA.public_key, offer(DORA, BERTA)), "not its sender's"),
        (Relayed(DORA.public_key, offer(DORA, CARLA)), "not between its author and us"),
        (Relayed(DORA.public_key, offer(ANNA, BERTA, forged=True)), "signature"),
        (Peers((CARLA.public_key,)), "nobody asked for"),
    ],
)
def test_whoever_passes_on_what_it_should_not_is_to_blame(frame: IntroductionFrame, why: str) -> None:
    host = Host(CARLA, DORA, ANNA)
    with pytest.raises(RemoteProtocolError, match=why):
        host.host.received(ANNA.peer_id, frame, 0.0)
    assert host.said() == ([], [])


def test_more_than_its_share_of_introductions_is_a_breach() -> None:
    host = Host(ANNA, CARLA)
    for _ in range(5):
        host.hears(ANNA, Ask(32))
    with pytest.raises(RemoteProtocolError, match="share"):
        host.hears(ANNA, Ask(32))
    host.hears(ANNA, Ask(32), now=1.0)


def test_a_flood_to_one_neighbour_is_held_back_before_it_is_a_breach_of_ours() -> None:
    host = Host(ANNA, CARLA, config=ProtocolConfig(introductions_burst=200))
    signal = offer(ANNA, CARLA)
    answers = [host.hears(ANNA, Relay(CARLA.public_key, signal))[0][0][1] for _ in range(200)]
    # Four fifths of the bucket, and one of those went for our own question.
    assert sum(isinstance(answer, Relayed) for answer in answers) == 159
    assert all(isinstance(answer, Undeliverable) for answer in answers[159:])


def test_a_signal_of_ours_without_a_way_comes_back_at_once() -> None:
    host = Host(ANNA)
    host.host.relay(CARLA.peer_id, DORA.peer_id, b"", 0.0)
    assert host.said() == ([], [SignalUndelivered(CARLA.peer_id, DORA.peer_id)])
    for _ in range(4):
        host.host.relay(CARLA.peer_id, ANNA.peer_id, b"", 0.0)
    frames, outputs = host.said()
    # Five in the bucket, of which four are ours to use, and one was spent on the question at the beginning.
    assert frames == [(ANNA.peer_id, Relay(CARLA.public_key, b""))] * 3
    assert outputs == [SignalUndelivered(CARLA.peer_id, ANNA.peer_id)]


def test_the_signaling_server_is_asked_by_strangers_and_when_neighbours_know_nobody_new() -> None:
    host = Host()
    host.host.seek(19.0)
    assert host.said() == ([], [])
    assert host.host.wake_at() == 20.0
    host.host.seek(20.0)
    assert host.said() == ([], [SeekPeers()])
    host.link(ANNA, 21.0)
    host.hears(ANNA, Peers((CARLA.public_key,)), 21.0)
    host.host.seek(40.0)
    assert host.said() == ([(ANNA.peer_id, Ask(32))], [])
    host.hears(ANNA, Peers((CARLA.public_key,)), 40.0)
    host.host.seek(60.0)
    assert host.said() == ([], [SeekPeers()])
    host.host.seek(80.0)
    assert host.said() == ([(ANNA.peer_id, Ask(32))], [])


def test_while_no_links_are_lacking_only_the_signaling_server_is_asked_and_rarely() -> None:
    host = Host(ANNA, CARLA, DORA)
    for _ in range(3):
        last = host.host.wake_at()
        host.host.seek(last - 1.0)
        assert host.said() == ([], [])
        host.host.seek(last)
        assert host.said() == ([], [SeekPeers()])
        assert 0.5 * 300 <= host.host.wake_at() - last <= 1.5 * 300


def test_a_peer_is_dialled_through_each_who_named_it_and_in_the_end_through_the_server() -> None:
    neighbours = Neighbours(FEW, Random(1), 0.0)
    for other in (ANNA, BERTA):
        neighbours.opened(other.peer_id, 0.0, dialled=True)
    assert neighbours.introduced([CARLA.peer_id, ANNA.peer_id], ANNA.peer_id, 0.0)
    assert not neighbours.introduced([CARLA.peer_id], BERTA.peer_id, 0.0)
    ways = []
    for _ in range(3):
        [(peer_id, through)] = neighbours.dials(0.0)
        assert peer_id == CARLA.peer_id
        ways.append(through)
        neighbours.closed(CARLA.peer_id, 0.0)
    assert set(ways[:2]) == {ANNA.peer_id, BERTA.peer_id}
    assert ways[2] is None
    assert neighbours.dials(0.0) == []


def test_a_neighbour_whose_introductions_keep_failing_is_believed_no_more() -> None:
    neighbours = Neighbours(FEW, Random(1), 0.0)
    for other in (ANNA, BERTA):
        neighbours.opened(other.peer_id, 0.0, dialled=True)
    for number in range(FAILED_INTRODUCTIONS_MAX):
        nobody = Identity(bytes([100 + number]) * 32).peer_id
        neighbours.introduced([nobody], ANNA.peer_id, 0.0)
        assert neighbours.dials(0.0) == [(nobody, ANNA.peer_id)]
        neighbours.closed(nobody, 0.0)
        assert neighbours.dials(0.0) == [(nobody, None)]
        neighbours.closed(nobody, 0.0)
    neighbours.introduced([CARLA.peer_id], ANNA.peer_id, 0.0)
    assert neighbours.dials(0.0) == [(CARLA.peer_id, None)]
