"""Accounts over HTTP: a challenge, a signature, a token for 15 minutes, and statements for whoever asks.

The rules are `protocol.login`; here are the routes, the tokens, and what one address may ask for.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import HTTPException, Request
from msgspec import Meta

from crowdcompute.protocol.accounts import STATEMENT_BYTES_MAX
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import peer_id_of, public_key_of, verify
from crowdcompute.protocol.login import DEVICES_ASKED_MAX, LoginDesk

if TYPE_CHECKING:
    from collections.abc import Collection

    from fastapi import FastAPI

TOKEN_S = 15 * 60

BODY_BYTES_MAX = 2 * STATEMENT_BYTES_MAX + 2_000
"""A statement in hexadecimal, and what comes with it."""

LOGINS_PER_MINUTE = 30
"""Of one address: each costs up to 66 signatures, some 10 ms. A guess."""

T = TypeVar("T")
Hex = Annotated[str, Meta(pattern="^([0-9a-f]{2})*$")]


class LogIn(msgspec.Struct, forbid_unknown_fields=True):
    """What a device sends to log in, in hexadecimal."""

    challenge: Hex
    statement: Hex
    device: Hex
    signature: Hex


class Store(msgspec.Struct, forbid_unknown_fields=True):
    """A newer statement of the account that is logged in."""

    statement: Hex


class Asking(msgspec.Struct, forbid_unknown_fields=True):
    """A device's consent."""

    consent: Hex


class Tokens:
    """Signed by a key that lives as long as the server: whoever is logged in at its end logs in again."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    def issue(self, origin: str, account: str, device: str, now_s: float) -> str:
        import jwt  # A fifth of a second of CPU (m), which servers where nobody logs in need not spend.

        claims = {"iss": origin, "aud": origin, "sub": account, "device": device, "iat": int(now_s)}
        return jwt.encode({**claims, "exp": int(now_s) + TOKEN_S}, self._key, algorithm="EdDSA")

    def account_of(self, token: str, origins: Collection[str]) -> str:
        """Whose token this is.

        Raises:
            HTTPException: It is none, or its time is over.
        """
        import jwt

        try:
            claims = jwt.decode(
                token,
                self._key.public_key(),
                algorithms=["EdDSA"],
                audience=list(origins),
                issuer=list(origins),
                options={"require": ["exp", "aud", "iss", "sub"]},
            )
        except jwt.InvalidTokenError as error:
            raise HTTPException(401, f"log in again: {error}") from None
        account: str = claims["sub"]
        return account


class _Patience:
    """How often an address may log in."""

    def __init__(self) -> None:
        self._minute = 0
        self._counts: dict[str, int] = {}

    def spend(self, address: str, now_s: float) -> None:
        if int(now_s // 60) != self._minute:
            self._minute, self._counts = int(now_s // 60), {}
        self._counts[address] = self._counts.get(address, 0) + 1
        if self._counts[address] > LOGINS_PER_MINUTE:
            raise HTTPException(429, "too many log-ins from this address: try again in a minute")


def serve_accounts(app: FastAPI, origins: Collection[str]) -> None:
    """Add the routes. All that they know is in memory and gone with it: devices bring their statements again."""
    desk = LoginDesk(secrets.token_bytes(32), origins, verify)
    tokens, patience = Tokens(), _Patience()

    @app.post("/login/challenge")
    async def challenge() -> dict[str, str]:
        return {"challenge": desk.challenge(secrets.token_bytes(10), time.time()).hex()}

    @app.post("/login")
    async def login(request: Request) -> dict[str, Any]:
        patience.spend(request.client.host if request.client is not None else "", time.time())
        given = await _body(request, LogIn)
        device = bytes.fromhex(given.device)
        try:
            account, origin = desk.log_in(
                bytes.fromhex(given.challenge),
                bytes.fromhex(given.statement),
                device,
                bytes.fromhex(given.signature),
                time.time(),
            )
        except RemoteProtocolError as error:
            raise HTTPException(403, str(error)) from None
        token = tokens.issue(origin, peer_id_of(account.account), peer_id_of(device), time.time())
        return {"token": token, "expires_in_s": TOKEN_S}

    def account_of(request: Request) -> bytes:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            raise HTTPException(401, "log in first: POST /login")
        return public_key_of(tokens.account_of(token, origins))

    @app.put("/accounts/me", status_code=204)
    async def store(request: Request) -> None:
        account = account_of(request)
        given = await _body(request, Store)
        try:
            desk.keep(account, bytes.fromhex(given.statement))
        except RemoteProtocolError as error:
            raise HTTPException(403, str(error)) from None

    @app.get("/accounts/me/consents")
    async def consents(request: Request) -> dict[str, list[str]]:
        return {"consents": [data.hex() for data in desk.consents(account_of(request), time.time())]}

    @app.post("/accounts/{account}/consents", status_code=204)
    async def leave_consent(account: str, request: Request) -> None:
        patience.spend(request.client.host if request.client is not None else "", time.time())
        given = await _body(request, Asking)
        try:
            desk.leave_consent(public_key_of(account), bytes.fromhex(given.consent), time.time())
        except RemoteProtocolError as error:
            raise HTTPException(403, str(error)) from None

    @app.get("/accounts")
    async def accounts(devices: str) -> dict[str, list[str]]:
        names = devices.split(",")
        if len(names) > DEVICES_ASKED_MAX:
            raise HTTPException(413, f"at most {DEVICES_ASKED_MAX} devices at a time")
        try:
            keys = [public_key_of(name) for name in names]
        except RemoteProtocolError as error:
            raise HTTPException(400, str(error)) from None
        return {"statements": [data.hex() for data in desk.statements(keys)]}


async def _body(request: Request, kind: type[T]) -> T:
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > BODY_BYTES_MAX:
            raise HTTPException(413, f"at most {BODY_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise HTTPException(400, str(error)) from None
