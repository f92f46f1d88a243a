"""What carries links side by side in one run: aiortc, wrtc, libp2p and direct links; and how soon a network works.

    python -m benchmarks.links [--quick]

Two processes on loopback for each kind of link. Small frames, 200 bytes there and back, with 1, 16 and 64 in flight:
the round trip of one, and the CPU time of both processes for each. Then payloads of 64 KiB to 4 MiB in bulk frames of
64 KiB, each acknowledged before the next begins, and as many as fit in one go, under the link's own backpressure. Then
whole networks: two volunteers start, the creator is there already, and the clock runs until its first accepted chunk
(two votes), with a signaling server, without one by mDNS, and without one by the creator's address.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import uvloop
from benchmarks.cases import Report, answer, parser
from benchmarks.network import NO_OP, make_bundle

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

SENDER, RECEIVER = (Identity(bytes([seed]) * 32) for seed in (1, 2))
KINDS = ("aiortc", "wrtc", "libp2p", "direct")
FRAME = bytes(64 * 1024)
SMALL = bytes(200)
IN_FLIGHT = (1, 16, 64)
PAYLOADS = (64 << 10, 256 << 10, 1 << 20, 4 << 20)
WITHIN_S = 120.0
"""A link or a network that takes longer has failed."""
CASE_S_MAX = WITHIN_S + 15
"""With what a process needs to say so."""


def main() -> int:
    arguments = parser("links", __doc__)
    arguments.add_argument("--megabytes", type=int, help="bulk carried by each link (default: 100, --quick 30)")
    arguments.add_argument("--payloads", type=int, help="megabytes of each size (default: 64, --quick 16)")
    arguments.add_argument("--round-trips", type=int, help="with each number in flight (default: 2000, --quick 500)")
    arguments.add_argument("--repeat", type=int, help="default: 3, --quick 1")
    arguments.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    arguments.add_argument("--links-only", action="store_true")
    arguments.add_argument("--receive", help=argparse.SUPPRESS)
    arguments.add_argument("--at", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.receive:
        uvloop.run(receive(options.receive, options.at))
    if options.case:
        answer(options, case)
    repeat = options.repeat or (1 if options.quick else 3)
    sizes = {
        "megabytes": options.megabytes or (30 if options.quick else 100),
        "payloads": options.payloads or (16 if options.quick else 64),
        "round_trips": options.round_trips or (500 if options.quick else 2_000),
    }
    ways = () if options.links_only else WAYS
    with Report("links", options) as report:
        report.found.update(sizes, links={}, first_verified_chunk_s={})
        rows: dict[str, list[dict[str, float]]] = {kind: [] for kind in options.kinds}
        for number in range(repeat):
            for kind, found in rows.items():
                name = f"{kind}, {number + 1}"
                if (row := report.case(name, limit_s=CASE_S_MAX, kind=kind, **sizes)) is not None:
                    found.append(row)
        links = report.found["links"] = {
            kind: {name: round(statistics.median(row[name] for row in found), 3) for name in found[0]}
            for kind, found in rows.items()
            if found
        }
        print(f"{'':26}" + "".join(f"{kind:>10}" for kind in links))
        for name in next(iter(links.values()), {}):
            print(f"{name:26}" + "".join(f"{row[name]:10.3f}" for row in links.values()), flush=True)
        for way in ways:
            tries = (report.case(f"{way}, {number + 1}", limit_s=CASE_S_MAX, way=way) for number in range(repeat))
            if times_s := [took_s for took_s in tries if took_s is not None]:
                took_s = report.found["first_verified_chunk_s"][way] = round(statistics.median(times_s), 2)
                print(
                    f"from the start of two volunteers to the first verified chunk, {way}: {took_s:.1f} s", flush=True
                )
    return report.code


def case(kind: str = "", way: str = "", **sizes: int) -> Any:
    if way:
        return first_result(way)
    with tempfile.TemporaryDirectory(prefix="cc-links-") as folder, signaling_server(Path(folder)) as server:
        url = JoinLink.parse(server["join"]).websocket_urls[0]
        return uvloop.run(asyncio.wait_for(send(kind, url, **sizes), WITHIN_S))


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
            stack="auto" if kind == "direct" else "aiortc" if kind == "aiortc" else "wrtc",
        )
        ends.start()
        await entered.wait()
        told([])
        if peer is not None:
            ends.dial(peer[0])
    return await made, ends


async def send(kind: str, url: str, megabytes: int, payloads: int, round_trips: int) -> dict[str, float]:
    """Carry so much to a process of its own, in one go and as payloads of each size, and count."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.links", "--receive", kind, "--at", url), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        addresses = tuple(json.loads(await process.stdout.readline()))
        link, ends = await opened(kind, SENDER, url, (RECEIVER.peer_id, addresses), lambda what: None)
        assert link.over == ("webrtc" if kind.endswith("rtc") else kind)
        answers: asyncio.Queue[bytes] = asyncio.Queue()
        link.attach(lambda channel, frame: answers.put_nowait(frame), lambda reason: None)

        async def used_s() -> float:
            link.send(Channel.CONTROL, CPU)
            return cpu_s() + float(await answers.get())

        row: dict[str, float] = {}
        for in_flight in IN_FLIGHT:
            trips: list[float] = []
            before, started = await used_s(), time.perf_counter()
            sent = deque[float]()
            while len(trips) < round_trips:
                while len(sent) < in_flight:
                    sent.append(time.perf_counter())
                    link.send(Channel.CONTROL, SMALL)
                await answers.get()
                trips.append(time.perf_counter() - sent.popleft())
            seconds = time.perf_counter() - started
            while sent:
                await answers.get()
                sent.popleft()
            row[f"{in_flight} in flight, trip ms"] = statistics.median(trips) * 1e3
            row[f"{in_flight} in flight, trips/s"] = round_trips / seconds
            row[f"{in_flight} in flight, CPU ms"] = (await used_s() - before) / round_trips * 1e3

        async def carry(frames: int) -> None:
            for _ in range(frames):
                link.send(Channel.BULK, FRAME)
                if link.buffered > BUFFERED_HIGH_BYTES:
                    await link.drained()
            link.send(Channel.BULK, ALL)
            await answers.get()

        for size in (*PAYLOADS, megabytes * 1_000_000):
            name = f"{size >> 10} KiB" if size in PAYLOADS else "in one go"
            # aiortc is slow.
            count = max(1, payloads * 1_000_000 // size // (8 if kind == "aiortc" else 1))
            before, started = await used_s(), time.perf_counter()
            for _ in range(count):
                await carry(size // len(FRAME))
            gigabytes = count * (size // len(FRAME)) * len(FRAME) / 1e9
            row[f"{name}, MB/s"] = gigabytes * 1e3 / (time.perf_counter() - started)
            row[f"{name}, CPU-s/GB"] = (await used_s() - before) / gigabytes
        await ends.close()
    finally:
        process.kill()
        await process.wait()
    return row


CPU = b"how much CPU time have you used?"
ALL = b"have you all of it?"


async def receive(kind: str, url: str) -> None:
    """The other process, until it is killed: echo small frames, swallow bulk, say when it is there and what it took."""
    link, _ = await opened(kind, RECEIVER, url, None, lambda what: print(json.dumps(what), flush=True))

    def came(channel: Channel, frame: bytes) -> None:
        if frame == CPU:
            link.send(Channel.CONTROL, str(cpu_s()).encode())
        elif frame == ALL or channel is Channel.CONTROL:
            link.send(Channel.CONTROL, frame)

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
    sys.exit(main())
