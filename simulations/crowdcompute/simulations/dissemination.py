"""How long a blob takes from one peer to all, beside the least time there is.

    source --pieces--> N peers, 16 neighbours each, that give each other what they have

The exchanges are the nodes' own (protocol/exchange.py) and the links are simulated: latency, each peer's upload cap
(kept by the exchange itself, as `--upload` does), and a download that takes one frame at a time. The least time is
Kumar and Ross's: F is the blob, u and d are rates up and down,

    max(F / u_source, F / min d, N F / (u_source + sum u))
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from heapq import heappop, heappush
from random import Random
from typing import TYPE_CHECKING, Literal

from crowdcompute.protocol.blobs import PIECE_BYTES, describe
from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.exchange import Exchange
from crowdcompute.protocol.frames import BlobPieceFrame
from crowdcompute.protocol.identity import PeerId
from crowdcompute.protocol.serving import Serving

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crowdcompute.protocol.frames import Frame
    from crowdcompute.protocol.manifest import BlobRef

Uploads = Literal["equal", "mixed"]

MIXED = ((0.2, 0.4), (1.0, 0.4), (3.0, 0.2))
"""Factor and share of peers: phones and bad lines, homes, offices (research: verification section 4.3)."""

CONTROL_BYTES = 64
"""About what a control frame takes besides its own lists."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One network and one blob."""

    peers: int
    pieces: int
    uploads: Uploads = "equal"
    degree: int = 16
    upload_bytes_per_s: float = 1.25e6
    """Mean over the peers."""
    source_factor: float = 4.0
    """The source's upload in means: research's."""
    download_factor: float = 4.0
    latency_s: tuple[float, float] = (0.01, 0.05)
    """One way, drawn once per link."""
    window: int = 16


@dataclass(frozen=True, slots=True)
class Spread:
    """What came of it."""

    seconds: float
    """Until the last peer had all of it."""
    median_s: float
    bound_s: float
    sent_twice: float
    """Pieces that came where they were already, per piece delivered."""
    source_copies: float
    """How often the source sent each piece, on average."""
    control_bytes_per_peer: float

    @property
    def ratio(self) -> float:
        return self.seconds / self.bound_s


class OneBlob:
    """A blob store whose peers all share the one blob's bytes: they hold proved pieces, so the same ones."""

    def __init__(self, blob: bytes, ref: BlobRef, *, whole: bool = False) -> None:
        self._blob = blob
        self._ref = ref
        self._whole = whole

    def size(self, digest: bytes) -> int | None:
        return self._ref.size if self._whole and digest == self._ref.sha256 else None

    def read(self, digest: bytes, start: int, length: int) -> bytes:
        return self._blob[start : start + length]

    def put(self, digest: bytes, data: bytes) -> None:
        raise AssertionError("only one blob is here, and it comes in pieces")

    def begin(self, digest: bytes, size: int) -> dict[int, bytes]:
        return {}

    def put_piece(self, digest: bytes, index: int, data: bytes, nodes: Sequence[tuple[int, bytes]]) -> None:
        pass

    def finish(self, digest: bytes) -> bool:
        self._whole = True
        return True

    def discard(self, digest: bytes) -> None:
        self._whole = False


@dataclass(slots=True)
class _Node:
    peer_id: PeerId
    exchange: Exchange
    serving: Serving
    download_bytes_per_s: float
    neighbours: dict[PeerId, float] = field(default_factory=dict)
    """The latency to each."""
    clear_at: float = 0.0
    """When its download has taken everything that is on its way."""
    wake_at: float = float("inf")
    done_at: float | None = None


