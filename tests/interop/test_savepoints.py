"""A node that is killed in the middle of a long chunk goes on with it where it was (spec/modules.md, "Savepoints")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.interop.conftest import spun, until
from tests.interop.long_chunk import ROUNDS, long_chunk

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
