"""The sandbox of the page in a real Chromium: the same bytes as native nodes, and no way out.

A page with nothing but a sandbox is served on loopback, with the headers the real one has, and given jobs.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import importlib.util
import json
import queue
import random
import struct
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import wasmtime
from playwright._impl._errors import TargetClosedError
from playwright.sync_api import sync_playwright

from crowdcompute.creator import commands
from crowdcompute.creator.build import build
from crowdcompute.creator.task_file import read_task_file
from crowdcompute.creator.work import make_manifest, read_module
from crowdcompute.node.executors.pool import WorkerPool
from crowdcompute.protocol.events import ChunkInput, ChunkOutcome, Status
from crowdcompute.protocol.manifest import Limits
from crowdcompute.protocol.split import chunk_input, is_numbers
from crowdcompute.protocol.wasm import rewrite, wasi
from crowdcompute.signaling import web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

    from playwright.sync_api import Page

    from crowdcompute.protocol.manifest import Runtime

ROOT = Path(__file__).parents[2]
WEB_PEER = ROOT / "web_peer"
LONG = {"long_collatz"}
"""Whose chunks take minutes."""
EXAMPLES = sorted(
    path.parent.name
    for path in (ROOT / "examples").glob("*/task.toml")
    if path.parent.name not in LONG
    and not (path.parent / "kernel.py").exists()  # whose modules are too large to be kept: see below
)
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SEED = 0x0123_4567_89AB_CDEF
WITHIN_S = 60.0
LIMITS = Limits(memory_bytes=16 * 1024 * 1024, output_bytes=1024 * 1024, seconds=20)


@pytest.fixture(scope="module")
def native_list() -> ModuleType:
    """tests/node/test_sandbox_hostile.py, for its modules."""
    path = ROOT / "tests" / "node" / "test_sandbox_hostile.py"
    spec = importlib.util.spec_from_file_location("native_hostile_list", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Site(BaseHTTPRequestHandler):
    """Serves a folder, notes what is asked for, and takes what the page posts."""

    folder: ClassVar[Path]
    asked: ClassVar[list[str]]
    posted: ClassVar[queue.Queue[Any]]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        files = {"/": "index.html", "/sandbox.html": "sandbox.html"}
        name = files.get(self.path)
        self.send_response(200 if name else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Access-Control-Allow-Origin", "*")
        if name == "sandbox.html":
            for header, value in web._SANDBOX.items():
                self.send_header(header, value)
        self.end_headers()
        if name:
            self.wfile.write((self.folder / name).read_bytes())

    def do_POST(self) -> None:
        self.posted.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


class Tab:
    """A tab of Chromium with the page in it."""

    def __init__(self, page: Page, site: type[Site], port: int) -> None:
        self.page, self.site, self.port = page, site, port
        self.page.goto(f"http://127.0.0.1:{port}/")

    def ask(self, **question: Any) -> Any:
        return self.page.evaluate("question => ask(question)", question)

    def run(
        self,
        code: bytes,
        chunks: Sequence[ChunkInput],
        limits: Limits = LIMITS,
        *,
        numbers: bool = False,
        runtime: Runtime = "wasm",
        **more: Any,
    ) -> tuple[ChunkOutcome, ...] | None:
        """What the sandbox makes of `chunks`; None when the job was cancelled."""
        answer = self.ask(kind="run", job=as_job(code, chunks, limits, numbers=numbers, runtime=runtime), **more)
        return None if answer is None else outcomes_of(answer)


def as_job(
    code: bytes, chunks: Sequence[ChunkInput], limits: Limits, *, numbers: bool = False, runtime: Runtime = "wasm"
) -> dict[str, Any]:
    return {
        "runtime": runtime,
        "code": code.hex(),
        "limits": {
            "memoryBytes": limits.memory_bytes,
            "outputBytes": limits.output_bytes,
            "seconds": limits.seconds,
        },
        "numbers": numbers,
        "chunks": [(chunk.chunk, chunk.data.hex(), str(chunk.seed)) for chunk in chunks],
    }


def outcomes_of(answer: Any) -> tuple[ChunkOutcome, ...]:
    return tuple(
        ChunkOutcome(chunk, Status(status), bytes.fromhex(data), detail)
        for chunk, status, data, detail in answer["outcomes"]
    )


@contextmanager
def served(folder: Path) -> Iterator[tuple[type[Site], int]]:
    """The page with a sandbox, built into `folder` and served: the handler and the port."""
    subprocess.run(["node", "test/sandbox/build.mjs", folder], cwd=WEB_PEER, check=True)
    site = type("ThisSite", (Site,), {"folder": folder, "asked": [], "posted": queue.Queue()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), site)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield site, server.server_port
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with served(tmp_path_factory.mktemp("site")) as (site, port), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield Tab(browser.new_page(), site, port)
        browser.close()


@pytest.fixture(scope="module")
def native() -> Iterator[Callable[..., tuple[ChunkOutcome, ...]]]:
    """What native nodes make of chunks. In a thread of its own: Playwright keeps an event loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        runner = asyncio.Runner()
        pool = thread.submit(WorkerPool, 1).result()
        thread.submit(runner.run, pool.start()).result()

        def run(
            code: bytes,
            chunks: Sequence[ChunkInput],
            limits: Limits = LIMITS,
            *,
            numbers: bool = False,
            runtime: Runtime = "wasm",
        ) -> tuple[ChunkOutcome, ...]:
            digest = hashlib.sha256(code).digest()
            return thread.submit(runner.run, pool.execute(digest, code, limits, numbers, chunks, runtime)).result()

        yield run
        thread.submit(runner.run, pool.close()).result()
        thread.submit(runner.close).result()


