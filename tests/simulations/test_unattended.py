"""While a creator is away its workers find results and liars, and what lots drew is less to do when it is back."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from crowdcompute.protocol.closing import TaskState
from crowdcompute.protocol.epochs import epoch_at
from crowdcompute.protocol.provisional import ProvisionalState, provisional_tally
from crowdcompute.simulations import faults
from crowdcompute.simulations.checkers import Inspector, final_failures
from crowdcompute.simulations.network import World
from crowdcompute.simulations.scenario import EPOCH_S, load_scenario

if TYPE_CHECKING:
    from crowdcompute.protocol.provisional import Provisional
    from crowdcompute.simulations.scenario import Scenario

SCENARIOS = Path(__file__).parents[2] / "simulations" / "scenarios"


def begin(scenario: Scenario, *, until: float) -> World:
    world = World(scenario, 1)
    faults.schedule(world)
    world.step_until(until)
    return world


def tallies(world: World) -> list[Provisional]:
    """What each peer but the creator says."""
    epoch = epoch_at(world.manifest, world.now + EPOCH_S)
    ledgers = [node.peer.ledgers[world.task] for node in world.live() if node is not world.creator]
    return [provisional_tally(ledger, epoch) for ledger in ledgers]


def check_what_peers_say(world: World) -> None:
    """All say the same, all of it is right, and the liars are found."""
    said = tallies(world)
    assert len(said) == world.scenario.network.peers
    assert all(counted == said[0] for counted in said)
    liars = {node.signer.public_key for node in world.nodes if not node.is_honest}
    assert said[0].found == liars
    results = {
        chunk: standing.value
        for chunk, standing in said[0].chunks.items()
        if standing.state is ProvisionalState.PROVISIONAL
    }
    assert len(results) >= world.manifest.chunks - 2
    wrong = [chunk for chunk, value in results.items() if value != right_value(world, chunk)]
    assert wrong == []
    credibility = said[0].credibility()
    assert credibility is not None
    assert credibility > 0.95


def right_value(world: World, chunk: int) -> bytes:
    return b"\0" + sha256(world.right_result(chunk)).digest()


def finish(world: World) -> tuple[int, float]:
    """Run to the end: executions and seconds it took since the creator is back."""
    fault = world.scenario.faults[0]
    back_s = fault.at_s + fault.for_s
    before = world.executions
    inspector = Inspector(world)
    world.run()
    assert inspector.failures + final_failures(world) == []
    assert world.closed_at is not None
    return world.executions - before, world.closed_at - back_s


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_second_votes_that_lots_drew_are_made_when_the_creator_is_back() -> None:
    scenario = load_scenario(SCENARIOS / "unattended.toml")
    drawn = begin(scenario, until=898)
    check_what_peers_say(drawn)
    executions, _ = finish(drawn)

    task = msgspec.structs.replace(scenario.task, epoch_s=0)
    sealed = begin(msgspec.structs.replace(scenario, task=task), until=898)
    assert all(counted.count(ProvisionalState.PROVISIONAL) == 0 for counted in tallies(sealed))
    without, _ = finish(sealed)
    assert executions < 0.5 * without


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_guests_alone_find_results_and_a_liar() -> None:
    check_what_peers_say(begin(load_scenario(SCENARIOS / "away.toml"), until=1_200))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_steward_settles_everything_finds_the_liars_and_its_creator_agrees() -> None:
    world = begin(load_scenario(SCENARIOS / "steward.toml"), until=898)
    (steward,) = (node for node in world.nodes[1:] if world.task in node.peer.stewards)
    role = steward.peer.stewards[world.task]
    assert role.state is TaskState.SETTLED
    assert {worker for worker in world.convictable if role.referee.void.get(worker)} == world.convictable
    for chunk in range(240):
        if not steward.peer.ledgers[world.task].is_closed(chunk):  # The creator has been there for six seconds.
            assert role.result_bytes(chunk) == world.right_result(chunk)
    for node in world.live():
        ledger = node.peer.ledgers[world.task]
        assert all(ledger.is_settled(chunk) for chunk in range(240))
        assert not ledger.verdicts
        assert ledger.certificate is None
    finish(world)
    assert world.role.ledger.verdicts.keys() == world.convictable


def test_while_the_creator_is_there_nothing_is_shown_and_nobody_draws() -> None:
    scenario = load_scenario(SCENARIOS / "unattended.toml")
    # Epochs so short that the job takes dozens of them.
    task = msgspec.structs.replace(scenario.task, epoch_s=2, chunks=60)
    world = begin(msgspec.structs.replace(scenario, faults=(), task=task), until=0)
    world.run()
    assert final_failures(world) == []
    assert world.closed_at is not None
    assert world.closed_at > 20
    kinds = {record.kind for record in world.role.ledger.records()}
    assert "beacon" in kinds
    assert "reveal" not in kinds
    assert not any(commit.link for _, commit in world.role.ledger.commits.values())
