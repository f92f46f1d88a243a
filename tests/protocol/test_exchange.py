"""Blobs from providers of whom some lie, lack or vanish: the right bytes, or the word that there are none."""

from __future__ import annotations

from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdcompute.protocol.blobs import PIECE_BYTES, describe
from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.exchange import Exchange
from crowdcompute.protocol.frames import BlobMissing, BlobPieceFrame, BlobWant, Frame, decode_frame, encode_frame
from crowdcompute.protocol.identity import PeerId
from crowdcompute.protocol.serving import Serving
from crowdcompute.protocol.storage import MemoryBlobStore

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = ProtocolConfig(blob_window=4)
ME = PeerId("me")


class Provider:
    """A peer that serves blobs in its own way."""

    def __init__(self, name: str, blobs: dict[bytes, bytes], behaviour: str = "honest") -> None:
        self.peer_id = PeerId(name)
        self.behaviour = behaviour
        self.served = 0
        self._serving = Serving(CONFIG)
        self._exchange = Exchange(CONFIG, MemoryBlobStore(), Random(name), self._serving)
        if behaviour != "missing":
            for digest, data in blobs.items():
                self._exchange._blobs.put(digest, data)

    def answer(self, frame: Frame, now: float) -> list[Frame]:
        self._exchange.received(ME, frame, now)
        frames = []
        while sent := self._exchange.drain(now)[0]:
            frames += [frame for _, frame in sent]
            self._serving.drained(ME)
        self.served += sum(isinstance(frame, BlobPieceFrame) for frame in frames)
        match self.behaviour:
            case "silent":
                return []
            case "liar":
                return [self._lie(frame) for frame in frames]
            case "late half":
                return frames[: len(frames) // 2]
            case _:
                return frames

    def _lie(self, frame: Frame) -> Frame:
        if isinstance(frame, BlobPieceFrame):
            wrong = bytes(byte ^ 1 for byte in frame.data[:1]) + frame.data[1:]
            return BlobPieceFrame(frame.sha256, frame.size, frame.index, wrong, frame.proof)
        return frame


class Fetcher:
    """One exchange that wants blobs, and the wire to its providers."""

    def __init__(self, *providers: Provider) -> None:
        self.store = MemoryBlobStore()
        self.exchange = Exchange(CONFIG, self.store, Random(1), Serving(CONFIG))
        self.providers = {provider.peer_id: provider for provider in providers}
        self.linked: set[PeerId] = set()
        self.blamed: set[PeerId] = set()
        self.finished: dict[bytes, bool] = {}
        self.wanted: set[bytes] = set()
        self.now = 0.0
        self.flying: list[tuple[PeerId, Frame]] = []
        for peer_id in self.providers:
            self.link(peer_id)

    def link(self, peer_id: PeerId) -> None:
        self.linked.add(peer_id)
        self.exchange.link_opened(peer_id, self.now)

    def cut(self, peer_id: PeerId) -> None:
        self.linked.discard(peer_id)
        self.flying = [(source, frame) for source, frame in self.flying if source != peer_id]
        self.exchange.link_closed(peer_id, self.now)

    def fetch(self, data: bytes, *, rooted: bool, providers: list[PeerId] | None = None) -> bytes:
        ref = describe(data)
        self.wanted.add(ref.sha256)
        names = list(self.providers) if providers is None else providers
        self.exchange.fetch(ref.sha256, ref.size, ref.root if rooted else None, names, self.now)
        return ref.sha256

    def turn(self) -> bool:
        """Perform what is due and deliver one frame; False when nothing flies."""
        frames, finished = self.exchange.drain(self.now)
        self.finished.update(finished)
        for peer_id, frame in frames:
            if peer_id in self.linked:
                answers = self.providers[peer_id].answer(decode_frame(encode_frame(frame)), self.now)
                self.flying += [(peer_id, answer) for answer in answers]
        if not self.flying:
            return bool(frames)
        peer_id, frame = self.flying.pop(0)
        try:
            self.exchange.received(peer_id, decode_frame(encode_frame(frame)), self.now)
        except RemoteProtocolError:
            self.blamed.add(peer_id)
        return True

    def run(self) -> None:
        """Deliver everything, and let time pass exactly as the exchange asks, until it wants nothing any more."""
        for _ in range(1_000):
            while self.turn():
                pass
            at = self.exchange.wake_at()
            if at is None or self.wanted <= self.finished.keys():
                return
            assert at >= self.now
            self.now = at
            self.exchange.advance(at)
        pytest.fail("the exchange never comes to an end")


def blob(pieces: float, seed: int = 1) -> bytes:
    return Random(seed).randbytes(int(pieces * PIECE_BYTES))


BIG = blob(9.5)


@pytest.mark.parametrize("rooted", [True, False])
@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES])
def test_a_blob_of_any_size_comes_whole(size: int, *, rooted: bool) -> None:
    data = blob(size / PIECE_BYTES)
    fetcher = Fetcher(Provider("a", {sha256(data).digest(): data}))
    digest = fetcher.fetch(data, rooted=rooted)
    fetcher.run()
    assert fetcher.finished == {digest: True}
    assert fetcher.store.read(digest, 0, size) == data