class Dissemination:
    """One run; a function of setting and seed."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self.setting = setting
        self.now = 0.0
        self.events = 0
        self._rng = Random(f"{seed}/world")
        self._blob = Random(f"{seed}/blob").randbytes(setting.pieces * PIECE_BYTES)
        self._ref = describe(self._blob)
        self._heap: list[tuple[float, int, int, int | None, Frame | None]] = []
        self._seq = 0
        self._control_bytes = 0
        self._delivered = self._twice = self._from_source = 0
        mean = setting.upload_bytes_per_s
        self.uploads = [setting.source_factor * mean, *self._draw_uploads()]
        self._nodes = [self._node(index, upload) for index, upload in enumerate(self.uploads)]
        self._number = {node.peer_id: index for index, node in enumerate(self._nodes)}
        self._link()

    @property
    def bound_s(self) -> float:
        """Kumar and Ross's least time."""
        size, source, peers = self._ref.size, self.uploads[0], self.uploads[1:]
        slowest = min(node.download_bytes_per_s for node in self._nodes[1:])
        return max(size / source, size / slowest, len(peers) * size / (source + sum(peers)))

    def run(self, stop_s: float = 3_600.0) -> Spread:
        """Until everybody has everything.

        Raises:
            TimeoutError: That has not happened by `stop_s`.
        """
        waiting = len(self._nodes) - 1
        for node in self._nodes[1:]:
            node.exchange.fetch(self._ref.sha256, self._ref.size, self._ref.root, (), 0.0)
        for node in self._nodes:
            self._perform(node)
        while waiting:
            self.now, _, number, sender, frame = heappop(self._heap)
            if self.now > stop_s:
                raise TimeoutError(f"{waiting} peers lack pieces after {stop_s} s")
            self.events += 1
            node = self._nodes[number]
            if frame is None:
                if node.wake_at != self.now:
                    continue
                node.wake_at = float("inf")
                node.exchange.advance(self.now)
            else:
                assert sender is not None
                source = self._nodes[sender].peer_id
                if isinstance(frame, BlobPieceFrame):
                    self._delivered += 1
                    self._twice += not node.exchange.expects(source, frame)
                node.exchange.received(source, frame, self.now)
            if self._perform(node):
                waiting -= 1
        done = sorted(node.done_at or 0.0 for node in self._nodes[1:])
        return Spread(
            done[-1],
            done[len(done) // 2],
            self.bound_s,
            self._twice / self._delivered,
            self._from_source / self.setting.pieces,
            self._control_bytes / len(self._nodes),
        )

    # ---- inside

    def _draw_uploads(self) -> list[float]:
        setting = self.setting
        if setting.uploads == "equal":
            return [setting.upload_bytes_per_s] * setting.peers
        factors = [factor for factor, share in MIXED for _ in range(round(share * setting.peers))]
        factors += [1.0] * (setting.peers - len(factors))
        self._rng.shuffle(factors)
        mean = sum(factors) / len(factors)
        return [setting.upload_bytes_per_s * factor / mean for factor in factors]

    def _node(self, index: int, upload: float) -> _Node:
        config = ProtocolConfig(upload_bytes_per_s=upload, blob_window=self.setting.window)
        serving = Serving(config)
        store = OneBlob(self._blob, self._ref, whole=index == 0)
        peer_id = PeerId(f"peer-{index}")
        # Another seed for each: what one draws is not what another draws.
        rng = Random(sha256(self._rng.randbytes(8) + index.to_bytes(4)).digest())
        exchange = Exchange(config, store, rng, serving)
        return _Node(peer_id, exchange, serving, self.setting.download_factor * self.setting.upload_bytes_per_s)

    def _link(self) -> None:
        """A random graph in which everybody has about the same number of neighbours: rings in random order."""
        for _ in range(self.setting.degree // 2):
            ring = list(self._nodes)
            self._rng.shuffle(ring)
            for node, other in zip(ring, ring[1:] + ring[:1], strict=True):
                if other.peer_id in node.neighbours or other is node:
                    continue
                latency_s = self._rng.uniform(*self.setting.latency_s)
                node.neighbours[other.peer_id] = other.neighbours[node.peer_id] = latency_s
        for node in self._nodes:
            for peer_id in node.neighbours:
                node.exchange.link_opened(peer_id, 0.0)

    def _perform(self, node: _Node) -> bool:
        """Send what it wants to send; whether it has just got the last piece."""
        done = False
        while True:
            frames, finished = node.exchange.drain(self.now)
            done = done or any(here for _, here in finished)
            if not frames:
                break
            for peer_id, frame in frames:
                self._send(node, peer_id, frame)
        if done:
            node.done_at = self.now
        due = node.exchange.wake_at()
        if due is not None and due < node.wake_at:
            node.wake_at = max(due, self.now)
            self._push(node.wake_at, self._number[node.peer_id], None, None)
        return done

    def _send(self, node: _Node, peer_id: PeerId, frame: Frame) -> None:
        number = self._number[peer_id]
        arrival = self.now + node.neighbours[peer_id]
        if isinstance(frame, BlobPieceFrame):
            other = self._nodes[number]
            # The cap is the way out: what it lets go has left.
            node.serving.drained(peer_id)
            self._from_source += node is self._nodes[0]
            other.clear_at = arrival = max(arrival, other.clear_at) + len(frame.data) / other.download_bytes_per_s
        else:
            pieces = getattr(frame, "pieces", ())
            self._control_bytes += CONTROL_BYTES + 3 * len(pieces) + len(getattr(frame, "bits", b""))
        self._push(arrival, number, self._number[node.peer_id], frame)

    def _push(self, when: float, number: int, sender: int | None, frame: Frame | None) -> None:
        self._seq += 1
        heappush(self._heap, (when, self._seq, number, sender, frame))
