"""Exit codes, and the one place where an error becomes a sentence.

Every command runs inside `speaking`. What a user can cause leaves it as one sentence on standard error and a documented
code; a traceback is a bug of ours. An exception says its own code with a class attribute `exit_code`, as `CommandError`
does; those of the protocol and of the operating system, which know nothing of commands, get theirs here.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

from crowdcompute.protocol.errors import BundleError, LocalProtocolError, ModuleRefused, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_READY = 3
    """Not running, or the configuration or the identity cannot be used."""
    UNREACHABLE = 4
    """No network, or no signaling server."""
    DISPUTED = 5
    """No quorum, or a disputed result."""
    REFUSED = 6
    """A signature, a policy or a missing consent forbids it."""
    TIMEOUT = 124
    INTERRUPTED = 130
    TERMINATED = 143


class CommandError(Exception):
    """What a command cannot do, in one sentence that says what to do about it."""

    def __init__(self, sentence: str, exit_code: Exit = Exit.FAILED) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


@contextmanager
def speaking(program: str) -> Iterator[None]:
    """Run a command; end the process with a sentence and an exit code if it fails in a way users can cause.

    Raises:
        SystemExit: The command failed. Bugs pass through as they are.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(Exit.INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read our output has enough, as `head` does. What is buffered still would fail again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(Exit.FAILED) from None
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        print(f"{program}: {_sentence(error)}", file=sys.stderr)
        raise SystemExit(code) from None


def _exit_code(error: Exception) -> int | None:
    own = getattr(error, "exit_code", None)
    if isinstance(own, int):
        return own
    match error:
        case BundleError() | ModuleRefused() | RemoteProtocolError():
            return Exit.REFUSED
        case LocalProtocolError():
            return Exit.USAGE
        case TimeoutError():
            return Exit.TIMEOUT
        case ConnectionError():
            return Exit.UNREACHABLE
        case OSError():
            return Exit.FAILED
        case _:
            return None


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = (
            f"{error.filename} cannot be written" if error.filename is not None else "what was to be written is cut off"
        )
        return f"{where}, because the disk is full: free some space, or say another place"
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)
