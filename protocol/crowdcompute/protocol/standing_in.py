"""What a worker does in the place of a creator that is away (spec/away.md).

creator there: nothing --two epochs without a beacon--> draws lots: second votes, audits, juries; shows its votes
                  ^                                                  |
                  '------------------- a beacon ---------------------'
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from .batch import open_batch
from .drawing import lot
from .epochs import NO_VALUE, Chain, begins_at, epoch_at, last_epoch
from .errors import RemoteProtocolError
from .policy import audit_share
from .provisional import REVEAL_PATIENCE, Provisional, ProvisionalState, provisional_tally, reveal_due
from .records import SEEN_BYTES, SEEN_MAX, SHARD_CHUNKS, Commit, Reveal, chunks_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from random import Random

    from .config import ProtocolConfig
    from .desk import Desk
    from .drawing import Absence
    from .identity import Signer
    from .ledger import Ledger

AUDIT_NONCE = b"audit" + bytes(11)
"""In the place of a nonce where we throw dice of our own. Audits are drawn in the first epoch after a chunk was voted
on only: an absence of weeks does not audit everything."""

LOOKS_PER_EPOCH = 32
"""How often at most an epoch the votes are counted again, to see what is wanted: each count takes some milliseconds."""


class Draw(NamedTuple):
    """Chunks that lots chose for us, and what proves it."""

    epoch: int
    link: bytes
    chunks: list[int]


class StandingIn:
    """One worker's part in one task while its creator is away."""

    def __init__(self, config: ProtocolConfig, signer: Signer, rng: Random, ledger: Ledger, desk: Desk) -> None:
        self._config = config
        self._signer = signer
        self._rng = rng
        self._ledger = ledger
        self._desk = desk
        manifest = ledger.manifest
        self._manifest = manifest
        self._chain: Chain | None = None
        if manifest.epochs is not None:
            self._chain = Chain(signer.derive(b"chain" + ledger.task), last_epoch(manifest))
        self._looked: tuple[int, int] | None = None  # version of the ledger and epoch of what is in `_counted`
        self._counted: Provisional | None = None
        self._look_at = -math.inf
        self._nothing_in: tuple[int, int] | None = None
        """The version and the epoch in which lots chose nothing for us: they do not until one of them changes."""
        self._seen_epoch = -1
        """The epoch we have been in last, its reveals done."""

    @property
    def anchor(self) -> bytes:
        """The anchor of our chain, for our join."""
        return self._chain.value(0) if self._chain is not None else NO_VALUE

    def epoch(self, now: float) -> int:
        """Which epoch it is, on our clock; never one before the creator's newest beacon."""
        own = epoch_at(self._manifest, now + self._config.epoch_offset_s)
        return max(own, self._ledger.newest_beacon()[0])

    def advance(self, now: float) -> None:
        """Show what is due: once an epoch is enough."""
        epoch = self.epoch(now)
        if self._chain is None or epoch <= self._seen_epoch:
            return
        self._seen_epoch = epoch
        if self._ledger.absence(epoch) is None:
            return
        me = self._signer.public_key
        for commit_id, (author, commit) in list(self._ledger.commits.items()):
            if author != me or commit_id in self._ledger.reveals or epoch < reveal_due(commit):
                continue
            if epoch >= reveal_due(commit) + REVEAL_PATIENCE or self._is_ripe(commit):
                self._reveal(commit_id, commit)

    def wake_at(self) -> float:
        """When the next epoch begins: reveals may be due then, and lots are drawn anew."""
        if self._chain is None or self._seen_epoch >= self._chain.length:
            return math.inf
        return begins_at(self._manifest, self._seen_epoch + 1) - self._config.epoch_offset_s

    def may_draw(self, now: float) -> bool:
        """Whether the creator is away, so that lots may choose something."""
        return self._chain is not None and self._ledger.absence(self.epoch(now)) is not None

    def draw(self, shard: int, size: int, mine: Collection[int], now: float) -> Draw | None:
        """Up to `size` chunks of a shard that lots choose for us and that want a vote, or None."""
        epoch = self.epoch(now)
        state = (self._ledger.version, epoch)
        if (
            self._chain is None
            or state == self._nothing_in
            or now < self._look_at
            or not 0 < epoch <= self._chain.length
        ):
            return None
        absence = self._ledger.absence(epoch)
        if absence is None:
            return None
        link, count = self._chain.value(epoch), self._ledger.shard_size(shard)
        start = self._rng.randrange(count)
        counted, ledger = self._count(epoch, now), self._ledger
        chunks: list[int] = []
        for looked in range(count):
            chunk = shard * SHARD_CHUNKS + (start + looked) % count
            if chunk in mine or ledger.leases.on(chunk, now):
                continue
            if self._is_for_us(counted, chunk, epoch, absence, link):
                chunks.append(chunk)
                if len(chunks) == size:
                    break
        if chunks:
            return Draw(epoch, link, sorted(chunks))
        self._nothing_in = state
        return None

    def provisional(self, now: float) -> Provisional | None:
        """What the records say in the absence of the creator; None while it is there."""
        epoch = self.epoch(now)
        return provisional_tally(self._ledger, epoch) if self._ledger.absence(epoch) is not None else None

    # ---- inside

    @property
    def _look_every_s(self) -> float:
        assert self._manifest.epochs is not None
        return self._manifest.epochs.seconds / LOOKS_PER_EPOCH

    def _is_for_us(self, counted: Provisional, chunk: int, epoch: int, absence: Absence, link: bytes) -> bool:
        ledger = self._ledger
        standing, age, me = counted.chunks.get(chunk), ledger.lots.age(chunk, epoch), self._signer.public_key
        if standing is None or age is None or ledger.is_settled(chunk):
            return False
        if standing.state is ProvisionalState.DISPUTED:
            if chunk not in counted.trials:
                return False
        elif not standing.missing:
            if age or standing.voters != self._manifest.policy.replication:
                return False
            # Another lot, which nobody need check: whether we audit what has votes enough.
            dice = lot(ledger.task, absence, AUDIT_NONCE, link, chunk)
            if dice >= audit_share(self._manifest.policy, self._manifest.chunks) * 2**32:
                return False
        return me not in ledger.voters(chunk) and ledger.lots.is_drawn(me, link, epoch, chunk)

    def _count(self, epoch: int, now: float) -> Provisional:
        """The tally of these days, counted again if that may give something new, but not at every record that comes."""
        state = (self._ledger.version, epoch)
        if self._counted is None or state != self._looked:
            self._counted = provisional_tally(self._ledger, epoch)
            self._looked, self._look_at = state, now + self._look_every_s
        return self._counted

    def _is_ripe(self, commit: Commit) -> bool:
        """Whether what must come before has come: before a first vote the others', before a drawn one the first."""
        ledger, me = self._ledger, self._signer.public_key
        chunks = [chunk for chunk in chunks_of(commit.shard, commit.runs) if not ledger.is_closed(chunk)]
        if commit.link:
            return all(ledger.lots.is_shown(chunk, besides=me) for chunk in chunks)
        needed = self._manifest.policy.replication
        return all(len(ledger.voters(chunk)) >= needed for chunk in chunks)

    def _reveal(self, commit_id: bytes, commit: Commit) -> None:
        ledger, me = self._ledger, self._signer.public_key
        chunks = chunks_of(commit.shard, commit.runs)
        if all(ledger.is_closed(chunk) for chunk in chunks):
            return
        try:
            salt, leaves = open_batch(self._signer, self._manifest.seal_key, me, commit)
        except RemoteProtocolError:
            return  # Not as we seal: another program's, that had our keys before.
        others = sorted(
            other_id[:SEEN_BYTES] for other_id in ledger.lots.commits_on(chunks) if ledger.commits[other_id][0] != me
        )
        votes = tuple((int(leaf.status), leaf.digest) for leaf in leaves)
        self._desk.publish(ledger, Reveal(ledger.task, commit.shard, commit_id, salt, votes, tuple(others[:SEEN_MAX])))
