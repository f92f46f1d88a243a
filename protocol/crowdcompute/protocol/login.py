"""Logging in without a password, and the statements a server keeps for others (spec/accounts.md, "Logging in").

    GIVEN --signed by a device of an account, within 60 s--> USED     a challenge; USED ones are forgotten at their end

A challenge carries its own end and a code that only this server can make, so that asking for a million of them costs
the server no memory. Only those that somebody logged in with are remembered, until they end.
"""

from __future__ import annotations

from hashlib import blake2b
from hmac import compare_digest
from typing import TYPE_CHECKING

from .accounts import Statement, newness, open_consent, open_statement
from .errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from .identity import Signer, Verifier

LOGIN_DOMAIN = "cc/login/1"
CHALLENGE_BYTES = 32
CHALLENGE_S = 60
DEVICES_ASKED_MAX = 100

CONSENT_S = 600
"""How long a device's consent waits for its account's word: a person sits at both ends."""
CONSENTS_MAX = 8
"""Of one account. Anybody can make some, so the person is asked about each, and old ones give way."""

_END_BYTES, _NONCE_BYTES = 6, 10
_SHOWN_BYTES = _END_BYTES + _NONCE_BYTES


def answer(device: Signer, challenge: bytes, origin: str) -> bytes:
    """A device's signature by which it logs in at the server that it calls so."""
    return device.sign(LOGIN_DOMAIN, challenge + origin.encode())


class LoginDesk:
    """One server's challenges, and the newest statements of the accounts that it knows.

    Args:
        secret: 32 bytes that nobody else knows.
        origins: What devices may call this server.
        accounts_max: Statements kept; the first stored are forgotten first.
    """

    def __init__(
        self, secret: bytes, origins: Collection[str], verifier: Verifier, *, accounts_max: int = 10_000
    ) -> None:
        self._secret = secret
        self._origins = tuple(origins)
        self._verifier = verifier
        self._accounts_max = accounts_max
        self._used: dict[bytes, int] = {}
        self._kept: dict[bytes, tuple[Statement, bytes]] = {}
        self._account_of: dict[bytes, set[bytes]] = {}
        self._consents: dict[bytes, dict[bytes, tuple[int, bytes]]] = {}
        """Account -> device -> until when its consent waits, and the consent."""

    def challenge(self, nonce: bytes, now_s: float) -> bytes:
        """Something to sign; `nonce` are 10 random bytes."""
        shown = int(now_s + CHALLENGE_S).to_bytes(_END_BYTES) + nonce
        return shown + self._code(shown)

    def log_in(
        self, challenge: bytes, statement: bytes, device: bytes, signature: bytes, now_s: float
    ) -> tuple[Statement, str]:
        """The account that a device may act for now, and what the device called us. Its statement is kept if new.

        Raises:
            RemoteProtocolError: It may not. The message says why.
        """
        end_s = int.from_bytes(challenge[:_END_BYTES])
        if len(challenge) != CHALLENGE_BYTES or not compare_digest(
            challenge[_SHOWN_BYTES:], self._code(challenge[:_SHOWN_BYTES])
        ):
            raise RemoteProtocolError("this challenge is not ours")
        if now_s >= end_s or challenge in self._used:
            raise RemoteProtocolError("this challenge is over: ask for another one")
        origin = next(
            (
                origin
                for origin in self._origins
                if self._verifier(device, LOGIN_DOMAIN, challenge + origin.encode(), signature)
            ),
            None,
        )
        if origin is None:
            names = " or ".join(self._origins)
            raise RemoteProtocolError(f"the device's signature does not fit this challenge and this server, {names}")
        said = open_statement(statement, self._verifier)
        known = self._kept.get(said.account)
        if known is not None and newness(known[0]) > newness(said):
            said = known[0]
        if not said.may_act(device, now_s):
            raise RemoteProtocolError("the account says that this device may not act for it, or no longer")
        self._used = {each: end for each, end in self._used.items() if end > now_s}
        self._used[challenge] = end_s
        self.keep(said.account, statement)
        return said, origin

    def keep(self, account: bytes, data: bytes) -> None:
        """Store an account's own statement, unless a newer one is known.

        Raises:
            RemoteProtocolError: It is none, or another account's.
        """
        statement = open_statement(data, self._verifier)
        if statement.account != account:
            raise RemoteProtocolError("this is another account's statement")
        known = self._kept.get(account)
        if known is not None and newness(known[0]) >= newness(statement):
            return
        self._forget(account)
        if len(self._kept) >= self._accounts_max:
            first = next(iter(self._kept))
            self._forget(first)
            self._consents.pop(first, None)
        self._kept[account] = (statement, data)
        for device in statement.devices:
            self._account_of.setdefault(device.key, set()).add(account)

    def statements(self, devices: Iterable[bytes]) -> list[bytes]:
        """Those of the accounts that list one of these devices."""
        accounts: set[bytes] = set().union(*(self._account_of.get(device, set()) for device in devices))
        return [self._kept[account][1] for account in sorted(accounts)]

    def leave_consent(self, account: bytes, data: bytes, now_s: float) -> None:
        """Hold a device's consent until its account asks who wants to join.

        Raises:
            RemoteProtocolError: It is none, or nobody has logged in for this account.
        """
        if account not in self._kept:
            raise RemoteProtocolError("nobody has logged in for this account here")
        consent = open_consent(data, account, self._verifier)
        waiting = self._consents.setdefault(account, {})
        waiting.pop(consent.device, None)
        if len(waiting) >= CONSENTS_MAX:
            del waiting[next(iter(waiting))]
        waiting[consent.device] = (int(now_s) + CONSENT_S, data)

    def consents(self, account: bytes, now_s: float) -> list[bytes]:
        """The consents that wait for this account, the oldest first."""
        return [data for end_s, data in self._consents.get(account, {}).values() if end_s > now_s]

    def _forget(self, account: bytes) -> None:
        known = self._kept.pop(account, None)
        for device in known[0].devices if known is not None else ():
            accounts = self._account_of[device.key]
            accounts.discard(account)
            if not accounts:
                del self._account_of[device.key]

    def _code(self, shown: bytes) -> bytes:
        return blake2b(shown, key=self._secret, digest_size=CHALLENGE_BYTES - _SHOWN_BYTES).digest()
