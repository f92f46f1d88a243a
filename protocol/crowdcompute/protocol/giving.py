"""Results of ours that others keep with us, until the creator has them (spec/ledger.md, "Custody").

    a large result:  MADE --not taken in time--> ASKED --kept--> with a custodian --accepted--> let go
                                                   '--refused, silent, gone--> another is asked

A maker asks the same few neighbours for all its results, and names them in the batches it seals: so the creator knows
whom to look for when the maker is gone. Of a task whose results go onward to another (onward.py) its own copy stays,
as long as there is room, until the task expires.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .events import Status
from .frames import Keep
from .identity import SEAL_BYTES, public_key_of
from .ledger import task_topic

if TYPE_CHECKING:
    from random import Random

    from .batch import Leaf
    from .config import ProtocolConfig
    from .desk import Desk
    from .frames import Kept
    from .identity import PeerId
    from .ledger import Ledger
    from .storage import BlobStore

ASKED_MAX = 64
"""Results that one custodian is asked for at a time."""

ASKED_BYTES_MAX = 4 * 1024 * 1024
"""Their bytes, unless it is a single one."""

REVIEW_S = 5.0
"""How often it is looked whether custodians are still there."""

NEXT_WITHIN_S = 0.2
"""After an answer more is asked this soon, together with what other answers make room for."""

ANSWER_S = 120.0
"""Whoever does not have by then what it was asked to keep is not waited for: 4 MiB at 64 KiB/s, twice."""

TAKEN_WITHIN_S = 60.0
"""Where results may be compared as numbers, the creator takes every vote's, an audit's on an accepted chunk, too."""

AGAIN_S = 60.0
"""Who could not keep something is asked again after this long."""


@dataclass(slots=True)
class _Made:
    """A result that the creator may still come for."""

    leaf: Leaf
    at: float
    accepted_at: float | None = None
    """When we heard that its chunk is accepted."""
    asked: dict[PeerId, float] = field(default_factory=dict)
    holders: set[PeerId] = field(default_factory=set)


class Giving:
    """The large results one worker made for one task, and who keeps them with it."""

    def __init__(
        self, config: ProtocolConfig, rng: Random, ledger: Ledger, desk: Desk, blobs: BlobStore, now: float
    ) -> None:
        self._config = config
        self._rng = rng
        self._ledger = ledger
        self._desk = desk
        self._blobs = blobs
        self._may_compare = ledger.manifest.runtime == "gpu"
        self._made: dict[bytes, _Made] = {}  # by the hash of the sealed bytes
        self._uses: Counter[bytes] = Counter()
        """How many chunks have this result: those with equal ones share one blob."""
        self._lasting: dict[bytes, int] = {}
        """Results for other tasks, the oldest first: how large each is. The store may drop them before we do."""
        self._lasting_bytes = 0
        self._chosen: list[PeerId] = []
        self._unwilling: dict[PeerId, float] = {}  # until when
        self._creator_heard_at = now
        self._review_at = math.inf

    def custodians(self, now: float) -> tuple[bytes, ...]:
        """The keys of those that are asked, or will be: workers of the task among our neighbours, drawn at random."""
        self._unwilling = {peer_id: until for peer_id, until in self._unwilling.items() if until > now}
        able = [peer_id for peer_id in self._desk.followers(task_topic(self._ledger.task)) if self._is_able(peer_id)]
        self._chosen = [peer_id for peer_id in self._chosen if peer_id in able]
        others = [peer_id for peer_id in able if peer_id not in self._chosen]
        missing = self._config.custodians - len(self._chosen)
        self._chosen += others if len(others) <= missing else self._rng.sample(others, missing)
        return tuple(map(public_key_of, self._chosen))

    def made(self, leaf: Leaf, now: float) -> None:
        """We voted: for a result that others would have to fetch, or one that goes onward."""
        if leaf.inline:
            if leaf.status is Status.OK and self._ledger.manifest.onward:
                self._keep_on(leaf)
            return
        self._made[leaf.sealed] = _Made(leaf, now)
        self._uses[leaf.digest] += 1
        self._review_at = min(self._review_at, now)

    def made_before(self, leaf: Leaf, now: float) -> None:
        """A vote of an earlier life of ours: what is still here of its result is given, and let go, as ever."""
        if leaf.sealed and not self._ledger.is_accepted(leaf.chunk) and self._blobs.size(leaf.sealed) is not None:
            self.made(leaf, now)
        elif leaf.status is Status.OK and self._ledger.manifest.onward and self._blobs.size(leaf.digest) is not None:
            self._keep_on(leaf)

    def creator_heard(self, now: float) -> None:
        """The creator is there: it takes results itself."""
        self._creator_heard_at = now

    def answered(self, peer_id: PeerId, answer: Kept, now: float) -> None:
        """A custodian has a result, or cannot keep it. What comes too late, or unasked, says nothing."""
        made = self._made.get(answer.sha256)
        if made is None or made.asked.pop(peer_id, None) is None:
            return
        if answer.kept:
            made.holders.add(peer_id)
        else:
            self._unwilling[peer_id] = now + AGAIN_S
        self._review_at = min(self._review_at, now + NEXT_WITHIN_S)

    def needs(self, digest: bytes) -> bool:
        """Whether a blob is a result that the creator may still come for, open or sealed."""
        return digest in self._uses or digest in self._made

    def holds(self, digest: bytes) -> bool:
        """Whether a blob is a result of ours that others may fetch."""
        return self.needs(digest) or digest in self._lasting

    def release(self, now: float) -> None:
        """A checkpoint came: what the creator has need not be kept any longer."""
        for made in list(self._made.values()):
            if not self._ledger.is_accepted(made.leaf.chunk):
                made.accepted_at = None
                continue
            if made.accepted_at is None:
                made.accepted_at = now
            if not self._may_compare or now - made.accepted_at >= TAKEN_WITHIN_S:
                self._let_go(made)

    def release_all(self) -> None:
        """The creator needs no result of the task any more."""
        for made in list(self._made.values()):
            self._let_go(made)

    def expire(self) -> None:
        """Nobody needs any result of the task any more."""
        self.release_all()
        for digest in self._lasting:
            self._blobs.discard(digest)
        self._lasting.clear()
        self._lasting_bytes = 0

    def advance(self, now: float) -> None:
        """Ask for what is due, up to what each custodian is to fetch at a time."""
        if now < self._review_at:
            return
        if self._may_compare:
            self.release(now)
        self._review_at = now + REVIEW_S if self._made else math.inf
        due = [made for made in self._made.values() if made.accepted_at is None and now >= self._due_at(made)]
        if not due:
            return
        room = self._give_up_on_the_silent(due, now)
        self.custodians(now)
        for made in due:
            size = made.leaf.size + SEAL_BYTES
            for peer_id in self._chosen:
                if len(made.holders) + len(made.asked) >= self._config.custodians:
                    break
                count, total = room.get(peer_id, (0, 0))
                is_full = count >= ASKED_MAX or (count and total + size > ASKED_BYTES_MAX)
                if is_full or peer_id in made.holders or peer_id in made.asked:
                    continue
                room[peer_id] = (count + 1, total + size)
                made.asked[peer_id] = now
                self._desk.tell(peer_id, Keep(self._ledger.task, made.leaf.chunk, made.leaf.sealed, size))

    def wake_at(self) -> float:
        return self._review_at

    # ---- inside

    def _due_at(self, made: _Made) -> float:
        return min(made.at, self._creator_heard_at) + self._config.custody_after_s

    def _is_able(self, peer_id: PeerId) -> bool:
        key = public_key_of(peer_id)
        return key in self._ledger.joins and not self._ledger.is_void(key) and peer_id not in self._unwilling

    def _give_up_on_the_silent(self, due: list[_Made], now: float) -> dict[PeerId, tuple[int, int]]:
        """Forget who has gone or does not answer; how many results and bytes the others are still asked for."""
        linked = set(self._desk.followers(task_topic(self._ledger.task)))
        room: dict[PeerId, tuple[int, int]] = {}
        for made in due:
            made.holders &= linked
            for peer_id, at in list(made.asked.items()):
                if peer_id not in linked:
                    del made.asked[peer_id]
                elif now >= at + ANSWER_S:
                    del made.asked[peer_id]
                    self._unwilling[peer_id] = now + AGAIN_S
                else:
                    count, total = room.get(peer_id, (0, 0))
                    room[peer_id] = (count + 1, total + made.leaf.size + SEAL_BYTES)
        return room

    def _let_go(self, made: _Made) -> None:
        leaf = made.leaf
        del self._made[leaf.sealed]
        self._blobs.discard(leaf.sealed)
        self._uses[leaf.digest] -= 1
        if not self._uses[leaf.digest]:
            del self._uses[leaf.digest]
            manifest = self._ledger.manifest
            if manifest.onward and leaf.status is Status.OK:
                self._keep_on(leaf)
                return
            # A task may well give back its whole input.
            if leaf.digest not in (manifest.code.sha256, manifest.inputs.sha256 if manifest.inputs else None):
                self._blobs.discard(leaf.digest)

    def _keep_on(self, leaf: Leaf) -> None:
        self._lasting_bytes += leaf.size - self._lasting.get(leaf.digest, 0)
        self._lasting[leaf.digest] = leaf.size
        # As much of our own as we keep for others: beyond that the creator's copies must do.
        while self._lasting_bytes > self._config.custody_bytes:
            oldest = next(iter(self._lasting))
            self._lasting_bytes -= self._lasting.pop(oldest)
            if oldest not in self._uses:
                self._blobs.discard(oldest)
