"""Somebody acts for an absent creator in one task, for a time; what it says hurries the work, and decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.closing import TaskState
from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.credit import fields_of, table_of
from crowdcompute.protocol.epochs import Chain, Epochs
from crowdcompute.protocol.errors import LocalProtocolError, RemoteProtocolError
from crowdcompute.protocol.events import ChunkOutcome, Notable, Notice, StewardNamed, StewardRevoked
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.ledger import Ledger, find_work
from crowdcompute.protocol.manifest import open_manifest, sign_manifest, task_secret, with_task_key
from crowdcompute.protocol.provisional import ProvisionalState
from crowdcompute.protocol.records import (
    EVERYTHING,
    Admit,
    Assign,
    Beacon,
    CertificateBody,
    Checkpoint,
    Commit,
    Delegate,
    Join,
    Lease,
    Record,
    Revoke,
    Signed,
    Verdict,
    parse,
    sign,
)
from crowdcompute.protocol.recount import recount
from crowdcompute.protocol.stewarding import creators_signer, stewards_signer
from crowdcompute.protocol.stewards import STEWARD_ASSIGNS_MAX, STEWARDS_MAX
from crowdcompute.simulations.checkers import final_failures
from crowdcompute.simulations.network import World
from crowdcompute.simulations.scenario import EPOCH_S, parse_scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.conftest import ExpectVectors

    from crowdcompute.protocol.creator import CreatorRole
    from crowdcompute.protocol.events import Input, Output
    from crowdcompute.protocol.manifest import Manifest
    from crowdcompute.simulations.network import Node

    MakeManifest = Callable[..., Manifest]

CREATOR = Identity(bytes(range(32)))
STEWARD, OTHER, WORKER, STRANGER = (Identity(bytes([number]) * 32) for number in (61, 62, 63, 64))
BEACONS = Chain(bytes(32), 1_440)
UNTIL_S = 1_800_050_000
SEALED = bytes(60)


# ---- the task's own key


def test_each_task_has_a_seal_key_that_its_creator_makes_again_from_seed_and_manifest(
    make_manifest: MakeManifest,
) -> None:
    one, other = (with_task_key(CREATOR, make_manifest(name=name)) for name in ("one", "other"))
    assert len({one.seal_key, other.seal_key, CREATOR.seal_key}) == 3
    sealed = WORKER.seal(one.seal_key, b"context", b"a vote", bytes(12))
    assert creators_signer(CREATOR, one).unseal(WORKER.seal_key, b"context", sealed) == b"a vote"
    for signer in (CREATOR, creators_signer(CREATOR, other), STRANGER):
        with pytest.raises(RemoteProtocolError):
            signer.unseal(WORKER.seal_key, b"context", sealed)
    assert creators_signer(CREATOR, make_manifest()) is CREATOR, "a task of before is opened with the creator's own key"


def delegation(manifest: Manifest, to: Identity) -> Delegate:
    task = sign_manifest(CREATOR, manifest).record_id
    signer = creators_signer(CREATOR, manifest)
    secret = task_secret(CREATOR, manifest)
    sealed = signer.seal(to.seal_key, b"delegate" + task, secret, bytes(12))
    return Delegate(task, to.public_key, UNTIL_S, trusted=False, sealed=sealed)


def test_a_delegation_gives_its_steward_the_key_of_one_task_and_nobody_else(make_manifest: MakeManifest) -> None:
    manifest = with_task_key(CREATOR, make_manifest())
    record = delegation(manifest, STEWARD)
    acting = stewards_signer(STEWARD, manifest, record)
    assert (acting.public_key, acting.seal_key) == (STEWARD.public_key, manifest.seal_key)
    for stranger, of in ((OTHER, manifest), (STEWARD, with_task_key(CREATOR, make_manifest(name="other")))):
        with pytest.raises(RemoteProtocolError):
            stewards_signer(stranger, of, record)
    wrong = creators_signer(CREATOR, manifest).seal(STEWARD.seal_key, b"delegate" + record.task, bytes(32), bytes(12))
    with pytest.raises(RemoteProtocolError, match="another secret"):
        stewards_signer(STEWARD, manifest, msgspec.structs.replace(record, sealed=wrong))


# ---- what a ledger says


@pytest.fixture(scope="module")
def signed_manifest(make_manifest: MakeManifest) -> Signed:
    return sign_manifest(CREATOR, make_manifest(epochs=Epochs(60, BEACONS.value(0))))


def make_ledger(signed: Signed, *, keep_commits: bool = False) -> Ledger:
    return Ledger(signed, open_manifest(signed, verify), keep_commits=keep_commits)


@pytest.fixture
def ledger(signed_manifest: Signed) -> Ledger:
    return make_ledger(signed_manifest)


def add(ledger: Ledger, author: Identity, record: Record, now: float = 0.0) -> bool:
    signed = sign(author, record)
    ledger.check(signed, record)
    return ledger.add(signed, record, now)


def join(ledger: Ledger, worker: Identity) -> Join:
    return find_work(Join(ledger.task, worker.seal_key, bytes(32), 0, BEACONS.value(0), 0), worker.public_key, 8)


def let(ledger: Ledger, steward: Identity, *, until_s: int = UNTIL_S, trusted: bool = False) -> Delegate:
    return Delegate(ledger.task, steward.public_key, until_s, trusted, SEALED)


def admit(ledger: Ledger, worker: Identity, number: int) -> Admit:
    return Admit(ledger.task, worker.public_key, bytes(32), bytes([number]) * 16)


def checkpoint(ledger: Ledger, seq: int, accepted: int, failed: int = 0, table: bytes = b"") -> Checkpoint:
    return Checkpoint(ledger.task, 0, seq, 3, bytes([accepted]), bytes([failed]), bytes(32), *fields_of(table))


def commit(ledger: Ledger, seq: int, chunk: int) -> Commit:
    return Commit(ledger.task, 0, seq, 0, b"", ((chunk, 1),), bytes(32), b"sealed")


def beyond_a_steward(ledger: Ledger) -> dict[str, Record]:
    """What its creator alone may say."""
    task, worker = ledger.task, WORKER.public_key
    return {
        "a verdict": Verdict(task, worker, "wrong", 0, bytes(32), EVERYTHING),
        "a certificate": CertificateBody(task, 3, 3, 0, bytes(32), 1, 0, 0, 0, 0, 0.1, 0.1, 0.95),
        "a beacon": Beacon(task, 1, 1, BEACONS.value(1), 0),
        "a delegation of its own": let(ledger, OTHER),
        "a longer delegation for itself": let(ledger, STEWARD, until_s=UNTIL_S + 1),
        "a revocation": Revoke(task, OTHER.public_key),
        "a checkpoint that pays": checkpoint(ledger, 0, 1, table=table_of({STEWARD.public_key: 1_000})),
    }


def test_a_steward_admits_asks_and_settles_and_neither_convicts_nor_pays_nor_closes(ledger: Ledger) -> None:
    words: list[Record] = [
        admit(ledger, WORKER, 1),
        Assign(ledger.task, 0, 1, WORKER.public_key, b""),
        checkpoint(ledger, 0, 1, 2),
    ]
    for record in words:
        with pytest.raises(RemoteProtocolError):
            ledger.check(sign(STEWARD, record), record)
    assert add(ledger, CREATOR, let(ledger, STEWARD))
    assert all(add(ledger, STEWARD, record) for record in words)
    for what, record in beyond_a_steward(ledger).items():
        with pytest.raises(RemoteProtocolError):
            ledger.check(sign(STEWARD, record), record)
            pytest.fail(what)
    assert not ledger.is_admitted(WORKER.public_key), "its join comes later, and no commit of it is taken before"
    assert add(ledger, WORKER, join(ledger, WORKER))
    assert ledger.is_admitted(WORKER.public_key)
    assert [ledger.is_settled(chunk) for chunk in range(3)] == [True, True, False]
    assert ledger.settled_bitmap(0) == b"\3"
    assert not any(ledger.is_closed(chunk) or ledger.is_accepted(chunk) for chunk in range(3))
    assert not ledger.checkpoints


def test_nobody_is_steward_of_its_own_task_and_a_creator_names_no_thousands(ledger: Ledger) -> None:
    for record in (let(ledger, CREATOR), Revoke(ledger.task, CREATOR.public_key)):
        with pytest.raises(RemoteProtocolError):
            ledger.check(sign(CREATOR, record), record)
    for number in range(STEWARDS_MAX):
        assert add(ledger, CREATOR, Delegate(ledger.task, bytes([number]) * 32, UNTIL_S, trusted=False, sealed=SEALED))
        assert add(ledger, CREATOR, Revoke(ledger.task, bytes([200, number]) * 16))
    for extra in (let(ledger, STEWARD), Revoke(ledger.task, STEWARD.public_key)):
        with pytest.raises(RemoteProtocolError, match="too many"):
            ledger.check(sign(CREATOR, extra), extra)


def test_nothing_a_revoked_steward_ever_said_counts(ledger: Ledger) -> None:
    add(ledger, CREATOR, let(ledger, STEWARD))
    for record in (
        admit(ledger, WORKER, 1),
        Assign(ledger.task, 0, 1, WORKER.public_key, b""),
        checkpoint(ledger, 0, 3),
        commit(ledger, 1, 0),
        Lease(ledger.task, 0, 0, 1, 15, ((2, 1),)),
    ):
        assert add(ledger, STEWARD, record)
    assert add(ledger, CREATOR, Revoke(ledger.task, STEWARD.public_key))
    assert not ledger.admits
    assert not ledger.is_settled(0)
    assert not ledger.has_voter(0)
    assert not ledger.leases.live
    assert ledger.is_void(STEWARD.public_key)
    assert not ledger.may_act(STEWARD.public_key, 0.0)
    assert {signed.kind for signed in ledger.records()} == {"manifest", "commit", "revoke"}
    assert not add(ledger, CREATOR, let(ledger, STEWARD, until_s=UNTIL_S + 5)), "a revocation is for good"
    late = admit(ledger, WORKER, 2)
    assert not ledger.add(sign(STEWARD, late), late, 0.0)


def test_the_creators_own_admission_outlives_its_stewards(ledger: Ledger) -> None:
    for author, number in ((STEWARD, 1), (OTHER, 2)):
        add(ledger, CREATOR, let(ledger, author))
        add(ledger, author, admit(ledger, WORKER, number))
    first = min((STEWARD, OTHER), key=lambda each: each.public_key)
    assert ledger.admits[WORKER.public_key].nonce[0] == (1 if first is STEWARD else 2)
    add(ledger, CREATOR, admit(ledger, WORKER, 3))
    assert ledger.admits[WORKER.public_key].nonce[0] == 3
    add(ledger, CREATOR, Revoke(ledger.task, STEWARD.public_key))
    assert ledger.admits[WORKER.public_key].nonce[0] == 3


def test_when_a_stewards_time_is_over_its_words_are_held_for_the_creator_and_move_nobody_else(
    signed_manifest: Signed,
) -> None:
    late = UNTIL_S + 61.0
    volunteer, creator = (make_ledger(signed_manifest, keep_commits=mine) for mine in (False, True))
    for ledger in (volunteer, creator):
        add(ledger, CREATOR, let(ledger, STEWARD))
        assert ledger.may_begin(STEWARD.public_key, UNTIL_S - 1.0)
        assert not ledger.may_begin(STEWARD.public_key, UNTIL_S)
        assert ledger.may_act(STEWARD.public_key, UNTIL_S + 59.0)
        assert not ledger.may_act(STEWARD.public_key, late)
        assert ledger.may_act(CREATOR.public_key, late)
        for record in (admit(ledger, WORKER, 1), checkpoint(ledger, 0, 1)):
            assert add(ledger, STEWARD, record, now=late)
    assert not volunteer.admits
    assert not volunteer.is_settled(0)
    assert WORKER.public_key in creator.admits
    assert set(volunteer.record_ids(volunteer.task)) == set(creator.record_ids(creator.task))


def test_what_a_steward_asked_for_is_kept_for_the_creator_within_bounds(signed_manifest: Signed) -> None:
    ledger = make_ledger(signed_manifest)
    add(ledger, CREATOR, let(ledger, STEWARD))
    for author in (CREATOR, STEWARD):
        add(ledger, author, Assign(ledger.task, 0, 0, WORKER.public_key, b""))
    ledger.expire(1_000.0)

    def kept() -> list[bytes]:
        held = map(ledger.record, ledger.record_ids(ledger.shard_topic(0)))
        return [each.author for each in held if each is not None and each.kind == "assign"]

    assert kept() == [STEWARD.public_key]
    signed = sign(STEWARD, Assign(ledger.task, 0, 0, WORKER.public_key, b""))
    for number in range(STEWARD_ASSIGNS_MAX):
        record = Assign(ledger.task, 0, number + 1, WORKER.public_key, b"")
        # Signing each would take a second; the ledger's owner has checked signatures before.
        ledger.add(msgspec.structs.replace(signed, body=number.to_bytes(4)), record, 0.0)
    assert kept() == [STEWARD.public_key] * STEWARD_ASSIGNS_MAX
    assert add(ledger, CREATOR, let(ledger, STEWARD, until_s=UNTIL_S + 5)), "what was let go stands in nobody's way"


# ---- any order


def pool(ledger: Ledger) -> list[tuple[Identity, Record]]:
    """Two stewards' words, one of them revoked in the end."""
    said: list[tuple[Identity, Record]] = [(worker, join(ledger, worker)) for worker in (STEWARD, OTHER, WORKER)]
    said += [(CREATOR, let(ledger, STEWARD)), (CREATOR, let(ledger, STEWARD, until_s=UNTIL_S + 5, trusted=True))]
    said += [(CREATOR, let(ledger, OTHER)), (CREATOR, Revoke(ledger.task, OTHER.public_key))]
    said += [(CREATOR, admit(ledger, STRANGER, 9)), (CREATOR, checkpoint(ledger, 0, 0, 4))]
    for steward, number in ((STEWARD, 1), (OTHER, 2)):
        said += [
            (steward, admit(ledger, WORKER, number)),
            (steward, admit(ledger, STRANGER, number)),
            (steward, checkpoint(ledger, 1, number)),
            (steward, checkpoint(ledger, 2, 0, number)),
            (steward, Assign(ledger.task, 0, number, WORKER.public_key, b"")),
            (steward, commit(ledger, number, 0)),
        ]
    return said


