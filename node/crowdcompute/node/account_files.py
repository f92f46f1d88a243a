"""What this machine keeps of accounts: an account's own key, where it is kept here, and the statements it knows.

account.key        the account's key, only on the machine that speaks for it
account.cca        the newest statement of the account that this machine belongs to
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from pathlib import Path

from crowdcompute.protocol.accounts import CONSENT_MAGIC, Statement, open_statement
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import verify

from .exits import CommandError, Exit
from .paths import paths

CONSENT_PREFIX = "ccjoin:"
"""Of a consent as text, for a clipboard or a QR code."""


def own_statement() -> Statement | None:
    """What the account of this machine says of itself; None if the machine belongs to none."""
    data = own_statement_file()
    return open_statement(data, verify) if data is not None else None


def own_statement_file() -> bytes | None:
    """The same as it was signed."""
    try:
        return paths().account.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandError(f"{paths().account} cannot be read ({error.strerror})", Exit.NOT_READY) from None


def keep(data: bytes) -> None:
    """Put a statement of our account in the place of the one before; whole or not at all."""
    path = paths().account
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise CommandError(f"{path} cannot be written ({error.strerror})", Exit.NOT_READY) from None


def read_statement(path: Path) -> tuple[bytes, Statement]:
    """Somebody's statement.

    Raises:
        CommandError: The file cannot be read, or is none.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read ({error.strerror})", Exit.USAGE) from None
    try:
        return data, open_statement(data, verify)
    except RemoteProtocolError as error:
        raise CommandError(f"{path}: {error}", Exit.REFUSED) from None


def consent_text(consent: bytes) -> str:
    """A consent on one line."""
    return CONSENT_PREFIX + base64.urlsafe_b64encode(consent[len(CONSENT_MAGIC) :]).decode().rstrip("=")


def read_consent(text: str) -> bytes:
    """A consent from its line, whatever spaces a terminal or a mail has put into it.

    Raises:
        CommandError: It is none.
    """
    line = "".join(text.split())
    try:
        if not line.startswith(CONSENT_PREFIX):
            raise ValueError
        encoded = line[len(CONSENT_PREFIX) :]
        return CONSENT_MAGIC + base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise CommandError(
            f"this is no device's consent, which begins with {CONSENT_PREFIX}; `cc-node account join ID` prints one",
            Exit.USAGE,
        ) from None
