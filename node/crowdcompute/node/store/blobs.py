"""Blobs in a folder, one file each: `ab/ab12…` by the hex of their SHA-256, and `incoming/` while they are written.

A blob is written to `incoming/` and renamed into place, so a name never shows half a blob, whenever the process is
killed. There is no fsync: it would hold up the event loop by milliseconds a blob on a common disk. So a power cut may
take the blobs of the last half minute, or leave their names with wrong bytes; the next start re-hashes the blobs
written last and drops those. Lost blobs are fetched or computed again, as blobs never had are.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from hashlib import file_digest
from typing import TYPE_CHECKING, NamedTuple

from .errors import QuotaExceeded, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNFLUSHED_S = 60.0
"""Blobs this much older than the newest are on the disk for certain. Twice Linux's `dirty_expire_centisecs` of 30 s."""

_INCOMING = "incoming"
_MIB = 1024 * 1024


class DiskBlobStore:
    """A `protocol.storage.BlobStore` on disk. Use it from one thread at a time, in one process at a time (lock.py).

    Every method raises `StoreError` when the disk fails; what was put before is still there.
    """

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        """Open the folder (made if missing), drop what a crash left behind, and count what is there.

        Raises:
            StoreError: The folder cannot be read or written.
        """
        self._folder = folder
        self._incoming = folder / _INCOMING
        self.quota_bytes = quota_bytes
        self.used_bytes = 0
        with self._failures():
            self._incoming.mkdir(parents=True, exist_ok=True)
            for leftover in self._incoming.iterdir():
                leftover.unlink()
            self._recover()

    def size(self, digest: bytes) -> int | None:
        with self._failures():
            try:
                return self._path(digest).stat().st_size
            except FileNotFoundError:
                return None

    def read(self, digest: bytes, start: int, length: int) -> bytes:
        with self._failures():
            try:
                file = os.open(self._path(digest), os.O_RDONLY)
            except FileNotFoundError:
                raise KeyError(digest) from None
            try:
                return os.pread(file, length, start)
            finally:
                os.close(file)

    def put(self, digest: bytes, data: bytes) -> None:
        """Keep bytes whose SHA-256 the caller has checked. What is here already costs nothing.

        Raises:
            QuotaExceeded: It does not fit the quota.
        """
        if self.size(digest) is not None:
            return
        if self.used_bytes + len(data) > self.quota_bytes:
            raise QuotaExceeded(
                f"a blob of {len(data) / _MIB:,.1f} MiB does not fit: {self._folder} holds "
                f"{self.used_bytes / _MIB:,.1f} of at most {self.quota_bytes / _MIB:,.1f} MiB; "
                "allow more disk, or forget a task"
            )
        written, path = self._incoming / digest.hex(), self._path(digest)
        with self._failures():
            try:
                written.write_bytes(data)
                path.parent.mkdir(exist_ok=True)
                written.replace(path)
            except OSError:
                # A full disk needs its bytes back now, not at the next start.
                written.unlink(missing_ok=True)
                raise
        self.used_bytes += len(data)

    def discard(self, digest: bytes) -> None:
        size = self.size(digest)
        if size is None:
            return
        with self._failures():
            self._path(digest).unlink()
        self.used_bytes -= size

    def _path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self._folder / name[:2] / name

    def _recover(self) -> None:
        found = list(self._files())
        newest_s = max((file.modified_s for file in found), default=0.0)
        for file in found:
            if file.modified_s >= newest_s - UNFLUSHED_S and not _is_whole(file.path):
                file.path.unlink()
            else:
                self.used_bytes += file.size_bytes

    def _files(self) -> Iterator[_File]:
        """Our blobs. Whatever else somebody put into the folder is not ours to count or to drop."""
        for branch in self._folder.glob("[0-9a-f][0-9a-f]/"):
            with os.scandir(branch) as entries:
                for entry in entries:
                    if len(entry.name) == 64 and entry.name.startswith(branch.name):
                        status = entry.stat()
                        yield _File(branch / entry.name, status.st_size, status.st_mtime)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                remedy = "free some space and start again"
            elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
                remedy = "make this folder writable, or set CC_HOME to another one"
            else:
                remedy = "check the disk and start again"
            raise StoreError(f"{self._folder} cannot be used ({error.strerror}): {remedy}") from error


class _File(NamedTuple):
    path: Path
    size_bytes: int
    modified_s: float


def _is_whole(path: Path) -> bool:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest() == path.name