def said_by(ledger: Ledger) -> dict[str, Any]:
    return {
        "held": sorted(signed.record_id.hex() for signed in ledger.records()),
        "stewards": {key.hex(): [it.until_s, it.trusted] for key, it in sorted(ledger.delegations.items())},
        "revoked": sorted(key.hex() for key in ledger.revoked),
        "admitted": {key.hex(): it.nonce.hex() for key, it in sorted(ledger.admits.items())},
        "settled": [ledger.is_settled(chunk) for chunk in range(3)],
        "closed": [ledger.is_closed(chunk) for chunk in range(3)],
        "voters": [sorted(key.hex() for key in ledger.voters(chunk)) for chunk in range(3)],
        "void": [ledger.is_void(worker.public_key) for worker in (STEWARD, OTHER, WORKER)],
    }


def fill(ledger: Ledger, order: Sequence[tuple[Identity, Record]]) -> dict[str, Any]:
    """As a peer takes records: what a steward says waits for the delegation, what a revoked one says is not heard."""
    waiting: list[tuple[Identity, Record]] = []
    for author, record in order:
        may_wait = isinstance(record, Admit | Assign | Checkpoint) and author is not CREATOR
        if ledger.is_void(author.public_key):
            continue
        if may_wait and not ledger.is_steward(author.public_key):
            waiting.append((author, record))
            continue
        add(ledger, author, record)
        if isinstance(record, Delegate):
            heard = [entry for entry in waiting if ledger.is_steward(entry[0].public_key)]
            waiting = [entry for entry in waiting if entry not in heard]
            for entry in heard:
                add(ledger, *entry)
    return said_by(ledger)


