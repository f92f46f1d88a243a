"""A whole network on this machine: verified chunks per second, beside the kernel alone in the same run.

    python -m benchmarks.network [--quick]

A signaling server, a creator and two volunteers with one worker each, all processes of their own, on loopback;
every chunk is computed by both volunteers (replication 2), its votes sealed, opened and tallied. Times are
from the first worker's admission to the last accepted chunk; the certificate's audits come after. The kernel alone runs
in this process, on one core, before the network does.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import uvloop
import wasmtime
from benchmarks.cases import ROOT, Report, answer, parser
from msgspec import structs

from crowdcompute.creator.local_network import LOOPBACK, signaling_server, volunteer
from crowdcompute.creator.session import DISK_BYTES, Creator, online
from crowdcompute.node import keys
from crowdcompute.node.executors.wasm import Program, make_engine
from crowdcompute.node.home import open_home
from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.bundle import Bundle, read_bundle, write_bundle
from crowdcompute.protocol.identity import verify
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.manifest import Limits, Manifest, Policy, Range, sign_manifest
from crowdcompute.protocol.split import chunk_input
from crowdcompute.protocol.wasm import rewrite

if TYPE_CHECKING:
    from crowdcompute.creator.local_network import Volunteer

VOLUNTEERS = 2
COLLATZ_STEP = 175
NO_OP = rewrite(
    bytes(
        wasmtime.wat2wasm("""(module (memory (export "memory") 1)
        (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
        (func (export "cc_run") (param i32 i32) (result i64)
            (i64.or (i64.const 0x40000000000) (i64.extend_i32_u (i32.const 8)))))""")
    )
)


@dataclass
class Row:
    """One task, on the network and alone."""

    task: str
    chunks: int
    items_per_chunk: int
    seconds: float
    chunks_per_s: float
    items_per_s_per_core: float
    kernel_alone_items_per_s: float
    creator_cpu_s: float
    executions_per_chunk: float
    signaling_bytes_during_job: int


def main() -> int:
    arguments = parser("network", __doc__)
    arguments.add_argument("--no-op-chunks", type=int, help="default: 100,000, --quick 20,000")
    arguments.add_argument("--collatz-chunks", type=int, help="default: 60,000, --quick 20,000")
    options = arguments.parse_args()
    if options.case:
        answer(options, case)
    no_ops = options.no_op_chunks or (20_000 if options.quick else 100_000)
    collatz = options.collatz_chunks or (20_000 if options.quick else 60_000)
    with Report("network", options) as report:
        rows = report.found["rows"] = []
        heads = f"{'task':8} {'chunks':>8} {'s':>6} {'chunks/s':>9} {'per core':>11} {'kernel alone':>13}"
        print(f"{heads} {'runs/chunk':>10}")
        for name, chunks in (("no-op", no_ops), ("collatz", collatz)):
            # Two thousand chunks a second are few; six hundred are a machine shared by ten.
            if (row := report.case(name, limit_s=60 + chunks / 600, name=name, chunks=chunks)) is not None:
                report.found["idle_node_mb"] = row.pop("idle_node_mb")
                rows.append(row)
                print(
                    f"{name:8} {chunks:8,} {row['seconds']:6.1f} {row['chunks_per_s']:9,.0f} "
                    f"{row['items_per_s_per_core']:9,.0f}/s {row['kernel_alone_items_per_s']:11,.0f}/s "
                    f"{row['executions_per_chunk']:10.2f}",
                    flush=True,
                )
        if rows:
            print(
                f"an idle node holds {report.found['idle_node_mb']:.0f} MB (and its worker process); items are numbers"
            )
    return report.code


def case(name: str, chunks: int) -> dict[str, Any]:
    collatz = (ROOT / "examples" / "collatz" / "collatz.wasm").read_bytes()
    module, items = (NO_OP, 1) if name == "no-op" else (collatz, COLLATZ_STEP)
    row, idle_mb = measure(name, module, chunks, items)
    return {**asdict(row), "idle_node_mb": round(idle_mb, 1)}


def measure(name: str, module: bytes, chunks: int, items: int) -> tuple[Row, float]:
    """Run one task on a fresh network; also the resident memory of a node before the task, in MB."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cc-bench-")))
        server = stack.enter_context(signaling_server(folder))
        nodes = [
            stack.enter_context(volunteer(folder, f"node-{number}", server["join"])) for number in range(VOLUNTEERS)
        ]
        home = stack.enter_context(open_home(folder / "creator", disk_bytes=DISK_BYTES))
        creator = Creator(home, keys.create(folder / "creator.key"))
        bundle = make_bundle(creator, name, module, chunks, items)
        alone = kernel_alone(bundle, items)
        return uvloop.run(_compute(creator, bundle, server, nodes, items, alone))


