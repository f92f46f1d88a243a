"""One network of Python and TypeScript peers, in the simulations' virtual time and judged by their checkers.

The world is `simulations.network.World`; some of its peers are written in TypeScript and live in one process of Node,
where `web_peer/test/differential/peers.ts` hands inputs in and outputs back. Links, faults and liars are the same for
both kinds.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import fields, is_dataclass
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
from tests.interop.typescript import Typescript, compiled

from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.closing import TaskState
from crowdcompute.protocol.codec import decode, encode
from crowdcompute.protocol.events import (
    CallsFed,
    CancelJob,
    Channel,
    ChunkInput,
    ChunkOutcome,
    CloseLink,
    DialPeer,
    Execute,
    FrameReceived,
    Notable,
    Notice,
    SaveRecords,
    SeekPeers,
    SendFrame,
    SignalArrived,
    SignalUndelivered,
    SlotsChanged,
    TaskPublished,
    TasksChosen,
)
from crowdcompute.protocol.frames import Publish, encode_frame
from crowdcompute.protocol.ledger import Ledger
from crowdcompute.protocol.manifest import Blocks, Limits, Stream, open_manifest, sign_manifest, with_task_key
from crowdcompute.protocol.records import SHARD_CHUNKS, Feed, Signed, parse, sign
from crowdcompute.protocol.results import ChunkResult, Progress
from crowdcompute.protocol.tally import ChunkState, ChunkTally
from crowdcompute.simulations import faults
from crowdcompute.simulations.checkers import Inspector, final_failures
from crowdcompute.simulations.network import World
from crowdcompute.simulations.scenario import parse_scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from crowdcompute.protocol.events import Input, Output
    from crowdcompute.protocol.peer import Peer
    from crowdcompute.simulations.network import Node


class Peers(Typescript):
    """The process in which TypeScript peers live."""

    def __init__(self, program: Path) -> None:
        super().__init__(program)
        self._machines = 0

    def next_machine(self) -> int:
        self._machines += 1
        return self._machines


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    other = Peers(compiled("peers", tmp_path_factory.mktemp("mixed")))
    yield other
    other.close()


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def told(value: Any) -> Any:
    """An input or a configuration as JSON: names in camel case, bytes and records in hexadecimal."""
    match value:
        case bytes():
            return value.hex()
        case Signed():
            return encode(value).hex()
        case frozenset():
            return sorted(told(each) for each in value)
        case ChunkOutcome():
            return {name: told(each) for name, each in value._asdict().items()}
        case tuple():
            return [told(each) for each in value]
        case _ if is_dataclass(value):
            return {camel(field.name): told(getattr(value, field.name)) for field in fields(value)}
        case _:
            return value


def heard(output: dict[str, Any]) -> Output:
    """An output from JSON."""
    match output["kind"]:
        case "sendFrame":
            return SendFrame(output["peerId"], Channel(output["channel"]), bytes.fromhex(output["frame"]))
        case "closeLink":
            return CloseLink(output["peerId"], output["reason"])
        case "dialPeer":
            return DialPeer(output["peerId"], output["through"])
        case "signalArrived":
            return SignalArrived(output["through"], bytes.fromhex(output["signal"]))
        case "signalUndelivered":
            return SignalUndelivered(output["to"], output["through"])
        case "seekPeers":
            return SeekPeers()
        case "cancelJob":
            return CancelJob(output["job"])
        case "saveRecords":
            return SaveRecords(tuple(decode(bytes.fromhex(record), Signed) for record in output["records"]))
        case "notice":
            task = output["taskId"]
            return Notice(
                Notable(output["what"]),
                bytes.fromhex(task) if task is not None else None,
                output["chunk"],
                output["peerId"],
                output["detail"],
            )
        case "execute":
            limits = output["limits"]
            return Execute(
                output["job"],
                bytes.fromhex(output["taskId"]),
                output["runtime"],
                bytes.fromhex(output["code"]),
                Limits(limits["memoryBytes"], limits["outputBytes"], limits["seconds"]),
                output["numbers"],
                tuple(
                    ChunkInput(chunk["chunk"], bytes.fromhex(chunk["data"]), int(chunk["seed"]))
                    for chunk in output["chunks"]
                ),
            )
        case other:
            raise AssertionError(other)


class TypescriptPeer:
    """A TypeScript peer where the world expects a `Peer`: what drivers and checkers ask of one."""

    def __init__(self, typescript: Peers, key_seed: bytes, rng_seed: int, node: Node, now: float) -> None:
        self._machine = typescript.next_machine()
        self._ask = partial(typescript, machine=self._machine)
        self._verifier = verify_nothing
        # Two lives with the same store share it on the other side, too.
        blobs = node.blobs._blobs
        self._ask(
            "begin",
            keySeed=key_seed.hex(),
            rngSeed=rng_seed,
            config=told(node.config),
            disk=str(id(node.blobs)),
            blobs=[{"digest": digest.hex(), "data": data.hex()} for digest, data in blobs.items()],
            now=now,
        )
        self.wake_at = math.inf
        self._creators: dict[bytes, TypescriptCreator] | None = None

    def handle(self, event: Input, *, now: float) -> list[Output]:
        self._creators = None
        kind = type(event).__name__
        answer = self._ask("handle", event={"kind": kind[0].lower() + kind[1:], **told(event)}, now=now)
        self.wake_at = math.inf if answer["wakeAt"] is None else answer["wakeAt"]
        return [heard(output) for output in answer["outputs"]]

    def follows(self, topic: bytes) -> bool:
        return bool(self._ask("follows", topic=topic.hex()))

    @property
    def ledgers(self) -> dict[bytes, Ledger]:
        """What it holds, put into a ledger of ours."""
        tasks, _ = self._ask("tasks")
        return {bytes.fromhex(task): self._ledger(task) for task in tasks}

    @property
    def creators(self) -> dict[bytes, TypescriptCreator]:
        """As they are until the next input."""
        if self._creators is None:
            _, tasks = self._ask("tasks")
            self._creators = {
                bytes.fromhex(task): TypescriptCreator(partial(self._ask, task=task), partial(self._ledger, task))
                for task in tasks
            }
        return self._creators

    def votes(self, task: bytes) -> int:
        return int(self._ask("votes", task=task.hex()))

    def _ledger(self, task: str) -> Ledger:
        manifest, *records = [decode(bytes.fromhex(each), Signed) for each in self._ask("records", task=task)]
        ledger = Ledger(manifest, open_manifest(manifest, self._verifier), keep_commits=True)
        for signed in records:
            record = parse(signed)
            ledger.check(signed, record)
            assert ledger.add(signed, record, 0.0)
        # What has been let go since may have shown more.
        theirs = self._ask("ledger", task=task)
        equivocators = {bytes.fromhex(worker) for worker in theirs["equivocators"]}
        assert ledger.equivocators <= equivocators
        ledger.equivocators = equivocators
        ledger.creator_equivocated = theirs["creatorEquivocated"]
        return ledger


def verify_nothing(public_key: bytes, domain: str, body: bytes, signature: bytes) -> bool:
    """The other side has verified what it holds."""
    return True


class TypescriptCreator:
    """The creator's part in a TypeScript peer, as the checkers ask it."""

    def __init__(self, ask: Any, take_ledger: Callable[[], Ledger]) -> None:
        self._ask = ask
        self._take_ledger = take_ledger

    @cached_property
    def ledger(self) -> Ledger:
        return self._take_ledger()

    @property
    def state(self) -> TaskState:
        return self.progress().state

    def progress(self) -> Progress:
        answer = self._ask("progress")
        numbers = {field.name: answer[camel(field.name)] for field in fields(Progress)}
        return Progress(**{**numbers, "state": TaskState(answer["state"])})

    def result(self, chunk: int) -> ChunkResult:
        return self._results[chunk][0]

    def result_bytes(self, chunk: int) -> bytes | None:
        return self._results[chunk][1]

    def wrong_votes(self) -> dict[bytes, int]:
        return Counter(worker for result, _ in self._results for worker in result.disagreed)

    @cached_property
    def referee(self) -> SimpleNamespace:
        void = {bytes.fromhex(worker): to_seq for worker, to_seq in self._ask("void")}
        tallies = [
            ChunkTally(
                ChunkState(tally["state"]),
                None if tally["value"] is None else bytes.fromhex(tally["value"]),
                tally["missing"],
                tuple(map(bytes.fromhex, tally["offenders"])),
                tally["extra"],
            )
            for tally in self._ask("tallies")
        ]
        voters = [
            {bytes.fromhex(worker): SimpleNamespace(counts=counts) for worker, counts in voted}
            for voted in self._ask("voters")
        ]
        return SimpleNamespace(
            void=void,
            chunk=tallies.__getitem__,
            voters=voters.__getitem__,
            counts=lambda vote: vote.counts,
        )

    @cached_property
    def _results(self) -> list[tuple[ChunkResult, bytes | None]]:
        return [
            (
                ChunkResult(
                    result["chunk"],
                    result["state"],
                    None if result["digest"] is None else bytes.fromhex(result["digest"]),
                    result["size"],
                    result["votes"],
                    tuple(map(bytes.fromhex, result["agreed"])),
                    tuple(map(bytes.fromhex, result["disagreed"])),
                    tuple(result["reasons"]),
                ),
                None if result["data"] is None else bytes.fromhex(result["data"]),
            )
            for result in self._ask("results")
        ]


