"""Certificates of real jobs are counted again from what their creators show; whoever lies anywhere is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdcompute.protocol.batch import Leaf, seal_commit
from crowdcompute.protocol.codec import decode, encode
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.events import Status
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.merkle import leaf_hash
from crowdcompute.protocol.opening import MAGIC, CommitOpening, Shown, read_shown, write_shown
from crowdcompute.protocol.records import EVERYTHING, CertificateBody, Checkpoint, Commit, Record, Verdict, parse, sign
from crowdcompute.protocol.recount import DoesNotHold, Recount, recount
from crowdcompute.simulations import faults
from crowdcompute.simulations.network import World
from crowdcompute.simulations.scenario import parse_scenario

CHUNKS = 30


@dataclass(frozen=True)
class Job:
    """A closed task: its creator's key, and what it shows."""

    creator: Identity
    world: World
    shown: tuple[Shown, ...]

    @property
    def data(self) -> bytes:
        return b"".join(write_shown(self.shown))

    def index(self, kind: str, *, by_creator: bool | None = None) -> int:
        """Where the first record of a kind is."""
        return next(
            number
            for number, entry in enumerate(self.shown)
            if entry.signed.kind == kind and by_creator in (None, entry.signed.author == self.creator.public_key)
        )

    def with_record(self, number: int, record: Record) -> list[Shown]:
        """What it would show had it signed this record instead."""
        shown = list(self.shown)
        shown[number] = Shown(sign(self.creator, record), b"")
        return shown


def job(extra: str = "", *, replication: int = 2, eps: float = 0.2, seed: int = 1, **task: str) -> Job:
    further = "".join(f", {key} = {value}" for key, value in task.items())
    small = World(
        parse_scenario(
            f"""
            name = "small"
            network = {{peers = 6, real_keys = true, speed_sigma = 0.0}}
            task = {{chunks = {CHUNKS}, eps = {eps}, replication = {replication}, chunk_s = 0.5{further}}}
            checks = {{stop_s = 600}}
            {extra}
            """
        ),
        seed=seed,
    )
    faults.schedule(small)
    small.run()
    assert isinstance(small.creator.signer, Identity)
    return Job(small.creator.signer, small, tuple(small.role.evidence()))


@pytest.fixture(scope="module")
def honest() -> Job:
    return job()


@pytest.fixture(scope="module")
def lied_to() -> Job:
    return job('liars = [{kind = "alone", count = 1}]')


def refusal(shown: list[Shown]) -> DoesNotHold:
    with pytest.raises(DoesNotHold) as error:
        recount(shown, verify)
    return error.value


# ---- what is true holds


@pytest.mark.parametrize(
    ("extra", "task"),
    [
        ("", {}),
        ("", {"replication": 1}),
        ("", {"replication": 3}),
        ("", {"eps": 1e-4}),
        ("", {"failing": "[3, 4]"}),
        ("", {"result_bytes": "9000"}),
        ('liars = [{kind = "alone", count = 1}]', {}),
        ('liars = [{kind = "alone", count = 2}]', {"replication": 1}),
        ('liars = [{kind = "colluding", count = 2}]', {"replication": 1}),
        ('liars = [{kind = "colluding", count = 3}]', {"replication": 3}),
        ('liars = [{kind = "flaky", count = 2, rate = 0.1}]', {}),
        ('liars = [{kind = "flaky", count = 2, rate = 0.1}]', {"replication": 1}),
        ('liars = [{kind = "equivocator", count = 1}]', {}),
        ('liars = [{kind = "copier", count = 1}]', {}),
        ('liars = [{kind = "whitewasher", count = 1}]', {}),
        ('faults = [{kind = "creator-crash", at_s = 6.0, for_s = 2.0}]', {}),
    ],
)
def test_the_certificate_of_a_job_follows_from_its_records(extra: str, task: dict[str, Any]) -> None:
    done = job(extra, **task)
    counted = recount(read_shown(done.data), verify)
    role = done.world.role
    progress = role.progress()
    assert counted.certificate == role.ledger.certificate
    assert counted.verdicts == role.ledger.verdicts
    for worker, count in role.wrong_votes().items():
        # Of an equivocator's two votes on one chunk the creator counts one.
        assert counted.wrong_votes[worker] >= count
    assert len(counted.values) == progress.accepted == CHUNKS - progress.failed
    for chunk in range(CHUNKS):
        assert counted.digest(chunk) == role.result(chunk).digest


def test_no_result_is_shown_by_the_records(honest: Job) -> None:
    results = [honest.world.role.result_bytes(chunk) for chunk in range(CHUNKS)]
    assert all(result is not None and result not in honest.data for result in results)


def test_what_came_after_the_certificate_is_no_part_of_it() -> None:
    done = job()
    ledger = done.world.role.ledger
    leaf = Leaf(0, Status.OK, inline=True, size=1, data=b"?")
    late = seal_commit(done.creator, done.creator.seal_key, ledger.task, 10**6, [leaf], salt=bytes(16), nonce=bytes(12))
    assert ledger.add(sign(done.creator, late), late, 0.0)
    assert tuple(done.world.role.evidence()) == done.shown


