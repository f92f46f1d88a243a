"""One process for one data folder: two nodes with one identity would contradict each other and be convicted.

A lock file is held by the kernel for as long as the process lives, so kill -9 frees it and no stale lock exists. The
file stays behind, with the last holder's process id as a hint for people.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from .store.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

if sys.platform == "win32":
    import msvcrt

    def _take(file: int) -> None:
        # One byte far behind the process id, which others must be able to read: this lock forbids reading too.
        os.lseek(file, 1 << 20, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(file: int) -> None:
        # flock, not lockf: a POSIX lock is lost as soon as any other descriptor of the file is closed.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class FolderInUse(Exception):
    """Another process works with this data folder. The message is one sentence that says what to do."""

    exit_code = 1


class FolderLock:
    """Hold a data folder for this process. Take it before the store is opened, release it last."""

    def __init__(self, folder: Path) -> None:
        """Take the lock file `lock` in `folder`.

        Raises:
            FolderInUse: Another process holds it.
            StoreError: The folder cannot be written.
        """
        try:
            # The descriptor is not inheritable: an executor process that outlives a killed node does not hold the lock.
            self._file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(
                f"{folder} cannot be written ({error.strerror}): make it writable, or set CC_HOME to another folder"
            ) from error
        try:
            _take(self._file)
        except (BlockingIOError, PermissionError):
            os.lseek(self._file, 0, os.SEEK_SET)
            holder = os.read(self._file, 20).decode("ascii", "replace").strip()
            os.close(self._file)
            who = f"process {holder}" if holder else "another process"
            raise FolderInUse(
                f"{who} already works with {folder}: stop it{f' with `kill {holder}`' if holder else ''}, "
                "wait for its end, or set CC_HOME to another folder"
            ) from None
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        os.close(self._file)

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
