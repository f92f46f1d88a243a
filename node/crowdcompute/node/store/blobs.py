"""Blobs in a folder, one file each: `ab/ab12…` by the hex of their SHA-256, and `incoming/` while they are written.

A blob that comes in pieces grows in `partial/ab12…`, a file with holes, beside `ab12….tree`: the nodes of its tree that
came with its pieces, each appended after the piece it belongs to. So whatever is read there after a crash is proved
again before it is believed.

A blob is written to `incoming/` and renamed into place, so a name never shows half a blob, whenever the process is
killed. There is no fsync: it would hold up the event loop by milliseconds a blob on a common disk. So a power cut may
take the blobs of the last half minute, or leave their names with wrong bytes; the next start re-hashes the blobs
written last and drops those. Lost blobs are fetched or computed again, as blobs never had are.
"""

from __future__ import annotations

import errno
import os
import re
import struct
import tempfile
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from crowdcompute.protocol.blobs import PIECE_BYTES

from .errors import QuotaExceeded, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

UNFLUSHED_S = 60.0
"""Blobs this much older than the newest are on the disk for certain. Twice Linux's `dirty_expire_centisecs` of 30 s."""

_INCOMING = "incoming"
_PARTIAL = "partial"
_NODE = struct.Struct("<Q32s")
"""One node of a blob's tree: its number and its hash."""
_is_name = re.compile("[0-9a-f]{64}").fullmatch
_MIB = 1024 * 1024


