"""libp2p links beside WebRTC links in one run: what they carry, at what cost, and how soon a network works.

    python benchmarks/links.py

Two processes on loopback for each kind of link: bulk frames of 64 KiB one way under the link's own backpressure, then
single control frames there and back while nothing else is sent. Then whole networks: two volunteers start, the creator
is there already, and the clock runs until its first accepted chunk (two votes), with a signaling server, without one by
mDNS, and without one by the creator's address.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import uvloop
from network import NO_OP, make_bundle  # type: ignore[import-not-found]  # the file beside this one

from crowdcompute.creator.local_network import LOOPBACK, signaling_server, volunteer
from crowdcompute.creator.session import DISK_BYTES, Creator, online
from crowdcompute.node import keys
from crowdcompute.node.home import open_home
from crowdcompute.node.signaling_client import SignalingClient
from crowdcompute.node.transports.connector import Connector
from crowdcompute.node.transports.libp2p_host import Libp2pHost
from crowdcompute.node.transports.link import BUFFERED_HIGH_BYTES
from crowdcompute.protocol.events import Channel
from crowdcompute.protocol.identity import Identity, PeerId
from crowdcompute.protocol.join_link import JoinLink

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.node.transports.link import Link

ROOT = Path(__file__).parents[1]
SENDER, RECEIVER = (Identity(bytes([seed]) * 32) for seed in (1, 2))
FRAME = bytes(64 * 1024)
ROUND_TRIPS = 300
WITHIN_S = 120.0
"""A link or a network that takes longer has failed."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--megabytes", type=int, default=100, help="bulk carried by each link")
    arguments.add_argument("--repeat", type=int, default=3)
    arguments.add_argument("--receive", help=argparse.SUPPRESS)
    arguments.add_argument("--at", help=argparse.SUPPRESS)
    arguments.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "links.json")
    options = arguments.parse_args()
    if options.receive:
        uvloop.run(receive(options.receive, options.at))
        return
    links: dict[str, list[dict[str, float]]] = {"webrtc": [], "libp2p": []}
    with tempfile.TemporaryDirectory(prefix="cc-links-") as folder, signaling_server(Path(folder)) as server:
        url = JoinLink.parse(server["join"]).websocket_urls[0]
        for _ in range(options.repeat):
            for kind, rows in links.items():
                rows.append(uvloop.run(asyncio.wait_for(send(kind, url, options.megabytes), WITHIN_S)))
    carried = {
        kind: {name: round(statistics.median(row[name] for row in rows), 3) for name in rows[0]}
        for kind, rows in links.items()
    }
    first = {way: round(statistics.median(first_result(way) for _ in range(options.repeat)), 2) for way in WAYS}
    print(f"\n{'link':8} {'MB/s':>8} {'CPU-s/GB':>9} {'RTT ms':>8}")
    for kind, row in carried.items():
        print(f"{kind:8} {row['mb_per_s']:8.1f} {row['cpu_s_per_gb']:9.1f} {row['rtt_ms']:8.2f}")
    print(f"{'ratio':8} {carried['libp2p']['mb_per_s'] / carried['webrtc']['mb_per_s']:8.1f}")
    for way, seconds in first.items():
        print(f"from the start of two volunteers to the first verified chunk, {way}: {seconds:.1f} s")
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average": os.getloadavg()[0],
        "links": carried,
        "first_verified_chunk_s": first,
    }
    options.output.write_text(json.dumps(report, indent=2) + "\n")


# ---- one link


async def opened(
    kind: str, identity: Identity, url: str, peer: tuple[PeerId, tuple[str, ...]] | None, told: Callable[[Any], None]
) -> tuple[Link, Any]:
    """The link between the two, dialled where `peer` is given, and what to close in the end."""
    made: asyncio.Future[Link] = asyncio.get_running_loop().create_future()

    def on_link(link: Link, dialled: bool) -> None:
        made.set_result(link)

    def on_failed(peer_id: PeerId, reason: str) -> None:
        made.set_exception(ConnectionError(reason))

    ends: Any
    if kind == "libp2p":
        ends = Libp2pHost(
            identity.secret(),
            "bench",
            port=0,
            hosts=(LOOPBACK,),
            bootstrap=(),
            on_link=on_link,
            on_dial_failed=on_failed,
            on_found=lambda peer_id, addresses: None,
        )
        await ends.start()
        told(list(ends.addresses))
        if peer is not None:
            ends.dial(*peer)
    else:
        entered = asyncio.Event()
        ends = Connector(
            identity,
            "bench",
            SignalingClient(url, identity, "bench", Random(1)),
            on_link=on_link,
            on_dial_failed=on_failed,
            on_signal=lambda to, through, signal: None,
            on_peers=lambda peer_ids: entered.set(),
            on_signaling=lambda state, detail: None,
            hosts=(LOOPBACK,),
            ice_servers=(),
        )
        ends.start()
        await entered.wait()
        told([])
        if peer is not None:
            ends.dial(peer[0])
    return await made, ends


