"""Headless Firefox, driven by what it speaks itself: WebDriver BiDi, JSON over a WebSocket, with nothing in between.

    with firefox(folder) as browser:             a process and a profile of its own
        tab = browser.open(address, before=…)    a tab in a container of its own: another person's storage
        tab.call("(a, b) => a + b", 1, 2)        a function in the page; its promise is waited for
        tab.press("Start")                       a mouse on a button, as a person has
        tab.close()

Every command is sent and answered in the caller's thread. What pages report meanwhile is kept in `Tab.errors`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.sync.client import ClientConnection

ANSWER_WITHIN_S = 90.0
"""Longer than any wait within a page; it only keeps a browser that hangs from hanging the tests."""
ENDS_WITHIN_S = 20.0

PROMPTS = {"default": "accept"}

EXPECTED = (
    "can’t establish a connection to the server",
    "The connection to",
    "Cross-Origin-Opener-Policy header has been ignored",
)
"""What Firefox itself logs of a server that a test has stopped, and of plain http."""


class FirefoxError(AssertionError):
    """Firefox refused a command, or a function threw in the page."""


def find() -> str | None:
    """The Firefox of this machine."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


@contextmanager
def firefox(profile: Path, **preferences: object) -> Iterator[Firefox]:
    """A running Firefox. `preferences` are named as in about:config, with `__` for the dots."""
    executable = find()
    assert executable is not None
    lines = (
        f"user_pref({json.dumps(name.replace('__', '.'))}, {json.dumps(value)});\n"
        for name, value in preferences.items()
    )
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "user.js").write_text("".join(lines))
    # Port 0 is any free one. The switch also turns off what a browser does at home: updates, reports, first pages.
    command = [executable, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        # Its profile is all it may touch of the person's who runs the tests.
        env={**os.environ, "HOME": str(profile), "MOZ_CRASHREPORTER_DISABLE": "1"},
    )
    assert process.stderr is not None
    try:
        with connect(f"{_address(process.stderr)}/session", max_size=None, proxy=None) as websocket:
            browser = Firefox(websocket)
            # A page that computes asks whether to leave it: yes.
            browser.command("session.new", capabilities={"alwaysMatch": {"unhandledPromptBehavior": PROMPTS}})
            browser.command("session.subscribe", events=["log.entryAdded"])
            yield browser
            browser.command("browser.close")
        process.wait(ENDS_WITHIN_S)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def _address(stderr: Any) -> str:
    said = ""
    for line in stderr:
        said += line
        if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", line):
            return found[1]
    raise FirefoxError(f"Firefox did not start:\n{said}")


@dataclass
class Firefox:
    """One session, which ends with its browser."""

    websocket: ClientConnection
    tabs: list[Tab] = field(default_factory=list)
    _commands: int = 0

    def open(self, address: str, *, before: str = "") -> Tab:
        """Open an address in a new container; `before` are statements that run before the page's own scripts."""
        container = self.command("browser.createUserContext")["userContext"]
        opened = self.command("browsingContext.create", type="tab", userContext=container)
        tab = Tab(self, container, opened["context"])
        if before:
            # It also runs in documents that are going: the empty one before the page, which may have no window by then,
            # and the one before a reload, whose `window` is already the new page's, where a class of that realm cannot
            # start a Worker. Nor may it look at the arguments that Firefox calls it with (`apply(this, …)`): an `apply`
            # of our own does not.
            is_going = "document.URL === 'about:blank' || document !== window.document"
            function = f"{{ apply() {{ if ({is_going}) return; {before} }} }}"
            self.command("script.addPreloadScript", functionDeclaration=function, contexts=[tab.context])
        self.tabs.append(tab)
        self.command("browsingContext.navigate", context=tab.context, url=address, wait="complete")
        return tab

    def command(self, method: str, **params: object) -> dict[str, Any]:
        """Send one command and wait for its result.

        Raises:
            FirefoxError: It was refused.
        """
        self._commands += 1
        self.websocket.send(json.dumps({"id": self._commands, "method": method, "params": params}))
        while True:
            message = json.loads(self.websocket.recv(ANSWER_WITHIN_S))
            if message["type"] == "event":
                self._heard(message["params"])
            elif message["id"] == self._commands:
                break
        if message["type"] == "error":
            raise FirefoxError(f"{method}: {message['error']}: {message['message']}")
        result: dict[str, Any] = message["result"]
        return result

    def _heard(self, entry: dict[str, Any]) -> None:
        text = entry["text"] or ""
        if entry["level"] != "error" or any(expected in text for expected in EXPECTED):
            return
        for tab in self.tabs:
            if tab.context == entry["source"].get("context"):
                tab.errors.append(text)


@dataclass
class Tab:
    """One tab and everything that went wrong in it."""

    browser: Firefox
    container: str
    context: str
    errors: list[str] = field(default_factory=list)

    def call(self, function: str, *arguments: object) -> Any:
        """What a function of the page's own world returns for `arguments`, both as JSON has them.

        Raises:
            FirefoxError: It threw.
        """
        # JSON within JSON, because BiDi's own notation of values has a type for each.
        text = f"async (given) => JSON.stringify(await ({function})(...JSON.parse(given)))"
        answer = self.browser.command(
            "script.callFunction",
            functionDeclaration=text,
            arguments=[{"type": "string", "value": json.dumps(arguments)}],
            awaitPromise=True,
            target={"context": self.context},
        )
        if answer["type"] == "exception":
            raise FirefoxError(answer["exceptionDetails"]["text"])
        value = answer["result"].get("value")
        return None if value is None else json.loads(value)

    def press(self, label: str) -> None:
        """Put the mouse on the one button with this text, and press."""
        locator = {"type": "xpath", "value": f"//button[normalize-space()={json.dumps(label)}]"}
        (button,) = self.browser.command("browsingContext.locateNodes", context=self.context, locator=locator)["nodes"]
        self.call_on(button, "(button) => button.scrollIntoView()")
        origin = {"type": "element", "element": {"sharedId": button["sharedId"]}}
        actions: list[dict[str, object]] = [
            {"type": "pointerMove", "x": 0, "y": 0, "origin": origin},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        mouse = {"type": "pointer", "id": "mouse", "actions": actions}
        self.browser.command("input.performActions", context=self.context, actions=[mouse])

    def call_on(self, node: dict[str, Any], function: str) -> None:
        self.browser.command(
            "script.callFunction",
            functionDeclaration=function,
            arguments=[{"sharedId": node["sharedId"]}],
            awaitPromise=False,
            target={"context": self.context},
        )

    def frame(self, path: str) -> Tab:
        """The document of this path in the tab, to be called into only."""
        (tab,) = self.browser.command("browsingContext.getTree", root=self.context)["contexts"]
        (frame,) = (child for child in tab["children"] if urlsplit(child["url"]).path == path)
        return Tab(self.browser, self.container, frame["context"])

    def reload(self) -> None:
        self.browser.command("browsingContext.reload", context=self.context, wait="complete")

    def close(self) -> None:
        """Close the tab as a person does."""
        self.browser.command("browsingContext.close", context=self.context)
        self.browser.tabs.remove(self)
