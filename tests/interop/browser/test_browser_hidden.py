"""A tab in the background computes on. Driven by raw CDP: Playwright switches off what browsers do to hidden tabs."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from websockets.sync.client import ClientConnection, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEASURED_MS = 5_000
"""Long enough that a page whose timers run once a second would show it."""

HEAR_THE_PEER = """
(() => {
  const Real = Worker;
  window.timers = 0;
  setInterval(() => window.timers++, 10);
  window.Worker = class extends Real {
    constructor(...args) {
      super(...args);
      window.peer = this;
      this.addEventListener("message", ({ data }) => {
        if (data.to === "screens") window.shown = data.snapshot;
      });
    }
  };
})();
"""

COUNT = f"""
new Promise((resolve) => {{
  const from = [window.shown.total.done, window.timers];
  const end = () => resolve([window.shown.total.done - from[0], window.timers - from[1]]);
  window.peer.addEventListener("message", function look({{ data }}) {{
    if (data.to === "screens" && performance.now() - begunMs >= {MEASURED_MS}) {{
      window.peer.removeEventListener("message", look);
      end();
    }}
  }});
  const begunMs = performance.now();
}})
"""
"""Chunks done, and ticks of the page's own 10 ms timer, until the first snapshot after that time."""


class Devtools:
    """As much of the Chrome DevTools Protocol as this needs."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    def call(self, method: str, session: str | None = None, /, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        self._socket.send(json.dumps(message if session is None else {**message, "sessionId": session}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result = answer["result"]
                assert isinstance(result, dict)
                return result

    def open(self, address: str) -> tuple[str, str]:
        """A tab on an address: its target and its session."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable", session)
        self.call("Page.addScriptToEvaluateOnNewDocument", session, source=HEAR_THE_PEER)
        self.call("Page.navigate", session, url=address)
        return target, session

    def evaluate(self, session: str, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", session, expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")


@pytest.fixture
def devtools(tmp_path: Path) -> Iterator[Devtools]:
    executable = shutil.which("chromium")
    if executable is None:
        pytest.fail("there is no Chromium: apt-get install chromium")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
    with subprocess.Popen(
        [executable, *flags, "--remote-debugging-port=0", f"--user-data-dir={tmp_path}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        try:
            line = next(line for line in process.stderr if "DevTools listening on " in line)
            with connect(line.split()[-1], max_size=None, proxy=None) as socket:
                yield Devtools(socket)
        finally:
            # Debian's chromium is a script around a family of processes.
            os.killpg(process.pid, signal.SIGKILL)


def test_a_hidden_tab_computes_as_fast_as_a_visible_one(
    place: Any,
    join: str,
    devtools: Devtools,
    task_id: Callable[[Any], str],
    wait_until: Callable[[Callable[[], Any], str], Any],
) -> None:
    folder, _ = place.slow_task(100_000, 2_000_000)
    task = task_id(place.start_publish(folder, join))
    _, tab = devtools.open(f"{join}&t={task}")

    def shows(condition: str) -> None:
        wait_until(lambda: devtools.evaluate(tab, f"Boolean(window.shown) && ({condition})"), condition)

    def ask(name: str, arguments: str) -> None:
        devtools.evaluate(tab, f"peer.postMessage({{ to: 'commands', ask: -1, name: '{name}', args: {arguments} }})")

    shows(f"shown.tasks.some(({{ taskId }}) => taskId === '{task}')")
    ask("changeSettings", "{ power: 1, pauseWhenHot: false }")
    ask("consent", f"{{ taskId: '{task}', give: true }}")
    ask("start", "{}")
    shows("shown.total.done > 0")
    assert devtools.evaluate(tab, "document.visibilityState") == "visible"
    visible_chunks, visible_ticks = devtools.evaluate(tab, COUNT)

    other = devtools.call("Target.createTarget", url="about:blank")["targetId"]
    devtools.call("Target.activateTarget", targetId=other)
    shows("document.visibilityState === 'hidden'")
    hidden_chunks, hidden_ticks = devtools.evaluate(tab, COUNT)
    print(f"visible {visible_chunks} chunks, {visible_ticks} ticks; hidden {hidden_chunks}, {hidden_ticks}")

    # The browser does slow down the page's own timers, so there was something to be immune against.
    assert hidden_ticks < visible_ticks / 10
    assert hidden_chunks > visible_chunks / 3
