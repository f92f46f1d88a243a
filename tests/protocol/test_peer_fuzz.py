"""A stranger at a peer's link: whatever it sends, nothing is raised and nothing grows without end."""

from __future__ import annotations

import tracemalloc
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdcompute.protocol import gossip, waiting
from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.codec import decode, encode
from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.events import (
    ChunkOutcome,
    CloseLink,
    Execute,
    Executed,
    FrameReceived,
    LinkClosed,
    LinkOpened,
    SendFrame,
    Status,
    TaskPublished,
    Woke,
)
from crowdcompute.protocol.frames import (
    BlobPieceFrame,
    BlobWant,
    Frame,
    Graft,
    Hello,
    IHave,
    IWant,
    Ping,
    Prune,
    Publish,
    Topics,
    decode_frame,
    encode_frame,
)
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.manifest import Manifest, Policy, Range, sign_manifest
from crowdcompute.protocol.neighbours import KNOWN_MAX
from crowdcompute.protocol.peer import NETWORK_TOPIC, Peer
from crowdcompute.protocol.reconcile import Reconcile, ReconcileCells, ReconcileIds
from crowdcompute.protocol.records import COMMIT_CHUNKS_MAX, Join, Lease, Signed, parse, runs_of, sign
from crowdcompute.protocol.storage import MemoryBlobStore
from crowdcompute.protocol.voting import commits_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.protocol.events import Input, Output

    MakeManifest = Callable[..., Manifest]

CREATOR = Identity(bytes(range(32)))
WORKER = Identity(bytes([1]) * 32)
STRANGER = Identity(bytes([2]) * 32)
CODE = b"\0asm\1\0\0\0" + bytes(100)
CONFIG = ProtocolConfig(epoch_offset_s=1_800_000_100.0, slots=4)
HELLO = encode_frame(Hello((1,), "main", "stranger"))


@pytest.fixture(scope="session")
def manifest(make_manifest: MakeManifest) -> Signed:
    return sign_manifest(
        CREATOR,
        make_manifest(
            split=Range(start=0, stop=9_000, step=1),
            chunks=9_000,
            code=describe(CODE),
            policy=Policy(2, eps=0.1, liars=0.2, pow_bits=0),
        ),
    )


def blobs() -> MemoryBlobStore:
    store = MemoryBlobStore()
    store.put(describe(CODE).sha256, CODE)
    return store


def new_peer(identity: Identity = WORKER, config: ProtocolConfig = CONFIG) -> Peer:
    return Peer(config, identity, verify, Random(1), blobs(), 0.0)


class Guest:
    """A linked peer that says what it likes and keeps what it hears."""

    def __init__(self, host: Peer, identity: Identity = STRANGER) -> None:
        self.host = host
        self.identity = identity
        self.now = 0.0
        self.heard: list[Frame] = []
        self.jobs: list[Execute] = []
        self.closed = False
        self.link()

    def link(self) -> None:
        self.closed = False
        self.tell(LinkOpened(self.identity.peer_id, dialled=False))
        self.say(HELLO)

    def tell(self, event: Input) -> list[Output]:
        outputs = self.host.handle(event, now=self.now)
        for output in outputs:
            match output:
                case SendFrame(peer_id=peer_id, frame=frame) if peer_id == self.identity.peer_id:
                    self.heard.append(decode_frame(frame))
                case CloseLink(peer_id=peer_id) if peer_id == self.identity.peer_id:
                    self.closed = True
                case Execute():
                    self.jobs.append(output)
                case _:
                    pass
        return outputs

    def say(self, *frames: Frame | bytes) -> None:
        for frame in frames:
            data = frame if isinstance(frame, bytes) else encode_frame(frame)
            self.tell(FrameReceived(self.identity.peer_id, data))

    def publish(self, *records: Signed) -> None:
        self.say(Publish(b"", records))

    def wait(self, seconds: float) -> None:
        """Let time pass as the host asks for it, pinging so as not to be suspected."""
        end = self.now + seconds
        while self.host.wake_at <= end:
            self.now = max(self.now, self.host.wake_at)
            before = self.host.wake_at
            self.tell(Woke())
            assert self.host.wake_at > before or self.heard or self.jobs, "it asks to be woken in vain"
            self.say(Ping(0))
        self.now = end


