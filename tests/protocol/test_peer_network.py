"""Small networks of real peers with real keys: jobs end, liars fall, silent work is re-run, strangers do no harm."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crowdcompute.protocol.blobs import PIECE_BYTES
from crowdcompute.protocol.closing import TaskState
from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.events import (
    CloseLink,
    Execute,
    FinishRequested,
    FrameReceived,
    FramesReceived,
    LinkOpened,
    SaveRecords,
    SendFrame,
    SlotsChanged,
    TaskGivenUp,
    TasksChosen,
    UploadCapped,
)
from crowdcompute.protocol.frames import Bye, Publish, decode_frame
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.peer import Peer
from crowdcompute.protocol.recount import recount
from crowdcompute.protocol.storage import MemoryBlobStore
from crowdcompute.simulations import faults
from crowdcompute.simulations.checkers import final_failures
from crowdcompute.simulations.network import World
from crowdcompute.simulations.scenario import parse_scenario

if TYPE_CHECKING:
    from crowdcompute.protocol.events import Input, Output
    from crowdcompute.protocol.frames import Frame
    from crowdcompute.protocol.identity import PeerId
    from crowdcompute.protocol.records import Signed
    from crowdcompute.simulations.network import Node


def world(
    extra: str = "",
    *,
    peers: int = 6,
    chunks: int = 30,
    replication: int = 2,
    chunk_s: float = 0.5,
    tolerance: float = 0.0,
    result_bytes: int = 32,
) -> World:
    task = f"eps = 0.1, chunk_s = {chunk_s}, chunk_sigma = 0.0, result_bytes = {result_bytes}"
    return World(
        parse_scenario(
            f"""
            name = "small"
            network = {{peers = {peers}, real_keys = true, speed_sigma = 0.0}}
            task = {{chunks = {chunks}, replication = {replication}, tolerance = {tolerance}, {task}}}
            checks = {{stop_s = 600}}
            {extra}
            """
        ),
        seed=1,
    )


def run(small: World) -> None:
    small.run()
    assert small.role.state is TaskState.CLOSED
    assert final_failures(small) == []


@pytest.mark.parametrize("replication", [1, 2, 3])
def test_a_job_is_completed_and_certified(replication: int) -> None:
    small = world(replication=replication)
    run(small)
    progress = small.role.progress()
    assert progress.accepted == 30
    assert progress.bound <= 0.1
    assert progress.votes >= 30 * replication


def test_every_peer_holds_the_certificate() -> None:
    small = world()
    run(small)
    certificates = [node.peer.ledgers[small.task].certificate for node in small.nodes]
    assert certificates[0] is not None
    assert all(certificate == certificates[0] for certificate in certificates)


@pytest.mark.parametrize("replication", [1, 2])
def test_a_liar_is_convicted_and_its_votes_are_void(replication: int) -> None:
    small = world('liars = [{kind = "alone", count = 1}]', replication=replication)
    run(small)
    (liar,) = small.convictable
    assert small.role.ledger.verdicts.keys() == {liar}
    for chunk in range(30):
        assert liar not in small.role.result(chunk).agreed
        assert liar not in small.role.ledger.voters(chunk)


@pytest.mark.parametrize("replication", [1, 2])
def test_floats_that_no_two_peers_compute_alike_are_certified_and_liars_convicted(replication: int) -> None:
    small = world('liars = [{kind = "colluding", count = 2}]', replication=replication, tolerance=0.25)
    run(small)
    certificate = small.role.ledger.certificate
    assert certificate is not None
    assert certificate.convicted == 2
    chunk = next(chunk for chunk in range(30) if len(small.role.result(chunk).agreed) > 1)
    values = {vote.value for vote in small.role.referee.voters(chunk).values() if vote.value}
    assert len(values) > 1, "who agrees has not voted for the same bytes"
    assert sorted(recount(small.role.evidence(), verify).values) == list(range(30))


def test_an_equivocator_is_convicted_by_its_own_two_signatures() -> None:
    small = world('liars = [{kind = "equivocator", count = 1}]')
    run(small)
    (liar,) = small.convictable
    assert small.role.ledger.verdicts[liar].reason == "equivocated"


def test_the_work_of_a_silent_peer_is_run_again_within_five_seconds() -> None:
    # Few long chunks and somebody idle: otherwise the lost work waits its turn like any other open chunk. Without the
    # end game, which would have copied it anyway.
    small = world("protocol = {endgame_after_s = 1_000.0}", peers=5, chunks=2, chunk_s=60.0, replication=1)
    started: list[tuple[float, int, int]] = []

    def see(now: float, node: Node, event: Input | Output) -> None:
        if type(event) is Execute:
            started.extend((now, node.index, chunk.chunk) for chunk in event.chunks)

    small.observers.append(see)
    small.step_until(7.0)
    silent = next(node for node in small.nodes[1:] if node.running)
    (lost,) = {chunk.chunk for job in silent.running.values() for chunk in job.job.chunks}
    assert [node for _, node, chunk in started if chunk == lost] == [silent.index]
    faults.silence(small, silent, for_s=1_000.0)
    small.step_until(13.0)
    assert any(at - 7.0 <= 5.0 for at, node, chunk in started if chunk == lost and node != silent.index)


def test_a_creator_that_is_killed_again_and_again_finishes_its_job() -> None:
    small = world(chunks=60)
    for at_s in (3.0, 8.0, 14.0):
        small.at(at_s, lambda: faults.crash(small, small.creator, for_s=2.0, keep_state=True))
    run(small)


@pytest.mark.parametrize("keep_state", [True, False])
def test_workers_that_are_killed_come_back_and_nobody_is_convicted(keep_state: bool) -> None:
    small = world(chunks=60)
    for index, at_s in ((1, 3.0), (2, 4.0), (1, 9.0)):
        small.at(at_s, partial(faults.crash, small, small.nodes[index], for_s=1.5, keep_state=keep_state))
    run(small)
    assert not small.role.ledger.verdicts


def test_a_task_that_is_given_up_closes_with_what_it_has_and_says_so() -> None:
    small = world(chunks=200)
    small.step_until(8.0)
    before = small.role.progress()
    assert 0 < before.accepted < 200
    small.tell(small.creator, TaskGivenUp(small.task))
    small.run()
    after = small.role.progress()
    assert after.state is TaskState.CLOSED
    assert (after.accepted + after.failed, after.accepted) == (200, before.accepted)
    assert small.role.cancelled_chunks() == after.failed
    counted = recount(small.role.evidence(), verify)
    assert (counted.cancelled, counted.certificate.accepted) == (after.failed, after.accepted)
    # What was given up was not looked at: audits of accepted chunks alone bound the error.
    audited = [chunk for chunk in range(200) if small.role.result(chunk).state == "ok"]
    assert after.creator_audits <= len(audited)
    assert after.bound == 0 or after.bound <= 0.1


def test_a_decisive_chunk_is_executed_by_the_creator_before_the_rest_is_given_up() -> None:
    small = world(chunks=200)
    small.step_until(8.0)
    decisive = next(chunk for chunk in small.role.settled_chunks() if small.role.result(chunk).state == "ok")
    small.tell(small.creator, TaskGivenUp(small.task, decisive))
    assert small.role.cancelled_chunks() == 0, "not yet"
    small.run()
    assert small.role.cancelled_chunks() == small.role.progress().failed > 0
    assert small.creator.signer.public_key in small.role.result(decisive).agreed


def test_a_task_given_up_before_its_first_result_closes_at_once() -> None:
    small = world(chunks=20)
    small.step_until(0.5)
    small.tell(small.creator, TaskGivenUp(small.task))
    small.run()
    assert small.role.state is TaskState.CLOSED
    assert small.role.progress().failed == small.role.cancelled_chunks() == 20


def test_a_worker_asked_to_finish_takes_no_new_work_and_does_not_spin() -> None:
    small = world(peers=3, chunks=60)
    small.step_until(5.0)
    leaver = small.nodes[1]
    small.tell(leaver, FinishRequested())
    small.step_until(15.0)
    assert leaver.peer.idle
    spins, votes = small.spins, leaver.peer.workers[small.task].votes
    small.step_until(40.0)
    assert leaver.peer.workers[small.task].votes == votes
    assert small.spins == spins


def test_a_paused_worker_stops_at_once_and_its_work_is_done_by_others_or_after_the_pause() -> None:
    small = world(peers=4, chunks=24, chunk_s=3.0)
    small.step_until(9.0)
    sleeper = next(node for node in small.nodes[1:] if node.running)
    begun = {chunk.chunk for job in sleeper.running.values() for chunk in job.job.chunks}
    small.tell(sleeper, SlotsChanged(0))
    assert sleeper.peer.idle and not sleeper.running
    small.step_until(10.0)
    key = sleeper.signer.public_key
    assert not any(
        lease.worker == key and lease.since
        for node in small.nodes
        for lease in node.peer.ledgers[small.task].leases.live.values()
    ), f"somebody still waits for {begun}"
    small.step_until(30.0)
    votes = sleeper.peer.workers[small.task].votes
    small.tell(sleeper, SlotsChanged(1))
    run(small)
    assert sleeper.peer.workers[small.task].votes > votes
    assert small.role.progress().accepted == 24


def test_a_person_can_cap_what_a_peer_gives_while_it_gives() -> None:
    small = world(peers=3, chunks=30, result_bytes=200_000, replication=1)
    worker = small.nodes[1]
    small.tell(worker, UploadCapped(100_000.0))
    small.step_until(4.0)
    given = worker.peer.given_bytes
    assert 100_000 < given <= 4.3 * 100_000 + PIECE_BYTES
    small.tell(worker, UploadCapped(20_000.0))
    small.step_until(14.0)
    assert 0 < worker.peer.given_bytes - given <= 10.3 * 20_000 + PIECE_BYTES
    small.tell(worker, UploadCapped(None))
    run(small)
    assert small.role.progress().accepted == 30


def test_a_task_is_worked_on_only_while_it_is_chosen() -> None:
    small = world(peers=4, chunks=60, chunk_s=2.0)
    chooser = small.nodes[1]
    small.step_until(4.0)
    small.tell(chooser, TasksChosen(frozenset()))
    votes = chooser.peer.workers[small.task].votes
    small.step_until(20.0)
    assert small.task in chooser.peer.ledgers
    assert chooser.peer.workers[small.task].votes == votes
    small.tell(chooser, TasksChosen(frozenset({small.task})))
    small.step_until(40.0)
    assert chooser.peer.workers[small.task].votes > votes
    small.tell(chooser, TasksChosen(frozenset()))
    votes = chooser.peer.workers[small.task].votes
    run(small)
    assert chooser.peer.workers[small.task].votes == votes


def test_a_vote_that_was_lost_on_its_way_is_cast_again() -> None:
    small = world(peers=3, chunks=30, replication=2, chunk_s=0.2)
    small.step_until(0.1)
    creator = small.creator.peer
    lost: list[bytes] = []
    receive = creator._record_received

    def lose_the_first_commit(source: PeerId, signed: Signed, record_id: bytes) -> None:
        if signed.kind == "commit" and not lost:
            lost.append(record_id)
            creator._gossip.mark_seen(record_id)
        else:
            receive(source, signed, record_id)

    creator._record_received = lose_the_first_commit  # type: ignore[method-assign]
    run(small)
    assert lost
    assert small.role.progress().accepted == 30


class Stranger:
    """A peer in the middle of a job, and somebody linked to it who says whatever it likes."""

    def __init__(self) -> None:
        self.world = world(peers=4, chunks=40)
        self.identity = Identity(bytes(32))
        self.frames: list[bytes] = []

        def see(now: float, node: Node, event: Input | Output) -> None:
            if type(event) is FrameReceived:
                self.frames.append(event.frame)

        self.world.observers.append(see)
        self.world.step_until(6.0)
        self.hello = Peer(self.world.nodes[1].config, self.identity, verify, Random(1), MemoryBlobStore(), 6.0).handle(
            LinkOpened(self.world.nodes[1].signer.peer_id, dialled=True), now=6.0
        )

    def says(self, frames: list[bytes]) -> None:
        for node in self.world.nodes[:2]:
            now = self.world.now
            node.peer.handle(LinkOpened(self.identity.peer_id, dialled=False), now=now)
            for output in self.hello:
                if isinstance(output, SendFrame):
                    node.peer.handle(FrameReceived(self.identity.peer_id, output.frame), now=now)
            for frame in frames:
                node.peer.handle(FrameReceived(self.identity.peer_id, frame), now=now)
            node.peer.handle(FramesReceived(tuple((self.identity.peer_id, frame) for frame in frames)), now=now)


@pytest.fixture(scope="module")
def stranger() -> Stranger:
    return Stranger()


_FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=64) | st.text(max_size=8)
_KINDS = (
    "hello ping pong bye part topics graft prune ihave iwant publish "
    "blob-want blob-piece blob-missing keep kept nonsense"
)
_TAGS = st.sampled_from(_KINDS.split())


@_FUZZ
@given(st.lists(st.binary(max_size=300), max_size=6))
def test_no_random_bytes_raise_anything(stranger: Stranger, frames: list[bytes]) -> None:
    stranger.says(frames)


@_FUZZ
@given(st.lists(st.tuples(_TAGS, st.lists(_SCALARS | st.lists(_SCALARS, max_size=3), max_size=5)), max_size=6))
def test_no_well_encoded_nonsense_raises_anything(stranger: Stranger, frames: list[tuple[str, list[object]]]) -> None:
    stranger.says([encode((tag, *fields)) for tag, fields in frames])


@_FUZZ
@given(st.data())
def test_no_mutated_frame_raises_anything(stranger: Stranger, data: st.DataObject) -> None:
    said = []
    for _ in range(data.draw(st.integers(1, 5))):
        frame = bytearray(data.draw(st.sampled_from(stranger.frames)))
        for _ in range(data.draw(st.integers(0, 3))):
            frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
        said.append(bytes(frame[: data.draw(st.integers(1, len(frame)))]) if data.draw(st.booleans()) else bytes(frame))
    stranger.says(said)


def test_a_neighbour_that_breaks_the_rules_again_and_again_is_cut_off(stranger: Stranger) -> None:
    stranger.says([b"\xff"] * 10)
    assert stranger.identity.peer_id not in stranger.world.nodes[1].peer.neighbours


def test_frames_that_come_together_mean_what_they_mean_one_by_one(stranger: Stranger) -> None:
    (hello,) = [output.frame for output in stranger.hello if isinstance(output, SendFrame)]
    publishing = [frame for frame in stranger.frames if isinstance(decode_frame(frame), Publish)]
    half = len(publishing) // 2
    # Four breaches close the link, and what comes behind them is for nobody.
    frames = (hello, *publishing[:half], *[b"\xff"] * 4, *publishing[half:])

    def heard(*, together: bool) -> tuple[list[bytes], list[PeerId]]:
        config = stranger.world.nodes[1].config
        peer = Peer(config, Identity(bytes([7]) * 32), verify, Random(1), MemoryBlobStore(), 6.0)
        peer.handle(LinkOpened(stranger.identity.peer_id, dialled=False), now=6.0)
        events: list[Input] = [FrameReceived(stranger.identity.peer_id, frame) for frame in frames]
        if together:
            events = [FramesReceived(tuple((stranger.identity.peer_id, frame) for frame in frames))]
        outputs = [output for event in events for output in peer.handle(event, now=6.0)] + peer.farewell("done")
        saved = [record.record_id for output in outputs if isinstance(output, SaveRecords) for record in output.records]
        return saved, [output.peer_id for output in outputs if isinstance(output, CloseLink)]

    saved, closed = heard(together=True)
    assert (saved, closed) == heard(together=False)
    assert len(saved) > 3
    assert closed == [stranger.identity.peer_id]


def test_who_leaves_says_what_waits_for_a_push_and_then_goodbye() -> None:
    small = world("protocol = {gossip_gap_s = 300.0}")
    small.step_until(10.0)
    said: dict[PeerId, list[Frame]] = {}
    for output in small.nodes[0].peer.farewell("bed time"):
        if isinstance(output, SendFrame):
            said.setdefault(output.peer_id, []).append(decode_frame(output.frame))
    assert said.keys() == small.nodes[0].peer.neighbours.keys()
    assert all(frames[-1] == Bye("bed time") for frames in said.values())
    assert any(isinstance(frame, Publish) for frames in said.values() for frame in frames)


def test_peers_of_another_network_do_not_talk() -> None:
    left, right = (Identity(bytes([number]) * 32) for number in (1, 2))
    ours = Peer(ProtocolConfig(network="a"), left, verify, Random(1), MemoryBlobStore(), 0.0)
    theirs = Peer(ProtocolConfig(network="b"), right, verify, Random(2), MemoryBlobStore(), 0.0)
    ours.handle(LinkOpened(right.peer_id, dialled=True), now=0.0)
    (hello,) = theirs.handle(LinkOpened(left.peer_id, dialled=False), now=0.0)
    assert isinstance(hello, SendFrame)
    ours.handle(FrameReceived(right.peer_id, hello.frame), now=0.0)
    assert right.peer_id not in ours.neighbours