class MixedWorld(World):
    """A world some of whose machines run the TypeScript peer; machine 0 is the creator."""

    def __init__(self, typescript: Peers, in_typescript: Collection[int], scenario: str, seed: int = 1) -> None:
        self.typescript = typescript
        self.in_typescript = in_typescript
        super().__init__(parse_scenario(scenario), seed)

    def _peer(self, node: Node) -> Peer:
        if node.index not in self.in_typescript:
            return super()._peer(node)
        key_seed = sha256(f"{self.seed}/keys/{node.index}".encode()).digest()
        rng_seed = 1_000 * self.seed + 100 * node.life + node.index
        return cast("Peer", TypescriptPeer(self.typescript, key_seed, rng_seed, node, self.now))

    def votes_of(self, node: Node) -> int:
        if isinstance(node.peer, TypescriptPeer):
            return node.peer.votes(self.task)
        return node.peer.workers[self.task].votes


def mixed(
    typescript: Peers,
    in_typescript: Collection[int],
    extra: str = "",
    *,
    peers: int = 6,
    chunks: int = 30,
    replication: int = 2,
    chunk_s: float = 0.5,
    task: str = "",
) -> MixedWorld:
    return MixedWorld(
        typescript,
        in_typescript,
        f"""
        name = "mixed"
        network = {{peers = {peers}, real_keys = true, speed_sigma = 0.0}}
        checks = {{stop_s = 600}}
        {extra}
        [task]
        chunks = {chunks}
        eps = 0.1
        replication = {replication}
        chunk_s = {chunk_s}
        chunk_sigma = 0.0
        {task}
        """,
    )


