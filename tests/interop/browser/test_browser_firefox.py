"""Firefox is a peer like any other: it joins by a link, computes both kinds of tasks, and its votes are everybody's.

Firefox 140 cannot give data channels to a Worker, so these tests also drive frames through its page (rtc.ts).
"""

from __future__ import annotations

import base64
import gzip
import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aioice.ice import get_host_addresses

from crowdcompute.creator.task_file import read_task_file
from crowdcompute.creator.work import make_manifest, read_module
from crowdcompute.protocol.events import ChunkInput, Status
from crowdcompute.protocol.manifest import Limits
from crowdcompute.protocol.split import chunk_input, is_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "web_peer" / "dist" / "index.html"
VECTORS = ROOT / "protocol" / "vectors"
WITHIN_MS = 60_000
"""Nothing here takes a tenth of it; it only keeps a broken test from waiting for ever."""


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"firefox_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


driver = load(Path(__file__).with_name("firefox.py"))
chromium = load(Path(__file__).with_name("conftest.py"))
sandbox = load(Path(__file__).parents[1] / "test_browser_sandbox.py")
javascript = load(Path(__file__).parents[1] / "test_browser_javascript.py")
native = sandbox.native


class Tab:
    """A tab of Firefox with the page in it, asked and watched as conftest.py does with Chromium's."""

    def __init__(self, browser: Any, address: str) -> None:
        self.tab = browser.open(address, before=chromium.KEEP_THE_WORKER)

    @property
    def errors(self) -> list[str]:
        errors: list[str] = self.tab.errors
        return errors

    def until(self, condition: str) -> dict[str, Any]:
        """Wait until a JavaScript expression over `shown`, what the screens were last told, is true."""
        came = self.tab.call(
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
        shown: dict[str, Any] = self.tab.call("() => window.shown")
        assert came, f"never: {condition}\n{shown}\n{self.errors}"
        return shown

    def starts(self, task: str) -> None:
        """Press Start on the card that asks about the linked task."""
        self.until(f"shown.tasks.some((task) => task.taskId === '{task}')")
        self.tab.press("Start")


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if driver.find() is None:
        pytest.fail("there is no Firefox: apt-get install firefox-esr")
    if not PAGE.exists():
        pytest.fail("the page is not built: python web_peer/build_page.py builds it, and so does make test")
    with driver.firefox(tmp_path_factory.mktemp("firefox")) as browser:
        yield browser


@pytest.fixture
def open_firefox(firefox: Any) -> Iterator[Callable[[str], Tab]]:
    opened: list[Tab] = []

    def open_tab(address: str) -> Tab:
        opened.append(Tab(firefox, address))
        return opened[-1]

    yield open_tab
    for tab in list(firefox.tabs):
        tab.close()
    assert [tab.errors for tab in opened if tab.errors] == []


@pytest.fixture
def own_addresses() -> list[str]:
    """`--host` flags for this machine's addresses: Firefox pairs none of its own with a loopback address."""
    addresses = get_host_addresses(use_ipv4=True, use_ipv6=False)
    assert addresses, "Firefox connects to nobody on a machine without a network interface besides loopback"
    return [flag for address in addresses for flag in ("--host", address)]


WAVES = """
export default function ([start, stop]) {
  let wave = 0;
  for (let n = start; n < stop; n++) wave += Math.sin(n) * Math.random();
  return { start, wave };
}
"""
CHUNKS = 1_000
"""More than anybody waits for: while all three compute, all three are wanted for every chunk."""
ENOUGH = 10
"""Chunks that each has voted on when the test looks at what came of it."""
EVERYBODY = 3
"""Votes wanted for a result, of as many peers as there are: a native node, Chromium and Firefox."""


def modules(place: Any) -> Any:
    folder, _ = place.slow_task(CHUNKS, 10_000_000, f"[verify]\nreplication = {EVERYBODY}\neps = 0.5\n")
    return folder


def scripts(place: Any) -> Any:
    folder = place.folder / "waves"
    folder.mkdir()
    (folder / "kernel.js").write_text(WAVES)
    (folder / "task.toml").write_text(
        'schema = 1\nname = "Waves"\n[code]\nruntime = "js"\nmodule = "kernel.js"\n[limits]\nseconds = 20\n'
        f"[split]\nrange = [0, {CHUNKS * 100_000}, 100_000]\n[verify]\nreplication = {EVERYBODY}\neps = 0.5\n"
    )
    return folder


@pytest.mark.parametrize("task_of", [modules, scripts], ids=["module", "script"])
def test_firefox_chromium_and_a_node_vote_for_the_same_bytes(
    task_of: Callable[[Any], Any],
    place: Any,
    join: str,
    tabs: Any,
    open_firefox: Callable[[str], Tab],
    own_addresses: list[str],
    task_id: Callable[[Any], str],
) -> None:
    node = place.node(join, "alice", *own_addresses).joined()
    publishing = place.start_publish(task_of(place), join, "--stack", "wrtc", *own_addresses)
    task = task_id(publishing)
    address = f"{join}&t={task}"
    other = tabs.open(address)
    tab = open_firefox(address)
    tab.until("shown.tasks.length === 1")
    # Four engines, and each is linked with each: aiortc (alice), wrtc (the creator), Chromium, Firefox.
    shown = tab.until("shown.peers.filter(({ state }) => state === 'open').length >= 3")
    other.until("shown.peers.filter(({ state }) => state === 'open').length >= 3")
    node.is_connected_to(3)
    assert (shown["mode"], shown["executing"], shown["total"]["done"]) == ("off", 0, 0)
    assert shown["tasks"][0]["consent"] == {"state": "none", "expiresS": None}
    tab.starts(task)
    other.works_for(task)
    other.until(f"shown.total.done >= {ENOUGH}")
    node.has_voted(ENOUGH)
    shown = tab.until(f"shown.total.done >= {ENOUGH} && shown.total.confirmed >= 1")
    assert shown["tasks"][0]["consent"]["state"] == "given"
    voters = {node.peer_id, other.peer_id, shown["peerId"]}
    publishing.kill()
    _, rows = place.results(task, "results")
    assert not any(row["disagreed"] for row in rows)
    assert any(voters <= set(row["agreed"]) for row in rows), voters


def test_firefox_keeps_its_key_and_shows_it_to_nobody(join: str, open_firefox: Callable[[str], Tab]) -> None:
    tab = open_firefox(join)
    before = tab.until("shown.signaling === 'connected'")
    assert before["keyKind"] == "WebCrypto, not extractable"
    tab.tab.reload()
    assert tab.until("shown.signaling === 'connected'")["peerId"] == before["peerId"]


def test_a_closed_firefox_tab_is_gone_at_once(join: str, open_firefox: Callable[[str], Tab]) -> None:
    first, second = open_firefox(join), open_firefox(join)
    first.until("shown.peers.some(({ state }) => state === 'open')")
    gone = second.until("shown.peers.some(({ state }) => state === 'open')")["peerId"]
    second.tab.close()
    shown = first.until("shown.peers.length === 0")
    # Not by its silence, of which the first sign would be a suspicion: its connection was closed.
    reasons = [happening["detail"] for happening in shown["happenings"] if happening["peerId"] == gone]
    assert "silent" not in reasons


class SandboxPage:
    """What sandbox.Tab needs of a page."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def goto(self, address: str) -> None:
        self.tab = self.browser.open(address)

    def evaluate(self, function: str, argument: object) -> Any:
        return self.tab.call(function, argument)


@pytest.fixture(scope="module")
def box(firefox: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The sandbox of the page, without the peer."""
    with sandbox.served(tmp_path_factory.mktemp("site")) as (site, port):
        yield sandbox.Tab(SandboxPage(firefox), site, port)


@pytest.mark.parametrize("example", sandbox.EXAMPLES)
def test_firefox_and_native_nodes_compute_the_same_bytes(example: str, box: Any, native: Any) -> None:
    task = read_task_file(ROOT / "examples" / example)
    code = read_module(task)
    manifest = make_manifest(task, code, None, created_s=0)
    numbers = is_numbers(manifest.split)
    last = manifest.chunks - 1
    chunks = [ChunkInput(index, chunk_input(manifest, index, task.inputs), index) for index in (0, last // 2, last)]
    outcomes = box.run(code, chunks, manifest.limits, numbers=numbers, runtime=manifest.runtime)
    assert {outcome.status for outcome in outcomes} == {Status.OK}
    assert outcomes == native(code, chunks, manifest.limits, numbers=numbers, runtime=manifest.runtime)


def test_every_vector_ends_the_same_in_firefox(box: Any) -> None:
    different = []
    for case in json.loads((VECTORS / "executions.json").read_text())["cases"]:
        module = gzip.decompress(base64.b64decode(case["module"]))
        limits = Limits(memory_bytes=case["memory_bytes"], output_bytes=case["output_bytes"], seconds=20)
        chunk = ChunkInput(0, bytes.fromhex(case["input"]), int(case["seed"]))
        (outcome,) = box.run(module, [chunk], limits, numbers=case["numbers"])
        if (outcome.status.name, outcome.data.hex()) != (case["status"], case["data"]):
            different.append((case["name"], outcome))
    for case in json.loads((VECTORS / "javascript.json").read_text())["cases"]:
        limits = Limits(memory_bytes=1 << 26, output_bytes=case["output_bytes"], seconds=20)
        chunk = ChunkInput(0, bytes.fromhex(case["input"]), int(case["seed"]))
        (outcome,) = box.run(case["source"].encode(), [chunk], limits, numbers=case["numbers"], runtime="js")
        if (outcome.status.name, outcome.data.hex()) != (case["status"], case["data"]):
            different.append((case["name"], outcome))
    assert different == []


def test_a_script_finds_nothing_of_firefox(box: Any) -> None:
    found = {}
    for name, expression in javascript.ESCAPES.items():
        source = f"export default () => {expression};"
        (outcome,) = box.run(source.encode(), [ChunkInput(0, b"", 0)], runtime="js")
        if (outcome.status, outcome.data) != (Status.OK, b"true"):
            found[name] = outcome
    assert found == {}


def test_nothing_in_the_sandbox_of_firefox_reaches_the_network(box: Any) -> None:
    box.run(sandbox.SPECIAL, sandbox.inputs(1))
    frame = box.page.tab.frame("/sandbox.html")
    before = len(box.site.asked)
    told = frame.call(sandbox.ROUTES, f"http://127.0.0.1:{box.port}/leak/")
    assert {name for name, outcome in told.items() if outcome != "blocked"} == set()
    assert len(told) == 15
    # Firefox 140 asks no policy about fonts in a Worker. No script finds FontFace (the prelude deletes it), and
    # a module has no names at all; so this route needs more than a task has.
    assert set(box.site.asked[before:]) <= {"/leak/font"}
    assert frame.call("() => self.origin") == "null"
