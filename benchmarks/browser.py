"""The page in a real Chromium: how soon it helps, how fast it computes, what it costs, and what happens to its work.

    python benchmarks/browser.py            about three minutes; --quick for a look at whether it runs

Everything is real and on loopback: a signaling server, a native creator in this process, native nodes, and tabs of a
headless Chromium, each with a profile of its own, driven over the browser's own protocol and not by a test tool, which
would switch off what browsers do to tabs in the background. What a number should be compared with is measured in the
same run: native nodes in the same network, plain Node with the same module, an empty tab.

A first verified result is a chunk that this page has voted on since its link was opened and that the creator has
accepted, with another worker's equal vote (replication 2), seen by the creator. The person's own thinking is not in it:
Start is pressed the moment it is there.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.request import ProxyHandler, Request, build_opener

import uvloop
from msgspec import structs

from crowdcompute.creator.chromium import Chromium, Devtools, Tab, check_page, chromium
from crowdcompute.creator.local_network import LOOPBACK, signaling_server, volunteer
from crowdcompute.creator.session import DISK_BYTES, Creator, online
from crowdcompute.node import keys
from crowdcompute.node.home import open_home
from crowdcompute.protocol.bundle import read_bundle, write_bundle
from crowdcompute.protocol.events import Notable
from crowdcompute.protocol.identity import peer_id_of, verify
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.manifest import Limits, Policy, sign_manifest
from crowdcompute.protocol.session import SessionState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from benchmarks.network import COLLATZ_STEP, NO_OP, make_bundle, measure

    from crowdcompute.node.runtime import Runtime
    from crowdcompute.protocol.bundle import Bundle
    from crowdcompute.protocol.creator import CreatorRole
    from crowdcompute.protocol.events import Notice
    from crowdcompute.protocol.identity import PeerId
else:
    from network import COLLATZ_STEP, NO_OP, make_bundle, measure

ROOT = Path(__file__).parents[1]
COLLATZ_FILE = ROOT / "examples" / "collatz" / "collatz.wasm"
COLLATZ_BULK = 100 * COLLATZ_STEP
"""Numbers in a chunk that takes some milliseconds, as chunks of real tasks do."""
WITHIN_S = 120.0
"""Nothing here takes a tenth of it; it only keeps a broken run from waiting for ever."""
TABS = 2
NATIVE_ROUNDS = 1
"""What stands beside a number need not be known as well as the number."""


@dataclass(frozen=True)
class Sizes:
    joins: int
    no_op_chunks: int
    collatz_chunks: int
    bulk_chunks: int
    kills: int
    watched_s: float
    """How long an idle page, and a page visible or hidden, is watched."""


FULL = Sizes(joins=5, no_op_chunks=30_000, collatz_chunks=30_000, bulk_chunks=2_000, kills=2, watched_s=8.0)
QUICK = Sizes(joins=1, no_op_chunks=4_000, collatz_chunks=4_000, bulk_chunks=200, kills=1, watched_s=2.0)


@dataclass
class Row:
    """One number, its goal, and what stands beside it from the same run."""

    what: str
    value: float
    unit: str
    goal: str = ""
    beside: Mapping[str, float] = field(default_factory=dict)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--quick", action="store_true", help="small sizes: shows that it runs, measures little")
    arguments.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "browser.json")
    options = arguments.parse_args()
    sizes = QUICK if options.quick else FULL
    collatz = COLLATZ_FILE.read_bytes()
    # Before anything else runs here.
    alone = node_alone(1_000_000 // (10 if options.quick else 1))
    native = {
        "no-op": measure("no-op", NO_OP, sizes.no_op_chunks, 1)[0],
        "collatz": measure("collatz", collatz, sizes.collatz_chunks, COLLATZ_STEP)[0],
        "collatz bulk": measure("collatz bulk", collatz, sizes.bulk_chunks, COLLATZ_BULK)[0],
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cc-bench-")))
        server = stack.enter_context(signaling_server(folder))
        check_page(server["url"])
        place = Place(folder, server["url"])
        rows, browser_version = uvloop.run(in_browsers(place, sizes, native, alone))
    print(f"\n{'what':58} {'':>11} {'':14} {'goal':>9}  beside it, in the same run")
    for row in rows:
        beside = ", ".join(f"{name} {shown(value)}" for name, value in row.beside.items())
        print(f"{row.what:58} {shown(row.value):>11} {row.unit:14} {row.goal:>9}  {beside}")
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "browser": browser_version,
        "node": alone["version"] if alone else None,
        "aiortc": version("aiortc"),
        "rows": [asdict(row) for row in rows],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=2) + "\n")


def shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"


async def in_browsers(
    place: Place, sizes: Sizes, native: dict[str, Any], alone: dict[str, Any]
) -> tuple[list[Row], str]:
    rows: list[Row] = []

    def add(found: Iterable[Row]) -> None:
        for row in found:
            rows.append(row)
            print(f"{row.what}: {shown(row.value)} {row.unit}", flush=True)

    with chromium(place.folder) as browser:
        async with browser.devtools() as devtools:
            add(await first_load(place, devtools))
            add(await joins(place, devtools, sizes.joins))
            collatz = COLLATZ_FILE.read_bytes()
            add(await no_op(place, devtools, sizes, native["no-op"]))
            for name, chunks, items in (
                ("collatz", sizes.collatz_chunks, COLLATZ_STEP),
                ("collatz bulk", sizes.bulk_chunks, COLLATZ_BULK),
            ):
                computed = await two_tabs(place, devtools, name, collatz, chunks, items)
                add(collatz_rows(computed, native[name], alone))
            add(await hidden(place, devtools, sizes.watched_s))
            add(await kills(place, devtools, sizes.kills))
            browser_version = str((await devtools.call("Browser.getVersion"))["product"])
    add(await idle(place, sizes.watched_s))
    return rows, browser_version


# ---- networks and tabs


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


# ---- the first load


async def first_load(place: Place, devtools: Devtools) -> list[Row]:
    """Bytes that come over the wire until the page stands and its peer is connected."""
    async with place.network() as network:
        page = await Page.open(devtools, network.join())
        await page.until("shown.signaling === 'connected'")
        loaded = await page.tab.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
        addresses = {str(address) for address in loaded} | {network.join().partition("#")[0]}
        await page.tab.close()
    # The page fetches the rest in the background, once it has nothing better to do.
    worker = {address for address in addresses if "peer.worker" in address}
    first, first_raw = on_the_wire(addresses - worker)
    of_worker, worker_raw = on_the_wire(worker)
    of_sandbox, sandbox_raw = on_the_wire({f"{place.url}/sandbox.html"})
    return [
        Row("first load, the page", first / 1e3, "kB gzip", "60", {"uncompressed": first_raw / 1e3}),
        Row("first load, the peer's Worker", of_worker / 1e3, "kB gzip", "", {"uncompressed": worker_raw / 1e3}),
        Row(
            "before the first chunk, the sandbox", of_sandbox / 1e3, "kB gzip", "", {"uncompressed": sandbox_raw / 1e3}
        ),
    ]


def on_the_wire(addresses: set[str]) -> tuple[int, int]:
    """Bytes of the bodies as a browser is sent them, and as they are."""
    # Without the proxies of the environment: it is on this machine.
    opener = build_opener(ProxyHandler({}))
    sent = content = 0
    for address in addresses:
        with opener.open(Request(address, headers={"Accept-Encoding": "gzip"})) as answer:
            body = answer.read()
            sent += len(body)
            content += len(gzip.decompress(body) if answer.headers.get("Content-Encoding") == "gzip" else body)
    return sent, content


# ---- from the link to the first verified result


class Verified:
    """When which chunk was accepted, by whose votes: told by the creator's runtime, in this process."""

    def __init__(self) -> None:
        self.role: CreatorRole | None = None
        self.accepted: list[tuple[float, int, tuple[bytes, ...]]] = []

    def heard(self, notice: Notice) -> None:
        if notice.what is Notable.CHUNK_ACCEPTED and self.role is not None and notice.chunk is not None:
            agreed = self.role.result(notice.chunk).agreed
            self.accepted.append((time.monotonic(), notice.chunk, agreed))

    def first(self, peer_id: PeerId, since: float, before: set[int]) -> float | None:
        """When a chunk was first accepted by a vote of that peer that is none of those `before`."""
        for at, chunk, agreed in self.accepted:
            if at > since and chunk not in before and any(peer_id_of(worker) == peer_id for worker in agreed):
                return at
        return None

    def voted(self, peer_id: PeerId) -> set[int]:
        """Chunks the peer has voted on so far."""
        assert self.role is not None
        ledger = self.role.ledger
        return {
            chunk
            for chunk in range(ledger.manifest.chunks)
            if any(peer_id_of(worker) == peer_id for worker in ledger.voters(chunk))
        }


