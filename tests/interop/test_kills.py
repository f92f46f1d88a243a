"""Whatever is killed in the middle of a job, the job ends with right results, and nothing accepted is lost."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.interop.conftest import Ended, Place, Running

STEPS = 150_000_000
"""About a quarter of a second on one core of 2026: long enough to be killed in."""
VERIFY = "[verify]\nreplication = 2\neps = 0.5\nliars = 0.2\npow_bits = 8\n"


def job(place: Place, chunks: int, verify: str = VERIFY) -> tuple[Path, dict[int, bytes]]:
    return place.slow_task(chunks, STEPS, verify)


def check(place: Place, ended: Ended, task: str, expected: dict[int, bytes]) -> list[dict[str, Any]]:
    """The job has ended well: every result is right, nobody is convicted."""
    assert ended.code == 0, ended.err
    files, rows = place.results(task, "results")
    assert files == expected
    assert not any(row["disagreed"] for row in rows)
    assert ended.document["convicted"] == []
    return rows


@pytest.mark.slow
def test_a_killed_sandbox_worker_is_replaced(
    place: Place, join: str, task_id: Callable[[Running], str], wait_until: Callable[[Callable[[], Any], str], Any]
) -> None:
    folder, expected = job(place, 16)
    publishing = place.start_publish(folder, join, "--json")
    first, _ = place.nodes(join, "a", "b")
    first.works()
    (pid,) = first.status()["worker"]["pids"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: first.status()["worker"]["pids"] not in ([], [pid]), "another worker process")
    rows = check(place, publishing.ended(), task_id(publishing), expected)
    assert any(first.peer_id in row["agreed"] for row in rows)


@pytest.mark.slow
def test_a_killed_node_goes_on_when_it_is_started_again(
    place: Place, join: str, task_id: Callable[[Running], str]
) -> None:
    folder, expected = job(place, 30)
    publishing = place.start_publish(folder, join, "--json")
    _, second = place.nodes(join, "a", "b")
    second.has_voted()
    peer_id = second.peer_id
    second.kill()
    again = place.node(join, "b").joined()
    assert again.peer_id == peer_id
    again.has_voted()
    rows = check(place, publishing.ended(), task_id(publishing), expected)
    assert any(peer_id in row["agreed"] for row in rows)


@pytest.mark.slow
def test_a_job_ends_without_its_signaling_server_and_a_new_one_lets_others_in(
    place: Place, task_id: Callable[[Running], str]
) -> None:
    server = place.signaling()
    join = server.join("main")
    folder, expected = job(place, 16)
    publishing = place.start_publish(folder, join, "--json")
    nodes = place.nodes(join, "a", "b")
    for node in nodes:
        node.is_connected_to(2)
        node.has_voted()
    server.kill()
    check(place, publishing.ended(), task_id(publishing), expected)
    assert nodes[0].status()["signaling"]["state"] in ("unreachable", "connecting")
    nodes[0].says("no signaling server answers .*: work goes on with the peers connected")

    place.signaling(server.port)
    nodes[0].says("the signaling server answers again")
    newcomer = place.node(join, "c").joined()
    newcomer.is_connected_to(2)


@pytest.mark.slow
def test_a_killed_creator_keeps_what_it_has_accepted_and_watch_finishes_the_task(
    place: Place, join: str, task_id: Callable[[Running], str]
) -> None:
    folder, expected = job(place, 24)
    publishing = place.start_publish(folder, join)
    place.nodes(join, "a", "b")
    place.has_accepted()
    publishing.kill()
    task = task_id(publishing)

    (listed,) = place.cc_task("list", "--json").document["tasks"]
    before, rows = place.results(task, "before")
    assert listed["state"] == "running"
    assert 0 < listed["accepted"] == len(before) < len(expected)
    assert sum(row["status"] == "ok" for row in rows) == len(before)
    assert before == {chunk: expected[chunk] for chunk in before}

    ended = place.cc_task("watch", task[:12], "--json", "--host", "127.0.0.1")
    after = check(place, ended, task, expected)
    for earlier, later in zip(rows, after, strict=True):
        if earlier["status"] == "ok":
            assert later["sha256"] == earlier["sha256"]
            assert set(earlier["agreed"]) <= set(later["agreed"])
    assert ended.document["votes"] >= sum(row["votes"] for row in rows)


@pytest.mark.slow
def test_the_work_of_a_stopped_node_is_executed_by_another_and_its_return_does_no_harm(
    place: Place,
    join: str,
    task_id: Callable[[Running], str],
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Chunks long enough to be stopped in, and no vote of a second worker is needed: only a copy can replace the first.
    folder, expected = place.slow_task(6, 4 * STEPS, VERIFY.replace("replication = 2", "replication = 1"))
    publishing = place.start_publish(folder, join, "--json")
    stopped, other, _ = place.nodes(join, "a", "b", "c")
    stopped.is_connected_to(3)
    stopped.works()
    peer_id = stopped.peer_id
    processes = [stopped.process.pid, *children(stopped.process.pid)]
    stopped_at = time.monotonic()
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    other.says(f"peer {peer_id}: silent")
    noticed_s = time.monotonic() - stopped_at
    check(place, publishing.ended(), task_id(publishing), expected)
    closed_s = time.monotonic() - stopped_at
    record_property("silence_noticed_s", round(noticed_s, 2))
    with capsys.disabled():
        print(f"\nsilence noticed after {noticed_s:.1f} s, the whole job closed after {closed_s:.1f} s")

    for pid in processes:
        os.kill(pid, signal.SIGCONT)
    assert stopped.status()["peer_id"] == peer_id
    stopped.signal(signal.SIGINT)
    assert stopped.ended().code == 0


def children(process: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
