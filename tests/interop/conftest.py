"""The whole product as its users run it: commands in processes of their own on real sockets, each with its CC_HOME.

    desk = place.signaling()                     cc-signaling serve, on a free port
    node = place.node(desk.join, "alice")        cc-node run JOIN, joined when this returns
    ended = place.cc_task("publish", …)          cc-task, run to its end
    job = place.start_cc_task("publish", …)      cc-task, running

Whatever still runs when a test ends is killed. Tests wait for lines, answers of the control socket and records in a
store, never for time to pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.request import urlopen

import pytest
import wasmtime

from crowdcompute.node.control import ControlError, ask
from crowdcompute.node.signaling_client import SignalingClient, SignalingState
from crowdcompute.node.transports.connector import Connector
from crowdcompute.protocol.codec import decode
from crowdcompute.protocol.config import PROTOCOL_VERSION
from crowdcompute.protocol.events import Channel
from crowdcompute.protocol.frames import Frame, Hello, Ping, Pong, decode_frame, encode_frame
from crowdcompute.protocol.identity import Identity, PeerId, peer_id_of, public_key_of
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.records import Checkpoint, Signed
from crowdcompute.protocol.signaling import Relay, Relayed, Undeliverable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from crowdcompute.node.transports.link import Link

F = TypeVar("F", bound=Frame)

EXAMPLES = Path(__file__).parents[2] / "examples"
WITHIN_S = 60.0
"""Nothing here takes a tenth of it; it only keeps a broken test from waiting for ever."""
LOOK_AGAIN_S = 0.02

CC_NODE = (sys.executable, "-m", "crowdcompute.node")
CC_TASK = (sys.executable, "-c", "from crowdcompute.creator.cli import main; raise SystemExit(main())")
CC_SIGNALING = (sys.executable, "-m", "crowdcompute.signaling")

MULTIPLIER, INCREMENT = 6364136223846793005, 1442695040888963407

SPIN = f"""
(module
  (memory (export "memory") 1 1)
  (func (export "cc_alloc") (param i32) (result i32) (i32.const 64))
  (func (export "cc_run") (param $in i32) (param i32) (result i64)
    (local $x i64) (local $left i64)
    (local.set $x (i64.load (local.get $in)))
    (local.set $left (i64.const STEPS))
    (loop $again
      (local.set $x (i64.add (i64.mul (local.get $x) (i64.const {MULTIPLIER})) (i64.const {INCREMENT})))
      (br_if $again (i64.ne (local.tee $left (i64.sub (local.get $left) (i64.const 1))) (i64.const 0))))
    (i64.store (i32.const 128) (local.get $x))
    (i64.or (i64.shl (i64.const 128) (i64.const 32)) (i64.const 8))))
"""
"""A generator of random numbers, stepped so often that it takes a while; Python can jump to where it ends."""


def spun(first: int, steps: int) -> bytes:
    """What SPIN gives for a chunk that begins at `first`."""
    factor, offset, jump_factor, jump_offset = 1, 0, MULTIPLIER, INCREMENT
    while steps:
        if steps & 1:
            factor, offset = factor * jump_factor % 2**64, (offset * jump_factor + jump_offset) % 2**64
        jump_factor, jump_offset = jump_factor * jump_factor % 2**64, (jump_factor + 1) * jump_offset % 2**64
        steps >>= 1
    return ((factor * first + offset) % 2**64).to_bytes(8, "little")


def until(look: Callable[[], Any], what: str) -> Any:
    """What `look` returns once that is true."""
    deadline = time.monotonic() + WITHIN_S
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {WITHIN_S:g} s: {what}"
        time.sleep(LOOK_AGAIN_S)
    return found


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document it printed."""
        document = json.loads(self.out)
        assert isinstance(document, dict)
        return document


