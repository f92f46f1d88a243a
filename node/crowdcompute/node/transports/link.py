"""A live, authenticated connection between two peers, whatever carries it.

Two ordered, reliable channels. Frames of one channel arrive in the order sent; a control frame overtakes bulk frames
that wait to be sent. The peer at the other end holds the key of `peer_id`: whoever makes a link has proved it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.protocol.events import Channel
    from crowdcompute.protocol.identity import PeerId

BUFFERED_HIGH_BYTES = 256 * 1024
"""A sender of bulk should pause above this. More stalls a fresh browser connection (research/webrtc.md section 4)."""

BUFFERED_LOW_BYTES = 64 * 1024
"""`drained` returns at or below this."""

BUFFERED_MAX_BYTES = 16 * 1024 * 1024
"""A link whose sender never pauses is closed here: the other side does not read. Chromium throws at the same size."""


GLARE_S = 5.0
"""Two links of one kind that both sides dialled within this time are taken for one meeting."""
StackName = Literal["auto", "aiortc", "wrtc"]
"""What makes links by introduction: `auto` a direct one where there is a way, else WebRTC by the fastest engine that is
installed; or WebRTC only, by the engine named."""

_RANK = {"webrtc": 0, "libp2p": 1, "direct": 2}
"""Each carries many times what the one before does, for a part of the CPU time (benchmarks/links.py)."""


class Link(Protocol):
    """One link. Nothing of it blocks, and nothing is ever delivered from within `send` or `close`."""

    @property
    def over(self) -> str:
        """What carries it, for a person: `webrtc`, `libp2p` or `direct`."""

    @property
    def peer_id(self) -> PeerId: ...

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the peer says it can be dialled by libp2p, without an introduction."""

    @property
    def buffered(self) -> int:
        """Bytes accepted by `send` that the network has not taken yet, of both channels."""

    def attach(self, on_frame: Callable[[Channel, bytes], None], on_closed: Callable[[str], None]) -> None:
        """Say who receives. Call it once, after the core knows of the link.

        Frames that came before are handed over during this call, in order: none is missed. `on_closed` is called
        exactly once, whoever closed the link (also if that was before this call), and no frame follows it.
        """

    def send(self, channel: Channel, frame: bytes) -> None:
        """Queue one frame. On a closed link it is dropped: `on_closed` is on its way.

        Raises:
            LocalProtocolError: The frame is longer than `FRAME_BYTES_MAX`.
        """

    async def drained(self) -> None:
        """Return once `buffered` is at or below `BUFFERED_LOW_BYTES`, or the link is closed."""

    def close(self, reason: str) -> None:
        """Close from our side. Frames already queued get a moment to leave. Closing twice is fine."""

    async def wait_closed(self) -> None:
        """Return once the link is closed and every socket and task of it is gone."""


def outlives(
    older: Link, newer: Link, *, older_dialled: bool, newer_dialled: bool, age_s: float, smaller: bool
) -> bool:
    """Whether the older of two links to one peer stays. Both sides answer the same, in whatever order they open.

    A direct link stays before libp2p's, and that before WebRTC. Of one kind the newer stays: the older one's other end
    may have died. Only when both sides dialled libp2p at once, the one dialled by the smaller peer id stays; the others
    are made from one offer only (connector.py). `smaller`: whether that is ours; `age_s`: how long ago the older one
    opened.
    """
    if older.over != newer.over:
        return _RANK[older.over] > _RANK[newer.over]
    if older.over != "libp2p" or older_dialled == newer_dialled or age_s > GLARE_S:
        return False
    return older_dialled == smaller
