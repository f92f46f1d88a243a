"""One whole run: a world, its faults, its checks and its figures."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import faults
from .checkers import Inspector, final_failures
from .measures import ChunkTimes, GossipMeter, NodeTime, Story
from .network import World
from .report import figures

if TYPE_CHECKING:
    from .scenario import Scenario

_METER_FROM_S = 5.0
_METER_FRAMES = 20_000


@dataclass(frozen=True, slots=True)
class Outcome:
    figures: dict[str, float]
    failures: list[str]
    """Sentences; empty when every check holds."""
    trace: str
    """Hash over every event: equal for equal scenario and seed, in every process."""
    story: list[str]


def run(scenario: Scenario, seed: int, *, story: str | None = None) -> Outcome:
    """Run a scenario to its end and judge it."""
    world = World(scenario, seed)
    faults.schedule(world)
    inspector = Inspector(world)
    times, gossip = ChunkTimes(world), GossipMeter(world, start_s=_METER_FROM_S, frames=_METER_FRAMES)
    node_time = NodeTime(world)
    told = Story(world, story) if story else None
    # Millions of objects live to the end and none is garbage in a cycle: looking for some takes half of the time.
    gc.disable()
    try:
        world.run()
        failures = inspector.failures + final_failures(world)
        numbers = figures(world, times, gossip) | node_time.shares()
        return Outcome(numbers, failures, world.trace, told.lines if told else [])
    finally:
        gc.enable()
