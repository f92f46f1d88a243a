"""Whoever has enough links still visits, so that halves meet; what a visit replaces, and what it never does."""

from __future__ import annotations

from random import Random

import pytest

from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.identity import Identity, PeerId
from crowdcompute.protocol.neighbours import OURS_KEPT, WANTED_AT_ONCE, WANTED_MAX, Neighbours

CONFIG = ProtocolConfig(neighbours_target=4, neighbours_max=8)
STRANGERS = [Identity(bytes([number]) * 32).peer_id for number in range(1, 60)]


def satisfied(seed: int = 1) -> tuple[Neighbours, list[PeerId]]:
    """With the links it wants, which it dialled, and strangers it knows."""
    neighbours = Neighbours(CONFIG, Random(seed), 0.0)
    neighbours.discovered(STRANGERS, 0.0)
    linked = [peer_id for peer_id, _ in neighbours.dials(0.0)]
    for peer_id in linked:
        neighbours.opened(peer_id, 0.0, dialled=True)
    return neighbours, linked


def visit(neighbours: Neighbours) -> tuple[PeerId, float]:
    """Let the next visit be dialled: whom, and when."""
    now = neighbours.wake_at()
    [(peer_id, _)] = neighbours.dials(now)
    return peer_id, now


def test_who_lacks_nothing_dials_one_stranger_a_minute() -> None:
    neighbours, linked = satisfied()
    last = 0.0
    for _ in range(5):
        peer_id, now = visit(neighbours)
        assert peer_id not in linked
        assert 30.0 <= now - last <= 90.0
        assert neighbours.dials(now) == []
        neighbours.closed(peer_id, now)
        last = now


def test_who_lacks_links_dials_for_them_and_visits_nobody() -> None:
    neighbours, linked = satisfied()
    neighbours.closed(linked[0], 1.0)
    assert len(neighbours.dials(1_000.0)) == 1


@pytest.mark.parametrize("seed", range(20))
def test_each_visit_takes_the_place_of_one_link_and_never_of_the_two_oldest_we_dialled(seed: int) -> None:
    neighbours, linked = satisfied(seed)
    held = set(linked)
    swapped = 0
    before: PeerId | None = None
    for _ in range(30):
        peer_id, now = visit(neighbours)
        left = neighbours.opened(peer_id, now, dialled=True)
        assert left is not None
        assert neighbours.is_visited(peer_id)
        assert len(left) == (0 if before is None else 1)
        for other in left:
            swapped += other != before
            held.remove(other)
            neighbours.closed(other, now)
        held.add(peer_id)
        before = peer_id
    assert len(held) == CONFIG.neighbours_target + 1
    assert set(linked[:OURS_KEPT]) <= held
    assert swapped


def test_a_visit_that_is_needed_by_then_replaces_nothing() -> None:
    neighbours, linked = satisfied()
    first, now = visit(neighbours)
    neighbours.opened(first, now, dialled=True)
    second, now = visit(neighbours)
    for other in linked[:2]:
        neighbours.closed(other, now)
    assert neighbours.opened(second, now, dialled=True) == []


def test_links_that_others_dialled_are_theirs_to_leave() -> None:
    neighbours = Neighbours(CONFIG, Random(3), 0.0)
    neighbours.discovered(STRANGERS[10:], 0.0)
    for peer_id in STRANGERS[:4]:
        neighbours.opened(peer_id, 0.0, dialled=False)
    before, now = visit(neighbours)
    neighbours.opened(before, now, dialled=True)
    for _ in range(10):
        peer_id, now = visit(neighbours)
        assert neighbours.opened(peer_id, now, dialled=True) == [before]
        neighbours.closed(before, now)
        before = peer_id


def test_of_a_thousand_peers_that_are_needed_few_are_dialled_at_once_and_each_has_its_turn() -> None:
    neighbours, _ = satisfied()
    made_up = [PeerId(f"nobody {number}") for number in range(WANTED_MAX + 100)]
    for peer_id in made_up:
        neighbours.want(peer_id, 0.0)
    dialled: dict[PeerId, None] = {}
    now = 0.0
    while len(dialled) < WANTED_MAX:
        dials = neighbours.dials(now)
        assert len(dials) == WANTED_AT_ONCE or len(dialled) + len(dials) >= WANTED_MAX
        assert neighbours.dials(now) == []
        assert neighbours.wake_at() > now, "nothing to do before a dial ends"
        for peer_id, _ in dials:
            dialled[peer_id] = None
            neighbours.closed(peer_id, now)
        now += 0.001
    assert list(dialled) == made_up[:WANTED_MAX]
