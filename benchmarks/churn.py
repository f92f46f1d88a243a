"""A job among machines that die: what nodes killed, a network cut in two and a dead signaling server cost.

    sudo python benchmarks/churn.py [--chunks 1500] [--partition-s 20] [--every-s 5]

Eight nodes, a creator and a signaling server, each a machine of its own in a network namespace (needs root), compute
one job twice: undisturbed, which is called ideal, and with everything that goes wrong:

    every few seconds   30% of the nodes are killed (kill -9) and replaced by new ones with new keys; one of them is
                        stopped (SIGSTOP) for as long before: its links stay, and nothing comes from it
    at a tenth          half of the nodes are cut off from the rest, the creator and the signaling server for a while
    at a quarter        the signaling server is killed; who is killed then is replaced when it is back, at two thirds

*Share of undisturbed* is the undisturbed time over the disturbed one. *Ideal* is the undisturbed rate times the share
of node-seconds there were: a node counts while it runs, is not stopped and is not cut off. *Share of ideal* is that of
the ideal time to the real one. All machines share the cores of this one, so a killed node's part of them goes to those
that are left; where cores are what limits, the two shares enclose what machines of their own would show. What is lost
is the work that a node had not told of, what others wait for in vain, and what it costs to start another.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import json
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import wasmtime

from crowdcompute.protocol.codec import decode
from crowdcompute.protocol.records import Checkpoint, Signed

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
CC_NODE = (sys.executable, "-m", "crowdcompute.node")
CC_TASK = (sys.executable, "-c", "from crowdcompute.creator.cli import main; raise SystemExit(main())")
CC_SIGNALING = (sys.executable, "-m", "crowdcompute.signaling")
NODES = 8
KILLED = (2, 3)
"""How many of them are killed at a time, in turn: 30%."""
SETTLE_S = 3.0
"""After a partition peers get this long to meet again before the server that introduces them dies."""
PORT = 8765
SUBNET = "10.78.0"

KERNEL = """
(module
  (memory (export "memory") 1 1)
  (func (export "cc_alloc") (param i32) (result i32) (i32.const 64))
  (func (export "cc_run") (param $in i32) (param i32) (result i64)
    (local $x i64) (local $left i64)
    (local.set $x (i64.load (local.get $in)))
    (local.set $left (i64.const STEPS))
    (loop $again
      (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))
      (br_if $again (i64.ne (local.tee $left (i64.sub (local.get $left) (i64.const 1))) (i64.const 0))))
    (i64.store (i32.const 128) (local.get $x))
    (i64.or (i64.shl (i64.const 128) (i64.const 32)) (i64.const 8))))
