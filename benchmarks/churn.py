"""A job among machines that die: what nodes killed, a network cut in two and a dead signaling server cost.

    sudo python benchmarks/churn.py [--chunks 1000] [--chunk-s 0.25] [--partition-s 20] [--every-s 5]

Eight nodes, a creator and two signaling servers, each a machine of its own in a network namespace (needs root),
compute one job twice: undisturbed, and with everything that goes wrong:

    every few seconds   30% of the nodes are killed (kill -9) and replaced at once by new ones with new keys; one of
                        them is stopped (SIGSTOP) for as long before: its links stay, and nothing comes from it
    at a tenth          half of the nodes, and the second server, are cut off from the rest for a while
    at a quarter, or    the signaling server that the join link names first is killed, for good
    when that is over

Each node has a speed of its own that nobody can take away: a chunk takes `--chunk-s` on it (paced_node.py). So what is
*ideal* needs no measuring: every node that is there executes a chunk each `--chunk-s`, none more often than the policy
demands (replication, and the audits that the certificate counts). A node is there from when its process is started,
its libraries loaded, until it is killed or stopped.

*Share of ideal* is the node-seconds that the job takes, over those that there were from the first checkpoint with an
accepted chunk to the certificate, audits and all. In *of reachable* a node is not counted while it is cut off, though
it goes on: that is what a network does at best whose cut off half is lost.

What is lost is counted in parts of the same node-seconds: *starting*, before the first batch of a node begins; *lost
with its node*, after the end of its last one; *executed in vain*, more often than demanded, or by nodes that were all
killed before anybody else heard of it; and *pauses*, the rest: between batches, and while there is nothing to do.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import json
import math
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
from typing import TYPE_CHECKING, Any, TypeVar

import wasmtime

from crowdcompute.protocol.codec import decode
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.records import CertificateBody, Checkpoint, Signed

if TYPE_CHECKING:
    from multiprocessing.context import ForkProcess

ROOT = Path(__file__).parents[1]
CC_TASK = (sys.executable, "-c", "from crowdcompute.creator.cli import main; raise SystemExit(main())")
CC_SIGNALING = (sys.executable, "-m", "crowdcompute.signaling")
NODES = 8
KILLED = (2, 3)
"""How many of them are killed at a time, in turn: 30%."""
REPLICATION = 2
EPS = 0.05
"""So that audits are few: of a task of this size the creator executes everything itself for the default of 1e-4."""
PORT = 8765
NICENESS = -15
"""The machines go before whatever else runs on this one: its cores are not what is measured."""
SUBNET = "10.78.0"

MULTIPLIER, INCREMENT = 6364136223846793005, 1442695040888963407
KERNEL = f"""
(module
  (memory (export "memory") 1 1)
  (func (export "cc_alloc") (param i32) (result i32) (i32.const 64))
  (func (export "cc_run") (param $in i32) (param i32) (result i64)
    (i64.store (i32.const 128)
      (i64.add (i64.mul (i64.load (local.get $in)) (i64.const {MULTIPLIER})) (i64.const {INCREMENT})))
    (i64.or (i64.shl (i64.const 128) (i64.const 32)) (i64.const 8))))
"""


Stored = TypeVar("Stored", Checkpoint, CertificateBody)


@dataclass(frozen=True)
class Trouble:
    """What goes wrong, and how often."""

    every_s: float = 5.0
    partition_s: float = 20.0


@dataclass
class Course:
    """How one job went. All `node_s` are node-seconds, from the first accepted chunk to the end."""

    code: int = -1
    seconds: float = 0.0
    """From the first checkpoint with an accepted chunk to the certificate."""
    parting_s: float = 0.0
    """From then to the end of the creator's command."""
    nine_tenths_s: float = 0.0
    """When nine tenths of the chunks were accepted: what comes after is the tail."""
    there_node_s: float = 0.0
    """Of nodes whose process ran, and was not stopped."""
    reachable_node_s: float = 0.0
    """Of those of them that were not cut off."""
    starting_node_s: float = 0.0
    """Of them before they began a batch."""
    lost_node_s: float = 0.0
    """Of them after the last batch that they finished, where they were killed or stopped."""
    demanded: int = 0
    """Executions that the policy asks for, from then on: each chunk as often as it is replicated, and audits."""
    executed: int = 0
    """Executions that ended on any node."""
    killed: int = 0
    stopped: int = 0
    replaced: int = 0
    partitions: int = 0
    signaling_killed: bool = False
    said: str = ""
    """What the creator said, for whoever asks why it went wrong."""
    moments: list[str] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)


