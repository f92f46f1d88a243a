"""The ledger: equal sets say the same in public, whatever order they came in; nothing gets in by the wrong hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdcompute.protocol.credit import fields_of
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import Identity
from crowdcompute.protocol.leases import LEASES_PER_WORKER_MAX
from crowdcompute.protocol.ledger import Ledger, bit, find_work, joining_work, task_topic
from crowdcompute.protocol.manifest import Manifest, Policy, Range, sign_manifest
from crowdcompute.protocol.records import (
    EVERYTHING,
    SHARD_CHUNKS,
    Admit,
    Assign,
    CertificateBody,
    Checkpoint,
    Commit,
    Join,
    Lease,
    Record,
    Run,
    Signed,
    Verdict,
    sign,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.conftest import ExpectVectors

    MakeManifest = Callable[..., Manifest]
    Entry = tuple[Signed, Record]

CREATOR = Identity(bytes(range(32)))
WORKERS = [Identity(bytes([number]) * 32) for number in (101, 102, 103)]
ALICE, BOB, CAROL = WORKERS
CHUNKS = SHARD_CHUNKS + 100


@pytest.fixture(scope="session")
def signed_manifest(make_manifest: MakeManifest) -> Signed:
    return sign_manifest(
        CREATOR,
        make_manifest(
            split=Range(start=0, stop=CHUNKS, step=1), chunks=CHUNKS, policy=Policy(2, eps=1e-3, liars=0.2, pow_bits=2)
        ),
    )


@pytest.fixture(scope="session")
def manifest(signed_manifest: Signed) -> Manifest:
    return msgspec.msgpack.decode(signed_manifest.body, type=Manifest)


@pytest.fixture
def ledger(signed_manifest: Signed, manifest: Manifest) -> Ledger:
    return Ledger(signed_manifest, manifest)


def add(ledger: Ledger, author: Identity, record: Record, now: float = 0.0) -> bool:
    signed = sign(author, record)
    ledger.check(signed, record)
    return ledger.add(signed, record, now)


def commit(task: bytes, seq: int, *runs: Run, root: int = 0) -> Commit:
    return Commit(task, runs[0][0] // SHARD_CHUNKS, seq, 0, b"", runs, bytes([root]) * 32, b"sealed")


def checkpoint(ledger: Ledger, shard: int, seq: int, accepted: Iterable[int], failed: Iterable[int] = ()) -> Checkpoint:
    def bitmap(chunks: Iterable[int]) -> bytes:
        number = sum(1 << chunk - shard * SHARD_CHUNKS for chunk in set(chunks))
        return number.to_bytes((ledger.shard_size(shard) + 7) // 8, "little")

    begun, root = len(set(accepted)), bytes(32)
    return Checkpoint(ledger.task, shard, seq, begun, bitmap(accepted), bitmap(failed), root, *fields_of(b""))


# ---- any order


@pytest.fixture(scope="session")
def pool(signed_manifest: Signed, manifest: Manifest) -> Sequence[Entry]:
    """Records of an eventful task, one equivocating worker and an equivocating creator included."""
    ledger = Ledger(signed_manifest, manifest)
    task = ledger.task
    records: list[tuple[Identity, Record]] = []
    for worker in WORKERS:
        key = worker.public_key
        records.append((worker, find_work(Join(task, worker.seal_key, bytes(32), 0, bytes(32), 0), key, 2)))
        records.append((CREATOR, Admit(task, key, bytes(32), bytes(16))))
        records.append((worker, commit(task, 1, (0, 2))))
        records.append((worker, commit(task, 2, (1, 3), (10, 1))))
        records.append((worker, commit(task, 3, (SHARD_CHUNKS, 5))))
    records.append((CAROL, commit(task, 3, (20, 1), root=1)))
    records.append((CREATOR, Verdict(task, BOB.public_key, "wrong", 1, bytes(32), EVERYTHING)))
    records.append((CREATOR, Verdict(task, ALICE.public_key, "wrong", 1, bytes(32), 1)))
    records.append((CREATOR, Verdict(task, ALICE.public_key, "wrong", 2, bytes(32), 2)))
    records.append((CREATOR, checkpoint(ledger, 0, 0, {0})))
    records.append((CREATOR, checkpoint(ledger, 0, 1, {0, 1, 2}, {3})))
    records.append((CREATOR, checkpoint(ledger, 0, 2, {0, 1, 2, 10}, {3})))
    records.append((CREATOR, checkpoint(ledger, 1, 0, {SHARD_CHUNKS})))
    records.append((CREATOR, checkpoint(ledger, 1, 0, {SHARD_CHUNKS + 1, SHARD_CHUNKS + 2})))
    return [(sign(author, record), record) for author, record in records]


def said_in_public(ledger: Ledger) -> dict[str, Any]:
    chunks = [*range(25), *range(SHARD_CHUNKS - 1, SHARD_CHUNKS + 6)]
    return {
        "voters": [sorted(ledger.voters(chunk)) for chunk in chunks],
        "void": [ledger.void_to(worker.public_key) for worker in WORKERS],
        "equivocators": sorted(ledger.equivocators),
        "admitted": sorted(ledger.admits),
        "joined": sorted(ledger.joins),
        "checkpoints": ledger.checkpoints,
        "closed": [(ledger.is_closed(chunk), ledger.is_accepted(chunk)) for chunk in chunks],
        "open": [ledger.open_count(shard) for shard in range(ledger.shards)],
        "unbegun": [ledger.unbegun_count(shard) for shard in range(ledger.shards)],
    }


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_order_and_no_repetition_changes_what_the_set_says(
    signed_manifest: Signed, manifest: Manifest, pool: Sequence[Entry], data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(pool), unique_by=lambda entry: entry[0].record_id))
    again = data.draw(st.lists(st.sampled_from(chosen), max_size=5)) if chosen else []
    one, other = Ledger(signed_manifest, manifest), Ledger(signed_manifest, manifest, keep_commits=True)
    for signed, record in chosen:
        one.add(signed, record, 0.0)
    for signed, record in data.draw(st.permutations(chosen + again)):
        other.add(signed, record, 0.0)
    assert said_in_public(one) == said_in_public(other)


def test_a_record_is_new_once(ledger: Ledger, pool: Sequence[Entry]) -> None:
    signed, record = pool[0]
    assert ledger.add(signed, record, 0.0)
    assert not ledger.add(signed, record, 0.0)
    assert ledger.record(signed.record_id) == signed
    assert list(ledger.record_ids(task_topic(ledger.task))) == [signed.record_id]


# ---- who may say what


def test_only_the_creator_admits_assigns_convicts_checkpoints_and_certifies(ledger: Ledger) -> None:
    task, key = ledger.task, BOB.public_key
    for record in (
        Admit(task, key, bytes(32), bytes(16)),
        Assign(task, 0, 1, key, b"sealed"),
        Verdict(task, key, "wrong", 0, bytes(32), EVERYTHING),
        checkpoint(ledger, 0, 0, {1}),
        CertificateBody(task, 1, 1, 0, bytes(32), 1, 0, 0, 0, 0, 0.1, 0.1, 0.95),
    ):
        ledger.check(sign(CREATOR, record), record)
        with pytest.raises(RemoteProtocolError):
            ledger.check(sign(ALICE, record), record)


def refused_records(ledger: Ledger) -> dict[str, tuple[Identity, Record]]:
    task = ledger.task
    joins = (Join(task, ALICE.seal_key, bytes(32), 0, bytes(32), work) for work in range(100))
    lazy = next(join for join in joins if joining_work(join, ALICE.public_key) < 2)
    padded = checkpoint(ledger, 1, 0, ())
    return {
        "another task's record": (ALICE, Lease(bytes(32), 0, 0, 1, 15, ())),
        "a join without its work": (ALICE, lazy),
        "a lease of a shard there is not": (ALICE, Lease(task, 2, 0, 1, 15, ())),
        "a home there is not": (ALICE, Lease(task, 0, 2, 1, 15, ())),
        "a lease beyond the last chunk": (ALICE, Lease(task, 1, 0, 1, 15, ((CHUNKS - 1, 2),))),
        "a commit beyond the last chunk": (ALICE, commit(task, 1, (CHUNKS, 1))),
        "an assignment in a shard there is not": (CREATOR, Assign(task, 2, 1, ALICE.public_key, b"")),
        "a checkpoint of a shard there is not": (
            CREATOR,
            msgspec.structs.replace(checkpoint(ledger, 0, 0, {1}), shard=2),
        ),
        "a table of credit that is no table": (
            CREATOR,
            msgspec.structs.replace(checkpoint(ledger, 0, 0, {1}), credits=bytes(7), credits_size=7),
        ),
        "a large table of credit without its hash": (
            CREATOR,
            msgspec.structs.replace(checkpoint(ledger, 0, 0, {1}), credits=bytes(40), credits_size=8_000),
        ),
        "a bitmap too short": (
            CREATOR,
            msgspec.structs.replace(checkpoint(ledger, 0, 0, {1}), accepted=b"\1"),
        ),
        "a bitmap too long for the last shard": (
            CREATOR,
            msgspec.structs.replace(checkpoint(ledger, 0, 0, {1}), shard=1),
        ),
        "a chunk beyond the last": (CREATOR, msgspec.structs.replace(padded, accepted=padded.accepted[:-1] + b"\x10")),
        "a chunk accepted and failed": (CREATOR, checkpoint(ledger, 0, 0, {1, 2}, {2})),
        "failures too short a bitmap": (
            CREATOR,
            msgspec.structs.replace(checkpoint(ledger, 0, 0, {1}), failed=b"\1"),
        ),
        "a failed chunk beyond the last": (
            CREATOR,
            msgspec.structs.replace(padded, failed=padded.failed[:-1] + b"\x80"),
        ),
        "an admission by a worker": (ALICE, Admit(task, BOB.public_key, bytes(32), bytes(16))),
        "an assignment by a worker": (ALICE, Assign(task, 0, 1, BOB.public_key, b"")),
        "a verdict by a worker": (ALICE, Verdict(task, BOB.public_key, "wrong", 0, bytes(32), EVERYTHING)),
        "a checkpoint by a worker": (ALICE, checkpoint(ledger, 0, 0, {1})),
        "a certificate by a worker": (
            ALICE,
            CertificateBody(task, 1, 1, 0, bytes(32), 1, 0, 0, 0, 0, 0.1, 0.1, 0.95),
        ),
        "a strike for a commit that does not open": (
            CREATOR,
            Verdict(task, BOB.public_key, "malformed", 0, bytes(32), 7),
        ),
        "a commit that no strike could end before": (ALICE, commit(task, EVERYTHING, (0, 1))),
        "another task's join": (ALICE, Join(bytes(32), ALICE.seal_key, bytes(32), 0, bytes(32), 0)),
        "another task's verdict": (CREATOR, Verdict(bytes(32), BOB.public_key, "wrong", 0, bytes(32), EVERYTHING)),
    }


def test_what_cannot_be_true_is_refused(ledger: Ledger) -> None:
    for why, (author, record) in refused_records(ledger).items():
        with pytest.raises(RemoteProtocolError):
            ledger.check(sign(author, record), record)
            pytest.fail(why)


# ---- leases


def test_a_lease_lasts_its_time_from_arrival_and_is_then_let_go(ledger: Ledger) -> None:
    lease = Lease(ledger.task, 0, 0, 1, 15, ((3, 2),))
    assert add(ledger, ALICE, lease, now=100.0)
    assert [live.worker for live in ledger.leases.on(4, 114.9)] == [ALICE.public_key]
    assert ledger.leases.chunks(0, 114.9) == [3, 4]
    assert ledger.leases.on(4, 115.0) == []
    ledger.expire(115.0)
    assert list(ledger.record_ids(ledger.shard_topic(0))) == []
    assert not ledger.leases.live


def test_a_newer_lease_replaces_the_older_one_whole(ledger: Ledger) -> None:
    add(ledger, ALICE, Lease(ledger.task, 0, 0, 1, 15, ((3, 2),)), now=0.0)
    add(ledger, ALICE, Lease(ledger.task, 0, 0, 2, 15, ((4, 1),)), now=5.0)
    assert ledger.leases.chunks(0, 6.0) == [4]
    assert ledger.leases.on(4, 6.0)[0].since[4] == 0.0
    assert not add(ledger, ALICE, Lease(ledger.task, 0, 0, 1, 15, ((9, 1),)), now=6.0)
    assert len(list(ledger.record_ids(ledger.shard_topic(0)))) == 1


def test_leases_of_two_shards_stand_side_by_side_but_not_of_hundreds(
    ledger: Ledger, make_manifest: MakeManifest
) -> None:
    add(ledger, ALICE, Lease(ledger.task, 0, 0, 1, 15, ((3, 1),)))
    add(ledger, ALICE, Lease(ledger.task, 1, 0, 2, 15, ((SHARD_CHUNKS, 1),)))
    assert ledger.leases.chunks(0, 1.0) == [3]
    chunks = 100 * SHARD_CHUNKS
    signed = sign_manifest(CREATOR, make_manifest(split=Range(start=0, stop=chunks, step=1), chunks=chunks))
    large = Ledger(signed, msgspec.msgpack.decode(signed.body, type=Manifest))
    taken = [add(large, ALICE, Lease(large.task, shard, 0, 1, 15, ())) for shard in range(100)]
    assert sum(taken) == LEASES_PER_WORKER_MAX
    assert not taken[-1]
    large.expire(15.0)
    assert add(large, ALICE, Lease(large.task, 99, 0, 1, 15, ()), now=15.0)


def test_a_void_or_silent_worker_holds_no_lease(ledger: Ledger) -> None:
    add(ledger, ALICE, Lease(ledger.task, 0, 0, 1, 15, ((3, 1),)))
    ledger.leases.release(ALICE.public_key)
    assert ledger.leases.chunks(0, 1.0) == []
    add(ledger, BOB, Lease(ledger.task, 0, 0, 1, 15, ((3, 1),)))
    add(ledger, CREATOR, Verdict(ledger.task, BOB.public_key, "malformed", 0, bytes(32), EVERYTHING))
    assert ledger.leases.chunks(0, 1.0) == []
    assert not add(ledger, BOB, Lease(ledger.task, 0, 0, 2, 15, ((3, 1),)))


def test_a_strike_voids_the_commits_until_then_and_a_ban_all(ledger: Ledger) -> None:
    add(ledger, ALICE, commit(ledger.task, 5, (0, 2)))
    add(ledger, CREATOR, Verdict(ledger.task, ALICE.public_key, "wrong", 1, bytes(32), 5))
    add(ledger, ALICE, commit(ledger.task, 4, (2, 1)))
    add(ledger, ALICE, commit(ledger.task, 6, (1, 1)))
    assert not ledger.is_void(ALICE.public_key)
    assert [ledger.voters(chunk) for chunk in range(3)] == [[], [ALICE.public_key], []]
    assert add(ledger, CREATOR, Verdict(ledger.task, ALICE.public_key, "wrong", 1, bytes(32), EVERYTHING))
    assert ledger.is_void(ALICE.public_key)
    assert not ledger.has_voter(1)
    # What follows a ban changes nothing but is the reason that it was the second.
    assert ledger.strikes[ALICE.public_key].void_to == 5


lease_steps = st.lists(
    st.tuples(
        st.sampled_from(WORKERS),
        st.integers(1, 6),
        st.sampled_from([(), ((0, 1),), ((0, 2),), ((1, 3),)]),
        st.sampled_from(["lease", "expire", "release"]),
    ),
    max_size=20,
)


@given(steps=lease_steps)
def test_what_is_leased_is_what_the_live_leases_say(
    signed_manifest: Signed, manifest: Manifest, steps: list[tuple[Identity, int, tuple[Run, ...], str]]
) -> None:
    ledger = Ledger(signed_manifest, manifest)
    for now, (worker, seq, runs, what) in enumerate(steps):
        match what:
            case "lease":
                add(ledger, worker, Lease(ledger.task, 0, 0, seq, 3, runs), now=float(now))
            case "expire":
                ledger.expire(float(now))
            case _:
                ledger.leases.release(worker.public_key)
        live = {chunk for lease in ledger.leases.live.values() if lease.expires_at > now for chunk in lease.since}
        assert sorted(ledger.leases.chunks(0, float(now))) == sorted(live)
        held = {ledger.record(record_id) for record_id in ledger.record_ids(ledger.shard_topic(0))}
        assert {signed.record_id for signed in held if signed} == {
            lease.record_id for lease in ledger.leases.live.values()
        }


# ---- commits and checkpoints


def test_commits_are_let_go_when_all_their_chunks_are_closed_but_their_voters_stay(ledger: Ledger) -> None:
    add(ledger, ALICE, commit(ledger.task, 1, (0, 2)))
    add(ledger, BOB, commit(ledger.task, 1, (1, 2)))
    add(ledger, CREATOR, checkpoint(ledger, 0, 0, {0}, {1}))
    assert [author for author, _ in ledger.commits.values()] == [BOB.public_key]
    assert ledger.voters(0) == [ALICE.public_key]
    # A late one is kept until the next checkpoint: it may be an audit on its way to the creator.
    assert add(ledger, CAROL, commit(ledger.task, 1, (0, 1)))
    assert len(ledger.commits) == 2
    add(ledger, CREATOR, checkpoint(ledger, 0, 1, {0, 2}, {1}))
    assert not ledger.commits


def test_the_creators_ledger_lets_no_commit_go(signed_manifest: Signed, manifest: Manifest) -> None:
    ledger = Ledger(signed_manifest, manifest, keep_commits=True)
    add(ledger, ALICE, commit(ledger.task, 1, (0, 2)))
    add(ledger, BOB, commit(ledger.task, 1, (1, 2)))
    add(ledger, CREATOR, checkpoint(ledger, 0, 0, {0, 1}))
    assert len(ledger.commits) == 2
    # Its tally rests on them, and nobody else needs to hear of the one that workers have let go.
    by_author = {author: commit_id for commit_id, (author, _) in ledger.commits.items()}
    assert ledger.commits.keys() & set(ledger.record_ids(ledger.shard_topic(0))) == {by_author[BOB.public_key]}
    assert ledger.record(by_author[ALICE.public_key]) is not None


def test_two_commits_with_one_seq_void_their_author_even_when_one_was_let_go(ledger: Ledger) -> None:
    add(ledger, ALICE, commit(ledger.task, 1, (0, 1)))
    add(ledger, CREATOR, checkpoint(ledger, 0, 0, {0}))
    add(ledger, ALICE, commit(ledger.task, 1, (5, 1)))
    assert ledger.equivocators == {ALICE.public_key}
    assert ledger.is_void(ALICE.public_key)
    assert ledger.voters(5) == []


def test_a_creator_that_signs_two_checkpoints_with_one_seq_is_noticed(ledger: Ledger) -> None:
    add(ledger, CREATOR, checkpoint(ledger, 0, 0, {0}))
    assert not ledger.creator_equivocated
    add(ledger, CREATOR, checkpoint(ledger, 0, 0, {1}))
    assert ledger.creator_equivocated


@given(st.sets(st.integers(0, 99)), st.sets(st.integers(0, 99)))
def test_bits_count_from_the_least_significant_of_the_first_byte(accepted: set[int], rest: set[int]) -> None:
    bitmap = sum(1 << index for index in accepted).to_bytes(13, "little")
    assert [index for index in range(200) if bit(bitmap, index)] == sorted(accepted)


# ---- vectors


def test_the_vectors_hold(
    expect_vectors: ExpectVectors, signed_manifest: Signed, manifest: Manifest, pool: Sequence[Entry]
) -> None:
    ledger = Ledger(signed_manifest, manifest)
    for signed, record in pool:
        ledger.check(signed, record)
        ledger.add(signed, record, 0.0)
    encoder = msgspec.msgpack.Encoder()
    chunks = (0, 1, 2, 3, 10, 20, SHARD_CHUNKS, SHARD_CHUNKS + 1, SHARD_CHUNKS + 5)
    expect_vectors(
        "ledger",
        {
            "manifest": encoder.encode(signed_manifest).hex(),
            "task": ledger.task.hex(),
            "shards": ledger.shards,
            "records": [encoder.encode(signed).hex() for signed, _ in pool],
            "says": {
                "joined": sorted(worker.hex() for worker in ledger.joins),
                "admitted": sorted(worker.hex() for worker in ledger.admits),
                "equivocators": sorted(worker.hex() for worker in ledger.equivocators),
                "void": sorted(worker.public_key.hex() for worker in WORKERS if ledger.is_void(worker.public_key)),
                "open_count": [ledger.open_count(shard) for shard in range(ledger.shards)],
                "unbegun_count": [ledger.unbegun_count(shard) for shard in range(ledger.shards)],
                "checkpoint_seq": [ledger.checkpoints[shard].seq for shard in range(ledger.shards)],
                "chunks": [
                    {
                        "chunk": chunk,
                        "voters": sorted(worker.hex() for worker in ledger.voters(chunk)),
                        "closed": ledger.is_closed(chunk),
                        "accepted": ledger.is_accepted(chunk),
                    }
                    for chunk in chunks
                ],
            },
            "refused": [
                {"why": why, "signed": encoder.encode(sign(author, record)).hex()}
                for why, (author, record) in refused_records(ledger).items()
            ],
        },
    )