def run(world: MixedWorld) -> None:
    inspector = Inspector(world)
    world.run()
    assert world.role.state is TaskState.CLOSED
    assert final_failures(world) == []
    assert inspector.failures == []
    certificates = [node.peer.ledgers[world.task].certificate for node in world.live()]
    assert certificates[0] is not None
    assert all(certificate == certificates[0] for certificate in certificates)


CREATOR = {0}
HALF_OF_THE_WORKERS = {1, 2, 3}
EVERYBODY = set(range(7))

MIXTURES = {
    "a TypeScript creator and Python workers": CREATOR,
    "a Python creator and TypeScript workers": EVERYBODY - CREATOR,
    "a Python creator and workers of both kinds": HALF_OF_THE_WORKERS,
    "a TypeScript creator and workers of both kinds": CREATOR | HALF_OF_THE_WORKERS,
    "nothing but TypeScript": EVERYBODY,
}


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("replication", [1, 2])
def test_a_job_is_completed_and_certified_by(mixture: str, replication: int, typescript: Peers) -> None:
    world = mixed(typescript, MIXTURES[mixture], replication=replication)
    run(world)
    progress = world.role.progress()
    assert progress.accepted == 30
    assert progress.convicted == 0
    assert progress.bound <= 0.1
    assert [node.name for node in world.nodes[1:] if not world.votes_of(node)] == []


