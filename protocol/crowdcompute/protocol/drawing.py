"""Who may confirm which chunk while the creator is away: lots that anybody can check (spec/away.md, "Lots").

    lot(worker, epoch, chunk) = hash(beacon, nonce of its admission, value of its chain for the epoch, chunk)
    drawn when lot < 2 ** age / workers        age: epochs since the chunk was first voted on, from 0

Nobody but the worker can compute its lots before it shows the value; it cannot choose them, because its chain was fixed
before the nonce was drawn; and no friend can see who else may be drawn. The chance doubles each epoch, so that a chunk
is confirmed soon however few of the admitted are still there.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from .epochs import NO_VALUE, ChainView, last_epoch
from .records import SEEN_BYTES, chunks_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .ledger import Ledger
    from .records import Commit, Reveal

AGE_MAX = 17
"""After so many doublings everybody is drawn."""

NO_NONCE = bytes(16)
"""Of a guest, which has none: it could choose its lots, and what it confirms counts provisionally only."""

_LOTS = 2**32


class Absence(NamedTuple):
    """What lots are drawn from in an epoch without the creator: its last beacon, and how many workers there were."""

    beacon: bytes
    workers: int


class _Drawn(NamedTuple):
    commit_id: bytes
    author: bytes
    epoch: int
    link: bytes
    seq: int


def lot(task: bytes, absence: Absence, nonce: bytes, link: bytes, chunk: int) -> int:
    """A worker's lot for one chunk, from 0 to 2^32 - 1."""
    return int.from_bytes(sha256(b"cc/lot/1\0" + task + absence.beacon + nonce + link + chunk.to_bytes(4)).digest()[:4])


def wins(number: int, absence: Absence, age: int) -> bool:
    """Whether a lot is small enough for a chunk of this age."""
    return number * max(1, absence.workers) < _LOTS << min(age, AGE_MAX)


class _Valid(NamedTuple):
    author: bytes
    epoch: int
    blind: bool


