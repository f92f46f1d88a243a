"""Accounts: one person or lab, many devices, no password (spec/accounts.md).

    device --consent--> account --statement: name, picture, devices--> anybody: whose work is this, may it log in

Both sign: a device says whose it is, and the account says which devices are its. So nobody takes another's credit, and
a lost device is cut off by the next statement: it no longer acts for the account, nor earns for it in tasks made from
then on. The newest statement counts, and of two accounts that name one device the one it has consented to last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from .codec import U53, Body, Bytes32, Bytes64, decode, encode
from .credit import Credit, check_proof
from .errors import LocalProtocolError, RemoteProtocolError
from .identity import Identity
from .manifest import is_printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .identity import Signer, Verifier

MAGIC = b"CCACCT1\n"
"""The first bytes of an account's file. What follows is one encoded `SignedStatement`."""
CONSENT_MAGIC = b"CCJOIN1\n"
"""The first bytes of a device's consent. What follows is one encoded `Consent`."""

HISTORY_MAGIC = b"CCHIST1\n"
"""The first bytes of an account's history. What follows is one encoded `SignedHistory`."""

BACKUP_MAGIC = b"CCBACK1\n"
"""The first bytes of an account's backup. What follows is one encoded `Backup`."""

STATEMENT_DOMAIN, CONSENT_DOMAIN, HISTORY_DOMAIN = "cc/account/1", "cc/consent/1", "cc/history/1"

DEVICES_MAX = 64
AVATAR_BYTES_MAX = 4_096
AVATAR_PIXELS_MAX = 128
"""Of an edge. Four thousand bytes can say that they are a picture of gigabytes, and a leaderboard shows many."""
STATEMENT_BYTES_MAX = 20_000
"""64 devices, a picture and names take 16 kB at most."""
NAME_CHARACTERS_MAX = 40
PROOFS_MAX = 10_000

_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"
"""Every PNG begins so; its width and height follow, four bytes each."""

Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARACTERS_MAX)]


class Consent(Body, frozen=True):
    """A device's word that it is an account's from `since_s` on, and what the device calls itself."""

    device: Bytes32
    name: Name
    account: Bytes32
    since_s: U53
    signature: Bytes64


class Device(Body, frozen=True):
    """One of an account's devices. It acts for the account, and earns for it in tasks made, until `until_s`."""

    key: Bytes32
    name: Name
    since_s: U53
    until_s: U53
    consent: Bytes64


class Statement(Body, frozen=True):
    """All that an account says of itself. A statement with a greater `seq` takes its place."""

    account: Bytes32
    seq: U53
    name: Name
    avatar: Annotated[bytes, Meta(max_length=AVATAR_BYTES_MAX)]
    devices: Annotated[tuple[Device, ...], Meta(max_length=DEVICES_MAX)]

    def device(self, key: bytes) -> Device | None:
        return next((device for device in self.devices if device.key == key), None)

    def may_act(self, key: bytes, now_s: float) -> bool:
        """Whether this device may act for the account now."""
        device = self.device(key)
        return device is not None and now_s < device.until_s

    def earners(self, created_s: int) -> set[bytes]:
        """The devices whose credit in a task that was created then is the account's."""
        return {device.key for device in self.devices if created_s < device.until_s}


class SignedStatement(Body, frozen=True):
    """A statement as it travels and as it is kept."""

    body: Annotated[bytes, Meta(max_length=STATEMENT_BYTES_MAX)]
    signature: Bytes64


def consent_to(device: Signer, account: bytes, name: str, now_s: int) -> bytes:
    """What a device hands to the account that it wants to belong to."""
    signature = device.sign(CONSENT_DOMAIN, _consent_body(account, now_s))
    return CONSENT_MAGIC + encode(Consent(device.public_key, name, account, now_s, signature))


def open_consent(data: bytes, account: bytes, verifier: Verifier) -> Consent:
    """A device's consent to belong to this account.

    Raises:
        RemoteProtocolError: It is none, or to another account.
    """
    if data[: len(CONSENT_MAGIC)] != CONSENT_MAGIC:
        raise RemoteProtocolError("this is no device's consent to join an account")
    consent = decode(data[len(CONSENT_MAGIC) :], Consent)
    if consent.account != account:
        raise RemoteProtocolError("the device has consented to join another account")
    if not is_printable(consent.name):
        raise RemoteProtocolError("the device's name contains control characters")
    if not verifier(consent.device, CONSENT_DOMAIN, _consent_body(account, consent.since_s), consent.signature):
        raise RemoteProtocolError("the device's signature does not fit its consent")
    return consent


