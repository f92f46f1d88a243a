"""Two halves of a network that were cut apart until each had all the links it wanted meet again."""

from __future__ import annotations

import pytest

from crowdcompute.simulations.faults import partition
from crowdcompute.simulations.network import World
from crowdcompute.simulations.scenario import parse_scenario

SCENARIO = """
name = "halves"
[network]
peers = {peers}
join_within_s = 3.0
[task]
chunks = 1_000
chunk_s = 500.0
limit_s = 3_000.0
[checks]
stop_s = 900
[protocol]
work = false
"""
CUT_S = 40.0


def cut_in_two(peers: int, seed: int) -> tuple[World, list[int], float]:
    """A network, the side of each node, and the moment when its partition heals."""
    world = World(parse_scenario(SCENARIO.format(peers=peers)), seed)
    world.step_until(10.0)
    partition(world, 0.5, for_s=CUT_S)
    assert world.cut is not None
    heals_at, sides = world.cut
    world.step_until(heals_at - 1.0)
    return world, [sides[node.index] for node in world.nodes], heals_at


def crossing(world: World, sides: list[int]) -> int:
    """Links from one half to the other."""
    ends = ((node.index, world.index_of[peer_id]) for node in world.live() for peer_id in node.wires)
    return sum(sides[one] != sides[other] for one, other in ends) // 2


@pytest.mark.parametrize(("peers", "seed"), [(20, 1), (20, 2), pytest.param(200, 1, marks=pytest.mark.slow)])
def test_the_halves_of_a_healed_partition_meet_again(peers: int, seed: int) -> None:
    world, sides, heals_at = cut_in_two(peers, seed)
    assert crossing(world, sides) == 0
    # Within each half nobody lacks a link, so nobody dials because it must.
    assert min(len(node.wires) for node in world.live()) >= 8
    world.step_until(heals_at + 45.0)
    assert crossing(world, sides) >= peers // 4


def test_visits_cost_little_beside_what_keeps_links_alive() -> None:
    """The bytes of an idle network with visits, and of one in which nobody ever visits."""
    sent = []
    for every_s in ("", "visit_every_s = 1e9"):
        world = World(parse_scenario(SCENARIO.format(peers=20) + every_s), 1)
        world.step_until(60.0)
        before = sum(sum(node.bytes_sent) for node in world.nodes)
        world.step_until(260.0)
        sent.append((sum(sum(node.bytes_sent) for node in world.nodes) - before) / 21 / 200)
    with_visits, without = sent
    assert with_visits < 1.5 * without, f"{with_visits:.0f} and {without:.0f} bytes per second and peer"
