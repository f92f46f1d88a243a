"""What is signed of a task's results: checkpoints while it runs, a certificate at the end (spec/ledger.md).

a shard:  CLEAN --something of it is settled, or reopens--> DIRTY --checkpoint_s later, or at the end--> CLEAN
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import merkle
from .credit import INLINE_BYTES_MAX, fields_of, split, table_of
from .records import SHARD_CHUNKS, CertificateBody, Checkpoint, shard_of
from .tally import ChunkState

if TYPE_CHECKING:
    from .closing import Assurance
    from .config import ProtocolConfig
    from .desk import Desk
    from .ledger import Ledger
    from .office import Office
    from .referee import Referee
    from .results import Results
    from .storage import BlobStore


class Certifying:
    """The creator's, or a steward's, signed words on the results of one task."""

    def __init__(
        self,
        config: ProtocolConfig,
        ledger: Ledger,
        desk: Desk,
        blobs: BlobStore,
        referee: Referee,
        results: Results,
        office: Office,
    ) -> None:
        self.checkpoint_at: float | None = None
        self._config = config
        self._ledger = ledger
        self._desk = desk
        self._blobs = blobs
        self._referee = referee
        self._results = results
        self._office = office
        self._dirty: set[int] = set()

    def changed(self, chunk: int, now: float) -> None:
        """The next checkpoint of this chunk's shard says something else than the last."""
        self._dirty.add(shard_of(chunk))
        if self.checkpoint_at is None:
            self.checkpoint_at = now + self._config.checkpoint_s

    def checkpoint(self, now: float) -> None:
        """Say what has changed."""
        self.checkpoint_at = None
        for shard in sorted(self._dirty):
            self._desk.publish(self._ledger, self._state_of(shard, now))
        self._dirty.clear()

    def certificate(self, assurance: Assurance, *, executions: int, mismatches: int) -> CertificateBody:
        """The last word; all chunks are closed, and all checkpoints said."""
        manifest = self._ledger.manifest
        from_roots = b"".join(
            self._ledger.checkpoints[shard].root
            for shard in range(self._ledger.shards)
            if shard in self._ledger.checkpoints
        )
        return CertificateBody(
            self._ledger.task,
            self._ledger.chunks,
            len(self._results.accepted),
            len(self._results.failed),
            merkle.leaf_hash(from_roots),
            executions,
            assurance.worker_audits,
            assurance.creator_audits,
            mismatches,
            len(self._office.verdicts),
            manifest.policy.eps,
            assurance.bound,
            assurance.confidence,
        )

    def _state_of(self, shard: int, now: float) -> Checkpoint:
        first, size = shard * SHARD_CHUNKS, self._ledger.shard_size(shard)
        accepted, failed = bytearray((size + 7) // 8), bytearray((size + 7) // 8)
        hashes = []
        begun = set(self._ledger.leases.chunks(shard, now))
        for index in range(self._ledger.existing(shard)):
            if self._referee.chunk(first + index).state is not ChunkState.OPEN:
                begun.add(first + index)
            value = self._results.accepted.get(first + index)
            if value is not None:
                accepted[index // 8] |= 1 << index % 8
                hashes.append(merkle.leaf_hash((first + index).to_bytes(4) + value))
            elif first + index in self._results.failed:
                failed[index // 8] |= 1 << index % 8
        previous = self._office.last_checkpoint(shard)
        seq = previous.seq + 1 if previous is not None else 0
        return Checkpoint(
            self._ledger.task,
            shard,
            seq,
            len(begun),
            bytes(accepted),
            bytes(failed),
            merkle.root(hashes),
            *self._credits(shard, previous),
        )

    def _credits(self, shard: int, previous: Checkpoint | None) -> tuple[bytes, int, bytes]:
        """What a shard's checkpoint says of who earned what; a large table is a blob that workers fetch."""
        if not self._office.is_final:
            return fields_of(b"")  # A steward cannot pay.
        values = self._results.accepted
        chunks = range(shard * SHARD_CHUNKS, shard * SHARD_CHUNKS + self._ledger.existing(shard))
        accepted = ((chunk, values[chunk]) for chunk in chunks if chunk in values)
        stewards = self._ledger.delegations
        confirmers = (
            [worker for worker in self._referee.confirmers(chunk, value) if worker not in stewards]
            for chunk, value in accepted
        )
        table = table_of(split(self._ledger.manifest.reward, confirmers))
        said = fields_of(table)
        if len(table) > INLINE_BYTES_MAX:
            self._blobs.put(said[2], table)
        if previous is not None and previous.credits_size > INLINE_BYTES_MAX and previous.credits != said[2]:
            self._blobs.discard(previous.credits)
        return said