@given(data=st.data())
def test_equal_sets_say_the_same_whatever_order_they_came_in(signed_manifest: Signed, data: st.DataObject) -> None:
    ledger = make_ledger(signed_manifest)
    expected = fill(ledger, pool(ledger))
    order = data.draw(st.permutations(pool(ledger)))
    other = fill(make_ledger(signed_manifest), order + order)
    # A revoked steward's commit stays where it came before the revocation, and counts for nothing there.
    assert other | {"held": []} == expected | {"held": []}


def test_the_vectors_hold(signed_manifest: Signed, make_manifest: MakeManifest, expect_vectors: ExpectVectors) -> None:
    ledger = make_ledger(signed_manifest)
    records = pool(ledger)
    says = fill(ledger, records)
    acting = make_ledger(signed_manifest)
    before = fill(acting, [entry for entry in records if not isinstance(entry[1], Revoke)])
    manifest = with_task_key(CREATOR, make_manifest())
    late = make_ledger(signed_manifest)
    for author, record in records:
        if not isinstance(record, Revoke):
            add(late, author, record, now=UNTIL_S + 66.0)
    expect_vectors(
        "stewards",
        {
            "manifest": encode(signed_manifest).hex(),
            "key": {
                "seed": bytes(range(32)).hex(),
                "unkeyed": encode(make_manifest()).hex(),
                "seal_key": manifest.seal_key.hex(),
                "secret": task_secret(CREATOR, manifest).hex(),
            },
            "records": [encode(sign(*entry)).hex() for entry in records],
            "says": says,
            "before_the_revocation": before,
            "when_their_time_is_over": {"now": UNTIL_S + 66.0, "says": said_by(late)},
            "refused": [
                {"why": why, "record": encode(sign(STEWARD, record)).hex()}
                for why, record in beyond_a_steward(ledger).items()
            ],
        },
    )


