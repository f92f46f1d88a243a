"""The connection doctor beside real servers: signaling, STUN responders, and what this machine itself can do."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aioice import stun

from crowdcompute.node.doctor import machine
from crowdcompute.node.doctor.findings import Mark
from crowdcompute.node.doctor.traversal import Mappings, Server, mappings, nat_found, stun_found, turn_found
from crowdcompute.node.doctor.visit import clock, visit
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.signaling import IceServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

anyio = pytest.mark.anyio

AN_HOUR_AHEAD = """
import sys, time
now = time.time
time.time = lambda: now() + 3600
from crowdcompute.signaling.__main__ import main
main()
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextmanager
def signaling(*flags: str, program: Sequence[str] = ("-m", "crowdcompute.signaling")) -> Iterator[str]:
    """A signaling server in a process of its own; its join link."""
    command = [sys.executable, *program, "serve", "--port", "0", "--ready-json", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["join"]
        finally:
            process.kill()


class Responder(asyncio.DatagramProtocol):
    """A STUN server. `shift` is what a NAT that gives every connection another port would add."""

    def __init__(self, shift: int = 0, address: str | None = None) -> None:
        self._shift = shift
        self._address = address

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        request = stun.parse_message(data)
        answer = stun.Message(request.message_method, stun.Class.RESPONSE, request.transaction_id)
        answer.attributes["XOR-MAPPED-ADDRESS"] = (self._address or addr[0], addr[1] + self._shift)
        self._transport.sendto(bytes(answer), addr)


@asynccontextmanager
async def stun_servers(*shifts: int, address: str | None = None) -> AsyncIterator[list[Server]]:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        servers = []
        for shift in shifts:
            transport, _ = await loop.create_datagram_endpoint(
                lambda shift=shift: Responder(shift, address),  # type: ignore[misc]
                local_addr=("127.0.0.1", 0),
            )
            stack.callback(transport.close)
            port = transport.get_extra_info("sockname")[1]
            servers.append(Server.of(IceServer(f"stun:127.0.0.1:{port}", "", "")))
        yield servers


@contextmanager
def silent_udp_port() -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        yield silent.getsockname()[1]


def doctor(home: Path, *arguments: str, **settings: str) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "crowdcompute.node", "doctor", *arguments],
        env={"CC_HOME": str(home), "PATH": "/usr/bin:/bin", **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not ended.stderr, ended.stderr
    return ended.returncode, ended.stdout


def rows(document: str) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in json.loads(document)["rows"]}


def test_the_device_that_kernels_run_on_is_named(tmp_path: Path) -> None:
    _, off = doctor(tmp_path, "--json", CC_GPU="off")
    assert rows(off)["GPU"]["sentence"] == "Kernels run as modules on the processor, as no GPU is used: turned off."
    _, software = doctor(tmp_path, "--json", CC_GPU="software")
    assert rows(software)["GPU"]["state"] == "ok"
    assert "Portable Computing Language" in rows(software)["GPU"]["sentence"]


def test_a_healthy_machine_has_a_row_for_everything_and_exit_code_0(tmp_path: Path) -> None:
    with signaling() as join:
        code, out = doctor(tmp_path, join, "--json", "--host", "127.0.0.1")
    states = {name: row["state"] for name, row in rows(out).items()}
    assert list(states) == [
        *("WebSocket", "Clock", "UDP", "TCP", "STUN", "TURN", "NAT", "mDNS", "DHT", "Disk", "Sandbox", "GPU")
    ]
    # Machines without multicast exist, and the exit code says so; all else must be well where tests run.
    assert (code, json.loads(out)["ok"]) == ((1, False) if states["mDNS"] == "failed" else (0, True))
    assert {name for name, state in states.items() if state == "failed"} <= {"mDNS"}
    assert {states[name] for name in ("WebSocket", "Clock", "UDP", "TCP", "Disk", "Sandbox")} == {"ok"}


