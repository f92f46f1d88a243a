"""A headless Chromium with a fresh profile, driven over its DevTools protocol: for the demo and the benchmarks.

    with chromium(folder) as browser:                    a process; its profile is gone with it
        async with browser.devtools() as devtools:       one WebSocket on loopback
            tab = await devtools.open(address)
            await tab.evaluate("document.title")

Tabs in the background are slowed down as they are for people.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from crowdcompute.node.exits import CommandError, Exit

from .local_network import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--remote-debugging-port=0",
    # Other peers keep this machine busy on purpose, which browsers take for heat, for which a page would pause.
    "--disable-blink-features=ComputePressure",
)
START_WITHIN_S = 60.0
LOOK_AGAIN_S = 0.05
END_WITHIN_S = 3.0


def find() -> str:
    """The browser's executable.

    Raises:
        CommandError: There is none.
    """
    for name in NAMES:
        path = shutil.which(name)
        if path is not None:
            return path
    raise CommandError(
        "there is no Chromium or Chrome on the PATH: install one (Debian: apt-get install chromium)", Exit.NOT_READY
    )


def check_page(url: str) -> None:
    """See that a signaling server serves the built page and not only the words that stand in for it.

    Raises:
        CommandError: It does not.
    """
    try:
        # Without the proxies of the environment: it is on this machine.
        build_opener(ProxyHandler({})).open(f"{url}/sandbox.html", timeout=START_WITHIN_S).close()
    except URLError:
        raise CommandError(
            "the web page is not built, so a browser could not compute: run `make page` first", Exit.NOT_READY
        ) from None


@contextlib.contextmanager
def chromium(folder: Path, *flags: str) -> Iterator[Chromium]:
    """Start a browser whose profile lies in `folder`; it has ended when the block has.

    Raises:
        CommandError: There is no browser on this machine.
    """
    executable = find()
    # Its own sandbox does not start for root, whom containers run everything as. It opens our page and nothing else.
    outer = ("--no-sandbox",) if os.geteuid() == 0 else ()
    # Helper processes may still write while the profile is removed.
    with tempfile.TemporaryDirectory(prefix="browser-", dir=folder, ignore_cleanup_errors=True) as profile:
        log = Path(profile) / "log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                [executable, *FLAGS, *outer, *flags, f"--user-data-dir={profile}", "about:blank"],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                # A family of processes: they are ended together.
                start_new_session=True,
            )
        try:
            yield Chromium(process, Path(profile), log)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_WITHIN_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@dataclass(frozen=True, slots=True)
class Chromium:
    """A browser's process."""

    process: subprocess.Popen[bytes]
    profile: Path
    log: Path

    def check(self) -> None:
        """Raise if the browser has ended by itself."""
        if self.process.poll() is not None:
            said = self.log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise CommandError(f"the browser ended by itself: {said[-1]}")

    @contextlib.asynccontextmanager
    async def devtools(self) -> AsyncIterator[Devtools]:
        """Drive it; it closes when the block ends.

        Raises:
            CommandError: It ended, or does not listen.
        """
        port, path = await self._listening()
        try:
            socket = await connect(f"ws://{LOOPBACK}:{port}{path}", max_size=None, proxy=None, compression=None)
        except (OSError, WebSocketException) as error:
            raise CommandError(f"the browser does not answer: {error}") from None
        async with socket:
            devtools = Devtools(socket)
            try:
                yield devtools
            finally:
                await self._closed(devtools)
                await devtools.close()

    async def _closed(self, devtools: Devtools) -> None:
        # Asked to by a signal, it would leave a folder of its own outside the profile.
        with contextlib.suppress(CommandError, subprocess.TimeoutExpired):
            await devtools.call("Browser.close")
            await asyncio.to_thread(self.process.wait, END_WITHIN_S)

    async def _listening(self) -> tuple[str, str]:
        """Port and path that it says it listens on, once it does."""
        deadline = time.monotonic() + START_WITHIN_S
        place = self.profile / "DevToolsActivePort"
        while not (place.exists() and "\n" in (said := place.read_text())):
            self.check()
            if time.monotonic() > deadline:
                raise CommandError(f"the browser did not start within {START_WITHIN_S:.0f} s")
            await asyncio.sleep(LOOK_AGAIN_S)
        port, path = said.split()
        return port, path


class Devtools:
    """As much of the Chrome DevTools Protocol as this needs."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read())

    async def call(self, method: str, session: str | None = None, /, **params: Any) -> dict[str, Any]:
        """Have a method performed, by the browser or in the session of a tab.

        Raises:
            CommandError: The browser refused, or is gone.
        """
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        answered = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            await self._socket.send(json.dumps(message))
            answer = await answered
        except ConnectionClosed:
            raise CommandError("the browser is gone") from None
        finally:
            del self._answers[number]
        if "error" in answer:
            raise CommandError(f"the browser refused {method}: {answer['error']['message']}")
        result = answer["result"]
        assert isinstance(result, dict)
        return result

    async def new_profile(self) -> str:
        """A profile of its own, as another person's browser has: its id."""
        return str((await self.call("Target.createBrowserContext"))["browserContextId"])

    async def open(self, address: str, *, profile: str | None = None, script: str = "") -> Tab:
        """Open a tab; `script` runs in each of its documents before anything else does."""
        within = {} if profile is None else {"browserContextId": profile}
        target = (await self.call("Target.createTarget", url="about:blank", **within))["targetId"]
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        tab = Tab(self, str(target), str(session))
        await tab.call("Page.enable")
        if script:
            await tab.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        await tab.go(address)
        return tab

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                message = json.loads(await self._socket.recv())
                answered = self._answers.get(message.get("id"))
                if answered is not None and not answered.done():
                    answered.set_result(message)
        for answered in self._answers.values():
            if not answered.done():
                answered.set_exception(CommandError("the browser is gone"))


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab."""

    devtools: Devtools
    target: str
    session: str

    async def call(self, method: str, /, **params: Any) -> dict[str, Any]:
        return await self.devtools.call(method, self.session, **params)

    async def go(self, address: str) -> None:
        await self.call("Page.navigate", url=address)

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page, once it is there if it is a promise.

        Raises:
            CommandError: It threw, or the page is gone.
        """
        answer = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise CommandError(f"the page says: {details.get('exception', details).get('description', details)}")
        return answer["result"].get("value")

    async def press(self, name: str) -> None:
        """Press the button of that name as soon as the page shows it."""
        await self.evaluate(_PRESS.replace("NAME", json.dumps(name)))

    async def close(self) -> None:
        """Close it as a person does."""
        await self.devtools.call("Target.closeTarget", targetId=self.target)


_PRESS = """
new Promise((resolve) => {
  const press = () => {
    const button = [...document.querySelectorAll("button")].find(({ textContent }) => textContent.trim() === NAME);
    if (button === undefined) return;
    watching.disconnect();
    button.click();
    resolve();
  };
  const watching = new MutationObserver(press);
  watching.observe(document, { childList: true, subtree: true });
  press();
})
"""
