"""What a plug-in may change about a machine, and what the liars of one group share."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from crowdcompute.protocol.events import ChunkOutcome, FrameReceived, Status
from crowdcompute.protocol.frames import Publish, decode_frame

if TYPE_CHECKING:
    from crowdcompute.protocol.events import Input, Output
    from crowdcompute.protocol.records import Signed
    from crowdcompute.simulations.network import Node, World
    from crowdcompute.simulations.states import State

_PUBLISH = b"\x93\xa7publish"
"""How every `Publish` frame begins: an array of three and its tag. Others need not be decoded."""


class Behaviour:
    """An honest peer. Subclasses override what they lie about."""

    convictable = False
    """Whether the protocol may convict it: it signs something no honest worker signs."""

    def begin(self, world: World, node: Node) -> None:
        """The machine is part of this world from now on; nothing has started yet."""

    def hears(self, event: Input) -> None:
        """What the peer is about to be told."""

    def outcome(self, honest: ChunkOutcome) -> ChunkOutcome:
        """What the peer is told came out of a chunk."""
        return honest

    def state(self, honest: State) -> State:
        """What the peer is told that a running chunk could be gone on from."""
        return honest

    def finishes(self) -> bool:
        """Whether a job ever ends."""
        return True

    def outputs(self, outputs: list[Output]) -> list[Output]:
        """What leaves the machine of what the peer asks for."""
        return outputs


class Band:
    """What the liars of one group tell each other, at once and for nothing."""

    def __init__(self) -> None:
        self.at_it: dict[int, set[bytes]] = {}
        """Chunk -> friends that compute it now."""
        self.lied_about: set[int] = set()


def wrong(honest: ChunkOutcome, salt: bytes) -> ChunkOutcome:
    """A wrong result of the right size, the same for equal salts."""
    digest = sha256(b"lie" + salt + honest.chunk.to_bytes(4)).digest()
    size = max(8, len(honest.data))
    return ChunkOutcome(honest.chunk, Status.OK, (digest * (size // len(digest) + 1))[:size])


def records_heard(event: Input) -> tuple[Signed, ...]:
    """The records that an input brings."""
    if isinstance(event, FrameReceived) and event.frame.startswith(_PUBLISH):
        frame = decode_frame(event.frame)
        assert isinstance(frame, Publish)
        return frame.records
    return ()
