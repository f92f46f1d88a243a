"""Who takes a chunk over goes on from the state that a savepoint names, or from scratch: never from a part of it."""

from __future__ import annotations

from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING

import pytest

from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.handover import Handover, StateLacking
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.ledger import Ledger
from crowdcompute.protocol.manifest import sign_manifest
from crowdcompute.protocol.peer import Peer
from crowdcompute.protocol.records import Admit, Join, Savepoint, sign
from crowdcompute.protocol.storage import MemoryBlobStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.protocol.manifest import Manifest

CREATOR, WORKER, LIAR = Identity(bytes(range(32))), Identity(bytes([2]) * 32), Identity(bytes([3]) * 32)
STATE = bytes(range(200))


@pytest.mark.parametrize(("size", "goes_on"), [(len(STATE), True), (len(STATE) - 1, False), (len(STATE) + 1, False)])
def test_a_savepoint_that_says_another_size_than_its_state_has_is_of_no_use(
    make_manifest: Callable[..., Manifest], size: int, goes_on: bool
) -> None:
    manifest = make_manifest(creator=CREATOR.public_key, seal_key=CREATOR.seal_key)
    ledger = Ledger(sign_manifest(CREATOR, manifest), manifest)
    digest = sha256(STATE).digest()
    for author, record in (
        (LIAR, Join(ledger.task, LIAR.seal_key, bytes(32), 0, bytes(32), 0)),
        (CREATOR, Admit(ledger.task, LIAR.public_key, bytes(32), bytes(16))),
        (LIAR, Savepoint(ledger.task, 0, 1, 0, 1, digest, size, (), b"")),
    ):
        assert ledger.add(sign(author, record), record, 0.0)
    config = ProtocolConfig()
    peer = Peer(config, WORKER, verify, Random(1), MemoryBlobStore(), 0.0)
    handover = Handover(config, WORKER, Random(1), ledger, peer, lambda _: 1)
    # We keep it for whoever made it.
    peer.custody.kept.put(digest, STATE)
    try:
        resumption = handover.take(0, 1.0)
    except StateLacking:
        handover.arrived(digest, here=True, keep=lambda _: True)
        resumption = handover.take(0, 1.0)
    assert (resumption is not None) == goes_on
    assert resumption is None or resumption.state == STATE
