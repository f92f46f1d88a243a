"""A test can take the signaling server from one peer and leave it to the others."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

spec = importlib.util.spec_from_file_location("cut_proxy", Path(__file__).with_name("cut_proxy.py"))
assert spec is not None and spec.loader is not None
cut_proxy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cut_proxy)


def test_a_peer_whose_way_to_the_server_is_cut_loses_it_alone(
    place: Any, desk: Any, wait_until: Callable[..., Any]
) -> None:
    with cut_proxy.CutProxy(desk.port) as way:
        # By two addresses they enter one network.
        alice, bob = place.node(way.join("cut"), "alice"), place.node(desk.join("cut"), "bob")
        for node in (alice, bob):
            node.joined().is_connected_to(1)
        with urlopen(f"{way.url}/healthz") as answer:
            assert answer.status == 200

        way.cut()
        wait_until(lambda: alice.status()["signaling"]["state"] != "entered", "alice lost the server")
        with pytest.raises(URLError, match="refused"):
            urlopen(f"{way.url}/healthz")
        assert bob.status()["signaling"]["state"] == "entered"
        # What was introduced stays: no link needs the server.
        assert len(alice.status()["neighbours"]) == 1


def test_a_way_can_be_cut_twice_and_with_nobody_on_it(desk: Any) -> None:
    with cut_proxy.CutProxy(desk.port) as way:
        way.cut()
        way.cut()
    assert desk.health()