class Running:
    """A command that runs, and the lines it has printed so far."""

    def __init__(self, name: str, command: list[str], **options: Any) -> None:
        self.name = name
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            **options,
        )
        self._said = threading.Condition()
        self._lines: dict[str, list[str]] = {"out": [], "err": []}
        self._readers = [
            threading.Thread(target=self._read, args=(stream, where), daemon=True)
            for stream, where in ((self.process.stdout, "out"), (self.process.stderr, "err"))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, where: str) -> None:
        with stream:
            for line in stream:
                with self._said:
                    self._lines[where].append(line)
                    self._said.notify_all()
        with self._said:
            self._lines[where].append("")
            self._said.notify_all()

    @property
    def out(self) -> str:
        return "".join(self._lines["out"])

    @property
    def err(self) -> str:
        return "".join(self._lines["err"])

    def says(self, pattern: str) -> re.Match[str]:
        """Wait for a line, on either stream, that `pattern` is found in."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, self.err, re.MULTILINE) or re.search(pattern, self.out, re.MULTILINE)

        with self._said:
            finished = self._said.wait_for(lambda: found() or self._has_ended(), WITHIN_S)
            match = found()
        assert match is not None, (
            f"{self.name} {'ended' if finished else 'goes on'} without saying {pattern!r}:\n{self.out}{self.err}"
        )
        return match

    def _has_ended(self) -> bool:
        return all(lines[-1:] == [""] for lines in self._lines.values())

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def ended(self) -> Ended:
        """Wait for its end."""
        try:
            code = self.process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} goes on:\n{self.out}{self.err}") from None
        for reader in self._readers:
            reader.join(WITHIN_S)
        return Ended(code, self.out, self.err)


class Signaling(Running):
    """A signaling server that listens."""

    def __init__(self, port: int = 0, settings: dict[str, str] | None = None) -> None:
        super().__init__(
            "cc-signaling",
            [*CC_SIGNALING, "serve", "--port", str(port), "--ready-json"],
            env={**os.environ, **(settings or {})},
        )
        ready = json.loads(self.says(r"^\{.*\}$")[0])
        self.url: str = ready["url"]
        self.port = int(self.url.rpartition(":")[2])

    def join(self, network: str) -> str:
        """The join link of a network of this server; every test has its own."""
        return str(JoinLink(self.url, network))

    def health(self) -> dict[str, Any]:
        with urlopen(f"{self.url}/healthz") as answer:
            document = json.load(answer)
        assert isinstance(document, dict)
        return document


class Node(Running):
    """A `cc-node run`."""

    def __init__(self, home: Path, join: str, *flags: str, **settings: str) -> None:
        self.home = home
        super().__init__(
            f"node {home.name}",
            [*CC_NODE, "run", join, "--yes", "--jobs", "1", "--host", "127.0.0.1", "--nice", "0", *flags],
            env=environment(home, **settings),
        )

    def joined(self) -> Node:
        self.says("joined network")
        return self

    def status(self) -> dict[str, Any]:
        return ask(self.home / "node" / "control.sock", "status", timeout_s=WITHIN_S)

    @property
    def peer_id(self) -> str:
        peer_id = self.status()["peer_id"]
        assert isinstance(peer_id, str)
        return peer_id

    def votes(self) -> int:
        """How many chunks it has voted on."""
        with contextlib.suppress(ControlError):
            return sum(task["votes"] for task in self.status()["tasks"])
        return 0

    def has_voted(self, votes: int = 1) -> None:
        until(lambda: self.votes() >= votes, f"{self.name} has voted on {votes} chunks:\n{self.err}")

    def is_connected_to(self, count: int) -> None:
        until(lambda: len(self.status()["neighbours"]) >= count, f"{self.name} is connected to {count} peers")

    def works(self) -> None:
        """Wait until it computes something."""
        until(lambda: any(task["running"] for task in self.status()["tasks"]), f"{self.name} computes")


def environment(home: Path, **settings: str) -> dict[str, str]:
    """This process's environment without CrowdCompute settings of the person who runs the tests."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CC_")}
    # The engine that everybody has, also where the extra [fast] is installed for tests of its own. Most tests are not
    # about GPUs, and looking for one takes each node a second.
    return {**inherited, "CC_HOME": str(home), "CC_STACK": "aiortc", "CC_GPU": "off", **settings}