def real_frames(manifest: Signed) -> list[bytes]:
    task = manifest.record_id
    join = sign(STRANGER, Join(task, STRANGER.seal_key, bytes(32), 0, bytes(32), 0))
    lease = sign(STRANGER, Lease(task, 0, 0, 1, 15, ((0, 5),)))
    shard = task + bytes(4)
    frames: list[Frame] = [
        Topics((NETWORK_TOPIC, task, shard), ()),
        Graft(NETWORK_TOPIC),
        Prune(task),
        IHave(task, (join.record_id,)),
        IWant(NETWORK_TOPIC, (task,)),
        Reconcile(NETWORK_TOPIC, bytes(8), 0, 3, bytes(8), b""),
        Reconcile(task, bytes(8), 0, 3_000, bytes(8), bytes(128)),
        ReconcileCells(bytes(8), 4, bytes(144)),
        ReconcileIds(bytes(8), 1, task),
        Publish(NETWORK_TOPIC, (manifest,)),
        Publish(task, (join,)),
        Publish(shard, (lease,)),
        BlobWant(describe(CODE).sha256, 0, 1),
        BlobPieceFrame(describe(CODE).sha256, len(CODE), 0, CODE, ()),
        Ping(3),
    ]
    return [HELLO, *map(encode_frame, frames)]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_mutation_of_real_frames_raises_anything(manifest: Signed, data: st.DataObject) -> None:
    guest = Guest(new_peer())
    frames = real_frames(manifest)
    for frame in data.draw(st.lists(st.sampled_from(frames), max_size=12)):
        mutated = bytearray(frame)
        for _ in range(data.draw(st.integers(0, 2))):
            mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
        guest.say(bytes(mutated))
        if guest.closed:
            guest.link()
    guest.wait(30.0)


@settings(max_examples=60, deadline=None)
@given(frames=st.lists(st.binary(max_size=200), max_size=10))
def test_no_bytes_raise_anything(frames: list[bytes]) -> None:
    guest = Guest(new_peer())
    guest.say(*frames)
    guest.wait(15.0)


def test_frames_on_a_link_that_is_closed_are_not_heard() -> None:
    guest = Guest(new_peer())
    guest.tell(LinkClosed(STRANGER.peer_id, "gone"))
    guest.say(HELLO, b"junk", Ping(1))
    assert STRANGER.peer_id not in guest.host.neighbours


def test_whoever_keeps_breaking_the_rules_is_cut_off() -> None:
    guest = Guest(new_peer())
    guest.say(b"junk", b"junk", b"junk")
    assert not guest.closed
    guest.say(b"junk")
    assert guest.closed


def test_whoever_does_not_begin_with_hello_is_cut_off_at_once() -> None:
    host = new_peer()
    host.handle(LinkOpened(STRANGER.peer_id, dialled=False), now=0.0)
    outputs = host.handle(FrameReceived(STRANGER.peer_id, encode_frame(Ping(1))), now=0.0)
    assert any(isinstance(output, CloseLink) for output in outputs)


def test_more_bytes_than_a_links_share_cut_it_off() -> None:
    guest = Guest(new_peer(config=ProtocolConfig(link_bytes_per_s=1_000.0, link_bytes_burst=10_000.0)))
    pieces = encode_frame(BlobPieceFrame(bytes(32), 65_536, 0, bytes(3_000), ()))
    guest.say(pieces, pieces, pieces)
    assert not guest.closed
    guest.say(*[pieces] * 4)
    assert guest.closed, "pieces that nobody asked for count as well"


