"""Five small jobs as their creators show them, and what is wrong with each of many broken copies, in both languages.

The files are made by hand, signature by signature, so that they change only with the wire.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec
import pytest

from crowdcompute.protocol import merkle
from crowdcompute.protocol.batch import Leaf, seal_commit
from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.codec import decode, encode
from crowdcompute.protocol.credit import fields_of, split, table_of
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.events import CANCELLED, Status
from crowdcompute.protocol.gpu import Golden, Package
from crowdcompute.protocol.gpu.compare import Tolerance, Within
from crowdcompute.protocol.gpu.package import Output
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.manifest import Policy, Range, Stream, open_manifest, sign_manifest
from crowdcompute.protocol.opening import AssignOpening, CommitOpening, ComparedOpening, Shown, read_shown, write_shown
from crowdcompute.protocol.policy import error_bound
from crowdcompute.protocol.records import (
    EVERYTHING,
    Admit,
    Assign,
    CertificateBody,
    Checkpoint,
    Delegate,
    Feed,
    Join,
    Record,
    Revoke,
    Verdict,
    parse,
    runs_of,
    sign,
)
from crowdcompute.protocol.recount import DoesNotHold, recount

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from tests.conftest import ExpectVectors

    from crowdcompute.protocol.manifest import Manifest

DAVE = Identity(bytes([4]) * 32)
ALICE, BOB, CAROL = WORKERS = tuple(Identity(bytes([number]) * 32) for number in (1, 2, 3))
CHUNKS = 5


class Job:
    """Writes one shown record after another."""

    def __init__(self, creator: Identity, manifest: Manifest, package: bytes = b"") -> None:
        self.creator = creator
        self.package = package
        self.shown = [Shown(sign_manifest(creator, manifest), package)]
        self.task = self.shown[0].signed.record_id
        for worker in WORKERS:
            self.say(worker, Join(self.task, worker.seal_key, bytes(32), 0, bytes(32), 0))
            self.say(creator, Admit(self.task, worker.public_key, bytes(32), bytes(16)))

    def say(self, author: Identity, record: Record, opened: bytes = b"") -> None:
        self.shown.append(Shown(sign(author, record), opened))

    def ask(self, worker: Identity, chunks: Sequence[int], *, by: Identity | None = None) -> None:
        seq = len(self.shown)
        record = Assign(self.task, 0, seq, worker.public_key, b"sealed to somebody else")
        self.say(by or self.creator, record, encode(AssignOpening(0, runs_of(chunks))))

    def let_act(self, steward: Identity, *, trusted: bool) -> None:
        self.say(steward, Join(self.task, steward.seal_key, bytes(32), 0, bytes(32), 0))
        self.say(self.creator, Delegate(self.task, steward.public_key, 1_800_000_600, trusted, bytes(60)))

    def vote(
        self,
        worker: Identity,
        results: Mapping[int, bytes],
        *,
        seq: int = 0,
        opens: bool = True,
        status: Status = Status.OK,
        unshown: Collection[int] = (),
    ) -> None:
        leaves = [Leaf(chunk, status, inline=True, size=len(data), data=data) for chunk, data in results.items()]
        seq = seq or len(self.shown)
        salt, nonce = bytes([seq]) * 16, bytes([seq]) * 12
        commit = seal_commit(worker, self.creator.seal_key, self.task, seq, leaves, salt=salt, nonce=nonce)
        votes = tuple((int(leaf.status), leaf.digest) for leaf in leaves)
        opening: CommitOpening | ComparedOpening = CommitOpening(salt, votes)
        if self.package:
            opening = ComparedOpening(
                salt, votes, tuple(b"" if leaf.chunk in unshown else leaf.data for leaf in leaves)
            )
        self.say(worker, commit, encode(opening) if opens else b"")

    def close(
        self,
        confirmers: Mapping[int, Sequence[Identity]],
        certificate: Callable[[bytes], CertificateBody],
        accepted_results: Mapping[int, bytes] | None = None,
    ) -> None:
        """Accept the right result of every chunk that somebody confirmed or the creator executed, and certify."""
        results = accepted_results or {chunk: right(chunk) for chunk in confirmers}
        values = {chunk: b"\0" + sha256(results[chunk]).digest() for chunk in confirmers}
        root = merkle.root([merkle.leaf_hash(chunk.to_bytes(4) + value) for chunk, value in values.items()])
        table = table_of(split(1, ([worker.public_key for worker in workers] for workers in confirmers.values())))
        accepted = sum(1 << chunk for chunk in confirmers)
        failed = (1 << CHUNKS) - 1 - accepted
        checkpoint = Checkpoint(
            self.task, 0, 3, CHUNKS, accepted.to_bytes(1), failed.to_bytes(1), root, *fields_of(table)
        )
        self.say(self.creator, checkpoint)
        self.say(self.creator, certificate(merkle.leaf_hash(root)))


def right(chunk: int) -> bytes:
    return b"result %d" % chunk


def rights(*chunks: int) -> dict[int, bytes]:
    return {chunk: right(chunk) for chunk in chunks}


@pytest.fixture(scope="module")
def honest(creator: Identity, make_manifest: Callable[..., Manifest]) -> Job:
    """One vote a chunk, and two audits of each by workers."""
    policy = Policy(replication=1, eps=0.5, liars=0.2, pow_bits=0)
    job = Job(creator, make_manifest(chunks=CHUNKS, split=Range(0, 20, 4), policy=policy))
    job.vote(ALICE, rights(0, 1, 2))
    job.vote(BOB, rights(3, 4))
    for worker, asked in ((BOB, (0, 1, 2)), (ALICE, (3, 4)), (CAROL, range(CHUNKS))):
        job.ask(worker, asked)
        job.vote(worker, rights(*asked))
    bound = error_bound(0.8 * 10, 0, convicted=False)
    job.close(
        dict.fromkeys(range(CHUNKS), WORKERS),
        lambda root: CertificateBody(job.task, CHUNKS, CHUNKS, 0, root, 15, 10, 0, 0, 0, 0.5, bound, 0.95),
    )
    return job


@pytest.fixture(scope="module")
def lied_to(creator: Identity, make_manifest: Callable[..., Manifest]) -> Job:
    """A machine with a strike goes on, a liar is banned, and the creator executed everything."""
    policy = Policy(replication=2, eps=1e-4, liars=0.2, pow_bits=0)
    job = Job(creator, make_manifest(chunks=CHUNKS, split=Range(0, 20, 4), policy=policy))
    job.vote(ALICE, rights(0, 1, 2), seq=20)
    job.vote(BOB, {0: b"bad memory"}, seq=30)
    job.vote(CAROL, {1: b"a lie", 2: right(2)}, seq=40)
    job.vote(creator, rights(0, 1), seq=50)
    job.say(creator, Verdict(job.task, BOB.public_key, "wrong", 0, bytes(32), 30))
    job.say(creator, Verdict(job.task, CAROL.public_key, "wrong", 1, bytes(32), 40))
    job.ask(BOB, (2,))
    job.vote(BOB, rights(2, 3), seq=31)
    job.vote(CAROL, {4: b"again"}, seq=41)
    job.vote(creator, rights(2, 3, 4), seq=51)
    job.say(creator, Verdict(job.task, CAROL.public_key, "wrong", 4, bytes(32), EVERYTHING))
    job.close(
        {0: (ALICE,), 1: (ALICE,), 2: (ALICE, BOB), 3: (BOB,), 4: ()},
        lambda root: CertificateBody(job.task, CHUNKS, CHUNKS, 0, root, 14, 0, 1, 1, 2, 1e-4, 0.0, 0.99),
    )
    return job


@pytest.fixture(scope="module")
def given_up(creator: Identity, make_manifest: Callable[..., Manifest]) -> Job:
    """The creator executed two chunks and wanted no more, although somebody had voted on a third."""
    policy = Policy(replication=2, eps=1e-4, liars=0.2, pow_bits=0)
    job = Job(creator, make_manifest(chunks=CHUNKS, split=Range(0, 20, 4), policy=policy))
    job.vote(ALICE, rights(0, 1, 2), seq=20)
    job.vote(creator, rights(0, 1), seq=50)
    job.vote(creator, dict.fromkeys((2, 3, 4), CANCELLED.encode()), seq=51, status=Status.NO_RESULT)
    job.close(
        {0: (ALICE,), 1: (ALICE,)},
        lambda root: CertificateBody(job.task, CHUNKS, 2, 3, root, 8, 0, 2, 0, 0, 1e-4, 0.0, 0.95),
    )
    return job


def about(*chunks: int, off: float = 0.0) -> dict[int, bytes]:
    """What a device computes of a chunk's float, and how far off it is."""
    return {chunk: struct.pack("<f", chunk + off) for chunk in chunks}


