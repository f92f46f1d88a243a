"""How fast tabs compute, beside nodes in the same network and plain Node with the same module."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.network import COLLATZ_STEP, NO_OP, make_bundle

from .harness import COLLATZ_BULK, COLLATZ_FILE, Page, Place, Row

if TYPE_CHECKING:
    from crowdcompute.creator.chromium import Devtools

TABS = 2


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


async def no_op(place: Place, devtools: Devtools, chunks: int, native: Any) -> list[Row]:
    computed = await two_tabs(place, devtools, "no-op", NO_OP, chunks, 1)
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