# ---- a whole network


def network(extra: str = "", *, peers: int = 6, **task: object) -> World:
    given: dict[str, object] = {"replication": 2, "result_bytes": 16, "chunk_s": 1.0, "epoch_s": 4, **task}
    further = "".join(f", {key} = {value}" for key, value in given.items())
    return World(
        parse_scenario(
            f"""
            name = "stewards"
            network = {{peers = {peers}, real_keys = true, speed_sigma = 0.0}}
            task = {{chunks = 40, eps = 0.2{further}}}
            protocol = {{steward = true}}
            {extra}
            """
        ),
        seed=1,
    )


def hand_over(world: World, to: Sequence[Node], *, for_s: float = 3_600.0, trusted: bool = False) -> None:
    """The creator lets somebody act for it, and is gone as soon as the record is out."""
    for node in to:
        until_s = int(EPOCH_S + world.now + for_s)
        world.tell(world.creator, StewardNamed(world.task, node.signer.peer_id, until_s, trusted))
    world.step_until(world.now + 0.5)
    world.stop(world.creator)


def until(world: World, done: Callable[[], bool], limit_s: float = 300.0) -> None:
    stop_s = world.now + limit_s
    while not done():
        assert world.now < stop_s, "it did not come to that"
        world.step_until(world.now + 1.0)


