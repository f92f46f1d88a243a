"""What an account says of itself, on the machine that has its key; and what this machine knows of its own account.

Every statement is signed anew as a whole, with a number above the one before (protocol: accounts.py).
"""

from __future__ import annotations

import io
import socket
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from crowdcompute.protocol.accounts import (
    AVATAR_BYTES_MAX,
    NAME_CHARACTERS_MAX,
    Device,
    Statement,
    consent_to,
    open_consent,
    sign_statement,
)
from crowdcompute.protocol.identity import verify

from . import keys
from .account_files import keep, own_statement
from .exits import CommandError, Exit
from .paths import paths

if TYPE_CHECKING:
    from pathlib import Path

    from crowdcompute.protocol.identity import Identity

DAYS = 365
"""For how long, at most, a device may act for its account before it is linked again. A guess."""
_DAY_S = 86_400
_AVATAR_PIXELS = (64, 48, 32, 16)
"""Edges to try: the largest whose PNG is small enough counts."""


def belongs_to_none() -> None:
    """Refuse to go on where this machine has an account.

    Raises:
        CommandError: It has one.
    """
    if own_statement() is not None:
        raise CommandError(
            f"this machine belongs to an account already: `cc-node account show`, or move {paths().account} away",
            Exit.USAGE,
        )


def this_machine(key: Identity, name: str, days: float) -> Device:
    """This machine as a device of the account with this key."""
    node, now_s = keys.load_or_create(paths().identity), int(time.time())
    consent = open_consent(consent_to(node, key.public_key, name, now_s), key.public_key, verify)
    return Device(consent.device, consent.name, now_s, until_of(now_s, days), consent.signature)


def known_statement() -> Statement:
    """What this machine's account said last, as far as this machine knows.

    Raises:
        CommandError: It belongs to none.
    """
    statement = own_statement()
    if statement is None:
        raise CommandError(
            "this machine belongs to no account: `cc-node account create NAME`, or `join` one", Exit.NOT_READY
        )
    return statement


def our_account() -> tuple[Identity, Statement]:
    """The key of this machine's account, and what it said last.

    Raises:
        CommandError: The key is not here.
    """
    statement, key = known_statement(), keys.load(paths().account_key)
    if key is None or key.public_key != statement.account:
        raise CommandError(
            f"the key of {statement.name} is not on this machine: say this where `cc-node account create` was",
            Exit.NOT_READY,
        )
    return key, statement


def say_and_keep(key: Identity, statement: Statement) -> bytes:
    """Sign what the account says from now on, and keep it here; the file."""
    # Above the one before, also if the clock was set back.
    seq = max(statement.seq + 1, time.time_ns() // 1_000_000)
    data = sign_statement(key, msgspec.structs.replace(statement, seq=seq))
    keep(data)
    return data


def say_of(device: Device, key: Identity, statement: Statement, output: Path | None) -> None:
    """Say from now on of one device what is said here."""
    others = [each for each in statement.devices if each.key != device.key]
    data = say_and_keep(key, msgspec.structs.replace(statement, devices=in_order([*others, device])))
    write_statement(output, data)


def write_statement(output: Path | None, data: bytes) -> None:
    """Write the account's file where somebody asked for it.

    Raises:
        CommandError: It cannot be written there.
    """
    if output is None:
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise CommandError(f"{output} cannot be written ({error.strerror})", Exit.USAGE) from None


def in_order(devices: list[Device]) -> tuple[Device, ...]:
    """Devices as a statement lists them."""
    return tuple(sorted(devices, key=lambda device: device.key))


def until_of(now_s: int, days: float) -> int:
    """Until when a device may act that is linked now for so many days.

    Raises:
        CommandError: These are too few or too many days.
    """
    if not 0 < days <= DAYS:
        raise CommandError(f"--days {days:g}: a device is linked for more than 0 and at most {DAYS} days", Exit.USAGE)
    return now_s + int(days * _DAY_S)


def date_of(unix_s: int) -> str:
    """A time as a person reads it."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def machine_name() -> str:
    """What this machine is called if nobody says otherwise."""
    return socket.gethostname()[:NAME_CHARACTERS_MAX] or "this machine"


def picture_of(path: Path) -> bytes:
    """A picture made small enough for a statement, as PNG.

    Raises:
        CommandError: It is no picture.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            whole = opened.convert("RGBA")
    except (OSError, UnidentifiedImageError) as error:
        raise CommandError(f"{path} is no picture that can be read ({error})", Exit.USAGE) from None
    for edge in _AVATAR_PIXELS:
        small = whole.copy()
        small.thumbnail((edge, edge))
        file = io.BytesIO()
        small.quantize(64).save(file, "PNG", optimize=True)
        if file.tell() <= AVATAR_BYTES_MAX:
            return file.getvalue()
    raise AssertionError("a PNG of 16 x 16 pixels in 64 colours takes 1.5 kB at most")