def _consent_body(account: bytes, since_s: int) -> bytes:
    return account + since_s.to_bytes(8)


def sign_statement(account: Signer, statement: Statement) -> bytes:
    """The account's file.

    Raises:
        LocalProtocolError: No peer would take this statement. The message says why.
    """
    body = encode(statement)
    refusal = "it names another account" if statement.account != account.public_key else _refusal(statement)
    if refusal is None and len(body) > STATEMENT_BYTES_MAX:
        refusal = "it is too long"
    if refusal is not None:
        raise LocalProtocolError(f"the account cannot say this: {refusal}")
    return MAGIC + encode(SignedStatement(body, account.sign(STATEMENT_DOMAIN, body)))


def open_statement(data: bytes, verifier: Verifier) -> Statement:
    """What an account says of itself.

    Raises:
        RemoteProtocolError: It does not say so, or a device that it names has not consented. The message says why.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise RemoteProtocolError("this is no account's statement")
    signed = decode(data[len(MAGIC) :], SignedStatement)
    statement = decode(signed.body, Statement)
    refusal = _refusal(statement)
    if refusal is not None:
        raise RemoteProtocolError(f"the account's statement is refused: {refusal}")
    if not verifier(statement.account, STATEMENT_DOMAIN, signed.body, signed.signature):
        raise RemoteProtocolError("the account's signature does not fit its statement")
    for device in statement.devices:
        if not verifier(device.key, CONSENT_DOMAIN, _consent_body(statement.account, device.since_s), device.consent):
            raise RemoteProtocolError("a device that the account names has not consented to belong to it")
    return statement


def _refusal(statement: Statement) -> str | None:
    if not all(map(is_printable, (statement.name, *(device.name for device in statement.devices)))):
        return "a name contains control characters"
    if statement.avatar and not _is_small_png(statement.avatar):
        return f"its picture is no PNG of at most {AVATAR_PIXELS_MAX} pixels a side"
    if any(left.key >= right.key for left, right in pairwise(statement.devices)):
        return "its devices are out of order"
    return None


def _is_small_png(data: bytes) -> bool:
    size = data[len(_PNG) : len(_PNG) + 8]
    edges = (int.from_bytes(size[:4]), int.from_bytes(size[4:]))
    return data.startswith(_PNG) and len(size) == 8 and all(1 <= edge <= AVATAR_PIXELS_MAX for edge in edges)


class Roster:
    """Which account each device belongs to, by the statements that are known."""

    def __init__(self, statements: Iterable[Statement]) -> None:
        self.accounts: dict[bytes, Statement] = {}
        """The newest statement of each account."""
        for statement in statements:
            known = self.accounts.get(statement.account)
            if known is None or newness(statement) > newness(known):
                self.accounts[statement.account] = statement
        self._account_of: dict[bytes, tuple[int, bytes]] = {}
        for account, statement in self.accounts.items():
            for device in statement.devices:
                # Of two consents in one second the greater account, so that everybody sees the same.
                claim = (device.since_s, account)
                self._account_of[device.key] = max(claim, self._account_of.get(device.key, claim))

    def account_of(self, device: bytes, created_s: int) -> bytes | None:
        """Whose account gets what a device earns in a task that was created then."""
        found = self._account_of.get(device)
        # A device that its last account has ended stands for itself: it had left the account before.
        if found is None or device not in self.accounts[found[1]].earners(created_s):
            return None
        return found[1]


def newness(statement: Statement) -> tuple[int, bytes]:
    """What orders the statements of one account: the greater counts."""
    # Of two with one number everybody takes the same.
    return statement.seq, encode(statement)


@dataclass(frozen=True, slots=True)
class Standing:
    """One line of a leaderboard: an account, or a worker that belongs to none."""

    key: bytes
    name: str
    """Empty for a worker without an account."""
    millicredits: int
    workers: int
    """How many keys have earned it."""
    tasks: int


def leaderboard(tables: Iterable[tuple[int, Mapping[bytes, int]]], roster: Roster) -> list[Standing]:
    """Who earned how much, the most first; for each task when it was created, and millicredits by worker."""
    amounts: dict[bytes, int] = {}
    workers: dict[bytes, set[bytes]] = {}
    tasks: dict[bytes, int] = {}
    for created_s, table in tables:
        paid = set()
        for worker, amount in table.items():
            key = roster.account_of(worker, created_s) or worker
            amounts[key] = amounts.get(key, 0) + amount
            workers.setdefault(key, set()).add(worker)
            paid.add(key)
        for key in paid:
            tasks[key] = tasks.get(key, 0) + 1
    return [
        Standing(
            key,
            roster.accounts[key].name if key in roster.accounts else "",
            amounts[key],
            len(workers[key]),
            tasks[key],
        )
        for key in sorted(amounts, key=lambda key: (-amounts[key], key))
    ]


class History(Body, frozen=True):
    """What an account's devices have earned, task by task, as the account shows it."""

    statement: Annotated[bytes, Meta(max_length=STATEMENT_BYTES_MAX + 200)]
    """The account's file when this was made: whose the devices are."""
    made_s: U53
    proofs: Annotated[tuple[bytes, ...], Meta(max_length=PROOFS_MAX)]
    """Files that prove credit (credit.py) which is the account's; none of one device and task twice."""


