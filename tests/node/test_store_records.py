"""The record store: what was saved is there, in order, after any mixture of reopening, forgetting and failing."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.postgres_server import PostgresServer

from crowdcompute.node.store.database import PostgresPlace
from crowdcompute.node.store.errors import StoreError
from crowdcompute.node.store.records import RecordStore
from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.identity import Identity
from crowdcompute.protocol.manifest import BlobRef, Limits, Manifest, Policy, Range
from crowdcompute.protocol.records import CertificateBody, Commit, Join, Lease, Signed, sign

ALICE, BOB, CAROL = (Identity(bytes([number]) * 32) for number in (1, 2, 3))


def manifest_of(creator: Identity, name: str) -> Signed:
    body = encode(
        Manifest(
            schema=1,
            name=name,
            description="",
            link="",
            creator=creator.public_key,
            seal_key=creator.seal_key,
            runtime="wasm",
            code=BlobRef(bytes(32), 100, bytes(32)),
            split=Range(0, 100, 10),
            chunks=10,
            inputs=None,
            limits=Limits(memory_bytes=65_536, output_bytes=1_024, seconds=1.0),
            policy=Policy(replication=2, eps=1e-4, liars=0.2, pow_bits=8),
            reward=1,
            epochs=None,
            onward=False,
            permissions=(),
            vouches=(),
            created_s=0,
            expires_s=1,
        )
    )
    return Signed("manifest", creator.public_key, body, creator.sign("cc/manifest/1", body))


def certificate_of(signer: Identity, task: bytes) -> Signed:
    return sign(signer, CertificateBody(task, 10, 10, 0, bytes(32), 21, 1, 1, 0, 0, 1e-4, 1e-5, 0.99))


PRIMES, TILES = manifest_of(ALICE, "primes"), manifest_of(BOB, "tiles")


def ledger_of(manifest: Signed, creator: Identity) -> list[Signed]:
    """One record of several kinds, and one body that two workers sign alike."""
    task = manifest.record_id
    return [
        manifest,
        sign(CAROL, Join(task, CAROL.seal_key, bytes(32), 0, bytes(32), 7)),
        sign(BOB, Lease(task, 0, 0, 1, 30, ((0, 4),))),
        sign(CAROL, Lease(task, 0, 0, 1, 30, ((0, 4),))),
        sign(CAROL, Commit(task, 0, 1, 0, b"", ((0, 4), (6, 2)), bytes(32), b"sealed" * 400)),
        certificate_of(creator, task),
    ]


LEDGERS = {PRIMES.record_id: ledger_of(PRIMES, ALICE), TILES.record_id: ledger_of(TILES, BOB)}
EVERYTHING = [signed for ledger in LEDGERS.values() for signed in ledger]

saves = st.lists(st.sampled_from(EVERYTHING), max_size=6).map(tuple)
forgets = st.sampled_from(sorted(LEDGERS))
steps = st.one_of(saves, forgets, st.just("reopen"))


Step = tuple[Signed, ...] | bytes | str


@settings(deadline=None)  # A shared machine may stall; how long an example takes says nothing.
@given(st.lists(steps, max_size=12))
def test_any_sequence_of_saving_forgetting_and_reopening_equals_a_dict(sequence: list[Step]) -> None:
    with TemporaryDirectory() as folder:
        check_like_a_dict(Path(folder, "node.db"), sequence)


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequence=st.lists(steps, max_size=12))
def test_so_it_does_on_a_postgres_server(postgres: PostgresServer, sequence: list[Step]) -> None:
    check_like_a_dict(postgres.place(), sequence)


def check_like_a_dict(place: Path | PostgresPlace, sequence: list[Step]) -> None:
    """The store says what a dict with the same history would say, after every step."""
    task_of = {signed: task for task, ledger in LEDGERS.items() for signed in ledger}
    model: dict[Signed, None] = {}
    closed: set[bytes] = set()
    store = RecordStore(place)
    for step in sequence:
        match step:
            case tuple():
                store.save(step)
                for signed in step:
                    model.setdefault(signed)
                    # A certificate that comes before its manifest closes nothing: the protocol never does that.
                    if signed.kind == "certificate" and any(
                        known.record_id == task_of[signed] for known in model if known.kind == "manifest"
                    ):
                        closed.add(task_of[signed])
            case bytes():
                store.forget(step)
                model = {signed: None for signed in model if task_of[signed] != step}
                closed.discard(step)
            case str():
                store.close()
                store = RecordStore(place)
        assert store.load() == list(model)
        for task in LEDGERS:
            assert store.load_task(task) == [signed for signed in model if task_of[signed] == task]
        assert [(task.manifest, task.state == "closed") for task in store.tasks()] == [
            (signed, signed.record_id in closed) for signed in model if signed.kind == "manifest"
        ]
    store.close()


def test_a_task_is_listed_with_its_name_its_creator_and_its_times(tmp_path: Path) -> None:
    clock = iter([100.0, 250.0, 300.0])
    store = RecordStore(tmp_path / "node.db", clock=lambda: next(clock))
    store.save([PRIMES])
    store.save([certificate_of(ALICE, PRIMES.record_id)])
    store.save([certificate_of(ALICE, PRIMES.record_id)])
    (task,) = store.tasks()
    store.close()
    assert task == (PRIMES.record_id, "primes", ALICE.public_key, "closed", 100.0, 250.0, PRIMES)


def test_only_its_creators_certificate_closes_a_task(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "node.db")
    store.save([PRIMES, certificate_of(BOB, PRIMES.record_id)])
    assert [task.state for task in store.tasks()] == ["open"]
    store.close()


def test_saving_nothing_is_fine(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "node.db")
    store.save([])
    assert store.load() == []
    store.close()


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """A disk on which no file grows beyond `size_bytes`: writing more fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_failing_disk_costs_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "node.db")
    acknowledged: list[Signed] = []
    task = PRIMES.record_id

    def commit(seq: int) -> Signed:
        return sign(CAROL, Commit(task, 0, seq, 0, b"", ((0, 4),), bytes(32), bytes(20_000)))

    with files_of_at_most(1024 * 1024), pytest.raises(StoreError, match="check the disk"):
        for seq in range(1_000):
            store.save([commit(seq)])
            acknowledged.append(commit(seq))
    assert acknowledged
    assert store.load() == acknowledged

    store.save([commit(5_000)])
    store.close()
    store = RecordStore(tmp_path / "node.db")
    assert store.load() == [*acknowledged, commit(5_000)]
    store.close()


