"""Large results are kept by others, who cannot read them, until the creator has them; and it finds them there."""

from __future__ import annotations

from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crowdcompute.protocol.batch import Leaf
from crowdcompute.protocol.closing import TaskState
from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.credit import fields_of
from crowdcompute.protocol.custody import Custody
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.events import Execute, FrameReceived, Status
from crowdcompute.protocol.frames import (
    BlobMissing,
    BlobPieceFrame,
    BlobWant,
    Frame,
    Keep,
    Kept,
    decode_frame,
    encode_frame,
)
from crowdcompute.protocol.giving import AGAIN_S, ANSWER_S, ASKED_BYTES_MAX, ASKED_MAX, REVIEW_S, Giving
from crowdcompute.protocol.identity import SEAL_BYTES, Identity
from crowdcompute.protocol.keeping import KEPT_BYTES_MIN, TASKS_MIN, Keeping
from crowdcompute.protocol.ledger import Ledger
from crowdcompute.protocol.manifest import Limits, Manifest, Policy, Range, sign_manifest
from crowdcompute.protocol.reclaiming import TRIED_MAX, Copy, Reclaiming
from crowdcompute.protocol.records import EVERYTHING, STATE_BYTES_MAX, Checkpoint, Join, Verdict, sign
from crowdcompute.protocol.serving import Serving
from crowdcompute.protocol.storage import MemoryBlobStore
from crowdcompute.simulations import faults
from crowdcompute.simulations.checkers import final_failures
from crowdcompute.simulations.network import World
from crowdcompute.simulations.scenario import parse_scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from crowdcompute.protocol.events import Input, Output
    from crowdcompute.protocol.identity import PeerId
    from crowdcompute.simulations.network import Node

CREATOR = Identity(bytes(range(32)))
MAKER, ALICE, BOB, CAROL, DAVE, STRANGER = (Identity(bytes([number]) * 32) for number in range(1, 7))
WORKERS = (ALICE, BOB, CAROL, DAVE)
CHUNKS = 400
OUTPUT_BYTES = 100_000
AFTER_S = ProtocolConfig().custody_after_s


class Desk:
    """What custody asks of a peer: neighbours that follow the task, and what they were told."""

    def __init__(self, config: ProtocolConfig, neighbours: Iterable[Identity] = WORKERS) -> None:
        self.linked = {worker.peer_id for worker in neighbours}
        self.told: list[tuple[PeerId, Frame]] = []
        self.wanted: set[PeerId] = set()
        self.custody = Custody(config, self, self.linked, Random(1), Serving(config))  # type: ignore[arg-type]  # the rest of a desk is for roles

    def followers(self, topic: bytes) -> list[PeerId]:
        return sorted(self.linked)

    def tell(self, peer_id: PeerId, frame: Frame) -> None:
        self.told.append((peer_id, frame))

    def want(self, peer_id: PeerId) -> None:
        self.wanted.add(peer_id)

    def take(self, kind: type[Frame]) -> list[tuple[PeerId, Any]]:
        taken = [(peer_id, frame) for peer_id, frame in self.told if isinstance(frame, kind)]
        self.told = [each for each in self.told if not isinstance(each[1], kind)]
        return taken


@pytest.fixture(scope="session")
def make_ledger(make_manifest: Callable[..., Manifest]) -> Callable[..., Ledger]:
    def make(name: str = "squares", *, onward: bool = False) -> Ledger:
        manifest = make_manifest(
            name=name,
            onward=onward,
            split=Range(start=0, stop=CHUNKS, step=1),
            chunks=CHUNKS,
            limits=Limits(memory_bytes=1 << 20, output_bytes=OUTPUT_BYTES, seconds=1.0),
            policy=Policy(replication=1, eps=0.1, liars=0.2, pow_bits=0),
        )
        ledger = Ledger(sign_manifest(CREATOR, manifest), manifest)
        for worker in (MAKER, *WORKERS):
            join = Join(ledger.task, worker.seal_key, bytes(32), 0, bytes(32), 0)
            ledger.add(sign(worker, join), join, 0.0)
        return ledger

    return make


@pytest.fixture
def ledger(make_ledger: Callable[..., Ledger]) -> Ledger:
    return make_ledger()


