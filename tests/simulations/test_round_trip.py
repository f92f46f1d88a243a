"""How long one call takes: link round trips and its execution, and no timer, in virtual time.

The network has met and computed a task; then its creator publishes another one with the same code and inputs of its
own, as `crowdcompute.creator.Executor` does for every few calls.
"""

from __future__ import annotations

import msgspec
import pytest

from crowdcompute.protocol import peer
from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.epochs import make_epochs
from crowdcompute.protocol.events import Notable, Notice, TaskPublished
from crowdcompute.protocol.identity import verify
from crowdcompute.protocol.manifest import sign_manifest, with_task_key
from crowdcompute.protocol.recount import recount
from crowdcompute.protocol.split import Blocks, Calls
from crowdcompute.simulations.network import World
from crowdcompute.simulations.scenario import parse_scenario

ROUND_TRIP_S = 0.02
CHUNK_S = 0.001


def met(replication: int, *, real_keys: bool = False) -> World:
    """A creator and two volunteers that have computed a task."""
    world = World(
        parse_scenario(
            f"""
            name = "calls"
            network.peers = 2
            network.speed_sigma = 0.0
            network.latency_s = [0.01, 0.01]
            network.upload_bytes_per_s = 1e9
            network.real_keys = {str(real_keys).lower()}
            task = {{chunks = 200, replication = {replication}, eps = 0.1, chunk_s = {CHUNK_S}, chunk_sigma = 0.0}}
            checks = {{stop_s = 60, settle_s = 5.0}}
            """
        ),
        seed=1,
    )
    world.run()
    assert world.closed_at is not None
    return world


def accepted_after_s(world: World, chunks: int, *, apart: bool = False) -> list[float]:
    """When each chunk of another task is accepted, since it was published; with inputs `apart` from the manifest."""
    inputs = bytes(8 * chunks)
    if apart:
        world.creator.blobs.put(describe(inputs).sha256, inputs)
        second = msgspec.structs.replace(world.manifest, chunks=chunks, split=Blocks(size=8), inputs=describe(inputs))
    else:
        second = msgspec.structs.replace(world.manifest, chunks=chunks, split=Calls((bytes(8),) * chunks))
    second = with_task_key(world.creator.signer, second)
    accepted: list[float] = []
    published_at = world.now

    def see(now: float, node: object, event: object) -> None:
        if isinstance(event, Notice) and event.what is Notable.CHUNK_ACCEPTED:
            accepted.append(now - published_at)

    world.observers.append(see)
    world.tell(world.creator, TaskPublished(sign_manifest(world.creator.signer, second)))
    world.step_until(published_at + 2.0)
    world.observers.remove(see)
    assert len(accepted) == chunks
    return accepted


@pytest.mark.parametrize("replication", [1, 2])
def test_a_call_takes_one_round_trip_and_its_execution(replication: int) -> None:
    # The task, the admission and the assignment; the join and the vote.
    (took_s,) = accepted_after_s(met(replication), 1)
    assert took_s < ROUND_TRIP_S + 2 * CHUNK_S


@pytest.mark.parametrize("replication", [1, 2])
def test_a_call_whose_inputs_are_a_blob_takes_two(replication: int) -> None:
    (took_s,) = accepted_after_s(met(replication), 1, apart=True)
    assert took_s < 2 * ROUND_TRIP_S + 2 * CHUNK_S


@pytest.mark.parametrize("replication", [1, 2])
def test_who_has_not_answered_lately_joins_first(replication: int) -> None:
    # The task and its inputs; joining, and being asked at once; the vote.
    world = met(replication)
    world.step_until(world.now + world.creator.peer.config.active_s)
    (took_s,) = accepted_after_s(world, 1, apart=True)
    assert 2 * ROUND_TRIP_S < took_s < 3 * ROUND_TRIP_S + 2 * CHUNK_S


def test_an_invited_worker_joins_before_it_votes_and_only_then_is_the_task_held() -> None:
    world = met(replication=1, real_keys=True)
    second = msgspec.structs.replace(world.manifest, chunks=1, split=Calls((bytes(8),)))
    signed = sign_manifest(world.creator.signer, with_task_key(world.creator.signer, second))
    world.tell(world.creator, TaskPublished(signed))
    role = world.creator.peer.creators[signed.record_id]
    assert len(role.ledger.admits) == 2
    assert not role.ledger.joins
    assert not role.is_held
    assert not role.progress().workers
    world.step_until(world.now + 2.0)
    assert role.is_held
    assert role.progress().workers == 2
    kinds = [(record.author, record.kind) for record in role.ledger.records()]
    for worker in role.ledger.joins:
        assert kinds.index((worker, "join")) < kinds.index((worker, "commit"))
    # Whoever counts again finds nothing amiss in admissions that came before their joins.
    assert recount(role.evidence(), verify).values.keys() == {0}


def test_nobody_is_invited_where_lots_are_drawn() -> None:
    world = met(replication=1)
    manifest, signer = world.manifest, world.creator.signer
    epochs = make_epochs(signer, manifest.code.sha256, manifest.created_s, manifest.expires_s)
    second = msgspec.structs.replace(manifest, chunks=1, split=Calls((bytes(8),)), epochs=epochs)
    signed = sign_manifest(signer, with_task_key(signer, second))
    world.tell(world.creator, TaskPublished(signed))
    assert not world.creator.peer.creators[signed.record_id].ledger.admits


@pytest.mark.parametrize("replication", [1, 2])
@pytest.mark.parametrize("chunks", [16, 64])
def test_no_call_of_many_waits_for_a_timer(chunks: int, replication: int) -> None:
    took_s = max(accepted_after_s(met(replication), chunks))
    assert took_s < 8 * ROUND_TRIP_S + chunks * replication * CHUNK_S


def test_a_network_forgets_tasks_that_are_over_when_others_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "TASKS_MAX", 3)
    world = met(replication=1)
    for number in range(5):
        assert len(accepted_after_s(world, 1 + number)) == 1 + number
        world.step_until(world.now + 2.0)
    for volunteer in world.nodes[1:]:
        assert len(volunteer.peer.ledgers) == len(volunteer.peer.workers) == 3
        assert not volunteer.peer.follows(world.task)
