"""Accounts: both sides sign, the newest statement counts, and a leaderboard sums what devices have earned."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.accounts import (
    MAGIC,
    STATEMENT_DOMAIN,
    Device,
    Roster,
    SignedStatement,
    Statement,
    consent_to,
    leaderboard,
    open_backup,
    open_consent,
    open_history,
    open_statement,
    sign_history,
    sign_statement,
    write_backup,
)
from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.credit import fields_of, prove, table_of, write_proof
from crowdcompute.protocol.errors import LocalProtocolError, RemoteProtocolError
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.manifest import sign_manifest
from crowdcompute.protocol.records import Checkpoint, sign

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import ExpectVectors

    from crowdcompute.protocol.manifest import Manifest

LAB, RIVAL = (Identity(bytes([number]) * 32) for number in (20, 21))
DESK, PHONE, LAPTOP, STRANGER = (Identity(bytes([number]) * 32) for number in (31, 32, 33, 34))


def png(width: int, height: int) -> bytes:
    """As much of one as whoever takes a statement looks at."""
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + width.to_bytes(4) + height.to_bytes(4) + bytes(9)


PNG = png(64, 48)
change = msgspec.structs.replace


def device(account: Identity, key: Identity, name: str, since_s: int = 1_000, until_s: int = 9_000) -> Device:
    consent = open_consent(consent_to(key, account.public_key, name, since_s), account.public_key, verify)
    return Device(consent.device, consent.name, consent.since_s, until_s, consent.signature)


def statement(account: Identity, *devices: Device, seq: int = 1, name: str = "A lab", avatar: bytes = b"") -> Statement:
    return Statement(account.public_key, seq, name, avatar, tuple(sorted(devices, key=lambda each: each.key)))


def own() -> Statement:
    return statement(LAB, device(LAB, DESK, "desk"), device(LAB, PHONE, "Päivi's phone", until_s=5_000), avatar=PNG)


def test_a_device_acts_and_earns_for_its_account_until_its_time_is_over() -> None:
    said = open_statement(sign_statement(LAB, own()), verify)
    assert said == own()
    assert said.may_act(PHONE.public_key, 4_999)
    assert not said.may_act(PHONE.public_key, 5_000)
    assert not said.may_act(STRANGER.public_key, 4_999)
    roster = Roster([said])
    assert roster.account_of(PHONE.public_key, 4_999) == LAB.public_key
    assert roster.account_of(PHONE.public_key, 5_000) is None
    assert said.earners(4_999) == {DESK.public_key, PHONE.public_key}
    assert said.earners(5_000) == {DESK.public_key}


def test_a_revoked_device_earns_for_itself_in_tasks_made_from_then_on() -> None:
    """Renewed, it earns for the account again, in all of them."""
    table = {DESK.public_key: 1_000, PHONE.public_key: 500}
    of_lab = {}
    for until_s in (9_000, 5_000):
        revoked = device(LAB, PHONE, "phone", until_s=until_s)
        roster = Roster([statement(LAB, device(LAB, DESK, "desk"), revoked)])
        board = leaderboard([(4_000, table), (6_000, table)], roster)
        of_lab[until_s] = {each.key: each.millicredits for each in board}
    assert of_lab[9_000] == {LAB.public_key: 3_000}
    assert of_lab[5_000] == {LAB.public_key: 2_500, PHONE.public_key: 500}
    # It had left another account for this one: it does not fall back to it.
    left = statement(RIVAL, device(RIVAL, PHONE, "phone", since_s=900))
    board = leaderboard([(6_000, table)], Roster([left, statement(LAB, revoked)]))
    assert {each.key for each in board} == {DESK.public_key, PHONE.public_key}


def signed_anyhow(account: Identity, said: Statement) -> bytes:
    """As a program would that breaks the rules."""
    body = encode(said)
    return MAGIC + encode(SignedStatement(body, account.sign(STATEMENT_DOMAIN, body)))


def refused() -> dict[str, bytes]:
    """Statements that nobody takes, by why."""
    whole = sign_statement(LAB, own())
    first, second = own().devices
    unwilling = Device(STRANGER.public_key, "mine", 1_000, 9_000, bytes(64))
    of_another = change(device(RIVAL, STRANGER, "desk"), since_s=1_000)
    return {
        "no such file": b"CCJOIN1\n" + whole[len(MAGIC) :],
        "half a file": whole[:-1],
        "signed by another": signed_anyhow(RIVAL, own()),
        "a device that has not consented": signed_anyhow(LAB, statement(LAB, unwilling)),
        "a device that has consented to another account": signed_anyhow(LAB, statement(LAB, of_another)),
        "a consent of another time": signed_anyhow(LAB, statement(LAB, change(first, since_s=1_001))),
        "devices out of order": signed_anyhow(LAB, change(own(), devices=(second, first))),
        "a device twice": signed_anyhow(LAB, change(own(), devices=(first, first))),
        "a picture that is no PNG": signed_anyhow(LAB, change(own(), avatar=b"<svg onload=...>")),
        "a picture that unpacks to gigabytes": signed_anyhow(LAB, change(own(), avatar=png(30_000, 30_000))),
        "a picture of 129 pixels": signed_anyhow(LAB, change(own(), avatar=png(128, 129))),
        "a picture of nothing": signed_anyhow(LAB, change(own(), avatar=png(0, 1))),
        "a picture that ends before its size": signed_anyhow(LAB, change(own(), avatar=PNG[:23])),
        "a name that rewrites its line": signed_anyhow(LAB, change(own(), name="a\x1b[2Klab")),
        "a device's name that rewrites its line": signed_anyhow(LAB, statement(LAB, change(first, name="a\u202eb"))),
        "no name": signed_anyhow(LAB, change(own(), name="")),
    }


def test_what_is_no_statement_is_refused() -> None:
    for why, data in refused().items():
        with pytest.raises(RemoteProtocolError):
            open_statement(data, verify)
            pytest.fail(why)


@pytest.mark.parametrize("said", [change(own(), name="a\x00b"), change(own(), avatar=b"GIF89a")])
def test_an_account_does_not_sign_what_nobody_would_take(said: Statement) -> None:
    with pytest.raises(LocalProtocolError):
        sign_statement(LAB, said)
    with pytest.raises(LocalProtocolError):
        sign_statement(RIVAL, own())


@given(st.integers(0, len(sign_statement(LAB, own())) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused(place: int, bits: int) -> None:
    data = bytearray(sign_statement(LAB, own()))
    data[place] ^= bits
    with pytest.raises(RemoteProtocolError):
        open_statement(bytes(data), verify)


def test_a_consent_is_for_one_account_by_one_device() -> None:
    data = consent_to(DESK, LAB.public_key, "desk", 1_000)
    with pytest.raises(RemoteProtocolError, match="another account"):
        open_consent(data, RIVAL.public_key, verify)
    with pytest.raises(RemoteProtocolError, match="signature does not fit"):
        open_consent(data[:-1] + bytes([data[-1] ^ 1]), LAB.public_key, verify)
    with pytest.raises(RemoteProtocolError, match="no device's consent"):
        open_consent(MAGIC + data[len(MAGIC) :], LAB.public_key, verify)


def test_the_newest_statement_and_the_last_consent_count_in_any_order() -> None:
    older = statement(LAB, device(LAB, DESK, "desk"), device(LAB, LAPTOP, "laptop"), seq=1)
    newer = statement(LAB, device(LAB, DESK, "desk"), device(LAB, PHONE, "phone", since_s=1_000), seq=2)
    rival = statement(RIVAL, device(RIVAL, PHONE, "phone", since_s=1_001), device(RIVAL, DESK, "desk", since_s=999))
    for order in permutations([older, newer, rival]):
        roster = Roster(order)
        assert roster.account_of(DESK.public_key, 2_000) == LAB.public_key
        assert roster.account_of(PHONE.public_key, 2_000) == RIVAL.public_key
        assert roster.account_of(LAPTOP.public_key, 2_000) is None


def test_a_leaderboard_sums_over_devices_and_tasks() -> None:
    roster = Roster([statement(LAB, device(LAB, DESK, "desk"), device(LAB, PHONE, "phone"))])
    first = {DESK.public_key: 1_000, PHONE.public_key: 500, STRANGER.public_key: 1_600}
    board = leaderboard([(2_000, first), (2_000, {DESK.public_key: 250})], roster)
    assert [(each.key, each.name, each.millicredits, each.workers, each.tasks) for each in board] == [
        (LAB.public_key, "A lab", 1_750, 2, 2),
        (STRANGER.public_key, "", 1_600, 1, 1),
    ]


@given(
    st.lists(
        st.tuples(
            st.integers(4_998, 5_002),
            st.dictionaries(
                st.sampled_from([DESK, PHONE, LAPTOP, STRANGER]).map(lambda key: key.public_key), st.integers(1, 9)
            ),
        )
    )
)
def test_no_credit_is_made_or_lost(tables: list[tuple[int, dict[bytes, int]]]) -> None:
    roster = Roster([own(), statement(RIVAL, device(RIVAL, LAPTOP, "laptop"))])
    board = leaderboard(tables, roster)
    assert sum(each.millicredits for each in board) == sum(sum(table.values()) for _, table in tables)
    assert [each.millicredits for each in board] == sorted((each.millicredits for each in board), reverse=True)


@pytest.fixture
def proofs(creator: Identity, make_manifest: Callable[..., Manifest]) -> dict[str, bytes]:
    """What three devices earned in a task that was made at 4,999, and what one earned in one made at 5,000."""
    found = {}
    for created_s, keys in ((4_999, {"desk": DESK, "phone": PHONE, "stranger": STRANGER}), (5_000, {"late": PHONE})):
        task = sign_manifest(creator, make_manifest(created_s=created_s, expires_s=created_s + 86_400))
        table = table_of({DESK.public_key: 1_500, PHONE.public_key: 200, STRANGER.public_key: 700})
        checkpoint = sign(creator, Checkpoint(task.record_id, 0, 0, 1, b"\1", b"\0", bytes(32), *fields_of(table)))
        for name, key in keys.items():
            proof = prove(task, key.public_key, [(checkpoint, table)])
            assert proof is not None
            found[name] = write_proof(proof)
    return found


def histories(proofs: dict[str, bytes]) -> dict[str, bytes]:
    """Histories of proofs by the devices' names: one that holds, and others by why they do not."""
    whose, told = sign_statement(LAB, own()), 6_000
    desk, phone = proofs["desk"], proofs["phone"]
    return {
        "": sign_history(LAB, whose, told, [desk, phone]),
        "no such file": MAGIC + sign_history(LAB, whose, told, [desk])[len(MAGIC) :],
        "signed by another": sign_history(RIVAL, whose, told, [desk]),
        "another account's device": sign_history(LAB, whose, told, [desk, proofs["stranger"]]),
        "a device that the account had revoked": sign_history(LAB, whose, told, [desk, proofs["late"]]),
        "a proof twice": sign_history(LAB, whose, told, [desk, desk]),
        "no proof": sign_history(LAB, whose, told, [desk[:-1]]),
        "no statement": sign_history(LAB, whose[:-1], told, [desk]),
    }


