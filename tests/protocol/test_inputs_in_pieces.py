"""A worker that fetches of large inputs what its chunks read: real peers, frames that take no time."""

from __future__ import annotations

from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING

import pytest

from crowdcompute.protocol.blobs import PIECE_BYTES, describe
from crowdcompute.protocol.closing import TaskState
from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.events import (
    Channel,
    ChunkOutcome,
    Execute,
    Executed,
    FrameReceived,
    LinkClosed,
    LinkDrained,
    LinkOpened,
    SendFrame,
    Status,
    TaskPublished,
    Woke,
)
from crowdcompute.protocol.frames import BlobPieceFrame, Hello, Publish, decode_frame, encode_frame
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.manifest import Blocks, Items, Limits, Policy, sign_manifest
from crowdcompute.protocol.peer import Peer
from crowdcompute.protocol.split import pack_items
from crowdcompute.protocol.storage import MemoryBlobStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.protocol.events import Input
    from crowdcompute.protocol.identity import PeerId
    from crowdcompute.protocol.manifest import Manifest, Split

CREATOR, WORKER = Identity(bytes(range(32))), Identity(bytes([2]) * 32)
CODE = b"\0asm\1\0\0\0"
ITEMS = [Random(number).randbytes(150_000 + number) for number in range(12)]
EPOCH_S = 1_800_000_100.0


class Pair:
    """A creator and a worker, linked; the worker gives back the hash of each chunk's input."""

    def __init__(self, make_manifest: Callable[..., Manifest], split: Split, inputs: bytes, chunks: int) -> None:
        self.now = 0.0
        self.inputs = describe(inputs)
        self.stores = {identity.peer_id: MemoryBlobStore() for identity in (CREATOR, WORKER)}
        for blob in (CODE, inputs):
            self.stores[CREATOR.peer_id].put(sha256(blob).digest(), blob)
        self.peers: dict[PeerId, Peer] = {}
        for identity in (CREATOR, WORKER):
            config = ProtocolConfig(epoch_offset_s=EPOCH_S, blob_whole_bytes=100_000, work=identity is WORKER)
            store = self.stores[identity.peer_id]
            self.peers[identity.peer_id] = Peer(config, identity, verify, Random(1), store, 0.0)
        manifest = make_manifest(
            code=describe(CODE),
            split=split,
            chunks=chunks,
            inputs=self.inputs,
            limits=Limits(memory_bytes=1 << 20, output_bytes=64, seconds=10.0),
            policy=Policy(1, 0.5, 0.2, pow_bits=0),
        )
        self.executed: dict[int, bytes] = {}
        self.pieces_by_then: list[int] = []
        self.pieces = 0
        self.events: list[tuple[PeerId, Input]] = [
            (CREATOR.peer_id, TaskPublished(sign_manifest(CREATOR, manifest))),
            (CREATOR.peer_id, LinkOpened(WORKER.peer_id, dialled=True)),
            (WORKER.peer_id, LinkOpened(CREATOR.peer_id, dialled=False)),
        ]

    @property
    def worker(self) -> Peer:
        return self.peers[WORKER.peer_id]

    def run(self, until_s: float) -> None:
        while self.now < until_s:
            self.settle()
            if all(role.state is TaskState.CLOSED for role in self.peers[CREATOR.peer_id].creators.values()):
                return
            self.now = max(self.now, min(peer.wake_at for peer in self.peers.values()))
            self.events += [(peer_id, Woke()) for peer_id in self.peers]

    def settle(self) -> None:
        while self.events:
            self.happens(*self.events.pop(0))

    def happens(self, at: PeerId, event: Input) -> None:
        for output in self.peers[at].handle(event, now=self.now):
            match output:
                case SendFrame(peer_id=to, channel=channel, frame=data):
                    self.events.append((to, FrameReceived(at, data)))
                    if channel is Channel.BULK:
                        self.pieces += isinstance(decode_frame(data), BlobPieceFrame)
                        self.events.append((at, LinkDrained(to)))
                case Execute(job=job, chunks=chunks):
                    self.pieces_by_then.append(self.pieces)
                    self.executed.update({chunk.chunk: chunk.data for chunk in chunks})
                    outcomes = [ChunkOutcome(each.chunk, Status.OK, sha256(each.data).digest()) for each in chunks]
                    self.events.append((at, Executed(job, tuple(outcomes), 5.0)))
                case _:
                    pass