@dataclass
class Place:
    """One machine with any number of nodes and creators."""

    folder: Path
    _running: list[Running] = field(default_factory=list)

    def _added(self, running: Any) -> Any:
        self._running.append(running)
        return running

    def signaling(self, port: int = 0, settings: dict[str, str] | None = None) -> Signaling:
        server: Signaling = self._added(Signaling(port, settings))
        return server

    def node(self, join: str, name: str, *flags: str, **settings: str) -> Node:
        """A volunteer; it may not have joined yet."""
        node: Node = self._added(Node(self.folder / name, join, *flags, **settings))
        return node

    def nodes(self, join: str, *names: str) -> list[Node]:
        """Volunteers that have joined."""
        return [node.joined() for node in [self.node(join, name) for name in names]]

    def start(self, command: tuple[str, ...], *arguments: object, home: str, on: Any = None, **options: Any) -> Running:
        """A command; `on` is a machine of a lab."""
        running: Running = self._added(
            Running(
                " ".join(map(str, (home, *arguments))),
                [*(on.prefix if on is not None else ()), *command, *map(str, arguments)],
                env=environment(self.folder / home, **options.pop("settings", {})),
                **options,
            )
        )
        return running

    def start_cc_task(self, *arguments: object, home: str = "creator", **options: Any) -> Running:
        return self.start(CC_TASK, *arguments, home=home, **options)

    def cc_task(self, *arguments: object, home: str = "creator", **options: Any) -> Ended:
        return self.start_cc_task(*arguments, home=home, **options).ended()

    def start_publish(self, folder: Path, join: str, *flags: str) -> Running:
        """`cc-task publish --wait` on loopback."""
        return self.start_cc_task("publish", folder, "--link", join, "--wait", "--host", "127.0.0.1", *flags)

    def cc_node(self, *arguments: object, home: str = "node", **options: Any) -> Ended:
        return self.start(CC_NODE, *arguments, home=home, **options).ended()

    def results(self, task: str, into: str, home: str = "creator") -> tuple[dict[int, bytes], list[dict[str, Any]]]:
        """`cc-task results`: the files by chunk, and the lines of results.ndjson."""
        folder = self.folder / into
        ended = self.cc_task("results", task, "-o", folder, home=home)
        assert ended.code == 0, ended.err
        files = {int(file.stem): file.read_bytes() for file in folder.glob("[0-9]*.bin")}
        return files, [json.loads(line) for line in (folder / "results.ndjson").read_text().splitlines()]

    def stored(self, kind: str, home: str = "creator") -> list[Signed]:
        """The records of a kind that a running creator has stored."""
        path = self.folder / home / "creator" / "records.db"
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            try:
                rows = connection.execute("SELECT signed FROM records WHERE kind = ?", (kind,)).fetchall()
            except sqlite3.OperationalError:  # Its tables are being made, or it writes.
                return []
        return [decode(signed, Signed) for (signed,) in rows]

    def has_accepted(self) -> None:
        """Wait until the creator has stored a checkpoint in which a chunk is accepted; the first may say none is."""
        until(
            lambda: any(any(decode(signed.body, Checkpoint).accepted) for signed in self.stored("checkpoint")),
            "the creator has stored an accepted chunk",
        )

    def example(self, name: str, *changes: tuple[str, str]) -> Path:
        """A copy of an example with some text of its task.toml replaced."""
        folder = self.folder / name
        shutil.copytree(EXAMPLES / name, folder)
        text = (folder / "task.toml").read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (folder / "task.toml").write_text(text)
        return folder

    def task(self, name: str, wat: str, chunks: int, more: str = "") -> Path:
        """A task whose module is given as text; chunk i's input begins with i."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "kernel.wasm").write_bytes(wasmtime.wat2wasm(wat))
        (folder / "task.toml").write_text(
            f'schema = 1\nname = "{name}"\n[code]\nmodule = "kernel.wasm"\n[split]\nrange = [0, {chunks}, 1]\n'
            f'[limits]\nmemory = "1MiB"\noutput = "1KiB"\nseconds = 20\n{more}'
        )
        return folder

    def slow_task(self, chunks: int, steps: int, more: str = "") -> tuple[Path, dict[int, bytes]]:
        """A task whose chunks take a few ms per million `steps`, and its right results."""
        folder = self.task("spin", SPIN.replace("STEPS", str(steps)), chunks, more)
        return folder, {chunk: spun(chunk, steps) for chunk in range(chunks)}

    def clean_up(self) -> None:
        for running in self._running:
            if running.process.poll() is None:
                running.process.kill()
        for running in self._running:
            running.ended()


class Newcomer:
    """A peer that is played by hand: real signaling, real data channels, and every frame as the test says.

    Its connector lives on a loop in a thread of its own, so that tests that drive browsers can use it.
    """

    def __init__(self, join: str) -> None:
        self._link = JoinLink.parse(join)
        self._identity = Identity(os.urandom(32))
        self._loop = asyncio.new_event_loop()
        self._links: dict[PeerId, Link] = {}
        self._frames: dict[PeerId, list[Frame]] = {}
        self._said = threading.Condition()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._connector: Connector = self._do(self._enter())
        until(lambda: self._signaling.state is SignalingState.ENTERED, "the newcomer has entered")

    @property
    def peer_id(self) -> PeerId:
        return self._identity.peer_id

    async def _enter(self) -> Connector:
        identity = self._identity
        self._signaling = SignalingClient(self._link.websocket_urls[0], identity, self._link.network, Random(1))
        connector = Connector(
            identity,
            self._link.network,
            self._signaling,
            on_link=self._linked,
            on_dial_failed=lambda peer_id, reason: None,
            on_signal=lambda to, through, data: self._say(through, Relay(public_key_of(to), data)),
            on_peers=lambda peer_ids: None,
            on_signaling=lambda state, detail: None,
            hosts=("127.0.0.1",),
        )
        connector.start()
        return connector

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WITHIN_S)

    def _linked(self, link: Link, dialled: bool) -> None:
        peer_id = link.peer_id
        self._links[peer_id] = link
        link.attach(lambda _channel, data: self._hears(peer_id, decode_frame(data)), lambda reason: None)
        self._say(peer_id, Hello((PROTOCOL_VERSION,), self._link.network, "a newcomer"))

    def _say(self, peer_id: PeerId, frame: Frame) -> None:
        self._links[peer_id].send(Channel.CONTROL, encode_frame(frame))

    def _hears(self, peer_id: PeerId, frame: Frame) -> None:
        match frame:
            case Ping(nonce=nonce):
                self._say(peer_id, Pong(nonce))
            case Relayed(signal=signal):
                self._connector.signal_arrived(peer_id, signal)
            case Undeliverable(to=to):
                self._connector.signal_undelivered(peer_id_of(to), peer_id)
        self._frames.setdefault(peer_id, []).append(frame)

    def heard(self, peer_id: str, kind: type[F]) -> F:
        """Wait for a frame of this kind from a neighbour."""
        frame: F = until(
            lambda: next((each for each in self._frames.get(PeerId(peer_id), ()) if isinstance(each, kind)), None),
            f"{peer_id} says {kind.__name__} to the newcomer",
        )
        return frame

    def says(self, peer_id: str, frame: Frame) -> None:
        self._loop.call_soon_threadsafe(self._say, PeerId(peer_id), frame)

    def dials(self, peer_id: str, through: str | None = None) -> None:
        way = None if through is None else PeerId(through)
        self._loop.call_soon_threadsafe(self._connector.dial, PeerId(peer_id), way)

    def meets(self, peer_id: str, through: str | None = None) -> None:
        """Dial, and wait until the other has said hello."""
        self.dials(peer_id, through)
        self.heard(peer_id, Hello)

    def knows(self, peer_id: str) -> bool:
        return PeerId(peer_id) in self._links

    def close(self) -> None:
        self._do(self._connector.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WITHIN_S)
        self._loop.close()


class Blocked:
    """Where no direct path is:

        left 10.77.1.2 --- 10.77.1.1 relay 10.77.2.1 --- 10.77.2.2 right

    The relay forwards no packets. Its coturn and its signaling server have an address that both sides have a route to.
    """

    ADDRESS = "10.77.0.1"
    SECRET = "north"

    def __init__(self, place: Place, lab: Any) -> None:
        if shutil.which("turnserver") is None:
            pytest.fail("there is no coturn: apt-get install coturn")
        self._place = place
        self.relay, self.left, self.right = (lab.machine(name) for name in ("relay", "left", "right"))
        lab.cable(self.relay, self.left, "10.77.1")
        lab.cable(self.relay, self.right, "10.77.2")
        self.relay.ip("address", "add", f"{self.ADDRESS}/32", "dev", "lo")
        self.left.ip("route", "add", self.ADDRESS, "via", "10.77.1.1")
        self.right.ip("route", "add", self.ADDRESS, "via", "10.77.2.1")
        assert not self.left.reaches("10.77.2.2")
        log = place.folder / "turnserver.log"
        coturn = ["turnserver", "-n", "--listening-ip", self.ADDRESS, "--relay-ip", self.ADDRESS]
        coturn += ["--use-auth-secret", "--static-auth-secret", self.SECRET, "--realm", "crowdcompute"]
        coturn += ["--no-tls", "--no-dtls", "--no-cli", "--verbose", "--simple-log", "--log-file", str(log)]
        coturn += ["--pidfile", str(place.folder / "turnserver.pid"), "--userdb", str(place.folder / "turndb")]
        self.coturn = place.start(tuple(coturn), home="coturn", on=self.relay)
        self._log = log
        until(lambda: "UDP listener opened" in self.log, "coturn listens")

    @property
    def log(self) -> str:
        """What coturn has done."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def relayed(self) -> set[str]:
        """The peers for which the relay has carried something, by the names in their credentials."""
        return set(re.findall(r"user <\d+:(\w+)>: incoming packet CHANNEL_BIND processed, success", self.log))

    def signaling(self, *flags: str) -> str:
        """A signaling server on the relay's machine; its base URL."""
        serve = ["serve", "--host", self.ADDRESS, "--port", "0", "--ready-json", *flags]
        server = self._place.start((*CC_SIGNALING, *serve), home="desk", on=self.relay)
        url = json.loads(server.says(r"^\{.*\}$")[0])["url"]
        assert isinstance(url, str)
        return url


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    # Short, because a control socket's path has at most 103 bytes.
    place = Place(tmp_path_factory.mktemp("place"))
    try:
        yield place
    finally:
        place.clean_up()