def first_of(*results: bytes) -> bytes:
    """Of several that could stand for the others the one whose value comes first."""
    return min(results, key=lambda data: sha256(data).digest())


def with_tolerance(
    creator: Identity,
    make_manifest: Callable[..., Manifest],
    replication: int,
    eps: float,
    comparator: type[Tolerance] | type[Within] = Tolerance,
) -> Job:
    """A task of floats that are the same within 1."""
    near = comparator(absolute=1.0, relative=0.0, outliers=0.0)
    package = encode(
        Package(
            schema=1,
            source=b"a kernel",
            uniform=(),
            invocations="count",
            outputs=(Output(name="out", elements=1, compare=near),),
            fuel=1,
            golden=(Golden(input=b"", sha256=sha256(b"").digest(), result=b""),),
            fallback=b"a module",
        )
    )
    policy = Policy(replication=replication, eps=eps, liars=0.2, pow_bits=0)
    code = describe(package)
    return Job(
        creator,
        make_manifest(chunks=CHUNKS, split=Range(0, 20, 4), policy=policy, runtime="gpu", code=code),
        package,
    )


@pytest.fixture(scope="module")
def measured(creator: Identity, make_manifest: Callable[..., Manifest]) -> Job:
    """Three devices, none of which computes what another does, but all within the tolerance."""
    job = with_tolerance(creator, make_manifest, 2, 0.9)
    job.vote(ALICE, about(*range(CHUNKS), off=0.75))
    for worker, off in ((BOB, 0.0), (CAROL, -0.125)):
        job.ask(worker, range(CHUNKS))
        job.vote(worker, about(*range(CHUNKS), off=off))
    bound = error_bound(0.8 * CHUNKS, 0, convicted=False)
    offs = (0.75, 0.0, -0.125)
    job.close(
        dict.fromkeys(range(CHUNKS), WORKERS),
        lambda root: CertificateBody(job.task, CHUNKS, CHUNKS, 0, root, 15, 5, 0, 0, 0, 0.9, bound, 0.95),
        {chunk: first_of(*(about(chunk, off=off)[chunk] for off in offs)) for chunk in range(CHUNKS)},
    )
    return job


