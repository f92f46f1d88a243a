"""Large results of floats: whichever way they come, or do not, the votes for them count as if they had been here."""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdcompute.protocol.batch import Leaf
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.events import Status
from crowdcompute.protocol.gpu import CLASS_BYTES, COMPARED_BYTES_MAX
from crowdcompute.protocol.gpu.compare import Array, Comparison, Tolerance
from crowdcompute.protocol.named import DELIVERED_WITHIN_S, NOT_DELIVERED, Held, Named
from crowdcompute.protocol.opening import INLINE_BYTES_MAX, check_compared, counted_value
from crowdcompute.protocol.referee import Referee
from crowdcompute.protocol.storage import MemoryBlobStore
from crowdcompute.protocol.tally import Ballot, tally

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from crowdcompute.protocol.desk import Desk
    from crowdcompute.protocol.ledger import Ledger

CREATOR = b"creator"
WORKERS = (b"alice", b"bob", b"carol", b"dave")
COMPARISON = Comparison((Array(1, Tolerance(absolute=1.0, relative=0.0, outliers=0.0)),))
RESULTS = tuple(struct.pack("<2000f", *[value] * 2_000) for value in (0.0, 0.75, 1.5, 9.0))


def naming(chunk: int, data: bytes) -> Leaf:
    return Leaf(chunk, Status.OK, inline=False, size=len(data), data=sha256(data).digest())


class Room:
    """A creator's count: no peer is dialled here, what is fetched is noted."""

    delegations: tuple[bytes, ...] = ()

    def __init__(self) -> None:
        self.blobs = MemoryBlobStore()
        self.fetched: list[tuple[bytes, Sequence[bytes]]] = []
        self.named = Named(CREATOR, cast("Ledger", self), cast("Desk", self), self.blobs)
        self.referee = Referee(CREATOR, 2, comparison=COMPARISON, read=self.named.read)
        for worker in WORKERS:
            self.referee.admit(worker)

    def fetch(self, digest: bytes, size: int, root: bytes | None, providers: Sequence[bytes]) -> None:
        self.fetched.append((digest, providers))

    def commit(self, author: bytes, seq: int, leaves: Sequence[Leaf], now: float = 0.0) -> None:
        self._count(self.named.take(Held(author, seq, bytes((seq,)), tuple(leaves)), now, fetch=True))

    def settle(self, data: bytes, *, here: bool) -> None:
        digest = sha256(data).digest()
        if here:
            self.blobs.put(digest, data)
        if self.named.needs(digest):
            self._count(self.named.settled(digest, here=here))

    def _count(self, commits: Sequence[Held]) -> None:
        for commit in commits:
            if commit.leaves:
                self.referee.cast(commit.author, commit.leaves, commit.seq)


votes = st.lists(
    st.tuples(st.sampled_from(WORKERS), st.lists(st.sampled_from(range(4)), min_size=2, max_size=2)), max_size=6
)


@settings(max_examples=300)
@given(votes, st.sets(st.sampled_from(range(4))), st.randoms(use_true_random=False))
def test_what_votes_say_depends_on_which_results_are_here_and_on_no_order(
    cast_votes: list[tuple[bytes, list[int]]], delivered: set[int], rng: Random
) -> None:
    room = Room()
    commits = [
        (worker, seq, [naming(chunk, RESULTS[which]) for chunk, which in enumerate(results)])
        for seq, (worker, results) in enumerate(cast_votes)
    ]
    waiting: list[tuple[str, int]] = [("commit", number) for number in range(len(commits))]
    rng.shuffle(waiting)
    for _, number in waiting:
        room.commit(*commits[number])
        for which in rng.sample(range(4), rng.randint(0, 2)):
            room.settle(RESULTS[which], here=which in delivered and rng.random() < 0.5)
    for which in delivered:
        room.settle(RESULTS[which], here=True)
    for which in range(4):
        room.settle(RESULTS[which], here=which in delivered)
    assert not room.named.is_waiting
    here = {
        sha256(RESULTS[which]).digest(): RESULTS[which]
        for which in delivered
        if room.blobs.size(sha256(RESULTS[which]).digest())
    }

    def same(chunk: int, one: bytes, other: bytes) -> bool:
        return COMPARISON.are_close(here[one[1:]], here[other[1:]])

    ballots = [
        Ballot(
            worker, seq, bytes((seq,)), {it.chunk: counted_value(it, COMPARISON, here.get(it.data)) for it in leaves}
        )
        for worker, seq, leaves in commits
    ]
    whole = tally(
        ballots,
        replication=2,
        creator=CREATOR,
        admitted=WORKERS,
        convicted=dict.fromkeys(room.referee.contradictors, 2**53 - 1),
        assigned=(),
        same=same,
    )
    for worker in room.referee.contradictors:
        room.referee.make_void(worker, 2**53 - 1)
    for chunk, counted in whole.chunks.items():
        assert room.referee.chunk(chunk) == counted


