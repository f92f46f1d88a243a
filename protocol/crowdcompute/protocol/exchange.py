"""Blobs between neighbours: asked for by hash, sent in verified pieces, from several peers at once (spec/blobs.md).

    a blob we want:  WANTED --piece by piece--> HERE
                        '--nobody left to ask--> UNREACHABLE (the asker is told; it may ask again)

Nothing is ever sent unasked. A piece that does not come in time is asked of the next provider. Without a known Merkle
root only the whole can be checked, so such a blob is taken from one provider at a time: then it is clear who lied.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from . import merkle
from .blobs import PIECE_BYTES, PieceAssembly, piece_count, piece_hashes
from .errors import RemoteProtocolError
from .frames import BlobMissing, BlobPieceFrame, BlobWant, Frame

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .config import ProtocolConfig
    from .identity import PeerId
    from .storage import BlobStore

PROOFS_KEPT = 64
"""Blobs whose piece hashes are remembered, so that serving a piece does not hash the whole again."""


@dataclass(slots=True)
class _Fetch:
    assembly: PieceAssembly
    providers: list[PeerId]
    asked: dict[int, tuple[PeerId, float]] = field(default_factory=dict)
    useless: set[PeerId] = field(default_factory=set)
    source: PeerId | None = None
    """Without a root: whose pieces these are."""
    stuck_since: float | None = None
    """Since when no provider has been linked: one may be on its way."""


class Exchange:
    """Serves what the blob store holds and fetches what it lacks."""

    def __init__(self, config: ProtocolConfig, blobs: BlobStore) -> None:
        self._config = config
        self._blobs = blobs
        self.neighbours: set[PeerId] = set()
        """Whom we can ask: they have said hello."""
        self._load: dict[PeerId, int] = {}  # pieces asked of each neighbour, over all blobs
        self._fetches: dict[bytes, _Fetch] = {}
        self._proofs: OrderedDict[bytes, list[bytes]] = OrderedDict()
        self._frames: list[tuple[PeerId, Frame]] = []
        self._finished: list[tuple[bytes, bool]] = []

    def link_opened(self, peer_id: PeerId, now: float) -> None:
        self.neighbours.add(peer_id)
        self._ask_all(now)

    def link_closed(self, peer_id: PeerId, now: float) -> None:
        self.neighbours.discard(peer_id)
        for fetch in list(self._fetches.values()):
            self._forget_asked(fetch, peer_id)
        self._ask_all(now)

    def fetch(self, digest: bytes, size: int, root: bytes | None, providers: Iterable[PeerId], now: float) -> None:
        """Want a blob. `drain` will say when it is here, or that nobody we can reach has it."""
        if self._blobs.size(digest) is not None:
            self._finished.append((digest, True))
            return
        fetch = self._fetches.get(digest)
        if fetch is None:
            fetch = self._fetches[digest] = _Fetch(PieceAssembly(digest, size, root), [])
        fetch.useless.clear()
        fetch.providers.extend(peer for peer in providers if peer not in fetch.providers)
        if fetch.assembly.complete:  # a blob of no bytes
            self._complete(fetch)
        else:
            self._ask(fetch, now)

    def received(self, peer_id: PeerId, frame: Frame, now: float) -> None:
        """Apply one blob frame.

        Raises:
            RemoteProtocolError: A piece that is not what its proof says.
        """
        match frame:
            case BlobWant(sha256=digest, first=first, count=count):
                self._serve(peer_id, digest, first, count)
            case BlobMissing(sha256=digest):
                fetch = self._fetches.get(digest)
                if fetch is not None:
                    fetch.useless.add(peer_id)
                    self._forget_asked(fetch, peer_id)
                    self._ask_all(now)  # Others may have waited for room in this peer's window.
            case BlobPieceFrame(sha256=digest, index=index, data=data, proof=proof):
                if not self.expects(peer_id, frame):
                    return  # It came too late, or was never asked for: only the link's share pays for it.
                fetch = self._fetches[digest]
                self._answered(fetch, index)
                try:
                    fetch.assembly.add(index, data, proof)
                    if fetch.assembly.complete:
                        self._complete(fetch)
                except RemoteProtocolError:
                    fetch.useless.add(peer_id)
                    self._forget_asked(fetch, peer_id)
                    raise
                finally:
                    self._ask_all(now)
            case _:
                raise AssertionError(frame)

    def expects(self, peer_id: PeerId, piece: BlobPieceFrame) -> bool:
        """Whether this peer was asked for this piece and the answer is outstanding."""
        fetch = self._fetches.get(piece.sha256)
        asked = fetch.asked.get(piece.index) if fetch is not None else None
        return asked is not None and asked[0] == peer_id

    def advance(self, now: float) -> None:
        """Ask somebody else for pieces that did not come."""
        for fetch in list(self._fetches.values()):
            late = [
                (index, peer_id)
                for index, (peer_id, at) in fetch.asked.items()
                if now >= at + self._config.blob_timeout_s
            ]
            for index, peer_id in late:
                self._answered(fetch, index)
                fetch.useless.add(peer_id)
            if late:
                self._ask_all(now)
            hopeless = all(peer in fetch.useless for peer in fetch.providers)
            if fetch.stuck_since is not None and (hopeless or now >= fetch.stuck_since + self._config.blob_timeout_s):
                del self._fetches[fetch.assembly.digest]
                self._finished.append((fetch.assembly.digest, False))

    def wake_at(self) -> float | None:
        if not self._fetches:
            return None
        due = [at for fetch in self._fetches.values() for _, at in fetch.asked.values()]
        due.extend(fetch.stuck_since for fetch in self._fetches.values() if fetch.stuck_since is not None)
        return min(due) + self._config.blob_timeout_s if due else None

    def drain(self) -> tuple[list[tuple[PeerId, Frame]], list[tuple[bytes, bool]]]:
        """Frames to send, and blobs that are here (True) or cannot be had now (False)."""
        frames, self._frames = self._frames, []
        finished, self._finished = self._finished, []
        return frames, finished

    def _ask_all(self, now: float) -> None:
        for fetch in list(self._fetches.values()):
            self._ask(fetch, now)

    def _ask(self, fetch: _Fetch, now: float) -> None:
        providers = [peer for peer in fetch.providers if peer in self.neighbours and peer not in fetch.useless]
        if fetch.assembly.root is None and providers:
            providers = [self._only_source(fetch, providers)]
        if not providers:
            if not fetch.asked and fetch.stuck_since is None:
                fetch.stuck_since = now
            return
        fetch.stuck_since = None
        if min(self._load.get(peer, 0) for peer in providers) >= self._config.blob_window:
            return
        wanted: dict[PeerId, list[int]] = {}
        for index in fetch.assembly.missing():
            if index in fetch.asked:
                continue
            peer_id = min(providers, key=lambda peer: self._load.get(peer, 0))
            if self._load.get(peer_id, 0) >= self._config.blob_window:
                break
            self._load[peer_id] = self._load.get(peer_id, 0) + 1
            fetch.asked[index] = (peer_id, now)
            wanted.setdefault(peer_id, []).append(index)
        for peer_id, indices in wanted.items():
            start = previous = indices[0]
            for index in [*indices[1:], -1]:
                if index != previous + 1:
                    self._frames.append((peer_id, BlobWant(fetch.assembly.digest, start, previous - start + 1)))
                    start = index
                previous = index

    def _only_source(self, fetch: _Fetch, providers: list[PeerId]) -> PeerId:
        """Keep to one provider where only the whole can be checked; a change of provider starts from nothing."""
        if fetch.source not in providers:
            if fetch.source is not None:
                self._forget_asked(fetch, fetch.source)
                fetch.assembly = PieceAssembly(fetch.assembly.digest, fetch.assembly.size)
            fetch.source = providers[0]
        return fetch.source

    def _forget_asked(self, fetch: _Fetch, peer_id: PeerId) -> None:
        for index in [index for index, asked in fetch.asked.items() if asked[0] == peer_id]:
            self._answered(fetch, index)

    def _answered(self, fetch: _Fetch, index: int) -> None:
        peer_id, _ = fetch.asked.pop(index)
        self._load[peer_id] -= 1
        if not self._load[peer_id]:
            del self._load[peer_id]

    def _complete(self, fetch: _Fetch) -> None:
        data = fetch.assembly.whole()
        self._blobs.put(fetch.assembly.digest, data)
        del self._fetches[fetch.assembly.digest]
        self._finished.append((fetch.assembly.digest, True))

    def _serve(self, peer_id: PeerId, digest: bytes, first: int, count: int) -> None:
        size = self._blobs.size(digest)
        if size is None:
            self._frames.append((peer_id, BlobMissing(digest)))
            return
        hashes = self._piece_hashes(digest, size)
        for index in range(first, min(first + count, piece_count(size))):
            data = self._blobs.read(digest, index * PIECE_BYTES, PIECE_BYTES)
            self._frames.append((peer_id, BlobPieceFrame(digest, size, index, data, merkle.proof(hashes, index))))

    def _piece_hashes(self, digest: bytes, size: int) -> list[bytes]:
        hashes = self._proofs.get(digest)
        if hashes is None:
            data = self._blobs.read(digest, 0, size)
            assert sha256(data).digest() == digest
            hashes = self._proofs[digest] = piece_hashes(data)
            if len(self._proofs) > PROOFS_KEPT:
                self._proofs.popitem(last=False)
        self._proofs.move_to_end(digest)
        return hashes