@pytest.fixture(scope="module")
def classed(creator: Identity, make_manifest: Callable[..., Manifest]) -> Job:
    """Two devices of a class confirm each other, and one of another class audits them."""
    job = with_tolerance(creator, make_manifest, 2, 0.9, Within)
    for worker, off, its in ((ALICE, 0.0, b"n"), (BOB, 0.0, b"n"), (CAROL, 0.5, b"s")):
        job.ask(worker, range(CHUNKS))
        job.vote(worker, {chunk: data + its * 32 for chunk, data in about(*range(CHUNKS), off=off).items()})
    bound = error_bound(0.8 * CHUNKS, 0, convicted=False)
    job.close(
        dict.fromkeys(range(CHUNKS), WORKERS),
        lambda root: CertificateBody(job.task, CHUNKS, CHUNKS, 0, root, 15, 5, 0, 0, 0, 0.9, bound, 0.95),
        {chunk: data + b"n" * 32 for chunk, data in about(*range(CHUNKS)).items()},
    )
    return job


@pytest.fixture(scope="module")
def named(creator: Identity, make_manifest: Callable[..., Manifest]) -> Job:
    """Large results: what two devices have alike is shown once, and what one worker never delivered is nothing."""
    job = with_tolerance(creator, make_manifest, 1, 0.9)
    job.vote(ALICE, about(*range(CHUNKS)))
    for worker, results in ((BOB, about(0, 1, 2, 3) | about(4, off=0.5)), (CAROL, about(*range(CHUNKS), off=0.25))):
        job.ask(worker, range(CHUNKS))
        job.vote(worker, results, unshown=range(4) if worker is BOB else range(CHUNKS))
    bound = error_bound(0.8 * CHUNKS, 0, convicted=False)
    job.close(
        dict.fromkeys(range(CHUNKS), (ALICE, BOB)),
        lambda root: CertificateBody(job.task, CHUNKS, CHUNKS, 0, root, 15, 5, 0, 0, 0, 0.9, bound, 0.95),
        about(0, 1, 2, 3) | {4: first_of(about(4)[4], about(4, off=0.5)[4])},
    )
    return job