def test_what_is_here_is_not_asked_for() -> None:
    fetcher = Fetcher(Provider("a", {}))
    fetcher.store.put(sha256(BIG).digest(), BIG)
    digest = fetcher.fetch(BIG, rooted=True)
    frames, finished = fetcher.exchange.drain(0.0)
    assert frames == []
    assert finished == [(digest, True)]


def test_several_providers_share_the_work_and_no_piece_comes_twice() -> None:
    data = blob(40)
    providers = [Provider(name, {sha256(data).digest(): data}) for name in "abcd"]
    fetcher = Fetcher(*providers)
    fetcher.fetch(data, rooted=True)
    fetcher.run()
    assert sum(provider.served for provider in providers) == 40
    assert all(provider.served >= 5 for provider in providers)


def test_no_more_pieces_are_asked_of_a_peer_at_a_time_than_the_window() -> None:
    fetcher = Fetcher(Provider("a", {}))
    fetcher.fetch(blob(40), rooted=False)
    fetcher.fetch(blob(40, seed=2), rooted=False)
    asked = [frame.count for _, frame in fetcher.exchange.drain(0.0)[0] if isinstance(frame, BlobWant)]
    assert sum(asked) == CONFIG.blob_window


def test_a_liar_is_known_by_its_first_piece_and_the_rest_comes_from_others() -> None:
    liar, honest = (Provider(name, {sha256(BIG).digest(): BIG}, name) for name in ("liar", "honest"))
    fetcher = Fetcher(liar, honest)
    digest = fetcher.fetch(BIG, rooted=True)
    fetcher.run()
    assert fetcher.finished == {digest: True}
    assert fetcher.blamed == {liar.peer_id}


def test_without_a_root_the_liar_is_blamed_and_nobody_else() -> None:
    for order in (["liar", "honest"], ["honest", "liar"]):
        providers = {name: Provider(name, {sha256(BIG).digest(): BIG}, name) for name in ("liar", "honest")}
        fetcher = Fetcher(*(providers[name] for name in order))
        digest = fetcher.fetch(BIG, rooted=False)
        fetcher.run()
        assert fetcher.finished == {digest: True}
        assert fetcher.blamed == ({PeerId("liar")} if order[0] == "liar" else set())


def test_without_a_root_an_honest_successor_does_not_pay_for_the_lies_before_it() -> None:
    liar, honest = (Provider(name, {sha256(BIG).digest(): BIG}, name) for name in ("liar", "honest"))
    fetcher = Fetcher(liar, honest)
    digest = fetcher.fetch(BIG, rooted=False)
    for _ in range(3):
        fetcher.turn()
    fetcher.cut(liar.peer_id)
    fetcher.run()
    assert fetcher.finished == {digest: True}
    assert fetcher.blamed == set()


def test_who_has_a_blob_of_another_size_than_we_were_told_is_not_blamed_for_it() -> None:
    honest = Provider("honest", {sha256(BIG).digest(): BIG}, "honest")
    fetcher = Fetcher(honest)
    digest = sha256(BIG).digest()
    fetcher.exchange.fetch(digest, len(BIG) - 1, None, [honest.peer_id], fetcher.now)
    while fetcher.turn():
        pass
    fetcher.exchange.advance(fetcher.now + CONFIG.blob_timeout_s)
    fetcher.turn()
    assert fetcher.blamed == set()
    assert fetcher.finished == {digest: False}


def test_a_provider_that_came_back_does_not_mix_its_pieces_with_anothers() -> None:
    liar, honest = (Provider(name, {sha256(BIG).digest(): BIG}, name) for name in ("liar", "honest"))
    fetcher = Fetcher(liar, honest)
    fetcher.cut(liar.peer_id)
    digest = fetcher.fetch(BIG, rooted=False)
    for _ in range(3):
        fetcher.turn()
    fetcher.link(liar.peer_id)
    fetcher.run()
    assert fetcher.finished == {digest: True}
    assert fetcher.blamed == set()


def test_a_silent_provider_costs_one_timeout() -> None:
    silent, honest = (Provider(name, {sha256(BIG).digest(): BIG}, name) for name in ("silent", "honest"))
    fetcher = Fetcher(silent, honest)
    digest = fetcher.fetch(BIG, rooted=False)
    fetcher.run()
    assert fetcher.finished == {digest: True}
    assert fetcher.now == CONFIG.blob_timeout_s


@pytest.mark.parametrize("behaviour", ["missing", "silent", "liar"])
def test_when_nobody_delivers_the_asker_is_told(behaviour: str) -> None:
    fetcher = Fetcher(*(Provider(name, {sha256(BIG).digest(): BIG}, behaviour) for name in "ab"))
    digest = fetcher.fetch(BIG, rooted=True)
    fetcher.run()
    assert fetcher.finished == {digest: False}
    assert fetcher.store.size(digest) is None


