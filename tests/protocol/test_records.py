"""Signed records: what goes in comes out, nothing else gets in, and the vectors a second implementation is held to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.codec import decode, encode
from crowdcompute.protocol.credit import fields_of
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.ledger import find_work, joining_work
from crowdcompute.protocol.records import (
    COMMIT_CHUNKS_MAX,
    EVERYTHING,
    RECORD_BYTES_MAX,
    SHARD_CHUNKS,
    Admit,
    Assign,
    Beacon,
    CertificateBody,
    Checkpoint,
    Commit,
    Delegate,
    Feed,
    Join,
    Lease,
    Record,
    Resumed,
    Reveal,
    Revoke,
    Run,
    Savepoint,
    Signed,
    Verdict,
    chunks_of,
    parse,
    runs_of,
    sign,
    verify_signature,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import ExpectVectors

CREATOR_SEED = bytes(range(32))
WORKER_SEED = bytes(range(32, 64))
CREATOR = Identity(CREATOR_SEED)
WORKER = Identity(WORKER_SEED)
TABLE = b"".join(bytes([key]) * 32 + (1_500 * key).to_bytes(8) for key in (3, 5, 8))
TASK = bytes(range(200, 232))

FIRST = Savepoint(TASK, 0, 7, 5, 3, bytes(range(32)), 61, (CREATOR.public_key,), b"")
SECOND = Savepoint(TASK, 0, 8, 5, 9, bytes(32), 62, (), encode(sign(CREATOR, FIRST)))


def _resumed(after: bytes, **changed: object) -> bytes:
    fields: dict[str, object] = dict(task=TASK, shard=0, seq=1, epoch=0, link=b"", runs=((5, 1),), root=bytes(32))
    return encode((*(fields | changed).values(), b"sealed", after))


def _savepoint(**changed: object) -> bytes:
    return encode(msgspec.structs.replace(FIRST, **changed))


def _signed(savepoint: Savepoint, seed: bytes = WORKER_SEED) -> bytes:
    return encode(sign(Identity(seed), savepoint))


def _chain(makers: int) -> bytes:
    after = b""
    for number in range(1, makers + 1):
        after = _signed(Savepoint(TASK, 0, 1, 5, number, bytes(32), 1, (), after))
    return after


RECORDS: dict[str, tuple[bytes, Record]] = {
    "a savepoint": (CREATOR_SEED, FIRST),
    "a savepoint after another's": (WORKER_SEED, SECOND),
    "a join": (WORKER_SEED, Join(TASK, WORKER.seal_key, bytes(range(64, 96)), 5, bytes(range(96, 128)), 197)),
    "an admission": (CREATOR_SEED, Admit(TASK, WORKER.public_key, bytes(32), bytes(range(16)))),
    "a lease of three runs": (WORKER_SEED, Lease(TASK, 0, 0, 1_800_000_000_123, 15, ((0, 3), (7, 1), (4_000, 96)))),
    "a lease of nothing: idle": (WORKER_SEED, Lease(TASK, 0, 0, 2**53 - 1, 3_600, ())),
    "a lease in another shard than home": (WORKER_SEED, Lease(TASK, 1, 0, 7, 15, ((4_096, 1_024),))),
    "a commit (its seal is not a real one)": (WORKER_SEED, Commit(TASK, 0, 8, 0, b"", ((5, 2),), bytes(32), b"sealed")),
    "a drawn commit": (WORKER_SEED, Commit(TASK, 0, 9, 7, bytes(range(32)), ((5, 1),), bytes(32), b"sealed")),
    "a commit that rests on two savepoints (its seal is not a real one)": (
        WORKER_SEED,
        Resumed(TASK, 0, 9, 7, b"", ((5, 1),), bytes(32), b"sealed", encode(sign(WORKER, SECOND))),
    ),
    "a reveal": (
        WORKER_SEED,
        Reveal(TASK, 0, bytes(range(32)), bytes(16), ((0, bytes(32)), (2, bytes(range(32)))), (bytes(range(16)),)),
    ),
    "a beacon": (CREATOR_SEED, Beacon(TASK, 7, 3, bytes(range(32)), 12)),
    "an assignment (its seal is not a real one)": (CREATOR_SEED, Assign(TASK, 0, 9, WORKER.public_key, b"sealed")),
    "a verdict": (CREATOR_SEED, Verdict(TASK, WORKER.public_key, "wrong", 5, bytes(32), EVERYTHING)),
    "a strike": (CREATOR_SEED, Verdict(TASK, WORKER.public_key, "wrong", 5, bytes(32), 1_800_000_000_123)),
    "a checkpoint of ten chunks": (
        CREATOR_SEED,
        Checkpoint(TASK, 0, 3, 9, b"\xff\x01", b"\x00\x02", bytes(32), *fields_of(TABLE)),
    ),
    "a delegation (its seal is not a real one)": (
        CREATOR_SEED,
        Delegate(TASK, WORKER.public_key, 1_800_172_800, trusted=True, sealed=bytes(range(60))),
    ),
    "a feed": (CREATOR_SEED, Feed(TASK, 7, (b"one", b"", bytes(1_024)), ends=False)),
    "a feed that ends a stream": (CREATOR_SEED, Feed(TASK, 10, (), ends=True)),
    "a revocation": (CREATOR_SEED, Revoke(TASK, WORKER.public_key)),
    "a certificate": (
        CREATOR_SEED,
        CertificateBody(TASK, 10, 9, 1, bytes(32), 23, 4, 1, 0, 0, 1e-4, 0.5991464547107979, 0.95),
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_comes_back_as_it_was_signed(name: str) -> None:
    seed, record = RECORDS[name]
    signed = decode(encode(sign(Identity(seed), record)), Signed)
    verify_signature(verify, signed)
    assert parse(signed) == record
    assert signed.author == Identity(seed).public_key


@pytest.mark.parametrize("name", RECORDS)
def test_no_bit_of_a_record_can_change_without_its_signature_failing(name: str) -> None:
    seed, record = RECORDS[name]
    signed = sign(Identity(seed), record)
    for index in range(len(signed.body)):
        body = bytearray(signed.body)
        body[index] ^= 1
        with pytest.raises(RemoteProtocolError):
            verify_signature(verify, msgspec.structs.replace(signed, body=bytes(body)))


def test_a_signature_of_one_kind_never_counts_for_another() -> None:
    signed = sign(WORKER, RECORDS["a join"][1])
    with pytest.raises(RemoteProtocolError):
        verify_signature(verify, msgspec.structs.replace(signed, kind="lease"))


def test_two_authors_who_say_the_same_make_two_records() -> None:
    lease = Lease(TASK, 0, 0, 1, 15, ())
    assert sign(CREATOR, lease).record_id != sign(WORKER, lease).record_id


def test_a_record_is_named_by_what_is_signed_and_by_whom_but_not_by_the_signature() -> None:
    signed = sign(WORKER, RECORDS["a join"][1])
    assert msgspec.structs.replace(signed, signature=bytes(64)).record_id == signed.record_id


@given(
    st.binary(max_size=300), st.sampled_from(["join", "lease", "commit", "verdict", "checkpoint", "feed", "manifest"])
)
def test_any_body_is_a_record_or_refused(body: bytes, kind: Any) -> None:
    signed = Signed(kind, WORKER.public_key, body, bytes(64))
    try:
        parse(signed)
    except RemoteProtocolError:
        return


@given(st.binary(max_size=400))
def test_any_bytes_are_a_signed_record_or_refused(data: bytes) -> None:
    try:
        decode(data, Signed)
    except RemoteProtocolError:
        return


@given(st.sets(st.integers(0, SHARD_CHUNKS - 1), min_size=1, max_size=COMMIT_CHUNKS_MAX), st.integers(0, 5))
def test_runs_say_exactly_which_chunks(indices: set[int], shard: int) -> None:
    chunks = sorted(shard * SHARD_CHUNKS + index for index in indices)
    assert chunks_of(shard, runs_of(chunks)) == chunks


REFUSED_RUNS: dict[str, tuple[int, tuple[Run, ...]]] = {
    "no chunk": (0, ()),
    "a run of nothing": (0, ((3, 0),)),
    "not ascending": (0, ((5, 1), (3, 1))),
    "overlapping": (0, ((3, 3), (5, 1))),
    "adjacent: one run would do": (0, ((3, 2), (5, 1))),
    "the same chunk twice": (0, ((3, 1), (3, 1))),
    "before the shard": (1, ((4_095, 1),)),
    "beyond the shard": (0, ((4_095, 2),)),
    "beyond the largest number": (1_048_575, ((4_294_967_295, 2),)),
    "1,025 chunks": (0, ((0, 1_025),)),
    "1,025 chunks in two runs": (0, ((0, 1_024), (2_000, 1))),
}


@pytest.mark.parametrize("why", REFUSED_RUNS)
def test_runs_that_are_not_canonical_are_refused(why: str) -> None:
    shard, runs = REFUSED_RUNS[why]
    with pytest.raises(RemoteProtocolError):
        chunks_of(shard, runs)


def _lease(**changed: object) -> bytes:
    fields: dict[str, object] = dict(task=TASK, shard=0, home=0, seq=1, ttl_s=15, runs=((0, 1),))
    return encode(tuple((fields | changed).values()))


def _checkpoint(**changed: object) -> bytes:
    fields: dict[str, object] = dict(task=TASK, shard=0, seq=1, begun=0, accepted=b"\0", failed=b"\0", root=bytes(32))
    return encode(tuple((fields | changed).values()))


REFUSED_BODIES: dict[str, tuple[str, bytes]] = {
    "nothing": ("join", b""),
    "a map instead of an array": ("join", encode({"task": TASK})),
    "a delegation without the task's secret": ("delegate", encode((TASK, WORKER.public_key, 1_800_172_800, True, b""))),
    "a delegation with more than a secret": ("delegate", encode((TASK, WORKER.public_key, 9, True, bytes(61)))),
    "a delegation that may be trusted": ("delegate", encode((TASK, WORKER.public_key, 9, 1, bytes(60)))),
    "a delegation until half a second": ("delegate", encode((TASK, WORKER.public_key, 9.5, True, bytes(60)))),
    "a revocation of nobody": ("revoke", encode((TASK,))),
    "a feed of nothing": ("feed", encode((TASK, 3, (), False))),
    "a feed of 1,025 bytes": ("feed", encode((TASK, 3, (bytes(1_025),), False))),
    "a feed of 1,025 calls": ("feed", encode((TASK, 3, (b"",) * 1_025, False))),
    "a feed of text": ("feed", encode((TASK, 3, ("one",), False))),
    "a feed that may end": ("feed", encode((TASK, 3, (b"",), 1))),
    "a field too few": ("join", encode((TASK, WORKER.seal_key))),
    "a field too many": ("join", encode((TASK, WORKER.seal_key, bytes(32), 0, bytes(32), 1, 1))),
    "trailing bytes": ("join", encode((TASK, WORKER.seal_key, bytes(32), 0, bytes(32), 1)) + b"\0"),
    "a task of 31 bytes": ("join", encode((TASK[:31], WORKER.seal_key, bytes(32), 0, bytes(32), 1))),
    "a key as text": ("join", encode((TASK, "0" * 32, bytes(32), 0, bytes(32), 1))),
    "a negative number": ("join", encode((TASK, WORKER.seal_key, bytes(32), 0, bytes(32), -1))),
    "a number of 54 bits": ("join", encode((TASK, WORKER.seal_key, bytes(32), 0, bytes(32), 2**53))),
    "a number that is a float": ("join", encode((TASK, WORKER.seal_key, bytes(32), 0, bytes(32), 1.0))),
    "a nonce of 15 bytes": ("admit", encode((TASK, WORKER.public_key, bytes(32), bytes(15)))),
    "a lease of no time": ("lease", _lease(ttl_s=0)),
    "a lease of more than an hour": ("lease", _lease(ttl_s=3_601)),
    "a shard of 33 bits": ("lease", _lease(shard=2**32)),
    "a run of three numbers": ("lease", _lease(runs=((0, 1, 2),))),
    "runs that are adjacent": ("lease", _lease(runs=((0, 1), (1, 1)))),
    "a lease of another shard's chunks": ("lease", _lease(runs=((4_096, 1),))),
    "a commit of no chunk": ("commit", encode((TASK, 0, 1, 0, b"", (), bytes(32), b""))),
    "a link of half a value": ("commit", encode((TASK, 0, 1, 0, bytes(16), ((0, 1),), bytes(32), b""))),
    "an epoch of 33 bits": ("commit", encode((TASK, 0, 1, 2**32, b"", ((0, 1),), bytes(32), b""))),
    "a beacon of 31 bytes": ("beacon", encode((TASK, 3, 1, bytes(31), 9))),
    "a reveal of nothing": ("reveal", encode((TASK, 0, bytes(32), bytes(16), (), ()))),
    "a reveal of a fourth status": ("reveal", encode((TASK, 0, bytes(32), bytes(16), ((3, bytes(32)),), ()))),
    "a mark of 17 bytes": ("reveal", encode((TASK, 0, bytes(32), bytes(16), ((0, bytes(32)),), (bytes(17),)))),
    "513 marks": ("reveal", encode((TASK, 0, bytes(32), bytes(16), ((0, bytes(32)),), (bytes(16),) * 513))),
    "an unknown reason": ("verdict", encode((TASK, WORKER.public_key, "unfriendly", 0, bytes(32), 1))),
    "a bitmap longer than a shard": ("checkpoint", _checkpoint(accepted=bytes(513))),
    "a worker of 33 bytes": ("admit", encode((TASK, bytes(33), bytes(32), bytes(16)))),
    "a home of 33 bits": ("lease", _lease(home=2**32)),
    "a sequence of 54 bits": ("lease", _lease(seq=2**53)),
    "runs that overlap": ("lease", _lease(runs=((0, 2), (1, 2)))),
    "runs that descend": ("lease", _lease(runs=((5, 1), (0, 1)))),
    "a run of nothing": ("lease", _lease(runs=((0, 0),))),
    "a run beyond the shard": ("lease", _lease(runs=((4_095, 2),))),
    "1,025 runs": ("lease", _lease(runs=tuple((2 * n, 1) for n in range(1_025)))),
    "a commit of 1,025 chunks": ("commit", encode((TASK, 0, 1, 0, b"", ((0, 1_025),), bytes(32), b""))),
    "a root of 31 bytes": ("commit", encode((TASK, 0, 1, 0, b"", ((0, 1),), bytes(31), b""))),
    "a seal that is text": ("commit", encode((TASK, 0, 1, 0, b"", ((0, 1),), bytes(32), "sealed"))),
    "an assignment to nobody": ("assign", encode((TASK, 0, 1, b"", b""))),
    "a chunk of 33 bits": ("verdict", encode((TASK, WORKER.public_key, "wrong", 2**32, bytes(32), 1))),
    "a checkpoint of 33 bits": ("checkpoint", _checkpoint(seq=2**32)),
    "a checkpoint without bitmaps": ("checkpoint", _checkpoint(accepted=None)),
    "failures longer than a shard": ("checkpoint", _checkpoint(failed=bytes(513))),
    "a certificate in words": (
        "certificate",
        encode((TASK, 1, 1, 0, bytes(32), 1, 0, 0, 0, 0, "none", 0.1, 0.95)),
    ),
    "a certificate of a negative count": (
        "certificate",
        encode((TASK, 1, -1, 0, bytes(32), 1, 0, 0, 0, 0, 0.1, 0.1, 0.95)),
    ),
    "a savepoint of another shard": ("savepoint", _savepoint(shard=1)),
    "a savepoint before the first one": ("savepoint", _savepoint(number=0)),
    "a savepoint of nothing": ("savepoint", _savepoint(size=0)),
    "a savepoint too large to hand on": ("savepoint", _savepoint(size=2 * 1024 * 1024 + 1)),
    "a savepoint with four keepers": ("savepoint", _savepoint(keepers=(bytes(32),) * 4)),
    "a savepoint after itself": ("savepoint", _savepoint(after=_signed(FIRST))),
    "a savepoint after one of another chunk": ("savepoint", _savepoint(chunk=6, number=4, after=_signed(FIRST))),
    "a savepoint after what is none": ("savepoint", _savepoint(after=b"none")),
    "a savepoint after eight others and their maker": ("savepoint", _savepoint(number=99, after=_chain(9))),
    "a commit that rests on nothing": ("resumed", _resumed(b"")),
    "a commit of two chunks that rests on a savepoint": ("resumed", _resumed(_signed(FIRST), runs=((5, 2),))),
    "a commit that rests on a savepoint of another chunk": ("resumed", _resumed(_signed(FIRST), runs=((6, 1),))),
    "a commit that rests on a savepoint of another task": ("resumed", _resumed(_signed(FIRST), task=bytes(32))),
    "a commit that lots chose and that rests on a savepoint": ("resumed", _resumed(_signed(FIRST), link=bytes(32))),
    "a commit that rests on a lease": ("resumed", _resumed(encode(sign(WORKER, Lease(TASK, 0, 0, 1, 15, ()))))),
    "a commit that rests on nine savepoints": ("resumed", _resumed(_chain(9))),
    "a manifest where a ledger record should be": ("manifest", encode((TASK,))),
}


@pytest.mark.parametrize("why", REFUSED_BODIES)
def test_a_malformed_body_is_refused(why: str) -> None:
    kind, body = REFUSED_BODIES[why]
    with pytest.raises(RemoteProtocolError):
        parse(Signed(kind, WORKER.public_key, body, bytes(64)))  # type: ignore[arg-type]


def _refused_envelopes() -> dict[str, bytes]:
    signed = sign(WORKER, RECORDS["a join"][1])
    parts = (signed.kind, signed.author, signed.body, signed.signature)
    return {
        "a kind nobody knows": encode(("gift", *parts[1:])),
        "an author of 33 bytes": encode((parts[0], parts[1] + b"\0", *parts[2:])),
        "a body over the limit": encode((parts[0], parts[1], bytes(RECORD_BYTES_MAX + 1), parts[3])),
        "a signature of 63 bytes": encode((*parts[:3], parts[3][:63])),
        "a body that is no bytes": encode((parts[0], parts[1], "", parts[3])),
        "five elements": encode((*parts, 0)),
        "cut short": encode(parts)[:-1],
    }


@pytest.mark.parametrize("why", _refused_envelopes())
def test_a_malformed_envelope_is_refused(why: str) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(_refused_envelopes()[why], Signed)


def _join(work: int) -> Join:
    join = RECORDS["a join"][1]
    assert isinstance(join, Join)
    return msgspec.structs.replace(join, work=work)


@given(st.integers(0, 2**53 - 1))
def test_work_is_the_count_of_leading_zero_bits(work: int) -> None:
    assert 0 <= joining_work(_join(work), WORKER.public_key) <= 256


def test_the_smallest_work_is_found() -> None:
    join = find_work(_join(0), WORKER.public_key, 6)
    assert joining_work(join, WORKER.public_key) >= 6
    assert all(joining_work(_join(smaller), WORKER.public_key) < 6 for smaller in range(join.work))
    assert join == _join(join.work)


@pytest.mark.parametrize("field", ["task", "anchor", "beacon"])
def test_work_is_done_for_one_join_only(field: str) -> None:
    join = find_work(_join(0), WORKER.public_key, 6)
    other = msgspec.structs.replace(join, **{field: bytes(32)})
    assert joining_work(other, WORKER.public_key) != joining_work(join, WORKER.public_key)
    assert joining_work(join, CREATOR.public_key) != joining_work(join, WORKER.public_key)


def test_the_vectors_hold(expect_vectors: ExpectVectors, plain_json: Callable[[Any], Any]) -> None:
    records = []
    for name, (seed, record) in RECORDS.items():
        signed = sign(Identity(seed), record)
        records.append(
            {
                "name": name,
                "seed": seed.hex(),
                "kind": signed.kind,
                "fields": plain_json(record),
                "body": signed.body.hex(),
                "author": signed.author.hex(),
                "signature": signed.signature.hex(),
                "record_id": signed.record_id.hex(),
                "signed": encode(signed).hex(),
            }
        )
    join = sign(WORKER, RECORDS["a join"][1])
    forged = {
        "signed by somebody else": msgspec.structs.replace(join, author=CREATOR.public_key),
        "another kind": msgspec.structs.replace(join, kind="lease"),
        "another body": msgspec.structs.replace(join, body=join.body[:-1] + b"\0"),
        "a savepoint that its maker did not sign": sign(
            WORKER,
            msgspec.structs.replace(
                SECOND, after=encode(msgspec.structs.replace(sign(CREATOR, FIRST), author=WORKER.public_key))
            ),
        ),
    }
    expect_vectors(
        "records",
        {
            "records": records,
            "refused": {
                "envelopes": [{"why": why, "signed": data.hex()} for why, data in _refused_envelopes().items()],
                "bodies": [
                    {"why": why, "kind": kind, "body": body.hex()} for why, (kind, body) in REFUSED_BODIES.items()
                ],
                "signatures": [{"why": why, "signed": encode(signed).hex()} for why, signed in forged.items()],
                "runs": [
                    {"why": why, "shard": shard, "runs": plain_json(runs)}
                    for why, (shard, runs) in REFUSED_RUNS.items()
                ],
            },
            "runs": [
                {"chunks": chunks, "runs": plain_json(runs_of(chunks))}
                for chunks in ([0], [0, 1, 2], [0, 2, 4], [5, 6, 7, 9, 4_095], [4_096, 4_097])
            ],
            "proof_of_work": {
                "join": plain_json(_join(0)),
                "worker": WORKER.public_key.hex(),
                "leading_zero_bits": [
                    {"work": work, "bits": joining_work(_join(work), WORKER.public_key)}
                    for work in (0, 1, 2, 255, 65_536, 2**53 - 1)
                ],
                "smallest": [
                    {"bits": bits, "work": find_work(_join(0), WORKER.public_key, bits).work} for bits in (0, 1, 4, 8)
                ],
            },
        },
    )
