"""A network of nothing but tabs: the creator publishes from a page, and two other people's browsers compute."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

COLUMNS, SIDE = 16, 8
TILES = COLUMNS * COLUMNS
SQUARES = """
export default function (args) {
  const [x, y, width, height] = args.map(Number);
  // Some milliseconds for each tile, so that one tab cannot do them all before the other has begun.
  let busy = 1;
  for (let step = 0; step < 3e5; step++) busy = (busy * 48271) % 2147483647;
  if (busy === 0) return "never";
  const pixels = new Uint8Array(width * height);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) pixels[row * width + column] = ((x + column) * (y + row)) % 256;
  }
  return pixels;
}
"""


def test_two_tabs_compute_the_javascript_task_that_a_third_one_publishes(place: Any, join: str, tabs: Any) -> None:
    creator = tabs.open(join)
    creator.until("shown")
    published = creator.page.evaluate(
        """async (text) => window.ask("publishDraft", { draft: {
            name: "Squares", description: "Products of coordinates.", link: "", runtime: "js",
            source: new TextEncoder().encode(text),
            split: { kind: "grid", width: 128, height: 128, tileWidth: 8, tileHeight: 8 },
            seconds: 10, memoryBytes: 64 * 2 ** 20, outputBytes: 1024, replication: 2, eps: 0.01,
        } })""",
        SQUARES,
    )
    task = published["taskId"]
    assert published["joinLink"] == f"{join}&t={task}"
    volunteers = [tabs.open(published["joinLink"]) for _ in range(2)]
    for tab in volunteers:
        tab.works_for(task)
    # The author sees results as they are verified, not only at the end.
    creator.until("shown.tasks.some(({ isMine, accepted }) => isMine && accepted >= 1)")
    shown = creator.until("shown.tasks.some(({ isMine, state }) => isMine && state === 'closed')")
    (closed,) = shown["tasks"]
    assert (closed["accepted"], closed["failed"], closed["certificate"]["convicted"]) == (TILES, 0, 0)

    names = {tab.peer_id for tab in volunteers}
    for line in _exported(creator, task):
        y, x = (SIDE * part for part in divmod(line["index"], COLUMNS))
        right = bytes((x + column) * (y + row) % 256 for row in range(SIDE) for column in range(SIDE))
        assert base64.b64decode(line["result"]) == right
        assert len(names & set(line["agreed"])) >= 1
        assert not line["disagreed"]
    for tab in volunteers:
        shown = tab.until("shown.total.confirmed > 0")
        assert shown["total"]["outvoted"] == 0

    # What the page gives away a stranger checks with the other language's tools.
    evidence = place.folder / "evidence.ccr"
    evidence.write_bytes(_blob(creator, "(await window.ask('exportEvidence', { taskId }))", task))
    audited = place.cc_task("audit", evidence, "--json")
    assert audited.code == 0, audited.err
    assert (audited.document["task"], audited.document["accepted"]) == (task, TILES)
    for tab in volunteers:
        proof = place.folder / f"{tab.peer_id}.cccredit"
        proof.write_bytes(
            _blob(tab, "(await window.ask('credit', {})).find((each) => each.taskId === taskId).proof", task)
        )
        proved = place.cc_node("credit", "--verify", proof, "--json").document
        assert proved["worker"] == tab.peer_id
        assert proved["millicredits"] == audited.document["millicredits"][tab.peer_id] > 0


def test_a_bundle_dropped_on_the_page_is_published_under_the_key_of_the_page(place: Any, join: str, tabs: Any) -> None:
    folder, expected = place.slow_task(24, 1_000_000)
    bundle = place.folder / "spin.ccb"
    assert place.cc_task("pack", folder, "-o", bundle).code == 0
    creator = tabs.open(join)
    creator.until("shown")
    trial, published = creator.page.evaluate(
        """async (base64) => {
            const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
            const trial = await window.ask("testRun", { bundle: bytes, chunk: 3 });
            return [{ ...trial, bytes: [...trial.bytes] }, await window.ask("publishBundle", { bytes })];
        }""",
        base64.b64encode(bundle.read_bytes()).decode(),
    )
    assert (trial["status"], bytes(trial["bytes"])) == ("ok", expected[3])
    task = published["taskId"]
    # One volunteer is a tab, the other a native node: to the creator they are the same.
    place.nodes(published["joinLink"], "alice")
    volunteer = tabs.open(published["joinLink"])
    volunteer.works_for(task)
    creator.until("shown.tasks.some(({ isMine, state }) => isMine && state === 'closed')")
    assert creator.task(task)["creator"] == creator.peer_id
    found = {line["index"]: base64.b64decode(line["result"]) for line in _exported(creator, task)}
    assert found == expected


def test_what_is_wrong_with_a_draft_is_one_sentence(join: str, tabs: Any) -> None:
    tab = tabs.open(join)
    with pytest.raises(Exception, match="is not a whole number"):
        tab.page.evaluate(
            """() => window.ask("publishDraft", { draft: {
                name: "x", description: "", link: "", runtime: "js", source: new Uint8Array([59]),
                split: { kind: "range", start: "0", stop: "ten", step: "1" },
                seconds: 1, memoryBytes: 65536, outputBytes: 1, replication: 1, eps: 0.5,
            } })"""
        )


def _blob(tab: Any, what: str, task: str) -> bytes:
    """The bytes of a Blob that the page gives for a task."""
    script = f"async (taskId) => [...new Uint8Array(await ({what}).arrayBuffer())]"
    return bytes(tab.page.evaluate(script, task))


def _exported(creator: Any, task: str) -> list[dict[str, Any]]:
    text = creator.page.evaluate("async (taskId) => (await window.ask('exportResults', { taskId })).text()", task)
    return [json.loads(line) for line in text.splitlines()]
