"""The creator's view of the votes: every batch opened, tallied chunk by chunk as records come in (spec/ledger.md).

`tally.tally` is the definition; this class gives the same answers without counting everything again, because a state
depends only on the votes on that chunk and on which commits are void (tests/protocol/test_referee.py holds the two
together).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from .events import Status
from .opening import counted_value
from .tally import ChunkState, ChunkTally, Vote, differ, says_more, tally_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .batch import Leaf
    from .gpu import Comparison


class Referee:
    """Incremental tally of one task. Methods return the chunks whose state may have changed.

    Args:
        comparison: How results are compared, where not by their bytes.
        read: The result of a vote, where results are compared; None of one that is not here, which then is none.
    """

    def __init__(
        self,
        creator: bytes,
        replication: int,
        drawn: Callable[[int], frozenset[bytes]] = lambda _: frozenset(),
        comparison: Comparison | None = None,
        *,
        asked: Callable[[int], frozenset[bytes]] = lambda _: frozenset(),
        steward: bytes | None = None,
        read: Callable[[Leaf], bytes | None] = lambda leaf: leaf.data,
    ) -> None:
        self._creator = creator
        self._comparison = comparison
        self._read = read
        self._same = differ if comparison is None else self._are_close
        self._kin = self._class_of if comparison is not None and comparison.has_classes else None
        self._classes: dict[bytes, bytes] = {}  # value -> class
        self._last_class: dict[bytes, bytes] = {}  # worker -> class
        self._close: dict[tuple[bytes, bytes], bool] = {}
        """What was compared already: a large result takes milliseconds."""
        self._trusted = {creator, steward or creator}
        """Whose own executions settle a chunk: for a steward besides the creator's, which go before, its own."""
        self._drawn = drawn
        """Whose votes on a chunk were drawn by lots; what changes it is told by `look_again`."""
        self._asked = asked
        """Whom somebody asked for a chunk for whom the creator answers; `look_again` tells of changes, too."""
        self._replication = replication
        self.void: dict[bytes, int] = {}
        """Worker -> the seq up to which its commits are void."""
        self.contradictors: set[bytes] = set()
        """Workers that signed two different values for one chunk; the caller convicts them."""
        self._admitted: set[bytes] = set()
        self._votes: dict[int, dict[bytes, Vote]] = {}
        self._several: dict[tuple[int, bytes], list[Vote]] = {}
        """All votes of workers that committed a chunk more than once."""
        self._last_seq: dict[bytes, int] = {}
        self._chunks_of: dict[bytes, set[int]] = {}
        self._assigned: dict[int, set[bytes]] = {}
        self._leaves: dict[int, dict[bytes, Leaf]] = {}
        self._copies: dict[int, dict[bytes, Leaf]] = {}
        self._reports: dict[int, dict[bytes, str]] = {}
        self._cache: dict[int, ChunkTally] = {}

    def admit(self, worker: bytes) -> Iterable[int]:
        """Votes of this worker count from now on."""
        self._admitted.add(worker)
        return self._touched(self._chunks_of.get(worker, ()))

    def unadmit(self, worker: bytes) -> Iterable[int]:
        """Who admitted this worker was revoked: its votes wait for another admission."""
        self._admitted.discard(worker)
        return self._touched(self._chunks_of.get(worker, ()))

    def make_void(self, worker: bytes, to_seq: int) -> Iterable[int]:
        """No commit of this worker up to this seq counts any more; what it voted on there is tainted."""
        if to_seq <= self.void.get(worker, -1):
            return ()
        self.void[worker] = to_seq
        chunks = self._chunks_of.get(worker, ())
        for chunk in chunks:
            if (chunk, worker) in self._several:
                self._votes[chunk][worker] = self._counting(self._several[chunk, worker])
        return self._touched(chunks)

    def last_seq(self, worker: bytes) -> int:
        """The greatest seq that a worker has cast votes with; a strike voids what was cast until then."""
        return self._last_seq.get(worker, 0)

    def assign(self, worker: bytes, chunks: Iterable[int]) -> Iterable[int]:
        """The creator asked this worker for these chunks."""
        touched = list(chunks)
        for chunk in touched:
            self._assigned.setdefault(chunk, set()).add(worker)
            vote = self._votes.get(chunk, {}).get(worker)
            if vote is not None:
                self._votes[chunk][worker] = vote._replace(assigned=True)
                several = self._several.get((chunk, worker), [])
                several[:] = [each._replace(assigned=True) for each in several]
        return self._touched(touched)

    def cast(self, worker: bytes, leaves: Iterable[Leaf], seq: int) -> Iterable[int]:
        """Count one opened batch."""
        self._last_seq[worker] = max(seq, self._last_seq.get(worker, 0))
        chunks = self._chunks_of.setdefault(worker, set())
        touched = []
        for leaf in leaves:
            chunk = leaf.chunk
            data = None if self._comparison is None else self._read(leaf)
            value = counted_value(leaf, self._comparison, data)
            cast = self._votes.setdefault(chunk, {})
            previous = cast.get(worker)
            if value:
                self._leaves.setdefault(chunk, {}).setdefault(value, leaf)
                if self._comparison is not None and data is not None and leaf.status is Status.OK:
                    self._classes[value] = self._last_class[worker] = self._comparison.class_of(data)
            if previous is not None and value:
                before = self._several.get((chunk, worker), (previous,))
                if not all(self.is_same(chunk, vote.value, value) for vote in before if vote.value):
                    self.contradictors.add(worker)
            assigned = worker in self._assigned.get(chunk, ())
            vote = cast[worker] = Vote(worker, value, assigned, worker in self._trusted, seq)
            if previous is not None:
                several = self._several.setdefault((chunk, worker), [previous])
                several.append(vote)
                cast[worker] = self._counting(several)
            if not value:
                is_report = leaf.status is Status.NO_RESULT
                reason = leaf.data.decode(errors="replace") if is_report else "a result that is none of the task's"
                self._reports.setdefault(chunk, {})[worker] = reason
            elif leaf.sealed:
                self._copies.setdefault(chunk, {})[worker] = leaf
            chunks.add(chunk)
            touched.append(chunk)
        return self._touched(touched)

    def chunk(self, chunk: int) -> ChunkTally:
        """The state of one chunk."""
        cached = self._cache.get(chunk)
        if cached is None:
            cast = self._votes.get(chunk, {})
            admitted = [vote for worker, vote in cast.items() if vote.trusted or worker in self._admitted]
            drawn, asked = self._drawn(chunk), self._asked(chunk)
            counted = [
                vote._replace(drawn=vote.worker in drawn, assigned=vote.assigned or vote.worker in asked)
                for vote in admitted
                if not self._is_void(vote)
            ]
            # Of several that settle the chunk the last one does: the creator's.
            if len(self._trusted) > 1:
                counted.sort(key=lambda vote: vote.worker == self._creator)
            tainted = any(self._has_void_vote(chunk, vote) for vote in admitted)
            cached = tally_chunk(
                counted, self._replication, tainted=tainted, chunk=chunk, same=self._same, kin=self._kin
            )
            self._cache[chunk] = cached
        return cached

    def look_again(self, chunks: Iterable[int]) -> Iterable[int]:
        """Votes on these chunks may count for more, or less, than they did."""
        return self._touched(chunks)

    def touched_chunks(self) -> Iterable[int]:
        """Chunks somebody voted on."""
        return self._votes.keys()

    def voters(self, chunk: int) -> dict[bytes, Vote]:
        """All votes on a chunk, void ones included."""
        return self._votes.get(chunk, {})

    def counts(self, vote: Vote) -> bool:
        """Whether the tally heeds one of `voters`."""
        return (vote.trusted or vote.worker in self._admitted) and not self._is_void(vote)

    def is_executed(self, chunk: int) -> bool:
        """Whether somebody whose word settles chunks has voted on this one."""
        return not self._trusted.isdisjoint(self.voters(chunk))

    def has_own_result(self, chunk: int) -> bool:
        """Whether it has a result from one of them. Having none, or giving the chunk up, shows nothing about others."""
        voters = self.voters(chunk)
        return any(author in voters and voters[author].value for author in self._trusted)

    def is_disowned(self, chunk: int) -> bool:
        """Whether a vote on a chunk is void, be its author admitted or not."""
        return any(self._has_void_vote(chunk, vote) for vote in self._votes.get(chunk, {}).values())

    def is_same(self, chunk: int, one: bytes, other: bytes) -> bool:
        """Whether two values that were voted for are one result."""
        return one == other or self._same(chunk, one, other)

    def strangers(self, chunk: int) -> frozenset[bytes]:
        """Workers whose votes could not confirm a chunk that has some: their devices are of another class.

        Who begins a chunk chooses its class; of several the one with most votes is gone on with.
        """
        if self._kin is None or self.chunk(chunk).state is not ChunkState.SEALED:
            return frozenset()
        begun = Counter(
            self._class_of(chunk, vote.value)
            for vote in self.voters(chunk).values()
            if vote.value and self.counts(vote)
        )
        if not begun:
            return frozenset()
        chosen = min(begun, key=lambda each: (-begun[each], each))
        return frozenset(worker for worker, its in self._last_class.items() if its != chosen)

    def confirmers(self, chunk: int, value: bytes) -> list[bytes]:
        """Workers whose votes for this result count."""
        return [
            worker
            for worker, vote in self._votes.get(chunk, {}).items()
            if vote.value
            and self.is_same(chunk, vote.value, value)
            and not vote.trusted
            and worker in self._admitted
            and not self._is_void(vote)
        ]

    def voted_chunks(self, worker: bytes) -> Iterable[int]:
        return self._chunks_of.get(worker, ())

    def leaf(self, chunk: int, value: bytes) -> Leaf:
        """The leaf that carries, or names, the result of this value."""
        return self._leaves[chunk][value]

    def copies(self, chunk: int) -> dict[bytes, Leaf]:
        """The leaves that name a sealed copy of their result, by worker."""
        return self._copies.get(chunk, {})

    def reports(self, chunk: int) -> dict[bytes, str]:
        """Why workers got no result, by worker."""
        return self._reports.get(chunk, {})

    def _class_of(self, chunk: int, value: bytes) -> bytes:
        return self._classes.get(value, b"")

    def _are_close(self, chunk: int, one: bytes, other: bytes) -> bool:
        assert self._comparison is not None
        pair = (one, other) if one < other else (other, one)
        close = self._close.get(pair)
        if close is None:
            left, right = (self._read(self._leaves[chunk][value]) or b"" for value in pair)
            close = self._close[pair] = self._comparison.is_same(pair[0], left, pair[1], right)
        return close

    def _is_void(self, vote: Vote) -> bool:
        return vote.seq <= self.void.get(vote.worker, -1)

    def _has_void_vote(self, chunk: int, vote: Vote) -> bool:
        """Whether this vote, or another one by its author on the chunk, is void."""
        return self._is_void(vote) or any(map(self._is_void, self._several.get((chunk, vote.worker), ())))

    def _counting(self, votes: list[Vote]) -> Vote:
        """Of one worker's votes on one chunk the one that counts: the one that says most of those that are not void."""
        best = votes[0]
        for vote in votes[1:]:
            if self._is_void(best) or (not self._is_void(vote) and says_more(vote.value, best.value)):
                best = vote
        return best

    def _touched(self, chunks: Iterable[int]) -> list[int]:
        touched = list(chunks)
        for chunk in touched:
            self._cache.pop(chunk, None)
        return touched