# ---- the same bytes


@pytest.mark.parametrize("example", EXAMPLES)
def test_chromium_and_native_nodes_compute_the_same_bytes(
    example: str, tab: Tab, native: Callable[..., tuple[ChunkOutcome, ...]]
) -> None:
    task = read_task_file(ROOT / "examples" / example)
    code = read_module(task)
    manifest = make_manifest(task, code, None, created_s=0)
    numbers = is_numbers(manifest.split)
    last = manifest.chunks - 1
    chosen = sorted({0, min(1, last), last // 2, max(0, last - 1), last})
    chunks = [ChunkInput(index, chunk_input(manifest, index, task.inputs), index) for index in chosen]
    outcomes = tab.run(code, chunks, manifest.limits, numbers=numbers, runtime=manifest.runtime)
    assert outcomes is not None
    assert {outcome.status for outcome in outcomes} == {Status.OK}
    assert outcomes == native(code, chunks, manifest.limits, numbers=numbers, runtime=manifest.runtime)


PYTHON_SQUARES = sum(n * n for n in range(570_000, 580_000))
SQUARES = struct.pack("<Q", sum(n * n for n in range(57_000_000, 58_000_000)) % 2**64)


@pytest.mark.slow
@pytest.mark.parametrize("language", ["c", "zig", "rust", "assemblyscript", "go", "python"])
def test_a_kernel_of_every_language_is_built_and_gives_the_same_bytes(
    language: Any, tab: Tab, native: Callable[..., tuple[ChunkOutcome, ...]], tmp_path: Path
) -> None:
    folder = tmp_path / "kernel"
    commands.init(str(folder), lang=language)
    if (folder / "package.json").exists():
        subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=folder, check=True, capture_output=True)
    commands.build(folder)
    task = read_task_file(folder)
    code = read_module(task)
    manifest = make_manifest(task, code, None, created_s=0)
    chunks = [ChunkInput(index, chunk_input(manifest, index), index) for index in (0, 57, 99)]
    outcomes = native(code, chunks, manifest.limits, numbers=True)
    assert outcomes == tab.run(code, chunks, manifest.limits, numbers=True)
    assert [outcome.status for outcome in outcomes] == [Status.OK] * 3
    # One sum whatever the language.
    if language == "python":
        assert json.loads(outcomes[1].data) == {"start": 570_000, "stop": 580_000, "sum": PYTHON_SQUARES}
    else:
        assert outcomes[1].data == SQUARES
    if language != "c":
        backwards = [ChunkInput(0, struct.pack("<2q", 5, 3), 0)]
        (error,) = native(code, backwards, manifest.limits, numbers=True)
        assert error.status == Status.TASK_ERROR and error.data
        (same,) = tab.run(code, backwards, manifest.limits, numbers=True) or ()
        assert same[:3] == error[:3]


PYTHON_KERNEL = """
import math, random, sys, hashlib, time, os

def deep(n):
    return 0 if n == 0 else 1 + deep(n - 1)

class Chain:
    def __init__(self, n):
        self.next = Chain(n - 1) if n else None

def sorting(n):
    return n if n == 0 else sorted([n], key=lambda _: sorting(n - 1))[0]

def nested(n):
    value = []
    for _ in range(n):
        value = [value]
    return len(repr(value))

def main(kind, n):
    if kind == 0:
        words = {"".join(random.choices("abcdef", k=5)) for _ in range(n)}
        clocks = [time.time(), time.monotonic()]
        return [list(words), hash("text"), id(words), random.random(), os.urandom(9).hex(), *clocks]
    if kind == 1:
        return [repr(x) for x in (math.sin(n), math.exp(n), n / 7, 1e22, 5e-324, -0.0, float("nan"), 2.0**n)]
    if kind == 2:
        return hashlib.sha256(str(n**n).encode()).digest()
    if kind == 3:
        return deep(n)
    if kind == 4:
        sys.setrecursionlimit(10**6)
        return deep(n)
    if kind == 5:
        return Chain(n) and "built"
    if kind == 6:
        return sorting(n)
    if kind == 7:
        return nested(n)
    if kind == 8:
        return [0] * 10**n
    return {"not": {1: 2}}[n]
"""


@pytest.mark.slow
def test_a_python_kernel_finds_the_same_world_everywhere(
    tab: Tab, native: Callable[..., tuple[ChunkOutcome, ...]], tmp_path: Path
) -> None:
    (tmp_path / "kernel.py").write_text(PYTHON_KERNEL)
    code = build(tmp_path / "kernel.py", 0)
    limits = Limits(memory_bytes=64 * 1024 * 1024, output_bytes=1024 * 1024, seconds=20)
    asked = [(0, 200), (1, 300), (2, 700), (3, 300), (3, 3_000), (4, 30_000), (5, 100)]
    asked += [(5, 5_000), (6, 5_000), (7, 5_000), (8, 9), (9, 0), (0, 200)]
    chunks = [ChunkInput(index, struct.pack("<2q", *numbers), 77) for index, numbers in enumerate(asked)]
    outcomes = native(code, chunks, limits, numbers=True)
    kinds = [outcome.status for outcome in outcomes]
    assert kinds == [Status.OK] * 4 + [Status.TASK_ERROR] + [Status.OK] * 2 + [Status.TASK_ERROR] * 3 + [
        Status.NO_RESULT,
        Status.TASK_ERROR,
        Status.OK,
    ]
    assert outcomes[0].data == outcomes[-1].data
    assert [outcome[:3] for outcome in tab.run(code, chunks, limits, numbers=True) or ()] == [
        outcome[:3] for outcome in outcomes
    ]
    random.seed(77)
    words = {"".join(random.choices("abcdef", k=5)) for _ in range(200)}
    found = json.loads(outcomes[0].data)
    assert (set(found[0]), found[3], found[5:]) == (words, random.random(), [0.0, 0.0])
    assert outcomes[-2].data.decode().splitlines()[-3:] == [
        "  kernel.py, line 42, in main",
        '    return {"not": {1: 2}}[n]',
        "KeyError: 0",
    ]


def test_every_execution_vector_ends_the_same_in_chromium(tab: Tab) -> None:
    cases = json.loads((ROOT / "protocol" / "vectors" / "executions.json").read_text())["cases"]
    for case in cases:
        module = gzip.decompress(base64.b64decode(case["module"]))
        limits = Limits(memory_bytes=case["memory_bytes"], output_bytes=case["output_bytes"], seconds=20)
        chunks = [ChunkInput(index, bytes.fromhex(case["input"]), int(case["seed"])) for index in range(2)]
        outcomes = tab.run(module, chunks, limits, numbers=case["numbers"])
        assert outcomes is not None
        for outcome in outcomes:
            assert (outcome.status.name, outcome.data.hex()) == (case["status"], case["data"]), case["name"]
            assert bool(outcome.detail) == (outcome.status == Status.NO_RESULT), case["name"]


def every_import() -> bytes:
    """A command that calls each function WASI has, thrice with different arguments, and tells what came of it."""
    letters = {wasi.I32[0]: "i32", wasi.I64[0]: "i64"}
    declared, calls = [], []
    for name, (parameters, results) in wasi.SIGNATURES.items():
        types = [letters[parameter] for parameter in parameters]
        result = "(result i32)" if results else ""
        declared.append(
            f'(import "{wasi.MODULE}" "{name}" (func ${name} (param {" ".join(types)}) {result}))',
        )
        if name == "proc_exit":
            continue
        for number in (0, 1, 512):
            arguments = " ".join(f"({kind}.const {number})" for kind in types)
            calls.append(f"(call $tell (call ${name} {arguments}))")
    return rewrite(
        bytes(
            wasmtime.wat2wasm(f"""(module {"".join(declared)} (memory (export "memory") 2)
            (global $at (mut i32) (i32.const 70000))
            (func $tell (param i32)
                (i32.store (global.get $at) (local.get 0))
                (global.set $at (i32.add (global.get $at) (i32.const 4))))
            (func (export "_start") {"".join(calls)}
                (i32.store (i32.const 100000) (i32.const 0)) (i32.store (i32.const 100004) (i32.const 80000))
                (drop (call $fd_write (i32.const 1) (i32.const 100000) (i32.const 1) (i32.const 100008)))
                (call $proc_exit (i32.const 0))))""")
        )
    )


def test_a_module_that_touches_every_allowed_import_sees_the_same_world(
    tab: Tab, native: Callable[..., tuple[ChunkOutcome, ...]]
) -> None:
    module = every_import()
    chunks = [ChunkInput(index, bytes(range(200)), SEED + index) for index in range(3)]
    outcomes = native(module, chunks)
    assert [outcome.status for outcome in outcomes] == [Status.OK] * 3
    assert len({outcome.data for outcome in outcomes}) == 3
    assert tab.run(module, chunks) == outcomes
    numbers = [ChunkInput(0, struct.pack("<3q", -1, 2**62, 0), SEED)]
    assert tab.run(module, numbers, numbers=True) == native(module, numbers, numbers=True)


SCRIPT = b"""export default function (numbers, stdin) {
  const first = numbers === null ? stdin.length : Number(numbers[0]);
  if (first === 13) throw new Error("thirteen");
  const values = [];
  for (let i = 1; i <= 20; i++) values.push(Math.sin(first * i), Math.pow(i, 1.3), Math.random());
  return JSON.stringify(values);
}
"""


def test_a_script_gives_the_same_bytes_in_chromium_and_natively(
    tab: Tab, native: Callable[..., tuple[ChunkOutcome, ...]]
) -> None:
    chunks = [ChunkInput(index, struct.pack("<q", value), SEED + index) for index, value in enumerate((1, 13, -5))]
    outcomes = native(SCRIPT, chunks, numbers=True, runtime="js")
    assert [outcome.status for outcome in outcomes] == [Status.OK, Status.TASK_ERROR, Status.OK]
    assert tab.run(SCRIPT, chunks, numbers=True, runtime="js") == outcomes
    asked = [ChunkInput(index, bytes(index), SEED) for index in range(200)]
    assert tab.run(SCRIPT, asked, runtime="js") == native(SCRIPT, asked, runtime="js")


def test_a_script_that_never_ends_gets_no_result_and_modules_run_after_it(tab: Tab) -> None:
    source = b"export default function () { for (;;); }"
    limits = Limits(memory_bytes=1 << 20, output_bytes=8, seconds=0.3)
    (outcome,) = tab.run(source, inputs(1), limits, runtime="js") or ()
    assert outcome == ChunkOutcome(0, Status.NO_RESULT, b"", "time limit 0.3 s")
    assert tab.run(SPECIAL, inputs(1)) == (doubled(inputs(1)[0]),)


# ---- limits

SPECIAL = rewrite(
    bytes(
        wasmtime.wat2wasm(r"""(module (memory (export "memory") 1)
        (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
        (func (export "cc_run") (param i32 i32) (result i64) (local $x i64)
            (local.set $x (i64.load (local.get 0)))
            (if (i64.eq (local.get $x) (i64.const -1)) (then (loop $l (br $l))))
            (if (i64.eq (local.get $x) (i64.const -2)) (then unreachable))
            (i64.store (i32.const 0) (i64.add (local.get $x) (local.get $x)))
            (i64.const 8)))""")
    )
)
"""Doubles an i64, but -1 never ends and -2 traps."""


def inputs(*values: int) -> list[ChunkInput]:
    return [ChunkInput(index, struct.pack("<q", value), 0) for index, value in enumerate(values)]


def doubled(chunk: ChunkInput) -> ChunkOutcome:
    return ChunkOutcome(chunk.chunk, Status.OK, struct.pack("<q", 2 * struct.unpack("<q", chunk.data)[0]))


def test_every_hostile_module_gets_no_result_and_the_next_chunk_does(tab: Tab, native_list: ModuleType) -> None:
    before = tab.ask(kind="lost")["pages"]
    for name, (module, kind) in native_list.HOSTILE.items():
        outcomes = tab.run(native_list.prepared(module), [ChunkInput(0, b"input", 1)], native_list.LIMITS)
        assert outcomes is not None, name
        assert (outcomes[0].status, outcomes[0].data) == (Status.NO_RESULT, b""), name
        assert kind in outcomes[0].detail, name
        assert tab.run(SPECIAL, inputs(21)) == (doubled(inputs(21)[0]),), name
    assert tab.ask(kind="lost")["pages"] == before


def test_a_module_that_asks_for_too_much_gets_a_plain_no(tab: Tab, native_list: ModuleType) -> None:
    for name, (module, result) in native_list.HARMLESS.items():
        outcomes = tab.run(rewrite(module), [ChunkInput(0, b"input", 1)], native_list.LIMITS)
        assert outcomes == (ChunkOutcome(0, Status.OK, result),), name


def test_a_chunk_over_its_time_alone_gets_no_result(tab: Tab) -> None:
    asked = inputs(*[1] * 40, -1, *[2] * 40, -2, 3)
    outcomes = tab.run(SPECIAL, asked, Limits(memory_bytes=1 << 20, output_bytes=8, seconds=0.5))
    assert outcomes is not None
    assert outcomes[40] == ChunkOutcome(40, Status.NO_RESULT, b"", "time limit 0.5 s")
    assert outcomes[81] == ChunkOutcome(81, Status.NO_RESULT, b"", "trap: unreachable")
    others = [index for index in range(len(asked)) if index not in (40, 81)]
    assert [outcomes[index] for index in others] == [doubled(asked[index]) for index in others]


def test_many_chunks_come_back_in_the_order_asked_for(tab: Tab) -> None:
    asked = inputs(*range(5_000))
    assert tab.run(SPECIAL, asked) == tuple(map(doubled, asked))
    assert tab.run(SPECIAL, []) == ()


def test_a_cancelled_job_ends_at_once_and_frees_its_slot(tab: Tab) -> None:
    limits = Limits(memory_bytes=1 << 20, output_bytes=8, seconds=3_600)
    assert tab.run(SPECIAL, inputs(-1), limits, cancelAfterMs=50) is None
    assert tab.run(SPECIAL, inputs(4)) == (doubled(inputs(4)[0]),)


# ---- no way out

ROUTES = """async (address) => {
    const told = {};
    const source = `(${(async (address) => {
        const told = {};
        const tries = {
            fetch: () => fetch(address + "fetch"),
            "fetch without cors": () => fetch(address + "no-cors", { mode: "no-cors" }),
            beacon: () => navigator.sendBeacon(address + "beacon"),
            XMLHttpRequest: () => new Promise((good, bad) => {
                const request = new XMLHttpRequest();
                request.onload = good;
                request.onerror = bad;
                request.open("GET", address + "xhr");
                request.send();
            }),
            importScripts: () => importScripts(address + "import-scripts"),
            import: () => import(address + "import"),
            WebSocket: () => new Promise((good, bad) => {
                const socket = new WebSocket(address.replace("http", "ws") + "websocket");
                socket.onopen = good;
                socket.onerror = bad;
            }),
            EventSource: () => new Promise((good, bad) => {
                const source = new EventSource(address + "event-source");
                source.onopen = good;
                source.onerror = bad;
            }),
            "Worker by address": () => new Promise((good, bad) => {
                const worker = new Worker(address + "worker");
                worker.onmessage = good;
                worker.onerror = bad;
            }),
            "fetch in a Worker below": () => new Promise((good, bad) => {
                const quoted = JSON.stringify(address + "inner");
                const inner = `fetch(${quoted}).then(() => postMessage(1), () => postMessage(0))`;
                const worker = new Worker(URL.createObjectURL(new Blob([inner])));
                worker.onmessage = ({ data }) => (data ? good() : bad());
                worker.onerror = bad;
            }),
            FontFace: () => new FontFace("f", `url(${address}font)`).load(),
            WebTransport: () => new WebTransport(address.replace("http", "https") + "transport").ready,
            RTCPeerConnection: () => new RTCPeerConnection(),
            caches: () => caches.open("c").then((cache) => cache.add(address + "cache")),
            indexedDB: () => new Promise((good, bad) => {
                const request = indexedDB.open("d");
                request.onsuccess = good;
                request.onerror = bad;
            }),
        };
        for (const [name, attempt] of Object.entries(tries)) {
            try {
                await attempt();
                told[name] = "reached";
            } catch {
                told[name] = "blocked";
            }
        }
        postMessage(told);
    }).toString()})(${JSON.stringify(address)})`;
    const worker = new Worker(URL.createObjectURL(new Blob([source])));
    return await new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = ({ message }) => reject(new Error(message));
    });
}"""


def test_nothing_that_runs_in_a_worker_of_the_sandbox_reaches_the_network(tab: Tab) -> None:
    tab.run(SPECIAL, inputs(1))
    (frame,) = (frame for frame in tab.page.frames if frame.url.endswith("/sandbox.html"))
    before = len(tab.site.asked)
    told = frame.evaluate(ROUTES, f"http://127.0.0.1:{tab.port}/leak/")
    assert {name for name, outcome in told.items() if outcome != "blocked"} == set()
    assert len(told) == 15
    assert tab.site.asked[before:] == []
    assert frame.evaluate("self.origin") == "null"


def test_a_sandbox_that_crashes_is_replaced_and_its_job_answered(tab: Tab) -> None:
    asked = inputs(*range(20_000))
    tab.run(SPECIAL, asked[:1])
    (frame,) = (frame for frame in tab.page.frames if frame.url.endswith("/sandbox.html"))
    below = tab.page.context.new_cdp_session(frame)
    # Playwright takes a page for dead when an iframe's process is, so the page posts what it has to tell.
    tab.page.evaluate(
        "job => void ask({ kind: 'run', job })"
        ".then(async (told) => ({ told, lost: await ask({ kind: 'lost' }) }))"
        ".then((told) => fetch('/told', { method: 'POST', body: JSON.stringify(told) }))",
        as_job(SPECIAL, asked, LIMITS),
    )
    with suppress(TargetClosedError):
        below.send("Page.crash")
    posted = tab.site.posted.get(timeout=WITHIN_S)
    assert posted["lost"]["pages"] == 1
    assert outcomes_of(posted["told"]) == tuple(map(doubled, asked))
