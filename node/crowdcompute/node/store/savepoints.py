"""States of chunks that were running, on disk, from which the same machine goes on after a pause, a kill or a restart.

    a chunk:  RUNNING --savepoint--> kept --a newer one--> kept --its outcome, its task's end, too many--> dropped

With a state is kept whose savepoint it went on from, if that was another's: a vote that rests on it says so
(spec/handover.md). One that cannot be read counts as none, for the chunk can always be computed anew.
"""

from __future__ import annotations

import contextlib
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

FILES_MAX = 256
"""A core or a batch has one each; the oldest go first."""
_DIGEST_BYTES = 32
_LENGTH_BYTES = 4


class SavepointStore:
    """A folder of files, one a chunk; each appears whole or not at all. Nobody else writes there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept = set(filter(None, map(_key_of, folder.glob("*-*"))))
        """What has a file: most chunks never have one, and are asked for all the same."""

    def of(self, task: bytes, after: Mapping[int, bytes], tell: Callable[[int, int, bytes], None]) -> TaskSavepoints:
        """Those of one task: `after` says what each chunk rests on, `tell` is told of each state that is kept."""
        return TaskSavepoints(self, task, after, tell)

    def begun(self) -> dict[bytes, tuple[int, ...]]:
        """The chunks that could go on, by task."""
        found: dict[bytes, list[int]] = {}
        for task, chunk in sorted(self._kept):
            found.setdefault(task, []).append(chunk)
        return {task: tuple(chunks) for task, chunks in found.items()}

    def keep_only(self, tasks: Collection[bytes]) -> None:
        """Drop what belongs to other tasks."""
        for task, chunks in self.begun().items():
            if task not in tasks:
                for chunk in chunks:
                    self.drop(task, chunk)

    def load(self, task: bytes, chunk: int) -> bytes:
        """The state of a chunk; empty when there is none."""
        return self._read(task, chunk)[1]

    def after(self, task: bytes, chunk: int) -> bytes:
        """The savepoint of another that this state rests on, as it was signed; empty when it rests on nobody's."""
        return self._read(task, chunk)[0]

    def save(self, task: bytes, chunk: int, state: bytes, after: bytes = b"") -> None:
        """Keep a state, if there is room for it: to lose it costs time and nothing else."""
        content = len(after).to_bytes(_LENGTH_BYTES) + after + state
        path = self._path(task, chunk)
        temporary = path.with_name(f"{path.name}.part")
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            temporary.write_bytes(sha256(content).digest() + content)
            temporary.replace(path)
            self._kept.add((task, chunk))
            files = sorted(self._folder.iterdir(), key=lambda file: file.stat().st_mtime)
            for oldest in files[:-FILES_MAX]:
                oldest.unlink(missing_ok=True)
                self._kept.discard(_key_of(oldest))

    def drop(self, task: bytes, chunk: int) -> None:
        """Forget a chunk's state."""
        if (task, chunk) not in self._kept:
            return
        self._kept.discard((task, chunk))
        with contextlib.suppress(OSError):
            self._path(task, chunk).unlink(missing_ok=True)

    def _read(self, task: bytes, chunk: int) -> tuple[bytes, bytes]:
        if (task, chunk) not in self._kept:
            return b"", b""
        try:
            file = self._path(task, chunk).read_bytes()
        except OSError:
            return b"", b""
        digest, content = file[:_DIGEST_BYTES], file[_DIGEST_BYTES:]
        if sha256(content).digest() != digest:
            return b"", b""
        end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES])
        return content[_LENGTH_BYTES:end], content[end:]

    def _path(self, task: bytes, chunk: int) -> Path:
        return self._folder / f"{task.hex()}-{chunk}"


def _key_of(path: Path) -> tuple[bytes, int] | None:
    """Task and chunk of a file; None where it is none of ours."""
    task, _, chunk = path.name.partition("-")
    try:
        return bytes.fromhex(task), int(chunk)
    except ValueError:
        return None


class TaskSavepoints(NamedTuple):
    """What the pool sees: the chunks of one task (executors.slot.Savepoints)."""

    store: SavepointStore
    task: bytes
    after: Mapping[int, bytes]
    tell: Callable[[int, int, bytes], None]

    def load(self, chunk: int) -> bytes:
        return self.store.load(self.task, chunk)

    def save(self, chunk: int, number: int, state: bytes) -> None:
        after = self.after[chunk] if chunk in self.after else self.store.after(self.task, chunk)
        self.store.save(self.task, chunk, state, after)
        self.tell(chunk, number, state)
