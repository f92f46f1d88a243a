"""A JavaScript task on a real network: signed, spread, executed in locked-down processes, voted on, verified."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.interop.conftest import Place, Running

SOURCE = """
let calls = 0;
export default function ([start, stop]) {
  calls += 1;
  let wave = 0;
  for (let n = start; n < stop; n++) wave += Math.sin(n) * Math.random();
  return { calls, start, wave };
}
"""
CHUNKS = 20

STACKED = """
export default function ([start]) {
  let deep = 0;
  const dig = () => { deep += 1; dig(); };
  try { dig(); } catch { }
  return { start, deep: start < 500 ? deep : 0 };
}
"""
"""How deep functions may call each other is the engine's own business: its first chunks differ."""


def js_task(place: Place, source: str = SOURCE) -> Path:
    folder = place.folder / "waves"
    folder.mkdir()
    (folder / "kernel.js").write_text(source)
    (folder / "task.toml").write_text(
        'schema = 1\nname = "Waves"\n[code]\nruntime = "js"\nmodule = "kernel.js"\n'
        f"[split]\nrange = [0, {CHUNKS * 100}, 100]\n[limits]\nseconds = 20\n"
    )
    return folder


def test_two_nodes_verify_a_javascript_task_and_agree_with_this_machine(
    place: Place, join: str, task_id: Callable[[Running], str]
) -> None:
    folder = js_task(place)
    nodes = place.nodes(join, "a", "b")
    publishing = place.start_publish(folder, join, "--json")
    ended = publishing.ended()
    assert ended.code == 0, ended.err
    report = ended.document
    assert (report["state"], report["accepted"], report["failed"]) == ("closed", CHUNKS, 0)
    assert report["convicted"] == []
    files, rows = place.results(task_id(publishing), "results")
    results = [json.loads(files[chunk]) for chunk in range(CHUNKS)]
    assert [(result["calls"], result["start"]) for result in results] == [(1, 100 * chunk) for chunk in range(CHUNKS)]
    assert len({result["wave"] for result in results}) == CHUNKS
    assert all(len(row["agreed"]) >= 2 for row in rows)
    assert all(node.process.poll() is None for node in nodes)


def test_the_creator_of_code_that_differs_from_engine_to_engine_is_told_which_chunk_does(
    place: Place, join: str
) -> None:
    folder = js_task(place, STACKED)
    # The creator's own node has the other engine.
    nodes = [place.node(join, name, "--strict-js").joined() for name in "ab"]
    for node in nodes:
        node.is_connected_to(1)
    ended = place.start_publish(folder, join).ended()
    assert ended.code == 0, ended.err
    (told,) = [line for line in ended.err.splitlines() if line.startswith("beware ")]
    assert "2 workers voted otherwise on chunk " in told
    again = place.cc_task(*shlex.split(told.rpartition(": ")[2])[1:], "-o", place.folder / "again")
    assert again.code == 0, again.err


def test_a_node_without_javascript_leaves_such_tasks_to_others(
    place: Place, join: str, task_id: Callable[[Running], str]
) -> None:
    folder = js_task(place)
    refusing = place.node(join, "refusing", "--no-js").joined()
    publishing = place.start_publish(folder, join, "--json")
    refusing.says("'Waves' is left to others: it is JavaScript")
    publishing.says("peers are connected, and none takes the task: nodes execute JavaScript with ")
    willing = place.nodes(join, "a", "b")
    ended = publishing.ended()
    assert ended.code == 0, ended.err
    _, rows = place.results(task_id(publishing), "results")
    voters = {peer for row in rows for peer in row["agreed"]}
    assert refusing.peer_id not in voters
    # Which of the others, or the creator, is whoever was quicker.
    assert voters & {node.peer_id for node in willing}