@pytest.mark.parametrize("mixture", MIXTURES)
def test_large_results_and_chunks_without_result_are_settled_by(mixture: str, typescript: Peers) -> None:
    world = mixed(typescript, MIXTURES[mixture], chunks=12, task="result_bytes = 70_000\nfailing = [3, 7]")
    run(world)
    assert world.role.progress().failed == 2


@pytest.mark.parametrize("in_typescript", [{0, 1, 2, 3}, {4, 5, 6}], ids=["TypeScript creator", "Python creator"])
def test_results_of_one_kind_are_kept_by_the_other_until_the_creator_is_back(
    in_typescript: set[int], typescript: Peers
) -> None:
    world = mixed(typescript, in_typescript, replication=1, chunk_s=1.0, task="result_bytes = 6_000")
    executed: list[int] = []

    def see(now: float, node: Node, event: Input | Output) -> None:
        # What it executes before it has a result of every chunk: audits come after that.
        if type(event) is Execute and node.index == 0 and world.role.state is TaskState.RUNNING:
            executed.extend(chunk.chunk for chunk in event.chunks)

    world.observers.append(see)
    world.at(3.0, partial(faults.crash, world, world.creator, for_s=60.0, keep_state=True))
    for node in world.nodes[1:4]:
        world.at(60.0, partial(world.stop, node))
    run(world)
    assert world.role.progress().accepted == 30
    assert executed == []


@pytest.mark.parametrize("kind", ["alone", "colluding", "sleeper", "equivocator", "withholder"])
@pytest.mark.parametrize("creator", [CREATOR, set()], ids=["TypeScript creator", "Python creator"])
def test_liars_of_both_kinds_are_found(kind: str, creator: set[int], typescript: Peers) -> None:
    extra = f'liars = [{{kind = "{kind}", count = 2, after = 3}}]'
    run(mixed(typescript, creator | HALF_OF_THE_WORKERS, extra, chunks=40))


@pytest.mark.parametrize("in_typescript", [{0, 1, 2}, {1, 2}], ids=["TypeScript creator", "Python creator"])
def test_kills_of_everybody_in_turn_do_not_lose_the_job(in_typescript: set[int], typescript: Peers) -> None:
    world = mixed(typescript, in_typescript, chunks=60)
    for index, at_s, keep_state in ((1, 3.0, True), (0, 4.0, True), (2, 5.0, False), (3, 6.0, False), (0, 9.0, True)):
        world.at(at_s, partial(faults.crash, world, world.nodes[index], for_s=1.5, keep_state=keep_state))
    run(world)
    assert not world.role.ledger.verdicts


@pytest.mark.parametrize("in_typescript", [{0}, EVERYBODY - {0}], ids=["TypeScript creator", "Python creator"])
def test_a_partition_heals(in_typescript: set[int], typescript: Peers) -> None:
    world = mixed(typescript, in_typescript, chunks=60)
    world.at(4.0, lambda: faults.partition(world, 0.5, for_s=15.0))
    run(world)