def test_a_history_counts_what_the_accounts_devices_have_earned_once(proofs: dict[str, bytes]) -> None:
    for why, data in histories(proofs).items():
        if not why:
            proved = open_history(data, verify)
            assert (proved.statement, proved.made_s) == (own(), 6_000)
            counted = {each.worker: each.millicredits for each in proved.credits}
            assert counted == {DESK.public_key: 1_500, PHONE.public_key: 200}
            continue
        with pytest.raises(RemoteProtocolError):
            open_history(data, verify)
            pytest.fail(why)


LAB_SEED = bytes([20]) * 32


def backups() -> dict[str, bytes]:
    """One that holds, and others by why they do not."""
    said = sign_statement(LAB, own())
    return {
        "": write_backup(LAB_SEED, said),
        "no such file": MAGIC + write_backup(LAB_SEED, said)[len(MAGIC) :],
        "another account's key": write_backup(bytes([21]) * 32, said),
        "a damaged statement": write_backup(LAB_SEED, said[:-1]),
    }


def test_a_backup_is_an_accounts_key_and_what_it_says() -> None:
    for why, data in backups().items():
        if not why:
            backup, said = open_backup(data, verify)
            assert (backup.seed, said) == (LAB_SEED, own())
            continue
        with pytest.raises(RemoteProtocolError):
            open_backup(data, verify)
            pytest.fail(why)


