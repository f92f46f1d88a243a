"""What a task of many chunks that take no time costs besides them: records, which are signed, sealed, told and kept."""

from __future__ import annotations

import pytest

from crowdcompute.protocol.closing import TaskState
from crowdcompute.simulations.network import World
from crowdcompute.simulations.scenario import parse_scenario

CHUNKS = 10_000


@pytest.mark.parametrize("seed", [1, 2])
def test_small_chunks_are_asked_for_and_answered_by_the_hundred(seed: int) -> None:
    world = World(
        parse_scenario(
            f"""
            name = "small"
            network = {{peers = 2, speed_sigma = 0.0}}
            task = {{chunks = {CHUNKS}, replication = 2, eps = 0.05, chunk_s = 0.0001}}
            checks = {{stop_s = 60}}
            """
        ),
        seed,
    )
    world.step_until(10.0)
    assert world.role.state is TaskState.CLOSED
    kinds = [signed.kind for signed in world.role.ledger.records()]
    # Two votes a chunk: one that its worker chose, one that it was asked for.
    assert kinds.count("assign") < CHUNKS / 150
    assert kinds.count("commit") < 2 * CHUNKS / 150
