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


@pytest.mark.slow
def test_results_are_provisional_on_every_node_before_the_creator_returns(
    place: Any, join: str, task_id: Callable[[Any], str], wait_until: Callable[..., Any]
) -> None:
    (alice,) = place.nodes(join, "alice")
    verify = '[verify]\nreplication = 2\neps = 0.2\nepoch = "2s"\n'
    folder, expected = place.slow_task(12, 20_000_000, verify)
    # An epoch is at least as long as a chunk may take.
    described = folder / "task.toml"
    described.write_text(described.read_text().replace("seconds = 20", "seconds = 2"))
    publishing = place.start_publish(folder, join)
    task = task_id(publishing)
    wait_until(lambda: holds_its_task(alice), "alice holds the task and its code")
    publishing.kill()
    # Whatever alice votes now or has voted, nobody but these two can confirm it.
    nodes = [alice, *place.nodes(join, "bob", "carol")]

    def away(node: Any) -> dict[str, Any]:
        facts: dict[str, Any] = next((known for known in node.status()["tasks"] if known["task"] == task), {})
        return facts.get("creator_away") or {}

    def settled() -> bool:
        said = [away(node) for node in nodes]
        return all(facts.get("provisional", 0) + facts.get("final", 0) == 12 for facts in said)

    wait_until(settled, "every node says that all results are provisional or final")
    assert all(away(node)["liars_found"] == away(node)["disputed"] == 0 for node in nodes)
    if away(nodes[0])["provisional"]:
        assert away(nodes[0])["credibility"] > 0.5

    watched = place.cc_task("watch", task, "--host", "127.0.0.1")
    assert watched.code == 0, watched.err
    files, _ = place.results(task, "results")
    assert files == expected
    assert {*place.stored("reveal")}
    audited = place.cc_task("audit", str(place.folder / "results"))
    assert audited.code == 0, audited.err


@pytest.mark.slow
def test_a_steward_does_the_job_of_a_creator_that_was_killed(
    place: Any, join: str, task_id: Callable[[Any], str], wait_until: Callable[..., Any]
) -> None:
    verify = '[verify]\nreplication = 2\neps = 0.2\nepoch = "2s"\n'
    folder, expected = place.slow_task(12, 20_000_000, verify)
    described = folder / "task.toml"
    described.write_text(described.read_text().replace("seconds = 20", "seconds = 2"))
    nodes = place.nodes(join, "alice", "bob")
    steward = place.node(join, "sam", "--steward").joined()
    publishing = place.start_publish(folder, join)
    task = task_id(publishing)
    wait_until(lambda: holds_its_task(steward), "the steward holds the task and its code")
    publishing.kill()

    for words, code, sentence in (
        (("--to", "12D3", "--for", "2d"), 2, "is not the peer id"),
        (("--to", steward.peer_id, "--for", "soon"), 2, "write it like"),
        (("--to", steward.peer_id, "--for", "900d"), 6, "expires before that"),
    ):
        refused = place.cc_task("delegate", task, *words, "--host", "127.0.0.1")
        assert (refused.code, refused.err.count("\n")) == (code, 1), refused.err
        assert sentence in refused.err
    named = place.cc_task("delegate", task, "--to", steward.peer_id, "--for", "2d", "--trusted", "--host", "127.0.0.1")
    assert named.code == 0, named.err
    assert "acts for you" in named.out

    def acting() -> dict[str, Any]:
        return next((known for known in steward.status()["steward_of"] if known["task"] == task), {})

    wait_until(lambda: acting().get("state") == "settled", "the steward has settled the task")
    assert acting()["accepted"] == 12
    assert not place.stored("certificate")

    def said(node: Any) -> int:
        (facts,) = (known for known in node.status()["tasks"] if known["task"] == task)
        away = facts["creator_away"] or {}
        return int(away.get("steward", 0) + away.get("final", 0))

    wait_until(lambda: all(said(node) == 12 for node in nodes), "every node has heard what the steward settled")

    watched = place.cc_task("watch", task, "--host", "127.0.0.1")
    assert watched.code == 0, watched.err
    files, _ = place.results(task, "results")
    assert files == expected
    audited = place.cc_task("audit", str(place.folder / "results"))
    assert audited.code == 0, audited.err
    assert f"{steward.peer_id}  " in audited.out
    assert "trusted: its audits count" in audited.out
    assert place.cc_task("revoke", task, "--from", steward.peer_id).code == 6
