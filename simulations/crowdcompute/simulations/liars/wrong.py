"""Wrong results: always, at a rate, after a while, by accident. Whoever signs one may be convicted."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from .behaviour import Behaviour, wrong

if TYPE_CHECKING:
    from crowdcompute.protocol.events import ChunkOutcome
    from crowdcompute.protocol.identity import Signer
    from crowdcompute.simulations.network import Node, World

ALL_ALIKE = b"all alike"


class Alone(Behaviour):
    """Every result wrong, each liar its own."""

    convictable = True

    def __init__(self, signer: Signer) -> None:
        self._salt = signer.public_key

    def outcome(self, honest: ChunkOutcome) -> ChunkOutcome:
        return wrong(honest, self._salt)


class Colluding(Behaviour):
    """Lies about the share `rate` of all chunks, after having computed `after` honestly."""

    convictable = True

    def __init__(self, rate: float, after: int) -> None:
        self._rate = rate
        self._honest_left = after
        self._choice = b""

    def begin(self, world: World, node: Node) -> None:
        # The task and the chunk decide, so that all of them lie about the same ones, and about others with each seed.
        self._choice = b"choice" + world.task

    def outcome(self, honest: ChunkOutcome) -> ChunkOutcome:
        if self._honest_left > 0:
            self._honest_left -= 1
            return honest
        return wrong(honest, ALL_ALIKE) if chance(self._choice, honest.chunk) < self._rate else honest


class Flaky(Behaviour):
    """Bad memory: the share `rate` of its results has a wrong bit, and no two alike."""

    convictable = True

    def __init__(self, rate: float, signer: Signer) -> None:
        self._rate = rate
        self._salt = signer.public_key

    def outcome(self, honest: ChunkOutcome) -> ChunkOutcome:
        return wrong(honest, self._salt) if chance(self._salt, honest.chunk) < self._rate else honest


def chance(salt: bytes, chunk: int) -> float:
    return int.from_bytes(sha256(salt + chunk.to_bytes(4)).digest()[:4]) / 2**32
