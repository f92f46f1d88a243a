"""A tab that is loaded again in the middle of a long chunk goes on with it where it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.interop.long_chunk import long_chunk

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS, ROUNDS = 100_000_000, 255
"""Far more than anybody waits for: how far it has come is all that is looked at."""

KEPT = """
(known) => new Promise((resolve) => {
  const opening = indexedDB.open("crowdcompute");
  opening.onsuccess = () => {
    const values = () => opening.result.transaction("values").objectStore("values");
    const look = () => {
      values().get("savepoints").onsuccess = ({ target: { result: names } }) => {
        if (!names?.length) return setTimeout(look, 50);
        values().get(names[0]).onsuccess = ({ target: { result: saved } }) => {
          const round = saved ? new DataView(saved.state.savepoint.buffer).getUint8(0) : 0;
          if (round !== known) resolve(round);
          else setTimeout(look, 50);
        };
      };
    };
    look();
  };
})
"""
"""The round of the next savepoint that the tab has on its disk, after the one that is known."""


def test_a_tab_that_was_reloaded_goes_on_with_its_chunk(
    place: Any, join: str, tabs: Any, task_id: Callable[[Any], str]
) -> None:
    folder = place.task("long", long_chunk(STEPS, ROUNDS), 1, "[verify]\nreplication = 1\neps = 0.5\npow_bits = 8\n")
    text = (folder / "task.toml").read_text()
    (folder / "task.toml").write_text(text.replace("seconds = 20", "seconds = 300"))
    publishing = place.start_publish(folder, join)
    task = task_id(publishing)
    tab = tabs.open(f"{join}&t={task}")
    tab.works_for(task)
    first = tab.page.evaluate(KEPT, 0)
    before = tab.page.evaluate(KEPT, first)
    tab.page.reload()
    # From scratch, its first savepoint would be about as far as the first one was, and replace what is there.
    assert tab.page.evaluate(KEPT, before) > before > first
