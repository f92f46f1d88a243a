"""Logging in to a real server: a token for 15 minutes, a newer statement, a leaderboard with names."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crowdcompute.node.account_login import log_in, statements_of
from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.protocol.accounts import Device as AccountDevice
from crowdcompute.protocol.accounts import Statement, consent_to, open_consent, sign_statement
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.signaling.accounts import LOGINS_PER_MINUTE

from .test_server import running

LAB, NODE, OTHER = (Identity(bytes([number]) * 32) for number in (60, 61, 62))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running() as (_, ready):
        yield ready["url"]


def said(seq: int = 1, name: str = "The lab", until_s: float | None = None) -> bytes:
    consent = open_consent(consent_to(NODE, LAB.public_key, "node", 1), LAB.public_key, verify)
    until = int(until_s if until_s is not None else time.time() + 1_000)
    device = AccountDevice(NODE.public_key, "node", 1, until, consent.signature)
    return sign_statement(LAB, Statement(LAB.public_key, seq, name, b"", (device,)))


def asked(url: str, method: str, body: Any = None, token: str | None = None) -> int:
    """The status of an answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(url, data, {"Authorization": f"Bearer {token}"} if token is not None else {}, method=method)
    try:
        with urlopen(request) as answered:
            return int(answered.status)
    except HTTPError as error:
        with error:
            return error.code


def test_a_device_logs_in_and_changes_what_its_account_says(url: str) -> None:
    given = log_in(url, NODE, said())
    claims = jwt.decode(given["token"], options={"verify_signature": False})
    assert (claims["sub"], claims["device"], claims["aud"]) == (LAB.peer_id, NODE.peer_id, url)
    assert claims["exp"] - claims["iat"] == given["expires_in_s"] == 900
    assert [each.name for _, each in statements_of(url, [NODE.public_key, OTHER.public_key])] == ["The lab"]

    newer = {"statement": said(2, "Our lab").hex()}
    forged = jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA")
    unsigned = jwt.encode(claims, "", algorithm="none")
    for token in (None, "", "x.y.z", forged, unsigned):
        assert asked(f"{url}/accounts/me", "PUT", newer, token) == 401
    assert asked(f"{url}/accounts/me", "PUT", newer, given["token"]) == 204
    assert [each.name for _, each in statements_of(url, [NODE.public_key])] == ["Our lab"]

    with pytest.raises(CommandError, match="may not act") as caught:
        log_in(url, NODE, said(3, until_s=1.0))
    assert caught.value.exit_code == Exit.REFUSED
    with pytest.raises(CommandError, match="may not act"):
        log_in(url, OTHER, said())


def test_what_is_no_log_in_is_refused_without_a_word_too_many(url: str) -> None:
    assert asked(f"{url}/login", "POST", b"{") == 400
    assert asked(f"{url}/login", "POST", {"challenge": "00"}) == 400
    assert asked(f"{url}/login", "POST", dict.fromkeys(("challenge", "statement", "device", "signature"), "zz")) == 400
    assert asked(f"{url}/login", "POST", dict.fromkeys(("challenge", "statement", "device", "signature"), "")) == 403
    assert asked(f"{url}/login", "POST", b"x" * 100_000) == 413
    assert asked(f"{url}/accounts?devices=nobody", "GET") == 400
    assert asked(f"{url}/accounts?devices={','.join([NODE.peer_id] * 101)}", "GET") == 413
    with pytest.raises(CommandError) as caught:
        log_in("http://127.0.0.1:9", NODE, said())
    assert caught.value.exit_code == Exit.UNREACHABLE
    codes = {asked(f"{url}/login", "POST", b"{") for _ in range(LOGINS_PER_MINUTE + 1)}
    assert codes == {400, 429}