async def joins(place: Place, devtools: Devtools, rounds: int) -> list[Row]:
    """Cold: a profile that has never seen the page. Warm: the same person comes back to the same link."""
    verified = Verified()
    cold: list[float] = []
    asked: list[float] = []
    voted: list[float] = []
    warm: list[float] = []
    native: list[float] = []
    with ExitStack() as nodes:
        async with place.network(verified.heard) as network:
            # About 20 ms a chunk: a task that needs more people than came.
            bundle = make_bundle(network.creator, "collatz", COLLATZ_FILE.read_bytes(), 20_000, 100_000)
            role = verified.role = network.publish(bundle)
            nodes.enter_context(volunteer(network.folder, "node", network.join()))
            await network.until(lambda: len(role.ledger.admits) > 0)

            async def result_of(peer_id: PeerId, since: float, before: set[int]) -> float:
                await network.until(lambda: verified.first(peer_id, since, before) is not None)
                at = verified.first(peer_id, since, before)
                assert at is not None
                return at - since

            for number in range(rounds):
                profile = await devtools.new_profile()
                opened = time.monotonic()
                page = await Page.open(devtools, network.join(bundle), profile=profile)
                await page.tab.press("Start")
                asked.append(time.monotonic() - opened)
                peer_id = (await page.until("shown.total.done > 0"))["peerId"]
                voted.append(time.monotonic() - opened)
                cold.append(await result_of(peer_id, opened, set()))
                # The browser keeps the page for the next time in the background.
                await page.tab.close()
                await network.until(lambda gone=peer_id: gone not in network.runtime.peer.neighbours)  # type: ignore[misc]

                before = verified.voted(peer_id)
                opened = time.monotonic()
                page = await Page.open(devtools, network.join(bundle), profile=profile)
                warm.append(await result_of(peer_id, opened, before))
                await devtools.call("Target.disposeBrowserContext", browserContextId=profile)

                if number < NATIVE_ROUNDS:
                    started = time.monotonic()
                    with volunteer(network.folder, f"newcomer-{number}", network.join()) as newcomer:
                        native.append(await result_of(newcomer.peer_id, started, set()))
    steps = {"asked": median(asked), "has voted": median(voted)}
    beside = {"slowest": max(cold), **steps, "cc-node from its start": median(native)}
    return [
        Row("link opened to first verified result, cold profile", median(cold), "s", "< 1.7", beside),
        Row("link opened to first verified result, warm profile", median(warm), "s", "< 1.7", {"slowest": max(warm)}),
    ]


