"""Results of one task as inputs of the next: real peers, frames that take no time (spec/onward.md)."""

from __future__ import annotations

from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING

import pytest

from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.closing import TaskState
from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.errors import LocalProtocolError, RemoteProtocolError
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
from crowdcompute.protocol.frames import BlobPieceFrame, decode_frame
from crowdcompute.protocol.identity import Identity, peer_id_of, verify
from crowdcompute.protocol.manifest import Handed, Limits, Policy, Range, sign_manifest
from crowdcompute.protocol.onward import REFS_MAX, ResultRef, open_refs, refs_item
from crowdcompute.protocol.peer import Peer
from crowdcompute.protocol.split import check_inputs, chunk_input, pack_items
from crowdcompute.protocol.storage import MemoryBlobStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.protocol.events import Input
    from crowdcompute.protocol.identity import PeerId
    from crowdcompute.protocol.manifest import Manifest

CREATOR, WORKERS = Identity(bytes(range(32))), [Identity(bytes([number]) * 32) for number in range(2, 5)]
CODE = b"\0asm\1\0\0\0"
EPOCH_S = 1_800_000_100.0
CHUNKS = 12


def made(chunk: int) -> bytes:
    """The first task's results: the even ones travel inline in votes, the others are too large for it."""
    return Random(chunk).randbytes(100 + chunk if chunk % 2 == 0 else 90_000 + chunk)


class Mesh:
    """A creator and workers, all linked; the first task makes bytes, the second one the hash of what it gets."""

    def __init__(self, make_manifest: Callable[..., Manifest]) -> None:
        self.make_manifest = make_manifest
        self.now = 0.0
        self.peers: dict[PeerId, Peer] = {}
        self.stores: dict[PeerId, MemoryBlobStore] = {}
        for identity in (CREATOR, *WORKERS):
            config = ProtocolConfig(epoch_offset_s=EPOCH_S, work=identity is not CREATOR)
            store = self.stores[identity.peer_id] = MemoryBlobStore()
            self.peers[identity.peer_id] = Peer(config, identity, verify, Random(1), store, 0.0)
        self.events: list[tuple[PeerId, Input]] = [
            (one, LinkOpened(other, dialled=one < other)) for one in self.peers for other in self.peers if one != other
        ]
        self.inputs: dict[int, bytes] = {}
        self.pieces_from: dict[PeerId, list[bytes]] = {peer_id: [] for peer_id in self.peers}
        self.task = b""

    @property
    def creator(self) -> Peer:
        return self.peers[CREATOR.peer_id]

    def publish(self, inputs: bytes | None = None, **fields: object) -> bytes:
        store = self.stores[CREATOR.peer_id]
        for blob in (CODE, inputs or b""):
            store.put(sha256(blob).digest(), blob)
        signed = sign_manifest(
            CREATOR,
            self.make_manifest(
                code=describe(CODE),
                inputs=None if inputs is None else describe(inputs),
                limits=Limits(memory_bytes=1 << 20, output_bytes=1 << 20, seconds=10.0),
                policy=Policy(2, 0.5, 0.2, pow_bits=0),
                **fields,
            ),
        )
        self.task = signed.record_id
        self.events.append((CREATOR.peer_id, TaskPublished(signed)))
        return signed.record_id

    def first(self, *, onward: bool = True) -> bytes:
        task = self.publish(split=Range(start=0, stop=CHUNKS, step=1), chunks=CHUNKS, onward=onward)
        self.run(300.0)
        return task

    def second(self, first: bytes, per_chunk: int = 2) -> bytes:
        role = self.creator.creators[first]
        refs = []
        for chunk in range(CHUNKS):
            result = role.result(chunk)
            assert result.state == "ok"
            assert result.digest is not None
            refs.append(ResultRef(result.digest, result.size, tuple(sorted({*result.agreed} - {CREATOR.public_key}))))
        items = [refs_item(refs[start : start + per_chunk]) for start in range(0, CHUNKS, per_chunk)]
        self.pieces_from = {peer_id: [] for peer_id in self.peers}
        self.inputs.clear()
        return self.publish(pack_items(items), split=Handed(of=(first,)), chunks=len(items))

    def run(self, for_s: float) -> None:
        until_s = self.now + for_s
        while self.now < until_s:
            while self.events:
                self.happens(*self.events.pop(0))
            if self.creator.creators[self.task].state is TaskState.CLOSED:
                return
            self.now = max(self.now, min(peer.wake_at for peer in self.peers.values()))
            self.events += [(peer_id, Woke()) for peer_id in self.peers]

    def leave(self, peer_id: PeerId) -> None:
        del self.peers[peer_id]
        self.events += [(other, LinkClosed(peer_id, "")) for other in self.peers]

    def happens(self, at: PeerId, event: Input) -> None:
        if at not in self.peers:
            return
        for output in self.peers[at].handle(event, now=self.now):
            match output:
                case SendFrame(peer_id=to, channel=channel, frame=data) if to in self.peers:
                    self.events.append((to, FrameReceived(at, data)))
                    if channel is Channel.BULK:
                        frame = decode_frame(data)
                        if isinstance(frame, BlobPieceFrame):
                            self.pieces_from[at].append(frame.sha256)
                        self.events.append((at, LinkDrained(to)))
                case Execute(job=job, task_id=task, chunks=chunks):
                    outcomes = []
                    for chunk in chunks:
                        if isinstance(self.creator.ledgers[task].manifest.split, Handed):
                            self.inputs[chunk.chunk] = chunk.data
                            outcomes.append(ChunkOutcome(chunk.chunk, Status.OK, sha256(chunk.data).digest()))
                        else:
                            outcomes.append(ChunkOutcome(chunk.chunk, Status.OK, made(chunk.chunk)))
                    self.events.append((at, Executed(job, tuple(outcomes), 1.0)))
                case _:
                    pass


