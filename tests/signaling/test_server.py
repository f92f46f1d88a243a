"""`cc-signaling` as its users meet it: a process, real sockets, real WebSockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, TypeVar
from urllib.request import urlopen

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.identity import Identity
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.signaling import (
    MESSAGE_BYTES_MAX,
    Ask,
    Entered,
    FromClient,
    FromServer,
    Ice,
    IceServer,
    Peers,
    Refused,
    Relay,
    Relayed,
    Welcome,
    enter,
    parse_from_server,
)
from crowdcompute.protocol.turn import turn_server

pytestmark = pytest.mark.anyio

T = TypeVar("T")

ALICE, BOB = Identity(b"a" * 32), Identity(b"b" * 32)
COMMAND = [sys.executable, "-m", "crowdcompute.signaling"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextlib.contextmanager
def running(*flags: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A server on a free port: the process, and what it printed when it listened."""
    settings = {f"CC_SIGNALING_{name}": value for name, value in environment.items()}
    with subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--ready-json", *flags],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | settings,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running() as (_, ready):
        yield ready["url"]


class Client:
    """One WebSocket, speaking the protocol's messages."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, message: FromClient) -> None:
        await self.socket.send(encode(message))

    async def receive(self, kind: type[T]) -> T:
        async with asyncio.timeout(10):
            data = await self.socket.recv()
        assert isinstance(data, bytes)
        message: FromServer = parse_from_server(data)
        assert isinstance(message, kind), message
        return message

    async def is_hung_up_on(self) -> int | None:
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionClosed):
                await self.socket.recv()
        return self.socket.close_code


@contextlib.asynccontextmanager
async def client(url: str) -> Any:
    async with connect(f"ws{url.removeprefix('http')}/ws", proxy=None, close_timeout=1) as socket:
        yield Client(socket)


@contextlib.asynccontextmanager
async def entered(url: str, identity: Identity, network: str = "main") -> Any:
    async with client(url) as one:
        await one.send(enter(identity, network, (await one.receive(Welcome)).nonce))
        one.peers = (await one.receive(Entered)).peers
        yield one


def health(url: str) -> dict[str, Any]:
    with urlopen(f"{url}/healthz") as response:
        answer: dict[str, Any] = json.load(response)
    return answer


async def until_health(url: str, is_right: Callable[[dict[str, Any]], bool]) -> None:
    """A departed client is forgotten as soon as its connection has closed: ask until then."""
    async with asyncio.timeout(10):
        while not is_right(await asyncio.to_thread(health, url)):
            continue


async def test_two_clients_are_introduced_and_their_signals_counted(url: str) -> None:
    before = health(url)
    async with entered(url, ALICE) as alice, entered(url, BOB) as bob:
        assert (alice.peers, bob.peers) == ((), (ALICE.public_key,))
        await alice.send(Ask(32))
        assert (await alice.receive(Peers)).peers == (BOB.public_key,)
        await alice.send(Relay(BOB.public_key, b"signal"))
        assert await bob.receive(Relayed) == Relayed(ALICE.public_key, b"signal")
        during = await asyncio.to_thread(health, url)
        assert (during["status"], during["peers"], during["networks"]) == ("ok", 2, 1)
        assert during["relayed_messages"] == before["relayed_messages"] + 1
        assert during["relayed_bytes"] == before["relayed_bytes"] + 6
    await until_health(url, lambda health: (health["peers"], health["networks"]) == (0, 0))


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\xa5enter", encode(["enter"]), "text", Random(1).randbytes(900)])
async def test_garbage_is_refused_and_hurts_nobody_else(url: str, data: bytes | str) -> None:
    async with entered(url, BOB, "garbage") as bystander:
        async with client(url) as one:
            await one.receive(Welcome)
            await one.socket.send(data)
            assert (await one.receive(Refused)).code == "malformed"
            assert await one.is_hung_up_on() == 1008
        await bystander.send(Ask(1))
        await bystander.receive(Peers)


async def test_a_message_over_64_kib_ends_the_connection(url: str) -> None:
    async with client(url) as one:
        await one.receive(Welcome)
        await one.socket.send(bytes(MESSAGE_BYTES_MAX + 1))
        assert await one.is_hung_up_on() == 1009


async def test_the_newest_connection_of_a_key_wins(url: str) -> None:
    async with entered(url, ALICE) as first, entered(url, ALICE):
        assert (await first.receive(Refused)).code == "replaced"
        assert await first.is_hung_up_on() == 1008


async def test_a_flood_is_refused() -> None:
    with running(MESSAGES_BURST="5", MESSAGES_PER_S="0.001") as (_, ready):
        async with entered(ready["url"], ALICE) as one:
            for _ in range(5):
                await one.send(Ask(1))
            for _ in range(4):
                await one.receive(Peers)
            assert (await one.receive(Refused)).code == "rate"
            assert await one.is_hung_up_on() == 1008


async def test_a_full_network_and_a_full_address_are_refused() -> None:
    with running(CLIENTS_PER_ADDRESS="2", PEERS_PER_NETWORK="1") as (_, ready):
        url = ready["url"]
        async with entered(url, ALICE), client(url) as second:
            async with client(url) as third:
                assert (await third.receive(Refused)).code == "full"
                assert await third.is_hung_up_on() == 1008
            await second.send(enter(BOB, "main", (await second.receive(Welcome)).nonce))
            refused = await second.receive(Refused)
            assert (refused.code, "network main" in refused.reason) == ("full", True)


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    with running(MESSAGES_BURST="100000") as (_, ready):
        async with entered(ready["url"], ALICE) as alice, entered(ready["url"], BOB) as bob:
            bob.socket.transport.pause_reading()
            while (await asyncio.to_thread(health, ready["url"]))["peers"] == 2:
                for _ in range(50):
                    await alice.send(Relay(BOB.public_key, bytes(24 * 1024)))
            bob.socket.transport.abort()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_server_well_although_clients_are_connected(number: signal.Signals) -> None:
    with running() as (process, ready):
        async with entered(ready["url"], ALICE) as one:
            process.send_signal(number)
            assert await asyncio.to_thread(process.wait, 10) == 0
            assert await one.is_hung_up_on() == 1012


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=30, env=os.environ | environment
    )


def test_a_port_in_use_is_one_sentence_and_exit_code_3() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("serve", "--port", str(port))
    assert ended.returncode == 3
    assert ended.stderr == (
        f"cc-signaling: cannot listen on 127.0.0.1 port {port}: Address already in use;"
        " choose another with --host and --port (0 is any free port).\n"
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (("--network", "Main"), {}, "'Main' is not a network name"),
        (("--port", "70000"), {}, "port"),
        (("--public-url", "example.org"), {}, "https://example.org"),
        (("--host", "not a host"), {}, "cannot listen on not a host"),
        ((), {"CC_SIGNALING_PROT": "1"}, "CC_SIGNALING_PROT is no setting"),
        ((), {"CC_SIGNALING_CLIENTS": "many"}, "clients"),
        (("--stun", "stun.example.org"), {}, "does not look like stun:host:port"),
        (("--stun", "turn:turn.example.org"), {}, "--stun takes stun:host:port"),
        (("--turn", "turn:turn.example.org"), {}, "--turn needs --turn-secret"),
        (("--turn-secret", "hush"), {}, "--turn needs --turn-secret"),
    ],
)
def test_a_setting_that_is_not_usable_is_one_sentence_and_exit_code_3(
    arguments: tuple[str, ...], environment: dict[str, str], words: str
) -> None:
    ended = run("serve", *arguments, **environment)
    assert ended.returncode == 3
    assert words in ended.stderr
    assert ended.stderr.startswith("cc-signaling: ")
    assert ended.stderr.count("\n") == 1


async def test_ice_servers_come_with_credentials_for_who_enters() -> None:
    turn = "turn:turn.example.org?transport=tcp"
    settings = {"TURN_SECRET": "hush", "STUN": "stun:a.example.org,stun:b.example.org:1"}
    with running("--turn", turn, **settings) as (_, ready):
        async with client(ready["url"]) as alice:
            welcome = await alice.receive(Welcome)
            await alice.send(enter(ALICE, "main", welcome.nonce))
            servers = (await alice.receive(Ice)).servers
            await alice.receive(Entered)
    assert servers[:2] == (IceServer("stun:a.example.org", "", ""), IceServer("stun:b.example.org:1", "", ""))
    expires_s = int(servers[2].username.partition(":")[0])
    assert servers[2] == turn_server(turn, "hush", ALICE.peer_id, expires_s)
    assert 0 <= welcome.time_s + 24 * 3600 - expires_s < 60


def test_wrong_usage_is_exit_code_2() -> None:
    assert run("serve", "--nope").returncode == 2
    assert run("dance").returncode == 2


def test_flags_win_over_the_environment_and_the_join_link_names_the_network() -> None:
    with running("--network", "flag", NETWORK="env", PUBLIC_URL="https://cc.example.org/") as (_, ready):
        assert JoinLink.parse(ready["join"]) == JoinLink("https://cc.example.org", "flag")