class SignedHistory(Body, frozen=True):
    """A history as it is kept and handed on."""

    body: bytes
    signature: Bytes64


@dataclass(frozen=True, slots=True)
class ProvedHistory:
    """What a history proves."""

    statement: Statement
    made_s: int
    credits: tuple[Credit, ...]


def sign_history(account: Signer, statement: bytes, made_s: int, proofs: Iterable[bytes]) -> bytes:
    """The history's file."""
    body = encode(History(statement, made_s, tuple(proofs)))
    return HISTORY_MAGIC + encode(SignedHistory(body, account.sign(HISTORY_DOMAIN, body)))


def open_history(data: bytes, verifier: Verifier) -> ProvedHistory:
    """What an account's history proves, to anybody and without the network.

    Raises:
        RemoteProtocolError: It proves nothing. The message says why.
    """
    if data[: len(HISTORY_MAGIC)] != HISTORY_MAGIC:
        raise RemoteProtocolError("this is no account's history")
    signed = decode(data[len(HISTORY_MAGIC) :], SignedHistory)
    history = decode(signed.body, History)
    statement = open_statement(history.statement, verifier)
    if not verifier(statement.account, HISTORY_DOMAIN, signed.body, signed.signature):
        raise RemoteProtocolError("the account's signature does not fit its history")
    credits = tuple(check_proof(proof, verifier) for proof in history.proofs)
    if not all(credit.worker in statement.earners(credit.manifest.created_s) for credit in credits):
        raise RemoteProtocolError("a history counts what a device has earned that was not the account's, or no longer")
    if len({(credit.task, credit.worker) for credit in credits}) < len(credits):
        raise RemoteProtocolError("a history counts what a device has earned in a task twice")
    return ProvedHistory(statement, history.made_s, credits)


class Backup(Body, frozen=True):
    """All that makes an account on another machine. Whoever has it is the account."""

    seed: Bytes32
    """The account's secret key."""
    statement: Annotated[bytes, Meta(max_length=STATEMENT_BYTES_MAX + 200)]
    """The account's file when this was made, which says where to look for a newer one."""


def write_backup(seed: bytes, statement: bytes) -> bytes:
    """The backup's file."""
    return BACKUP_MAGIC + encode(Backup(seed, statement))


def open_backup(data: bytes, verifier: Verifier) -> tuple[Backup, Statement]:
    """What a backup holds.

    Raises:
        RemoteProtocolError: It is none, or its key is another account's than its statement.
    """
    if data[: len(BACKUP_MAGIC)] != BACKUP_MAGIC:
        raise RemoteProtocolError("this is no account's backup")
    backup = decode(data[len(BACKUP_MAGIC) :], Backup)
    statement = open_statement(backup.statement, verifier)
    if Identity(backup.seed).public_key != statement.account:
        raise RemoteProtocolError("the backup's key is not that of the account it names")
    return backup, statement
