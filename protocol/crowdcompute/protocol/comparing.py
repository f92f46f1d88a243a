"""Which neighbour is compared with when, and what has come of it (spec/gossip.md, "Compare").

    a neighbour and a topic of both:  PLANNED --request--> UNDER WAY --difference--> forgotten
                                         ^                     |
                                         '-- silent for 3 s ---'

Who asks takes the neighbours of a topic one after the other, and the next when everything the last one had has come: so
a newcomer pays for the set once, and all others find nothing, or little, to add.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .reconcile import Allowance, Difference, Reconcile, Reconciliation, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from .identity import PeerId
    from .reconcile import Answer

UNDER_WAY_MAX = 4
"""Comparisons at the same time: what has come of an answer is kept until all of it is here, 8.4 MB at most."""

SILENT_AFTER_S = 3.0
"""A neighbour that sends nothing of its answer for so long is asked again later."""

ASKED_FIRST_WITHIN_S = 10.0
"""Who leaves the asking to the neighbour asks itself when no request has come by then."""

AGAIN_AFTER_S = 30.0


@dataclass(slots=True)
class _Plan:
    due_at: float
    is_ours: bool
    """We are the newcomer: the neighbour's own request is left alone, since ours says when we are ready for it."""


@dataclass(slots=True)
class _UnderWay:
    peer_id: PeerId
    topic: bytes
    is_ours: bool
    reconciliation: Reconciliation
    heard_at: float


class Comparisons:
    """All comparisons of one peer, asking and asked.

    Args:
        record_ids: What we hold in a topic.
    """

    def __init__(self, rng: Random, record_ids: Callable[[bytes], Iterable[bytes]]) -> None:
        self._rng = rng
        self._record_ids = record_ids
        self._plans: dict[tuple[PeerId, bytes], _Plan] = {}
        self._under_way: list[_UnderWay] = []
        self._allowances: dict[PeerId, Allowance] = {}
        self._look_at = math.inf
        """Before this moment nothing can begin, unless `look_again` is called."""

    def plan(self, peer_id: PeerId, topic: bytes, due_at: float, *, is_ours: bool = False) -> None:
        """Compare with a neighbour when the time has come and the topic is free."""
        self._plans[peer_id, topic] = _Plan(due_at, is_ours)
        self._look_at = min(self._look_at, due_at)

    def look_again(self) -> None:
        """A topic may have become free."""
        self._look_at = -math.inf

    def forget(self, peer_id: PeerId, topic: bytes) -> None:
        """A neighbour does not follow a topic any more."""
        self._plans.pop((peer_id, topic), None)
        self._keep(lambda each: (each.peer_id, each.topic) != (peer_id, topic))

    def link_closed(self, peer_id: PeerId) -> None:
        self._plans = {key: plan for key, plan in self._plans.items() if key[0] != peer_id}
        self._keep(lambda each: each.peer_id != peer_id)
        self._allowances.pop(peer_id, None)

    def leave(self, topic: bytes) -> None:
        """We do not follow a topic any more."""
        self._plans = {key: plan for key, plan in self._plans.items() if key[1] != topic}
        self._keep(lambda each: each.topic != topic)

    def begin(self, now: float, is_busy: Callable[[bytes], bool]) -> list[tuple[PeerId, Reconcile]]:
        """Requests to send now; `is_busy` says whether records of a topic are still on their way."""
        if now < self._look_at:
            return []
        self._look_at = math.inf
        requests = []
        for (peer_id, topic), plan in list(self._plans.items()):
            if plan.due_at > now:
                self._look_at = min(self._look_at, plan.due_at)
            elif len(self._under_way) == UNDER_WAY_MAX:
                break
            elif not is_busy(topic) and all(each.topic != topic for each in self._under_way):
                ids = list(self._record_ids(topic))
                if not self._spend(peer_id, len(ids), now):
                    self.plan(peer_id, topic, now + AGAIN_AFTER_S)
                    continue
                del self._plans[peer_id, topic]
                reconciliation = Reconciliation(topic, self._rng)
                self._under_way.append(_UnderWay(peer_id, topic, plan.is_ours, reconciliation, now))
                requests.append((peer_id, reconciliation.begin(ids)))
        return requests

    def requested(self, peer_id: PeerId, request: Reconcile, now: float) -> list[Answer]:
        """Take a request about a topic of ours: what to answer, which then is the comparison.

        Raises:
            RemoteProtocolError: It is no request.
        """
        topic = request.topic
        plan = self._plans.get((peer_id, topic))
        if (plan is not None and plan.is_ours) or any(
            each.is_ours and each.topic == topic and each.peer_id == peer_id for each in self._under_way
        ):
            return []
        self.forget(peer_id, topic)
        ids = list(self._record_ids(topic))
        return answer(request, ids) if self._spend(peer_id, len(ids), now) else []

    def received(self, peer_id: PeerId, answer: Answer, now: float) -> tuple[bytes, Reconcile | Difference] | None:
        """Take a frame of an answer: the topic and what follows, once something does.

        Raises:
            RemoteProtocolError: The frames do not make up an answer; the comparison is over.
        """
        for each in self._under_way:
            if each.peer_id == peer_id and each.reconciliation.salt == answer.salt:
                break
        else:
            return None
        each.heard_at = now
        self._under_way.remove(each)  # Whatever is refused below ends it.
        self.look_again()
        outcome = each.reconciliation.received(answer, self._record_ids(each.topic))
        if not isinstance(outcome, Difference):
            self._under_way.append(each)
        return None if outcome is None else (each.topic, outcome)

    def give_up(self, now: float) -> None:
        """Put off comparisons of which nothing comes."""
        for each in [each for each in self._under_way if now - each.heard_at >= SILENT_AFTER_S]:
            self._under_way.remove(each)
            self.plan(each.peer_id, each.topic, now + AGAIN_AFTER_S)
            self.look_again()

    # ---- inside

    def _keep(self, is_kept: Callable[[_UnderWay], bool]) -> None:
        self._under_way = list(filter(is_kept, self._under_way))
        self.look_again()

    def _spend(self, peer_id: PeerId, ids: int, now: float) -> bool:
        """Asking counts too: a neighbour that follows a topic again and again would have us hash it each time."""
        return self._allowances.setdefault(peer_id, Allowance(now)).spend(ids, now)
