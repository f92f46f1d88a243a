"""Chromium and a creator without a path between them, except through a real coturn (tests/interop/test_turn.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crowdcompute.protocol.join_link import JoinLink

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_page_computes_over_a_relay_where_the_direct_path_is_blocked(
    place: Any, blocked: Any, tabs_on: Any, cc_task: Any, task_id: Callable[[Any], str]
) -> None:
    url = blocked.signaling("--turn", f"turn:{blocked.ADDRESS}", "--turn-secret", blocked.SECRET)
    join = str(JoinLink(url, "main"))
    folder, expected = place.slow_task(20, 100_000)
    publishing = cc_task("publish", folder, "--link", join, "--wait", home="creator", on=blocked.right)
    task = task_id(publishing)
    tab = tabs_on(blocked.left).open(f"{join}&t={task}")
    tab.works_for(task)
    assert publishing.ended().code == 0
    files, rows = place.results(task, "results")
    assert files == expected
    assert any(tab.peer_id in row["agreed"] for row in rows)
    assert blocked.relayed()  # Whose relay it is, the tab's or the creator's, ICE decides.