def role_of(world: World, node: Node) -> CreatorRole:
    return node.peer.stewards[world.task]


def return_and_close(world: World) -> None:
    world.start(world.creator, keep_state=True)
    until(world, lambda: world.role.state is TaskState.CLOSED)
    world.step_until(world.now + 20.0)
    assert final_failures(world) == []


@pytest.mark.parametrize("result_bytes", [16, 9_000])
def test_a_steward_does_the_work_and_its_creator_finds_it_settled(result_bytes: int) -> None:
    world = network(result_bytes=result_bytes)
    world.step_until(6.0)
    assert 0 < world.role.progress().accepted < 40
    steward = world.nodes[1]
    hand_over(world, [steward], trusted=True)
    role = role_of(world, steward)
    until(world, lambda: role.state is TaskState.SETTLED)
    world.step_until(world.now + 2.0)
    for node in world.live():
        ledger = node.peer.ledgers[world.task]
        assert all(ledger.is_settled(chunk) for chunk in range(40))
        assert ledger.certificate is None
        assert not any(checkpoint.credits_size for checkpoint in ledger.interim.values())
    before, back = world.executions, world.now
    return_and_close(world)
    assert not role.acts
    assert world.closed_at is not None
    assert world.closed_at - back < 15.0
    assert world.executions - before < 20, "what was confirmed is not confirmed again"
    assert all(world.role.result_bytes(chunk) == world.right_result(chunk) for chunk in range(40))
    counted = recount(world.role.evidence(), verify)
    key = steward.signer.public_key
    assert counted.trusted == {key}
    assert counted.by_steward[key]["assign"] > 0
    assert key not in counted.credit
    assert sum(counted.credit.values()) > 39_900