def hostile_frame(rng: Random, manifest: Signed) -> Frame:
    """Well-formed frames that each would like to be remembered."""
    topic = rng.choice([NETWORK_TOPIC, manifest.record_id, manifest.record_id + bytes(4), rng.randbytes(36)])
    stranger = rng.randbytes(32)
    lease = encode(Lease(manifest.record_id, 0, 0, rng.getrandbits(60), 15, ((0, 5),)))
    match rng.randrange(10):
        case 0:
            return Topics(tuple(rng.randbytes(36) for _ in range(5)), (rng.randbytes(36),))
        case 1:
            return Graft(topic)
        case 2:
            return Prune(topic)
        case 3:
            return IHave(topic, tuple(rng.randbytes(32) for _ in range(200)))
        case 4:
            return IWant(topic, (rng.randbytes(32), manifest.record_id))
        case 5:
            return BlobWant(rng.choice([rng.randbytes(32), describe(CODE).sha256]), 0, 64)
        case 6:
            return BlobPieceFrame(rng.randbytes(32), 2**52, 5, rng.randbytes(100), ())
        case 7:
            return Reconcile(topic, rng.randbytes(8), rng.randrange(3), rng.randrange(5_000), bytes(8), bytes(128))
        case 8:
            return ReconcileIds(rng.randbytes(8), 5, rng.randbytes(32))
        case _:
            return Publish(topic, (Signed("lease", stranger, lease, rng.randbytes(64)),))


def test_a_flood_of_well_formed_frames_does_not_fill_the_memory(manifest: Signed) -> None:
    host = new_peer()
    guest = Guest(host)
    guest.publish(manifest)
    rng = Random(3)

    def flood(frames: int) -> None:
        for _ in range(frames):
            if guest.closed:
                guest.identity = Identity(rng.randbytes(32))
                guest.link()
            guest.say(hostile_frame(rng, manifest))
            guest.wait(0.01)
            guest.heard.clear()

    flood(6_000)  # Caches with a fixed size are full, or on their way there.
    tracemalloc.start()
    flood(1_500)
    before = tracemalloc.get_traced_memory()[0]
    flood(1_500)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    # 1,500 frames carry about 1.5 MB that would like to stay; peers' ids and held records are capped and still filling.
    assert grown < 1_000_000


