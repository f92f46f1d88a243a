"""Many peers and one blob: what each asks for, what the source shows, and what a peer gives to whom."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdcompute.protocol.availability import Availability
from crowdcompute.protocol.blobs import PIECE_BYTES, describe
from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.exchange import LARGE_PIECES, Exchange
from crowdcompute.protocol.frames import BlobCancel, BlobGot, BlobHave, BlobPieceFrame, BlobSeek, BlobWant, Frame
from crowdcompute.protocol.identity import PeerId
from crowdcompute.protocol.neighbours import Neighbours
from crowdcompute.protocol.pieces import draw, members, pieces_of, set_of
from crowdcompute.protocol.seeding import SHOWN_MAX, Seeding
from crowdcompute.protocol.serving import AHEAD_BYTES, WAITING_MAX, Serving
from crowdcompute.protocol.storage import MemoryBlobStore
from crowdcompute.protocol.swarm import TWICE_AFTER_S, have_frames

A, B, C = PeerId("a"), PeerId("b"), PeerId("c")
BLOB = Random(1).randbytes(12 * PIECE_BYTES - 5)
REF = describe(BLOB)

sets = st.integers(0, 2**40 - 1)


class Shelf:
    """Holds any piece, and remembers in which order they were taken."""

    def __init__(self) -> None:
        self.taken: list[tuple[PeerId, int]] = []

    def piece(self, peer_id: PeerId, digest: bytes, index: int) -> BlobPieceFrame:
        self.taken.append((peer_id, index))
        return BlobPieceFrame(digest, 2**40, index, bytes(PIECE_BYTES), ())


class Network:
    """Exchanges linked with each other; frames take no time, and every link drains at once."""

    def __init__(self, names: str, links: list[str], *, whole: str, upload: float | None = None) -> None:
        self.now = 0.0
        self.config = ProtocolConfig(upload_bytes_per_s=upload)
        self.stores = {PeerId(name): MemoryBlobStore() for name in names}
        self.servings = {peer_id: Serving(self.config) for peer_id in self.stores}
        self.exchanges = {
            peer_id: Exchange(self.config, store, Random(peer_id), self.servings[peer_id])
            for peer_id, store in self.stores.items()
        }
        self.sent: list[tuple[PeerId, PeerId, Frame]] = []
        self.finished: dict[PeerId, bool] = {}
        for name in whole:
            self.stores[PeerId(name)].put(REF.sha256, BLOB)
        for left, right in (map(PeerId, pair) for pair in links):
            self.exchanges[left].link_opened(right, 0.0)
            self.exchanges[right].link_opened(left, 0.0)

    def fetch(self, names: str) -> None:
        for name in names:
            self.exchanges[PeerId(name)].fetch(REF.sha256, REF.size, REF.root, (), self.now)

    def run(self, until_s: float = 30.0) -> None:
        while True:
            moved = True
            while moved:
                moved = False
                for peer_id, exchange in self.exchanges.items():
                    frames, finished = exchange.drain(self.now)
                    for _, here in finished:
                        self.finished[peer_id] = here
                    for to, frame in frames:
                        moved = True
                        self.sent.append((peer_id, to, frame))
                        self.servings[peer_id].drained(to)
                        self.exchanges[to].received(peer_id, frame, self.now)
            wakes = [at for exchange in self.exchanges.values() if (at := exchange.wake_at()) is not None]
            if not wakes or min(wakes) > until_s:
                return
            self.now = min(wakes)
            for exchange in self.exchanges.values():
                exchange.advance(self.now)

    def pieces(self) -> list[tuple[PeerId, PeerId, int]]:
        return [(source, to, frame.index) for source, to, frame in self.sent if isinstance(frame, BlobPieceFrame)]


# ---- sets of pieces


@given(sets, st.randoms(use_true_random=False))
def test_a_set_is_its_members(pieces: int, rng: Random) -> None:
    indices = list(members(pieces))
    assert indices == [index for index in range(40) if pieces >> index & 1]
    assert set_of(indices) == pieces
    if pieces:
        assert draw(pieces, rng) in indices


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_pieces_of_a_range_hold_it_and_no_more(start: int, length: int) -> None:
    needed = {place // PIECE_BYTES for place in (start, start + length - 1)} if length else set[int]()
    expected = list(range(min(needed), max(needed) + 1)) if needed else []
    assert list(members(pieces_of(start, length))) == expected


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.one_of(st.none(), sets)), max_size=30), sets)
def test_the_rarest_are_those_that_the_fewest_have(happenings: list[tuple[str, int | None]], among: int) -> None:
    availability, model = Availability(), dict[str, int]()
    for name, pieces in happenings:
        if pieces is None:
            availability.drop(PeerId(name))
            model.pop(name, None)
        else:
            availability.has(PeerId(name), pieces)
            model[name] = model.get(name, 0) | pieces
    counts = {index: sum(has >> index & 1 for has in model.values()) for index in members(among)}
    fewest = min(counts.values(), default=0)
    assert list(members(availability.rarest(among))) == [index for index in counts if counts[index] == fewest]


@given(st.integers(1, 200_000), st.integers(0, 2**64))
def test_what_is_here_is_said_in_frames_that_say_it_again(count: int, seed: int) -> None:
    here = Random(seed).getrandbits(count)
    said = 0
    for frame in have_frames(bytes(32), count, here):
        said |= int.from_bytes(frame.bits, "little") << frame.first
    assert said == here


# ---- giving


def test_neighbours_are_served_in_turn_however_much_one_asks_for() -> None:
    serving, shelf = Serving(ProtocolConfig()), Shelf()
    serving.ask(A, shelf, b"x", range(100))
    serving.ask(B, shelf, b"x", range(2))
    serving.pump(0.0)
    assert shelf.taken[:4] == [(A, 0), (B, 0), (A, 1), (B, 1)]


def test_a_link_that_does_not_drain_gets_no_more_than_it_should_hold() -> None:
    serving, shelf = Serving(ProtocolConfig()), Shelf()
    serving.ask(A, shelf, b"x", range(100))
    assert len(serving.pump(0.0)) == AHEAD_BYTES // PIECE_BYTES
    assert serving.pump(1.0) == []
    assert serving.wake_at() is None
    serving.drained(A)
    assert len(serving.pump(2.0)) == AHEAD_BYTES // PIECE_BYTES


def test_what_is_called_off_in_time_is_not_sent() -> None:
    serving, shelf = Serving(ProtocolConfig()), Shelf()
    serving.ask(A, shelf, b"x", range(100))
    serving.cancel(A, shelf, b"x", range(1, 100))
    serving.pump(0.0)
    assert shelf.taken == [(A, 0)]


def test_nobody_waits_for_more_pieces_than_anybody_should() -> None:
    serving = Serving(ProtocolConfig())
    with pytest.raises(RemoteProtocolError, match="at a time"):
        serving.ask(A, Shelf(), b"x", range(WAITING_MAX + 1))


@given(st.floats(1e4, 1e7), st.lists(st.floats(0, 0.5), min_size=20, max_size=60))
def test_no_more_is_sent_than_the_cap_allows_and_no_less_while_somebody_waits(cap: float, pauses: list[float]) -> None:
    serving, shelf, now = Serving(ProtocolConfig(upload_bytes_per_s=cap)), Shelf(), 0.0
    sent, busy_until = 0, 0.0
    for pause_s in pauses:
        now += pause_s
        serving.ask(A, shelf, b"x", [0])
        serving.ask(B, shelf, b"x", [1])
        sent += len(serving.pump(now))
        serving.drained(A)
        serving.drained(B)
        assert (sent - 1) * PIECE_BYTES <= cap * (now + 0.3) + 1e-3
        busy_until = serving.wake_at() or now
        assert busy_until <= now + PIECE_BYTES / cap + 1e-9
    serving.pump(busy_until)


@given(st.floats(1e4, 1e7), st.none() | st.floats(1e4, 1e7), st.none() | st.floats(1e4, 1e7))
def test_what_was_sent_is_owed_when_the_cap_changes(first: float, second: float | None, third: float | None) -> None:
    serving, shelf = Serving(ProtocolConfig(upload_bytes_per_s=first)), Shelf()
    while (serving.wake_at() or 0.0) <= 1.0:
        serving.ask(A, shelf, b"x", [0, 1])
        serving.pump(1.0)
        serving.drained(A)
    owed_bytes = ((serving.wake_at() or 1.0) - 1.0) * first
    for cap in (second, third, first):
        serving.cap(cap, 1.0)
        owed_bytes = 0.0 if cap is None else owed_bytes
        wait_s = max(0.0, (serving.wake_at() or 1.0) - 1.0)
        assert wait_s == pytest.approx(0.0 if cap is None else owed_bytes / cap)


# ---- seeding


@settings(max_examples=50)
@given(st.integers(1, 60), st.integers(1, 5), st.randoms(use_true_random=False))
def test_nothing_is_shown_twice_while_something_was_shown_to_nobody(count: int, peers: int, rng: Random) -> None:
    seeding = Seeding(count, rng)
    names = [PeerId(str(number)) for number in range(peers)]
    shown: dict[PeerId, set[int]] = {}
    everything: Counter[int] = Counter()
    for peer_id in names:
        seeding.joined(peer_id)
        new = seeding.show(peer_id)
        everything.update(new)
        assert max(everything.values(), default=0) == 1 or len(everything) == count
        shown[peer_id] = set(new)
    for _ in range(10_000):
        if seeding.done:
            break
        peer_id = rng.choice([name for name in names if shown[name]])
        index = shown[peer_id].pop()
        seeding.served(peer_id, index)
        for each in (peer_id, rng.choice(names)):
            shown[each] |= set(seeding.show(each))
        assert len(shown[peer_id]) <= SHOWN_MAX
    assert seeding.done


def test_the_only_source_gives_everything_once_before_it_gives_anything_twice() -> None:
    network = Network("sabc", ["sa", "sb", "sc", "ab", "bc"], whole="s", upload=1e6)
    network.fetch("abc")
    network.run()
    assert network.finished == {A: True, B: True, C: True}
    assert all(network.stores[peer_id].read(REF.sha256, 0, REF.size) == BLOB for peer_id in (A, B, C))
    from_source = [index for source, _, index in network.pieces() if source == "s"]
    assert sorted(from_source[:12]) == list(range(12))


# ---- fetching


def test_a_peer_gives_on_what_it_has_before_it_has_all() -> None:
    network = Network("sab", ["sa", "ab"], whole="s", upload=1e6)
    network.fetch("ab")
    network.run()
    assert network.finished == {A: True, B: True}
    arrived = [source for source, to, _ in network.pieces() if to in (A, B)]
    assert arrived.index(A) < len(arrived) - 1 - arrived[::-1].index(PeerId("s"))


def test_only_the_pieces_wanted_come_and_the_source_is_not_coy_about_them() -> None:
    network = Network("sa", ["sa"], whole="s")
    network.exchanges[A].fetch_pieces(REF.sha256, REF.size, REF.root, 0b1001, 0.0)
    network.run()
    assert network.finished == {A: True}
    assert sorted(index for _, _, index in network.pieces()) == [0, 3]
    assert network.exchanges[A].here(REF.sha256) == 0b1001
    assert network.stores[A].read(REF.sha256, 3 * PIECE_BYTES, 9) == BLOB[3 * PIECE_BYTES :][:9]
    assert network.stores[A].size(REF.sha256) is None


def test_a_fetch_goes_on_after_a_restart_with_what_had_come() -> None:
    network = Network("sa", ["sa"], whole="s")
    network.exchanges[A].fetch_pieces(REF.sha256, REF.size, REF.root, 0b1111, 0.0)
    network.run()
    network.sent.clear()
    network.exchanges[A] = Exchange(network.config, network.stores[A], Random(2), network.servings[A])
    network.exchanges[A].link_opened(PeerId("s"), network.now)
    network.fetch("a")
    network.run(network.now + 30)
    assert network.finished == {A: True}
    assert sorted(index for _, _, index in network.pieces()) == list(range(4, 12))


def fetcher() -> Exchange:
    """Wants the blob, and is linked with A and B, who both say that they have all of it."""
    config = ProtocolConfig()
    exchange = Exchange(config, MemoryBlobStore(), Random(1), Serving(config))
    for peer_id in (A, B):
        exchange.link_opened(peer_id, 0.0)
    exchange.fetch(REF.sha256, REF.size, REF.root, (), 0.0)
    exchange.drain(0.0)
    return exchange


def asked_of(frames: list[tuple[PeerId, Frame]], peer_id: PeerId) -> list[int]:
    return [frame.first for to, frame in frames if to == peer_id and isinstance(frame, BlobWant)]


def test_a_piece_that_does_not_come_is_asked_of_a_second_and_called_off_at_the_first() -> None:
    exchange = fetcher()
    exchange.received(A, BlobHave(REF.sha256, 0, b"\x01"), 0.0)
    exchange.received(B, BlobHave(REF.sha256, 0, b"\x01"), 0.0)
    assert asked_of(exchange.drain(0.0)[0], A) == [0]
    assert exchange.wake_at() == TWICE_AFTER_S
    exchange.advance(TWICE_AFTER_S)
    assert asked_of(exchange.drain(TWICE_AFTER_S)[0], B) == [0]
    provider = Exchange(ProtocolConfig(), MemoryBlobStore(), Random(1), Serving(ProtocolConfig()))
    provider._blobs.put(REF.sha256, BLOB)
    piece = provider.piece(A, REF.sha256, 0)
    assert piece is not None
    exchange.received(B, piece, 1.0)
    assert (A, BlobCancel(REF.sha256, (0,))) in exchange.drain(1.0)[0]
    assert not exchange.expects(A, piece)


def test_what_is_rare_is_asked_for_first() -> None:
    exchange = fetcher()
    exchange.received(B, BlobHave(REF.sha256, 0, b"\xff\x07"), 0.0)
    exchange.drain(0.0)
    exchange.received(A, BlobHave(REF.sha256, 0, b"\xff\x0f"), 0.0)
    assert asked_of(exchange.drain(0.0)[0], A)[0] == 11


def test_pieces_a_blob_does_not_have_are_a_breach() -> None:
    exchange = fetcher()
    with pytest.raises(RemoteProtocolError, match="no piece"):
        exchange.received(A, BlobHave(REF.sha256, 0, b"\x00\x10"), 0.0)
    with pytest.raises(RemoteProtocolError, match="no piece"):
        exchange.received(A, BlobGot(REF.sha256, (12,)), 0.0)


def test_a_reference_that_lies_about_its_hash_leaves_nothing_behind() -> None:
    network = Network("sa", ["sa"], whole="s")
    other = sha256(b"another").digest()
    network.stores[PeerId("s")].put(other, BLOB)
    network.exchanges[A].fetch(other, REF.size, REF.root, (), 0.0)
    network.run()
    assert network.finished == {A: False}
    assert network.stores[A].size(other) is None
    assert not network.stores[A].begin(other, REF.size)


def test_who_seeks_what_is_neither_here_nor_coming_is_told_so() -> None:
    network = Network("ab", ["ab"], whole="")
    network.exchanges[A].received(B, BlobSeek(bytes(32), whole=True), 0.0)
    frames, _ = network.exchanges[A].drain(0.0)
    assert [type(frame).__name__ for _, frame in frames] == ["BlobMissing"]


def test_while_a_large_blob_comes_more_links_are_dialled() -> None:
    config = ProtocolConfig()
    neighbours = Neighbours(config, Random(1), 0.0)
    neighbours.discovered([PeerId(str(number)) for number in range(30)], 0.0)
    first = neighbours.dials(0.0)
    assert len(first) == config.neighbours_target
    for peer_id, _ in first:
        neighbours.opened(peer_id, 1.0, dialled=True)
    assert not neighbours.lacking
    neighbours.moving = True
    assert len(neighbours.dials(1.0)) == config.blob_neighbours - config.neighbours_target


def test_only_a_large_blob_that_is_not_here_yet_is_worth_more_links() -> None:
    exchange = fetcher()
    assert not exchange.moving
    exchange.fetch(bytes(32), LARGE_PIECES * PIECE_BYTES, bytes(32), (), 0.0)
    assert exchange.moving
    exchange.forget(bytes(32))
    assert not exchange.moving