@pytest.mark.parametrize("in_typescript", [{0, 1, 2}, {1, 2}], ids=["TypeScript creator", "Python creator"])
def test_workers_that_pause_or_choose_another_task_stop_at_once_and_go_on_later(
    in_typescript: set[int], typescript: Peers
) -> None:
    pauses: list[Input] = [SlotsChanged(0), TasksChosen(frozenset()), SlotsChanged(0)]
    resumptions: list[Input] = [SlotsChanged(1), TasksChosen(None), SlotsChanged(2)]
    world = mixed(typescript, in_typescript, chunks=60)
    world.step_until(5.0)
    resting = [world.nodes[index] for index in (1, 2, 3)]
    for node, pause in zip(resting, pauses, strict=True):
        assert node.running
        world.tell(node, pause)
        assert not node.running
        assert not node.waiting
    world.step_until(7.0)
    names = {node.signer.public_key for node in resting}
    leases = world.role.ledger.leases.live.values()
    assert not any(lease.since for lease in leases if lease.worker in names)
    votes = [world.votes_of(node) for node in resting]
    world.step_until(15.0)
    assert [world.votes_of(node) for node in resting] == votes
    for node, resumption in zip(resting, resumptions, strict=True):
        world.tell(node, resumption)
    run(world)
    assert all(world.votes_of(node) > before for node, before in zip(resting, votes, strict=True))


@pytest.mark.parametrize("in_typescript", [{0, 1, 2}, {1, 2}], ids=["TypeScript creator", "Python creator"])
def test_a_task_of_several_shards_is_completed(in_typescript: set[int], typescript: Peers) -> None:
    world = mixed(typescript, in_typescript, peers=4, chunks=SHARD_CHUNKS + 100, chunk_s=0.01)
    run(world)
    assert world.role.progress().accepted == SHARD_CHUNKS + 100


@pytest.mark.parametrize("in_typescript", [{1, 2}, {2}], ids=["TypeScript workers", "workers of both kinds"])
def test_a_stream_is_computed_certified_and_left_when_its_creator_plays_double(
    in_typescript: set[int], typescript: Peers
) -> None:
    world = mixed(typescript, in_typescript, peers=2)
    run(world)
    signer = world.creator.signer
    roles = []
    for number in range(2):
        manifest = msgspec.structs.replace(
            world.manifest, name=f"stream {number}", chunks=100, split=Stream(), inputs=None
        )
        signed = sign_manifest(signer, with_task_key(signer, manifest))
        world.tell(world.creator, TaskPublished(signed))
        roles.append(world.creator.peer.creators[signed.record_id])
    ended, doubled = roles
    for count in (1, 3, 8):
        for role in roles:
            world.tell(world.creator, CallsFed(role.ledger.task, (bytes(8),) * count))
        world.step_until(world.now + 12.0)
        assert ended.progress().accepted == doubled.progress().accepted == ended.ledger.chunks
    world.tell(world.creator, CallsFed(ended.ledger.task, (), ends=True))
    double = sign(signer, Feed(doubled.ledger.task, 2, (b"another",), ends=False))
    frame = encode_frame(Publish(doubled.ledger.task, (double,)))
    world.tell(world.nodes[1], FrameReceived(signer.peer_id, frame))
    world.step_until(world.now + 20.0)
    assert ended.state is TaskState.CLOSED
    certificate = ended.ledger.certificate
    assert certificate is not None
    assert (certificate.chunks, certificate.accepted) == (12, 12)
    for node in world.nodes:
        assert node.peer.ledgers[doubled.ledger.task].is_forked
        held = node.peer.ledgers[ended.ledger.task]
        assert held.certificate == certificate


def test_workers_in_typescript_are_invited_and_join_before_they_vote(typescript: Peers) -> None:
    world = mixed(typescript, {1, 2}, peers=2)
    run(world)
    signer = world.creator.signer
    for number, invited in enumerate((0, 2)):  # By the second task they have just been heard of.
        # Inputs that have to be fetched: they are admitted before they can join.
        inputs = bytes([number]) * 32
        world.creator.blobs.put(describe(inputs).sha256, inputs)
        calls = msgspec.structs.replace(world.manifest, chunks=4, split=Blocks(size=8), inputs=describe(inputs))
        signed = sign_manifest(signer, with_task_key(signer, calls))
        world.tell(world.creator, TaskPublished(signed))
        role = world.creator.peer.creators[signed.record_id]
        assert (len(role.ledger.admits), len(role.ledger.joins)) == (invited, 0)
        world.step_until(world.now + 8.0)
        assert role.state is TaskState.CLOSED
        assert role.progress().accepted == 4
        assert len(role.ledger.joins) == 2