class Lots:
    """Which votes of one task were made because lots chose them: a function of the ledger's records."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._length = last_epoch(ledger.manifest)
        self._drawn: dict[int, tuple[_Drawn, ...]] = {}  # chunk -> commits that say they were drawn
        self._begun: dict[int, int] = {}  # chunk -> the first epoch in which somebody chose it
        self._shown: dict[int, dict[bytes, frozenset[bytes]]] = {}  # chunk -> author of a reveal -> what it had seen
        self._chains: dict[bytes, ChainView] = {}
        self._links: dict[bytes, dict[tuple[int, bytes], None]] = {}  # worker -> what it showed of its chain
        self._valid: dict[int, tuple[_Valid, ...]] = {}
        """Of chunks asked for before: the drawn commits that lots did choose. What changes them forgets them."""
        self._checked: dict[bytes, int] = {}  # worker -> how many of these were right
        self._broken: set[bytes] = set()

    def committed(self, commit_id: bytes, author: bytes, commit: Commit) -> None:
        """The ledger has taken a commit."""
        if not self._length or author == self._ledger.manifest.creator:
            return
        if commit.link:
            self._links.setdefault(author, {})[commit.epoch, commit.link] = None
            self.is_linked(author)  # A wrong link undoes what was drawn before.
        for chunk in chunks_of(commit.shard, commit.runs):
            self._valid.pop(chunk, None)
            if commit.link:
                drawn = _Drawn(commit_id, author, commit.epoch, commit.link, commit.seq)
                self._drawn[chunk] = (*self._drawn.get(chunk, ()), drawn)
            elif commit.epoch < self._begun.get(chunk, self._length + 1):
                self._begun[chunk] = commit.epoch

    def revealed(self, author: bytes, commit: Commit, reveal: Reveal) -> None:
        """The ledger has taken a reveal."""
        for chunk in chunks_of(commit.shard, commit.runs):
            self._valid.pop(chunk, None)
            shown = self._shown.setdefault(chunk, {})
            seen = frozenset(reveal.seen)
            shown[author] = shown.get(author, seen) & seen

    def look_again(self) -> None:
        """Somebody became void, or a beacon came."""
        self._valid.clear()

    def anchored(self, worker: bytes) -> None:
        """A worker has joined, or was admitted: the anchor and the nonce that count may be other ones now."""
        self._valid.clear()
        self._chains.pop(worker, None)
        self._checked.pop(worker, None)
        self._broken.discard(worker)

    def forget(self, commit_id: bytes, commit: Commit) -> None:
        """A checkpoint has closed all chunks of a commit."""
        if not self._drawn and not self._valid:
            return  # So it is while the creator is there.
        for chunk in chunks_of(commit.shard, commit.runs):
            self._valid.pop(chunk, None)
            left = tuple(drawn for drawn in self._drawn.pop(chunk, ()) if drawn.commit_id != commit_id)
            if left:
                self._drawn[chunk] = left

    def age(self, chunk: int, epoch: int) -> int | None:
        """How long a chunk has waited for a second vote; None when nobody may be drawn for it in this epoch."""
        begun = self._begun.get(chunk)
        return None if begun is None or epoch <= begun else epoch - begun - 1

    def is_drawn(self, worker: bytes, link: bytes, epoch: int, chunk: int) -> bool:
        """Whether lots choose a worker for a chunk in an epoch. Whether the link is right is not looked at."""
        absence, age = self._ledger.absence(epoch), self.age(chunk, epoch)
        if absence is None or age is None:
            return False
        admit = self._ledger.admits.get(worker)
        nonce = admit.nonce if admit is not None else NO_NONCE
        return wins(lot(self._ledger.task, absence, nonce, link, chunk), absence, age)

    def workers(self, chunk: int, *, blind: bool, until: int | None = None) -> frozenset[bytes]:
        """Whose votes on a chunk were drawn; if `blind`, only those made before anybody showed a vote on it.

        With `until` those are left out that claim a later epoch.
        """
        if chunk not in self._drawn:
            return frozenset()
        valid = self._valid.get(chunk)
        if valid is None:
            valid = self._valid[chunk] = tuple(
                _Valid(drawn.author, drawn.epoch, self._is_blind(drawn, chunk))
                for drawn in self._drawn[chunk]
                if drawn.seq > self._ledger.void_to(drawn.author)
                and self.is_drawn(drawn.author, drawn.link, drawn.epoch, chunk)
                and self.is_linked(drawn.author)
            )
        return frozenset(
            author for author, epoch, is_blind in valid if (is_blind or not blind) and (until is None or epoch <= until)
        )

    def count(self) -> int:
        """How many votes were drawn blindly."""
        return sum(len(self.workers(chunk, blind=True)) for chunk in self._drawn)

    def commits_on(self, chunks: Iterable[int]) -> set[bytes]:
        """The commits that say they were drawn for any of these chunks: those for which it matters when they came."""
        return {drawn.commit_id for chunk in chunks for drawn in self._drawn.get(chunk, ())}

    def is_shown(self, chunk: int, *, besides: bytes) -> bool:
        """Whether somebody else than this worker has shown a vote on a chunk."""
        return any(author != besides for author in self._shown.get(chunk, ()))

    def is_linked(self, worker: bytes) -> bool:
        """Whether all that a worker showed of its chain is right. One wrong value, and it is drawn for nothing."""
        links = self._links.get(worker, {})
        if worker in self._broken or self._checked.get(worker) == len(links):
            return worker not in self._broken
        chain = self._chains.get(worker)
        if chain is None:
            admit, join = self._ledger.admits.get(worker), self._ledger.joins.get(worker)
            anchor = admit.anchor if admit is not None else join.anchor if join is not None else NO_VALUE
            chain = self._chains[worker] = ChainView(anchor, self._length)
        # Each value is looked up after the first time, and a wrong one is the last that is looked at.
        if not all(chain.holds(epoch, link) for epoch, link in sorted(links)):
            self._broken.add(worker)
            self._valid.clear()
        self._checked[worker] = len(links)
        return worker not in self._broken

    # ---- inside

    def _is_blind(self, drawn: _Drawn, chunk: int) -> bool:
        """Whether everybody who showed a vote on this chunk had seen this commit before. Void ones have no say."""
        mark = drawn.commit_id[:SEEN_BYTES]
        return all(
            mark in seen
            for author, seen in self._shown.get(chunk, {}).items()
            if author != drawn.author and not self._ledger.is_void(author)
        )
