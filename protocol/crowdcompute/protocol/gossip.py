"""Gossip of records over a mesh per topic, after gossipsub v1.1 (spec/gossip.md).

    a neighbour follows our topic:  OUTSIDE --graft--> MESH --prune--> OUTSIDE (and no graft for the backoff time)

New records are pushed to the mesh at once; everybody else who follows the topic hears their ids (ihave) and asks for
what is missing (iwant). When two neighbours discover that they follow the same topic, they compare what they hold
(comparing.py), which is how a newcomer, or the two halves of a healed partition, come to hold the same set.

This module moves ids and opaque records; what a record means, and whether it is valid, the caller says. It asks the
`Shelf` for what is held, because records live in the ledgers, once.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from .comparing import ASKED_FIRST_WITHIN_S, Comparisons
from .config import FRAME_BYTES_MAX
from .errors import RemoteProtocolError
from .frames import IDS_MAX, TOPICS_MAX, Frame, Graft, IHave, IWant, Prune, Publish, Topics
from .reconcile import Difference, Reconcile, ReconcileCells, ReconcileIds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from random import Random

    from .config import ProtocolConfig
    from .identity import PeerId
    from .records import Signed

PUBLISH_BYTES_MAX = FRAME_BYTES_MAX - 1_024
SEEN_MAX = 200_000
"""Ids remembered as seen: 32 bytes each and overhead, about 25 MB when full."""
TOPICS_PER_NEIGHBOUR_MAX = 4_096
WANTED_MAX = 50_000
STRAY_TRIES = 4
"""Heartbeats at which a record in a topic that no neighbour follows is passed to somebody else again."""
OFFERS_MAX = 16
"""Neighbours remembered as holders of one wanted record: the next to ask, and nobody to send it to."""
OFF_TOPIC_TRIES = 2
"""Heartbeats at which our record in a topic that is not ours is passed to others still, though somebody follows it."""
ASK_AGAIN_AFTER_S = 3.0
GATHER_S = 0.05
"""How long what others need first waits for company. A guess: many calls of a stream, and nothing to a person."""
_ENVELOPE_BYTES = 160


class Shelf(Protocol):
    """Who holds the records: the ledgers, behind two questions."""

    def record_ids(self, topic: bytes) -> Iterable[bytes]:
        """Ids of everything still worth having in this topic."""

    def record(self, record_id: bytes) -> Signed | None:
        """The record of this id, if it is held."""


@dataclass(slots=True)
class _Neighbour:
    follows: set[bytes] = field(default_factory=set)
    outbox: dict[bytes, tuple[bytes, Signed]] = field(default_factory=dict)
    """What goes with the next push, and in which topic, by id: what is asked for a thousand times goes once."""


@dataclass(slots=True)
class _Wanted:
    """A record somebody offered: asked of one neighbour at a time, so that a newcomer hears each record once."""

    topic: bytes
    asked_of: PeerId
    asked_at: float
    others: list[PeerId] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Recent:
    at: float
    topic: bytes
    record_id: bytes
    is_ours: bool


class Gossip:
    """The mesh of one peer. Every method returns nothing; `drain` gives the frames that became due."""

    def __init__(self, config: ProtocolConfig, peer_id: PeerId, rng: Random, shelf: Shelf) -> None:
        self._config = config
        self._peer_id = peer_id
        self._rng = rng
        self._shelf = shelf
        self._neighbours: dict[PeerId, _Neighbour] = {}
        self._topics: dict[bytes, set[PeerId]] = {}  # our topics, and the mesh of each
        self._backoff: dict[tuple[PeerId, bytes], float] = {}
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._wanted: dict[bytes, _Wanted] = {}
        self._wanted_in: dict[bytes, int] = {}  # topic -> how many of `_wanted` are of it
        self._comparisons = Comparisons(rng, shelf.record_ids)
        self._unheard: dict[bytes, set[PeerId]] = {}  # topic -> followers that have not told us what they hold
        self._recent: list[_Recent] = []
        self._frames: list[tuple[PeerId, Frame]] = []
        self._due: dict[PeerId, None] = {}  # neighbours whose outbox holds something
        self._gathered: dict[PeerId, float] = {}
        """Neighbours whose outbox holds only what can wait for company, the longest waiting first: until when."""
        self._push_at = 0.0
        self._strays: dict[bytes, tuple[bytes, int]] = {}  # our record in a topic nobody near follows -> tries left
        self._heartbeat_at: float | None = None

    # ---- neighbours and topics

    def link_opened(self, peer_id: PeerId) -> None:
        """A neighbour said hello."""
        self._neighbours[peer_id] = _Neighbour()
        topics = tuple(self._topics)
        for start in range(0, len(topics), TOPICS_MAX):
            self._frames.append((peer_id, Topics(topics[start : start + TOPICS_MAX], ())))

    def link_closed(self, peer_id: PeerId) -> None:
        self._neighbours.pop(peer_id, None)
        self._gathered.pop(peer_id, None)
        self._comparisons.link_closed(peer_id)
        for mesh in self._topics.values():
            mesh.discard(peer_id)
        for unheard in self._unheard.values():
            unheard.discard(peer_id)

    def follow(self, topic: bytes) -> None:
        """Take part in a topic from now on."""
        if topic in self._topics:
            return
        self._topics[topic] = set()
        self._unheard[topic] = set(self.followers(topic))
        for peer_id in self._neighbours:
            self._frames.append((peer_id, Topics((topic,), ())))
        for peer_id, neighbour in self._neighbours.items():
            if topic in neighbour.follows:
                self._met(peer_id, topic, 0.0, is_newcomer=True)
        self._maintain(topic, 0.0)

    def leave(self, topic: bytes) -> None:
        """Take no further part in a topic."""
        if self._topics.pop(topic, None) is not None:
            del self._unheard[topic]
            self._comparisons.leave(topic)
            for peer_id in self._neighbours:
                self._frames.append((peer_id, Topics((), (topic,))))

    def leave_all(self, prefix: bytes) -> None:
        """Take no further part in the topics that begin so."""
        for topic in [topic for topic in self._topics if topic.startswith(prefix)]:
            self.leave(topic)

    def follows(self, topic: bytes) -> bool:
        return topic in self._topics

    def synced(self, topic: bytes) -> bool:
        """Whether everything that the followers we met on joining the topic told us of has come."""
        return not self._unheard.get(topic) and topic not in self._wanted_in

    def followers(self, topic: bytes) -> list[PeerId]:
        """Neighbours that follow a topic."""
        return [peer_id for peer_id, neighbour in self._neighbours.items() if topic in neighbour.follows]

    def mesh(self, topic: bytes) -> frozenset[PeerId]:
        return frozenset(self._topics.get(topic, ()))

    # ---- records

    def seen(self, record_id: bytes) -> bool:
        """Whether this id was published or received before."""
        return record_id in self._seen

    def mark_seen(self, record_id: bytes) -> None:
        self._seen[record_id] = None
        self._unwant(record_id)
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)

    def publish(
        self,
        topic: bytes,
        record_id: bytes,
        record: Signed,
        now: float,
        source: PeerId | None = None,
        towards: PeerId | None = None,
        *,
        gathers: bool = False,
    ) -> None:
        """Send a valid record on: to the mesh, or to any followers while our mesh of the topic is thin.

        Nobody gets it who offered it to us: whoever catches up on a topic asks for what all around it have had for
        long. `towards` is who needs the record most, should it be a neighbour: whom it is about, or its task's creator.
        If it `gathers`, and that one gets it from us, is us, or is nobody, others get it within `GATHER_S`, together
        with what follows, and not at all from us if they send it to us meanwhile.
        """
        wanted = self._wanted.get(record_id)
        until = now + GATHER_S if gathers else None
        self.mark_seen(record_id)
        self._recent.append(_Recent(now, topic, record_id, source is None))
        mesh = self._topics.get(topic, ())
        if mesh and len(mesh) >= self._config.mesh_low:
            # The usual case, once for every record that is new: our own topic and enough of a mesh.
            until = until if self._is_served(towards, mesh, source) else None
            for peer_id in sorted(mesh):
                if peer_id != source and (wanted is None or peer_id not in wanted.others):
                    self._put_out(peer_id, topic, record_id, record, None if peer_id == towards else until)
            return
        targets: set[PeerId] = set(mesh)
        followers = [peer_id for peer_id in self.followers(topic) if peer_id not in targets]
        missing = self._config.mesh_target - len(targets)
        targets.update(followers if len(followers) <= missing else self._rng.sample(followers, missing))
        lonely = not targets
        if source is not None:
            targets.discard(source)
        if wanted is not None:
            targets.difference_update(wanted.others)
        if topic not in self._topics or lonely:
            # We say something in a topic we do not follow: a vote we were asked for. Those near us who follow it may be
            # few and cut off from the rest. Or we alone follow it, as far as we see. Somebody knows somebody who does.
            tries = OFF_TOPIC_TRIES if targets else STRAY_TRIES
            if towards in self._neighbours and towards != source:
                targets.add(towards)
            elif source is None:
                self._strays[record_id] = (topic, tries)
            targets = targets or self._anybody(source)
        until = until if self._is_served(towards, targets, source) else None
        for peer_id in sorted(targets):
            self._put_out(peer_id, topic, record_id, record, None if peer_id == towards else until)

    def _is_served(self, towards: PeerId | None, targets: Collection[PeerId], source: PeerId | None) -> bool:
        """Whether who needs a record most gets it from us at once, or has it: nobody else is on its way."""
        return towards is None or towards in (self._peer_id, source) or towards in targets

    def has(self, peer_id: PeerId, record_id: bytes) -> None:
        """A neighbour sent us what we have: it need not get it from us."""
        neighbour = self._neighbours.get(peer_id)
        if neighbour is not None:
            neighbour.outbox.pop(record_id, None)

    def _put_out(
        self, peer_id: PeerId, topic: bytes, record_id: bytes, record: Signed, until: float | None = None
    ) -> None:
        """Have a neighbour get a record with the next push, or with a later one."""
        neighbour = self._neighbours.get(peer_id)
        if neighbour is None:
            return
        neighbour.outbox.setdefault(record_id, (topic, record))
        if until is None:
            self._due[peer_id] = None
        elif peer_id not in self._due:
            self._gathered.setdefault(peer_id, until)

    def _anybody(self, source: PeerId | None) -> set[PeerId]:
        others = [peer_id for peer_id in self._neighbours if peer_id != source]
        return set(self._rng.sample(others, min(self._config.mesh_target, len(others))))

    def _send_strays(self) -> None:
        """Say again, to others, what we said in a topic that is not ours."""
        for record_id, (topic, tries) in list(self._strays.items()):
            record = self._shelf.record(record_id)
            if record is None or tries == 1:
                del self._strays[record_id]
            else:
                self._strays[record_id] = (topic, tries - 1)
            if record is not None:
                for peer_id in sorted(self._anybody(None)):
                    self._put_out(peer_id, topic, record_id, record)

    def received(self, peer_id: PeerId, frame: Frame, now: float) -> None:
        """Apply one gossip frame other than `Publish`, whose records the caller validates and publishes on.

        Raises:
            RemoteProtocolError: More topics than anybody needs, or what is no request to reconcile or answer to ours.
        """
        neighbour = self._neighbours[peer_id]
        match frame:
            case Topics(follow=follow, leave=leave):
                for topic in follow:
                    if topic not in neighbour.follows:
                        neighbour.follows.add(topic)
                        if topic in self._topics:
                            self._met(peer_id, topic, now)
                for topic in leave:
                    neighbour.follows.discard(topic)
                    self._comparisons.forget(peer_id, topic)
                    self._topics.get(topic, set()).discard(peer_id)
                if len(neighbour.follows) > TOPICS_PER_NEIGHBOUR_MAX:
                    raise RemoteProtocolError(f"a neighbour follows more than {TOPICS_PER_NEIGHBOUR_MAX} topics")
            case Graft(topic=topic):
                mesh = self._topics.get(topic)
                # Grafts cross: whoever is in the mesh already stays, or one side would think so and the other not.
                if mesh is None or (peer_id not in mesh and len(mesh) >= self._config.mesh_high):
                    self._frames.append((peer_id, Prune(topic)))
                else:
                    neighbour.follows.add(topic)
                    mesh.add(peer_id)
            case Prune(topic=topic):
                # Of topics that are not ours nothing is remembered: a stranger could name millions.
                if topic in self._topics:
                    self._topics[topic].discard(peer_id)
                    self._backoff[peer_id, topic] = now + self._config.prune_backoff_s
            case IHave(topic=topic, ids=ids):
                if topic in self._topics:
                    self._unheard[topic].discard(peer_id)
                    self._offered(peer_id, topic, ids, now)
            case Reconcile(topic=topic):
                if topic in self._topics:
                    self._frames += ((peer_id, part) for part in self._comparisons.requested(peer_id, frame, now))
            case ReconcileCells() | ReconcileIds():
                self._answer_received(peer_id, frame, now)
            case IWant(topic=topic, ids=ids):
                for record_id in ids:
                    record = self._shelf.record(record_id)
                    if record is not None:
                        self._put_out(peer_id, topic, record_id, record)
            case _:
                raise AssertionError(frame)

    def heartbeat_due(self, now: float) -> bool:
        return self._heartbeat_at is None or now >= self._heartbeat_at

    def wake_at(self) -> float | None:
        """When a heartbeat or a push is due."""
        if not self._neighbours:
            return None
        at = math.inf if self._heartbeat_at is None else self._heartbeat_at
        if self._due:
            at = min(at, self._push_at)
        elif self._gathered:
            at = min(at, max(self._push_at, next(iter(self._gathered.values()))))
        return None if at == math.inf else at

    def heartbeat(self, now: float) -> None:
        """Keep every mesh between its bounds and announce recent ids to followers outside it."""
        self._heartbeat_at = now + self._config.heartbeat_s
        self._backoff = {key: until for key, until in self._backoff.items() if until > now}
        self._recent = [recent for recent in self._recent if now - recent.at <= self._config.ihave_window_s]
        self._ask_again(now)
        self._comparisons.give_up(now)
        self._send_strays()
        announced: dict[bytes, list[bytes]] = {}
        for recent in self._recent:
            announced.setdefault(recent.topic, []).append(recent.record_id)
        for topic, mesh in self._topics.items():
            self._maintain(topic, now)
            ids = announced.get(topic)
            if not ids:
                continue
            outside = [peer_id for peer_id in self.followers(topic) if peer_id not in mesh]
            for peer_id in outside if len(outside) <= 6 else self._rng.sample(outside, 6):
                self._announce(peer_id, topic, ids)

    def last_words(self) -> None:
        """We leave: the next `drain` gives all that waits, and what we said of late to those outside the mesh, too.

        There is no heartbeat any more at which they would hear of it, and nobody to ask for it.
        """
        self._push_at = 0.0
        self._due.update(dict.fromkeys(self._gathered))
        for recent in self._recent:
            record = self._shelf.record(recent.record_id) if recent.is_ours else None
            if record is not None:
                for peer_id in self.followers(recent.topic):
                    if peer_id not in self._topics.get(recent.topic, ()):
                        self._put_out(peer_id, recent.topic, recent.record_id, record)

    def drain(self, now: float) -> list[tuple[PeerId, Frame]]:
        """Frames to send, oldest first; records bound for one neighbour share frames up to the limit."""
        frames, self._frames = self._frames, []
        frames += self._comparisons.begin(now, self._wanted_in.__contains__)
        if self._gathered:
            self._due.update((peer_id, None) for peer_id, until in self._gathered.items() if until <= now)
        if not self._due or now < self._push_at:
            return frames
        self._push_at = now + self._config.gossip_gap_s
        due, self._due = self._due, {}
        for peer_id in due:
            self._gathered.pop(peer_id, None)
            neighbour = self._neighbours.get(peer_id)
            if neighbour is None:
                continue  # Its link was closed meanwhile.
            by_topic: dict[bytes, list[Signed]] = {}
            for topic, record in neighbour.outbox.values():
                by_topic.setdefault(topic, []).append(record)
            for topic, records in by_topic.items():
                batch: list[Signed] = []
                batch_bytes = 0
                for record in records:
                    record_bytes = len(record.body) + _ENVELOPE_BYTES
                    if batch and (batch_bytes + record_bytes > PUBLISH_BYTES_MAX or len(batch) == 1_024):
                        frames.append((peer_id, Publish(topic, tuple(batch))))
                        batch, batch_bytes = [], 0
                    batch.append(record)
                    batch_bytes += record_bytes
                frames.append((peer_id, Publish(topic, tuple(batch))))
            neighbour.outbox = {}
        return frames

    # ---- inside

    def _met(self, peer_id: PeerId, topic: bytes, now: float, *, is_newcomer: bool = False) -> None:
        """We and a neighbour found out that we follow the same topic: mesh if there is room, and compare sets."""
        mesh = self._topics[topic]
        if len(mesh) < self._config.mesh_target and (peer_id, topic) not in self._backoff:
            mesh.add(peer_id)
            self._frames.append((peer_id, Graft(topic)))
        # A newcomer asks, because it pays for the set; else one of the two, and the other if nobody does.
        asks_at_once = is_newcomer or self._peer_id < peer_id
        due_at = now if asks_at_once else now + ASKED_FIRST_WITHIN_S
        self._comparisons.plan(peer_id, topic, due_at, is_ours=is_newcomer)

    def _answer_received(self, peer_id: PeerId, frame: ReconcileCells | ReconcileIds, now: float) -> None:
        match self._comparisons.received(peer_id, frame, now):
            case (_, Reconcile() as again):
                self._frames.append((peer_id, again))
            case (topic, Difference(missing=missing, surplus=surplus)):
                self._unheard[topic].discard(peer_id)
                self._offered(peer_id, topic, missing, now)
                self._announce(peer_id, topic, surplus)

    def _announce(self, peer_id: PeerId, topic: bytes, ids: Sequence[bytes]) -> None:
        for start in range(0, len(ids), IDS_MAX):
            self._frames.append((peer_id, IHave(topic, tuple(ids[start : start + IDS_MAX]))))

    def _offered(self, peer_id: PeerId, topic: bytes, ids: Sequence[bytes], now: float) -> None:
        """Ask for what is new of these. Of more than may be wanted at a time, the rest is compared again."""
        unasked = []
        for record_id in ids:
            if record_id in self._seen:
                continue
            wanted = self._wanted.get(record_id)
            if wanted is not None:
                if peer_id != wanted.asked_of and peer_id not in wanted.others and len(wanted.others) < OFFERS_MAX:
                    wanted.others.append(peer_id)
            elif len(self._wanted) < WANTED_MAX:
                self._wanted[record_id] = _Wanted(topic, peer_id, now)
                self._wanted_in[topic] = self._wanted_in.get(topic, 0) + 1
                unasked.append(record_id)
            else:
                self._comparisons.plan(peer_id, topic, now)
                break
        self._want(peer_id, topic, unasked)

    def _want(self, peer_id: PeerId, topic: bytes, ids: Sequence[bytes]) -> None:
        for start in range(0, len(ids), IDS_MAX):
            self._frames.append((peer_id, IWant(topic, tuple(ids[start : start + IDS_MAX]))))

    def _unwant(self, record_id: bytes) -> None:
        wanted = self._wanted.pop(record_id, None)
        if wanted is None:
            return
        self._wanted_in[wanted.topic] -= 1
        if not self._wanted_in[wanted.topic]:
            del self._wanted_in[wanted.topic]
            self._comparisons.look_again()

    def _ask_again(self, now: float) -> None:
        """Turn to the next neighbour that offered a record which the one asked has not sent."""
        again: dict[tuple[PeerId, bytes], list[bytes]] = {}
        for record_id, wanted in list(self._wanted.items()):
            if now - wanted.asked_at < ASK_AGAIN_AFTER_S:
                continue
            while wanted.others and wanted.others[0] not in self._neighbours:
                wanted.others.pop(0)
            if wanted.others:
                wanted.asked_of, wanted.asked_at = wanted.others.pop(0), now
                again.setdefault((wanted.asked_of, wanted.topic), []).append(record_id)
            else:
                self._unwant(record_id)
        for (peer_id, topic), ids in again.items():
            self._want(peer_id, topic, ids)

    def _maintain(self, topic: bytes, now: float) -> None:
        mesh = self._topics[topic]
        if len(mesh) < self._config.mesh_low:
            candidates = [
                peer_id
                for peer_id in self.followers(topic)
                if peer_id not in mesh and (peer_id, topic) not in self._backoff
            ]
            missing = self._config.mesh_target - len(mesh)
            for peer_id in candidates if len(candidates) <= missing else self._rng.sample(candidates, missing):
                mesh.add(peer_id)
                self._frames.append((peer_id, Graft(topic)))
        elif len(mesh) > self._config.mesh_high:
            for peer_id in self._rng.sample(sorted(mesh), len(mesh) - self._config.mesh_target):
                mesh.discard(peer_id)
                self._backoff[peer_id, topic] = now + self._config.prune_backoff_s
                self._frames.append((peer_id, Prune(topic)))
