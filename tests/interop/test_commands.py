"""What each command prints, writes and ends with, on a network that works."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.interop.conftest import Place, Running, Signaling

VERIFY = "[verify]\nreplication = 1\neps = 0.5\nliars = 0.2\npow_bits = 8\n"
CC_NODE = (sys.executable, "-m", "crowdcompute.node")
ENDLESS_STEPS = 2**50

FAILING = """
(module
  (memory (export "memory") 1 1)
  (data (i32.const 0) "no such \\1b[31mtile")
  (func (export "cc_alloc") (param i32) (result i32) (i32.const 64))
  (func (export "cc_error") (result i64) (i64.const 17))
  (func (export "cc_run") (param $in i32) (param i32) (result i64)
    (if (i64.eq (i64.load (local.get $in)) (i64.const 1)) (then (return (i64.const -1))))
    (if (i64.eq (i64.load (local.get $in)) (i64.const 2)) (then unreachable))
    (i64.or (i64.shl (i64.const 64) (i64.const 32)) (i64.const 8))))
"""
"""Chunk 1 ends with a task error, chunk 2 in a trap, the others with their own number."""


def is_gone(process: int) -> bool:
    return not Path(f"/proc/{process}/stat").exists()


def test_status_and_id_tell_what_a_node_does(place: Place, desk: Signaling, join: str) -> None:
    first, second = place.nodes(join, "a", "b")
    for node in (first, second):
        node.is_connected_to(1)
    document = place.cc_node("status", "--json", home="a").document
    assert document["schema"] == 1
    assert document["state"] == "running"
    assert document["signaling"]["url"] == desk.url
    assert document["signaling"]["state"] == "entered"
    assert [peer["peer_id"] for peer in document["neighbours"]] == [second.peer_id]
    assert len(document["worker"]["pids"]) == document["jobs"] == 1
    words = place.cc_node("status", home="a")
    assert words.code == 0
    assert f"peer       {first.peer_id}" in words.out
    assert "1 connected" in words.out
    identity = place.cc_node("id", home="a")
    assert (identity.code, identity.out) == (0, f"{first.peer_id}\n")


def test_the_first_ctrl_c_finishes_what_runs(place: Place, join: str, task_id: Callable[[Running], str]) -> None:
    folder, expected = place.slow_task(1, 1_500_000_000, VERIFY)
    publishing = place.start_publish(folder, join, "--json")
    (node,) = place.nodes(join, "a")
    node.works()
    peer_id = node.peer_id
    node.signal(signal.SIGINT)
    ended = node.ended()
    assert ended.code == 0
    assert "stopped after 1 chunks" in ended.err
    assert "Traceback" not in ended.err
    assert publishing.ended().code == 0
    files, (row,) = place.results(task_id(publishing), "results")
    assert files == expected
    assert peer_id in row["agreed"]


def test_the_second_ctrl_c_stops_at_once(
    place: Place, join: str, wait_until: Callable[[Callable[[], Any], str], Any]
) -> None:
    folder, _ = place.slow_task(2, ENDLESS_STEPS, VERIFY)
    publishing = place.start_publish(folder, join)
    nodes = place.nodes(join, "a", "b")
    for node, number, code in zip(nodes, (signal.SIGINT, signal.SIGTERM), (130, 143), strict=True):
        node.works()
        (sandbox,) = node.status()["worker"]["pids"]
        node.signal(number)
        node.says("press Ctrl\\+C again")
        node.signal(number)
        ended = node.ended()
        assert ended.code == code
        assert "Traceback" not in ended.err
        wait_until(partial(is_gone, sandbox), "the sandbox ends with its node")
    publishing.signal(signal.SIGINT)
    ended = publishing.ended()
    assert ended.code == 130
    assert "nothing is lost" in ended.err.splitlines()[-1]


def test_publish_gives_up_after_its_timeout_and_loses_nothing(
    place: Place, join: str, task_id: Callable[[Running], str]
) -> None:
    folder, _ = place.slow_task(2, 1, VERIFY)
    publishing = place.start_publish(folder, join, "--timeout", "0.5")
    ended = publishing.ended()
    assert ended.code == 124
    assert "nothing is lost, `cc-task watch" in ended.err
    task = task_id(publishing)
    (listed,) = place.cc_task("list", "--json").document["tasks"]
    assert (listed["task"], listed["state"], listed["accepted"]) == (task, "running", 0)
    words = place.cc_task("list")
    assert task[:12] in words.out
    assert "0/2" in words.out
    results = place.cc_task("results", task, "-o", place.folder / "results")
    assert results.code == 0
    assert "0 of 2 results" in results.out
    assert "no certificate yet" in results.out


def test_a_dry_run_publishes_nothing(place: Place) -> None:
    folder = place.example("collatz", ("700_000", "350"))
    dry = place.cc_task("publish", folder, "--dry-run", "--json")
    assert dry.code == 0
    assert dry.document["chunks"] == 2
    assert dry.document["signature"] == "ok"
    assert "checking" in place.cc_task("publish", folder, "--dry-run").out
    listed = place.cc_task("list")
    assert (listed.code, listed.out) == (0, "nothing published yet: `cc-task publish` does it\n")


@pytest.mark.slow
def test_publish_leaves_when_a_volunteer_holds_the_task_and_watch_brings_the_results(
    place: Place, join: str, task_id: Callable[[Running], str]
) -> None:
    place.nodes(join, "a", "b")
    folder = place.example("collatz", ("700_000", "1_750"))
    publishing = place.start_cc_task("publish", folder, "--link", join, "--host", "127.0.0.1")
    ended = publishing.ended()
    assert ended.code == 0
    task = task_id(publishing)
    watched = place.cc_task("watch", task[:12], "--json", "--host", "127.0.0.1")
    assert watched.code == 0, watched.err
    assert (watched.document["state"], watched.document["accepted"]) == ("closed", 10)
    again = place.cc_task("watch", task[:12])
    assert again.code == 0
    assert "certificate: " in again.out
    files, _ = place.results(task[:12], "results")
    assert len(files) == 10


def test_chunks_that_fail_come_back_with_their_number_and_reason(
    place: Place, join: str, task_id: Callable[[Running], str]
) -> None:
    folder = place.task("failing", FAILING, 4, VERIFY.replace("replication = 1", "replication = 2"))
    publishing = place.start_publish(folder, join)
    place.nodes(join, "a", "b")
    ended = publishing.ended()
    assert ended.code == 5
    shown = [line for line in ended.err.splitlines() if line.startswith("chunk ")]
    assert [line.split(maxsplit=2)[:2] for line in shown] == [["chunk", "1"], ["chunk", "2"]]
    assert "task error: no such �[31mtile" in shown[0]
    assert "unreachable" in shown[1]

    task = task_id(publishing)
    files, rows = place.results(task, "results")
    assert files == {0: (0).to_bytes(8, "little"), 3: (3).to_bytes(8, "little")}
    assert [row["status"] for row in rows] == ["ok", "task error", "failed", "ok"]
    assert rows[1]["reasons"] == ["no such �[31mtile"]
    assert "unreachable" in rows[2]["reasons"][0]
    assert rows[2]["arguments"] == [2, 3]
    # The command it names shows the same, with the very task that was published.
    command = rows[2]["reproduce"]
    assert shown[1].endswith(f"to see it here: {command}")
    assert "(arguments 2 3)" in shown[1]
    again = place.cc_task(*shlex.split(command)[1:], "-o", place.folder / "one")
    assert again.code == 1
    assert "arguments  2 3" in again.out
    assert "trap: unreachable" in again.err
    good = place.cc_task("run", "--local", "--chunk", 3, task[:12], "-o", place.folder / "one")
    assert (good.code, (place.folder / "one" / "000003.bin").read_bytes()) == (0, files[3])
    assert place.cc_task("run", "--local", "--chunk", 4, folder).code == 2
    results = place.cc_task("results", task, "-o", place.folder / "results")
    assert "2 of 4 results" in results.out
    assert [line for line in results.err.splitlines() if line.startswith("chunk ")] == shown
    assert place.cc_task("watch", task).code == 5


@pytest.mark.slow
def test_the_demo_ends_with_a_picture_and_lets_others_join(place: Place) -> None:
    output = place.folder / "demo"
    demo = place.start((*CC_NODE, "demo"), "--keep", "--json", "-o", output, home="demo")
    link = demo.says(r"^join +(\S+)$")[1]
    document = json.loads(demo.out)
    assert (document["schema"], document["state"], document["accepted"]) == (1, "closed", document["chunks"])
    assert document["convicted"] == document["liars"]
    assert json.loads((output / "certificate.json").read_text()) == document["certificate"]
    with Image.open(document["picture"]) as picture:
        assert picture.size == (1024, 1024)
        assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 100
    assert len(list(output.glob("*.bin"))) == document["chunks"]

    (guest,) = place.nodes(link, "guest")
    guest.is_connected_to(4)
    demo.signal(signal.SIGINT)
    ended = demo.ended()
    assert ended.code == 0
    assert json.loads(ended.out) == document, "one JSON document and nothing else"
    assert "Traceback" not in ended.err
