"""Savepoints that lead whoever goes on from them to a wrong result: the maker is convicted, and not who believed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crowdcompute.simulations.states import State

from .rewriting import Rewriting

if TYPE_CHECKING:
    from crowdcompute.protocol.identity import PeerId, Signer
    from crowdcompute.protocol.records import Signed


class Poisoner(Rewriting):
    """Tells of false savepoints and never commits, so that others take over what it has begun."""

    convictable = True

    def __init__(self, signer: Signer) -> None:
        self._key = signer.public_key

    def state(self, honest: State) -> State:
        return State(honest.number, bytes(byte ^ 0xFF for byte in honest.digest))

    def records(self, to: PeerId, records: tuple[Signed, ...]) -> tuple[Signed, ...]:
        return tuple(it for it in records if it.kind not in ("commit", "resumed") or it.author != self._key)