def test_records_that_wait_for_an_admission_are_no_more_than_the_limit(
    manifest: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "WAITING_MAX", 10)
    host = new_peer()
    guest = Guest(host)
    guest.publish(manifest)
    for number in range(100):
        lease = encode(Lease(manifest.record_id, 0, 0, number, 15, ()))
        guest.publish(Signed("lease", (number // 3).to_bytes(32), lease, bytes(64)))
    assert 0 < len(host._waiting) <= 10


def test_records_that_wait_take_no_more_memory_than_the_limit(
    manifest: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "WAITING_BYTES_MAX", 10_000)
    host = new_peer()
    guest = Guest(host)
    guest.publish(manifest)
    for author in range(10):
        runs = tuple((chunk, 1) for chunk in range(0, 1_000, 2))
        guest.publish(
            Signed("lease", author.to_bytes(32), encode(Lease(manifest.record_id, 0, 0, 1, 15, runs)), bytes(64))
        )
    assert host._waiting._bytes == sum(len(signed.body) for held in host._waiting._held.values() for _, signed in held)
    assert 0 < host._waiting._bytes <= 10_000


def test_ever_new_identities_do_not_fill_the_list_of_known_peers() -> None:
    host = new_peer()
    for number in range(KNOWN_MAX + 200):
        peer_id = Identity(number.to_bytes(32)).peer_id
        host.handle(LinkOpened(peer_id, dialled=False), now=0.0)
        host.handle(LinkClosed(peer_id, "gone"), now=0.0)
    assert len(host._neighbours._known) <= KNOWN_MAX


# ---- what a hostile worker or creator once did to a peer


def admitted(host: Peer, guest: Guest, worker: Identity, manifest: Signed, *, seal_key: bytes | None = None) -> bool:
    task = manifest.record_id
    key = worker.seal_key if seal_key is None else seal_key
    guest.publish(sign(worker, Join(task, key, bytes(32), 0, bytes(32), 0)))
    return worker.public_key in host.ledgers[task].admits


def test_a_worker_whose_seal_key_is_useless_is_not_admitted_and_harms_nobody(manifest: Signed) -> None:
    host = new_peer(CREATOR)
    host.handle(TaskPublished(manifest), now=0.0)
    guest = Guest(host)
    task = manifest.record_id
    assert not admitted(host, guest, STRANGER, manifest, seal_key=bytes(32))
    assert admitted(host, guest, WORKER, manifest)
    # A chunk that wants a second vote, and only the stranger could be asked.
    ((commit, _),) = commits_of(
        WORKER,
        CREATOR.seal_key,
        task,
        lambda: 1,
        [ChunkOutcome(0, Status.OK, b"4")],
        MemoryBlobStore(),
        Random(1),
        inline_bytes=100,
    )
    guest.publish(sign(STRANGER, Lease(task, 0, 0, 1, 15, ())), sign(WORKER, commit))
    guest.wait(5.0)
    assert host.creators[task].progress().votes == 1


def test_a_lease_names_no_more_chunks_than_a_record_may(manifest: Signed) -> None:
    """Five batches of a thousand chunks run at once: the worker says of some that it is on them, and goes on."""
    now = 0.0
    peers = {
        CREATOR.peer_id: new_peer(CREATOR, ProtocolConfig(epoch_offset_s=CONFIG.epoch_offset_s, slots=0)),
        WORKER.peer_id: new_peer(WORKER),
    }
    batches: list[int] = []
    leases: list[Lease] = []
    events: list[tuple[Peer, Input]] = [
        (peers[CREATOR.peer_id], TaskPublished(manifest)),
        (peers[CREATOR.peer_id], LinkOpened(WORKER.peer_id, dialled=True)),
        (peers[WORKER.peer_id], LinkOpened(CREATOR.peer_id, dialled=False)),
    ]
    while now < 15.0:
        while events:
            at, event = events.pop(0)
            for output in at.handle(event, now=now):
                match output:
                    case SendFrame(peer_id=to, frame=data):
                        events.append((peers[to], FrameReceived(at.peer_id, data)))
                        frame = decode_frame(data)
                        records = frame.records if isinstance(frame, Publish) else ()
                        leases += [
                            record
                            for record in (parse(signed) for signed in records if signed.kind == "lease")
                            if isinstance(record, Lease)
                        ]
                    case Execute(job=job, chunks=chunks):
                        batches.append(len(chunks))
                        if len(batches) < 30:  # Then it is busy for the rest of the test.
                            outcomes = tuple(ChunkOutcome(chunk.chunk, Status.OK, b"1") for chunk in chunks)
                            events.append((at, Executed(job, outcomes, 1e-4)))
                    case _:
                        pass
        now = min(max(now, each.wake_at) for each in peers.values())
        events = [(each, Woke()) for each in peers.values()]
    assert COMMIT_CHUNKS_MAX in batches
    named = [sum(count for _, count in lease.runs) for lease in leases]
    assert max(named) == COMMIT_CHUNKS_MAX, "the test needs large batches to mean anything"


def test_a_task_that_comes_again_keeps_its_ledger(manifest: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gossip, "SEEN_MAX", 4)
    host = new_peer(CREATOR)
    host.handle(TaskPublished(manifest), now=0.0)
    ledger = host.ledgers[manifest.record_id]
    guest = Guest(host)
    for number in range(10):
        worker = Identity(bytes([100 + number]) * 32)
        assert admitted(host, guest, worker, manifest)
    guest.publish(manifest)
    assert host.ledgers[manifest.record_id] is ledger
    assert len(ledger.admits) == 10


def test_a_record_of_nobody_admitted_waits_for_its_admission_and_is_not_passed_on(manifest: Signed) -> None:
    host = new_peer(WORKER)
    guest = Guest(host)
    guest.publish(manifest)
    task = manifest.record_id
    lease = sign(STRANGER, Lease(task, 0, 0, 1, 15, runs_of([3])))
    guest.publish(lease)
    assert host.ledgers[task].record(lease.record_id) is None
    join = sign(STRANGER, Join(task, STRANGER.seal_key, bytes(32), 0, bytes(32), 0))
    creator = new_peer(CREATOR)
    creator.handle(TaskPublished(manifest), now=0.0)
    admission = Guest(creator)
    admission.publish(join)
    guest.publish(join, *(record for record in creator.ledgers[task].records() if record.kind == "admit"))
    assert host.ledgers[task].record(lease.record_id) == lease
    assert decode(encode(lease), Signed) == lease
