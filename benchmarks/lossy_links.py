"""What one link carries on a bad line, and what several carry together.

    python -m benchmarks.lossy_links [--quick] [--loss 0.005] [--delay-ms 40] [--neighbours 1 2 4 8]

A receiver is linked with one, two, four and eight neighbours, who send it equal parts of one transfer at the same time;
every link goes through a UDP proxy of its own in this process that delays each packet and loses some, so that each link
has a line of its own, as neighbours have. With loss SCTP holds a link near 1191 B / RTT / sqrt(2 * loss / 3), the
Mathis limit, whatever engine makes it: what helps is more links. The first row is a line without loss.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import sqrt
from random import Random
from typing import TYPE_CHECKING, Any

from benchmarks.cases import Report, answer, parser

from crowdcompute.node.transports.link import BUFFERED_HIGH_BYTES
from crowdcompute.node.transports.webrtc import link_class
from crowdcompute.protocol.events import Channel
from crowdcompute.protocol.identity import Identity
from crowdcompute.protocol.signals import fingerprint_of

if TYPE_CHECKING:
    from crowdcompute.node.transports.link import StackName
    from crowdcompute.node.transports.webrtc import WebRtcLink

LOOPBACK = ("127.0.0.1",)
FRAME_BYTES = 16 * 1024
SO_RCVBUFFORCE = 33
BUFFER_BYTES = 8 * 1024 * 1024
SEGMENT_BYTES = 1_191
"""What libwebrtc's SCTP puts into a packet."""


@dataclass
class Row:
    stack: str
    loss: float
    delay_ms: float
    neighbours: int
    megabytes: float
    seconds: float

    @property
    def mb_per_s(self) -> float:
        return self.megabytes / self.seconds


class Line(asyncio.DatagramProtocol):
    """One end of a bad line: what comes for whom it stands for leaves from the other end, later or not at all."""

    def __init__(self, rng: Random, loss: float, delay_s: float) -> None:
        self._rng, self._loss, self._delay_s = rng, loss, delay_s
        self.other: Line
        self.target: tuple[str, int]
        """Whom it stands for."""

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.DatagramTransport = transport
        # Nothing may be lost but by chance: root may exceed what the system allows.
        udp = transport.get_extra_info("socket")
        try:
            udp.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        except OSError:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)

    @property
    def port(self) -> int:
        port: int = self._transport.get_extra_info("sockname")[1]
        return port

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if self._rng.random() >= self._loss:
            asyncio.get_running_loop().call_later(self._delay_s, self.other.leave, data, self.target)

    def leave(self, data: bytes, target: tuple[str, int]) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(data, target)

    def close(self) -> None:
        self._transport.close()


async def line(rng: Random, loss: float, delay_s: float) -> tuple[Line, Line]:
    loop = asyncio.get_running_loop()
    ends = [
        (await loop.create_datagram_endpoint(lambda: Line(rng, loss, delay_s), local_addr=("127.0.0.1", 0)))[1]
        for _ in range(2)
    ]
    ends[0].other, ends[1].other = ends[1], ends[0]
    return ends[0], ends[1]


def through(sdp: str, end: Line) -> str:
    """The same description, with the line's end for an address; `end` learns who is behind it."""
    lines = []
    for text in sdp.splitlines():
        if text.startswith("a=candidate:"):
            fields = text.split(" ")
            end.target = (fields[4], int(fields[5]))
            fields[5] = str(end.port)
            text = " ".join(fields)
        lines.append(text)
    return "\r\n".join(lines) + "\r\n"


async def linked(stack: StackName, ends: tuple[Line, Line]) -> tuple[WebRtcLink, WebRtcLink]:
    """Two ends of a link whose packets all go over a line."""
    peer_id = Identity(bytes(32)).peer_id
    one, other = (link_class(stack)(peer_id, hosts=LOOPBACK) for _ in range(2))
    offer = await one.make_offer()
    answer = await other.accept_offer(through(offer, ends[0]))
    await one.accept_answer(through(answer, ends[1]))
    async with asyncio.timeout(30):
        await asyncio.gather(one.opened(fingerprint_of(answer)), other.opened(fingerprint_of(offer)))
    return one, other


