"""A worker that comes when every chunk was begun is still of use: it listens, and is asked for second votes."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.credit import fields_of
from crowdcompute.protocol.events import FrameReceived, LinkOpened, SendFrame, Woke
from crowdcompute.protocol.frames import Frame, Hello, Publish, Topics, decode_frame, encode_frame
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.manifest import Manifest, Policy, sign_manifest
from crowdcompute.protocol.peer import Peer
from crowdcompute.protocol.records import Admit, Checkpoint, Lease, Record, parse, sign
from crowdcompute.protocol.storage import MemoryBlobStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.protocol.events import Input

CREATOR = Identity(bytes(range(32)))
WORKER = Identity(bytes([1]) * 32)
CODE = b"\0asm\1\0\0\0"


def test_a_newcomer_to_a_task_with_nothing_left_to_begin_says_where_it_listens(
    make_manifest: Callable[..., Manifest],
) -> None:
    blobs = MemoryBlobStore()
    blobs.put(describe(CODE).sha256, CODE)
    worker = Peer(ProtocolConfig(epoch_offset_s=1_800_000_100.0), WORKER, verify, Random(1), blobs, 0.0)
    manifest = sign_manifest(CREATOR, make_manifest(code=describe(CODE), policy=Policy(2, 0.1, 0.2, pow_bits=0)))
    task = manifest.record_id
    leases: list[Record] = []

    def tell(event: Input, now: float) -> None:
        for output in worker.handle(event, now=now):
            if isinstance(output, SendFrame):
                frame = decode_frame(output.frame)
                if isinstance(frame, Publish):
                    leases.extend(parse(record) for record in frame.records if record.kind == "lease")

    def say(frame: Frame) -> None:
        tell(FrameReceived(CREATOR.peer_id, encode_frame(frame)), 0.0)

    begun = Checkpoint(task, 0, 0, 3, b"\x00", b"\x00", bytes(32), *fields_of(b""))
    tell(LinkOpened(CREATOR.peer_id, dialled=True), 0.0)
    say(Hello((1,), "main", ""))
    say(Topics((task,), ()))
    for signed in (manifest, sign(CREATOR, begun), sign(CREATOR, Admit(task, WORKER.public_key, bytes(32), bytes(16)))):
        say(Publish(b"", (signed,)))
    now = 0.0
    while now < 3.0:
        now = max(now, worker.wake_at)
        tell(Woke(), now)
    assert any(isinstance(lease, Lease) for lease in leases)
