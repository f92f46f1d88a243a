"""A creator's process is killed as soon as one node holds its task: a tab that comes later computes all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.slow
def test_a_tab_computes_for_a_creator_that_is_away_and_is_counted_when_it_returns(
    place: Any, join: str, tabs: Any, task_id: Callable[[Any], str], wait_until: Callable[..., Any]
) -> None:
    (alice,) = place.nodes(join, "alice")
    folder, expected = place.slow_task(60, 400_000_000, "[verify]\nreplication = 1\neps = 0.2\n")
    publishing = place.start_publish(folder, join)
    task = task_id(publishing)
    wait_until(
        lambda: any(each["state"] != "fetching" for each in alice.status()["tasks"]),
        "alice holds the task and its code",
    )
    publishing.kill()

    tab = tabs.open(f"{join}&t={task}")
    tab.works_for(task)
    tab.until("shown.total.done >= 1")
    assert tab.shown["total"]["confirmed"] == 0

    watched = place.cc_task("watch", task, "--host", "127.0.0.1")
    assert watched.code == 0, watched.err
    files, rows = place.results(task, "results")
    assert files == expected
    assert any(tab.peer_id in row["agreed"] for row in rows)
    tab.until("shown.total.confirmed >= 1")
