"""Savepoints that one worker makes for others, and goes on from where others stopped (spec/handover.md).

    making:  KEPT HERE --asked of neighbours--> one KEEPS it --told--> a newer one, the chunk's end --> let go
    taking:  a chunk to begin --somebody stopped on it?--> FETCHING --here--> goes on
                                        '--no----------------'--not to be had--> from scratch

What we go on from is somebody's word until our vote is confirmed by another lineage. Should it be false, its maker is
to blame, whose signature our commit carries (lineage.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from .codec import decode, encode
from .frames import Keep
from .identity import SEAL_BYTES, peer_id_of, public_key_of
from .lineage import rests_from
from .records import (
    AFTER_BYTES_MAX,
    KEEPERS_MAX,
    MAKERS_MAX,
    STATE_BYTES_MAX,
    Savepoint,
    Signed,
    parse,
    shard_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from .config import ProtocolConfig
    from .desk import Desk
    from .frames import Kept
    from .identity import PeerId, Signer
    from .ledger import Ledger


@dataclass(slots=True)
class _Offered:
    """A savepoint of ours that neighbours are asked to keep."""

    chunk: int
    number: int
    size: int
    asked: set[PeerId] = field(default_factory=set)
    told: bool = False


@dataclass(slots=True)
class Resumption:
    """What a chunk is gone on with: the state, and the savepoint of another as it was signed."""

    state: bytes
    after: bytes


class Handover:
    """One worker's part in it, in one task."""

    def __init__(
        self,
        config: ProtocolConfig,
        signer: Signer,
        rng: Random,
        ledger: Ledger,
        desk: Desk,
        next_seq: Callable[[float], int],
    ) -> None:
        self._config = config
        self._me = signer.public_key
        self._rng = rng
        self._ledger = ledger
        self._desk = desk
        self._next_seq = next_seq
        self._after: dict[int, bytes] = {}
        """Chunk -> what the execution that we have begun of it rests on."""
        self._own: set[int] = set()
        """Chunks of which the driver keeps a state that it goes on from by itself."""
        self._told_at: dict[int, float] = {}
        self._offered: dict[bytes, _Offered] = {}  # by the hash of the state
        self._fetching: dict[int, Signed] = {}
        self._here: dict[int, Resumption] = {}
        self._spurned: set[bytes] = set()
        """Makers of savepoints that ended without a result."""
        self._lost: set[bytes] = set()
        """Savepoints whose state could not be had."""

    # ---- making

    def begun(self, chunk: int, after: bytes) -> None:
        """An earlier life kept a state of this chunk, that rests on a savepoint of another, or on nobody's."""
        self._own.add(chunk)
        if after:
            self._after[chunk] = after

    def saved(self, chunk: int, number: int, state: bytes, custodians: tuple[bytes, ...], now: float) -> None:
        """The driver has kept a state of a chunk that runs: have others keep it, too."""
        self._own.add(chunk)
        after = self._after.get(chunk, b"")
        if (
            now < self._told_at.get(chunk, -math.inf) + self._config.handover_every_s
            or not SEAL_BYTES <= len(state) <= STATE_BYTES_MAX
            or len(after) > AFTER_BYTES_MAX
            or not custodians
        ):
            return
        self._told_at[chunk] = now
        digest = sha256(state).digest()
        # Whoever has begun to fetch the one before asks those who keep it.
        self._offer_no_more([known for known, it in self._offered.items() if it.chunk == chunk and known != digest])
        offered = self._offered[digest] = _Offered(chunk, number, len(state))
        self._desk.custody.kept.put(digest, state)
        for custodian in custodians[:KEEPERS_MAX]:
            offered.asked.add(peer_id_of(custodian))
            self._desk.tell(peer_id_of(custodian), Keep(self._ledger.task, chunk, digest, len(state)))

    def answered(self, peer_id: PeerId, answer: Kept, now: float) -> bool:
        """A neighbour keeps a savepoint of ours, or does not; False when it is about something else."""
        offered = self._offered.get(answer.sha256)
        if offered is None or peer_id not in offered.asked:
            return False
        if answer.kept and not offered.told:
            offered.told = True
            # Only now: it is told of for when we are gone.
            keepers = tuple(sorted(map(public_key_of, offered.asked)))
            savepoint = Savepoint(
                self._ledger.task,
                shard_of(offered.chunk),
                self._next_seq(now),
                offered.chunk,
                offered.number,
                answer.sha256,
                offered.size,
                keepers,
                self._after.get(offered.chunk, b""),
            )
            self._desk.publish(self._ledger, savepoint)
        return True

    def ended(self, chunk: int) -> None:
        """A chunk of ours has an outcome: its states are of no use any more."""
        self._own.discard(chunk)
        self._after.pop(chunk, None)
        self._here.pop(chunk, None)
        self._offer_no_more([digest for digest, it in self._offered.items() if it.chunk == chunk])

    def release(self) -> None:
        """A checkpoint came: of what is closed nobody goes on. We may still be on it, and say then what we rest on."""
        self._offer_no_more([digest for digest, it in self._offered.items() if self._ledger.is_closed(it.chunk)])

    def release_all(self) -> None:
        """The task is over."""
        self._offer_no_more(list(self._offered))
        self._fetching.clear()
        self._here.clear()

    # ---- taking

    def take(self, chunk: int, now: float) -> Resumption | None:
        """How to begin a chunk that we may go on with; None: from scratch, or where we were ourselves.

        Raises:
            StateLacking: It is on its way. `arrived` tells when it is here.
        """
        here = self._here.pop(chunk, None)
        if here is not None:
            self._after[chunk] = here.after
            return here
        if chunk in self._own:
            return None
        self._after.pop(chunk, None)
        usable = [signed for signed in self._ledger.savepoints_on(chunk) if self._is_usable(chunk, signed, now)]
        if not usable:
            return None
        signed = self._rng.choice(usable)
        savepoint = parse(signed)
        assert isinstance(savepoint, Savepoint)
        kept = self._desk.custody.kept
        if kept.size(savepoint.sha256) == savepoint.size:
            self._after[chunk] = encode(signed)
            return Resumption(kept.read(savepoint.sha256, 0, savepoint.size), self._after[chunk])
        self._fetching[chunk] = signed
        others = [keeper for keeper in (*savepoint.keepers, signed.author) if keeper != self._me]
        self._desk.custody.fetch(savepoint.sha256, savepoint.size, others, now)
        raise StateLacking

    def arrived(self, digest: bytes, *, here: bool, keep: Callable[[bytes], bool]) -> bool:
        """A state is here or cannot be had: whether a chunk of ours has waited for it."""
        found = False
        for chunk, signed in list(self._fetching.items()):
            savepoint = parse(signed)
            assert isinstance(savepoint, Savepoint)
            if savepoint.sha256 != digest:
                continue
            found = True
            del self._fetching[chunk]
            kept = self._desk.custody.kept
            # Of another size than was said it would be a part of a state: going on from that, we would vote wrongly.
            if here and kept.size(digest) == savepoint.size:
                self._here[chunk] = Resumption(kept.read(digest, 0, savepoint.size), encode(signed))
            else:
                self._lost.add(signed.record_id)
        if found and here and not keep(digest) and digest not in self._offered:
            self._desk.custody.kept.discard(digest)
        return found

    def after(self, chunk: int) -> bytes:
        """What our execution of a chunk rests on."""
        return self._after.get(chunk, b"")

    def failed(self, chunk: int) -> bool:
        """An execution had no result: whether that may be the fault of who had begun it, and it is to be done anew."""
        after = self._after.get(chunk, b"")
        if not after:
            return False
        # Nobody is to blame for it, but nobody's report either: three of those would end the chunk.
        self._spurned.update(rest.maker for rest in rests_from(decode(after, Signed)))
        self.ended(chunk)
        return True

    # ---- inside

    def _offer_no_more(self, digests: list[bytes]) -> None:
        for digest in digests:
            del self._offered[digest]
            self._desk.custody.kept.discard(digest)

    def _is_usable(self, chunk: int, signed: Signed, now: float) -> bool:
        """Whether going on from there gives a vote that the chunk lacks, and nobody is on it who made it."""
        rests = rests_from(signed)
        makers = {rest.maker for rest in rests}
        return (
            self._me not in makers
            and len(rests) < MAKERS_MAX
            and signed.record_id not in self._lost
            and makers.isdisjoint(self._spurned)
            and makers.isdisjoint(self._ledger.parties(chunk))
            and all(self._ledger.is_admitted(maker) for maker in makers)
            and all(rest.seq > self._ledger.void_to(rest.maker) for rest in rests)
            and all(lease.worker != signed.author for lease in self._ledger.leases.on(chunk, now))
        )


class StateLacking(Exception):  # No error: it comes.
    """The state that a chunk is to be gone on from is not here yet."""