@dataclass
class Life:
    """One process of a node, in seconds of the job."""

    machine: str
    started_s: float
    first_batch_s: float | None = None
    """When it began the first batch that it finished."""
    ended_s: float | None = None
    """When it was stopped or killed."""
    executed: int = 0


def namespaces() -> Any:
    return _module("cc_namespaces", ROOT / "tests" / "interop" / "namespaces.py")


def _paced_node() -> Any:
    return _module("cc_paced_node", ROOT / "benchmarks" / "paced_node.py")


def _module(name: str, path: Path) -> Any:
    """A file of ours that belongs to no package."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _wait(process: subprocess.Popen[bytes] | ForkProcess) -> None:
    if isinstance(process, subprocess.Popen):
        process.wait()
    else:
        process.join()


class Network:
    """Machines of one local network, and what runs on them."""

    def __init__(self, folder: Path, lab: Any, chunk_s: float) -> None:
        self._folder = folder
        self._chunk_s = chunk_s
        self._started = 0
        self.desks = [lab.machine("desk"), lab.machine("desk2")]
        self.creator = lab.machine("creator")
        self.machines = [lab.machine(f"node{number}") for number in range(NODES)]
        everybody = [*self.desks, self.creator, *self.machines]
        self._addresses = {machine.name: f"{SUBNET}.{number}" for number, machine in enumerate(everybody, start=1)}
        self.switch = lab.switch(everybody, [f"{self._addresses[machine.name]}/24" for machine in everybody])
        self.running: dict[str, subprocess.Popen[bytes] | ForkProcess] = {}
        """By machine."""
        self.lives: dict[str, int] = {}
        """The number of each machine's node."""
        first, second = (f"http://{self._addresses[desk.name]}:{PORT}" for desk in self.desks)
        self.join = str(JoinLink(first, "churn", others=(second,)))

    def start_signaling(self) -> None:
        """Start the servers, and return when they listen."""
        for desk in self.desks:
            command = [*CC_SIGNALING, "serve", "--host", self._addresses[desk.name], "--port", str(PORT)]
            process = self._start(desk, [*command, "--ready-json"], {}, stdout=subprocess.PIPE)
            assert process.stdout is not None
            with process.stdout as ready:
                ready.readline()

    def start_node(self, machine: Any) -> int:
        """A volunteer that never was here before; its number."""
        self._started += 1
        self.lives[machine.name] = number = self._started
        self._said_file(number).touch()
        self.running[machine.name] = _paced_node().start(
            machine.name,
            self._chunk_s,
            self.batches_file(number),
            self._said_file(number),
            self._folder / f"home{number}",
            [
                self.join,
                "--yes",
                "--jobs",
                "1",
                "--nice",
                "0",
                "--no-gpu",
                "--no-js",
                "--host",
                self._addresses[machine.name],
            ],
        )
        return number

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
        _wait(process)

    def stop(self, machine: Any) -> None:
        """It does nothing more, but its links stay."""
        self._send_signal(machine, signal.SIGSTOP)

    def resume(self, machine: Any) -> None:
        self._send_signal(machine, signal.SIGCONT)

    def _send_signal(self, machine: Any, number: signal.Signals) -> None:
        pid = self.running[machine.name].pid
        assert pid is not None
        os.kill(pid, number)

    def close(self) -> None:
        for process in self.running.values():
            process.kill()
        for process in self.running.values():
            _wait(process)
        self.running.clear()

    def batches(self, number: int) -> list[tuple[float, float, list[int]]]:
        """What a node has executed: when each batch began and ended, and its chunks."""
        return [batch for batch in self._told(number) if batch[1] is not None]

    def running_batch(self, number: int) -> list[int]:
        """The chunks that a node is on."""
        told = self._told(number)
        return told[-1][2] if told and told[-1][1] is None else []

    def _told(self, number: int) -> list[tuple[float, Any, list[int]]]:
        path = self.batches_file(number)
        return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []

    def batches_file(self, number: int) -> Path:
        return self._folder / f"batches{number}.ndjson"

    def _said_file(self, number: int) -> Path:
        return self._folder / f"node{number}.log"

    def accepted(self) -> int:
        """How many chunks the creator has accepted, by the checkpoints it has stored."""
        return self._accepted_bits().bit_count()

    def has_accepted(self, chunk: int) -> bool:
        return bool(self._accepted_bits() >> chunk & 1)

    def _accepted_bits(self) -> int:
        """The newest checkpoint of the one shard that our tasks have."""
        checkpoints = self._stored("checkpoint", Checkpoint)
        newest = max(checkpoints, key=lambda checkpoint: checkpoint.seq, default=None)
        return 0 if newest is None else int.from_bytes(newest.accepted, "little")

    def certificate(self) -> CertificateBody | None:
        return next(iter(self._stored("certificate", CertificateBody)), None)

    def _stored(self, kind: str, body: type[Stored]) -> list[Stored]:
        """The creator's records of a kind."""
        path = self._folder / "creator" / "creator" / "records.db"
        with (
            contextlib.suppress(sqlite3.OperationalError),  # It is not there yet, or just being written.
            contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database,
        ):
            rows = database.execute("SELECT signed FROM records WHERE kind = ?", (kind,)).fetchall()
            return [decode(decode(signed, Signed).body, body) for (signed,) in rows]
        return []

    def _start(
        self, machine: Any, command: list[str], settings: dict[str, str], **streams: Any
    ) -> subprocess.Popen[bytes]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CC_")}
        process: subprocess.Popen[bytes] = subprocess.Popen(
            [*machine.prefix, *command],
            env={**inherited, "PYTHONUNBUFFERED": "1", **settings},
            stdin=subprocess.DEVNULL,
            **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **streams},
        )
        self.running[machine.name] = process
        return process