def close(ledger: Ledger, accepted: Iterable[int], *, failed: Iterable[int] = ()) -> None:
    seq = ledger.checkpoints[0].seq + 1 if ledger.checkpoints else 0
    bitmaps = [sum(1 << chunk for chunk in chunks).to_bytes(CHUNKS // 8, "little") for chunks in (accepted, failed)]
    checkpoint = Checkpoint(ledger.task, 0, seq, 0, bitmaps[0], bitmaps[1], bytes(32), *fields_of(b""))
    assert ledger.add(sign(CREATOR, checkpoint), checkpoint, 0.0)


# ---- giving


class Maker:
    def __init__(self, ledger: Ledger, neighbours: Iterable[Identity] = WORKERS) -> None:
        config = ProtocolConfig()
        self.ledger = ledger
        self.blobs = MemoryBlobStore()
        self.desk = Desk(config, neighbours)
        self.giving = Giving(config, Random(1), ledger, self.desk, self.blobs, 0.0)  # type: ignore[arg-type]
        self.now = 0.0

    def make(self, chunk: int, data: bytes = b"", size: int = 5_000) -> Leaf:
        data = data or bytes([chunk % 251]) * size
        sealed = MAKER.seal(CREATOR.seal_key, b"result" + self.ledger.task, data, chunk.to_bytes(12))
        leaf = Leaf(
            chunk,
            Status.OK,
            inline=False,
            size=len(data),
            data=sha256(data).digest(),
            sealed=sha256(sealed).digest(),
        )
        self.blobs.put(leaf.digest, data)
        self.blobs.put(leaf.sealed, sealed)
        self.giving.made(leaf, self.now)
        return leaf

    def wait(self, until: float) -> list[tuple[PeerId, Keep]]:
        while self.giving.wake_at() <= until:
            self.now = max(self.now, self.giving.wake_at())
            self.giving.advance(self.now)
        self.now = until
        return self.desk.take(Keep)

    def answer(self, asked: Iterable[tuple[PeerId, Keep]], *, kept: bool) -> None:
        for peer_id, frame in asked:
            self.giving.answered(peer_id, Kept(frame.task, frame.sha256, kept), self.now)


def test_a_result_is_given_to_three_others_when_the_creator_has_not_taken_it_in_time(ledger: Ledger) -> None:
    maker = Maker(ledger)
    leaf = maker.make(7)
    assert maker.wait(AFTER_S - 0.1) == []
    asked = maker.wait(AFTER_S + REVIEW_S)
    assert len({peer_id for peer_id, _ in asked}) == len(asked) == 3
    assert {frame for _, frame in asked} == {Keep(ledger.task, 7, leaf.sealed, leaf.size + SEAL_BYTES)}
    assert len(maker.giving.custodians(maker.now)) == 3


def test_when_nothing_was_heard_of_the_creator_for_long_a_result_is_given_at_once(ledger: Ledger) -> None:
    maker = Maker(ledger)
    maker.wait(AFTER_S + 1)
    maker.make(7)
    assert len(maker.wait(maker.now + 0.1)) == 3
    maker.giving.creator_heard(maker.now)
    maker.make(8)
    assert maker.wait(maker.now + AFTER_S - 1) == []


def test_others_are_asked_for_those_that_refuse_stay_silent_or_leave(ledger: Ledger) -> None:
    maker = Maker(ledger, [*WORKERS, MAKER])
    maker.make(7)
    first, *others = maker.wait(AFTER_S + REVIEW_S)
    maker.answer([first], kept=False)
    maker.answer(others, kept=True)
    (fourth,) = maker.wait(maker.now + REVIEW_S)
    assert fourth[0] not in {peer_id for peer_id, _ in [first, *others]}
    maker.desk.linked.discard(others[0][0])
    (fifth,) = maker.wait(maker.now + REVIEW_S)
    assert fifth[0] not in {peer_id for peer_id, _ in [first, fourth, *others]}
    assert len(maker.wait(maker.now + ANSWER_S + REVIEW_S)) >= 1  # Neither of them says anything.


def test_a_peer_that_could_not_keep_something_is_asked_again_later(ledger: Ledger) -> None:
    maker = Maker(ledger, [ALICE])
    maker.make(7)
    maker.answer(maker.wait(AFTER_S + REVIEW_S), kept=False)
    refused_at = maker.now
    assert maker.wait(refused_at + AGAIN_S - 1) == []
    assert len(maker.wait(refused_at + AGAIN_S + REVIEW_S)) == 1


def test_only_workers_of_the_task_are_asked(ledger: Ledger) -> None:
    maker = Maker(ledger, [STRANGER, CREATOR, ALICE])
    maker.make(7)
    assert [peer_id for peer_id, _ in maker.wait(AFTER_S + REVIEW_S)] == [ALICE.peer_id]


@pytest.mark.parametrize(
    ("size", "at_a_time"), [(5_000, ASKED_MAX), (90_000, ASKED_BYTES_MAX // (90_000 + SEAL_BYTES))]
)
def test_a_custodian_is_not_asked_for_more_at_a_time_than_it_can_fetch(
    ledger: Ledger, size: int, at_a_time: int
) -> None:
    maker = Maker(ledger, [ALICE])
    for chunk in range(100):
        maker.make(chunk, size=size)
    asked = maker.wait(AFTER_S + REVIEW_S)
    assert len(asked) == at_a_time
    assert maker.wait(maker.now + REVIEW_S) == []
    maker.answer(asked[:10], kept=True)
    assert len(maker.wait(maker.now + REVIEW_S)) == 10


def test_what_is_accepted_is_let_go_and_equal_results_share_one_blob(ledger: Ledger) -> None:
    maker = Maker(ledger)
    one, same, other = maker.make(7, b"same" * 2_000), maker.make(8, b"same" * 2_000), maker.make(9)
    assert one.sealed != same.sealed
    close(ledger, [7])
    maker.giving.release(now=0)
    assert maker.blobs.size(one.sealed) is None
    assert maker.blobs.size(same.digest) == same.size
    close(ledger, [7, 8])
    maker.giving.release(now=0)
    assert maker.blobs.size(same.digest) is None
    maker.giving.release_all()
    assert maker.blobs.size(other.digest) is None
    assert maker.blobs.size(other.sealed) is None


def test_what_goes_onward_is_kept_after_a_restart_and_let_go_when_its_task_expires(
    make_ledger: Callable[..., Ledger],
) -> None:
    before = Maker(make_ledger(onward=True))
    taken, waiting, lost = before.make(7), before.make(8), before.make(9)
    small = Leaf(10, Status.OK, inline=True, size=5, data=b"small")
    before.blobs.put(small.digest, b"small")
    close(before.ledger, [7])
    before.giving.release(now=0)
    before.blobs.discard(lost.digest)
    before.blobs.discard(lost.sealed)
    after = Maker(before.ledger)
    after.blobs = before.blobs
    after.giving = Giving(ProtocolConfig(), Random(1), after.ledger, after.desk, after.blobs, 0.0)  # type: ignore[arg-type]
    for leaf in (taken, waiting, lost, small):
        after.giving.made_before(leaf, 0.0)
    assert [after.giving.holds(leaf.digest) for leaf in (taken, waiting, lost, small)] == [True, True, False, True]
    assert after.giving.needs(waiting.sealed)
    assert not after.giving.needs(taken.digest)
    after.giving.expire()
    assert not any(after.blobs.size(leaf.digest) for leaf in (taken, waiting, small))


def test_a_result_that_is_the_code_itself_is_not_taken_away(ledger: Ledger) -> None:
    maker = Maker(ledger)
    leaf = maker.make(7)
    leaf = leaf._replace(data=ledger.manifest.code.sha256, sealed=bytes(32))
    maker.blobs.put(leaf.digest, b"the code")
    maker.giving.made(leaf, 0.0)
    maker.giving.release_all()
    assert maker.blobs.size(ledger.manifest.code.sha256) is not None


# ---- keeping


class Custodian:
    def __init__(self, ledger: Ledger, custody_bytes: int = 1 << 20, desk: Desk | None = None) -> None:
        config = ProtocolConfig(custody_bytes=custody_bytes)
        self.ledger = ledger
        self.desk = desk or Desk(config, [*WORKERS, STRANGER])
        self.custody = self.desk.custody
        self.keeping = Keeping(config, ledger, self.desk)  # type: ignore[arg-type]
        self.custody.take_part(ledger.task, self)

    def custody_frame(self, peer_id: PeerId, frame: Keep | Kept, now: float) -> None:
        assert isinstance(frame, Keep)
        self.keeping.asked(peer_id, frame, now, willing=True)

    def kept_arrived(self, sealed: bytes, here: bool, now: float) -> None:
        self.keeping.arrived(sealed, here=here)

    def hear(self, peer: Identity, frame: Frame) -> bool:
        taken = self.custody.takes(peer.peer_id, frame, 0.0)
        self.custody.advance(0.0)
        return taken

    def ask(self, data: bytes, chunk: int = 0, peer: Identity = ALICE, size: int | None = None) -> bytes:
        digest = sha256(data).digest()
        self.hear(peer, Keep(self.ledger.task, chunk, digest, len(data) if size is None else size))
        return digest

    def give(self, data: bytes, peer: Identity = ALICE) -> None:
        digest = sha256(data).digest()
        for start in range(0, len(data), 65_536):
            self.hear(peer, BlobPieceFrame(digest, len(data), start // 65_536, data[start : start + 65_536], ()))

    def said(self) -> list[bool]:
        return [frame.kept for _, frame in self.desk.take(Kept)]


def test_what_a_worker_asks_us_to_keep_is_fetched_from_it_and_served_to_anybody(ledger: Ledger) -> None:
    custodian, data = Custodian(ledger), bytes(70_000)
    digest = custodian.ask(data)
    assert custodian.desk.take(BlobWant) == [(ALICE.peer_id, BlobWant(digest, 0, 2))]
    assert custodian.said() == []
    custodian.give(data)
    assert custodian.said() == [True]
    assert custodian.hear(BOB, BlobWant(digest, 0, 2))
    assert [peer_id for peer_id, _ in custodian.desk.take(BlobPieceFrame)] == [BOB.peer_id] * 2
    custodian.ask(data)
    assert custodian.said() == [True]


def test_what_is_something_else_than_named_is_the_asker_s_breach(ledger: Ledger) -> None:
    custodian = Custodian(ledger)
    digest = custodian.ask(bytes(5_000))
    with pytest.raises(RemoteProtocolError, match="not the blob"):
        custodian.hear(ALICE, BlobPieceFrame(digest, 5_000, 0, b"\1" * 5_000, ()))
    custodian.custody.advance(60.0)
    assert custodian.said() == [False]
    assert custodian.custody.promised_bytes == 0


@pytest.mark.parametrize(("chunk", "size"), [(CHUNKS, 5_000), (0, SEAL_BYTES - 1), (0, STATE_BYTES_MAX + 1)])
def test_asking_for_what_cannot_be_a_result_is_a_breach(ledger: Ledger, chunk: int, size: int) -> None:
    with pytest.raises(RemoteProtocolError, match="cannot be a result"):
        Custodian(ledger).ask(b"", chunk, size=size)


def test_a_result_is_refused_from_strangers_when_full_and_when_it_is_on_its_way_already(ledger: Ledger) -> None:
    custodian = Custodian(ledger, custody_bytes=TASKS_MIN * 10_000)
    custodian.ask(bytes(5_000), peer=STRANGER)
    assert custodian.said() == [False]
    custodian.ask(bytes(5_000))
    custodian.ask(bytes(5_000), peer=BOB)
    assert custodian.said() == [False]
    custodian.ask(bytes(5_001))
    assert custodian.said() == [False]
    custodian.ask(bytes(4_999))
    assert custodian.said() == []


def test_a_result_of_a_void_worker_is_refused(ledger: Ledger) -> None:
    verdict = Verdict(ledger.task, ALICE.public_key, "equivocated", 0, bytes(32), EVERYTHING)
    assert ledger.add(sign(CREATOR, verdict), verdict, 0.0)
    custodian = Custodian(ledger)
    custodian.ask(bytes(5_000))
    assert custodian.said() == [False]


def test_what_a_maker_that_leaves_has_not_sent_is_promised_no_longer(ledger: Ledger) -> None:
    custodian = Custodian(ledger)
    custodian.ask(bytes(5_000))
    custodian.desk.linked.discard(ALICE.peer_id)
    custodian.custody.advance(1.0)
    wake_at = custodian.custody.wake_at()
    assert wake_at is not None
    assert wake_at < ProtocolConfig().blob_timeout_s + 1.1
    custodian.custody.advance(wake_at)
    assert custodian.custody.promised_bytes == 0
    assert custodian.custody.wake_at() is None


def test_a_maker_that_comes_back_is_asked_again_for_what_it_had_not_sent(ledger: Ledger) -> None:
    custodian = Custodian(ledger)
    custodian.ask(bytes(5_000))
    assert len(custodian.desk.take(BlobWant)) == 1
    custodian.desk.linked.discard(ALICE.peer_id)
    custodian.custody.advance(1.0)
    custodian.desk.linked.add(ALICE.peer_id)
    custodian.custody.advance(2.0)
    assert len(custodian.desk.take(BlobWant)) == 1
    custodian.give(bytes(5_000))
    assert custodian.said() == [True]


def test_all_tasks_together_have_a_quota_too(
    make_ledger: Callable[..., Ledger],
) -> None:
    first = Custodian(make_ledger(), custody_bytes=TASKS_MIN * 10_000)
    others = [
        Custodian(make_ledger(name=f"task {number}"), custody_bytes=TASKS_MIN * 10_000, desk=first.desk)
        for number in range(3)
    ]
    first.ask(bytes(9_000))
    for number, other in enumerate(others):
        other.ask(bytes(9_001 + number))
    assert first.said() == [False, False]
    assert first.custody.promised_bytes == 9_000 + 9_001


def test_a_flood_of_requests_costs_one_neighbour_s_share_and_small_answers(ledger: Ledger) -> None:
    custodian = Custodian(ledger, custody_bytes=1 << 27)
    for number in range(1_000):
        custodian.ask(number.to_bytes(28))
    assert custodian.custody.promised_bytes == ASKED_MAX * KEPT_BYTES_MIN
    assert custodian.said() == [False] * (1_000 - ASKED_MAX)


def test_a_task_we_do_not_work_for_is_refused(ledger: Ledger) -> None:
    custodian = Custodian(ledger)
    assert custodian.hear(ALICE, Keep(bytes(32), 0, bytes(32), 5_000))
    assert custodian.said() == [False]


steps = st.lists(
    st.tuples(st.just("ask"), st.integers(0, 4), st.integers(SEAL_BYTES, 40_000))
    | st.tuples(st.sampled_from(["give", "missing", "close", "fail", "end"]), st.integers(0, 4), st.just(0)),
    max_size=40,
)


@given(steps=steps)
def test_no_more_is_kept_than_there_is_room_for_and_nothing_of_what_is_closed(
    make_ledger: Callable[..., Ledger], steps: list[tuple[str, int, int]]
) -> None:
    ledger = make_ledger()
    custodian = Custodian(ledger, custody_bytes=TASKS_MIN * 50_000)
    custody, keeping = custodian.custody, custodian.keeping
    said: dict[int, bytes] = {}
    accepted: set[int] = set()
    failed: set[int] = set()
    is_over = False
    for step, chunk, size in steps:
        if step == "ask" and not is_over:
            data = bytes([chunk]) + bytes(size - 1)
            if chunk not in said:
                said[chunk] = data
                custodian.ask(data, chunk)
        elif step == "give" and chunk in said:
            custodian.give(said[chunk])
        elif step == "missing" and chunk in said:
            custodian.hear(ALICE, BlobMissing(sha256(said[chunk]).digest()))
            custody.advance(60.0)
        elif step in ("close", "fail"):
            (accepted if step == "close" else failed).add(chunk)
            close(ledger, accepted - failed, failed=failed)
            keeping.release()
        elif step == "end":
            is_over = True
            keeping.release_all()
        kept = {chunk: custody.kept.size(sha256(data).digest()) for chunk, data in said.items()}
        assert sum(filter(None, kept.values())) <= custody.promised_bytes <= 50_000
        assert not any(kept[chunk] for chunk in kept if ledger.is_closed(chunk))
    close(ledger, range(5))
    for data in said.values():
        custodian.give(data)
    custody.advance(60.0)
    custody.advance(120.0)
    keeping.release()
    assert custody.promised_bytes == 0
    assert not any(custody.kept.size(sha256(data).digest()) for data in said.values())


# ---- reclaiming


def copy_of(ledger: Ledger, data: bytes, maker: Identity, named: bytes, number: int) -> tuple[Copy, bytes]:
    sealed = maker.seal(CREATOR.seal_key, b"result" + ledger.task, named, number.to_bytes(12))
    leaf = Leaf(0, Status.OK, inline=False, size=len(named), data=sha256(data).digest(), sealed=sha256(sealed).digest())
    return Copy(maker.public_key, leaf, (DAVE.public_key, STRANGER.public_key)), sealed


@example(kinds=["gone"] * TRIED_MAX + ["good"])
@given(kinds=st.lists(st.sampled_from(["good", "gone", "another result", "another's seal"]), max_size=TRIED_MAX + 3))
def test_a_result_is_found_if_any_of_the_first_copies_is_there_and_good(
    make_ledger: Callable[..., Ledger], kinds: list[str]
) -> None:
    ledger, desk, blobs = make_ledger(), Desk(ProtocolConfig(), [BOB]), MemoryBlobStore()
    reclaiming = Reclaiming(CREATOR, ledger, desk, blobs)  # type: ignore[arg-type]
    data = b"result" * 1_000
    digest = sha256(data).digest()
    copies, held = [], {}
    for number, kind in enumerate(kinds):
        copy, sealed = copy_of(ledger, data, ALICE, bytes(6_000) if kind == "another result" else data, number)
        if kind == "another's seal":
            _, sealed = copy_of(ledger, data, CAROL, data, number)
            copy = Copy(copy.maker, copy.leaf._replace(sealed=sha256(sealed).digest()), copy.custodians)
        if kind != "gone":
            held[sha256(sealed).digest()] = sealed
        copies.append(copy)
    assert reclaiming.begin(digest, copies, 0.0) == bool(copies)
    settled: list[tuple[bytes, bool]] = []
    now = 0.0
    while copies and not settled:
        now += 20.0
        for peer_id, want in desk.take(BlobWant):
            sealed = held.get(want.sha256, b"")
            desk.custody.takes(
                peer_id,
                BlobPieceFrame(want.sha256, len(sealed), 0, sealed, ()) if sealed else BlobMissing(want.sha256),
                now,
            )
        role = _Collector(reclaiming, settled)
        desk.custody.take_part(ledger.task, role)
        desk.custody.advance(now)
    is_found = "good" in kinds[:TRIED_MAX]
    assert settled == ([(digest, is_found)] if copies else [])
    assert blobs.size(digest) == (len(data) if is_found else None)
    assert not any(desk.custody.kept.size(sealed) for sealed in held)
    # Whoever was named and is a worker of the task is dialled, and nobody else.
    assert desk.wanted == ({ALICE.peer_id, DAVE.peer_id} if copies else set())


class _Collector:
    def __init__(self, reclaiming: Reclaiming, settled: list[tuple[bytes, bool]]) -> None:
        self._reclaiming = reclaiming
        self._settled = settled

    def custody_frame(self, peer_id: PeerId, frame: Keep | Kept, now: float) -> None:
        raise AssertionError(frame)

    def kept_arrived(self, sealed: bytes, here: bool, now: float) -> None:
        self._settled += self._reclaiming.arrived(sealed, now, here=here)


# ---- whole networks


def world(extra: str = "", *, peers: int = 6, chunks: int = 24, chunk_s: float = 0.5) -> World:
    return World(
        parse_scenario(
            f"""
            name = "custody"
            network = {{peers = {peers}, real_keys = true, speed_sigma = 0.0}}
            task = {{chunks = {chunks}, eps = 0.1, replication = 1, chunk_s = {chunk_s}, result_bytes = 6000}}
            checks = {{stop_s = 900}}
            {extra}
            """
        ),
        seed=1,
    )


def executed_by_the_creator(small: World) -> list[int]:
    """What it executes before it has a result of every chunk: audits come after that."""
    executed: list[int] = []

    def see(now: float, node: Node, event: Input | Output) -> None:
        if type(event) is Execute and node.index == 0 and small.role.state is TaskState.RUNNING:
            executed.extend(chunk.chunk for chunk in event.chunks)

    small.observers.append(see)
    return executed


def everybody_keeps(small: World) -> dict[int, int]:
    return {node.index: node.peer.custody.promised_bytes for node in small.nodes[1:] if node.alive}


def leave_it_to_workers(small: World, until: float) -> None:
    """The creator publishes and is gone three seconds later, until it is told to come back."""
    small.at(3.0, lambda: small.stop(small.creator))
    small.step_until(until)


def test_a_result_survives_while_one_of_four_lives_and_is_let_go_when_the_creator_has_it() -> None:
    small = world()
    executed = executed_by_the_creator(small)
    leave_it_to_workers(small, 60.0)
    assert sum(everybody_keeps(small).values()) >= 3 * 24 * (6_000 + SEAL_BYTES)
    for node in small.nodes[1:4]:
        small.stop(node)
    small.start(small.creator, keep_state=True)
    small.run()
    assert small.role.state is TaskState.CLOSED
    assert final_failures(small) == []
    assert executed == []
    assert not any(everybody_keeps(small).values())
    for node in small.nodes[4:]:
        assert len(node.blobs._blobs) == 1, "besides the code nothing is left"


def test_without_custodians_what_is_lost_is_executed_by_the_creator() -> None:
    small = world("protocol = {custodians = 0}")
    executed = executed_by_the_creator(small)
    leave_it_to_workers(small, 60.0)
    for node in small.nodes[1:4]:
        small.stop(node)
    small.start(small.creator, keep_state=True)
    small.run()
    assert small.role.state is TaskState.CLOSED
    assert executed != []


def test_custodians_cannot_read_what_they_keep() -> None:
    small = world()
    leave_it_to_workers(small, 60.0)
    keeper = max(small.nodes, key=lambda node: node.peer.custody.promised_bytes)
    results = {small.right_result(chunk) for chunk in range(24)}
    assert keeper.peer.custody.promised_bytes
    for sealed in keeper.peer.custody.kept._blobs.values():
        assert sealed not in results
        for maker in small.nodes[1:]:
            for seal_key in (maker.signer.seal_key, small.creator.signer.seal_key, small.manifest.seal_key):
                with pytest.raises(RemoteProtocolError):
                    keeper.signer.unseal(seal_key, b"result" + small.task, sealed)


def test_a_maker_that_was_restarted_still_gives_and_lets_go_what_it_made() -> None:
    small = world(peers=2)
    leave_it_to_workers(small, 40.0)
    maker, other = small.nodes[1:]
    small.stop(other)
    held = len(maker.blobs._blobs)
    assert held > 1
    small.stop(maker)
    small.start(maker, keep_state=True)
    small.start(other, keep_state=False)
    small.step_until(90.0)
    assert other.peer.custody.promised_bytes > 0
    small.start(small.creator, keep_state=True)
    small.run()
    assert final_failures(small) == []
    assert len(maker.blobs._blobs) == 1


def test_a_creator_that_is_there_takes_the_results_itself() -> None:
    small = world()
    asked: list[Keep] = []

    def see(now: float, node: Node, event: Input | Output) -> None:
        if type(event) is FrameReceived and isinstance(frame := decode_frame(event.frame), Keep):
            asked.append(frame)

    small.observers.append(see)
    small.run()
    assert small.role.state is TaskState.CLOSED
    assert asked == []


def test_no_custody_frame_of_a_stranger_does_harm() -> None:
    small = world()
    small.step_until(5.0)
    node = small.nodes[1]
    (neighbour, *_) = node.peer.neighbours
    rng = Random(1)
    for _ in range(300):
        task = rng.choice([small.task, rng.randbytes(32)])
        chunk, size = rng.choice([0, 2**32 - 1]), rng.choice([0, 28, 6_028, 2**53 - 1])
        said: list[Keep | Kept] = [
            Keep(task, chunk, rng.randbytes(32), size),
            Keep(task, 0, small.manifest.code.sha256, 2_000),
            Kept(task, rng.randbytes(32), kept=rng.random() < 0.5),
        ]
        small.tell(node, FrameReceived(neighbour, encode_frame(rng.choice(said))))
    faults.crash(small, node, for_s=1.0, keep_state=True)
    small.run()
    assert small.role.state is TaskState.CLOSED
    assert final_failures(small) == []
