"""Accusations that only the creator may sign: refused by everybody, and the link to whoever brings one is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crowdcompute.protocol.records import EVERYTHING, Verdict, sign

from .behaviour import records_heard
from .rewriting import Rewriting

if TYPE_CHECKING:
    from crowdcompute.protocol.events import Input
    from crowdcompute.protocol.identity import PeerId, Signer
    from crowdcompute.protocol.records import Signed
    from crowdcompute.simulations.network import Node, World


class Forger(Rewriting):
    """Adds to what it publishes of a task a verdict against the worker it heard of last, signed by itself."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._task = b""
        self._victim: bytes | None = None

    def begin(self, world: World, node: Node) -> None:
        self._task = world.task

    def hears(self, event: Input) -> None:
        for signed in records_heard(event):
            if signed.kind == "commit" and signed.author != self._signer.public_key:
                self._victim = signed.author

    def records(self, to: PeerId, records: tuple[Signed, ...]) -> tuple[Signed, ...]:
        if self._victim is None or not any(signed.kind == "commit" for signed in records):
            return records
        return (*records, sign(self._signer, Verdict(self._task, self._victim, "wrong", 0, bytes(32), EVERYTHING)))
