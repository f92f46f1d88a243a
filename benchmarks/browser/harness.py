"""What all of it is measured with: networks of one creator, tabs that say what they do, rows of the report."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.network import COLLATZ_STEP
from msgspec import structs

from crowdcompute.creator.local_network import LOOPBACK
from crowdcompute.creator.session import DISK_BYTES, Creator, online
from crowdcompute.node import keys
from crowdcompute.node.home import open_home
from crowdcompute.protocol.bundle import read_bundle, write_bundle
from crowdcompute.protocol.identity import verify
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.manifest import Limits, Policy, sign_manifest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from crowdcompute.creator.chromium import Devtools, Tab
    from crowdcompute.node.runtime import Runtime
    from crowdcompute.protocol.bundle import Bundle
    from crowdcompute.protocol.creator import CreatorRole
    from crowdcompute.protocol.events import Notice


ROOT = Path(__file__).parents[2]
COLLATZ_FILE = ROOT / "examples" / "collatz" / "collatz.wasm"
COLLATZ_BULK = 100 * COLLATZ_STEP
"""Numbers in a chunk that takes some milliseconds, as chunks of real tasks do."""
WITHIN_S = 120.0
"""Nothing here takes a tenth of it; it only keeps a broken run from waiting for ever."""
NATIVE_ROUNDS = 1
"""What stands beside a number need not be known as well as the number."""


@dataclass
class Row:
    """One number, its goal, and what stands beside it from the same run."""

    what: str
    value: float
    unit: str
    goal: str = ""
    beside: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Place:
    """One signaling server, and a network of its own for each thing measured."""

    folder: Path
    url: str
    networks: int = 0

    @asynccontextmanager
    async def network(self, on_notice: Callable[[Notice], None] = lambda notice: None) -> AsyncIterator[Network]:
        self.networks += 1
        link = JoinLink(self.url, f"bench-{self.networks}")
        folder = self.folder / link.network
        folder.mkdir()
        with open_home(folder / "creator", disk_bytes=DISK_BYTES) as home:
            creator = Creator(home, keys.create(folder / "creator.key"))
            async with online(creator, link, hosts=(LOOPBACK,), on_notice=on_notice) as runtime:
                yield Network(folder, link, creator, runtime)


@dataclass
class Network:
    """A network with its native creator, who is this process."""

    folder: Path
    link: JoinLink
    creator: Creator
    runtime: Runtime

    def publish(self, bundle: Bundle) -> CreatorRole:
        self.creator.store_bundle(bundle)
        self.runtime.publish(bundle.signed)
        return self.runtime.peer.creators[bundle.task_id]

    def join(self, bundle: Bundle | None = None) -> str:
        return str(JoinLink(self.link.base_url, self.link.network, None if bundle is None else bundle.task_id))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not condition():
                await self.runtime.changed()


def with_terms(creator: Creator, bundle: Bundle, *, replication: int, seconds: float) -> Bundle:
    """The same work under other terms."""
    manifest = structs.replace(
        bundle.manifest,
        limits=Limits(memory_bytes=1 << 20, output_bytes=1 << 10, seconds=seconds),
        policy=Policy(replication=replication, eps=0.5, liars=0.2, pow_bits=8),
    )
    return read_bundle(write_bundle(sign_manifest(creator.identity, manifest), bundle.blobs), verify)


HEAR_THE_PEER = """
(() => {
  const Real = Worker;
  window.shown = null;
  window.Worker = class extends Real {
    constructor(...args) {
      super(...args);
      if (args[1]?.name !== "peer") return;
      window.peer = this;
      this.addEventListener("message", ({ data }) => {
        if (data.to === "screens") window.shown = data.snapshot;
        if (data.to === "screens" || data.to === "asker") dispatchEvent(new Event("heard"));
      });
    }
  };
})();
"""
"""Keeps what the page's peer tells its screens where we can look; the page that is shipped has no such thing."""

TICK = "window.ticks = 0; setInterval(() => window.ticks++, 10);"


@dataclass(frozen=True)
class Page:
    """A tab, and what its peer last told the screens."""

    tab: Tab

    @classmethod
    async def open(cls, devtools: Devtools, address: str, *, profile: str | None = None, script: str = "") -> Page:
        """Open an address in a profile that exists, or in a new one."""
        profile = profile or await devtools.new_profile()
        return cls(await devtools.open(address, profile=profile, script=HEAR_THE_PEER + script))

    async def until(self, condition: str) -> dict[str, Any]:
        """What the screens are told once an expression over `shown` is true of it."""
        async with asyncio.timeout(WITHIN_S):
            shown = await self.tab.evaluate(
                f"""new Promise((resolve) => {{
                    const look = () => {{
                        if (!window.shown || !({condition})) return;
                        removeEventListener("heard", look);
                        resolve(shown);
                    }};
                    addEventListener("heard", look);
                    look();
                }})"""
            )
        assert isinstance(shown, dict)
        return shown

    async def ask(self, name: str, **arguments: Any) -> None:
        message = json.dumps({"to": "commands", "ask": -1, "name": name, "args": arguments})
        await self.tab.evaluate(f"peer.postMessage({message})")

    async def agree(self, bundle: Bundle, *, start: bool = True) -> None:
        """Say yes to a task at full power on one core, and start."""
        task = bundle.task_id.hex()
        await self.until(f"shown.tasks.some(({{ taskId }}) => taskId === '{task}')")
        await self.ask("changeSettings", power=1, slots=1)
        await self.ask("consent", taskId=task, give=True)
        if start:
            await self.ask("start")

    async def done_in(self, seconds: float) -> tuple[float, float]:
        """Chunks done here, and ticks of the page's own timer, a second, over about that time."""
        done, ticks = await self.tab.evaluate(
            f"""new Promise((resolve) => {{
                const [begunMs, done, ticks] = [performance.now(), shown.total.done, window.ticks];
                const perSecond = (count) => (count * 1000) / (performance.now() - begunMs);
                addEventListener("heard", function look() {{
                    if (performance.now() - begunMs < {1_000 * seconds}) return;
                    removeEventListener("heard", look);
                    resolve([perSecond(shown.total.done - done), perSecond(window.ticks - ticks)]);
                }});
            }})"""
        )
        return done, ticks


NO_SPARE = "--disable-features=SpareRendererForSitePerProcess"
"""No process in reserve for the next page: every renderer is one of the pages there are."""


async def renderers(devtools: Devtools) -> set[int]:
    """Processes that hold pages."""
    processes = (await devtools.call("SystemInfo.getProcessInfo"))["processInfo"]
    return {int(process["id"]) for process in processes if process["type"] == "renderer"}
