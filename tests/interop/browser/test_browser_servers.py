"""A page whose link names a second signaling server meets a node that is only on that one."""

from __future__ import annotations

from typing import Any

from crowdcompute.protocol.join_link import JoinLink


def test_a_page_meets_a_node_by_the_second_server_of_its_link(place: Any, tabs: Any) -> None:
    second = place.signaling()
    first = place.signaling(settings={"CC_SIGNALING_ALSO": f'["{second.url}"]'})
    (alice,) = place.nodes(second.join("two-servers"), "alice")
    page = tabs.open(str(JoinLink(first.url, "two-servers", others=(second.url,))))
    page.until("shown.peers.filter(({ state }) => state === 'open').length >= 1")
    alice.is_connected_to(1)
