"""A task whose creator is away, made record by record with real keys: for the tests of what its workers do then."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from crowdcompute.protocol.batch import Leaf, open_batch, seal_commit
from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.epochs import Chain, Epochs, last_epoch
from crowdcompute.protocol.events import Status
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.ledger import Ledger
from crowdcompute.protocol.manifest import Limits, Manifest, Policy, Range, sign_manifest
from crowdcompute.protocol.records import (
    SEEN_BYTES,
    Admit,
    Beacon,
    Commit,
    Join,
    Record,
    Reveal,
    Signed,
    parse,
    sign,
    verify_signature,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CREATOR = Identity(bytes(range(32)))
WORKERS = tuple(Identity(bytes([number]) * 32) for number in range(1, 10))
BEACONS = Chain(bytes(32), 1_440)
CREATED_S = 1_800_000_000
RIGHT, WRONG = b"right", b"wrong"


class Task:
    """What its workers have signed so far, and a ledger that holds it."""

    def __init__(self, *, replication: int = 2, chunks: int = 40, workers: int = 4, liars: float = 0.2) -> None:
        self.workers = WORKERS[:workers]
        self.signed = sign_manifest(CREATOR, _manifest(replication, chunks, liars))
        self.ledger = Ledger(self.signed, _manifest(replication, chunks, liars), keep_commits=True)
        self.task = self.ledger.task
        self.records: list[Signed] = []
        self._rng = Random(1)
        self._seq = 0
        self.chains = {
            worker.public_key: Chain(worker.derive(b"chain" + self.task), last_epoch(self.ledger.manifest))
            for worker in WORKERS
        }

    def add(self, author: Identity, record: Record) -> Signed:
        signed = sign(author, record)
        self.records.append(signed)
        take(self.ledger, signed)
        return signed

    def join(self, worker: Identity, *, admitted: bool = True) -> None:
        anchor = self.chains[worker.public_key].value(0)
        self.add(worker, Join(self.task, worker.seal_key, anchor, 0, BEACONS.value(0), 0))
        if admitted:
            self.add(CREATOR, Admit(self.task, worker.public_key, anchor, worker.public_key[:16]))

    def begin(self, *, admitted: bool = True) -> Task:
        """All join, and the creator says that it is there in epoch 1, for the last time."""
        for worker in self.workers:
            self.join(worker, admitted=admitted)
        self.beacon(1, since=0, workers=len(self.workers) if admitted else 0)
        return self

    def beacon(self, epoch: int, *, since: int, workers: int) -> Signed:
        return self.add(CREATOR, Beacon(self.task, epoch, since, BEACONS.value(epoch), workers))

    def vote(
        self, worker: Identity, epoch: int, votes: Mapping[int, bytes], *, drawn: bool = False, link: bytes = b""
    ) -> Signed:
        """One commit; of what lots chose, with the link of its epoch."""
        self._seq += 1
        leaves = [
            Leaf(chunk, Status.OK, inline=True, size=len(data), data=data) for chunk, data in sorted(votes.items())
        ]
        link = link or (self.chains[worker.public_key].value(epoch) if drawn else b"")
        commit = seal_commit(
            worker,
            CREATOR.seal_key,
            self.task,
            self._seq,
            leaves,
            salt=self._rng.randbytes(16),
            nonce=self._rng.randbytes(12),
            epoch=epoch,
            link=link,
        )
        return self.add(worker, commit)

    def show(self, signed: Signed, *, seen: Iterable[Signed] | None = None) -> Signed:
        """The author of a commit reveals it, having seen all others (or those)."""
        commit = parse(signed)
        assert isinstance(commit, Commit)
        worker = next(worker for worker in WORKERS if worker.public_key == signed.author)
        salt, leaves = open_batch(worker, CREATOR.seal_key, worker.public_key, commit)
        others = [record for record in self.records if record.kind == "commit" and record.author != signed.author]
        marks = sorted(record.record_id[:SEEN_BYTES] for record in (others if seen is None else seen))
        votes = tuple((int(leaf.status), leaf.digest) for leaf in leaves)
        return self.add(worker, Reveal(self.task, 0, signed.record_id, salt, votes, tuple(marks)))

    def winner(self, chunk: int, epoch: int, *, besides: Iterable[Identity] = (), wins: bool = True) -> Identity | None:
        """Somebody whom lots choose for a chunk in an epoch, or do not."""
        for worker in self.workers:
            link = self.chains[worker.public_key].value(epoch)
            if worker not in besides and self.ledger.lots.is_drawn(worker.public_key, link, epoch, chunk) == wins:
                return worker
        return None


def take(ledger: Ledger, signed: Signed) -> bool:
    """Add a record as a peer does."""
    record = parse(signed)
    ledger.check(signed, record)
    verify_signature(verify, signed)
    return ledger.add(signed, record, 0.0)


def _manifest(replication: int, chunks: int, liars: float) -> Manifest:
    return Manifest(
        schema=1,
        name="Unattended",
        description="",
        link="",
        creator=CREATOR.public_key,
        seal_key=CREATOR.seal_key,
        runtime="wasm",
        code=describe(b"\0asm\1\0\0\0"),
        split=Range(start=0, stop=chunks, step=1),
        chunks=chunks,
        inputs=None,
        limits=Limits(memory_bytes=1 << 20, output_bytes=64, seconds=1.5),
        policy=Policy(replication=replication, eps=0.1, liars=liars, pow_bits=0),
        reward=1,
        epochs=Epochs(60, BEACONS.value(0)),
        onward=False,
        permissions=(),
        vouches=(),
        created_s=CREATED_S,
        expires_s=CREATED_S + 86_400,
    )