def test_a_blob_that_could_not_be_had_may_be_asked_for_again() -> None:
    fetcher = Fetcher(Provider("a", {sha256(BIG).digest(): BIG}))
    fetcher.cut(PeerId("a"))
    digest = fetcher.fetch(BIG, rooted=True)
    fetcher.run()
    assert fetcher.finished == {digest: False}
    fetcher.link(PeerId("a"))
    fetcher.fetch(BIG, rooted=True)
    fetcher.run()
    assert fetcher.finished == {digest: True}


def test_a_provider_that_is_on_its_way_is_waited_for() -> None:
    fetcher = Fetcher(Provider("a", {sha256(BIG).digest(): BIG}))
    fetcher.cut(PeerId("a"))
    digest = fetcher.fetch(BIG, rooted=True)
    fetcher.now = CONFIG.blob_timeout_s - 1
    fetcher.exchange.advance(fetcher.now)
    fetcher.link(PeerId("a"))
    fetcher.run()
    assert fetcher.finished == {digest: True}


def test_a_piece_that_comes_too_late_is_no_crime_and_one_never_asked_for_is_not_taken() -> None:
    fetcher = Fetcher(Provider("a", {}, "silent"), Provider("b", {}, "silent"))
    digest = fetcher.fetch(BIG, rooted=False, providers=[PeerId("a")])
    fetcher.turn()
    piece = BlobPieceFrame(digest, len(BIG), 0, bytes(PIECE_BYTES), ())
    assert fetcher.exchange.expects(PeerId("a"), piece)
    assert not fetcher.exchange.expects(PeerId("b"), piece)
    fetcher.exchange.received(PeerId("b"), piece, 1.0)
    assert fetcher.exchange.expects(PeerId("a"), piece)
    fetcher.exchange.advance(CONFIG.blob_timeout_s)
    assert not fetcher.exchange.expects(PeerId("a"), piece)
    fetcher.exchange.received(PeerId("a"), piece, CONFIG.blob_timeout_s)


def test_what_is_not_here_is_said_to_be_missing() -> None:
    exchange = Exchange(CONFIG, MemoryBlobStore(), Random(1), Serving(CONFIG))
    exchange.received(PeerId("a"), BlobWant(bytes(32), 0, 1), 0.0)
    assert exchange.drain(0.0) == ([(PeerId("a"), BlobMissing(bytes(32)))], [])


def test_pieces_beyond_the_end_are_not_served() -> None:
    exchange = Exchange(CONFIG, MemoryBlobStore(), Random(1), Serving(CONFIG))
    data = blob(1.5)
    exchange._blobs.put(sha256(data).digest(), data)
    exchange.received(PeerId("a"), BlobWant(sha256(data).digest(), 1, 64), 0.0)
    exchange.received(PeerId("a"), BlobWant(sha256(data).digest(), 2**32 - 1, 64), 0.0)
    assert [frame.index for _, frame in exchange.drain(0.0)[0] if isinstance(frame, BlobPieceFrame)] == [1]


behaviours = st.lists(st.sampled_from(["honest", "missing", "silent", "liar", "late half"]), min_size=1, max_size=5)
events = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from(["cut", "link", "wait"]), st.integers(0, 4)), max_size=8
)


@settings(max_examples=80, deadline=None)
@given(behaviours, events, st.booleans(), st.sampled_from([0, 0.5, 3, 9.5]))
def test_it_always_ends_with_the_right_bytes_or_none(
    kinds: list[str], happenings: list[tuple[int, str, int]], rooted: bool, pieces: float
) -> None:
    data = BIG[: int(pieces * PIECE_BYTES)]
    digest = sha256(data).digest()
    providers = [Provider(f"{number} {kind}", {digest: data}, kind) for number, kind in enumerate(kinds)]
    fetcher = Fetcher(*providers)
    fetcher.fetch(data, rooted=rooted)
    actions: dict[str, Callable[[PeerId], None]] = {
        "cut": fetcher.cut,
        "link": fetcher.link,
        "wait": lambda peer_id: fetcher.exchange.advance(fetcher.now),
    }
    for turns, what, which in happenings:
        for _ in range(turns):
            fetcher.turn()
        fetcher.now += 1.0
        actions[what](providers[which % len(providers)].peer_id)
    fetcher.run()
    assert fetcher.finished.keys() == {digest}
    if fetcher.finished[digest]:
        assert fetcher.store.read(digest, 0, len(data)) == data
    else:
        assert fetcher.store.size(digest) is None
    assert all("liar" in peer_id for peer_id in fetcher.blamed)
    if any(kind == "honest" for kind in kinds) and not any(what == "cut" for _, what, _ in happenings):
        assert fetcher.finished[digest]
    assert not fetcher.exchange._load, "what was asked for is accounted for"


def test_blobs_that_nobody_has_are_given_up_however_many_wait_for_a_peer_s_window() -> None:
    fetcher = Fetcher(Provider("a", {}), Provider("b", {}))
    digests = [fetcher.fetch(blob(0.1, seed), rooted=False) for seed in range(3 * CONFIG.blob_window)]
    fetcher.run()
    assert fetcher.finished == dict.fromkeys(digests, False)