@pytest.fixture(scope="module")
def entrusted(creator: Identity, make_manifest: Callable[..., Manifest]) -> Job:
    """As the honest one, but it was a steward that asked, for which its creator answers, and that voted as well."""
    policy = Policy(replication=1, eps=0.5, liars=0.2, pow_bits=0)
    job = Job(creator, make_manifest(chunks=CHUNKS, split=Range(0, 20, 4), policy=policy))
    job.let_act(DAVE, trusted=True)
    job.vote(ALICE, rights(0, 1, 2))
    job.vote(BOB, rights(3, 4))
    for worker, asked in ((BOB, (0, 1, 2)), (ALICE, (3, 4)), (CAROL, range(CHUNKS))):
        job.ask(worker, asked, by=DAVE)
        job.vote(worker, rights(*asked))
    job.say(DAVE, Assign(job.task, 0, 90, CAROL.public_key, b"nonsense"))
    job.vote(DAVE, rights(0))
    job.say(DAVE, Checkpoint(job.task, 0, 0, CHUNKS, b"\x1f", b"\0", bytes(32), *fields_of(b"")))
    bound = error_bound(0.8 * 10, 0, convicted=False)
    job.close(
        dict.fromkeys(range(CHUNKS), WORKERS),
        lambda root: CertificateBody(job.task, CHUNKS, CHUNKS, 0, root, 16, 10, 0, 0, 0, 0.5, bound, 0.95),
    )
    return job


@pytest.fixture(scope="module")
def mismeasured(creator: Identity, make_manifest: Callable[..., Manifest]) -> Job:
    """One worker's vote is beyond the tolerance of what the creator computes, which is not what anybody else does."""
    job = with_tolerance(creator, make_manifest, 1, 1e-4)
    job.vote(ALICE, about(0, 1, 2, off=0.75), seq=20)
    job.vote(BOB, about(3, off=-0.5) | about(4, off=1.75), seq=30)
    job.vote(creator, about(*range(CHUNKS), off=0.25), seq=50)
    job.say(creator, Verdict(job.task, BOB.public_key, "wrong", 4, bytes(32), 30))
    job.close(
        {0: (ALICE,), 1: (ALICE,), 2: (ALICE,), 3: (), 4: ()},
        lambda root: CertificateBody(job.task, CHUNKS, CHUNKS, 0, root, 10, 0, 3, 1, 1, 1e-4, 0.0, 0.99),
        about(*range(CHUNKS), off=0.25),
    )
    return job


@pytest.fixture(scope="module")
def taken_back(creator: Identity, make_manifest: Callable[..., Manifest]) -> Job:
    """A steward lied and was revoked; the creator executed everything."""
    policy = Policy(replication=2, eps=1e-4, liars=0.2, pow_bits=0)
    job = Job(creator, make_manifest(chunks=CHUNKS, split=Range(0, 20, 4), policy=policy))
    job.let_act(DAVE, trusted=True)
    job.vote(ALICE, rights(0, 1, 2))
    job.ask(BOB, (0, 1), by=DAVE)
    job.vote(BOB, rights(0, 1))
    job.vote(DAVE, {0: b"a lie"})
    job.vote(creator, rights(0, 1, 2, 3, 4), seq=50)
    job.say(creator, Revoke(job.task, DAVE.public_key))
    job.close(
        {0: (ALICE, BOB), 1: (ALICE, BOB), 2: (ALICE,), 3: (), 4: ()},
        lambda root: CertificateBody(job.task, CHUNKS, CHUNKS, 0, root, 11, 0, 2, 0, 0, 1e-4, 0.0, 0.95),
    )
    return job


def index(job: Job, kind: str, number: int = 0) -> int:
    return [at for at, entry in enumerate(job.shown) if entry.signed.kind == kind][number]


def replaced(job: Job, at: int, **fields: object) -> list[Shown]:
    """The job, had its creator signed one record otherwise."""
    shown = list(job.shown)
    record = msgspec.structs.replace(parse(shown[at].signed), **fields)
    shown[at] = Shown(sign(job.creator, record), shown[at].opened)
    return shown


def without(job: Job, *left_out: int) -> list[Shown]:
    return [entry for at, entry in enumerate(job.shown) if at not in left_out]


