"""Every adversary of the registry against the real protocol code, in networks small enough for each change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crowdcompute.protocol.closing import TaskState
from crowdcompute.protocol.events import LinkOpened
from crowdcompute.protocol.tally import ChunkState, ChunkTally, tally_chunk
from crowdcompute.simulations import faults
from crowdcompute.simulations.liars.registry import KINDS
from crowdcompute.simulations.network import World
from crowdcompute.simulations.run import run
from crowdcompute.simulations.scenario import EPOCH_S, ScenarioError, load_scenario, parse_scenario

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crowdcompute.protocol.events import Input, Output
    from crowdcompute.protocol.tally import Vote
    from crowdcompute.simulations.network import Node

ADVERSARIES = Path(__file__).parents[2] / "simulations" / "scenarios" / "adversaries"
SLOW = {"sybils", "churn", "unequal", "partition", "classes"}
"""More than five seconds on two busy cores."""
ELSEWHERE = {"alone", "colluding", "rate", "sleeper", "equivocator", "withholder", "staller"}
"""test_simulations.py runs these kinds, on smaller networks; their scenarios are run by hand."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(path.stem, marks=[pytest.mark.slow] if path.stem in SLOW else [])
        for path in sorted(ADVERSARIES.glob("*.toml"))
        if path.stem not in ELSEWHERE
    ],
)
def test_the_scenario_of_each_adversary_passes_its_checks(name: str) -> None:
    scenario = load_scenario(ADVERSARIES / f"{name}.toml")
    assert scenario.name == name
    assert run(scenario, 1).failures == []


def test_every_kind_of_liar_has_its_scenario() -> None:
    scenarios = [load_scenario(path) for path in ADVERSARIES.glob("*.toml")]
    assert {group.kind for scenario in scenarios for group in scenario.liars} == set(KINDS)


def test_an_unknown_kind_of_liar_is_refused_with_the_names_there_are() -> None:
    text = (ADVERSARIES / "alone.toml").read_text().replace('kind = "alone"', 'kind = "fibber"')
    with pytest.raises(ScenarioError, match="no liar of kind `fibber`: choose from alone, "):
        parse_scenario(text)


@pytest.mark.parametrize("visits", [True, False])
def test_a_peer_that_only_liars_were_named_to_is_freed_by_a_visit_and_by_nothing_else(visits: bool) -> None:
    """An honest peer that lacks no link visits a stranger, here the victim, whom a liar named to it when asked.

    The victim dials the visitor's neighbours and hears of the task from them. Without visits it never does.
    """
    never = "" if visits else "\n[protocol]\nvisit_every_s = 1e9\n"
    world = World(parse_scenario((ADVERSARIES / "eclipse.toml").read_text() + never), 1)
    faults.schedule(world)
    world.step_until(20.0)
    (victim,) = [world.nodes[index] for index in world.eclipsed]
    assert world.task not in victim.peer.ledgers
    neighbours = [world.nodes[world.index_of[peer_id]] for peer_id in victim.wires]
    assert neighbours
    assert not any(node.is_honest for node in neighbours)
    dialled_by_victim: list[bool] = []

    def see(now: float, node: Node, event: Input | Output) -> None:
        if node is victim and isinstance(event, LinkOpened) and world.nodes[world.index_of[event.peer_id]].is_honest:
            dialled_by_victim.append(event.dialled)

    world.observers.append(see)
    world.run()
    assert (world.task in victim.peer.ledgers) == visits
    assert dialled_by_victim[:1] == ([False] if visits else [])


def test_a_whitewasher_is_convicted_under_each_of_its_names() -> None:
    text = (ADVERSARIES / "whitewasher.toml").read_text()
    world = World(parse_scenario(text.replace("after_s = 10.0", "after_s = 2.0")), 1)
    world.step_until(40.0)
    names = {world.names[worker] for worker in world.role.ledger.verdicts}
    assert len(world.role.ledger.verdicts) >= 2
    assert len(names) == 1


def test_a_tally_that_convicts_both_sides_of_a_dispute_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def blames_everybody(votes: Iterable[Vote], replication: int, *, tainted: bool, **_: object) -> ChunkTally:
        cast = [vote for vote in votes if vote.value]
        if len({vote.value for vote in cast}) > 1:
            return ChunkTally(ChunkState.AGREED, cast[0].value, 0, tuple(sorted(vote.worker for vote in cast)), 0)
        return tally_chunk(cast, replication, tainted=tainted)

    monkeypatch.setattr("crowdcompute.protocol.referee.tally_chunk", blames_everybody)
    failures = run(load_scenario(ADVERSARIES / "accuser.toml"), 1).failures
    assert any("holds the honest" in failure for failure in failures)


def _erring_once(seeds: Iterable[int]) -> World:
    """The first of these worlds in which a machine is found to err in the first half of the job, and none errs twice.

    What each computes is chance.
    """
    text = (ADVERSARIES / "flaky.toml").read_text().replace("rate = 0.05", "rate = 0.025")
    for seed in seeds:
        world = World(parse_scenario(text), seed)
        faults.schedule(world)
        world.run()
        ledger = world.role.ledger
        struck_s = [strike.void_to / 1_000 - EPOCH_S for strike in ledger.strikes.values()]
        assert world.closed_at is not None
        was_banned = any(verdict.is_ban for verdict in ledger.verdicts.values())
        if struck_s and max(struck_s) < world.closed_at / 2 and not was_banned:
            return world
    raise AssertionError("no machine errs once")


def test_a_machine_with_a_rare_error_loses_what_it_did_and_goes_on() -> None:
    world = _erring_once(range(9, 25))
    ledger, role = world.role.ledger, world.role
    assert role.state is TaskState.CLOSED
    assert ledger.verdicts.keys() == ledger.strikes.keys()
    for worker, strike in ledger.strikes.items():
        assert not ledger.is_void(worker)
        agreed = [chunk for chunk in range(150) if worker in role.result(chunk).agreed]
        seqs = [role.referee.voters(chunk)[worker].seq for chunk in agreed]
        assert sum(seq > strike.void_to for seq in seqs) > 5
