"""Results that votes only name, where they have to be compared (spec/ledger.md, "Results compared as numbers").

    a commit:                 HELD --each result it names is here, or nobody delivers it--> counted
    a vote in it for one that nobody delivers:  no result --the result comes by somebody else's vote--> counted

A hash does not say which other results one agrees with. So a commit is counted when what it names is here, and not
before: the creator fetches it from the commit's author at once. What nobody delivers is worth nothing and convicts
nobody: then others are asked. Votes thus depend on which results are here, and on no order in which they came.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .batch import Leaf
from .events import Status
from .opening import is_named
from .reclaiming import Copy

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .desk import Desk
    from .ledger import Ledger
    from .lineage import Rest
    from .storage import BlobStore

DELIVERED_WITHIN_S = 5.0
"""Whose result is not here by then is not waited for: others are asked, as for what nobody leases."""

NOT_DELIVERED = "a result that nobody delivers"


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """One commit, as the referee takes it."""

    author: bytes
    seq: int
    commit: bytes
    """Its record's id."""
    leaves: tuple[Leaf, ...]
    rests: tuple[Rest, ...] = ()
    """The savepoints of others that it went on from."""


def result_of(leaf: Leaf, blobs: BlobStore) -> bytes | None:
    """The result of a vote, if it is here. What the vote says of a named one's size binds nobody."""
    if leaf.inline:
        return leaf.data
    size = blobs.size(leaf.digest)
    return None if size is None else blobs.read(leaf.digest, 0, size)


class Named:
    """The named results of one task of ours whose results are compared as numbers."""

    def __init__(self, me: bytes, ledger: Ledger, desk: Desk, blobs: BlobStore) -> None:
        self._me = me
        self._ledger = ledger
        self._desk = desk
        self._blobs = blobs
        self._held: dict[Held, set[bytes]] = {}
        """Commits, and which results of each are awaited."""
        self._since: dict[Held, float] = {}
        """When each of them came that is not overdue yet."""
        self._tried: dict[bytes, list[int]] = {}
        """As how large each awaited result is looked for now, last, and was before: nobody's word on it binds."""
        self._voters: dict[int, list[bytes]] = {}
        self._ours: list[int] = []
        """Chunks whose result by ourselves is lost."""
        self._lacking: dict[bytes, list[Held]] = {}
        """Results that nobody delivered, and single votes for them: should one come, they count."""

    @property
    def is_waiting(self) -> bool:
        """Whether there are commits that cannot be counted yet."""
        return bool(self._held)

    def voters(self, chunk: int) -> Collection[bytes]:
        """Whose votes on a chunk will soon be counted."""
        return self._voters.get(chunk, ())

    def needs(self, digest: bytes) -> bool:
        """Whether a vote waits for this result, or could do with it."""
        return digest in self._lacking or any(digest in awaited for awaited in self._held.values())

    def read(self, leaf: Leaf) -> bytes | None:
        """The result of a vote; None while it is not here."""
        return result_of(leaf, self._blobs)

    def take(self, commit: Held, now: float, *, fetch: bool) -> list[Held]:
        """A commit that opens: what can be counted now. `fetch` says whether to get what it lacks already."""
        awaited = {leaf.digest for leaf in commit.leaves if is_named(leaf) and self._blobs.size(leaf.digest) is None}
        if not awaited:
            return [commit]
        self._held[commit] = awaited
        self._since[commit] = now
        for leaf in commit.leaves:
            self._voters.setdefault(leaf.chunk, []).append(commit.author)
        if fetch:
            self._fetch(commit)
        return []

    def fetch(self) -> None:
        """Get everything that is awaited."""
        for commit in list(self._held):
            self._fetch(commit)

    def settled(self, digest: bytes, *, here: bool) -> list[Held]:
        """A result is here, or nobody delivers it: what can be counted now.

        One that nobody delivers in one size is looked for in the next: who votes first must not spoil others' votes.
        """
        if not here and self._fetch_in_another_size(digest):
            return []
        self._tried.pop(digest, None)
        counted = self._lacking.pop(digest, []) if here else []
        for commit in [commit for commit, awaited in self._held.items() if digest in awaited]:
            self._held[commit].discard(digest)
            if not self._held[commit]:
                del self._held[commit]
                self._wait_no_longer(commit)
                counted.append(self._without_what_lacks(commit))
        return counted

    def lost(self) -> list[int]:
        """The chunks that we have to execute again, told once: of our own result nothing is left but its hash."""
        lost, self._ours = self._ours, []
        return lost

    def overdue(self, now: float) -> list[int]:
        """The chunks of commits that are not waited for any longer, told once."""
        late = [commit for commit, at in self._since.items() if now - at >= DELIVERED_WITHIN_S]
        for commit in late:
            self._wait_no_longer(commit)
        return list(dict.fromkeys(leaf.chunk for commit in late for leaf in commit.leaves))

    def copies(self, digest: bytes, custodians: Mapping[bytes, tuple[bytes, ...]]) -> list[Copy]:
        """The sealed copies that commits which wait for a result name."""
        return [
            Copy(commit.author, leaf, custodians.get(commit.author, ()))
            for commit, awaited in sorted(self._held.items(), key=lambda held: (held[0].author, held[0].seq))
            if digest in awaited
            for leaf in commit.leaves
            if leaf.sealed and leaf.digest == digest
        ]

    def _fetch(self, commit: Held) -> None:
        providers = (commit.author, *self._ledger.delegations)
        for leaf in commit.leaves:
            if leaf.digest not in self._held[commit]:
                continue
            # Who says another size would be blamed for what it sends, were it asked now.
            if self._tried.setdefault(leaf.digest, [leaf.size])[-1] == leaf.size:
                self._desk.fetch(leaf.digest, leaf.size, None, providers)

    def _fetch_in_another_size(self, digest: bytes) -> bool:
        tried = self._tried.get(digest, [])
        votes = [
            (leaf.size, commit.author)
            for commit, awaited in self._held.items()
            if digest in awaited
            for leaf in commit.leaves
            if leaf.digest == digest and leaf.size not in tried
        ]
        if not votes:
            return False
        size = min(votes)[0]
        self._tried[digest] = [*tried, size]
        self._desk.fetch(digest, size, None, sorted({author for its, author in votes if its == size}))
        return True

    def _wait_no_longer(self, commit: Held) -> None:
        if self._since.pop(commit, None) is not None:
            for leaf in commit.leaves:
                self._voters[leaf.chunk].remove(commit.author)

    def _without_what_lacks(self, commit: Held) -> Held:
        leaves = []
        for leaf in commit.leaves:
            if is_named(leaf) and self._blobs.size(leaf.digest) is None:
                self._lacking.setdefault(leaf.digest, []).append(replace(commit, leaves=(leaf,)))
                if commit.author == self._me:
                    self._ours.append(leaf.chunk)
                    continue
                reason = NOT_DELIVERED.encode()
                leaf = Leaf(leaf.chunk, Status.NO_RESULT, inline=True, size=len(reason), data=reason)
            leaves.append(leaf)
        return replace(commit, leaves=tuple(leaves))