# ---- computing


@dataclass
class Computed:
    """A task that two tabs have computed, every chunk twice."""

    name: str
    items: int
    chunks_per_s: float
    votes_per_chunk: float
    items_per_computing_s: float
    """Numbers a second of a tab's core, while its sandbox computes."""
    creator_cpu_s: float


async def two_tabs(place: Place, devtools: Devtools, name: str, module: bytes, chunks: int, items: int) -> Computed:
    async with place.network() as network:
        bundle = make_bundle(network.creator, name, module, chunks, items)
        pages = [await Page.open(devtools, network.join(bundle)) for _ in range(TABS)]
        await network.until(lambda: len(network.runtime.peer.neighbours) == TABS)
        cpu = resource.getrusage(resource.RUSAGE_SELF)
        role = network.publish(bundle)
        await asyncio.gather(*(page.agree(bundle) for page in pages))
        await network.until(lambda: len(role.ledger.admits) > 0)
        started = time.monotonic()
        await network.until(lambda: role.progress().accepted == chunks)
        seconds = time.monotonic() - started
        used = resource.getrusage(resource.RUSAGE_SELF)
        totals = [(await page.until("true"))["total"] for page in pages]
        for page in pages:
            await page.tab.close()
        done, computing_s = (sum(total[part] for total in totals) for part in ("done", "computeSeconds"))
        return Computed(
            name,
            items,
            chunks / seconds,
            role.progress().votes / chunks,
            done * items / computing_s,
            used.ru_utime + used.ru_stime - cpu.ru_utime - cpu.ru_stime,
        )


