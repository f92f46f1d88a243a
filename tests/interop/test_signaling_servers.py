"""A network with two signaling servers: one that is killed keeps nobody out, and peers of either find each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crowdcompute.protocol.join_link import JoinLink

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_newcomer_joins_by_the_second_server_when_the_first_is_killed(
    place: Any, wait_until: Callable[..., Any]
) -> None:
    first, second = place.signaling(), place.signaling()
    join = str(JoinLink(first.url, "two-servers", others=(second.url,)))
    (alice,) = place.nodes(join, "alice")
    wait_until(
        lambda: set(alice.status()["signaling"]["servers"].values()) == {"entered"}, "alice is present on both servers"
    )
    first.kill()
    (bob,) = place.nodes(join, "bob")
    bob.is_connected_to(1)
    alice.is_connected_to(1)
    assert bob.status()["signaling"]["state"] == "entered"


def test_peers_that_share_only_one_of_their_servers_meet(place: Any) -> None:
    first, second = place.signaling(), place.signaling()
    (alice,) = place.nodes(second.join("one-shared"), "alice")
    (bob,) = place.nodes(str(JoinLink(first.url, "one-shared", others=(second.url,))), "bob")
    alice.is_connected_to(1)
    bob.is_connected_to(1)
