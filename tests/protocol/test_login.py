"""Logging in: a challenge is for one device, one server, one minute and one time; statements are kept newest first."""

from __future__ import annotations

from itertools import count

import pytest

from crowdcompute.protocol.accounts import Statement, consent_to, sign_statement
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.login import CHALLENGE_S, CONSENT_S, CONSENTS_MAX, LoginDesk, answer

from .test_accounts import DESK, LAB, LAPTOP, PHONE, RIVAL, STRANGER, device, own, statement

HERE, THERE = "https://here:1", "https://there:2"
NONCE = bytes(range(10))
NONCES = (number.to_bytes(10) for number in count())
STATEMENT = sign_statement(LAB, own())


def desk(*origins: str, **options: int) -> LoginDesk:
    return LoginDesk(bytes(32), origins or (HERE,), verify, **options)


def log_in(
    at: LoginDesk, key: Identity = DESK, *, origin: str = HERE, said: bytes = STATEMENT, wait_s: float = 0.0
) -> tuple[Statement, str]:
    challenge = at.challenge(next(NONCES), 1_000.0)
    return at.log_in(challenge, said, key.public_key, answer(key, challenge, origin), 1_000.0 + wait_s)


def test_a_device_logs_in_for_its_account_within_a_minute_and_once() -> None:
    at = desk(HERE, THERE)
    challenge = at.challenge(NONCE, 1_000.0)
    signed = (challenge, STATEMENT, DESK.public_key, answer(DESK, challenge, THERE))
    assert at.log_in(*signed, 1_000.0 + CHALLENGE_S - 1) == (own(), THERE)
    with pytest.raises(RemoteProtocolError, match="is over"):
        at.log_in(*signed, 1_000.0 + CHALLENGE_S - 1)
    with pytest.raises(RemoteProtocolError, match="is over"):
        log_in(desk(), wait_s=CHALLENGE_S)


def test_nobody_else_logs_in() -> None:
    with pytest.raises(RemoteProtocolError, match="may not act"):
        log_in(desk(), STRANGER)
    with pytest.raises(RemoteProtocolError, match="may not act"):
        log_in(desk(), PHONE, said=sign_statement(LAB, statement(LAB, device(LAB, PHONE, "phone", until_s=999))))
    with pytest.raises(RemoteProtocolError, match="does not fit this challenge and this server"):
        log_in(desk(), origin=THERE)
    at = desk()
    challenge = at.challenge(NONCE, 1_000.0)
    for wrong in (b"", challenge[:-1], challenge[:-1] + bytes([challenge[-1] ^ 1]), b"\xff" + challenge[1:]):
        with pytest.raises(RemoteProtocolError, match="not ours"):
            at.log_in(wrong, STATEMENT, DESK.public_key, answer(DESK, wrong, HERE), 1_000.0)
    with pytest.raises(RemoteProtocolError, match="does not fit this challenge"):
        at.log_in(challenge, STATEMENT, DESK.public_key, answer(PHONE, challenge, HERE), 1_000.0)


def test_a_revoked_device_does_not_come_in_with_an_old_statement() -> None:
    at = desk()
    log_in(at, PHONE)
    at.keep(LAB.public_key, sign_statement(LAB, statement(LAB, device(LAB, PHONE, "phone", until_s=900), seq=2)))
    with pytest.raises(RemoteProtocolError, match="or no longer"):
        log_in(at, PHONE)


def test_the_newest_statements_are_handed_out_and_no_other_accounts_can_be_replaced() -> None:
    at = desk(accounts_max=2)
    newer = sign_statement(LAB, statement(LAB, device(LAB, DESK, "desk"), device(LAB, LAPTOP, "laptop"), seq=2))
    for data in (STATEMENT, newer, STATEMENT):
        at.keep(LAB.public_key, data)
    assert at.statements([DESK.public_key, LAPTOP.public_key]) == [newer]
    assert at.statements([PHONE.public_key]) == []
    with pytest.raises(RemoteProtocolError, match="another account's"):
        at.keep(RIVAL.public_key, newer)
    others = [Identity(bytes([number]) * 32) for number in (50, 51)]
    for other in others:
        at.keep(other.public_key, sign_statement(other, statement(other, device(other, PHONE, "phone"))))
    assert at.statements([DESK.public_key]) == []
    assert len(at.statements([PHONE.public_key])) == 2


def test_a_consent_waits_for_an_account_that_is_known_and_gives_way_to_newer_ones() -> None:
    at = desk()
    asking = consent_to(PHONE, LAB.public_key, "phone", 1_000)
    with pytest.raises(RemoteProtocolError, match="nobody has logged in"):
        at.leave_consent(LAB.public_key, asking, 1_000.0)
    at.keep(LAB.public_key, STATEMENT)
    with pytest.raises(RemoteProtocolError, match="another account"):
        at.leave_consent(LAB.public_key, consent_to(PHONE, RIVAL.public_key, "phone", 1_000), 1_000.0)
    for _ in range(2):
        at.leave_consent(LAB.public_key, asking, 1_000.0)
    assert at.consents(LAB.public_key, 1_000.0 + CONSENT_S - 1) == [asking]
    assert at.consents(LAB.public_key, 1_000.0 + CONSENT_S) == []
    assert at.consents(RIVAL.public_key, 1_000.0) == []
    others = [consent_to(Identity(bytes([n]) * 32), LAB.public_key, "x", 1) for n in range(70, 70 + CONSENTS_MAX)]
    for data in others:
        at.leave_consent(LAB.public_key, data, 1_001.0)
    assert at.consents(LAB.public_key, 1_001.0) == others