RESULTS = {sha256(made(chunk)).digest() for chunk in range(CHUNKS)}
EXPECTED = {number: made(2 * number) + made(2 * number + 1) for number in range(CHUNKS // 2)}


def test_results_go_from_their_makers_to_the_next_tasks_workers(make_manifest: Callable[..., Manifest]) -> None:
    mesh = Mesh(make_manifest)
    mesh.second(mesh.first())
    mesh.run(300.0)
    assert mesh.creator.creators[mesh.task].state is TaskState.CLOSED
    assert mesh.inputs == EXPECTED
    assert not RESULTS.intersection(mesh.pieces_from[CREATOR.peer_id])
    assert any(RESULTS.intersection(mesh.pieces_from[worker.peer_id]) for worker in WORKERS)


def test_the_creator_gives_what_no_maker_has_any_more(make_manifest: Callable[..., Manifest]) -> None:
    mesh = Mesh(make_manifest)
    first = mesh.first()
    makers = {worker for chunk in range(CHUNKS) for worker in mesh.creator.creators[first].result(chunk).agreed}
    for chunk in range(CHUNKS):
        mesh.stores[CREATOR.peer_id].put(sha256(made(chunk)).digest(), made(chunk))
    for worker in WORKERS[:2]:
        assert worker.public_key in makers
        mesh.leave(worker.peer_id)
    mesh.second(first)
    mesh.run(900.0)
    assert mesh.creator.creators[mesh.task].state is TaskState.CLOSED
    assert mesh.inputs == EXPECTED
    assert RESULTS.intersection(mesh.pieces_from[CREATOR.peer_id])


def test_results_that_go_nowhere_are_let_go(make_manifest: Callable[..., Manifest]) -> None:
    mesh = Mesh(make_manifest)
    mesh.first(onward=False)
    held = [store for peer_id, store in mesh.stores.items() if peer_id != CREATOR.peer_id]
    assert not any(store.size(digest) for store in held for digest in RESULTS)


def test_results_that_go_onward_are_kept_until_their_task_expires(make_manifest: Callable[..., Manifest]) -> None:
    mesh = Mesh(make_manifest)
    role = mesh.creator.creators[mesh.first()]
    for chunk in range(CHUNKS):
        digest = sha256(made(chunk)).digest()
        for maker in role.result(chunk).agreed:
            if maker != CREATOR.public_key:
                assert mesh.stores[peer_id_of(maker)].size(digest) == len(made(chunk))
    mesh.now = role.ledger.manifest.expires_s - EPOCH_S + 1
    for worker in WORKERS:
        mesh.happens(worker.peer_id, Woke())
        assert not any(mesh.stores[worker.peer_id].size(digest) for digest in RESULTS)


def test_what_was_fetched_for_a_chunk_is_let_go_once_it_is_used(make_manifest: Callable[..., Manifest]) -> None:
    mesh = Mesh(make_manifest)
    role = mesh.creator.creators[mesh.first()]
    mesh.second(role.ledger.task)
    mesh.run(300.0)
    for worker in WORKERS:
        for chunk in range(CHUNKS):
            if worker.public_key not in role.referee.voters(chunk):
                assert mesh.stores[worker.peer_id].size(sha256(made(chunk)).digest()) is None


def test_a_chunk_takes_so_many_results_and_no_more() -> None:
    refs = [ResultRef(bytes(32), 1, ())] * REFS_MAX
    assert len(open_refs(refs_item(refs))) == REFS_MAX
    with pytest.raises(RemoteProtocolError):
        open_refs(refs_item([*refs, refs[0]]))


def test_a_chunk_whose_results_do_not_fit_its_memory_is_refused(make_manifest: Callable[..., Manifest]) -> None:
    refs = [ResultRef(bytes([number]) * 32, 1 << 19, ()) for number in range(3)]
    inputs = pack_items([refs_item(refs[:2]), refs_item(refs)])
    limits = Limits(memory_bytes=1 << 20, output_bytes=64, seconds=10.0)
    manifest = make_manifest(split=Handed(of=(bytes(32),)), chunks=2, inputs=describe(inputs), limits=limits)
    with pytest.raises(RemoteProtocolError, match="memory limit"):
        check_inputs(manifest, inputs)
    with pytest.raises(RemoteProtocolError, match="memory limit"):
        chunk_input(manifest, 1, inputs)
    with pytest.raises(LocalProtocolError, match="not at hand"):
        chunk_input(manifest, 0, inputs)


def test_the_onward_vectors_hold(expect_vectors: Callable[[str, object], None]) -> None:
    lists = {
        "one result": [ResultRef(bytes(range(32)), 5, (bytes(32),))],
        "the largest, of nobody": [ResultRef(bytes(32), 2**24, ())],
        "several": [ResultRef(bytes([size]) * 32, size, (bytes([size]) * 32,) * size) for size in range(5)],
    }
    refused = {
        "nothing": b"",
        "no results": encode(()),
        "a short hash": encode([[b"short", 1, ()]]),
        "a result that is too large": encode([[bytes(32), 2**24 + 1, ()]]),
        "a result without makers": encode([[bytes(32), 1]]),
        "five makers": encode([[bytes(32), 1, (bytes(32),) * 5]]),
        "a byte too many": encode([[bytes(32), 1, ()]]) + b"\0",
    }
    for item in refused.values():
        with pytest.raises(RemoteProtocolError):
            open_refs(item)
    for refs in lists.values():
        assert open_refs(refs_item(refs)) == tuple(refs)
    expect_vectors(
        "onward",
        {
            "about": "Items of the inputs blob of a `results` split; see protocol/spec/onward.md.",
            "items": [
                {
                    "name": name,
                    "item": refs_item(refs).hex(),
                    "refs": [
                        {"sha256": ref.sha256.hex(), "size": ref.size, "makers": [maker.hex() for maker in ref.makers]}
                        for ref in refs
                    ],
                }
                for name, refs in lists.items()
            ],
            "refused": [{"name": name, "item": item.hex()} for name, item in refused.items()],
        },
    )


def test_makers_are_hints(make_manifest: Callable[..., Manifest]) -> None:
    """A stranger who is named, and nowhere to be found, holds nothing up for long."""
    mesh = Mesh(make_manifest)
    role = mesh.creator.creators[mesh.first()]
    refs = [
        ResultRef(sha256(made(chunk)).digest(), len(made(chunk)), (bytes([chunk + 60]) * 32,)) for chunk in range(2)
    ]
    mesh.publish(pack_items([refs_item(refs)]), split=Handed(of=(role.ledger.task,)), chunks=1)
    mesh.run(300.0)
    assert mesh.inputs == {0: EXPECTED[0]}
