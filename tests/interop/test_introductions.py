"""Peers introduce peers over real data channels: without the signaling server a newcomer still meets everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crowdcompute.protocol.frames import Hello
from crowdcompute.protocol.identity import PeerId, public_key_of
from crowdcompute.protocol.signaling import Ask, Peers, Undeliverable

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_newcomer_that_knows_one_node_is_introduced_to_its_neighbours_without_a_server(
    place: Any, newcomer: Callable[[str], Any], wait_until: Callable[..., Any]
) -> None:
    server = place.signaling()
    join = server.join("introductions")
    alice, bob = place.nodes(join, "alice", "bob")
    alice.is_connected_to(1)
    carla = newcomer(join)
    carla.meets(alice.peer_id)
    server.kill()
    for node in (alice, bob):
        wait_until(lambda node=node: node.status()["signaling"]["state"] != "entered", "the nodes lost the server")
    assert not carla.knows(bob.peer_id)

    carla.says(alice.peer_id, Ask(32))
    assert carla.heard(alice.peer_id, Peers).peers == (public_key_of(PeerId(bob.peer_id)),)
    carla.meets(bob.peer_id, through=alice.peer_id)
    bob.is_connected_to(2)


def test_a_node_that_is_no_neighbour_cannot_be_reached_through_one(
    place: Any, join: str, newcomer: Callable[[str], Any]
) -> None:
    (alice,) = place.nodes(join, "alice")
    carla, dora = newcomer(join), newcomer(join)
    carla.meets(alice.peer_id)
    stranger = dora.peer_id
    carla.dials(stranger, through=alice.peer_id)
    assert carla.heard(alice.peer_id, Undeliverable).to == public_key_of(stranger)
    assert carla.heard(alice.peer_id, Hello)