@pytest.fixture(scope="module")
def streamed(creator: Identity, make_manifest: Callable[..., Manifest]) -> Job:
    """Five chunks of eight that might have been were fed; Bob computed something else, and has a strike for it."""
    policy = Policy(replication=1, eps=0.5, liars=0.2, pow_bits=0)
    job = Job(creator, make_manifest(chunks=8, split=Stream(), policy=policy))
    job.say(creator, Feed(job.task, 0, (b"one", b"two", b"three"), ends=False))
    job.vote(ALICE, rights(0, 1, 2), seq=20)
    job.say(creator, Feed(job.task, 3, (b"four",), ends=False))
    job.vote(BOB, {3: b"a lie"}, seq=30)
    job.vote(creator, rights(0, 1, 2, 3), seq=50)
    job.say(creator, Verdict(job.task, BOB.public_key, "wrong", 3, bytes(32), 30))
    job.say(creator, Feed(job.task, 4, (b"five",), ends=True))
    job.vote(creator, rights(4), seq=51)
    job.close(
        {0: (ALICE,), 1: (ALICE,), 2: (ALICE,), 3: (), 4: ()},
        lambda root: CertificateBody(job.task, CHUNKS, CHUNKS, 0, root, 9, 0, 3, 0, 1, 0.5, 0.0, 0.99),
    )
    return job


def broken_streams(streamed: Job) -> dict[str, list[Shown]]:
    """Copies of a stream in which its creator plays double, or does not show all."""
    feeds = [index(streamed, "feed", number) for number in range(3)]
    double = Shown(sign(streamed.creator, Feed(streamed.task, 3, (b"what Bob was given",), ends=False)), b"")
    said = index(streamed, "checkpoint")
    return {
        "two inputs of the chunk for which somebody was convicted": [
            *streamed.shown[:said],
            double,
            *streamed.shown[said:],
        ],
        "a stream without its end": without(streamed, feeds[2]),
        "a stream with a gap": without(streamed, feeds[1]),
        "a stream that ends twice": replaced(streamed, feeds[1], ends=True),
        "a stream of more chunks than were fed": replaced(streamed, len(streamed.shown) - 1, chunks=6),
    }


def broken_stewards(entrusted: Job, taken_back: Job) -> dict[str, list[Shown]]:
    """Copies in which one thing about a steward is not as it should be."""
    delegated, said = index(entrusted, "delegate"), index(entrusted, "checkpoint")
    paying = Job(entrusted.creator, parse_manifest(entrusted))
    table = table_of({DAVE.public_key: 1_000})
    paying.say(DAVE, Checkpoint(paying.task, 0, 0, CHUNKS, b"\x1f", b"\0", bytes(32), *fields_of(table)))
    paying.say(DAVE, Verdict(paying.task, ALICE.public_key, "wrong", 0, bytes(32), 9))
    last = len(entrusted.shown) - 1
    closed = parse(entrusted.shown[last].signed)
    by_steward = Shown(sign(DAVE, closed), b"")
    return {
        "audits of a steward for which nobody answers": replaced(entrusted, delegated, trusted=False),
        "words of a steward that nobody named": without(entrusted, delegated),
        "a steward that pays": [*entrusted.shown[:said], paying.shown[-2], *entrusted.shown[said:]],
        "a steward that convicts": [*entrusted.shown[:said], paying.shown[-1], *entrusted.shown[said:]],
        "a steward that closes the task": [*entrusted.shown[:last], by_steward],
        "a steward that lied and was not revoked": without(taken_back, index(taken_back, "revoke")),
    }