def test_a_commit_is_counted_when_all_it_names_is_here() -> None:
    room = Room()
    room.commit(b"alice", 1, [naming(0, RESULTS[0]), naming(1, RESULTS[1])])
    assert [providers for _, providers in room.fetched] == [(b"alice",), (b"alice",)]
    assert room.named.voters(0) == [b"alice"]
    room.settle(RESULTS[0], here=True)
    assert room.referee.voters(0) == {}
    room.settle(RESULTS[1], here=True)
    assert room.referee.voters(0)[b"alice"].value == naming(0, RESULTS[0]).value
    assert room.named.voters(0) == []


def test_what_nobody_delivers_is_no_result_until_somebody_else_brings_it() -> None:
    room = Room()
    room.commit(b"alice", 1, [naming(0, RESULTS[0])])
    room.settle(RESULTS[0], here=False)
    assert room.referee.reports(0) == {b"alice": NOT_DELIVERED}
    room.commit(b"bob", 2, [naming(0, RESULTS[0])])
    room.settle(RESULTS[0], here=True)
    assert {worker: vote.value for worker, vote in room.referee.voters(0).items()} == dict.fromkeys(
        (b"alice", b"bob"), naming(0, RESULTS[0]).value
    )


def test_a_wrong_size_does_not_spoil_what_others_vote_for() -> None:
    room = Room()
    room.commit(b"alice", 1, [naming(0, RESULTS[0])._replace(size=5_000)])
    room.commit(b"bob", 2, [naming(0, RESULTS[0])])
    assert [providers for _, providers in room.fetched] == [(b"alice",)], "bob is not asked for what it never named"
    room.settle(RESULTS[0], here=False)
    assert room.fetched[-1] == (sha256(RESULTS[0]).digest(), [b"bob"])
    assert room.named.is_waiting
    room.settle(RESULTS[0], here=True)
    assert room.referee.voters(0)[b"bob"].value == naming(0, RESULTS[0]).value


def test_who_takes_long_to_deliver_is_not_waited_for() -> None:
    room = Room()
    room.commit(b"alice", 1, [naming(0, RESULTS[0])], now=10.0)
    assert room.named.overdue(10.0 + DELIVERED_WITHIN_S / 2) == []
    assert room.named.overdue(10.0 + DELIVERED_WITHIN_S) == [0]
    assert room.named.overdue(10.0 + DELIVERED_WITHIN_S) == []
    assert room.named.voters(0) == []
    assert room.named.is_waiting, "should it come it counts all the same"


def test_our_own_result_that_is_lost_is_no_word_of_ours_that_the_chunk_has_none() -> None:
    room = Room()
    room.commit(CREATOR, 1, [naming(0, RESULTS[0])])
    room.settle(RESULTS[0], here=False)
    assert room.referee.voters(0) == {}
    assert room.named.lost() == [0]


@pytest.mark.parametrize("size", [0, INLINE_BYTES_MAX, COMPARED_BYTES_MAX + CLASS_BYTES + 1])
def test_a_result_that_should_be_in_its_vote_or_is_too_large_is_malformed(size: int) -> None:
    leaf = naming(0, RESULTS[0])
    check_compared([leaf])
    with pytest.raises(RemoteProtocolError, match="should be inside of it, or is too large"):
        check_compared([leaf._replace(size=size)])