async def no_op(place: Place, devtools: Devtools, sizes: Sizes, native: Any) -> list[Row]:
    computed = await two_tabs(place, devtools, "no-op", NO_OP, sizes.no_op_chunks, 1)
    beside = {
        "two cc-node": native.chunks_per_s,
        "votes a chunk": computed.votes_per_chunk,
        "creator's CPU s": computed.creator_cpu_s,
    }
    return [Row("no-op chunks through two tabs, two votes each", computed.chunks_per_s, "chunks/s", "> 2,205", beside)]


def collatz_rows(computed: Computed, native: Any, alone: dict[str, Any]) -> list[Row]:
    verified = computed.chunks_per_s * computed.items
    beside = {"two cc-node": native.chunks_per_s * native.items_per_chunk, "votes a chunk": computed.votes_per_chunk}
    at_once = {"Node, one instance": alone["at_once"]} if alone else {}
    by_chunk = {"Node, an instance a chunk": alone["by_chunk"][str(computed.items)]} if alone else {}
    label = f"collatz, {computed.items:,} a chunk"
    return [
        Row(f"{label}: verified by two tabs, each number twice", verified, "numbers/s", "", beside),
        Row(
            f"{label}: computed by a tab's core",
            computed.items_per_computing_s,
            "numbers/s",
            "",
            {**by_chunk, **at_once},
        ),
    ]


NODE_ALONE = """
import { readFileSync } from "node:fs";
const [file, count, ...sizes] = process.argv.slice(1).map((text, index) => (index === 0 ? text : Number(text)));
const module = new WebAssembly.Module(readFileSync(file));
const run = (first, end) => {
  const { exports } = new WebAssembly.Instance(module);
  exports._initialize?.();
  const at = exports.cc_alloc(16) >>> 0;
  const range = new DataView(exports.memory.buffer);
  range.setBigInt64(at, BigInt(first), true);
  range.setBigInt64(at + 8, BigInt(end), true);
  exports.cc_run(at, 16);
};
const perSecond = (size) => {
  let best = 0;
  for (let round = 0; round < 3; round++) {
    const begunMs = performance.now();
    for (let first = 0; first < count; first += size) run(first, Math.min(count, first + size));
    best = Math.max(best, (1000 * count) / (performance.now() - begunMs));
  }
  return best;
};
const at_once = perSecond(count);
const by_chunk = Object.fromEntries(sizes.map((size) => [size, perSecond(size)]));
console.log(JSON.stringify({ version: process.version, at_once, by_chunk }));
"""


