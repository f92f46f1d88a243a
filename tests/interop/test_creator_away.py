"""A creator publishes and is killed; volunteers that come later do the job; it returns, checks and closes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def holds_its_task(node: Any) -> bool:
    return any(task["state"] != "fetching" for task in node.status()["tasks"])


@pytest.mark.slow
def test_a_job_is_computed_without_its_creator_and_closed_when_it_returns(
    place: Any, join: str, task_id: Callable[[Any], str], wait_until: Callable[..., Any]
) -> None:
    (alice,) = place.nodes(join, "alice")
    # Half a second each: alice alone would take long.
    folder, expected = place.slow_task(40, 400_000_000, "[verify]\nreplication = 1\neps = 0.2\n")
    publishing = place.start_publish(folder, join)
    task = task_id(publishing)
    wait_until(lambda: holds_its_task(alice), "alice holds the task and its code")
    publishing.kill()
    before = {*place.stored("commit")}

    # Nobody ever admitted these two, and soon they are alone with it.
    bob, carol = place.nodes(join, "bob", "carol")
    wait_until(lambda: holds_its_task(bob) and holds_its_task(carol), "bob and carol hold it too")
    alice.kill()
    wait_until(lambda: bob.votes() > 0 and carol.votes() > 0, "both have voted")
    assert {*place.stored("commit")} == before

    watched = place.cc_task("watch", task, "--host", "127.0.0.1")
    assert watched.code == 0, watched.err
    files, rows = place.results(task, "results")
    assert files == expected
    for guest in (bob.peer_id, carol.peer_id):
        assert any(guest in row["agreed"] for row in rows)