"""


@dataclass(frozen=True)
class Trouble:
    """What goes wrong, and how often."""

    every_s: float = 5.0
    partition_s: float = 20.0


@dataclass
class Course:
    """How one job went."""

    code: int
    seconds: float
    """From the first worker's vote that counts to the end of the creator's command."""
    live_node_s: float = 0.0
    """Node-seconds of nodes that ran, were not stopped and could be reached."""
    nine_tenths_s: float = 0.0
    """When nine tenths of the chunks were accepted: what comes after is the tail."""
    killed: int = 0
    stopped: int = 0
    replaced: int = 0
    partitions: int = 0
    signaling_killed: bool = False
    said: str = ""
    """What the creator said, for whoever asks why it went wrong."""
    moments: list[str] = field(default_factory=list)


def namespaces() -> Any:
    """tests/interop/namespaces.py."""
    spec = importlib.util.spec_from_file_location("cc_namespaces", ROOT / "tests" / "interop" / "namespaces.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault(spec.name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


class Network:
    """Machines of one local network, and what runs on them."""

    def __init__(self, folder: Path, lab: Any) -> None:
        self._folder = folder
        self._lab = lab
        self._started = 0
        self.desk, self.creator = lab.machine("desk"), lab.machine("creator")
        self.machines = [lab.machine(f"node{number}") for number in range(NODES)]
        everybody = [self.desk, self.creator, *self.machines]
        self._addresses = {machine.name: f"{SUBNET}.{number}" for number, machine in enumerate(everybody, start=1)}
        self.switch = lab.switch(everybody, [f"{self._addresses[machine.name]}/24" for machine in everybody])
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        """By machine."""
        self.join = f"http://{SUBNET}.1:{PORT}/j#n=churn"

    def start_signaling(self) -> None:
        """Start it, and return when it listens."""
        command = [*CC_SIGNALING, "serve", "--host", f"{SUBNET}.1", "--port", str(PORT), "--ready-json"]
        process = self._start(self.desk, command, {}, stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout as ready:
            ready.readline()

    def start_node(self, machine: Any) -> None:
        """A volunteer that never was here before."""
        self._started += 1
        home = self._folder / f"home{self._started}"
        command = [*CC_NODE, "run", self.join, "--yes", "--jobs", "1", "--nice", "0", "--quiet"]
        self._start(machine, [*command, "--host", self._addresses[machine.name]], {"CC_HOME": str(home)})

    def publish(self, task: Path) -> subprocess.Popen[bytes]:
        command = [*CC_TASK, "publish", str(task), "--link", self.join, "--wait"]
        home = {"CC_HOME": str(self._folder / "creator")}
        with (self._folder / "creator.log").open("wb") as said:
            return self._start(
                self.creator, [*command, "--host", self._addresses[self.creator.name]], home, stderr=said
            )

    def kill(self, machine: Any) -> None:
        process = self.running.pop(machine.name)
        process.kill()
        process.wait()

    def close(self) -> None:
        for process in self.running.values():
            process.kill()
        for process in self.running.values():
            process.wait()
        self.running.clear()

    def accepted(self) -> int:
        """Chunks that the creator has accepted, by the checkpoints it has stored."""
        path = self._folder / "creator" / "creator" / "records.db"
        with (
            contextlib.suppress(sqlite3.OperationalError),
            contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database,
        ):
            rows = database.execute("SELECT signed FROM records WHERE kind = 'checkpoint'").fetchall()
            newest: dict[int, Checkpoint] = {}
            for (signed,) in rows:
                body = decode(decode(signed, Signed).body, Checkpoint)
                if body.shard not in newest or newest[body.shard].seq < body.seq:
                    newest[body.shard] = body
            return sum(byte.bit_count() for checkpoint in newest.values() for byte in checkpoint.accepted)
        return 0

    def _start(
        self, machine: Any, command: list[str], settings: dict[str, str], **streams: Any
    ) -> subprocess.Popen[bytes]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CC_")}
        process: subprocess.Popen[bytes] = subprocess.Popen(
            [*machine.prefix, *command],
            env={**inherited, "CC_STACK": "aiortc", **settings},
            stdin=subprocess.DEVNULL,
            **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **streams},
        )
        self.running[machine.name] = process
        return process


def compute(folder: Path, task: Path, chunks: int, trouble: Trouble | None, seed: int = 1) -> Course:
    """Have eight nodes compute a task; its results are in the creator's home, `folder`/creator."""
    lab = namespaces().Lab()
    try:
        network = Network(folder, lab)
        try:
            return _computed(network, folder, task, chunks, trouble, Random(seed))
        finally:
            network.close()
    finally:
        lab.close()


def _computed(network: Network, folder: Path, task: Path, chunks: int, trouble: Trouble | None, rng: Random) -> Course:
    network.start_signaling()
    for machine in network.machines:
        network.start_node(machine)
    publishing = network.publish(task)
    while not network.accepted():
        assert publishing.poll() is None, (folder / "creator.log").read_text()
        time.sleep(0.1)
    started = time.monotonic()
    course = Course(0, 0.0)
    events = _trouble(network, course, chunks, trouble, rng, started) if trouble is not None else iter(())
    while publishing.poll() is None:
        next(events, None)
        if not course.nine_tenths_s and network.accepted() >= 0.9 * chunks:
            course.nine_tenths_s = time.monotonic() - started
        time.sleep(0.1)
    course.seconds = time.monotonic() - started
    course.code = publishing.returncode
    course.said = (folder / "creator.log").read_text()
    del network.running[network.creator.name]
    return course


