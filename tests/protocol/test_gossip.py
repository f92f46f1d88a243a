"""Gossip among two to ten peers over a wire inside the test: every record reaches every follower."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from itertools import combinations
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdcompute.protocol import gossip
from crowdcompute.protocol.comparing import AGAIN_AFTER_S, ASKED_FIRST_WITHIN_S, SILENT_AFTER_S, UNDER_WAY_MAX
from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.frames import (
    IDS_MAX,
    TOPICS_MAX,
    Frame,
    Graft,
    IHave,
    IWant,
    Prune,
    Publish,
    Topics,
    decode_frame,
    encode_frame,
)
from crowdcompute.protocol.gossip import (
    ASK_AGAIN_AFTER_S,
    GATHER_S,
    TOPICS_PER_NEIGHBOUR_MAX,
    WANTED_MAX,
    Gossip,
)
from crowdcompute.protocol.identity import PeerId
from crowdcompute.protocol.reconcile import ALLOWED_IDS, Reconcile, ReconcileCells, ReconcileIds
from crowdcompute.protocol.records import Signed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TOPIC = b"topic"
CONFIG = ProtocolConfig(mesh_low=2, mesh_target=3, mesh_high=4)
"""A mesh small enough for ten peers to have an outside."""


def record(number: int, size: int = 40) -> Signed:
    return Signed("join", bytes(32), number.to_bytes(4) + bytes(size), bytes(64))


class Node:
    """A gossiping peer that believes everything it is told."""

    def __init__(self, name: str, config: ProtocolConfig = CONFIG) -> None:
        self.peer_id = PeerId(name)
        self.gossip = Gossip(config, self.peer_id, Random(name), self)
        self.shelf: dict[bytes, dict[bytes, Signed]] = {}
        self.asked: list[bytes] = []
        self.pushed = 0

    def record_ids(self, topic: bytes) -> Iterable[bytes]:
        return self.shelf.get(topic, {}).keys()

    def record(self, record_id: bytes) -> Signed | None:
        return next((held[record_id] for held in self.shelf.values() if record_id in held), None)

    def hold(self, numbers: Iterable[int], topic: bytes = TOPIC) -> None:
        """Have records, published long ago."""
        for number in numbers:
            signed = record(number)
            self.shelf.setdefault(topic, {})[signed.record_id] = signed
            self.gossip.mark_seen(signed.record_id)

    def take(self, topic: bytes, signed: Signed, now: float, source: PeerId | None = None) -> None:
        self.shelf.setdefault(topic, {})[signed.record_id] = signed
        self.gossip.publish(topic, signed.record_id, signed, now, source)

    def received(self, source: PeerId, frame: Frame, now: float) -> None:
        if isinstance(frame, Publish):
            for signed in frame.records:
                self.pushed += 1
                if not self.gossip.seen(signed.record_id):
                    self.take(frame.topic, signed, now, source)
        else:
            if isinstance(frame, IWant):
                self.asked += frame.ids
            self.gossip.received(source, frame, now)


class Wire:
    """Delivers frames in order, encoded and decoded; time passes only in `pass_time`."""

    def __init__(self, count: int, config: ProtocolConfig = CONFIG) -> None:
        self.nodes = [Node(f"peer {number}", config) for number in range(count)]
        self.by_id = {node.peer_id: node for node in self.nodes}
        self.links: set[tuple[PeerId, PeerId]] = set()
        self.silent: set[PeerId] = set()
        """Peers whose frames get lost."""
        self.said: list[Frame] = []
        self.now = 0.0

    def link(self, one: Node, other: Node) -> None:
        self.links |= {(one.peer_id, other.peer_id), (other.peer_id, one.peer_id)}
        one.gossip.link_opened(other.peer_id)
        other.gossip.link_opened(one.peer_id)

    def cut(self, one: Node, other: Node) -> None:
        self.links -= {(one.peer_id, other.peer_id), (other.peer_id, one.peer_id)}
        one.gossip.link_closed(other.peer_id)
        other.gossip.link_closed(one.peer_id)

    def deliver(self) -> None:
        """Until nobody has anything to say."""
        for _ in range(200):
            flying = [(node, to, frame) for node in self.nodes for to, frame in node.gossip.drain(self.now)]
            if not flying:
                return
            for node, to, frame in flying:
                self.said.append(frame)
                if (node.peer_id, to) in self.links and node.peer_id not in self.silent:
                    self.by_id[to].received(node.peer_id, decode_frame(encode_frame(frame)), self.now)
                self.check()
        pytest.fail("the peers never stop talking")

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1.0)
            for node in self.nodes:
                if node.gossip.heartbeat_due(self.now):
                    node.gossip.heartbeat(self.now)
            self.deliver()

    def check(self) -> None:
        for node in self.nodes:
            for topic in (TOPIC, b"other"):
                mesh = node.gossip.mesh(topic)
                assert len(mesh) <= CONFIG.mesh_high
                assert mesh <= set(node.gossip.followers(topic))
                assert all((node.peer_id, peer_id) in self.links for peer_id in mesh)


def connect(wire: Wire, rng: Random, extra: int) -> None:
    """A random tree, so that everybody can be reached, and some links more."""
    nodes = wire.nodes
    for index in range(1, len(nodes)):
        wire.link(nodes[index], nodes[rng.randrange(index)])
    missing = [pair for pair in combinations(nodes, 2) if (pair[0].peer_id, pair[1].peer_id) not in wire.links]
    for one, other in rng.sample(missing, min(extra, len(missing))):
        wire.link(one, other)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(2, 10),
    extra=st.integers(0, 45),
    publishes=st.lists(st.tuples(st.integers(0, 9), st.floats(0, 3)), max_size=25),
    rng=st.randoms(use_true_random=False),
)
def test_every_record_reaches_every_follower(
    count: int, extra: int, publishes: list[tuple[int, float]], rng: Random
) -> None:
    wire = Wire(count)
    connect(wire, rng, extra)
    order = list(wire.nodes)
    rng.shuffle(order)
    for node in order:
        node.gossip.follow(TOPIC)
        if rng.random() < 0.5:
            wire.deliver()
    for number, (author, pause_s) in enumerate(publishes):
        wire.nodes[author % count].take(TOPIC, record(number), wire.now)
        if pause_s > 1:
            wire.pass_time(pause_s)
    wire.pass_time(8.0)
    for node in wire.nodes:
        assert len(node.shelf.get(TOPIC, {})) == len(publishes)
        assert node.gossip.synced(TOPIC)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(2, 10), rng=st.randoms(use_true_random=False))
def test_a_mesh_is_mutual_and_nobody_stays_outside(count: int, rng: Random) -> None:
    wire = Wire(count)
    connect(wire, rng, 45)
    for node in wire.nodes:
        node.gossip.follow(TOPIC)
    wire.pass_time(5.0)
    for node in wire.nodes:
        mesh = node.gossip.mesh(TOPIC)
        assert mesh
        assert all(node.peer_id in wire.by_id[peer_id].gossip.mesh(TOPIC) for peer_id in mesh)


def test_a_newcomer_hears_each_record_once_and_knows_when_it_has_them_all() -> None:
    wire = Wire(6)
    old, newcomer = wire.nodes[:5], wire.nodes[5]
    for one, other in combinations(old, 2):
        wire.link(one, other)
    for node in old:
        node.gossip.follow(TOPIC)
    wire.deliver()
    for number in range(4_000):
        old[number % 5].take(TOPIC, record(number), wire.now)
    wire.pass_time(10.0)
    for node in old:
        wire.link(newcomer, node)
    wire.deliver()
    newcomer.gossip.follow(TOPIC)
    assert not newcomer.gossip.synced(TOPIC)
    wire.deliver()
    assert newcomer.gossip.synced(TOPIC)
    assert newcomer.shelf[TOPIC] == old[0].shelf[TOPIC]
    assert newcomer.pushed == 4_000


def test_who_joins_a_topic_that_holds_nothing_is_synced_when_all_have_said_so() -> None:
    wire = Wire(2)
    one, other = wire.nodes
    wire.link(one, other)
    one.gossip.follow(TOPIC)
    wire.deliver()
    other.gossip.follow(TOPIC)
    assert not other.gossip.synced(TOPIC)
    wire.deliver()
    assert other.gossip.synced(TOPIC)


def test_who_knows_no_follower_has_missed_nothing() -> None:
    node = Node("alone")
    node.gossip.follow(TOPIC)
    assert node.gossip.synced(TOPIC)


def test_two_halves_that_meet_again_come_to_hold_the_same() -> None:
    wire = Wire(6)
    left, right = wire.nodes[:3], wire.nodes[3:]
    for half in (left, right):
        for one, other in combinations(half, 2):
            wire.link(one, other)
    for node in wire.nodes:
        node.gossip.follow(TOPIC)
    left[0].take(TOPIC, record(1), wire.now)
    right[0].take(TOPIC, record(2), wire.now)
    wire.pass_time(20.0)
    assert left[0].shelf[TOPIC].keys() != right[0].shelf[TOPIC].keys()
    wire.link(left[2], right[2])
    wire.pass_time(1.0)
    assert all(len(node.shelf[TOPIC]) == 2 for node in wire.nodes)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(2, 7),
    held=st.integers(0, 150),
    cuts=st.integers(0, 3),
    rng=st.randoms(use_true_random=False),
)
def test_whatever_everybody_held_before_they_met_they_hold_the_same_in_the_end(
    count: int, held: int, cuts: int, rng: Random
) -> None:
    wire = Wire(count)
    for node in wire.nodes:
        node.hold(number for number in range(held) if rng.random() < rng.choice((0.1, 0.9)))
        if rng.random() < 0.5:
            node.gossip.follow(TOPIC)
    connect(wire, rng, 20)
    for node in wire.nodes:
        node.gossip.follow(TOPIC)
        if rng.random() < 0.5:
            wire.deliver()
    for _ in range(cuts):
        one, other = rng.sample(wire.nodes, 2)
        if (one.peer_id, other.peer_id) in wire.links:
            wire.cut(one, other)
            wire.link(one, other)
    wire.pass_time(15.0)
    everything = set().union(*(node.shelf.get(TOPIC, {}) for node in wire.nodes))
    for node in wire.nodes:
        assert node.shelf.get(TOPIC, {}).keys() == everything
        assert node.gossip.synced(TOPIC)


def bytes_comparing(wire: Wire) -> int:
    return sum(len(encode_frame(frame)) for frame in wire.said if not isinstance(frame, Publish))


def test_after_a_partition_a_missing_record_costs_less_than_150_bytes_and_three_requests() -> None:
    wire = Wire(2)
    for node, own in zip(wire.nodes, (range(3_000, 3_050), range(3_050, 3_100)), strict=True):
        node.hold(range(3_000))
        node.hold(own)
        node.gossip.follow(TOPIC)
    wire.link(*wire.nodes)
    wire.deliver()
    assert [len(node.shelf[TOPIC]) for node in wire.nodes] == [3_100, 3_100]
    assert bytes_comparing(wire) < 150 * 100
    assert sum(isinstance(frame, Reconcile) for frame in wire.said) <= 3


def test_a_newcomer_pays_for_the_set_once_however_many_neighbours_it_has() -> None:
    wire = Wire(6)
    *old, newcomer = wire.nodes
    for node in old:
        node.hold(range(2_000))
        node.gossip.follow(TOPIC)
        wire.link(newcomer, node)
    wire.deliver()
    wire.said.clear()
    newcomer.gossip.follow(TOPIC)
    wire.deliver()
    assert newcomer.gossip.synced(TOPIC)
    assert len(newcomer.shelf[TOPIC]) == newcomer.pushed == 2_000
    # 32 bytes to hear of each and 34 to ask for it, and some for every neighbour.
    assert bytes_comparing(wire) < (32 + 34) * 2_000 + 5 * 1_000


def test_what_neighbours_pay_to_find_out_that_small_sets_are_equal() -> None:
    for held in (0, 3, 16):
        wire = Wire(2)
        for node in wire.nodes:
            node.hold(range(held))
            node.gossip.follow(TOPIC)
        wire.link(*wire.nodes)
        wire.said.clear()
        wire.deliver()
        comparing = [frame for frame in wire.said if not isinstance(frame, Topics | Graft)]
        assert [type(frame) for frame in comparing] == [Reconcile, ReconcileCells]
        assert sum(len(encode_frame(frame)) for frame in comparing) < 120


def requests(node: Node, now: float) -> list[tuple[PeerId, Reconcile]]:
    if node.gossip.heartbeat_due(now):
        node.gossip.heartbeat(now)
    return [(to, frame) for to, frame in node.gossip.drain(now) if isinstance(frame, Reconcile)]


SMALLER, LARGER = PeerId("a"), PeerId("z")
"""Than "under test"."""


def meeting(*neighbours: PeerId, held: int = 100) -> Node:
    """A follower that has just met neighbours that follow the topic too."""
    node = Node("under test")
    node.hold(range(held))
    node.gossip.follow(TOPIC)
    for peer_id in neighbours:
        node.gossip.link_opened(peer_id)
        node.gossip.received(peer_id, Topics((TOPIC,), ()), 0.0)
    return node


def request_of(peer_id: PeerId) -> Reconcile:
    asking = Node(peer_id)
    asking.gossip.link_opened(PeerId("under test"))
    asking.gossip.received(PeerId("under test"), Topics((TOPIC,), ()), 0.0)
    asking.gossip.follow(TOPIC)
    ((_, request),) = requests(asking, 0.0)
    return request


def test_the_smaller_id_asks_and_the_other_only_if_nobody_does() -> None:
    assert [to for to, _ in requests(meeting(LARGER), 0.0)] == [LARGER]
    node = meeting(SMALLER)
    assert requests(node, ASKED_FIRST_WITHIN_S - 0.1) == []
    assert [to for to, _ in requests(node, ASKED_FIRST_WITHIN_S + 1)] == [SMALLER]
    node = meeting(SMALLER)
    node.gossip.received(SMALLER, request_of(SMALLER), 1.0)
    assert any(isinstance(frame, ReconcileIds) for frame in frames_of(node))
    assert requests(node, ASKED_FIRST_WITHIN_S + 1) == []


def test_who_does_not_answer_is_not_waited_for_and_asked_again_later() -> None:
    silent, other = PeerId("y"), PeerId("z")
    node = meeting(silent, other)
    assert [to for to, _ in requests(node, 0.0)] == [silent]
    assert requests(node, 2.0) == []
    assert [to for to, _ in requests(node, SILENT_AFTER_S)] == [other]
    node.gossip.link_closed(other)
    assert requests(node, SILENT_AFTER_S + AGAIN_AFTER_S - 0.1) == []
    assert [to for to, _ in requests(node, SILENT_AFTER_S + AGAIN_AFTER_S + 1)] == [silent]


def test_what_is_no_answer_breaks_the_rules_and_the_next_neighbour_is_asked() -> None:
    liar, other = PeerId("y"), PeerId("z")
    node = meeting(liar, other)
    ((_, request),) = requests(node, 0.0)
    node.gossip.received(other, ReconcileCells(request.salt, 4, bytes(1)), 0.0)  # It was not asked: nobody minds.
    with pytest.raises(RemoteProtocolError):
        node.gossip.received(liar, ReconcileCells(request.salt, 4, bytes(1)), 0.0)
    assert [to for to, _ in requests(node, 0.1)] == [other]
    with pytest.raises(RemoteProtocolError):
        node.gossip.received(liar, Reconcile(TOPIC, request.salt, 0, 5, bytes(8), bytes(3)), 0.0)


def test_what_is_asked_about_a_topic_that_is_not_ours_stays_without_an_answer() -> None:
    node = meeting(SMALLER)
    frames_of(node)
    request = request_of(SMALLER)
    node.gossip.received(SMALLER, Reconcile(b"other", request.salt, 0, 5, bytes(8), b""), 0.0)
    assert frames_of(node) == []


def test_a_neighbour_that_has_us_compare_without_end_gets_no_answers() -> None:
    node = meeting(SMALLER, held=1_000)
    request = request_of(SMALLER)
    node.gossip.drain(0.0)
    answered = 0
    for _ in range(2 * ALLOWED_IDS // 1_000):
        node.gossip.received(SMALLER, request, 0.0)
        answered += bool(node.gossip.drain(0.0))
    assert answered == ALLOWED_IDS // 1_000


def test_who_follows_a_topic_again_and_again_is_not_asked_each_time() -> None:
    node = meeting(LARGER, held=1_000)
    asked = 0
    for _ in range(2 * ALLOWED_IDS // 1_000):
        asked += len(requests(node, 0.0))
        node.gossip.received(LARGER, Topics((), (TOPIC,)), 0.0)
        node.gossip.received(LARGER, Topics((TOPIC,), ()), 0.0)
    assert asked == ALLOWED_IDS // 1_000


def test_few_comparisons_are_under_way_at_a_time_and_the_others_take_their_turn() -> None:
    topics = [bytes([number]) for number in range(3 * UNDER_WAY_MAX)]
    node = meeting(LARGER)
    for topic in topics:
        node.hold([1], topic)
        node.gossip.follow(topic)
    node.gossip.received(LARGER, Topics(tuple(topics), ()), 0.0)
    compared = 0
    while under_way := requests(node, 0.0):
        compared += len(under_way)
        assert len(under_way) <= UNDER_WAY_MAX
        for _, request in under_way:
            node.gossip.received(LARGER, ReconcileCells(request.salt, 0, b""), 0.0)
    assert compared == 1 + len(topics)


def test_more_than_may_be_wanted_comes_in_several_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gossip, "WANTED_MAX", 100)
    wire = Wire(2)
    wire.nodes[0].hold(range(450))
    for node in wire.nodes:
        node.gossip.follow(TOPIC)
    wire.link(*wire.nodes)
    wire.pass_time(15.0)
    assert len(wire.nodes[1].shelf[TOPIC]) == 450


def test_a_comparison_ends_with_the_topic_and_with_the_link() -> None:
    for ends in ("leave", "link", "neighbour leaves"):
        node = meeting(LARGER)
        ((_, request),) = requests(node, 0.0)
        if ends == "leave":
            node.gossip.leave(TOPIC)
        elif ends == "link":
            node.gossip.link_closed(LARGER)
            assert not node.gossip._comparisons._allowances
            node.gossip.link_opened(LARGER)
        else:
            node.gossip.received(LARGER, Topics((), (TOPIC,)), 0.0)
        frames_of(node)
        node.gossip.received(LARGER, ReconcileIds(request.salt, 1, bytes(32)), 0.0)
        assert frames_of(node) == []


def test_records_of_a_topic_do_not_go_to_those_who_left_it() -> None:
    wire = Wire(3)
    one, other, third = wire.nodes
    for left, right in combinations(wire.nodes, 2):
        wire.link(left, right)
    for node in wire.nodes:
        node.gossip.follow(TOPIC)
    wire.deliver()
    other.gossip.leave(TOPIC)
    wire.deliver()
    one.take(TOPIC, record(1), wire.now)
    wire.pass_time(6.0)
    assert TOPIC in third.shelf
    assert TOPIC not in other.shelf
    assert not other.gossip.follows(TOPIC)


def test_bystanders_get_together_what_somebody_else_needs_first() -> None:
    alice, first, bystander, stranger = Node("alice"), PeerId("first"), PeerId("bystander"), PeerId("stranger")
    gossip = alice.gossip
    gossip.follow(TOPIC)
    for peer_id in (first, bystander):
        gossip.link_opened(peer_id)
        gossip.received(peer_id, Topics((TOPIC,), ()), 0.0)
    gossip.heartbeat(0.0)
    gossip.drain(0.0)

    def publish(number: int, now: float, **options: Any) -> list[tuple[PeerId, int]]:
        signed = record(number)
        gossip.publish(TOPIC, signed.record_id, signed, now, **options)
        return pushed(now)

    def pushed(now: float) -> list[tuple[PeerId, int]]:
        frames = [(peer_id, frame) for peer_id, frame in gossip.drain(now) if isinstance(frame, Publish)]
        return sorted((peer_id, len(frame.records)) for peer_id, frame in frames)

    assert publish(1, 0.1, towards=first, gathers=True) == [(first, 1)]
    assert publish(2, 0.12, towards=first, gathers=True) == [(first, 1)]
    assert gossip.wake_at() == pytest.approx(0.1 + GATHER_S)
    assert pushed(0.1 + GATHER_S) == [(bystander, 2)]
    # What goes to it at once takes along what waited.
    assert publish(3, 0.2, towards=first, gathers=True) == [(first, 1)]
    assert publish(4, 0.21) == [(bystander, 2), (first, 1)]
    assert pushed(0.3) == []
    # Who needs it first is not near: everybody is on its way.
    assert publish(5, 0.4, towards=stranger, gathers=True) == [(bystander, 1), (first, 1)]
    # It was for us, and one of the bystanders sends it, too.
    assert publish(7, 0.45, source=first, towards=alice.peer_id, gathers=True) == []
    gossip.has(bystander, record(7).record_id)
    assert pushed(0.45 + 2 * GATHER_S) == []
    # Who leaves keeps nothing back.
    assert publish(6, 0.6, towards=first, gathers=True) == [(first, 1)]
    gossip.last_words()
    assert [peer_id for peer_id, _ in pushed(0.61)] == [bystander]


def test_what_a_neighbour_asks_for_again_and_again_goes_once_a_push() -> None:
    node, greedy = Node("node"), PeerId("greedy")
    node.hold(range(3))
    node.gossip.link_opened(greedy)
    node.gossip.drain(0.0)
    wanted = tuple(node.record_ids(TOPIC))
    for number in range(100):
        node.gossip.received(greedy, IWant(number.to_bytes(32), wanted), 0.0)
    answers = [frame for frame in frames_of(node) if isinstance(frame, Publish)]
    assert [signed.record_id for frame in answers for signed in frame.records] == list(wanted)


def test_who_follows_a_topic_alone_as_far_as_it_sees_tells_somebody() -> None:
    wire = Wire(3)
    one, between, far = wire.nodes
    wire.link(one, between)
    wire.link(between, far)
    for node in (one, far):
        node.gossip.follow(TOPIC)
    wire.deliver()
    one.take(TOPIC, record(1), wire.now)
    wire.pass_time(6.0)
    assert TOPIC in far.shelf


def frames_of(node: Node) -> list[Frame]:
    return [frame for _, frame in node.gossip.drain(1e9)]


def follower(*neighbours: str, config: ProtocolConfig = CONFIG) -> Node:
    """A peer that follows the topic with neighbours that do too."""
    node = Node("under test", config)
    node.gossip.follow(TOPIC)
    for name in neighbours:
        node.gossip.link_opened(PeerId(name))
        node.gossip.received(PeerId(name), Topics((TOPIC,), ()), 0.0)
    node.gossip.drain(1e9)
    return node


def test_a_full_mesh_answers_a_graft_with_a_prune() -> None:
    node = follower(*"abcde")
    for name in "abcde":
        node.gossip.received(PeerId(name), Graft(TOPIC), 0.0)
    assert len(node.gossip.mesh(TOPIC)) == CONFIG.mesh_high
    assert frames_of(node) == [Prune(TOPIC)]


def test_a_graft_to_a_topic_we_do_not_follow_is_answered_with_a_prune() -> None:
    node = follower("a")
    node.gossip.received(PeerId("a"), Graft(b"unknown"), 0.0)
    assert frames_of(node) == [Prune(b"unknown")]


def test_after_a_prune_nobody_is_grafted_until_the_backoff_is_over() -> None:
    node = follower("a")
    node.gossip.received(PeerId("a"), Prune(TOPIC), 10.0)
    for now in (11.0, 40.0, 69.9):
        node.gossip.heartbeat(now)
        assert Graft(TOPIC) not in frames_of(node)
    node.gossip.heartbeat(70.0)
    assert Graft(TOPIC) in frames_of(node)


def test_what_the_first_does_not_deliver_is_asked_of_the_next() -> None:
    wire = Wire(3)
    liar, honest, asker = wire.nodes
    for other in (liar, honest):
        other.gossip.follow(TOPIC)
        other.take(TOPIC, record(1), wire.now)
        wire.link(asker, other)
    wire.deliver()
    asker.gossip.follow(TOPIC)
    # Both announce; the first to do so is asked, and says no more from now on.
    for _ in range(3):
        for node in wire.nodes:
            for to, frame in node.gossip.drain(wire.now):
                if isinstance(frame, IWant) and to == liar.peer_id:
                    wire.silent.add(liar.peer_id)
                if node.peer_id not in wire.silent:
                    wire.by_id[to].received(node.peer_id, frame, wire.now)
    wire.pass_time(ASK_AGAIN_AFTER_S + 1)
    assert asker.shelf[TOPIC] == honest.shelf[TOPIC]
    assert asker.gossip.synced(TOPIC)


def test_what_nobody_delivers_does_not_keep_a_peer_waiting_for_ever() -> None:
    node = follower("a")
    node.gossip.received(PeerId("a"), IHave(TOPIC, (bytes(32),)), 0.0)
    assert frames_of(node) == [IWant(TOPIC, (bytes(32),))]
    assert not node.gossip.synced(TOPIC)
    node.gossip.heartbeat(ASK_AGAIN_AFTER_S)
    assert node.gossip.synced(TOPIC)


def test_recent_records_are_announced_to_followers_outside_the_mesh_and_old_ones_are_not() -> None:
    node = follower(*"abcdefgh")
    outside = [name for name in "abcdefgh" if PeerId(name) not in node.gossip.mesh(TOPIC)]
    node.take(TOPIC, record(1), 0.0)
    node.gossip.drain(1e9)
    node.gossip.heartbeat(1.0)
    announced = {to for to, frame in node.gossip.drain(1e9) if isinstance(frame, IHave)}
    assert announced == {PeerId(name) for name in outside}
    node.gossip.heartbeat(CONFIG.ihave_window_s + 0.1)
    assert not any(isinstance(frame, IHave) for frame in frames_of(node))


def test_who_leaves_tells_every_follower_what_it_said_last_and_waits_for_no_push() -> None:
    node = follower(*"abcdefgh", config=replace(CONFIG, gossip_gap_s=1.0))
    outside = {PeerId(name) for name in "abcdefgh"} - node.gossip.mesh(TOPIC)
    assert outside
    node.take(TOPIC, record(1), 0.0)
    node.gossip.drain(1.0)
    node.take(TOPIC, record(2), 1.5)
    node.take(TOPIC, record(3), 1.5, source=PeerId("a"))
    assert node.gossip.drain(1.6) == []
    node.gossip.last_words()
    told: dict[PeerId, set[bytes]] = {}
    for to, frame in node.gossip.drain(1.6):
        assert isinstance(frame, Publish)
        told.setdefault(to, set()).update(signed.record_id for signed in frame.records)
    first, second = (record(number).record_id for number in (1, 2))
    assert {to for to, said in told.items() if said == {first, second}} == outside
    assert all(second in told[member] and first not in told[member] for member in node.gossip.mesh(TOPIC))


def test_many_records_share_frames_and_no_frame_is_too_long() -> None:
    node = follower("a")
    sizes = [40] * 1_500 + [40_000] * 5
    for number, size in enumerate(sizes):
        node.take(TOPIC, record(number, size), 0.0)
    frames = [frame for frame in frames_of(node) if isinstance(frame, Publish)]
    assert sum(len(frame.records) for frame in frames) == len(sizes)
    assert len(frames) < 20
    for frame in frames:
        encode_frame(frame)


def test_more_topics_than_one_frame_holds_are_told_in_several() -> None:
    node = Node("creator")
    topics = [number.to_bytes(36) for number in range(2 * TOPICS_MAX + 1)]
    for topic in topics:
        node.gossip.follow(topic)
    node.gossip.link_opened(PeerId("a"))
    told = [decode_frame(encode_frame(frame)) for frame in frames_of(node)]
    assert [topic for frame in told if isinstance(frame, Topics) for topic in frame.follow] == topics


def test_a_neighbour_that_follows_everything_breaks_the_protocol() -> None:
    node = follower("a")
    with pytest.raises(RemoteProtocolError):
        for start in range(0, TOPICS_PER_NEIGHBOUR_MAX + TOPICS_MAX, TOPICS_MAX):
            node.gossip.received(
                PeerId("a"), Topics(tuple((start + number).to_bytes(36) for number in range(TOPICS_MAX)), ()), 0.0
            )


def test_a_stranger_cannot_make_us_want_or_remember_without_end() -> None:
    node = follower("a")
    for number in range(60):
        ids: Sequence[bytes] = [sha256(bytes((number, *index.to_bytes(2)))).digest() for index in range(IDS_MAX)]
        node.gossip.received(PeerId("a"), IHave(TOPIC, tuple(ids)), 0.0)
        node.gossip.received(PeerId("a"), Prune(ids[0]), 0.0)
    wanted = sum(len(frame.ids) for frame in frames_of(node) if isinstance(frame, IWant))
    assert wanted == WANTED_MAX
    assert len(node.gossip._backoff) == 0