def test_a_batch_is_saved_whole_or_not_at_all(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "node.db")
    batch = [
        sign(CAROL, Commit(PRIMES.record_id, 0, seq, 0, b"", ((0, 4),), bytes(32), bytes(20_000))) for seq in range(100)
    ]
    with files_of_at_most(1024 * 1024), pytest.raises(StoreError):
        store.save([PRIMES, *batch])
    assert store.load() == []
    assert store.tasks() == []
    store.close()


def test_a_file_that_is_no_database_is_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "node.db").write_bytes(b"not a database at all " * 500)
    with pytest.raises(StoreError, match="is damaged"):
        RecordStore(tmp_path / "node.db")


def test_a_damaged_record_is_reported_and_not_returned(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "node.db")
    store.save([PRIMES])
    store.close()
    with sqlite3.connect(tmp_path / "node.db") as connection:
        connection.execute("UPDATE records SET signed = x'c1'")
    connection.close()
    store = RecordStore(tmp_path / "node.db")
    for read in (store.load, store.tasks):
        with pytest.raises(StoreError, match="is damaged"):
            read()
    store.close()


@pytest.mark.parametrize("name", ["missing/node.db", "."])
def test_a_place_that_cannot_hold_a_database_is_told_in_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="make its folder writable") as caught:
        RecordStore(tmp_path / name)
    assert caught.value.exit_code == 3


def test_another_program_can_read_the_database_of_a_running_node(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "node.db")
    store.save(LEDGERS[PRIMES.record_id])
    reader = sqlite3.connect(tmp_path / "node.db")
    assert reader.execute("SELECT count(*) FROM records").fetchone() == (6,)
    store.save([TILES])
    assert reader.execute("SELECT name FROM tasks ORDER BY name").fetchall() == [("primes",), ("tiles",)]
    reader.close()
    store.close()


def test_peers_are_remembered_by_network_the_last_linked_first(tmp_path: Path) -> None:
    times = iter(range(100))
    store = RecordStore(tmp_path / "records.db", clock=lambda: float(next(times)))
    for peer_id, address in (("a", "/ip4/1"), ("b", "/ip4/2"), ("a", "/ip4/3")):
        store.remember_peer("main", peer_id, (address, "/ip6/::1"))
    store.remember_peer("lab", "c", ())
    store.close()
    store = RecordStore(tmp_path / "records.db")
    assert list(store.remembered_peers("main").items()) == [
        ("a", ("/ip4/3", "/ip6/::1")),
        ("b", ("/ip4/2", "/ip6/::1")),
    ]
    assert store.remembered_peers("lab") == {"c": ()}
    store.close()


def test_only_the_last_peers_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crowdcompute.node.store.records.PEERS_MAX", 3)
    times = iter(range(100))
    store = RecordStore(tmp_path / "records.db", clock=lambda: float(next(times)))
    for number in range(5):
        store.remember_peer("main", str(number), ("/ip4/1",))
    assert list(store.remembered_peers("main")) == ["4", "3", "2"]
    store.close()
