"""A task is closed on audits that mean something, and on nothing else."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from crowdcompute.protocol.batch import Leaf
from crowdcompute.protocol.closing import Certify, Closing, Confirm, ExecuteOurselves
from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.events import Status
from crowdcompute.protocol.ledger import Ledger
from crowdcompute.protocol.manifest import Manifest, Policy, Range
from crowdcompute.protocol.records import Signed
from crowdcompute.protocol.referee import Referee

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CHUNKS = 400
WORKERS = (b"alice", b"bob", b"carol", b"dave")


class Job:
    """A task whose every chunk was voted on by two, once confirmed."""

    def __init__(self, manifest: Manifest) -> None:
        self.creator = manifest.creator
        self.referee = Referee(self.creator, manifest.policy.replication)
        ledger = Ledger(Signed("manifest", self.creator, encode(manifest), bytes(64)), manifest)
        self.closing = Closing(ledger, self.referee, set(), Random(1))
        for worker in WORKERS:
            self.referee.admit(worker)
        self.vote(b"alice", range(CHUNKS))
        self.confirm(b"bob", range(CHUNKS))

    def vote(self, worker: bytes, chunks: Iterable[int]) -> None:
        leaves = [Leaf(chunk, Status.OK, inline=True, size=4, data=b"true") for chunk in chunks]
        for chunk in self.referee.cast(worker, leaves, 1):
            self.closing.account(chunk)

    def confirm(self, worker: bytes, chunks: Iterable[int]) -> None:
        asked = list(chunks)
        self.referee.assign(worker, asked)
        self.vote(worker, asked)


@pytest.fixture
def job(make_manifest: Callable[..., Manifest]) -> Job:
    policy = Policy(replication=2, eps=0.05, liars=0.2, pow_bits=0)
    split = Range(start=0, stop=CHUNKS, step=1)
    return Job(make_manifest(split=split, chunks=CHUNKS, policy=policy))


def test_a_task_is_certified_by_as_many_audits_as_its_policy_asks_for(job: Job) -> None:
    first = job.closing.next_step(convicted=False, by_workers=True)
    assert isinstance(first, Confirm)
    job.confirm(b"carol", first.chunks[:-1])
    assert isinstance(job.closing.next_step(convicted=False, by_workers=True), Confirm)
    job.confirm(b"carol", first.chunks[-1:])
    assert job.closing.next_step(convicted=False, by_workers=True) == Certify()


def test_after_a_conviction_what_was_audited_before_certifies_nothing(job: Job) -> None:
    job.confirm(b"carol", range(CHUNKS))
    assert job.closing.next_step(convicted=False, by_workers=True) == Certify()
    fresh = job.closing.next_step(convicted=True, by_workers=True)
    assert isinstance(fresh, Confirm)
    job.confirm(b"dave", fresh.chunks)
    assert job.closing.next_step(convicted=True, by_workers=True) == Certify()


def test_what_audits_cannot_show_the_creator_executes_itself(make_manifest: Callable[..., Manifest]) -> None:
    policy = Policy(replication=2, eps=1e-4, liars=0.2, pow_bits=0)
    job = Job(make_manifest(split=Range(start=0, stop=CHUNKS, step=1), chunks=CHUNKS, policy=policy))
    step = job.closing.next_step(convicted=False, by_workers=True)
    assert isinstance(step, ExecuteOurselves)
    job.vote(job.creator, step.chunks)
    assert job.closing.next_step(convicted=False, by_workers=True) == Certify()
    assert job.closing.assurance(convicted=False, all_closed=True).bound == 0
