"""One signaling server on loopback under load: connected idle peers, introductions a second, memory for each.

    python -m benchmarks.signaling [--quick] [--peers 500 1000 2000 4000]

The server is `cc-signaling serve` as it is, with its limits; clients are WebSockets of this process, from many
addresses of loopback, because one address may hold 256. An introduction is an offer of the usual size relayed to a
peer, and its answer relayed back. Both processes share this machine's cores, so a server of its own does better.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.cases import Report, answer, parser
from websockets.asyncio.client import ClientConnection, connect

from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.identity import Identity
from crowdcompute.protocol.signaling import Enter, Relay, Relayed, Welcome, enter, parse_from_server

OFFER = os.urandom(2_500)
"""An offer with its certificate, candidates and signature."""
PER_ADDRESS = 250
AT_ONCE = 40
IDLE_S = 10.0
INTRODUCING_S = 8.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass
class Row:
    peers: int
    joins_per_s: float
    """While they joined, signatures made and checked."""
    server_mb: float
    kb_per_peer: float
    idle_cpu_percent: float
    introductions_per_s: float
    cpu_ms_per_introduction: float
    median_ms: float
    """From an offer sent to its answer received."""


class Server:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "crowdcompute.signaling", "serve", "--port", "0", "--ready-json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        self.ready: dict[str, str] = json.loads(self._process.stdout.readline())

    def resident_kb(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


class Client:
    """One peer: it has entered, and answers whatever is relayed to it."""

    def __init__(self, number: int) -> None:
        self.identity = Identity(number.to_bytes(32))
        self._address = f"127.0.{1 + number // PER_ADDRESS}.1"
        self._socket: ClientConnection | None = None
        self._answered = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def join(self, url: str) -> None:
        socket = await connect(
            url, local_addr=(self._address, 0), compression=None, ping_interval=None, open_timeout=60, proxy=None
        )
        self._socket = socket
        welcome = parse_from_server(bytes(await socket.recv(decode=False)))
        assert isinstance(welcome, Welcome)
        message: Enter = enter(self.identity, "load", welcome.nonce)
        await socket.send(encode(message))
        await socket.recv(decode=False)
        self._reader = asyncio.create_task(self._read(socket))

    async def _read(self, socket: ClientConnection) -> None:
        async for data in socket:
            message = parse_from_server(bytes(data))  # type: ignore[arg-type]  # the server sends bytes only
            if isinstance(message, Relayed) and message.signal[:1] == b"o":
                await socket.send(encode(Relay(message.sender, b"a" + OFFER)))
            elif isinstance(message, Relayed):
                self._answered.set()

    async def introduce(self, to: Client, until: float, times_s: list[float]) -> None:
        """Offer again and again, a second's share of messages at most."""
        assert self._socket is not None
        while (began := time.monotonic()) < until:
            self._answered.clear()
            await self._socket.send(encode(Relay(to.identity.public_key, b"o" + OFFER)))
            try:
                await asyncio.wait_for(self._answered.wait(), 10)
            except TimeoutError:
                return
            times_s.append(time.monotonic() - began)
            await asyncio.sleep(max(0.0, 0.2 - (time.monotonic() - began)))

    async def leave(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
        if self._socket is not None:
            await self._socket.close()


async def measure(peers: int, introducing: int) -> Row:
    server = Server()
    url = server.ready["url"].replace("http", "ws", 1).rstrip("/") + "/ws"
    clients: list[Client] = []
    try:
        empty_kb = server.resident_kb()
        began = time.monotonic()
        while len(clients) < peers:
            more = [Client(len(clients) + index + 1) for index in range(min(AT_ONCE, peers - len(clients)))]
            await asyncio.gather(*(client.join(url) for client in more))
            clients += more
        joins_per_s = peers / (time.monotonic() - began)
        cpu_s = server.cpu_s()
        await asyncio.sleep(IDLE_S)
        idle_cpu = (server.cpu_s() - cpu_s) / IDLE_S
        resident_kb = server.resident_kb()
        times_s: list[float] = []
        cpu_s, until = server.cpu_s(), time.monotonic() + INTRODUCING_S
        active = clients[:introducing]
        await asyncio.gather(
            *(client.introduce(clients[-1 - index], until, times_s) for index, client in enumerate(active))
        )
        spent_s = server.cpu_s() - cpu_s
    finally:
        await asyncio.gather(*(client.leave() for client in clients), return_exceptions=True)
        server.stop()
    return Row(
        peers,
        joins_per_s,
        resident_kb / 1_024,
        (resident_kb - empty_kb) / peers,
        100 * idle_cpu,
        len(times_s) / INTRODUCING_S,
        1_000 * spent_s / max(1, len(times_s)),
        1_000 * sorted(times_s)[len(times_s) // 2] if times_s else 0.0,
    )


def case(peers: int, introducing: int) -> dict[str, float]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return asdict(asyncio.run(measure(peers, introducing)))


def main() -> int:
    arguments = parser("signaling", __doc__)
    arguments.add_argument("--peers", type=int, nargs="+", help="4,000 at most: one network holds 5,000")
    arguments.add_argument("--introducing", type=int, default=400, help="peers that offer at a time")
    options = arguments.parse_args()
    if options.case:
        answer(options, case)
    with Report("signaling", options) as report:
        rows = report.found["rows"] = []
        for peers in options.peers or ([500, 1_000] if options.quick else [500, 1_000, 2_000, 4_000]):
            row = report.case(f"{peers} peers", limit_s=60 + 0.05 * peers, peers=peers, introducing=options.introducing)
            if row is not None:
                rows.append(row)
                print(" ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
    return report.code


if __name__ == "__main__":
    sys.exit(main())
