"""The signaling server dies early, and a network of peers that were named two others each closes by itself."""

from __future__ import annotations

from crowdcompute.simulations.network import World
from crowdcompute.simulations.scenario import parse_scenario

SCENARIO = """
name = "introductions"
[network]
peers = 24
introductions = 2
join_within_s = 3.0
signaling_until_s = 4.0
[task]
chunks = 1_000
chunk_s = 100.0
limit_s = 600.0
[checks]
stop_s = 900
"""


def links(world: World) -> list[int]:
    return [len(node.wires) for node in world.live()]


def reached(world: World) -> int:
    """How many machines the first one reaches over links."""
    seen = {0}
    waiting = [world.nodes[0]]
    while waiting:
        for peer_id in waiting.pop().wires:
            other = world.index_of[peer_id]
            if other not in seen:
                seen.add(other)
                waiting.append(world.nodes[other])
    return len(seen)


def test_peers_that_know_two_others_find_as_many_as_they_want() -> None:
    world = World(parse_scenario(SCENARIO), 1)
    world.step_until(4.0)
    assert min(links(world)) < 8
    world.step_until(15.0)
    assert min(links(world)) >= 8


def test_a_network_whose_server_is_gone_replaces_links_to_machines_that_stop() -> None:
    world = World(parse_scenario(SCENARIO), 2)
    world.step_until(15.0)
    for node in world.nodes[1:13]:
        world.stop(node)
    world.step_until(60.0)
    assert min(links(world)) >= 8
    assert reached(world) == 12 + 1
