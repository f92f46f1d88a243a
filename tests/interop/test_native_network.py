"""Native peers without a signaling server: found by address, by mDNS, by the DHT, by memory; browsers' kind bridged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from crowdcompute.protocol.join_link import JoinLink

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.interop.conftest import Node, Place

TASK = (60, 4_000_000, "[verify]\neps = 0.05\n")


def invitation(node: Node) -> str:
    """The join link a listening node prints."""
    return node.says(r"others join by: cc-node run '([^']+)'")[1]


def carriers(node: Node) -> list[str]:
    return [peer["over"] for peer in node.status()["neighbours"]]


def listening(place: Place, join: str, name: str, *flags: str) -> Node:
    return place.node(join, name, "--listen", "0", *flags).joined()


def test_a_network_without_any_server_starts_and_finishes_a_job(place: Place, task_id: Callable[[Any], str]) -> None:
    alice = listening(place, "n=no-server", "alice", "--no-mdns")
    join = invitation(alice)
    assert not JoinLink.parse(join).servers
    bob = listening(place, join, "bob", "--no-mdns")
    folder, expected = place.slow_task(*TASK)
    publishing = place.start_publish(folder, join, "--json")
    ended = publishing.ended()
    assert ended.code == 0, ended.err
    assert ended.document["state"] == "closed"
    assert carriers(alice) and set(carriers(alice)) == set(carriers(bob)) == {"libp2p"}
    files, _ = place.results(task_id(publishing), "results")
    assert files == expected
    assert alice.votes() + bob.votes() >= len(expected)


def test_peers_that_know_only_the_networks_name_meet_by_mdns(place: Place) -> None:
    alice = listening(place, "n=by-mdns", "alice")
    bob = listening(place, "n=by-mdns", "bob")
    other = listening(place, "n=of-another-name", "other")
    alice.is_connected_to(1)
    bob.is_connected_to(1)
    assert [peer["peer_id"] for peer in alice.status()["neighbours"]] == [bob.peer_id]
    assert other.status()["neighbours"] == []


def test_peers_that_know_the_same_peer_find_each_other_and_outlive_it(
    place: Place, wait_until: Callable[..., Any]
) -> None:
    first = listening(place, "n=by-dht", "first", "--no-mdns")
    join = invitation(first)
    nodes = [listening(place, join, name, "--no-mdns") for name in ("bob", "carla")]
    for node in nodes:
        node.is_connected_to(2)
    first.kill()
    bob, carla = nodes
    wait_until(
        lambda: [peer["peer_id"] for peer in bob.status()["neighbours"]] == [carla.peer_id], "only the dead one is gone"
    )
    assert carriers(bob)


def test_a_restarted_node_finds_the_network_by_the_peers_it_remembers(place: Place) -> None:
    server = place.signaling()
    join = server.join("remembered")
    alice = listening(place, join, "alice", "--no-mdns")
    address = alice.status()["listening"][0]
    bob = listening(place, join, "bob", "--no-mdns", "--bootstrap", address)
    bob.is_connected_to(1)
    where = bob.status()["listening"]
    server.kill()
    bob.kill()
    again = listening(place, join, "bob", "--no-mdns")
    again.is_connected_to(1)
    assert again.status()["listening"] == where, "those who remember it find it there again"
    assert carriers(again) == ["libp2p"]


@pytest.mark.slow
def test_a_native_peer_brings_a_task_to_peers_that_have_only_webrtc(
    place: Place, task_id: Callable[[Any], str]
) -> None:
    server = place.signaling()
    join = server.join("bridged")
    bridge = listening(place, join, "bridge", "--no-mdns")
    webrtc_only = place.node(join, "webrtc", "--stack", "wrtc").joined()
    webrtc_only.is_connected_to(1)
    address = bridge.status()["listening"][0]
    # The creator has no server: it reaches the bridge and, through it, offers to the other.
    folder, expected = place.slow_task(300, 4_000_000, "[verify]\neps = 0.05\n")
    publishing = place.start_publish(folder, f"n=bridged&b={address}", "--json")
    webrtc_only.has_voted()
    ended = publishing.ended()
    assert ended.code == 0, ended.err
    assert place.results(task_id(publishing), "results")[0] == expected
    assert set(carriers(webrtc_only)) == {"webrtc"}