def test_only_if_its_creator_trusts_it_do_a_stewards_audits_count_for_the_certificate() -> None:
    audits = {}
    for trusted in (False, True):
        world = network()
        world.step_until(1.8)
        hand_over(world, world.nodes[1:2], trusted=trusted)
        role = role_of(world, world.nodes[1])
        until(world, lambda role=role: role.state is TaskState.SETTLED)  # type: ignore[misc]
        world.start(world.creator, keep_state=True)
        world.step_until(world.now + 4.0)  # It hears others out and asks for nothing yet.
        assert world.role.progress().accepted == 40
        audits[trusted] = world.role.progress().worker_audits
        until(world, lambda world=world: world.role.state is TaskState.CLOSED)  # type: ignore[misc]
        recount(world.role.evidence(), verify)
    assert audits[True] > audits[False]


def test_a_steward_admits_newcomers_finds_liars_and_has_their_chunks_computed_again() -> None:
    world = network('liars = [{kind = "colluding", count = 2}]', peers=8)
    world.step_until(2.0)
    steward = next(node for node in world.nodes[1:] if node.is_honest)
    newcomer = next(node for node in world.nodes[1:] if node.is_honest and node is not steward)
    world.stop(newcomer)
    world.rename(newcomer)
    hand_over(world, [steward])
    world.start(newcomer, keep_state=False)
    role = role_of(world, steward)
    until(world, lambda: role.state is TaskState.SETTLED)
    ledger = steward.peer.ledgers[world.task]
    assert newcomer.signer.public_key in ledger.admits
    assert role.progress().convicted == 2
    assert not ledger.verdicts, "a steward silences nobody"
    assert all(role.result_bytes(chunk) == world.right_result(chunk) for chunk in range(40))
    return_and_close(world)
    assert world.role.ledger.verdicts.keys() == world.convictable
    recount(world.role.evidence(), verify)


def test_while_the_creator_is_there_its_steward_says_nothing() -> None:
    world = network()
    world.step_until(3.0)
    steward = world.nodes[1]
    world.tell(world.creator, StewardNamed(world.task, steward.signer.peer_id, int(EPOCH_S + 3_600)))
    until(world, lambda: world.role.state is TaskState.CLOSED)
    key = steward.signer.public_key
    spoken = {signed.kind for signed in world.role.ledger.records() if signed.author == key}
    assert spoken <= {"join", "lease", "commit"}


def test_a_steward_stops_when_its_time_is_over_and_lots_go_on() -> None:
    world = network(chunk_s=3.0)
    world.step_until(4.0)
    steward = world.nodes[1]
    hand_over(world, [steward], for_s=25.0)
    role, ledger = role_of(world, steward), steward.peer.ledgers[world.task]
    world.step_until(31.0)
    settled = sum(ledger.is_settled(chunk) for chunk in range(40))
    assert 0 < settled < 40
    said = dict(ledger.interim)
    world.step_until(90.0)
    assert not role.acts
    assert ledger.interim == said
    standing = world.nodes[2].peer.workers[world.task].provisional(world.now)
    assert standing is not None
    assert standing.count(ProvisionalState.STEWARD) >= settled
    assert standing.count(ProvisionalState.PROVISIONAL) > 0
    return_and_close(world)


def test_a_revoked_steward_is_obeyed_by_nobody_and_the_creator_begins_anew() -> None:
    world = network(chunk_s=3.0)
    world.step_until(4.0)
    steward = world.nodes[1]
    hand_over(world, [steward])
    role = role_of(world, steward)
    until(world, lambda: role.progress().accepted > 10)
    world.start(world.creator, keep_state=True)
    world.step_until(world.now + 3.0)
    world.tell(world.creator, StewardRevoked(world.task, steward.signer.peer_id))
    world.step_until(world.now + 2.0)
    assert world.task not in steward.peer.stewards
    key = steward.signer.public_key
    for node in world.live():
        ledger = node.peer.ledgers[world.task]
        assert not ledger.interim
        assert not any(ledger.admits.get(each) is None for each in ledger.joins if each != key)
        assert not {signed.kind for signed in ledger.records() if signed.author == key} & {"admit", "assign"}
    until(world, lambda: world.role.state is TaskState.CLOSED)
    counted = recount(world.role.evidence(), verify)
    assert counted.revoked == {key}
    assert not counted.by_steward