@pytest.fixture(scope="session")
def places() -> Callable[[Path], Place]:
    """Makes a place that several tests share; whoever makes it cleans it up."""
    return Place


@pytest.fixture(scope="session")
def desk() -> Iterator[Signaling]:
    """A signaling server for all tests that do not harm it."""
    server = Signaling()
    try:
        yield server
    finally:
        server.kill()
        server.ended()


@pytest.fixture
def join(desk: Signaling, request: pytest.FixtureRequest) -> str:
    """The join link of a network of this test alone."""
    return desk.join(sha256(request.node.nodeid.encode()).hexdigest()[:12])


@pytest.fixture
def newcomer() -> Iterator[Callable[[str], Newcomer]]:
    """Makes newcomers to the network of a join link."""
    made: list[Newcomer] = []

    def make(join: str) -> Newcomer:
        made.append(Newcomer(join))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def lab() -> Iterator[Any]:
    """Machines in network namespaces (namespaces.py)."""
    path = Path(__file__).with_name("namespaces.py")
    spec = importlib.util.spec_from_file_location("cc_test_namespaces", path)
    assert spec is not None
    assert spec.loader is not None
    namespaces = sys.modules.setdefault(spec.name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(namespaces)
    lab = namespaces.Lab()
    try:
        yield lab
    finally:
        lab.close()


@pytest.fixture
def blocked(place: Place, lab: Any) -> Blocked:
    """Two machines that reach a third and not each other; on the third run coturn and a signaling server."""
    return Blocked(place, lab)


@pytest.fixture
def cc_node(place: Place) -> Callable[..., Running]:
    """Starts `cc-node`, on a machine of a lab if `on` says so."""
    return functools.partial(place.start, CC_NODE)


@pytest.fixture
def cc_task(place: Place) -> Callable[..., Running]:
    return functools.partial(place.start, CC_TASK)


@pytest.fixture(scope="session")
def wait_until() -> Callable[[Callable[[], Any], str], Any]:
    return until


def task_id_of(publishing: Running) -> str:
    """The id of the task that a `cc-task publish` has published."""
    return publishing.says(r"^task .* ([0-9a-f]{64})$")[1]


@pytest.fixture(scope="session")
def task_id() -> Callable[[Running], str]:
    return task_id_of
