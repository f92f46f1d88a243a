"""Streams in the simulator: calls that come while the task runs, checked and certified as any others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from crowdcompute.protocol.errors import LocalProtocolError
from crowdcompute.protocol.events import CallsFed, FrameReceived, Notable, Notice, TaskPublished
from crowdcompute.protocol.frames import Publish, encode_frame
from crowdcompute.protocol.identity import verify
from crowdcompute.protocol.manifest import Stream, sign_manifest, with_task_key
from crowdcompute.protocol.opening import read_shown, write_shown
from crowdcompute.protocol.records import Feed, sign
from crowdcompute.protocol.recount import recount

from .test_round_trip import CHUNK_S, ROUND_TRIP_S, met

if TYPE_CHECKING:
    from crowdcompute.protocol.creator import CreatorRole
    from crowdcompute.simulations.network import World


def opened(world: World) -> CreatorRole:
    """A stream of the world's creator, before anything is fed."""
    manifest = msgspec.structs.replace(world.manifest, chunks=4_096, split=Stream(), inputs=None)
    signed = sign_manifest(world.creator.signer, with_task_key(world.creator.signer, manifest))
    world.tell(world.creator, TaskPublished(signed))
    world.step_until(world.now + 1.0)
    return world.creator.peer.creators[signed.record_id]


def feed(world: World, role: CreatorRole, count: int, *, ends: bool = False) -> None:
    world.tell(world.creator, CallsFed(role.ledger.task, (bytes(8),) * count, ends))


@pytest.mark.parametrize("replication", [1, 2])
def test_a_call_of_a_stream_takes_one_round_trip_and_its_execution(replication: int) -> None:
    world = met(replication)
    role = opened(world)
    accepted: list[float] = []

    def see(now: float, node: object, event: object) -> None:
        if isinstance(event, Notice) and event.what is Notable.CHUNK_ACCEPTED:
            accepted.append(now)

    world.observers.append(see)
    for _ in range(20):
        fed_at = world.now
        feed(world, role, 1)
        world.step_until(world.now + 0.1)
        assert accepted.pop() - fed_at < ROUND_TRIP_S + 2 * CHUNK_S


@pytest.mark.parametrize("replication", [1, 2])
def test_a_stream_is_certified_on_what_was_fed(replication: int) -> None:
    world = met(replication, real_keys=True)
    role = opened(world)
    for count in (1, 5, 30):
        feed(world, role, count)
        world.step_until(world.now + 1.0)
    assert role.progress().accepted == 36 and role.state.value == "running"
    feed(world, role, 4, ends=True)
    world.step_until(world.now + 10.0)
    assert role.state.value == "closed"
    certificate = role.ledger.certificate
    assert certificate is not None and certificate.chunks == certificate.accepted == 40
    shown = read_shown(b"".join(write_shown(role.evidence())))
    assert recount(shown, verify).values.keys() == set(range(40))


def test_nobody_works_for_a_creator_that_feeds_a_chunk_two_inputs() -> None:
    world = met(2, real_keys=True)
    role = opened(world)
    feed(world, role, 5)
    world.step_until(world.now + 1.0)
    alice, bob = (node.peer for node in world.nodes[1:])
    double = sign(world.creator.signer, Feed(role.ledger.task, 2, (b"another",), ends=False))
    frame = encode_frame(Publish(role.ledger.task, (double,)))
    world.tell(world.nodes[1], FrameReceived(world.creator.signer.peer_id, frame))
    world.step_until(world.now + 2.0)
    # One of them was told; it tells the other, and its creator.
    assert alice.workers[role.ledger.task].done
    assert bob.workers[role.ledger.task].done
    assert role.ledger.is_forked
    with pytest.raises(LocalProtocolError, match="takes no further chunks"):
        feed(world, role, 1)


def test_nobody_picks_what_the_creator_deals_out() -> None:
    world = met(1)
    role = opened(world)
    feed(world, role, 2_000, ends=True)
    world.step_until(world.now + 10.0)
    certificate = role.ledger.certificate
    assert certificate is not None
    assert certificate.executions < 1.1 * 2_000, "each call once, but for audits"
