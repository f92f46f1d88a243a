"""Friends of a lying signaling server, around a victim to whom it names nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crowdcompute.protocol.events import SendFrame
from crowdcompute.protocol.frames import Hello, Ping, Pong, Topics, decode_frame

from .behaviour import Behaviour

if TYPE_CHECKING:
    from crowdcompute.protocol.events import Output
    from crowdcompute.protocol.identity import PeerId
    from crowdcompute.simulations.network import Node, World


class Eclipser(Behaviour):
    """Keeps its links to victims alive and tells them nothing: no record, no blob, no other peer."""

    def begin(self, world: World, node: Node) -> None:
        self._world = world

    def outputs(self, outputs: list[Output]) -> list[Output]:
        return [output for output in outputs if not (isinstance(output, SendFrame) and self._hides(output))]

    def _hides(self, output: SendFrame) -> bool:
        return self._is_victim(output.peer_id) and not isinstance(
            decode_frame(output.frame), Hello | Ping | Pong | Topics
        )

    def _is_victim(self, peer_id: PeerId) -> bool:
        return self._world.index_of[peer_id] in self._world.eclipsed
