"""A tab opens a join link and is a peer like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_tab_joins_by_link_consents_and_computes_beside_two_native_nodes(
    place: Any, join: str, tabs: Any, task_id: Callable[[Any], str]
) -> None:
    place.nodes(join, "alice", "bob")
    folder, expected = place.slow_task(200, 20_000_000, "[verify]\nreplication = 3\n")
    publishing = place.start_publish(folder, join)
    task = task_id(publishing)

    tab = tabs.open(f"{join}&t={task}")
    tab.has_task(task)
    shown = tab.until("shown.peers.filter(({ state }) => state === 'open').length >= 3")
    assert (shown["mode"], shown["executing"], shown["total"]["done"]) == ("off", 0, 0)
    assert tab.task(task)["consent"] == {"state": "none", "expiresS": None}

    tab.ask("changeSettings", pauseWhenHot=False, power=1)
    tab.page.get_by_role("button", name="Start").click()
    tab.until("shown.total.confirmed >= 1")
    assert tab.task(task)["consent"]["state"] == "given"
    assert publishing.ended().code == 0
    files, rows = place.results(task, "results")
    assert files == expected
    assert sum(tab.peer_id in row["agreed"] for row in rows) >= 1
    assert not any(row["disagreed"] for row in rows)


def test_what_a_tab_computes_is_what_the_same_example_gives_natively(
    place: Any, join: str, tabs: Any, task_id: Callable[[Any], str]
) -> None:
    # Two votes are wanted and there is one native node: every result is a tab's and a node's, byte for byte.
    place.nodes(join, "alice")
    publishing = place.start_publish(place.example("deep_zoom"), join)
    task = task_id(publishing)
    tab = tabs.open(f"{join}&t={task}")
    tab.works_for(task)
    assert publishing.ended().code == 0
    _, rows = place.results(task, "results")
    assert rows
    assert all(len(row["agreed"]) >= 2 and not row["disagreed"] for row in rows)
    assert any(tab.peer_id in row["agreed"] for row in rows)


def test_nothing_is_computed_for_a_task_that_was_refused(
    place: Any, join: str, tabs: Any, task_id: Callable[[Any], str]
) -> None:
    folder, _ = place.slow_task(20, 1_000)
    task = task_id(place.start_publish(folder, join))
    tab = tabs.open(f"{join}&t={task}")
    tab.has_task(task)
    tab.ask("consent", taskId=task, give=False)
    tab.ask("start")
    shown = tab.until("shown.reason === 'no task chosen'")
    # A node that comes later does all of it, and more: the tab had as much time.
    place.nodes(join, "alice")[0].has_voted(20)
    shown = tab.shown
    assert (shown["executing"], shown["total"]["done"]) == (0, 0)
    assert tab.task(task)["consent"]["state"] == "refused"
