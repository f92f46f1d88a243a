"""A person with developer tools makes their own page lie. The page that is shipped knows nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LIE = """
(() => {
  // Stands between the peer's Worker and the sandbox, and changes every result on its way back.
  const lie = (outcome) => {
    const data = outcome.data.slice();
    if (data.length > 0) data[0] ^= 1;
    return { ...outcome, data };
  };
  const between = (port) => {
    const { port1, port2 } = new MessageChannel();
    const pass = (from, to) => {
      from.onmessage = ({ data, ports }) => {
        // A task Worker is started with a port of its own, over which its results go.
        const [handed] = ports.map(between);
        if (handed !== undefined) to.postMessage({ ...data, port: handed }, [handed]);
        else if (data.kind === "report") to.postMessage({ ...data, outcomes: data.outcomes.map(lie) });
        else to.postMessage(data);
      };
    };
    pass(port1, port);
    pass(port, port1);
    return port2;
  };
  const post = Worker.prototype.postMessage;
  Worker.prototype.postMessage = function (message, transfer) {
    if (message?.to !== "sandbox") return post.call(this, message, transfer);
    const port = between(message.port);
    return post.call(this, { ...message, port }, [port]);
  };
})();
"""


def test_a_tab_that_lies_is_convicted_and_the_results_are_right(
    place: Any, join: str, tabs: Any, task_id: Callable[[Any], str]
) -> None:
    folder, expected = place.slow_task(120, 2_000_000)
    publishing = place.start_publish(folder, join)
    task = task_id(publishing)
    liar = tabs.open(f"{join}&t={task}", script=LIE)
    liar.works_for(task)
    liar.until("shown.total.done >= 1")
    honest = tabs.open(f"{join}&t={task}")
    honest.works_for(task)
    place.nodes(join, "alice")
    assert publishing.ended().code == 0
    files, rows = place.results(task, "results")
    assert files == expected
    assert not any(liar.peer_id in row["agreed"] for row in rows)
    liar.until("shown.total.outvoted > 0")
    assert honest.shown["total"]["outvoted"] == 0
    assert honest.task(task)["certificate"]["convicted"] == 1
