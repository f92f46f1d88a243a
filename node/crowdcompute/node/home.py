"""One data folder held by one process: its lock, its records and its blobs."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .lock import FolderLock
from .store.blobs import DiskBlobStore
from .store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .store.records import RecordStore


@dataclass(frozen=True, slots=True)
class Home:
    """What survives a process: a node's, or a creator's."""

    folder: Path
    records: RecordStore
    blobs: DiskBlobStore

    @property
    def control_socket(self) -> Path:
        return control_socket(self.folder)


def control_socket(folder: Path) -> Path:
    """Where the process that holds this folder answers."""
    return folder / "control.sock"


@contextmanager
def open_home(folder: Path, *, disk_bytes: int, store: str | None = None) -> Iterator[Home]:
    """Take the folder for this process, making it if need be; its blobs may use `disk_bytes`.

    Records are kept in the folder, or on the Postgres server with the URL `store`, in a schema called like the folder.

    Raises:
        FolderInUse: Another process holds it.
        StoreError: It cannot be written, or was left by a newer version.
    """
    # SQLAlchemy takes half a second of CPU to import (m): only who opens a store pays that.
    from .store.database import PostgresPlace
    from .store.records import RecordStore

    place = PostgresPlace.parse(store, f"crowdcompute_{folder.name}") if store else folder / "records.db"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the data folder {folder} cannot be made ({error.strerror}): make its parent writable, or set CC_HOME to "
            "another folder"
        ) from None
    with ExitStack() as stack:
        stack.enter_context(FolderLock(folder))
        records = RecordStore(place)
        stack.callback(records.close)
        yield Home(folder, records, DiskBlobStore(folder / "blobs", disk_bytes))