def _trouble(
    network: Network, course: Course, chunks: int, trouble: Trouble, rng: Random, started: float
) -> Iterator[None]:
    """Each step looks at how far the job is and does what is due."""
    kill_at, heal_at, settled_at = started + trouble.every_s, 0.0, 0.0
    numbers = itertools.cycle(KILLED)
    waiting: list[Any] = []
    stopped: list[Any] = []
    desk = network.desk.name
    looked_at = started

    def live() -> int:
        cut_off = network.machines[NODES // 2 :] if heal_at else []
        return sum(
            machine.name in network.running and machine not in (*stopped, *cut_off) for machine in network.machines
        )

    def note(what: str) -> None:
        course.moments.append(f"{time.monotonic() - started:5.1f} s, {done / chunks:4.0%} accepted: {what}")

    while True:
        done, now = network.accepted(), time.monotonic()
        course.live_node_s += live() * (now - looked_at)
        looked_at = now
        if now >= kill_at and done < chunks:
            kill_at = now + trouble.every_s
            alive = [machine for machine in network.machines if machine.name in network.running]
            victims = rng.sample(alive, min(len(alive) - 2, next(numbers)))
            fresh, *dying = [machine for machine in victims if machine not in stopped] or [None]
            for machine in (*stopped, *dying):
                network.kill(machine)
                course.killed += 1
                waiting.append(machine)
            note(f"{len(stopped) + len(dying)} nodes killed, {0 if fresh is None else 1} stopped")
            stopped = [] if fresh is None else [fresh]
            for machine in stopped:
                network.running[machine.name].send_signal(signal.SIGSTOP)
                course.stopped += 1
        if desk in network.running and not heal_at:
            # Nobody enters a network that is cut in two, or has nobody who lets in.
            for machine in waiting:
                network.start_node(machine)
                course.replaced += 1
            waiting.clear()
        if heal_at and now >= heal_at:
            network.switch.heal()
            heal_at, settled_at = 0.0, now + SETTLE_S
            note("the halves are one again")
        if not course.partitions and done >= chunks / 10:
            network.switch.split(network.machines[NODES // 2 :])
            course.partitions, heal_at = 1, now + trouble.partition_s
            note("half of the nodes are cut off")
        if not course.signaling_killed and settled_at and now >= settled_at and done >= chunks / 4:
            network.kill(network.desk)
            course.signaling_killed = True
            note("the signaling server is killed")
        elif course.signaling_killed and desk not in network.running and done >= chunks * 2 / 3:
            network.start_signaling()
            note("there is a signaling server again")
        yield


def steps_for(seconds: float) -> int:
    """Steps of the kernel that take a core of this machine so long when nobody else wants it."""
    tried = 3_000_000
    store = wasmtime.Store()
    module = wasmtime.Module(store.engine, KERNEL.replace("STEPS", str(tried)))
    run = wasmtime.Instance(store, module, []).exports(store)["cc_run"]
    assert isinstance(run, wasmtime.Func)
    took_s = []
    for _ in range(5):
        started = time.perf_counter()
        run(store, 64, 8)
        took_s.append(time.perf_counter() - started)
    return int(tried * seconds / min(took_s))


def write_task(folder: Path, chunks: int, steps: int) -> Path:
    folder.mkdir()
    (folder / "kernel.wasm").write_bytes(wasmtime.wat2wasm(KERNEL.replace("STEPS", str(steps))))
    (folder / "task.toml").write_text(
        f'schema = 1\nname = "churn"\n[code]\nmodule = "kernel.wasm"\n[split]\nrange = [0, {chunks}, 1]\n'
        '[limits]\nmemory = "1MiB"\noutput = "1KiB"\nseconds = 20\n'
    )
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--chunks", type=int, default=1_500)
    parser.add_argument("--chunk-s", type=float, default=0.1)
    parser.add_argument("--every-s", type=float, default=5.0)
    parser.add_argument("--partition-s", type=float, default=20.0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "churn.json")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    courses = {}
    steps = steps_for(options.chunk_s)
    for name, trouble in (("undisturbed", None), ("churn", Trouble(options.every_s, options.partition_s))):
        with tempfile.TemporaryDirectory(prefix="cc-churn-") as made:
            folder = Path(made)
            task = write_task(folder / "task", options.chunks, steps)
            course = courses[name] = compute(folder, task, options.chunks, trouble)
        print(f"{name:12} exit code {course.code}, {course.seconds:6.1f} s", flush=True)
        for moment in course.moments:
            print(f"    {moment}")
    calm, churn = courses["undisturbed"], courses["churn"]
    share = calm.seconds / churn.seconds
    live = churn.live_node_s / (NODES * churn.seconds)
    print(f"{churn.killed} nodes killed, {churn.replaced} replaced; {live:.0%} of all node-seconds were there")
    print(f"share of undisturbed: {share:.0%}, of ideal: {share / live:.0%}; until nine tenths: ", end="")
    print(f"{calm.nine_tenths_s / churn.nine_tenths_s:.0%}")
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "load": os.getloadavg()}
    document = {
        "machine": machine,
        "chunks": options.chunks,
        "share_of_undisturbed": share,
        "live_share": live,
        "share_of_ideal": share / live,
        **{name: asdict(course) for name, course in courses.items()},
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
