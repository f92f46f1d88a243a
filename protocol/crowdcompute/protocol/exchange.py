"""Blobs between neighbours: asked for by hash, sent in verified pieces (spec/blobs.md).

    with a known root:  WANTED --from all who have some, each piece checked--> HERE           (swarm.py)
    without one:        WANTED --piece by piece, from one at a time----------> HERE
                           '--nobody left to ask--> UNREACHABLE (the asker is told; it may ask again)

Nothing is ever sent unasked. Without a known Merkle root only the whole can be checked, so such a blob is taken from
one provider at a time: then it is clear who lied. What others ask of us waits its turn in serving.py; a blob of which
we are the only source is shown bit by bit (seeding.py).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import merkle
from .blobs import PIECE_BYTES, PieceAssembly, piece_count
from .errors import RemoteProtocolError
from .frames import BlobCancel, BlobGot, BlobHave, BlobMissing, BlobPieceFrame, BlobSeek, BlobWant, Frame
from .pieces import Partial, PieceTree, set_of
from .seeding import Seeding
from .storage import NoRoom
from .swarm import Swarm, have_frames

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from random import Random

    from .config import ProtocolConfig
    from .identity import PeerId
    from .serving import Serving
    from .storage import BlobStore

TREES_KEPT = 64
"""Blobs whose trees are remembered, so that serving a piece does not hash the whole again."""

LARGE_PIECES = 64
"""A blob of so many, 4 MiB, is worth links of its own."""

SEEDINGS_MAX = 64
"""Blobs shown bit by bit at a time; of others everything is shown at once."""


@dataclass(slots=True)
class _Fetch:
    """A blob without a root."""

    assembly: PieceAssembly
    providers: list[PeerId]
    asked: dict[int, tuple[PeerId, float]] = field(default_factory=dict)
    useless: set[PeerId] = field(default_factory=set)
    source: PeerId | None = None
    """Whose pieces these are."""
    stuck_since: float | None = None
    """Since when no provider has been linked: one may be on its way."""


class Exchange:
    """Serves what the blob store holds and fetches what it lacks.

    Args:
        serving: Where pieces wait to be sent; shared by all exchanges of a peer, for it has one way out.
    """

    def __init__(self, config: ProtocolConfig, blobs: BlobStore, rng: Random, serving: Serving) -> None:
        self._config = config
        self._blobs = blobs
        self._rng = rng
        self._serving = serving
        self.neighbours: set[PeerId] = set()
        """Whom we can ask: they have said hello."""
        self._load: dict[PeerId, int] = {}  # pieces asked of each neighbour, over all blobs without a root
        self._fetches: dict[bytes, _Fetch] = {}
        self._swarms: dict[bytes, Swarm] = {}
        self._seedings: dict[bytes, Seeding] = {}
        self._given_on: set[bytes] = set()
        """Blobs that came from a swarm or have all been given once: we are not their only source."""
        self._trees: OrderedDict[bytes, PieceTree] = OrderedDict()
        self._frames: list[tuple[PeerId, Frame]] = []
        self._finished: list[tuple[bytes, bool]] = []

    def link_opened(self, peer_id: PeerId, now: float) -> None:
        self.neighbours.add(peer_id)
        for digest, swarm in self._swarms.items():
            self._seek(digest, swarm, peer_id)
        self._ask_all(now)

    def link_closed(self, peer_id: PeerId, now: float) -> None:
        self.neighbours.discard(peer_id)
        self._serving.link_closed(peer_id)
        for seeding in self._seedings.values():
            seeding.left(peer_id)
        for swarm in self._swarms.values():
            swarm.drop(peer_id)
        for fetch in list(self._fetches.values()):
            self._forget_asked(fetch, peer_id)
        self._ask_all(now)

    def fetch(self, digest: bytes, size: int, root: bytes | None, providers: Iterable[PeerId], now: float) -> None:
        """Want a blob. `drain` will say when it is here, or that nobody we can reach has it.

        With a root it is fetched from all neighbours, and goes on being fetched until it is forgotten; without one,
        from `providers`. Of one piece only, nobody waits to hear that these have it.
        """
        if self._blobs.size(digest) is not None:
            self._finished.append((digest, True))
        elif root is None:
            self._fetch_alone(digest, size, providers, now)
        else:
            swarm = self._swarm(digest, size, root, now)
            if swarm is not None and not swarm.whole:
                swarm.want_all()
                self._begin(digest, swarm, now, self.neighbours.intersection(providers))

    def fetch_pieces(self, digest: bytes, size: int, root: bytes, pieces: int, now: float) -> None:
        """Want some pieces (pieces.py) of a blob. `drain` will name the blob when all that is wanted of it is here."""
        if self._blobs.size(digest) is not None:
            self._finished.append((digest, True))
            return
        swarm = self._swarm(digest, size, root, now)
        if swarm is not None:
            swarm.want(pieces)
            self._begin(digest, swarm, now)

    @property
    def moving(self) -> bool:
        """Whether much has to come still."""
        return any(swarm.partial.count >= LARGE_PIECES and swarm.lacking for swarm in self._swarms.values())

    def here(self, digest: bytes) -> int:
        """The pieces that are here of a blob being fetched."""
        swarm = self._swarms.get(digest)
        return swarm.partial.here if swarm is not None else 0

    def forget(self, digest: bytes) -> None:
        """Do not fetch a blob any longer. What is here of it stays in the store."""
        if self._swarms.pop(digest, None) is not None:
            for peer_id in sorted(self.neighbours):
                self._frames.append((peer_id, BlobMissing(digest)))

    def received(self, peer_id: PeerId, frame: Frame, now: float) -> None:
        """Apply one blob frame.

        Raises:
            RemoteProtocolError: A piece that is not what its proof says, or more than anybody should ask for.
        """
        match frame:
            case BlobWant(sha256=digest, first=first, count=count):
                self._wanted(peer_id, digest, first, count)
            case BlobCancel(sha256=digest, pieces=pieces):
                self._serving.cancel(peer_id, self, digest, pieces)
            case BlobSeek(sha256=digest, whole=whole):
                self._sought(peer_id, digest, now, whole=whole)
            case BlobHave(sha256=digest, first=first, bits=bits):
                # Before a set is made of it: a number of four billion bits is soon claimed.
                if self._is_moving(digest, first + 8 * (len(bits) - 1)):
                    self._has(peer_id, digest, int.from_bytes(bits, "little") << first, now)
            case BlobGot(sha256=digest, pieces=pieces):
                if self._is_moving(digest, max(pieces)):
                    self._has(peer_id, digest, set_of(pieces), now)
            case BlobMissing(sha256=digest):
                self._missing(peer_id, digest, now)
            case BlobPieceFrame() if self.expects(peer_id, frame):
                swarm = self._swarms.get(frame.sha256)
                if swarm is not None:
                    self._swarm_piece(peer_id, swarm, frame, now)
                else:
                    self._lone_piece(peer_id, frame, now)
            case BlobPieceFrame():
                pass  # It came too late, or was never asked for: only the link's share pays for it.
            case _:
                raise AssertionError(frame)

    def expects(self, peer_id: PeerId, piece: BlobPieceFrame) -> bool:
        """Whether this peer was asked for this piece and the answer is outstanding."""
        swarm = self._swarms.get(piece.sha256)
        if swarm is not None:
            return swarm.expects(peer_id, piece.index)
        fetch = self._fetches.get(piece.sha256)
        asked = fetch.asked.get(piece.index) if fetch is not None else None
        return asked is not None and asked[0] == peer_id

    def advance(self, now: float) -> None:
        """Ask somebody else for pieces that did not come."""
        if not self._fetches and not self._swarms:
            return
        for digest, swarm in list(self._swarms.items()):
            if swarm.advance(now):
                self._finished.append((digest, False))
            self._ask_swarm(swarm, now)
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
        if not self._fetches and not self._swarms:
            return self._serving.wake_at()  # The usual case, and asked after every event.
        due = [at for fetch in self._fetches.values() for _, at in fetch.asked.values()]
        due.extend(fetch.stuck_since for fetch in self._fetches.values() if fetch.stuck_since is not None)
        wakes = [min(due) + self._config.blob_timeout_s] if due else []
        wakes += [at for swarm in self._swarms.values() if (at := swarm.wake_at()) is not None]
        serving_at = self._serving.wake_at()
        if serving_at is not None:
            wakes.append(serving_at)
        return min(wakes, default=None)

    def drain(self, now: float) -> tuple[list[tuple[PeerId, Frame]], list[tuple[bytes, bool]]]:
        """Frames to send, and blobs that are here (True) or cannot be had now (False)."""
        pieces = self._serving.pump(now)
        if not (pieces or self._frames or self._finished or self._swarms):
            return [], []  # The usual case.
        for swarm in self._swarms.values():
            self._frames += swarm.news(now)
        frames, self._frames = self._frames, []
        finished, self._finished = self._finished, []
        return [*frames, *pieces], finished

    # ---- giving

    def piece(self, peer_id: PeerId, digest: bytes, index: int) -> BlobPieceFrame | None:
        """A piece that a neighbour waits for, now that it is its turn (serving.py)."""
        size = self._blobs.size(digest)
        if size is None:
            swarm = self._swarms.get(digest)
            if swarm is None or not swarm.partial.here >> index & 1:
                self._frames.append((peer_id, BlobMissing(digest)))
                return None
            size, tree = swarm.partial.size, swarm.partial.tree
        else:
            tree = self._tree(digest, size)
        data = self._blobs.read(digest, index * PIECE_BYTES, PIECE_BYTES)
        seeding = self._seedings.get(digest)
        if seeding is not None:
            seeding.served(peer_id, index)
            self._show(digest, seeding, peer_id)
        return BlobPieceFrame(digest, size, index, data, tree.proof(index))

    def _wanted(self, peer_id: PeerId, digest: bytes, first: int, count: int) -> None:
        size, swarm = self._blobs.size(digest), self._swarms.get(digest)
        if size is None and swarm is None:
            self._frames.append((peer_id, BlobMissing(digest)))
            return
        pieces = piece_count(size) if size is not None else swarm.partial.count if swarm is not None else 0
        self._serving.ask(peer_id, self, digest, range(first, min(first + count, pieces)))

    def _sought(self, peer_id: PeerId, digest: bytes, now: float, *, whole: bool) -> None:
        size, swarm = self._blobs.size(digest), self._swarms.get(digest)
        if size is not None:
            seeding = self._seedings.get(digest)
            if seeding is None and whole and digest not in self._given_on and len(self._seedings) < SEEDINGS_MAX:
                seeding = self._seedings[digest] = Seeding(piece_count(size), self._rng)
            if seeding is None or not whole:
                count = piece_count(size)
                self._tell(peer_id, digest, count, (1 << count) - 1)
            else:
                seeding.joined(peer_id)
                self._show(digest, seeding, peer_id)
        elif swarm is not None:
            if peer_id not in swarm.followers:
                swarm.followers.add(peer_id)
                self._tell(peer_id, digest, swarm.partial.count, swarm.partial.here)
        else:
            self._frames.append((peer_id, BlobMissing(digest)))

    def _tell(self, peer_id: PeerId, digest: bytes, count: int, here: int) -> None:
        self._frames += [(peer_id, frame) for frame in have_frames(digest, count, here)]

    def _show(self, digest: bytes, seeding: Seeding, peer_id: PeerId) -> None:
        if seeding.done:
            # Everything has been given once: the network can do the rest, with whatever it likes of ours.
            del self._seedings[digest]
            self._given_on.add(digest)
            count = seeding.count
            for neighbour in seeding.neighbours:
                self._tell(neighbour, digest, count, (1 << count) - 1)
            return
        pieces = seeding.show(peer_id)
        if pieces:
            self._frames.append((peer_id, BlobGot(digest, tuple(pieces))))

    def _tree(self, digest: bytes, size: int) -> PieceTree:
        tree = self._trees.get(digest)
        if tree is None:
            starts = range(0, size, PIECE_BYTES)
            tree = PieceTree.of([merkle.leaf_hash(self._blobs.read(digest, start, PIECE_BYTES)) for start in starts])
            self._remember(digest, tree)
        self._trees.move_to_end(digest)
        return tree

    def _remember(self, digest: bytes, tree: PieceTree) -> None:
        self._trees[digest] = tree
        if len(self._trees) > TREES_KEPT:
            self._trees.popitem(last=False)

    # ---- fetching with a root

    def _swarm(self, digest: bytes, size: int, root: bytes, now: float) -> Swarm | None:
        swarm = self._swarms.get(digest)
        if swarm is None:
            try:
                swarm = Swarm(self._config, Partial(self._blobs, digest, size, root), self._rng, now)
            except NoRoom:
                self._finished.append((digest, False))
                return None
            self._swarms[digest] = swarm
        return swarm

    def _begin(self, digest: bytes, swarm: Swarm, now: float, holders: Collection[PeerId] = ()) -> None:
        for peer_id in sorted(self.neighbours):
            if swarm.partial.count == 1 and peer_id in holders:
                swarm.has(peer_id, 1)
            else:
                self._seek(digest, swarm, peer_id)
        self._ask_swarm(swarm, now)
        self._settle(digest, swarm)

    def _seek(self, digest: bytes, swarm: Swarm, peer_id: PeerId) -> None:
        self._frames.append((peer_id, BlobSeek(digest, swarm.whole)))

    def _has(self, peer_id: PeerId, digest: bytes, pieces: int, now: float) -> None:
        swarm = self._swarms.get(digest)
        if swarm is not None:
            swarm.has(peer_id, pieces)
            if peer_id not in swarm.followers:
                swarm.followers.add(peer_id)
                self._tell(peer_id, digest, swarm.partial.count, swarm.partial.here)
            self._frames += swarm.ask(now, (peer_id,))
        elif digest in self._seedings:
            self._seedings[digest].has(peer_id, pieces)
            self._show(digest, self._seedings[digest], peer_id)

    def _is_moving(self, digest: bytes, index: int) -> bool:
        """Whether we fetch this blob, or show it bit by bit.

        Raises:
            RemoteProtocolError: It has no such piece.
        """
        swarm, seeding = self._swarms.get(digest), self._seedings.get(digest)
        count = swarm.partial.count if swarm is not None else seeding.count if seeding is not None else None
        if count is not None and index >= count:
            raise RemoteProtocolError(f"there is no piece {index}: the blob has {count}")
        return count is not None

    def _swarm_piece(self, peer_id: PeerId, swarm: Swarm, frame: BlobPieceFrame, now: float) -> None:
        try:
            called_off = swarm.received(peer_id, frame, now)
        except NoRoom:
            del self._swarms[frame.sha256]
            self._finished.append((frame.sha256, False))
            return
        except RemoteProtocolError:
            self._ask_swarm(swarm, now)
            raise
        self._frames += called_off
        self._frames += swarm.ask(now, (peer_id, *(other for other, _ in called_off)))
        self._settle(frame.sha256, swarm)

    def _ask_swarm(self, swarm: Swarm, now: float) -> None:
        self._frames += swarm.ask(now)

    def _settle(self, digest: bytes, swarm: Swarm) -> None:
        """See whether all that is wanted is here."""
        if swarm.lacking:
            return
        if not swarm.partial.complete:
            self._finished.append((digest, True))
            return
        del self._swarms[digest]
        # Every piece was proved, so other bytes are the fault of whoever signed the reference: nobody can ever have it.
        is_here = self._blobs.finish(digest)
        if is_here:
            self._given_on.add(digest)
            self._remember(digest, swarm.partial.tree)
            self._frames += swarm.news(float("inf"))
        self._finished.append((digest, is_here))

    # ---- fetching without a root

    def _fetch_alone(self, digest: bytes, size: int, providers: Iterable[PeerId], now: float) -> None:
        fetch = self._fetches.get(digest)
        if fetch is None:
            fetch = self._fetches[digest] = _Fetch(PieceAssembly(digest, size), [])
        fetch.useless.clear()
        fetch.providers.extend(peer for peer in providers if peer not in fetch.providers)
        if fetch.assembly.complete:  # a blob of no bytes
            self._complete(fetch)
        else:
            self._ask(fetch, now)

    def _missing(self, peer_id: PeerId, digest: bytes, now: float) -> None:
        swarm, fetch = self._swarms.get(digest), self._fetches.get(digest)
        if swarm is not None:
            swarm.drop(peer_id)
            self._ask_swarm(swarm, now)
        if fetch is not None:
            fetch.useless.add(peer_id)
            self._forget_asked(fetch, peer_id)
            self._ask_all(now)  # Others may have waited for room in this peer's window.

    def _lone_piece(self, peer_id: PeerId, frame: BlobPieceFrame, now: float) -> None:
        fetch = self._fetches[frame.sha256]
        self._answered(fetch, frame.index)
        if frame.size != fetch.assembly.size:
            # Either it lies or whoever told us of the blob does: a vote, a savepoint. Nobody is blamed for the other.
            fetch.useless.add(peer_id)
            self._forget_asked(fetch, peer_id)
            self._ask_all(now)
            return
        try:
            fetch.assembly.add(frame.index, frame.data)
            if fetch.assembly.complete:
                self._complete(fetch)
        except RemoteProtocolError:
            fetch.useless.add(peer_id)
            self._forget_asked(fetch, peer_id)
            raise
        finally:
            self._ask_all(now)

    def _ask_all(self, now: float) -> None:
        for fetch in list(self._fetches.values()):
            self._ask(fetch, now)
        for swarm in self._swarms.values():
            self._ask_swarm(swarm, now)

    def _ask(self, fetch: _Fetch, now: float) -> None:
        providers = [peer for peer in fetch.providers if peer in self.neighbours and peer not in fetch.useless]
        if not providers:
            if not fetch.asked and fetch.stuck_since is None:
                fetch.stuck_since = now
            return
        fetch.stuck_since = None
        source = self._only_source(fetch, providers)
        room = self._config.blob_window - self._load.get(source, 0)
        wanted: list[int] = []
        for index in fetch.assembly.missing():
            if len(wanted) >= room:
                break
            if index not in fetch.asked:
                fetch.asked[index] = (source, now)
                wanted.append(index)
        if wanted:
            self._load[source] = self._load.get(source, 0) + len(wanted)
        start = previous = wanted[0] if wanted else 0
        for index in [*wanted[1:], -1] if wanted else []:
            if index != previous + 1:
                self._frames.append((source, BlobWant(fetch.assembly.digest, start, previous - start + 1)))
                start = index
            previous = index

    def _only_source(self, fetch: _Fetch, providers: list[PeerId]) -> PeerId:
        """Keep to one provider, for only the whole can be checked; a change of provider starts from nothing."""
        if fetch.source not in providers:
            if fetch.source is not None:
                self._forget_asked(fetch, fetch.source)
                fetch.assembly = PieceAssembly(fetch.assembly.digest, fetch.assembly.size)
            fetch.source = min(providers, key=lambda peer: self._load.get(peer, 0))
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
        digest = fetch.assembly.digest
        data = fetch.assembly.whole()
        del self._fetches[digest]
        try:
            self._blobs.put(digest, data)
        except NoRoom:
            self._finished.append((digest, False))
        else:
            self._finished.append((digest, True))