def test_two_stewards_do_not_stand_in_each_others_way() -> None:
    world = network(peers=7)
    world.step_until(5.0)
    pair = world.nodes[1:3]
    hand_over(world, pair)
    roles = [role_of(world, node) for node in pair]
    until(world, lambda: all(role.state is TaskState.SETTLED for role in roles))
    world.stop(pair[0])
    return_and_close(world)
    assert recount(world.role.evidence(), verify).by_steward.keys() == {node.signer.public_key for node in pair}


# ---- a steward that lies


def lying(world: World, steward: Node) -> None:
    """It passes off something else as the result of all it executes, and calls every chunk settled."""
    role = role_of(world, steward)
    executed = role.executed

    def lie(job: int, outcomes: tuple[ChunkOutcome, ...], seconds: float, now: float) -> None:
        lies = tuple(ChunkOutcome(it.chunk, it.status, b"a lie %d" % it.chunk, "") for it in outcomes)
        executed(job, lies, seconds, now)

    role.executed = lie  # type: ignore[method-assign]
    role._executing.want(range(20, 40))
    ledger = steward.peer.ledgers[world.task]
    full = Checkpoint(ledger.task, 0, 1_000, 40, b"\xff" * 5, bytes(5), bytes(32), *fields_of(b""))
    steward.peer.publish(ledger, full)


def test_a_steward_that_lies_makes_no_wrong_result_final_and_convicts_nobody() -> None:
    world = network()
    world.step_until(3.0)
    steward = world.nodes[1]
    hand_over(world, [steward])
    lying(world, steward)
    world.step_until(60.0)
    notices: list[str] = []

    def see(now: float, node: Node, event: Input | Output) -> None:
        if isinstance(event, Notice) and event.what is Notable.WORKER_CONVICTED and node.index == 0:
            notices.append(event.detail)

    world.observers.append(see)
    return_and_close(world)
    assert all(world.role.result_bytes(chunk) == world.right_result(chunk) for chunk in range(40))
    assert not world.role.ledger.verdicts, "honest workers are not convicted on its word"
    assert world.role.ledger.revoked == {steward.signer.public_key}
    assert notices == ["steward revoked"]
    recount(world.role.evidence(), verify)


# ---- what its owner is told


def test_what_cannot_be_delegated_is_refused_with_a_reason() -> None:
    world = network()
    world.step_until(3.0)
    role, worker, now_s = world.role, world.nodes[1].signer.public_key, EPOCH_S + 3.0
    for steward, until_s, why in (
        (world.creator.signer.public_key, now_s + 60, "you are the creator"),
        (STRANGER.public_key, now_s + 60, "has not joined"),
        (worker, now_s - 1, "in the future"),
        (worker, now_s + 10**9, "expires before"),
    ):
        with pytest.raises(LocalProtocolError, match=why):
            role.delegate(steward, int(until_s), world.now, trusted=False)
    with pytest.raises(LocalProtocolError, match="not a steward"):
        role.revoke(worker, world.now)
    with pytest.raises(LocalProtocolError, match="only the creator"):
        world.nodes[2].peer.handle(StewardNamed(world.task, world.nodes[1].signer.peer_id, int(now_s + 60)), now=3.0)
    role.delegate(worker, int(now_s + 60), world.now, trusted=False)
    with pytest.raises(LocalProtocolError, match="that long already"):
        role.delegate(worker, int(now_s + 60), world.now, trusted=False)
    role.delegate(worker, int(now_s + 90), world.now, trusted=False)
    role.revoke(worker, world.now)
    with pytest.raises(LocalProtocolError, match="for good"):
        role.delegate(worker, int(now_s + 120), world.now, trusted=False)
    assert isinstance(parse(next(it for it in role.ledger.records() if it.kind == "revoke")), Revoke)


def test_a_task_without_epochs_has_no_stewards() -> None:
    world = network(epoch_s=0)
    world.step_until(3.0)
    with pytest.raises(LocalProtocolError, match="no epochs"):
        world.role.delegate(world.nodes[1].signer.public_key, int(EPOCH_S + 60), world.now, trusted=False)