def test_what_cannot_be_checked_is_named(honest: Job, lied_to: Job) -> None:
    plain, convicted = (recount(done.shown, verify).cannot_check for done in (honest, lied_to))
    assert any("drawn at random" in point for point in plain)
    assert set(plain) < set(convicted)
    assert any("sample" in point for point in convicted)


# ---- a creator that lies is found


@pytest.mark.parametrize("field", CertificateBody.__struct_fields__)
def test_a_creator_that_certifies_another_number_is_found(honest: Job, field: str) -> None:
    number = honest.index("certificate")
    body = decode(honest.shown[number].signed.body, CertificateBody)
    value = getattr(body, field)
    lies = [bytes(32)] if isinstance(value, bytes) else [value / 2, value * 1.001] if field == "bound" else [value + 1]
    for lie in lies:
        error = refusal(honest.with_record(number, msgspec.structs.replace(body, **{field: lie})))
        assert ("another task" if field == "task" else field) in str(error)


def test_a_bound_that_no_sample_of_these_audits_could_give_is_found(lied_to: Job) -> None:
    number = lied_to.index("certificate")
    body = decode(lied_to.shown[number].signed.body, CertificateBody)
    for lie in (0.0, 1e-3, body.eps * 1.1):
        assert "bound" in str(refusal(lied_to.with_record(number, msgspec.structs.replace(body, bound=lie))))


def test_a_task_that_its_creator_executed_whole_has_no_other_bound_than_zero() -> None:
    done = job('liars = [{kind = "alone", count = 1}]', eps=1e-4)
    number = done.index("certificate")
    body = decode(done.shown[number].signed.body, CertificateBody)
    assert (body.bound, body.convicted) == (0, 1)
    assert "bound" in str(refusal(done.with_record(number, msgspec.structs.replace(body, bound=body.eps / 2))))


def test_a_checkpoint_of_another_outcome_is_found(honest: Job) -> None:
    number = honest.index("checkpoint")
    body = decode(honest.shown[number].signed.body, Checkpoint)
    flipped = bytes([body.accepted[0] ^ 1 << 3]) + body.accepted[1:]
    failed = bytes([1 << 3]) + body.failed[1:]
    assert refusal(honest.with_record(number, msgspec.structs.replace(body, accepted=flipped))).chunk == 3
    both = msgspec.structs.replace(body, accepted=flipped, failed=failed)
    assert refusal(honest.with_record(number, both)).chunk == 3
    # A root of other results, certified as well: only the votes tell.
    certificate = honest.index("certificate")
    certified = decode(honest.shown[certificate].signed.body, CertificateBody)
    shown = honest.with_record(number, msgspec.structs.replace(body, root=bytes(32)))
    agreeing = msgspec.structs.replace(certified, root=leaf_hash(bytes(32)))
    shown[certificate] = Shown(sign(honest.creator, agreeing), b"")
    assert "root is not that of the results" in str(refusal(shown))


def test_a_chunk_without_result_must_be_said_to_have_failed() -> None:
    done = job(failing="[3]")
    number = done.index("checkpoint")
    body = decode(done.shown[number].signed.body, Checkpoint)
    assert refusal(done.with_record(number, msgspec.structs.replace(body, failed=bytes(len(body.failed))))).chunk == 3


def test_a_worker_that_did_nothing_wrong_cannot_be_convicted(honest: Job) -> None:
    accused = next(entry.signed for entry in honest.shown if entry.signed.kind == "commit")
    chunk = parse(accused).runs[0][0]  # type: ignore[union-attr]
    for reason in ("wrong", "malformed", "equivocated"):
        verdict = Verdict(parse(accused).task, accused.author, reason, chunk, accused.record_id, EVERYTHING)
        shown = list(honest.shown)
        shown.insert(-1, Shown(sign(honest.creator, verdict), b""))
        error = refusal(shown)
        assert error.worker == accused.author
        assert ("first wrong result" if reason == "wrong" else reason) in str(error)
    struck = Verdict(parse(accused).task, accused.author, "wrong", chunk, bytes(32), parse(accused).seq)  # type: ignore[union-attr]
    error = refusal([*honest.shown[:-1], Shown(sign(honest.creator, struck), b""), honest.shown[-1]])
    assert (error.worker, error.chunk) == (accused.author, chunk)
    assert "a strike, and the records do not show what for" in str(error)


def test_a_strike_voids_no_more_and_no_less_than_it_says(lied_to: Job) -> None:
    number = lied_to.index("verdict")
    strike = decode(lied_to.shown[number].signed.body, Verdict)
    assert not strike.is_ban
    for void_to, why in ((strike.void_to + 1, "did not sign"), (strike.void_to - 1, "did not sign")):
        assert why in str(refusal(lied_to.with_record(number, msgspec.structs.replace(strike, void_to=void_to))))
    shown = lied_to.with_record(number, msgspec.structs.replace(strike, void_to=EVERYTHING))
    banned = refusal([*shown[: number + 1], *(entry for entry in shown[number:] if entry.signed.kind != "verdict")])
    assert "first wrong result" in str(banned)
    assert banned.worker == strike.worker


