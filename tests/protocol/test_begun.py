"""A worker that was interrupted goes on with the chunks it was on, unless others have taken them."""

from __future__ import annotations

from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING

import pytest

from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.events import (
    CancelJob,
    ChunkOutcome,
    Execute,
    Executed,
    FrameReceived,
    LinkOpened,
    RecordsRestored,
    SaveRecords,
    SendFrame,
    SlotsChanged,
    Status,
    TaskPublished,
    Woke,
    WorkBegun,
)
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.manifest import Policy, Range, sign_manifest
from crowdcompute.protocol.peer import Peer
from crowdcompute.protocol.records import Lease, sign
from crowdcompute.protocol.storage import MemoryBlobStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.protocol.events import Input
    from crowdcompute.protocol.identity import PeerId
    from crowdcompute.protocol.manifest import Manifest
    from crowdcompute.protocol.records import Signed

CREATOR, WORKER, OTHER = Identity(bytes(range(32))), Identity(bytes([2]) * 32), Identity(bytes([3]) * 32)
CODE = b"\0asm\1\0\0\0"
EPOCH_S = 1_800_000_100.0
CHUNKS = 5_000
"""Two shards: what was begun may lie in either."""


class Network:
    """A creator and workers, linked; what they execute is answered only when a test says so."""

    def __init__(self, make_manifest: Callable[..., Manifest], *workers: Identity) -> None:
        self.now = 0.0
        self.peers: dict[PeerId, Peer] = {}
        self.orders: dict[PeerId, list[Execute]] = {}
        self.cancelled: list[int] = []
        self.saved: dict[PeerId, list[Signed]] = {}
        self.blobs = MemoryBlobStore()
        self.blobs.put(sha256(CODE).digest(), CODE)
        for identity in (CREATOR, *workers):
            self.start(identity)
        manifest = make_manifest(
            code=describe(CODE),
            split=Range(start=0, stop=CHUNKS, step=1),
            chunks=CHUNKS,
            policy=Policy(2, 0.5, 0.2, pow_bits=0),
        )
        self.signed = sign_manifest(CREATOR, manifest)
        self.events: list[tuple[PeerId, Input]] = [(CREATOR.peer_id, TaskPublished(self.signed))]
        self.link(*workers)
        self.settle()

    def start(self, identity: Identity) -> None:
        config = ProtocolConfig(epoch_offset_s=EPOCH_S, slots=1, work=identity is not CREATOR)
        self.peers[identity.peer_id] = Peer(config, identity, verify, Random(identity.peer_id), self.blobs, self.now)
        self.orders[identity.peer_id] = []
        self.saved.setdefault(identity.peer_id, [])

    def link(self, *workers: Identity) -> None:
        for identity in workers:
            for peer_id in self.peers:
                if peer_id != identity.peer_id:
                    self.events.append((peer_id, LinkOpened(identity.peer_id, dialled=True)))
                    self.events.append((identity.peer_id, LinkOpened(peer_id, dialled=False)))

    def settle(self, until_s: float = 10.0) -> None:
        """Let things happen for a while, or until somebody executes something."""
        end_s = self.now + until_s
        while self.events or self.now < end_s:
            while self.events:
                at, event = self.events.pop(0)
                for output in self.peers[at].handle(event, now=self.now):
                    match output:
                        case SendFrame(peer_id=to, frame=data) if to in self.peers:
                            self.events.append((to, FrameReceived(at, data)))
                        case Execute():
                            self.orders[at].append(output)
                        case CancelJob(job=job):
                            self.cancelled.append(job)
                        case SaveRecords(records=records):
                            self.saved[at] += records
                        case _:
                            pass
            self.now = min(end_s, max(self.now, min(peer.wake_at for peer in self.peers.values())))
            self.events += [(peer_id, Woke()) for peer_id in self.peers] if self.now < end_s else []

    def tell(self, identity: Identity, *events: Input) -> None:
        self.events += [(identity.peer_id, event) for event in events]
        self.settle()

    def chunks(self, identity: Identity) -> list[int]:
        return [chunk.chunk for order in self.orders[identity.peer_id] for chunk in order.chunks]

    def answer(self, identity: Identity, order: Execute) -> None:
        outcomes = tuple(ChunkOutcome(chunk.chunk, Status.OK, b"right") for chunk in order.chunks)
        self.tell(identity, Executed(order.job, outcomes, 1.0))


def test_after_a_pause_a_worker_goes_on_with_what_it_was_on(make_manifest: Callable[..., Manifest]) -> None:
    network = Network(make_manifest, WORKER)
    before = network.chunks(WORKER)
    assert before
    network.orders[WORKER.peer_id].clear()
    network.tell(WORKER, SlotsChanged(0))
    assert network.cancelled
    network.tell(WORKER, SlotsChanged(1))
    assert set(before) <= set(network.chunks(WORKER))


@pytest.mark.parametrize("chunk", [17, 4_500])
def test_after_a_restart_a_worker_goes_on_where_its_driver_can(
    make_manifest: Callable[..., Manifest], chunk: int
) -> None:
    network = Network(make_manifest, WORKER)
    network.start(WORKER)
    network.events.append((WORKER.peer_id, WorkBegun(network.signed.record_id, (chunk, CHUNKS))))
    network.events.append((WORKER.peer_id, RecordsRestored(tuple(network.saved[WORKER.peer_id]))))
    network.link(WORKER)
    network.settle()
    assert network.chunks(WORKER)[0] == chunk
    # Once is enough.
    network.answer(WORKER, network.orders[WORKER.peer_id][0])
    assert network.chunks(WORKER).count(chunk) == 1


def test_what_others_have_taken_meanwhile_is_theirs(make_manifest: Callable[..., Manifest]) -> None:
    network = Network(make_manifest, WORKER, OTHER)
    del network.peers[OTHER.peer_id]
    network.start(WORKER)
    network.tell(WORKER, SlotsChanged(0), RecordsRestored(tuple(network.saved[WORKER.peer_id])))
    task, worker = network.signed.record_id, network.peers[WORKER.peer_id]
    lease = Lease(task, 0, 0, 2**52, 600, ((777, 1),))
    assert worker.ledgers[task].add(sign(OTHER, lease), lease, network.now)
    network.tell(WORKER, WorkBegun(task, (777, 778)), SlotsChanged(1))
    assert network.chunks(WORKER)[0] == 778
    assert 777 not in network.chunks(WORKER)


def test_work_begun_for_a_task_that_is_not_ours_is_nothing(make_manifest: Callable[..., Manifest]) -> None:
    network = Network(make_manifest, WORKER)
    network.tell(WORKER, WorkBegun(bytes(32), (0,)))
    network.tell(CREATOR, WorkBegun(network.signed.record_id, (0,)))