class DiskBlobStore:
    """A `protocol.storage.BlobStore` on disk. Use it from one thread at a time, in one process at a time (lock.py).
    `size` and `stage` may be called from any.

    Every method raises `StoreError` when the disk fails; what was put before is still there.
    """

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        """Open the folder (made if missing), drop what a crash left behind, and count what is there.

        Raises:
            StoreError: The folder cannot be read or written.
        """
        self._folder = folder
        self._root = f"{folder}/"
        self._incoming = folder / _INCOMING
        self._partial = folder / _PARTIAL
        self.quota_bytes = quota_bytes
        self.needed: Callable[[bytes], bool] = lambda digest: True
        """Whether a blob may not go. When the quota is full, those that may go in the order of their last use."""
        self._bytes: dict[bytes, int] = {}
        """Of every blob, whole or not, what of it is here; in the order of their last use."""
        self.used_bytes = 0
        with self._failures():
            self._incoming.mkdir(parents=True, exist_ok=True)
            self._partial.mkdir(exist_ok=True)
            for leftover in self._incoming.iterdir():
                leftover.unlink()
            self._recover()

    def size(self, digest: bytes) -> int | None:
        name = digest.hex()
        with self._failures():
            try:
                # Asked for each piece, and a Path costs more.
                return os.stat(f"{self._root}{name[:2]}/{name}").st_size  # noqa: PTH116
            except FileNotFoundError:
                return None

    def read(self, digest: bytes, start: int, length: int) -> bytes:
        name = digest.hex()
        with self._failures():
            try:
                file = os.open(f"{self._root}{name[:2]}/{name}", os.O_RDONLY)
            except FileNotFoundError:
                try:
                    file = os.open(f"{self._root}{_PARTIAL}/{name}", os.O_RDONLY)
                except FileNotFoundError:
                    raise KeyError(digest) from None
            try:
                self._hold(digest, self._bytes.get(digest, 0))
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
        self._make_room(digest, len(data))
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
        self._hold(digest, len(data))

    def stage(self, data: bytes) -> Path:
        """Write bytes that `put_staged` will take, which costs it nothing then. From any thread."""
        with self._failures():
            descriptor, path = tempfile.mkstemp(dir=self._incoming)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
            except OSError:
                Path(path).unlink(missing_ok=True)
                raise
        return Path(path)

    def put_staged(self, digest: bytes, staged: Path, size: int) -> None:
        """Keep a blob whose bytes `stage` has written, and whose SHA-256 the caller has checked.

        Raises:
            QuotaExceeded: It does not fit the quota.
        """
        path = self._path(digest)
        with self._failures():
            try:
                if self.size(digest) is not None:
                    return
                self._make_room(digest, size)
                path.parent.mkdir(exist_ok=True)
                staged.replace(path)
            finally:
                staged.unlink(missing_ok=True)
        self._hold(digest, size)

    def put_file(self, digest: bytes, chunks: Iterable[bytes], size: int) -> None:
        """Keep a blob that comes part by part, for it is too large for the memory; checked as it is written.

        Raises:
            QuotaExceeded: It does not fit the quota.
            StoreError: The parts are not the blob: the file they come from was changed meanwhile.
        """
        if self.size(digest) is not None:
            return
        self._make_room(digest, size)
        written, path, whole = self._incoming / digest.hex(), self._path(digest), sha256()
        with self._failures():
            try:
                with written.open("wb") as file:
                    for chunk in chunks:
                        whole.update(chunk)
                        file.write(chunk)
                if whole.digest() != digest:
                    raise StoreError(
                        f"{digest.hex()} was changed while it was copied: leave its file alone, and try again"
                    )
                path.parent.mkdir(exist_ok=True)
                written.replace(path)
            finally:
                written.unlink(missing_ok=True)
        self._hold(digest, size)

    def begin(self, digest: bytes, size: int) -> dict[int, bytes]:
        if size > self.quota_bytes:
            raise self._full(size)
        with self._failures():
            (self._partial / digest.hex()).touch()
            self._hold(digest, self._bytes.get(digest, 0))
            try:
                kept = self._nodes(digest).read_bytes()
            except FileNotFoundError:
                return {}
        # The last one may be cut short by a crash; its piece comes again.
        whole = kept[: len(kept) - len(kept) % _NODE.size]
        return dict(_NODE.iter_unpack(whole))

    def put_piece(self, digest: bytes, index: int, data: bytes, nodes: Sequence[tuple[int, bytes]]) -> None:
        """Keep one checked piece of a blob begun, and the nodes of its tree that came with it.

        Raises:
            QuotaExceeded: It does not fit the quota.
        """
        self._make_room(digest, len(data))
        path = f"{self._root}{_PARTIAL}/{digest.hex()}"
        with self._failures():
            file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.pwrite(file, data, index * PIECE_BYTES)
            finally:
                os.close(file)
            # After the piece: a leaf says that its piece is there.
            journal = os.open(f"{path}.tree", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(journal, b"".join(_NODE.pack(number, node) for number, node in nodes))
            finally:
                os.close(journal)
        self._hold(digest, self._bytes.get(digest, 0) + len(data))

    def finish(self, digest: bytes) -> bool:
        written, path = self._partial / digest.hex(), self._path(digest)
        with self._failures():
            if not _is_whole(written):
                self.discard(digest)
                return False
            path.parent.mkdir(exist_ok=True)
            written.replace(path)
            self._nodes(digest).unlink(missing_ok=True)
            self._hold(digest, path.stat().st_size)
        return True

    def discard(self, digest: bytes) -> None:
        with self._failures():
            for path in (self._path(digest), self._partial / digest.hex(), self._nodes(digest)):
                path.unlink(missing_ok=True)
        self.used_bytes -= self._bytes.pop(digest, 0)

    # ---- inside

    def _path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self._folder / name[:2] / name

    def _nodes(self, digest: bytes) -> Path:
        return self._partial / f"{digest.hex()}.tree"

    def _hold(self, digest: bytes, size: int) -> None:
        """So much is here of a blob, which is used now."""
        self.used_bytes += size - self._bytes.pop(digest, 0)
        self._bytes[digest] = size

    def _make_room(self, digest: bytes, size: int) -> None:
        """Drop what is not needed, what was used longest ago first, until there is room."""
        lacking = self.used_bytes + size - self.quota_bytes
        if lacking <= 0:
            return
        droppable = [other for other in self._bytes if other != digest and not self.needed(other)]
        if sum(self._bytes[other] for other in droppable) < lacking:
            raise self._full(size)
        for other in droppable:
            if lacking <= 0:
                break
            lacking -= self._bytes[other]
            self.discard(other)

    def _full(self, size: int) -> QuotaExceeded:
        return QuotaExceeded(
            f"a blob of {size / _MIB:,.1f} MiB does not fit: {self._folder} holds "
            f"{self.used_bytes / _MIB:,.1f} of at most {self.quota_bytes / _MIB:,.1f} MiB; "
            "allow more disk, or forget a task"
        )

    def _recover(self) -> None:
        found = list(self._files())
        newest_s = max((file.modified_s for file in found), default=0.0)
        for file in sorted(found, key=lambda file: file.modified_s):
            if file.modified_s >= newest_s - UNFLUSHED_S and not _is_whole(file.path):
                file.path.unlink()
            else:
                self._hold(bytes.fromhex(file.path.name), file.size_bytes)
        for path in self._partial.iterdir():
            if _is_name(path.name):
                # Only what was written takes room: the file has holes. The pieces are proved when it is begun again.
                self._hold(bytes.fromhex(path.name), path.stat().st_blocks * 512)

    def _files(self) -> Iterator[_File]:
        """Our blobs. Whatever else somebody put into the folder is not ours to count or to drop."""
        for branch in self._folder.glob("[0-9a-f][0-9a-f]/"):
            with os.scandir(branch) as entries:
                for entry in entries:
                    if _is_name(entry.name) and entry.name.startswith(branch.name):
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
