"""Liars that lie only in company, and never where an honest worker could contradict them alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crowdcompute.protocol.events import Execute

from .behaviour import Behaviour, wrong
from .wrong import ALL_ALIKE

if TYPE_CHECKING:
    from crowdcompute.protocol.events import ChunkOutcome, Output
    from crowdcompute.protocol.identity import Signer

    from .behaviour import Band


class Pair(Behaviour):
    """Wrong only where a friend has lied, or computes the same chunk at this moment and will lie too.

    More it cannot know: votes are sealed, and who confirms a chunk is drawn after the first vote came.
    """

    convictable = True

    def __init__(self, signer: Signer, band: Band) -> None:
        self._me = signer.public_key
        self._band = band

    def outputs(self, outputs: list[Output]) -> list[Output]:
        for output in outputs:
            if isinstance(output, Execute):
                for chunk in output.chunks:
                    self._band.at_it.setdefault(chunk.chunk, set()).add(self._me)
        return outputs

    def outcome(self, honest: ChunkOutcome) -> ChunkOutcome:
        friends = self._band.at_it.get(honest.chunk, set())
        friends.discard(self._me)
        if not friends and honest.chunk not in self._band.lied_about:
            return honest
        self._band.lied_about.add(honest.chunk)
        return wrong(honest, ALL_ALIKE)
