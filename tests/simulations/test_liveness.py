"""What a machine that stops, or says it works and does not, may cost everybody else: seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crowdcompute.protocol.events import DialFailed, DialPeer, Executed, Input, LinkOpened, Output
from crowdcompute.simulations.network import Node, World
from crowdcompute.simulations.run import run
from crowdcompute.simulations.scenario import parse_scenario

if TYPE_CHECKING:
    from crowdcompute.protocol.identity import PeerId

BUSY = """
name = "busy"
network = {peers = 8, speed_sigma = 0.0}
task = {chunks = 2_000, replication = 2, eps = 0.05, chunk_s = 0.5}
checks = {stop_s = 900}
"""
STOPPED_AT_S = 20.0


@pytest.mark.parametrize("seed", range(1, 9))
def test_what_a_stopped_machine_was_on_begins_again_within_five_seconds_though_everybody_is_busy(seed: int) -> None:
    world = World(parse_scenario(BUSY), seed)
    victim = world.nodes[3]
    worker = victim.signer.public_key
    begun: dict[int, float] = {}
    left: list[int] = []

    def see(now: float, node: Node, event: Input | Output) -> None:
        if type(event) is Executed and node is not victim and now - event.seconds > STOPPED_AT_S:
            for outcome in event.outcomes:
                begun.setdefault(outcome.chunk, now - event.seconds)

    def stop() -> None:
        ledger = world.role.ledger
        left.extend(
            chunk for (author, _), lease in ledger.leases.live.items() if author == worker for chunk in lease.since
        )
        victim.silent = True

    world.observers.append(see)
    world.at(STOPPED_AT_S, stop)
    world.step_until(STOPPED_AT_S + 15)
    # What it had told is not lost: its leases name those chunks, and its last commit was on its way.
    left = [chunk for chunk in left if worker not in world.role.referee.voters(chunk)]
    assert left
    waited = {chunk: begun.get(chunk, float("inf")) - STOPPED_AT_S for chunk in left}
    # Three seconds until it is suspected; who is asked then is soon done with its batch, and this comes next.
    assert max(waited.values()) < 5


def test_those_who_only_say_that_they_work_delay_no_result_by_more_than_seconds() -> None:
    text = """
    name = "stallers"
    network = {peers = 12}
    task = {chunks = 150, replication = 2, eps = 0.05, chunk_s = 1.0}
    liars = [{kind = "staller", count = 2}]
    checks = {stop_s = 900}
    """
    outcome = run(parse_scenario(text), 1)
    assert outcome.failures == []
    # An assignment may take two minutes; none is waited for while anybody is idle.
    assert outcome.figures["closed after, s"] < 60


def test_every_dial_of_a_machine_whose_network_was_gone_is_answered() -> None:
    """Or it would wait for it for ever: with enough of them outstanding a peer dials nobody."""
    text = """
    name = "deaf"
    network = {peers = 6}
    task = {chunks = 10, chunk_s = 500.0, limit_s = 3_000.0}
    protocol = {work = false}
    """
    world = World(parse_scenario(text), 1)
    victim = world.nodes[3]
    answered: list[PeerId] = []
    unanswered: dict[PeerId, float] = {}

    def see(now: float, node: Node, event: Input | Output) -> None:
        if node is victim and isinstance(event, DialPeer):
            unanswered[event.peer_id] = now
        elif node is victim and isinstance(event, DialFailed | LinkOpened):
            unanswered.pop(event.peer_id, None)
            answered.append(event.peer_id)

    world.step_until(5.0)
    assert len(victim.wires) == 6
    world.observers.append(see)
    victim.silent = True
    world.step_until(25.0)
    # It has given up all its links, and dials whom it knows, in vain.
    assert not victim.peer.neighbours
    assert answered
    assert all(at > 24.0 for at in unanswered.values())
    victim.silent = False
    world.step_until(60.0)
    assert len(victim.peer.neighbours) == 6
