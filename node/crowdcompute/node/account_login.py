"""This device at a signaling server: it logs in for its account, and asks for other accounts' statements.

challenge --signature--> token     (protocol: login.py; the server keeps the statement that comes along)
"""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from crowdcompute.protocol.accounts import open_statement
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import peer_id_of, verify
from crowdcompute.protocol.login import DEVICES_ASKED_MAX, answer

from .exits import CommandError, Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crowdcompute.protocol.accounts import Statement
    from crowdcompute.protocol.identity import Signer

TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 8 * 2**20
"""A hundred accounts' statements in hexadecimal take half of it."""


def log_in(server: str, device: Signer, statement: bytes) -> dict[str, Any]:
    """A token by which this device acts for its account at a server, `{"token", "expires_in_s"}`.

    Raises:
        CommandError: The server cannot be reached, or refuses; the sentence says why.
    """
    challenge = bytes.fromhex(str(_asked(server, "/login/challenge", {}).get("challenge")))
    signed = {
        "challenge": challenge.hex(),
        "statement": statement.hex(),
        "device": device.public_key.hex(),
        "signature": answer(device, challenge, server).hex(),
    }
    return _asked(server, "/login", signed)


def store(server: str, token: str, statement: bytes) -> None:
    """Leave a newer statement of the account that is logged in.

    Raises:
        CommandError: As `log_in`.
    """
    _asked(server, "/accounts/me", {"statement": statement.hex()}, token=token, method="PUT")


def consents(server: str, token: str) -> list[bytes]:
    """What devices have left that want to join the account that is logged in.

    Raises:
        CommandError: As `log_in`.
    """
    try:
        return [bytes.fromhex(data) for data in _asked(server, "/accounts/me/consents", token=token)["consents"]]
    except (KeyError, TypeError, ValueError) as error:
        raise CommandError(f"{server} gives no consents that can be read: {error}", Exit.REFUSED) from None


def leave_consent(server: str, account: bytes, consent: bytes) -> None:
    """Leave this device's consent for an account that has logged in there.

    Raises:
        CommandError: As `log_in`.
    """
    _asked(server, f"/accounts/{peer_id_of(account)}/consents", {"consent": consent.hex()})


def statements_of(server: str, devices: Sequence[bytes]) -> list[tuple[bytes, Statement]]:
    """What the accounts that list these devices say of themselves, as far as a server knows; each with its file.

    Raises:
        CommandError: The server cannot be reached, or hands out what is no statement.
    """
    found = []
    for start in range(0, len(devices), DEVICES_ASKED_MAX):
        names = ",".join(map(peer_id_of, devices[start : start + DEVICES_ASKED_MAX]))
        try:
            files = [bytes.fromhex(text) for text in _asked(server, f"/accounts?devices={names}")["statements"]]
            found += [(data, open_statement(data, verify)) for data in files]
        except (RemoteProtocolError, KeyError, TypeError, ValueError) as error:
            raise CommandError(f"{server} gives no accounts that can be believed: {error}", Exit.REFUSED) from None
    return found


def _asked(
    server: str, path: str, body: dict[str, Any] | None = None, *, token: str = "", method: str | None = None
) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = Request(server + path, data, headers, method=method)
    try:
        with _opener(server).open(request, timeout=TIMEOUT_S) as answered:
            text = answered.read(ANSWER_BYTES_MAX)
            document = json.loads(text) if text else {}
    except HTTPError as error:
        with error:
            raise CommandError(f"{server} refuses: {_detail(error)}", Exit.REFUSED) from None
    except (URLError, HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise CommandError(f"{server} does not answer as a signaling server does: {reason}", Exit.UNREACHABLE) from None
    if not isinstance(document, dict):
        raise CommandError(f"{server} does not answer as a signaling server does", Exit.UNREACHABLE)
    return document


def _detail(error: HTTPError) -> str:
    try:
        text = str(json.loads(error.read(10_000))["detail"])
    except (ValueError, KeyError, TypeError):
        text = f"{error.code} {error.reason}"
    return "".join(character if character.isprintable() else " " for character in text)


def _opener(server: str) -> OpenerDirector:
    # A proxy from the environment cannot reach this machine's own loopback.
    here = urlsplit(server).hostname in ("127.0.0.1", "::1", "localhost")
    return build_opener(ProxyHandler({})) if here else build_opener()
