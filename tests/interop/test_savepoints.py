"""A node that is killed in the middle of a long chunk goes on with it where it was (spec/modules.md, "Savepoints").

Or another does (spec/handover.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.interop.conftest import spun, until
from tests.interop.long_chunk import ROUNDS, long_chunk

from crowdcompute.protocol.identity import peer_id_of
from crowdcompute.protocol.lineage import rests_of
from crowdcompute.protocol.records import parse

if TYPE_CHECKING:
    from tests.interop.conftest import Place, Signaling

STEPS = 90_000_000
# A node keeps within a second which tasks it is in: killed before, it would have nothing to go on with.
SAVE_EVERY_S = "1.2"


def test_a_node_that_was_killed_goes_on_with_its_chunk(desk: Signaling, place: Place) -> None:
    join = desk.join("savepoints")
    folder = place.task("long", long_chunk(STEPS), 1, "[verify]\nreplication = 1\neps = 0.5\npow_bits = 8\n")
    publishing = place.start_publish(folder, join)
    node = place.node(join, "alice", CC_SAVEPOINT=SAVE_EVERY_S).joined()
    saved = place.folder / "alice" / "node" / "savepoints"
    until(lambda: list(saved.glob("*-0")), "a savepoint is kept")
    node.kill()
    assert list(saved.glob("*-0")), "it was killed in the middle"
    again = place.node(join, "alice", CC_SAVEPOINT=SAVE_EVERY_S).joined()
    until(lambda: again.status()["worker"]["resumed"] == 1, "it goes on")
    ended = publishing.ended()
    assert ended.code == 0, ended.err
    task = publishing.says(r"chunks, ([0-9a-f]{64})")[1]
    results, (row,) = place.results(task, "out")
    assert results == {0: spun(0, STEPS * ROUNDS)}
    assert again.peer_id in row["agreed"]
    until(lambda: not list(saved.glob("*-0")), "what is done is dropped")


@pytest.mark.slow
def test_another_node_goes_on_with_the_chunk_of_one_that_was_killed(desk: Signaling, place: Place) -> None:
    join = desk.join("handover")
    # Whoever comes first is asked for eight at once. Nobody may be idle: who is begins copies, from scratch.
    steps, chunks = STEPS // 2, 9
    folder = place.task("long", long_chunk(steps), chunks, "[verify]\nreplication = 1\neps = 0.5\npow_bits = 8\n")
    described = folder / "task.toml"
    described.write_text(described.read_text().replace("seconds = 20", "seconds = 200"))
    publishing = place.start_publish(folder, join)
    settings = {"CC_SAVEPOINT": "0.2", "CC_HANDOVER": "0.2"}
    bob = place.node(join, "bob", **settings)
    taker = bob.joined().peer_id

    def task_of_bob() -> dict[str, Any]:
        tasks: list[dict[str, Any]] = bob.status()["tasks"]
        return tasks[0] if tasks else {"running": 0, "savepoints": ()}

    until(lambda: task_of_bob()["running"], "bob is busy")
    alice = place.node(join, "alice", **settings)
    maker = alice.joined().peer_id

    def of_alice() -> bool:
        return any(savepoint["by"] == maker for savepoint in task_of_bob()["savepoints"])

    # What bob hears of, he keeps: it is told of only then.
    until(of_alice, "alice tells how far she is")
    alice.kill()
    (resumed,) = until(lambda: place.stored("resumed"), "bob has gone on with what alice had begun")
    ended = publishing.ended()
    assert ended.code == 0, ended.err
    rests = rests_of(parse(resumed))
    assert peer_id_of(resumed.author) == taker
    assert [peer_id_of(rest.maker) for rest in rests] == [maker]
    assert bob.status()["worker"]["resumed"] == 1
    task = publishing.says(r"chunks, ([0-9a-f]{64})")[1]
    results, _ = place.results(task, "out")
    assert results == dict.fromkeys(range(chunks), spun(0, steps * ROUNDS))
    audited = place.cc_task("audit", place.folder / "out")
    assert audited.code == 0, audited.err