def node_alone(count: int) -> dict[str, Any]:
    """The same module in plain Node, on one core: numbers a second; nothing where there is no Node."""
    node = shutil.which("node")
    if node is None:
        print("there is no Node on the PATH to compare with")
        return {}
    sizes = (str(COLLATZ_STEP), str(COLLATZ_BULK))
    ran = subprocess.run(
        [node, "--input-type=module", "--eval", NODE_ALONE, str(COLLATZ_FILE), str(count), *sizes],
        check=True,
        capture_output=True,
    )
    found = json.loads(ran.stdout)
    assert isinstance(found, dict)
    return found


# ---- in the background


async def hidden(place: Place, devtools: Devtools, seconds: float) -> list[Row]:
    """Compute before and after somebody opens another tab in the same window."""
    async with place.network() as network:
        bundle = make_bundle(network.creator, "collatz", COLLATZ_FILE.read_bytes(), 200_000, 50_000)
        network.publish(bundle)
        profile = await devtools.new_profile()
        page = await Page.open(devtools, network.join(bundle), profile=profile, script=TICK)
        await page.agree(bundle)
        await page.until("shown.total.done > 0")
        other = await devtools.open("about:blank", profile=profile)
        found: dict[str, list[tuple[float, float]]] = {"visible": [], "hidden": []}
        # Twice, in turn: what else this machine does changes with time.
        for state, shown_tab in (("visible", page.tab), ("hidden", other)) * 2:
            await devtools.call("Target.activateTarget", targetId=shown_tab.target)
            await page.tab.evaluate(BECOMES.replace("STATE", state))
            found[state].append(await page.done_in(seconds / 2))
        await devtools.call("Target.disposeBrowserContext", browserContextId=profile)
    (visible, visible_ticks), (in_background, hidden_ticks) = (
        tuple(sum(part) / len(part) for part in zip(*found[state], strict=True)) for state in ("visible", "hidden")
    )
    beside = {"visible": visible, "page's own 10 ms timer": hidden_ticks, "the same visible": visible_ticks}
    return [Row("chunks done by a hidden tab", in_background, "chunks/s", "", beside)]


BECOMES = """
new Promise((resolve) => {
  const look = () => document.visibilityState === "STATE" && resolve();
  addEventListener("visibilitychange", look);
  look();
})
"""


# ---- killed


async def kills(place: Place, devtools: Devtools, rounds: int) -> list[Row]:
    """SIGKILL to what works on the only chunk there is, and when another peer, idle until then, is on that chunk."""
    tabs: list[float] = []
    nodes: list[float] = []
    noticed: list[float] = []
    for _ in range(rounds):
        rerun_s, noticed_s = await kill(place, devtools, tab_victim)
        tabs.append(rerun_s)
        noticed.append(noticed_s)
        if len(nodes) < NATIVE_ROUNDS:
            rerun_s, _ = await kill(place, devtools, node_victim)
            nodes.append(rerun_s)
    beside = {"slowest": max(tabs), "silence noticed": max(noticed), "a killed cc-node": median(nodes)}
    return [Row("tab killed to its chunk being run by another tab", median(tabs), "s", "< 5", beside)]


async def kill(place: Place, devtools: Devtools, victim: Any) -> tuple[float, float]:
    async with place.network() as network:
        # Half a minute for its one chunk.
        collatz = make_bundle(network.creator, "collatz", COLLATZ_FILE.read_bytes(), 1, 150_000_000)
        bundle = with_terms(network.creator, collatz, replication=1, seconds=600.0)
        role = network.publish(bundle)
        survivor = await Page.open(devtools, network.join(bundle))
        await survivor.agree(bundle, start=False)
        us = network.creator.identity.public_key

        def on_it() -> set[bytes]:
            now = asyncio.get_running_loop().time()
            return {lease.worker for lease in role.ledger.live_leases(0, now)} - {us}

        async with victim(network, bundle) as murder:
            await network.until(lambda: len(on_it()) == 1)
            (killed,) = on_it()
            killed_at = time.monotonic()
            murder()
            await survivor.ask("start")
            peer_id = peer_id_of(killed)
            noticed_s = rerun_s = None
            while noticed_s is None or rerun_s is None:
                await asyncio.wait_for(network.runtime.changed(), WITHIN_S)
                if rerun_s is None and on_it() - {killed}:
                    rerun_s = time.monotonic() - killed_at
                if noticed_s is None and network.runtime.peer.neighbours.get(peer_id) is not SessionState.OPEN:
                    noticed_s = time.monotonic() - killed_at
        await survivor.tab.close()
        return rerun_s, noticed_s