async def send(kind: str, url: str, megabytes: int) -> dict[str, float]:
    """Carry so much to a process of its own, and count."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--receive", kind, "--at", url), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        addresses = tuple(json.loads(await process.stdout.readline()))
        link, ends = await opened(kind, SENDER, url, (RECEIVER.peer_id, addresses), lambda what: None)
        answers: asyncio.Queue[bytes] = asyncio.Queue()
        link.attach(lambda channel, frame: answers.put_nowait(frame), lambda reason: None)
        trips = []
        for _ in range(ROUND_TRIPS):
            started = time.perf_counter()
            link.send(Channel.CONTROL, b"ping")
            await answers.get()
            trips.append(time.perf_counter() - started)
        count = megabytes * 1_000_000 // len(FRAME)
        before = cpu_s()
        started = time.perf_counter()
        for _ in range(count):
            link.send(Channel.BULK, FRAME)
            if link.buffered > BUFFERED_HIGH_BYTES:
                await link.drained()
        link.send(Channel.BULK, b"all")
        theirs_s = float(await answers.get())
        seconds = time.perf_counter() - started
        used_s = cpu_s() - before + theirs_s
        await ends.close()
    finally:
        process.kill()
        await process.wait()
    carried = count * len(FRAME)
    return {
        "mb_per_s": carried / 1e6 / seconds,
        "cpu_s_per_gb": used_s / (carried / 1e9),
        "rtt_ms": statistics.median(trips) * 1e3,
    }


async def receive(kind: str, url: str) -> None:
    """The other process, until it is killed: echo control frames, swallow bulk, say in the end what that took."""
    link, _ = await opened(kind, RECEIVER, url, None, lambda what: print(json.dumps(what), flush=True))
    begun: list[float] = []

    def came(channel: Channel, frame: bytes) -> None:
        if channel is Channel.CONTROL:
            link.send(Channel.CONTROL, frame)
        elif frame == b"all":
            link.send(Channel.CONTROL, str(cpu_s() - begun[0]).encode())
        elif not begun:
            begun.append(cpu_s())

    link.attach(came, lambda reason: None)
    await asyncio.Event().wait()


def cpu_s() -> float:
    """This process's CPU time so far, of all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# ---- a whole network

WAYS = ("with a signaling server", "by mDNS", "by the creator's address")


def first_result(way: str) -> float:
    """Seconds from the start of two volunteers to the first chunk that both have computed."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cc-links-")))
        network = f"bench-{os.urandom(4).hex()}"
        join = JoinLink("", network)
        if way == WAYS[0]:
            join = JoinLink.parse(stack.enter_context(signaling_server(folder))["join"])
        home = stack.enter_context(open_home(folder / "creator", disk_bytes=DISK_BYTES))
        creator = Creator(home, keys.create(folder / "creator.key"))
        return uvloop.run(_first_result(creator, join, way, folder))


async def _first_result(creator: Creator, join: JoinLink, way: str, folder: Path) -> float:
    bundle = make_bundle(creator, "first", NO_OP, 64, 1)
    creator.store_bundle(bundle)
    async with online(creator, join, hosts=(LOOPBACK,)) as runtime:
        runtime.publish(bundle.signed)
        role = runtime.peer.creators[bundle.task_id]
        if way == WAYS[2]:
            assert runtime.native is not None
            join = replace(join, bootstrap=runtime.native.addresses)
        with ExitStack() as stack:
            started = time.monotonic()
            nodes = [stack.enter_context(volunteer(folder, f"node-{number}", str(join))) for number in range(2)]
            try:
                async with asyncio.timeout(WITHIN_S):
                    while role.progress().accepted == 0:
                        await runtime.changed()
            except TimeoutError:
                said = "\n".join(node.log.read_text() for node in nodes)
                raise SystemExit(f"nothing was computed {way}; the volunteers said:\n{said}") from None
            return time.monotonic() - started


if __name__ == "__main__":
    main()
