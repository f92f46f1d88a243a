"""A page that lost its signaling server works on, and introduces a newcomer to its neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from crowdcompute.protocol.identity import PeerId, public_key_of
from crowdcompute.protocol.signaling import Ask, Peers

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.slow
def test_a_page_without_a_signaling_server_introduces_a_newcomer_and_works_on(
    place: Any, tabs: Any, newcomer: Callable[[str], Any], task_id: Callable[[Any], str]
) -> None:
    server = place.signaling()
    join = server.join("introductions")
    (alice,) = place.nodes(join, "alice")
    folder, expected = place.slow_task(1_200, 4_000_000, "[verify]\neps = 0.05\n")
    publishing = place.start_publish(folder, join)
    task = task_id(publishing)
    page = tabs.open(f"{join}&t={task}")
    page.works_for(task)
    other = tabs.open(f"{join}&t={task}")
    page.until("shown.peers.filter(({ state }) => state === 'open').length >= 3")
    other.until("shown.peers.filter(({ state }) => state === 'open').length >= 3")
    carla = newcomer(join)
    carla.meets(page.peer_id)

    server.kill()
    for tab in (page, other):
        tab.until("shown.signaling !== 'connected'")
    known = {alice.peer_id, other.peer_id}
    assert not any(carla.knows(peer_id) for peer_id in known)
    done = page.shown["total"]["done"]
    carla.says(page.peer_id, Ask(32))
    named = carla.heard(page.peer_id, Peers).peers
    assert {public_key_of(PeerId(peer_id)) for peer_id in known} <= set(named)
    for peer_id in known:
        carla.meets(peer_id, through=page.peer_id)
    page.until(f"shown.total.done > {done}")
    assert publishing.ended().code == 0
    files, _ = place.results(task, "results")
    assert files == expected
