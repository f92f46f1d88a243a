"""Two signed commits with one number: the pair is the proof, and anybody who hears both knows."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from crowdcompute.protocol.batch import Leaf, seal_commit
from crowdcompute.protocol.events import Status
from crowdcompute.protocol.identity import NONCE_BYTES
from crowdcompute.protocol.records import Commit, chunks_of, parse, sign

from .rewriting import Rewriting

if TYPE_CHECKING:
    from crowdcompute.protocol.identity import PeerId, Signer
    from crowdcompute.protocol.records import Signed
    from crowdcompute.simulations.network import Node, World


class Equivocator(Rewriting):
    """Signs every commit twice with one seq; neighbours with an odd place in its list hear the second."""

    convictable = True

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._seal_key = b""
        self._second: dict[bytes, Signed] = {}
        self._sides: dict[str, bool] = {}

    def begin(self, world: World, node: Node) -> None:
        self._seal_key = world.manifest.seal_key

    def records(self, to: PeerId, records: tuple[Signed, ...]) -> tuple[Signed, ...]:
        other_side = self._sides.setdefault(to, len(self._sides) % 2 == 1)
        return tuple(self._twin(signed) for signed in records) if other_side else records

    def _twin(self, signed: Signed) -> Signed:
        if signed.kind != "commit" or signed.author != self._signer.public_key:
            return signed
        twin = self._second.get(signed.record_id)
        if twin is None:
            commit = parse(signed)
            assert isinstance(commit, Commit)
            leaves = [
                Leaf(chunk, Status.OK, inline=True, size=32, data=sha256(b"twin" + chunk.to_bytes(4)).digest())
                for chunk in chunks_of(commit.shard, commit.runs)
            ]
            salt, nonce = commit.root[:16], commit.root[:NONCE_BYTES]
            second = seal_commit(self._signer, self._seal_key, commit.task, commit.seq, leaves, salt=salt, nonce=nonce)
            twin = self._second[signed.record_id] = sign(self._signer, second)
        return twin