async def measure(stack: StackName, loss: float, delay_ms: float, neighbours: int, megabytes: float) -> Row:
    rng = Random(neighbours)
    lines = [await line(rng, loss, delay_ms / 1000) for _ in range(neighbours)]
    links = [await linked(stack, ends) for ends in lines]
    frames = int(megabytes * 1e6 / FRAME_BYTES)
    left, done = frames, asyncio.Event()

    def received(channel: Channel, frame: bytes) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            done.set()

    for here, there in links:
        here.attach(received, lambda reason: None)
        there.attach(lambda channel, frame: None, lambda reason: None)

    async def send(link: WebRtcLink, count: int) -> None:
        for _ in range(count):
            link.send(Channel.BULK, bytes(FRAME_BYTES))
            if link.buffered > BUFFERED_HIGH_BYTES:
                await link.drained()

    started = time.perf_counter()
    shares = [frames // neighbours + (number < frames % neighbours) for number in range(neighbours)]
    sending = [asyncio.create_task(send(there, share)) for (_, there), share in zip(links, shares, strict=True)]
    await done.wait()
    seconds = time.perf_counter() - started
    await asyncio.gather(*sending)
    for here, there in links:
        here.close("done")
        there.close("done")
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            await asyncio.gather(*(link.wait_closed() for pair in links for link in pair))
    for ends in lines:
        for end in ends:
            end.close()
    return Row(stack, loss, delay_ms, neighbours, frames * FRAME_BYTES / 1e6, seconds)


def case(stack: StackName, **line: Any) -> dict[str, Any]:
    return asdict(asyncio.run(measure(stack, **line)))


def main() -> int:
    arguments = parser("lossy_links", __doc__)
    arguments.add_argument("--stacks", nargs="+", default=["aiortc", "wrtc"])
    arguments.add_argument("--loss", type=float, default=0.005)
    arguments.add_argument("--delay-ms", type=float, default=40.0, help="in each direction")
    arguments.add_argument("--neighbours", nargs="+", type=int, default=[1, 2, 4, 8])
    arguments.add_argument("--megabytes", type=float, help="default: 4, --quick 2")
    options = arguments.parse_args()
    if options.case:
        answer(options, case)
    megabytes = options.megabytes or (2.0 if options.quick else 4.0)
    mathis = SEGMENT_BYTES / (2 * options.delay_ms / 1000) / sqrt(2 * options.loss / 3) / 1e6
    print(f"{megabytes:g} MB, round trip {2 * options.delay_ms:g} ms; Mathis limit of a link {mathis:.2f} MB/s")
    with Report("lossy_links", options) as report:
        report.found["mathis_mb_per_s"] = mathis
        rows = report.found["rows"] = []
        for stack in options.stacks:
            alone: float | None = None
            for loss, neighbours in [(0.0, 1), *((options.loss, count) for count in options.neighbours)]:
                line = {"loss": loss, "delay_ms": options.delay_ms, "neighbours": neighbours, "megabytes": megabytes}
                name = f"{stack}, {loss:.1%} lost, {neighbours} neighbours"
                if (row := report.case(name, limit_s=60 + 30 * megabytes, stack=stack, **line)) is None:
                    continue
                rows.append(row)
                rate = row["megabytes"] / row["seconds"]
                alone = rate if loss and neighbours == 1 else alone
                gain = f"{rate / alone:.1f} x one link" if alone and neighbours > 1 else ""
                print(
                    f"{stack:7} loss {loss:4.1%}  {neighbours} neighbours  {rate:6.2f} MB/s"
                    f"  {row['seconds']:5.1f} s  {gain}",
                    flush=True,
                )
    return report.code


if __name__ == "__main__":
    sys.exit(main())