def broken(honest: Job, lied_to: Job, given_up: Job, measured: Job, mismeasured: Job) -> dict[str, list[Shown]]:
    """Copies in which one thing is not as it should be."""
    last = len(honest.shown) - 1
    commit = honest.shown[index(honest, "commit")]
    strikes = [index(lied_to, "verdict", number) for number in range(2)]
    ban = index(lied_to, "verdict", 2)
    twice = Job(honest.creator, parse_manifest(honest))
    twice.vote(ALICE, rights(1), seq=index(honest, "commit"))
    table = table_of({ALICE.public_key: 9_000})
    forged = msgspec.structs.replace(commit.signed, signature=bytes(64))
    credited = dict(zip(("credits_root", "credits_size", "credits"), fields_of(table), strict=True))
    return {
        "no certificate": without(honest, last),
        "another number of audits": replaced(honest, last, worker_audits=11),
        "another number of executions": replaced(honest, last, executions=1_500),
        "another root": replaced(honest, last, root=bytes(32)),
        "another eps": replaced(honest, last, eps=1e-5),
        "another confidence": replaced(honest, last, confidence=0.99),
        "a better bound": replaced(honest, last, bound=0.123456789123),
        "mismatches that no vote allows": replaced(honest, last, mismatches=1),
        "a vote left out": without(honest, index(honest, "commit", 4)),
        "what was asked left out": without(honest, index(honest, "assign", 2)),
        "a join left out": without(honest, index(honest, "join")),
        "a commit that is not opened": [
            Shown(entry.signed, b"") if entry is commit else entry for entry in honest.shown
        ],
        "a vote shown otherwise": [
            Shown(entry.signed, honest.shown[index(honest, "commit", 1)].opened) if entry is commit else entry
            for entry in honest.shown
        ],
        "a wrong signature": [Shown(forged, commit.opened) if entry is commit else entry for entry in honest.shown],
        "a record twice": [*honest.shown[:-1], commit, honest.shown[-1]],
        "a record after the certificate": [*honest.shown, commit],
        "two commits with one seq": [*honest.shown[:-2], twice.shown[-1], *honest.shown[-2:]],
        "a record of another task": [*honest.shown[:-1], lied_to.shown[1], honest.shown[-1]],
        "an accepted chunk said to have failed": replaced(
            honest, index(honest, "checkpoint"), accepted=b"\x1d", failed=b"\x02"
        ),
        "another root of a shard": replaced(honest, index(honest, "checkpoint"), root=bytes(32)),
        "credit that nobody earned": replaced(honest, index(honest, "checkpoint"), **credited),
        "no checkpoint": without(honest, index(honest, "checkpoint")),
        "a strike that voids more": replaced(lied_to, strikes[0], void_to=31 + 4),
        "a strike for another chunk": replaced(lied_to, strikes[1], chunk=2),
        "a ban without a strike": without(lied_to, strikes[1]),
        "a ban for what the strike had voided": replaced(lied_to, ban, chunk=1),
        "a ban for equivocation": replaced(lied_to, ban, reason="equivocated"),
        "a ban for a commit that opens": replaced(lied_to, ban, reason="malformed"),
        "a liar let off": without(lied_to, ban),
        "a chunk that was given up counted as an audit": replaced(given_up, len(given_up.shown) - 1, creator_audits=3),
        "a tolerance that is not shown": [Shown(measured.shown[0].signed, b""), *map(hashes_only, measured.shown[1:])],
        "another tolerance": [
            Shown(measured.shown[0].signed, measured.package.replace(struct.pack(">d", 1.0), struct.pack(">d", 9.0))),
            *measured.shown[1:],
        ],
        "a tolerance where there is none": [Shown(honest.shown[0].signed, measured.package), *honest.shown[1:]],
        "a result shown otherwise": [
            Shown(entry.signed, entry.opened.replace(struct.pack("<f", 1.75), struct.pack("<f", 1.5)))
            for entry in measured.shown
        ],
        "a result that is not shown": [
            Shown(entry.signed, entry.opened.replace(b"\xc4\x04" + struct.pack("<f", 1.75), b"\xc4\x00"))
            for entry in measured.shown
        ],
        "nearness that is not near": replaced(mismeasured, index(mismeasured, "verdict"), chunk=3),
        "a worker beyond the tolerance let off": without(mismeasured, index(mismeasured, "verdict")),
        "a bound that the creator's executions do not allow": replaced(lied_to, len(lied_to.shown) - 1, bound=1e-5),
    }


def hashes_only(entry: Shown) -> Shown:
    """A commit as it is shown where results are compared by their bytes."""
    if entry.signed.kind != "commit":
        return entry
    opening = decode(entry.opened, ComparedOpening)
    return Shown(entry.signed, encode(CommitOpening(opening.salt, opening.votes)))


def parse_manifest(job: Job) -> Manifest:
    return open_manifest(job.shown[0].signed, verify)