def test_a_liar_that_the_creator_lets_off_is_found(lied_to: Job) -> None:
    (liar,) = lied_to.world.role.ledger.verdicts
    error = refusal([entry for entry in lied_to.shown if entry.signed.kind != "verdict"])
    assert error.chunk is not None
    if error.worker is None:
        # The creator executed none of the chunks where it lied, or not this one: its verdict on another settled it.
        assert "leave a chunk disputed" in str(error)
    else:
        assert error.worker == liar
        assert "not convicted" in str(error)


@pytest.mark.parametrize("kind", ["join", "admit", "commit", "checkpoint", "certificate"])
def test_a_record_that_is_left_out_is_missed(honest: Job, kind: str) -> None:
    number = honest.index(kind)
    refusal([*honest.shown[:number], *honest.shown[number + 1 :]])


def test_a_vote_that_is_not_shown_is_missed(honest: Job) -> None:
    number = honest.index("commit", by_creator=False)
    shown = list(honest.shown)
    shown[number] = Shown(shown[number].signed, b"")
    error = refusal(shown)
    assert "not opened" in str(error)
    assert error.worker == shown[number].signed.author


def test_other_votes_than_those_signed_are_found_with_chunk_and_worker(honest: Job) -> None:
    number = honest.index("commit", by_creator=False)
    entry = honest.shown[number]
    opening = decode(entry.opened, CommitOpening)
    for forged in (
        msgspec.structs.replace(opening, salt=bytes(16)),
        msgspec.structs.replace(opening, votes=((1, opening.votes[0][1]), *opening.votes[1:])),
        msgspec.structs.replace(opening, votes=((0, bytes(32)), *opening.votes[1:])),
        msgspec.structs.replace(opening, votes=(*opening.votes, opening.votes[0])),
    ):
        shown = list(honest.shown)
        shown[number] = Shown(entry.signed, encode(forged))
        error = refusal(shown)
        commit = parse(entry.signed)
        assert isinstance(commit, Commit)
        assert (error.worker, error.chunk) == (entry.signed.author, commit.runs[0][0])


def test_votes_that_nobody_asked_for_settle_nothing(honest: Job) -> None:
    error = refusal([entry for entry in honest.shown if entry.signed.kind != "assign"])
    assert error.chunk is not None
    assert "sealed" in str(error)


def test_records_said_twice_or_after_the_certificate_are_no_evidence(honest: Job) -> None:
    commit, certificate = honest.index("commit"), honest.index("certificate")
    assert certificate == len(honest.shown) - 1
    refusal([*honest.shown[: commit + 1], *honest.shown[commit:]])
    assert "after the certificate" in str(refusal([*honest.shown, honest.shown[commit]]))


def test_records_of_another_job_are_no_evidence(honest: Job) -> None:
    other = job(seed=2)
    assert "another task" in str(refusal([honest.shown[0], *other.shown[1:]]))


# ---- a file that is damaged


def outcome(data: bytes) -> Recount | None:
    try:
        return recount(read_shown(data), verify)
    except (DoesNotHold, RemoteProtocolError):
        return None


@settings(max_examples=150)
@given(st.data())
def test_any_changed_byte_is_found_or_changes_nothing_that_is_said(honest: Job, data: st.DataObject) -> None:
    damaged = bytearray(honest.data)
    position = data.draw(st.integers(0, len(damaged) - 1))
    damaged[position] ^= data.draw(st.integers(1, 255))
    assert outcome(bytes(damaged)) in (None, outcome(honest.data))


def test_nearly_every_changed_byte_is_found(honest: Job) -> None:
    data = honest.data
    unseen = []
    for position in range(0, len(data), 97):
        damaged = bytearray(data)
        damaged[position] ^= 1
        if outcome(bytes(damaged)) is not None:
            unseen.append(position)
    # What is left are assignments of votes that did not matter: the creator's word anyway.
    assert len(unseen) <= len(data) / 97 * 0.02


@given(st.integers(0, 40_000))
def test_a_file_that_ends_early_is_no_evidence(honest: Job, length: int) -> None:
    if length < len(honest.data):
        assert outcome(honest.data[:length]) is None


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    assert outcome(data) is None
    assert outcome(MAGIC + len(data).to_bytes(4) + data) is None


def test_every_signature_is_looked_at(honest: Job) -> None:
    for number, entry in enumerate(honest.shown[1:], start=1):
        shown = list(honest.shown)
        shown[number] = Shown(msgspec.structs.replace(entry.signed, signature=bytes(64)), entry.opened)
        error = refusal(shown)
        assert "signature" in str(error)
        assert error.worker == entry.signed.author
