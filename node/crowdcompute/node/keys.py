"""Key files: 32 secret bytes in hexadecimal, readable by their owner only."""

from __future__ import annotations

import os
import secrets
import stat
from typing import TYPE_CHECKING

from crowdcompute.protocol.identity import KEY_BYTES, Identity

from .exits import Exit

if TYPE_CHECKING:
    from pathlib import Path

FILE_BYTES_MAX = 1024


class KeyFileError(Exception):
    """A key file cannot be used or made. The message is one sentence that says what to do."""

    exit_code = Exit.NOT_READY


def load_or_create(path: Path) -> Identity:
    """The identity kept in `path`; a new one if there is none yet. Two processes at once get the same.

    Raises:
        KeyFileError: It cannot be read or made, is no key file, or others can read it.
    """
    return load(path) or create(path)


def load(path: Path) -> Identity | None:
    """The identity kept in `path`, None if there is no such file.

    Raises:
        KeyFileError: As `load_or_create`.
    """
    seed = load_seed(path)
    return Identity(seed) if seed is not None else None


def load_seed(path: Path) -> bytes | None:
    """The same as the 32 bytes that make it.

    Raises:
        KeyFileError: As `load_or_create`.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(FILE_BYTES_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyFileError(f"the key file {path} cannot be read: {error.strerror}") from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyFileError(f"others can read the key file {path}: run `chmod 600 {path}`")
    try:
        seed = bytes.fromhex(content.decode("ascii"))
    except ValueError:
        seed = b""
    if len(seed) != KEY_BYTES:
        raise KeyFileError(f"{path} is not a key file: restore it, or move it away to get a new key")
    return seed


def create(path: Path, seed: bytes | None = None) -> Identity:
    """Make a new key in `path`, or keep this one there. If another process was faster, its key counts.

    Raises:
        KeyFileError: The file cannot be written.
    """
    seed = seed if seed is not None else secrets.token_bytes(KEY_BYTES)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "w", encoding="ascii") as opened:
                opened.write(seed.hex() + "\n")
                opened.flush()
                os.fsync(file)
            # Unlike a rename, a link never replaces a key that somebody else has just made.
            os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError:
        found = load(path)
        if found is not None:
            return found
        raise KeyFileError(f"the key file {path} cannot be made: something is in its place") from None
    except OSError as error:
        raise KeyFileError(
            f"no key can be kept in {path.parent} ({error.strerror}): make it writable, or set CC_HOME to another one"
        ) from None
    return Identity(seed)