def test_what_a_steward_said_is_counted_as_its_creator_says(entrusted: Job, taken_back: Job) -> None:
    counted = recount(entrusted.shown, verify)
    assert counted.trusted == {DAVE.public_key}
    assert counted.by_steward == {DAVE.public_key: {"assign": 4, "checkpoint": 1, "commit": 1}}
    assert counted.credit.keys() == {worker.public_key for worker in WORKERS}
    counted = recount(taken_back.shown, verify)
    assert counted.revoked == {DAVE.public_key}
    assert not counted.by_steward


def test_large_results_are_shown_once_and_what_nobody_delivered_is_no_vote(named: Job) -> None:
    counted = recount(named.shown, verify)
    assert counted.credit.keys() == {ALICE.public_key, BOB.public_key}
    assert counted.wrong_votes == {}
    assert any("nobody delivered" in point for point in counted.cannot_check)


def test_all_jobs_are_as_certified(honest: Job, lied_to: Job, given_up: Job, measured: Job, mismeasured: Job) -> None:
    counted = recount(measured.shown, verify)
    assert counted.wrong_votes == {}
    counted = recount(mismeasured.shown, verify)
    assert counted.wrong_votes == {BOB.public_key: 1}
    assert counted.digest(4) == sha256(struct.pack("<f", 4.25)).digest()
    counted = recount(given_up.shown, verify)
    assert (counted.cancelled, len(counted.values)) == (3, 2)
    counted = recount(honest.shown, verify)
    assert sum(counted.credit.values()) == 4_995
    assert set(counted.credit.values()) == {1_665}
    counted = recount(lied_to.shown, verify)
    assert counted.credit == {ALICE.public_key: 2_500, BOB.public_key: 1_500}
    assert counted.wrong_votes == {BOB.public_key: 1, CAROL.public_key: 2}


def test_the_vectors_hold(
    honest: Job,
    lied_to: Job,
    given_up: Job,
    measured: Job,
    mismeasured: Job,
    named: Job,
    classed: Job,
    entrusted: Job,
    taken_back: Job,
    streamed: Job,
    expect_vectors: ExpectVectors,
) -> None:
    """A file is its entries by number, of which the first list has all."""
    entries: dict[Shown, int] = {}
    vectors: list[dict[str, object]] = []
    jobs = {
        "honest": honest,
        "lied to": lied_to,
        "given up": given_up,
        "measured": measured,
        "mismeasured": mismeasured,
        "named": named,
        "classed": classed,
        "entrusted to a steward": entrusted,
        "taken back from a steward": taken_back,
        "a stream": streamed,
    }
    for name, shown in ((name, job.shown) for name, job in jobs.items()):
        counted = recount(read_shown(b"".join(write_shown(shown))), verify)
        vectors.append(
            {
                "name": name,
                "entries": [entries.setdefault(entry, len(entries)) for entry in shown],
                "holds": {
                    "records": sum(counted.records.values()),
                    "peers": counted.peers,
                    "cancelled": counted.cancelled,
                    "credit": {worker.hex(): amount for worker, amount in sorted(counted.credit.items())},
                    "wrong_votes": {worker.hex(): count for worker, count in sorted(counted.wrong_votes.items())},
                    "verdicts": {worker.hex(): each.void_to for worker, each in sorted(counted.verdicts.items())},
                    "by_steward": {steward.hex(): said for steward, said in sorted(counted.by_steward.items())},
                    "trusted": sorted(steward.hex() for steward in counted.trusted),
                    "revoked": sorted(steward.hex() for steward in counted.revoked),
                    "cannot_check": list(counted.cannot_check),
                },
            }
        )
    for name, shown in (
        broken(honest, lied_to, given_up, measured, mismeasured)
        | broken_stewards(entrusted, taken_back)
        | broken_streams(streamed)
    ).items():
        with pytest.raises((DoesNotHold, RemoteProtocolError)) as error:
            recount(read_shown(b"".join(write_shown(shown))), verify)
            pytest.fail(name)
        said = error.value
        assert isinstance(said, DoesNotHold), name
        vectors.append(
            {
                "name": name,
                "entries": [entries.setdefault(entry, len(entries)) for entry in shown],
                "what": str(said),
                "chunk": said.chunk,
                "worker": None if said.worker is None else said.worker.hex(),
            }
        )
    assert len({each["what"] for each in vectors if "what" in each}) >= 20, "most of the sentences are said"
    expect_vectors("evidence", {"entries": [encode(entry).hex() for entry in entries], "files": vectors})