def test_the_vectors_hold(expect_vectors: ExpectVectors, proofs: dict[str, bytes]) -> None:
    vectors: list[dict[str, object]] = [
        {
            "name": "a device's consent",
            "seed": (bytes([32]) * 32).hex(),
            "account": LAB.public_key.hex(),
            "device_name": "Päivi's phone",
            "since_s": 1_000,
            "consent": consent_to(PHONE, LAB.public_key, "Päivi's phone", 1_000).hex(),
        }
    ]
    for name, said in (("two devices and a picture", own()), ("no device", statement(RIVAL, seq=2**53 - 1))):
        vectors.append(
            {
                "name": f"a statement with {name}",
                "seed": (bytes([20 if said.account == LAB.public_key else 21]) * 32).hex(),
                "file": sign_statement(LAB if said.account == LAB.public_key else RIVAL, said).hex(),
                "statement": {
                    "account": said.account.hex(),
                    "seq": said.seq,
                    "name": said.name,
                    "avatar": said.avatar.hex(),
                    "devices": [
                        {"key": each.key.hex(), "name": each.name, "since_s": each.since_s, "until_s": each.until_s}
                        for each in said.devices
                    ],
                },
            }
        )
    statements = [
        sign_statement(LAB, own()),
        sign_statement(LAB, statement(LAB, device(LAB, DESK, "desk"), seq=2, name="The lab")),
        sign_statement(RIVAL, statement(RIVAL, device(RIVAL, DESK, "desk", since_s=1_000), device(RIVAL, LAPTOP, "l"))),
    ]
    tables = [
        (8_999, {DESK.public_key: 1_000, LAPTOP.public_key: 500, STRANGER.public_key: 1_500}),
        (4_999, {PHONE.public_key: 7, DESK.public_key: 250}),
        (9_000, {DESK.public_key: 3}),
    ]
    board = leaderboard(tables, Roster(open_statement(each, verify) for each in statements))
    vectors.append(
        {
            "name": "a leaderboard",
            "statements": [each.hex() for each in statements],
            "tables": [
                {"created_s": created_s, "millicredits": {key.hex(): amount for key, amount in table.items()}}
                for created_s, table in tables
            ],
            "leaderboard": [
                {
                    "key": each.key.hex(),
                    "name": each.name,
                    "millicredits": each.millicredits,
                    "workers": each.workers,
                    "tasks": each.tasks,
                }
                for each in board
            ],
        }
    )
    vectors += [{"name": f"refused: {why}", "why": why, "refused": data.hex()} for why, data in refused().items()]
    (_, history), *unproved = histories(proofs).items()
    vectors.append(
        {
            "name": "a history",
            "seed": LAB_SEED.hex(),
            "of": sign_statement(LAB, own()).hex(),
            "made_s": 6_000,
            "proofs": [proofs["desk"].hex(), proofs["phone"].hex()],
            "history": history.hex(),
            "credits": {each.worker.hex(): each.millicredits for each in open_history(history, verify).credits},
        }
    )
    (_, backup), *unusable = backups().items()
    vectors.append(
        {
            "name": "a backup",
            "seed": LAB_SEED.hex(),
            "of": sign_statement(LAB, own()).hex(),
            "backup": backup.hex(),
        }
    )
    for kind, bad in (("history", unproved), ("backup", unusable)):
        vectors += [
            {"name": f"a {kind} refused: {why}", "why": why, f"refused_{kind}": data.hex()} for why, data in bad
        ]
    expect_vectors("accounts", vectors)
