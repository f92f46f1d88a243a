"""JavaScript tasks in a real Chromium: every vector ends as on native nodes, and nothing of the browser is there."""
# ruff: noqa: E501  # programs on one line

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from crowdcompute.protocol.events import ChunkInput, Status
from crowdcompute.protocol.manifest import Limits

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "protocol" / "vectors" / "javascript.json"


def browser_sandbox() -> ModuleType:
    """test_browser_sandbox.py, for its page with a sandbox."""
    spec = importlib.util.spec_from_file_location(
        "browser_sandbox", Path(__file__).with_name("test_browser_sandbox.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["browser_sandbox"] = module
    spec.loader.exec_module(module)
    return module


sandbox = browser_sandbox()
tab = sandbox.tab


def run(tab: Any, source: str, chunk: ChunkInput, limits: Limits, *, numbers: bool) -> Any:
    job = sandbox.as_job(source.encode(), [chunk], limits, numbers=numbers, runtime="js")
    (outcome,) = sandbox.outcomes_of(tab.ask(kind="run", job=job))
    return outcome


def test_every_javascript_vector_ends_the_same_in_chromium(tab: Any) -> None:
    different = []
    for case in json.loads(VECTORS.read_text())["cases"]:
        limits = Limits(memory_bytes=1 << 26, output_bytes=case["output_bytes"], seconds=20)
        chunk = ChunkInput(0, bytes.fromhex(case["input"]), int(case["seed"]))
        outcome = run(tab, case["source"], chunk, limits, numbers=case["numbers"])
        if (outcome.status.name, outcome.data.hex()) != (case["status"], case["data"]):
            different.append((case["name"], outcome))
    assert different == []


ESCAPES = {
    "names of the browser": "[typeof self, typeof fetch, typeof Worker, typeof importScripts, typeof XMLHttpRequest,"
    " typeof WebSocket, typeof indexedDB, typeof BroadcastChannel, typeof postMessage, typeof close, typeof navigator,"
    " typeof MessageChannel, typeof OffscreenCanvas, typeof URL, typeof Blob].every((t) => t === 'undefined')",
    "the global's prototypes": "Object.getPrototypeOf(globalThis) === Object.prototype",
    "this of a plain function": "(function () { return this; })() === undefined",
    "this of a method's accessor": "(() => { const get = Object.getOwnPropertyDescriptor(Object.prototype, '__proto__').get;"
    " try { return get.call(undefined); } catch { return true; } })()",
    "an array's methods on nothing": "(() => { try { return Array.prototype.concat.call()[0] === undefined; }"
    " catch { return true; } })()",
    "a replacer's this": "(() => { let seen; 'a'.replace('a', function () { seen = this; }); return seen === undefined; })()",
    "a sort's this": "(() => { let seen; [2, 1].sort(function () { seen = this; return 0; }); return seen === undefined; })()",
}


@pytest.mark.parametrize("name", ESCAPES)
def test_a_script_finds_nothing_of_the_browser(name: str, tab: Any) -> None:
    source = f"export default () => {ESCAPES[name]};"
    outcome = run(tab, source, ChunkInput(0, b"", 0), sandbox.LIMITS, numbers=False)
    assert (outcome.status, outcome.data) == (Status.OK, b"true"), outcome
