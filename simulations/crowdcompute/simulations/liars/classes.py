"""Those who make use of classes of devices (spec/gpu.md, "Classes"): of one of their own, or of the tolerance."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from crowdcompute.protocol.events import Status
from crowdcompute.protocol.gpu import CLASS_BYTES

from .behaviour import Behaviour
from .wrong import chance

if TYPE_CHECKING:
    from crowdcompute.protocol.events import ChunkOutcome
    from crowdcompute.simulations.network import Node, World

MADE_UP = b"made up".ljust(CLASS_BYTES, b".")


class Inventor(Behaviour):
    """Lies about the share `rate` of all chunks; all alike, in a class made up so that they confirm each other."""

    convictable = True

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._choice = b""

    def begin(self, world: World, node: Node) -> None:
        self._choice = b"choice" + world.task

    def outcome(self, honest: ChunkOutcome) -> ChunkOutcome:
        if honest.status is not Status.OK:
            return honest
        off = 100.0 if chance(self._choice, honest.chunk) < self._rate else 0.0
        return honest._replace(data=_moved(honest.data[:-CLASS_BYTES], off) + MADE_UP)


class Nudger(Behaviour):
    """Moves its results by less than the tolerance between classes: within its class that is another result.

    Where its class and the creator's differ by nearly all of the tolerance, or are both that of modules, it is wrong.
    """

    convictable = True

    def __init__(self) -> None:
        self._by = 0.0

    def begin(self, world: World, node: Node) -> None:
        self._by = world.scenario.task.tolerance / 8

    def outcome(self, honest: ChunkOutcome) -> ChunkOutcome:
        if honest.status is not Status.OK:
            return honest
        return honest._replace(data=_moved(honest.data[:-CLASS_BYTES], self._by) + honest.data[-CLASS_BYTES:])


def _moved(arrays: bytes, by: float) -> bytes:
    count = len(arrays) // 4
    return struct.pack(f"<{count}f", *(number + by for number in struct.unpack(f"<{count}f", arrays)))