def test_a_server_that_is_gone_is_a_cross_with_help_and_exit_code_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    code, out = doctor(tmp_path, f"http://127.0.0.1:{port}/j#n=main", "--host", "127.0.0.1")
    assert code == 1
    assert "✗ WebSocket  The server cannot be reached (nothing listens there): check the link" in out
    assert "WebSocket" in out.splitlines()[-1]


def test_without_a_link_what_needs_no_server_is_tried(tmp_path: Path) -> None:
    _, out = doctor(tmp_path, "--json", "--host", "127.0.0.1")
    assert rows(out)["WebSocket"]["state"] == "note"
    assert rows(out)["UDP"]["state"] == rows(out)["Sandbox"]["state"] == "ok"


@anyio
async def test_a_server_that_wants_an_invite_we_do_not_have_refuses() -> None:
    with signaling("--invite", "only-for-friends") as join:
        whole = JoinLink.parse(join)
        assert (await visit(whole)).websocket.mark is Mark.GOOD
        seen = await visit(JoinLink(whole.base_url, whole.network))
    assert seen.websocket.mark is Mark.BAD
    assert "refuses us" in seen.websocket.sentence


@anyio
async def test_a_clock_an_hour_off_is_found() -> None:
    with signaling(program=("-c", AN_HOUR_AHEAD)) as join:
        found = clock(await visit(JoinLink.parse(join)))
    assert found.mark is Mark.BAD
    assert "60 minutes behind the server's" in found.sentence


@anyio
async def test_the_servers_list_reaches_the_probes() -> None:
    async with stun_servers(0) as (server,):
        with signaling("--stun", f"stun:127.0.0.1:{server.port}") as join:
            seen = await visit(JoinLink.parse(join))
        assert seen.ice_servers is not None
        servers = [Server.of(each) for each in seen.ice_servers]
        found = await mappings(servers, "127.0.0.1")
        assert stun_found(servers, found).mark is Mark.GOOD


@anyio
async def test_a_stun_server_that_does_not_answer_is_found() -> None:
    with silent_udp_port() as port:
        servers = [Server.of(IceServer(f"stun:127.0.0.1:{port}", "", ""))]
        found = await mappings(servers, "127.0.0.1")
    assert stun_found(servers, found).mark is Mark.BAD
    assert nat_found(servers, found).mark is Mark.NOTE


@pytest.mark.parametrize(
    ("shifts", "address", "mark", "words"),
    [
        ((0, 0), None, Mark.GOOD, "None"),
        ((7, 7), "203.0.113.5", Mark.GOOD, "keeps one address"),
        ((1, 2), "203.0.113.5", Mark.BAD, "symmetric"),
        ((1,), "203.0.113.5", Mark.NOTE, "single STUN server"),
    ],
)
@anyio
async def test_the_kind_of_nat_follows_from_what_several_servers_see(
    shifts: tuple[int, ...], address: str | None, mark: Mark, words: str
) -> None:
    async with stun_servers(*shifts, address=address) as servers:
        found = nat_found(servers, await mappings(servers, "127.0.0.1"))
    assert (found.mark, words in found.sentence) == (mark, True)


def test_a_symmetric_nat_is_no_failure_where_a_turn_server_relays() -> None:
    servers = [Server.of(IceServer("turn:198.51.100.1", "user", "word"))]
    two_ports = {("198.51.100.1", 1): ("203.0.113.5", 1), ("198.51.100.2", 1): ("203.0.113.5", 2)}
    assert nat_found(servers, Mappings(2, two_ports, frozenset())).mark is Mark.NOTE


@anyio
async def test_a_turn_server_that_does_not_answer_is_found() -> None:
    with silent_udp_port() as port:
        found = await turn_found([Server.of(IceServer(f"turn:127.0.0.1:{port}", "user", "word"))])
    assert (found.mark, "does not answer" in found.sentence) == (Mark.BAD, True)


@anyio
async def test_too_little_disk_is_found(tmp_path: Path) -> None:
    assert (await machine.disk(tmp_path / "not" / "there", 1)).mark is Mark.GOOD
    assert (await machine.disk(tmp_path, 2**60)).mark is Mark.BAD
