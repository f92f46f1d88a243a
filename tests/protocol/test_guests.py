"""While the creator is away workers go on as guests: heard of by their joins, bounded, and counted once admitted."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from crowdcompute.protocol import ledger as ledgers
from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.events import (
    ChunkOutcome,
    Execute,
    Executed,
    FrameReceived,
    LinkOpened,
    SendFrame,
    Status,
    Woke,
)
from crowdcompute.protocol.frames import Frame, Hello, Publish, Topics, decode_frame, encode_frame
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.ledger import find_work
from crowdcompute.protocol.manifest import Manifest, Policy, sign_manifest
from crowdcompute.protocol.peer import Peer
from crowdcompute.protocol.records import Admit, Commit, Join, Signed, sign
from crowdcompute.protocol.storage import MemoryBlobStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.protocol.events import Input, Output

CREATOR = Identity(bytes(range(32)))
WORKER, GUEST = (Identity(bytes([number]) * 32) for number in (2, 3))
CODE = b"\0asm\1\0\0\0"


class Volunteer:
    """A peer with one neighbour, which has told it of one task."""

    def __init__(self, make_manifest: Callable[..., Manifest]) -> None:
        blobs = MemoryBlobStore()
        blobs.put(describe(CODE).sha256, CODE)
        config = ProtocolConfig(epoch_offset_s=1_800_000_100.0)
        self.peer = Peer(config, WORKER, verify, Random(1), blobs, 0.0)
        self.now = 0.0
        self.outputs: list[Output] = []
        manifest = sign_manifest(CREATOR, make_manifest(code=describe(CODE), policy=Policy(2, 0.1, 0.2, pow_bits=4)))
        self.task = manifest.record_id
        self.tell(LinkOpened(CREATOR.peer_id, dialled=True))
        self.hear(Hello((1,), "main", ""))
        self.hear(Topics((b"", self.task), ()))
        self.hear(Publish(b"", (manifest,)))
        self.ledger = self.peer.ledgers[self.task]

    def tell(self, event: Input) -> None:
        self.outputs.extend(self.peer.handle(event, now=self.now))

    def hear(self, frame: Frame) -> None:
        self.tell(FrameReceived(CREATOR.peer_id, encode_frame(frame)))

    def wait(self, until: float) -> None:
        # Its neighbour answers every ping: only the creator's admission does not come.
        while (due := max(self.now, self.peer.wake_at)) <= until:
            self.now = due
            self.tell(Woke())
            self.hear(Topics((), ()))
        self.now = until

    def said(self, kind: str) -> list[Signed]:
        frames = [decode_frame(output.frame) for output in self.outputs if isinstance(output, SendFrame)]
        return [
            record for frame in frames if isinstance(frame, Publish) for record in frame.records if record.kind == kind
        ]

    def join_of(self, guest: Identity) -> Signed:
        return sign(guest, find_work(Join(self.task, guest.seal_key, bytes(32), 0, bytes(32), 0), guest.public_key, 4))

    def commit_of(self, guest: Identity, *, seq: int = 1, size: int = 40) -> Signed:
        return sign(guest, Commit(self.task, 0, seq, 0, b"", ((0, 1),), bytes(32), bytes(size)))


@pytest.fixture
def volunteer(make_manifest: Callable[..., Manifest]) -> Volunteer:
    return Volunteer(make_manifest)


def test_a_worker_nobody_admits_begins_after_half_a_second(volunteer: Volunteer) -> None:
    volunteer.wait(0.4)
    assert not any(isinstance(output, Execute) for output in volunteer.outputs)
    volunteer.wait(2.0)
    (job, *_) = [output for output in volunteer.outputs if isinstance(output, Execute)]
    assert job.task_id == volunteer.task
    assert volunteer.said("lease")


def test_a_guest_that_has_done_everything_waits(volunteer: Volunteer) -> None:
    done = 0
    for moment in range(1, 60):
        volunteer.wait(moment)
        for output in volunteer.outputs:
            if isinstance(output, Execute):
                outcomes = tuple(ChunkOutcome(chunk.chunk, Status.OK, b"result") for chunk in output.chunks)
                done += len(outcomes)
                volunteer.tell(Executed(output.job, outcomes, 0.1))
        volunteer.outputs.clear()
    assert done == volunteer.ledger.manifest.chunks
    assert volunteer.peer.idle


def test_a_guests_votes_are_taken_once_its_join_is_known(volunteer: Volunteer) -> None:
    commit = volunteer.commit_of(GUEST)
    volunteer.hear(Publish(b"", (commit,)))
    assert commit.record_id not in volunteer.ledger.commits
    volunteer.hear(Publish(b"", (volunteer.join_of(GUEST),)))
    assert commit.record_id in volunteer.ledger.commits
    assert volunteer.ledger.voters(0) == [GUEST.public_key]


def test_a_guest_has_no_more_room_than_its_share_until_it_is_admitted(
    volunteer: Volunteer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "GUEST_BYTES_MAX", 1_000)
    volunteer.hear(Publish(b"", (volunteer.join_of(GUEST),)))
    commits = [volunteer.commit_of(GUEST, seq=seq, size=300) for seq in range(1, 5)]
    for commit in commits:
        volunteer.hear(Publish(b"", (commit,)))
    assert len(volunteer.ledger.commits) == 2
    volunteer.hear(Publish(b"", (sign(CREATOR, Admit(volunteer.task, GUEST.public_key, bytes(32), bytes(16))),)))
    assert len(volunteer.ledger.commits) == 4
    assert volunteer.peer.neighbours, "what did not fit is nobody's fault"


@pytest.mark.parametrize(("cap", "value"), [("GUESTS_MAX", 1), ("GUESTS_BYTES_MAX", 500)])
def test_all_guests_together_have_no_more_room_than_theirs(
    volunteer: Volunteer, monkeypatch: pytest.MonkeyPatch, cap: str, value: int
) -> None:
    monkeypatch.setattr(ledgers, cap, value)
    others = [Identity(bytes([number]) * 32) for number in (10, 11)]
    for guest in others:
        volunteer.hear(Publish(b"", (volunteer.join_of(guest),)))
        volunteer.hear(Publish(b"", (volunteer.commit_of(guest, size=300),)))
    assert len(volunteer.ledger.commits) == 1
    volunteer.hear(Publish(b"", (sign(CREATOR, Admit(volunteer.task, others[0].public_key, bytes(32), bytes(16))),)))
    volunteer.hear(Publish(b"", (volunteer.commit_of(others[1], seq=2, size=300),)))
    assert [author for author, _ in volunteer.ledger.commits.values()].count(others[1].public_key) == 1
