"""Liars that do not mind being convicted: identities are cheap, and bounded only by what a new one costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .wrong import Colluding

if TYPE_CHECKING:
    from crowdcompute.simulations.network import Node, World

_LOOKS_EVERY_S = 1.0


class Whitewasher(Colluding):
    """Every result wrong; `after_s` after it hears of its conviction it is back, the same machine with a new key."""

    def __init__(self, after_s: float) -> None:
        super().__init__(1.0, 0)
        self._after_s = after_s

    def begin(self, world: World, node: Node) -> None:
        super().begin(world, node)
        self._world, self._node = world, node
        self._look_later()

    def _look_later(self) -> None:
        self._world.at(self._world.now + _LOOKS_EVERY_S, self._look)

    def _look(self) -> None:
        ledger = self._node.peer.ledgers.get(self._world.task)
        if ledger is None or not self._node.alive or not ledger.is_void(self._node.signer.public_key):
            self._look_later()
            return
        self._world.stop(self._node)
        self._world.at(self._world.now + self._after_s, self._return)

    def _return(self) -> None:
        self._world.rename(self._node)
        self._look_later()
