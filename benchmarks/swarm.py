"""A blob from its creator to volunteers whose uploads are capped, beside the simulation of the same network.

    python -m benchmarks.swarm [--quick]

A signaling server, a creator and volunteers, all processes of their own, connected by WebRTC on loopback. The inputs of
a task (`lines`: fetched whole) go to all; each volunteer's clock stops when the creator has heard it join, which it
does once it holds them. Both stand beside Kumar and Ross's least time. Loopback carries far more than the
caps let through, so a busy machine costs little.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import uvloop
from benchmarks.cases import Report, answer, parser
from benchmarks.kernels import Kernel

from crowdcompute.creator.local_network import LOOPBACK, signaling_server, volunteer
from crowdcompute.creator.session import DISK_BYTES, Creator, online
from crowdcompute.node import keys
from crowdcompute.node.home import open_home
from crowdcompute.protocol.blobs import PIECE_BYTES, describe
from crowdcompute.protocol.bundle import Bundle, read_bundle, write_bundle
from crowdcompute.protocol.identity import verify
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.manifest import Limits, Lines, Manifest, Policy, sign_manifest
from crowdcompute.protocol.wasm import rewrite
from crowdcompute.simulations.dissemination import Dissemination, Setting

if TYPE_CHECKING:
    from crowdcompute.creator.local_network import Volunteer

LINE_BYTES = 64
SIMULATED_SEEDS = 5
CHUNKS = 256
CODE = rewrite(Kernel.spinning(20_000_000).module)
"""Of about 20 ms: work enough that the task is not over before the last has joined, who would not join any more."""


def main() -> int:
    arguments = parser("swarm", __doc__)
    arguments.add_argument("--peers", type=int, default=5)
    arguments.add_argument("--pieces", type=int, help="of 64 KiB (default: 64, 4 MiB; --quick 32)")
    arguments.add_argument("--upload", type=int, default=100_000, help="of a volunteer, bytes a second")
    arguments.add_argument("--source", type=float, default=4.0, help="the creator's upload in volunteers'")
    options = arguments.parse_args()
    if options.case:
        answer(options, case)
    pieces = options.pieces or (32 if options.quick else 64)
    network = {"peers": options.peers, "pieces": pieces, "upload": options.upload, "source": options.source}
    with Report("swarm", options) as report:
        report.found |= network
        if (simulated := report.case("simulated", limit_s=120, kind="simulated", **network)) is not None:
            middle_s = simulated["seconds"][SIMULATED_SEEDS // 2]
            bound_s = report.found["bound_s"] = round(simulated["bound_s"], 2)
            report.found["simulated_s"] = simulated["seconds"]
            report.found["simulated_ratio"] = round(middle_s / bound_s, 3)
            print(f"least time {bound_s:.1f} s; simulated {middle_s:.1f} s, {middle_s / bound_s:.2f} times that")
            limit_s = 90 + 3 * bound_s
            if (real := report.case("real", limit_s=limit_s, kind="real", **network)) is not None:
                report.found["real_s"] = real
                report.found["real_ratio"] = round(real[-1] / bound_s, 3)
                report.found["real_to_simulated"] = round(real[-1] / middle_s, 3)
                print(f"real {real[-1]:.1f} s, {real[-1] / bound_s:.2f} times that")
    return report.code


def case(kind: str, peers: int, pieces: int, upload: float, source: float) -> Any:
    setting = Setting(
        peers,
        pieces,
        upload_bytes_per_s=upload,
        source_factor=source,
        download_factor=1_000.0,
        latency_s=(0.001, 0.003),
    )
    if kind == "real":
        return [round(seconds, 2) for seconds in measure(setting)]
    spreads = [Dissemination(setting, seed).run() for seed in range(1, SIMULATED_SEEDS + 1)]
    return {"bound_s": spreads[0].bound_s, "seconds": sorted(round(spread.seconds, 2) for spread in spreads)}


def measure(setting: Setting) -> list[float]:
    """Seconds from publishing until each volunteer had everything, ascending."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cc-bench-")))
        server = stack.enter_context(signaling_server(folder))
        os.environ["CC_UPLOAD"] = str(int(setting.upload_bytes_per_s))
        nodes = [
            stack.enter_context(volunteer(folder, f"node-{number}", server["join"])) for number in range(setting.peers)
        ]
        home = stack.enter_context(open_home(folder / "creator", disk_bytes=DISK_BYTES))
        creator = Creator(home, keys.create(folder / "creator.key"))
        bundle = make_bundle(creator, setting.pieces * PIECE_BYTES)
        cap = setting.upload_bytes_per_s * setting.source_factor
        return uvloop.run(_spread(creator, bundle, server["join"], nodes, cap))


def make_bundle(creator: Creator, size: int) -> Bundle:
    """A task whose inputs have `size` bytes, and that is not done before all have joined it."""
    now_s = int(time.time())
    rng = Random(1)
    line_count = size // LINE_BYTES
    inputs = b"".join(rng.randbytes((LINE_BYTES - 1) // 2).hex().encode() + b".\n" for _ in range(line_count))
    manifest = Manifest(
        schema=1,
        name="swarm",
        description="",
        link="",
        creator=creator.identity.public_key,
        seal_key=creator.identity.seal_key,
        runtime="wasm",
        code=describe(CODE),
        split=Lines(per_chunk=line_count // CHUNKS),
        chunks=CHUNKS,
        inputs=describe(inputs),
        limits=Limits(memory_bytes=64 << 20, output_bytes=1 << 10, seconds=10.0),
        policy=Policy(replication=3, eps=0.5, liars=0.2, pow_bits=0),
        reward=1,
        epochs=None,
        onward=False,
        permissions=(),
        vouches=(),
        created_s=now_s,
        expires_s=now_s + 86_400,
    )
    signed = sign_manifest(creator.identity, manifest)
    return read_bundle(write_bundle(signed, {sha256(blob).digest(): blob for blob in (CODE, inputs)}), verify)


async def _spread(
    creator: Creator, bundle: Bundle, join: str, nodes: list[Volunteer], upload_bytes_per_s: float
) -> list[float]:
    creator.store_bundle(bundle)
    joined: dict[bytes, float] = {}
    async with online(
        creator, JoinLink.parse(join), hosts=(LOOPBACK,), upload_bytes_per_s=upload_bytes_per_s
    ) as runtime:
        while len(runtime.peer.neighbours) < len(nodes):
            await asyncio.wait_for(runtime.changed(), 60)
        # They are still meeting each other.
        await asyncio.sleep(5)
        started = time.monotonic()
        runtime.publish(bundle.signed)
        role = runtime.peer.creators[bundle.task_id]
        while len(joined) < len(nodes):
            await asyncio.wait_for(runtime.changed(), 120)
            for worker in role.ledger.joins:
                joined.setdefault(worker, time.monotonic() - started)
    return sorted(joined.values())


if __name__ == "__main__":
    sys.exit(main())
