"""A private network: whoever has the whole link is in, whoever cut it short is told so."""

from __future__ import annotations

from typing import Any


def test_a_tab_enters_a_private_network_by_its_whole_link_only(place: Any, tabs: Any) -> None:
    server = place.signaling(settings={"CC_SIGNALING_NETWORK": "lab", "CC_SIGNALING_INVITE": "correct-horse_1"})
    (alice,) = place.nodes(f"{server.join('lab')}&i=correct-horse_1", "alice")
    invited = tabs.open(f"{server.join('lab')}&i=correct-horse_1")
    invited.until("shown.peers.some(({ state }) => state === 'open')")
    assert invited.shown["peers"][0]["peerId"] == alice.peer_id

    stranger = tabs.open(server.join("lab"))
    shown = stranger.until("shown.signalingDetail !== ''")
    assert "asks for an invitation" in shown["signalingDetail"]
    assert shown["peers"] == []