@pytest.mark.parametrize("kind", ["items", "blocks"])
def test_chunks_get_their_inputs_though_the_whole_is_not_there(
    make_manifest: Callable[..., Manifest], kind: str
) -> None:
    packed = pack_items(ITEMS)
    block = 100_000
    blocks = [packed[start : start + block] for start in range(0, len(packed), block)]
    split, expected = (Items(), ITEMS) if kind == "items" else (Blocks(size=block), blocks)
    pair = Pair(make_manifest, split, packed, len(expected))
    pair.run(300.0)
    creator = pair.peers[CREATOR.peer_id]
    assert [role.state for role in creator.creators.values()] == [TaskState.CLOSED]
    assert pair.executed == dict(enumerate(expected))
    # The first batch is one chunk: its pieces, those of the table, and the code.
    assert pair.pieces_by_then[0] <= 1 + 1 + 4
    # No piece came twice.
    assert pair.pieces <= 1 + -(-len(packed) // PIECE_BYTES)


def test_what_cannot_be_had_is_asked_for_again_later(make_manifest: Callable[..., Manifest]) -> None:
    pair = Pair(make_manifest, Blocks(size=100_000), pack_items(ITEMS), -(-len(pack_items(ITEMS)) // 100_000))
    pair.stores[CREATOR.peer_id].discard(pair.inputs.sha256)
    pair.run(15.0)  # Later the creator would execute them itself, and its inputs are gone, too.
    (role,) = pair.worker.workers.values()
    assert role.jobs_running == 0
    assert not pair.executed
    pair.settle()
    pair.stores[CREATOR.peer_id].put(pair.inputs.sha256, pack_items(ITEMS))
    pair.events += [
        (WORKER.peer_id, LinkClosed(CREATOR.peer_id, "")),
        (CREATOR.peer_id, LinkClosed(WORKER.peer_id, "")),
    ]
    pair.events += [
        (CREATOR.peer_id, LinkOpened(WORKER.peer_id, dialled=True)),
        (WORKER.peer_id, LinkOpened(CREATOR.peer_id, dialled=False)),
    ]
    pair.run(600.0)
    assert len(pair.executed) == len(pack_items(ITEMS)) // 100_000 + 1


def test_blobs_of_open_tasks_are_needed_and_no_others(make_manifest: Callable[..., Manifest]) -> None:
    pair = Pair(make_manifest, Items(), pack_items(ITEMS), len(ITEMS))
    while not pair.executed:
        if not pair.events:
            pair.now = min(peer.wake_at for peer in pair.peers.values())
            pair.events += [(peer_id, Woke()) for peer_id in pair.peers]
        pair.happens(*pair.events.pop(0))
    assert pair.worker.needs(pair.inputs.sha256)
    assert pair.worker.needs(sha256(CODE).digest())
    assert not pair.worker.needs(bytes(32))
    pair.run(300.0)
    pair.settle()
    assert not pair.worker.needs(pair.inputs.sha256)


def test_one_creators_tasks_take_no_more_than_their_share(make_manifest: Callable[..., Manifest]) -> None:
    config = ProtocolConfig(epoch_offset_s=EPOCH_S, creator_bytes_max=1_000_000)
    peer = Peer(config, WORKER, verify, Random(1), MemoryBlobStore(), 0.0)
    peer.handle(LinkOpened(CREATOR.peer_id, dialled=True), now=0.0)
    peer.handle(FrameReceived(CREATOR.peer_id, encode_frame(Hello((1,), "main", ""))), now=0.0)
    for number in range(4):
        inputs = describe(bytes([number]) * 400_000)
        manifest = make_manifest(
            name=f"task {number}", code=describe(CODE), split=Blocks(size=400_000), chunks=1, inputs=inputs
        )
        frame = Publish(b"", (sign_manifest(CREATOR, manifest),))
        peer.handle(FrameReceived(CREATOR.peer_id, encode_frame(frame)), now=0.0)
    assert len(peer.ledgers) == 4
    assert len(peer.workers) == 2
