"""Votes taken from others: a sealed batch is bound to its author, so a copy opens for nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crowdcompute.protocol.records import Commit, parse, sign

from .behaviour import records_heard
from .rewriting import Rewriting

if TYPE_CHECKING:
    from crowdcompute.protocol.events import Input
    from crowdcompute.protocol.identity import PeerId, Signer
    from crowdcompute.protocol.records import Signed
    from crowdcompute.simulations.network import Node, World


class Copier(Rewriting):
    """Publishes, under its own name and number, the sealed votes of whoever committed last."""

    convictable = True

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._creator = b""
        self._last: Commit | None = None
        self._copies: dict[bytes, Signed] = {}

    def begin(self, world: World, node: Node) -> None:
        self._creator = world.manifest.creator

    def hears(self, event: Input) -> None:
        for signed in records_heard(event):
            if signed.kind == "commit" and signed.author not in (self._signer.public_key, self._creator):
                commit = parse(signed)
                assert isinstance(commit, Commit)
                self._last = commit

    def records(self, to: PeerId, records: tuple[Signed, ...]) -> tuple[Signed, ...]:
        return tuple(self._copy(signed) for signed in records)

    def _copy(self, signed: Signed) -> Signed:
        if signed.kind != "commit" or signed.author != self._signer.public_key:
            return signed
        copy = self._copies.get(signed.record_id)
        if copy is None and self._last is not None:
            own = parse(signed)
            assert isinstance(own, Commit)
            theirs = self._last
            commit = Commit(own.task, theirs.shard, own.seq, own.epoch, b"", theirs.runs, theirs.root, theirs.sealed)
            copy = self._copies[signed.record_id] = sign(self._signer, commit)
        return copy or signed
