"""Real Chromium on the real page: tabs that a person could have open, beside the nodes of tests/interop/conftest.py.

    tab = tabs.open(join)                a tab of its own profile, on the join link
    tab.consent("Deep zoom")             say yes on the consent card, which starts it
    tab.until("…", lambda shown: …)      wait until the page's state is so

Tests look at what the peer's Worker posts to the screens, and ask it what the screens ask, from outside: an init
script keeps the Worker that the page makes. Nothing of this is in the page that is shipped.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "web_peer" / "dist" / "index.html"
PICTURES = ROOT / "out" / "screens"

WITHIN_MS = 60_000
"""Nothing here takes a tenth of it; it only keeps a broken test from waiting for ever."""

FLAGS = (
    "--no-sandbox",  # CI runs as root in a container, where Chromium's own sandbox cannot start.
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A name without https, as a LAN's machines have: browsers do not trust such a page with their keys.
    "--host-resolver-rules=MAP lan.test 127.0.0.1",
)
EXPECTED = (
    "WebSocket connection",
    "net::ERR_CONNECTION_",
    "An unknown error occurred when fetching the script.",
    "Cross-Origin-Opener-Policy header has been ignored",
)
"""What Chromium itself logs of a server that a test has stopped, and of plain http."""

PHONE, DESKTOP = (390, 844), (1440, 900)

KEEP_THE_WORKER = """
(() => {
  const Real = Worker;
  window.shown = null;
  window.Worker = class extends Real {
    constructor(...args) {
      super(...args);
      if (args[1]?.name !== "peer") return;
      window.peer = this;
      let asks = -1;
      const asked = new Map();
      this.addEventListener("message", ({ data }) => {
        if (data.to === "screens") {
          window.shown = data.snapshot;
          window.dispatchEvent(new Event("shown"));
        }
        if (data.to === "asker" && asked.has(data.ask)) {
          const { resolve, reject } = asked.get(data.ask);
          asked.delete(data.ask);
          data.error === null ? resolve(data.answer) : reject(new Error(data.error));
        }
      });
      window.ask = (name, args) => new Promise((resolve, reject) => {
        asked.set(--asks, { resolve, reject });
        this.postMessage({ to: "commands", ask: asks, name, args });
      });
    }
  };
})();
"""


@dataclass
class Tab:
    """One tab and everything that went wrong in it."""

    page: Page
    context: BrowserContext
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(WITHIN_MS)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        # A page that computes asks whether to leave: yes.
        self.page.on("dialog", lambda dialog: dialog.accept())
        self.page.on("console", lambda message: self._heard(message.type, message.text))

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error" and not any(expected in text for expected in EXPECTED):
            self.errors.append(text)

    @property
    def shown(self) -> dict[str, Any]:
        """What the screens were last told."""
        snapshot = self.page.evaluate("window.shown")
        assert isinstance(snapshot, dict)
        return snapshot

    @property
    def peer_id(self) -> str:
        return str(self.until("shown")["peerId"])

    def until(self, condition: str) -> dict[str, Any]:
        """Wait until a JavaScript expression over `shown`, what the screens were last told, is true."""
        # Not `wait_for_function`: it evaluates text in the page, which the page's policy forbids.
        came = self.page.evaluate(
            f"""() => new Promise((resolve) => {{
                const look = () => {{
                    const shown = window.shown;
                    if (shown !== null && ({condition})) resolve(true);
                }};
                addEventListener("shown", look);
                setTimeout(() => resolve(false), {WITHIN_MS});
                look();
            }})"""
        )
        assert came, f"never: {condition}\n{self.page.evaluate('window.shown')}\n{self.errors}"
        return self.shown

    def ask(self, name: str, /, **arguments: Any) -> Any:
        """Ask the peer what a screen could ask."""
        return self.page.evaluate("([name, args]) => window.ask(name, args)", [name, arguments])

    def task(self, task_id: str) -> dict[str, Any]:
        return next(task for task in self.shown["tasks"] if task["taskId"] == task_id)

    def has_task(self, task_id: str) -> None:
        self.until(f"shown.tasks.some((task) => task.taskId === '{task_id}')")

    def works_for(self, task_id: str) -> None:
        """Consent to a task and start, as the consent card does."""
        self.has_task(task_id)
        # A machine that runs all these tests is a busy one, and half the power only takes twice as long.
        self.ask("changeSettings", pauseWhenHot=False, power=1)
        self.ask("consent", taskId=task_id, give=True)
        self.ask("start")

    def pictures(self, name: str) -> Iterator[tuple[int, int]]:
        """Keep the screen as a phone and as a desktop show it; the sizes, each while it is shown."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        for width, height in (PHONE, DESKTOP):
            self.page.set_viewport_size({"width": width, "height": height})
            self.page.screenshot(path=PICTURES / f"{name}-{width}x{height}.png", full_page=True)
            yield width, height

    def close(self) -> None:
        """Close the tab as a person does; what it stored is gone with its profile."""
        self.context.close()


@dataclass
class Tabs:
    """Tabs, each of a profile of its own: another person's browser."""

    browser: Browser
    opened: list[Tab] = field(default_factory=list)

    def open(self, address: str, *, script: str = "") -> Tab:
        """Open an address; `script` is what a person with developer tools does to their own page."""
        context = self.browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
        context.add_init_script(KEEP_THE_WORKER)
        if script:
            context.add_init_script(script)
        return self.in_context(context, address)

    def in_context(self, context: BrowserContext, address: str) -> Tab:
        tab = Tab(context.new_page(), context)
        self.opened.append(tab)
        tab.page.goto(address)
        return tab

    def close(self) -> None:
        """Close every tab, and fail if anything went wrong in one."""
        try:
            self.check()
        finally:
            for tab in self.opened:
                tab.close()

    def check(self) -> None:
        errors = [error for tab in self.opened for error in tab.errors]
        assert not errors, errors


@pytest.fixture(scope="module")
def chromium(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Chromium, with the `MORE_FLAGS` of the file."""
    # One for each file: while Playwright runs, no other test of this thread could have an event loop.
    executable = shutil.which("chromium")
    if executable is None:
        pytest.fail("there is no Chromium: apt-get install chromium")
    if not PAGE.exists():
        pytest.fail("the page is not built: python web_peer/build_page.py builds it, and so does make test")
    with sync_playwright() as playwright:
        more = getattr(request.module, "MORE_FLAGS", ())
        browser = playwright.chromium.launch(executable_path=executable, args=[*FLAGS, *more])
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture
def tabs_on(tmp_path: Path) -> Iterator[Callable[[Any], Tabs]]:
    """Chromium on a machine of a lab (tests/interop/namespaces.py), driven from this one through a pipe."""
    with contextlib.ExitStack() as stack:

        def launch(machine: Any) -> Tabs:
            executable = shutil.which("chromium")
            if executable is None:
                pytest.fail("there is no Chromium: apt-get install chromium")
            there = tmp_path / "chromium-there"
            there.write_text(f'#!/bin/sh\nexec {shlex.join(machine.prefix)} {executable} "$@"\n')
            there.chmod(0o755)
            playwright = stack.enter_context(sync_playwright())
            browser = playwright.chromium.launch(executable_path=there, args=list(FLAGS))
            stack.callback(browser.close)
            tabs = Tabs(browser)
            stack.callback(tabs.close)
            return tabs

        yield launch


@pytest.fixture
def tabs(chromium: Browser) -> Iterator[Tabs]:
    tabs = Tabs(chromium)
    try:
        yield tabs
    finally:
        tabs.close()