def make_bundle(creator: Creator, name: str, module: bytes, chunks: int, items: int) -> Bundle:
    now_s = int(time.time())
    manifest = Manifest(
        schema=1,
        name=name,
        description="",
        link="",
        creator=creator.identity.public_key,
        seal_key=creator.identity.seal_key,
        runtime="wasm",
        code=describe(module),
        split=Range(0, chunks * items, items),
        chunks=chunks,
        inputs=None,
        limits=Limits(memory_bytes=1 << 20, output_bytes=1 << 10, seconds=10.0),
        policy=Policy(replication=2, eps=0.01, liars=0.2, pow_bits=8),
        reward=1,
        epochs=None,
        onward=False,
        permissions=(),
        vouches=(),
        created_s=now_s,
        expires_s=now_s + 86_400,
    )
    signed = sign_manifest(creator.identity, manifest)
    return read_bundle(write_bundle(signed, {sha256(module).digest(): module}), verify)


def kernel_alone(bundle: Bundle, items: int) -> float:
    """Items per second of the kernel in one call over two seconds' worth of items, without any network."""
    program = Program(
        make_engine(one_at_a_time=True), bundle.module, memory_bytes=1 << 20, output_bytes=1 << 10, numbers=True
    )
    count = 1_000 if items == 1 else 500_000
    manifest = bundle.manifest
    if items > 1:
        # One chunk over many numbers: what the kernel does when nothing interrupts it.
        split = Range(0, count, count)
        started = time.process_time()
        program.run(chunk_input(structs.replace(manifest, split=split, chunks=1), 0), 0)
        return count / (time.process_time() - started)
    inputs = [chunk_input(manifest, chunk) for chunk in range(count)]
    started = time.process_time()
    for chunk in inputs:
        program.run(chunk, 0)
    return count / (time.process_time() - started)


async def _compute(
    creator: Creator, bundle: Bundle, server: dict[str, str], nodes: list[Volunteer], items: int, alone: float
) -> tuple[Row, float]:
    creator.store_bundle(bundle)
    async with online(creator, JoinLink.parse(server["join"]), hosts=(LOOPBACK,)) as runtime:
        while len(runtime.peer.neighbours) < len(nodes):
            await runtime.changed()
        idle_mb = max(resident_mb(node.process.pid) for node in nodes)
        before = relayed_bytes(server)
        cpu = resource.getrusage(resource.RUSAGE_SELF)
        runtime.publish(bundle.signed)
        role = runtime.peer.creators[bundle.task_id]
        while not role.ledger.admits:
            await runtime.changed()
        started = time.monotonic()
        while (progress := role.progress()).accepted < bundle.manifest.chunks:
            await asyncio.wait_for(runtime.changed(), 60)
        seconds = time.monotonic() - started
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(f"{bundle.manifest.name}: {seconds:.1f} s", flush=True)
        return (
            Row(
                bundle.manifest.name,
                bundle.manifest.chunks,
                items,
                round(seconds, 2),
                round(bundle.manifest.chunks / seconds, 1),
                round(bundle.manifest.chunks * items / seconds / len(nodes), 1),
                round(alone, 1),
                round(used.ru_utime + used.ru_stime - cpu.ru_utime - cpu.ru_stime, 2),
                round(progress.votes / bundle.manifest.chunks, 3),
                relayed_bytes(server) - before,
            ),
            idle_mb,
        )


def resident_mb(pid: int) -> float:
    """Resident memory of a process, from Linux's /proc."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def relayed_bytes(server: dict[str, str]) -> int:
    """Bytes the signaling server has relayed so far."""
    with urlopen(server["url"] + "/healthz") as answer:
        return int(json.loads(answer.read())["relayed_bytes"])


if __name__ == "__main__":
    sys.exit(main())