def compute(folder: Path, task: Path, chunks: int, chunk_s: float, trouble: Trouble | None, seed: int = 1) -> Course:
    """Have eight nodes compute a task; its results are in the creator's home, `folder`/creator."""
    lab = namespaces().Lab()
    try:
        network = Network(folder, lab, chunk_s)
        try:
            return _Job(network, folder, chunks, trouble, Random(seed)).run(task)
        finally:
            network.close()
    finally:
        lab.close()


class _Job:
    """One job, and what goes wrong around it."""

    def __init__(self, network: Network, folder: Path, chunks: int, trouble: Trouble | None, rng: Random) -> None:
        self._network = network
        self._folder = folder
        self._chunks = chunks
        self._trouble = trouble
        self._rng = rng
        self._course = Course()
        self._lives: dict[int, Life] = {}
        self._stopped: list[Any] = []
        self._cut_off: list[Any] = []
        self._numbers = itertools.cycle(KILLED)
        self._started = time.monotonic()
        self._heal_at = self._kill_at = math.inf

    def run(self, task: Path) -> Course:
        network, course = self._network, self._course
        network.start_signaling()
        for machine in network.machines:
            self._start_node(machine)
        publishing = network.publish(task)
        while not network.accepted():
            assert publishing.poll() is None, (self._folder / "creator.log").read_text()
            time.sleep(0.1)
        self._started = looked_at = time.monotonic()
        if self._trouble is not None:
            self._kill_at = self._started + self._trouble.every_s
        while publishing.poll() is None and network.certificate() is None:
            done, now = network.accepted(), time.monotonic()
            self._count(now - looked_at)
            looked_at = now
            if self._trouble is not None:
                self._go_wrong(self._trouble, done, now)
            if not course.nine_tenths_s and done >= 0.9 * self._chunks:
                course.nine_tenths_s = now - self._started
            time.sleep(0.1)
        course.seconds = time.monotonic() - self._started
        course.code = publishing.wait()
        course.parting_s = time.monotonic() - self._started - course.seconds
        del network.running[network.creator.name]
        course.said = (self._folder / "creator.log").read_text()
        self._look_back()
        return course

    def _start_node(self, machine: Any) -> None:
        number = self._network.start_node(machine)
        self._lives[number] = Life(machine.name.partition("-")[2], time.monotonic())

    def _count(self, passed_s: float) -> None:
        course = self._course
        for machine in self._network.machines:
            if machine.name not in self._network.running or machine in self._stopped:
                continue
            course.there_node_s += passed_s
            course.reachable_node_s += passed_s if machine not in self._cut_off else 0.0

    def _go_wrong(self, trouble: Trouble, done: int, now: float) -> None:
        """Do what is due, by the time and by how far the job is."""
        network, course = self._network, self._course
        if now >= self._kill_at and done < self._chunks:
            self._kill_at = now + trouble.every_s
            self._kill_some(done)
        if now >= self._heal_at:
            network.switch.heal()
            self._heal_at, self._cut_off = math.inf, []
            self._note("the halves are one again", done)
        if not course.partitions and done >= self._chunks / 10:
            self._cut_off = network.machines[NODES // 2 :]
            network.switch.split([*self._cut_off, network.desks[1]])
            course.partitions, self._heal_at = 1, now + trouble.partition_s
            self._note("half of the nodes are cut off", done)
        if not course.signaling_killed and not self._cut_off and done >= self._chunks / 4:
            network.kill(network.desks[0])
            course.signaling_killed = True
            self._note("a signaling server is killed", done)

    def _kill_some(self, done: int) -> None:
        network, course = self._network, self._course
        alive = [machine for machine in network.machines if machine.name in network.running]
        well = [machine for machine in alive if machine not in self._stopped]
        fresh, *others = self._rng.sample(well, min(len(well), next(self._numbers)))
        dying = [*self._stopped, *others]
        for machine in dying:
            life = self._lives[network.lives[machine.name]]
            life.ended_s = life.ended_s or time.monotonic()
            network.kill(machine)
            self._start_node(machine)
        course.killed += len(dying)
        course.replaced += len(dying)
        network.stop(fresh)
        self._lives[network.lives[fresh.name]].ended_s = time.monotonic()
        self._stopped = [fresh]
        course.stopped += 1
        self._note(f"{len(dying)} nodes killed, 1 stopped", done)

    def _note(self, what: str, done: int) -> None:
        passed_s = time.monotonic() - self._started
        self._course.moments.append(f"{passed_s:5.1f} s, {done / self._chunks:4.0%} accepted: {what}")

    def _look_back(self) -> None:
        """Count what was executed before the start and from then on, a batch that was running then by its share."""
        course = self._course
        before = executed = 0.0
        ended_s = self._started + course.seconds
        for number, life in self._lives.items():
            batches = self._network.batches(number)
            died_s = ended_s if life.ended_s is None else life.ended_s
            first_s, last_s = (batches[0][0], batches[-1][1]) if batches else (died_s, died_s)
            course.starting_node_s += max(0.0, min(first_s, ended_s) - max(life.started_s, self._started))
            if life.ended_s is not None:
                course.lost_node_s += max(0.0, life.ended_s - max(last_s, self._started))
            for began, ended, chunks in batches:
                share = max(0.0, ended - max(began, self._started)) / (ended - began)
                executed += len(chunks) * share
                before += len(chunks) * (1 - share)
                life.executed += len(chunks)
                life.first_batch_s = life.first_batch_s or began - self._started
            life.started_s -= self._started
            life.ended_s = None if life.ended_s is None else life.ended_s - self._started
            course.lives.append(life)
        course.executed = round(executed)
        # Whatever was executed before is taken as useful: there is so much less to do.
        certificate = self._network.certificate()
        assert certificate is not None, course.said
        whole = REPLICATION * self._chunks + certificate.worker_audits
        course.demanded = round(whole - before)


def right_result(chunk: int) -> bytes:
    return ((chunk * MULTIPLIER + INCREMENT) % 2**64).to_bytes(8, "little")


def wrong_results(folder: Path, chunks: int) -> int:
    """Of the results that the creator has, how many are not right."""
    into = folder / "results"
    home = {**os.environ, "CC_HOME": str(folder / "creator")}
    subprocess.run([*CC_TASK, "results", "churn", "-o", str(into)], env=home, check=True, capture_output=True)
    right = (into / f"{chunk:06d}.bin" for chunk in range(chunks))
    return sum(not file.exists() or file.read_bytes() != right_result(chunk) for chunk, file in enumerate(right))


def write_task(folder: Path, chunks: int) -> Path:
    folder.mkdir()
    (folder / "kernel.wasm").write_bytes(wasmtime.wat2wasm(KERNEL))
    (folder / "task.toml").write_text(
        f'schema = 1\nname = "churn"\n[code]\nmodule = "kernel.wasm"\n[split]\nrange = [0, {chunks}, 1]\n'
        f'[limits]\nmemory = "1MiB"\noutput = "1KiB"\nseconds = 20\n'
        f"[verify]\nreplication = {REPLICATION}\neps = {EPS}\n"
    )
    return folder


def go_first() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    # Linux shares the cores among sessions first, where it groups them.
    group = Path("/proc/self/autogroup")
    if group.exists():
        group.write_text(str(NICENESS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--chunks", type=int, default=1_000)
    parser.add_argument("--calm-chunks", type=int, default=500)
    parser.add_argument("--chunk-s", type=float, default=0.25)
    parser.add_argument("--every-s", type=float, default=5.0)
    parser.add_argument("--partition-s", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "churn.json")
    options = parser.parse_args()
    # The finally of each run takes its namespaces away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    go_first()
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "load": os.getloadavg()}
    document: dict[str, Any] = {"machine": machine, "chunk_s": options.chunk_s}
    trouble = Trouble(options.every_s, options.partition_s)
    for name, chunks, wrong in (("undisturbed", options.calm_chunks, None), ("churn", options.chunks, trouble)):
        if not chunks:
            continue
        with tempfile.TemporaryDirectory(prefix="cc-churn-") as made:
            folder = Path(made)
            task = write_task(folder / "task", chunks)
            course = compute(folder, task, chunks, options.chunk_s, wrong, options.seed)
            figures = shares(course, options.chunk_s)
            figures["wrong results"] = wrong_results(folder, chunks)
        document[name] = {"chunks": chunks, **figures, **asdict(course)}
        print(f"{name}: {chunks} chunks, exit code {course.code}, {course.seconds:.1f} s", flush=True)
        for moment in course.moments:
            print(f"    {moment}")
        print(f"    {course.killed} nodes killed, {course.stopped} stopped, {course.replaced} replaced")
        for what, figure in figures.items():
            print(f"    {what:40} {figure:8.3f}")
    options.out.write_text(json.dumps(document, indent=1) + "\n")


def shares(course: Course, chunk_s: float) -> dict[str, float]:
    """What of the node-seconds that there were was needed, and where the others went."""
    needed_s, there_s = course.demanded * chunk_s, course.there_node_s
    in_vain_s = course.executed * chunk_s - needed_s
    return {
        "share of ideal": needed_s / there_s,
        "share of ideal, of reachable": needed_s / course.reachable_node_s,
        "starting": course.starting_node_s / there_s,
        "lost with its node": course.lost_node_s / there_s,
        "executed in vain": in_vain_s / there_s,
        "pauses": 1 - (needed_s + in_vain_s + course.starting_node_s + course.lost_node_s) / there_s,
        "nodes there, mean": there_s / course.seconds,
        "tail, s": course.seconds - course.nine_tenths_s,
        "parting, s": course.parting_s,
    }


if __name__ == "__main__":
    main()
