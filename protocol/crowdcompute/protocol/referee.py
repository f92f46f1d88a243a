"""The creator's view of the votes: every batch opened, tallied chunk by chunk as records come in (spec/ledger.md).

`tally.tally` is the definition; this class gives the same answers without counting everything again, because a state
depends only on the votes on that chunk and on which commits are void (tests/protocol/test_referee.py holds the two
together).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from .events import Status
from .lineage import as_counted, blamed, is_void
from .opening import counted_value
from .tally import ChunkState, ChunkTally, Vote, counts_before, differ, tally_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .batch import Leaf
    from .gpu import Comparison
    from .lineage import Rest


class Referee:
    """Incremental tally of one task. Methods return the chunks whose state may have changed.

    Args:
        comparison: How results are compared, where not by their bytes.
        read: The result of a vote, where results are compared; None of one that is not here, which then is none.
        observed: Whether votes say what a server answered, which may differ without a lie.
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
        observed: bool = False,
    ) -> None:
        self._creator = creator
        self._observed = observed
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
        self._rested_on: dict[bytes, set[int]] = {}
        """Maker -> chunks with votes that rest on a savepoint of it."""
        self._truths: dict[bytes, bool] = {}
        """Savepoint -> whether it is true, as an execution from scratch has shown."""
        self._assigned: dict[int, set[bytes]] = {}
        self._leaves: dict[int, dict[bytes, Leaf]] = {}
        self._copies: dict[int, dict[bytes, Leaf]] = {}
        self._reports: dict[int, dict[bytes, str]] = {}
        self._cache: dict[int, ChunkTally] = {}

    def admit(self, worker: bytes) -> Iterable[int]:
        """Votes of this worker count from now on."""
        self._admitted.add(worker)
        return self._counted_anew(worker)

    def unadmit(self, worker: bytes) -> Iterable[int]:
        """Who admitted this worker was revoked: its votes wait for another admission."""
        self._admitted.discard(worker)
        return self._counted_anew(worker)

    def make_void(self, worker: bytes, to_seq: int) -> Iterable[int]:
        """No commit of this worker up to this seq counts any more; what it voted on there is tainted."""
        if to_seq <= self.void.get(worker, -1):
            return ()
        self.void[worker] = to_seq
        return self._counted_anew(worker)

    def last_seq(self, worker: bytes) -> int:
        """The greatest seq that a worker has cast votes with; a strike voids what was cast until then."""
        return self._last_seq.get(worker, 0)

    def assign(self, worker: bytes, chunks: Iterable[int]) -> Iterable[int]:
        """The creator asked this worker for these chunks."""
        touched = list(chunks)
        for chunk in touched:
            self._assigned.setdefault(chunk, set()).add(worker)
        return self._touched(touched)

    def cast(self, worker: bytes, leaves: Iterable[Leaf], seq: int, rests: tuple[Rest, ...] = ()) -> Iterable[int]:
        """Count one opened batch; `rests` are the savepoints of others that it went on from."""
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
            if previous is not None and value and not self._observed:
                before = self._several.get((chunk, worker), (previous,))
                if not all(self.is_same(chunk, vote.value, value) for vote in before if vote.value):
                    self.contradictors.add(worker)
            vote = cast[worker] = Vote(worker, value, trusted=worker in self._trusted, seq=seq, rests=rests)
            for rest in rests:
                self._rested_on.setdefault(rest.maker, set()).add(chunk)
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
            drawn, assigned = self._drawn(chunk), self._asked(chunk).union(self._assigned.get(chunk, ()))
            chosen = assigned.union(drawn)
            counted, tainted = [], False
            for vote in self.voters(chunk).values():
                if self.void and not tainted:
                    tainted = any(self._taints(each) for each in self._all_of(chunk, vote))
                if not self.counts(vote):
                    continue
                if vote.worker in chosen:
                    vote = vote._replace(drawn=vote.worker in drawn, assigned=vote.worker in assigned)
                counted.append(as_counted(vote, chosen.__contains__))
            # Of several that settle the chunk the last one does: the creator's.
            if len(self._trusted) > 1:
                counted.sort(key=lambda vote: vote.worker == self._creator)
            cached = tally_chunk(
                counted,
                self._replication,
                tainted=tainted,
                chunk=chunk,
                same=self._same,
                kin=self._kin,
                truth=self._truths.get,
                observed=self._observed,
            )
            self._cache[chunk] = cached
        return cached

    def judge(self, savepoint: bytes, chunk: int, *, true: bool) -> None:
        """An execution of the chunk from scratch has shown whether a savepoint of it is true."""
        self._truths[savepoint] = true
        self._touched((chunk,))

    def rests(self, chunk: int) -> list[Rest]:
        """The savepoints that votes on a chunk rest on, of which nobody has seen whether they are true."""
        rests = {rest.savepoint: rest for vote in self.voters(chunk).values() for rest in vote.rests}
        return [rest for savepoint, rest in sorted(rests.items()) if savepoint not in self._truths]

    def is_in_doubt(self, chunk: int) -> bool:
        """Whether a wrong vote on a settled chunk waits for its savepoints to be judged."""
        # Mostly no vote of the whole task rests on anything.
        return bool(self._rested_on) and any(blamed(vote, self._truths.get) is None for vote in self._wrong(chunk))

    def spoilt_by(self, chunk: int, worker: bytes) -> Rest | None:
        """The false savepoint by which a worker has spoilt a vote on a chunk; None where the wrong vote is its own."""
        found = (blamed(vote, self._truths.get) for vote in self._wrong(chunk))
        rests = [rest for maker, rest in filter(None, found) if maker == worker and rest is not None]
        return min(rests, key=lambda rest: (rest.seq, rest.savepoint), default=None)

    def parties(self, chunk: int) -> set[bytes]:
        """Whose work the votes on a chunk are: of those who voted, and whose savepoints they went on from."""
        voters = self.voters(chunk)
        return {*voters, *(rest.maker for vote in voters.values() for rest in vote.rests)}

    def is_assigned(self, chunk: int, worker: bytes) -> bool:
        """Whether the creator asked this worker for this chunk."""
        return worker in self._assigned.get(chunk, ())

    def look_again(self, chunks: Iterable[int]) -> Iterable[int]:
        """Votes on these chunks may count for more, or less, than they did."""
        return self._touched(chunks)

    def touched_chunks(self) -> Iterable[int]:
        """Chunks somebody voted on."""
        return self._votes.keys()

    def voters(self, chunk: int) -> dict[bytes, Vote]:
        """All votes on a chunk, void ones included, as they were cast: who chose whom, the tally adds."""
        return self._votes.get(chunk, {})

    def counts(self, vote: Vote) -> bool:
        """Whether the tally heeds one of `voters`."""
        return self._is_admitted(vote) and not self._is_void(vote)

    def is_executed(self, chunk: int) -> bool:
        """Whether somebody whose word settles chunks has voted on this one."""
        return not self._trusted.isdisjoint(self.voters(chunk))

    def has_own_result(self, chunk: int) -> bool:
        """Whether it has a result from one of them. Having none, or giving the chunk up, shows nothing about others."""
        voters = self.voters(chunk)
        return not self._trusted.isdisjoint(voters) and any(
            author in voters and voters[author].value for author in self._trusted
        )

    def is_disowned(self, chunk: int) -> bool:
        """Whether a vote on a chunk is void, be its author admitted or not."""
        return any(
            map(self._is_void, [each for vote in self.voters(chunk).values() for each in self._all_of(chunk, vote)])
        )

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
            if vote.value and self.is_same(chunk, vote.value, value) and not vote.trusted and self.counts(vote)
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

    def _wrong(self, chunk: int) -> list[Vote]:
        """Votes that count and differ from what somebody trusted computed, where they rest on savepoints."""
        tally = self.chunk(chunk)
        if tally.state is not ChunkState.AGREED or tally.value is None or not self.has_own_result(chunk):
            return []
        return [
            vote
            for vote in self.voters(chunk).values()
            if vote.rests and vote.value and self.counts(vote) and not self.is_same(chunk, vote.value, tally.value)
        ]

    def _counted_anew(self, worker: bytes) -> list[int]:
        """Of a worker's votes, and of those that rest on savepoints of it, others may count now; their chunks."""
        chunks = self._chunks_of.get(worker, set()) | self._rested_on.get(worker, set())
        for chunk, voter in [key for key in self._several if key[0] in chunks]:
            self._votes[chunk][voter] = self._counting(self._several[chunk, voter])
        return self._touched(sorted(chunks))

    def _is_admitted(self, vote: Vote) -> bool:
        if vote.trusted:
            return True
        if vote.worker not in self._admitted:
            return False
        return not vote.rests or all(rest.maker in self._admitted for rest in vote.rests)

    def _taints(self, vote: Vote) -> bool:
        """Whether a vote that would count is void."""
        return self._is_void(vote) and self._is_admitted(vote)

    def _is_void(self, vote: Vote) -> bool:
        return bool(self.void) and is_void(vote.worker, vote.seq, vote.rests, self.void)

    def _all_of(self, chunk: int, vote: Vote) -> Iterable[Vote]:
        """This vote, and all others by its author on the chunk."""
        return self._several.get((chunk, vote.worker), (vote,))

    def _counting(self, votes: list[Vote]) -> Vote:
        """Of one worker's votes on one chunk the one that counts: of those that do the one that says most."""
        best = votes[0]
        for vote in votes[1:]:
            if not self.counts(best) or (self.counts(vote) and counts_before(vote, best)):
                best = vote
        return best

    def _touched(self, chunks: Iterable[int]) -> list[int]:
        touched = list(chunks)
        for chunk in touched:
            self._cache.pop(chunk, None)
        return touched
