"""Liars that treat what the creator asks of them differently from what they chose themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crowdcompute.protocol.assigning import open_assignment
from crowdcompute.protocol.events import ChunkOutcome, Status
from crowdcompute.protocol.records import Assign, parse

from .behaviour import Behaviour, records_heard, wrong
from .wrong import ALL_ALIKE

if TYPE_CHECKING:
    from crowdcompute.protocol.events import Input
    from crowdcompute.protocol.identity import Signer
    from crowdcompute.simulations.network import Node, World


class _Asked(Behaviour):
    """Reads its own assignments, as it may, and so knows which chunks somebody else is on already."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._seal_key = b""
        self._asked: set[int] = set()

    def begin(self, world: World, node: Node) -> None:
        self._seal_key = world.manifest.seal_key

    def hears(self, event: Input) -> None:
        for signed in records_heard(event):
            if signed.kind == "assign":
                assign = parse(signed)
                assert isinstance(assign, Assign)
                if assign.worker == self._signer.public_key:
                    self._asked.update(open_assignment(self._signer, self._seal_key, assign).chunks)


class Accuser(_Asked):
    """Honest about its own choice, always wrong where another's vote is to be confirmed: two values, a dispute."""

    convictable = True

    def outcome(self, honest: ChunkOutcome) -> ChunkOutcome:
        return wrong(honest, ALL_ALIKE) if honest.chunk in self._asked else honest


class Lazy(_Asked):
    """Computes for credit, and does not confirm: whatever it is asked for had 'no result', which convicts nobody."""

    def outcome(self, honest: ChunkOutcome) -> ChunkOutcome:
        if honest.chunk not in self._asked:
            return honest
        return ChunkOutcome(honest.chunk, Status.NO_RESULT, b"", "timeout")