@asynccontextmanager
async def tab_victim(network: Network, bundle: Bundle) -> AsyncIterator[Callable[[], None]]:
    """A tab in a browser of its own, working on the task; yields what kills its process."""
    async with AsyncExitStack() as stack:
        browser = stack.enter_context(chromium(network.folder, NO_SPARE))
        devtools = await stack.enter_async_context(browser.devtools())
        page = await Page.open(devtools, network.join(bundle))
        await page.agree(bundle)
        await page.until("shown.executing > 0")
        processes = await renderers(devtools)

        def murder() -> None:
            for process in processes:
                os.kill(process, signal.SIGKILL)

        yield murder


@asynccontextmanager
async def node_victim(network: Network, bundle: Bundle) -> AsyncIterator[Callable[[], None]]:
    with volunteer(network.folder, "victim", network.join(bundle)) as node:
        yield node.process.kill


# ---- idle


NO_SPARE = "--disable-features=SpareRendererForSitePerProcess"
"""No process in reserve for the next page: every renderer is one of the pages there are."""


async def idle(place: Place, seconds: float) -> list[Row]:
    """A page that is connected and was not asked to compute, beside an empty one."""
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(place.network())
        stack.enter_context(volunteer(network.folder, "node", network.join()))
        browser: Chromium = stack.enter_context(chromium(network.folder, NO_SPARE))
        devtools = await stack.enter_async_context(browser.devtools())
        await devtools.open("about:blank", profile=await devtools.new_profile())
        empty = await renderers(devtools)  # And the browser's own first tab, which is as empty.
        empty_mb, empty_cpu = (value / len(empty) for value in await watched(empty, seconds))
        page = await Page.open(devtools, network.join())
        await page.until("shown.peers.filter(({ state }) => state === 'open').length === 2")
        page_mb, page_cpu = await watched(await renderers(devtools) - empty, seconds)
    return [
        Row("an idle page with two peers, memory (PSS)", page_mb, "MB", "", {"an empty tab": empty_mb}),
        Row("an idle page with two peers, CPU", page_cpu, "% of a core", "", {"an empty tab": empty_cpu}),
    ]


async def renderers(devtools: Devtools) -> set[int]:
    """Processes that hold pages."""
    processes = (await devtools.call("SystemInfo.getProcessInfo"))["processInfo"]
    return {int(process["id"]) for process in processes if process["type"] == "renderer"}


async def watched(processes: set[int], seconds: float) -> tuple[float, float]:
    """Memory of processes in MB, and the share of a core in percent they take while nothing is wanted of them."""
    before, started = cpu_s(processes), time.monotonic()
    await asyncio.sleep(seconds)  # The time is what is measured: in an idle page nothing happens to wait for.
    share = (cpu_s(processes) - before) / (time.monotonic() - started)
    return sum(pss_mb(process) for process in processes), 100 * share


def cpu_s(processes: Iterable[int]) -> float:
    ticks = 0
    for process in processes:
        # Behind the name, which may contain anything: utime and stime are fields 14 and 15 of all.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def pss_mb(process: int) -> float:
    """Memory of a process, with its share of what it shares."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


if __name__ == "__main__":
    main()
