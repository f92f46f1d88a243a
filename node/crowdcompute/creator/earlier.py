"""The results of an earlier task as inputs of the next one: which they are, who made them, and their bytes here.

They come from a folder that `cc-task results` wrote, from a job, or, to try a task out, from a folder that
`cc-task run --local` wrote: nobody has signed that one's task, so nothing can be published after it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.protocol.codec import decode
from crowdcompute.protocol.errors import ProtocolError
from crowdcompute.protocol.identity import public_key_of
from crowdcompute.protocol.manifest import Handed, Manifest
from crowdcompute.protocol.onward import MAKERS_MAX, ResultRef, refs_item
from crowdcompute.protocol.records import Signed
from crowdcompute.protocol.split import pack_items

from .results import CERTIFICATE_FILE, chunk_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from crowdcompute.protocol.creator import CreatorRole

NOBODYS = bytes(32)
"""Stands for the task id of results that were computed on this machine alone."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """All results of one task."""

    task: bytes
    is_onward: bool
    """Whether their makers keep them, so that nobody has to fetch them from here."""
    refs: tuple[ResultRef, ...]
    """By chunk."""
    result: Callable[[int], bytes]
    """The bytes of a chunk's result."""

    def split(self, per_chunk: int) -> tuple[Handed, bytes]:
        """`per_chunk` results, in order, for each chunk of the next task: its split, and its inputs blob."""
        starts = range(0, len(self.refs), per_chunk)
        return Handed(of=(self.task,)), pack_items(refs_item(self.refs[start : start + per_chunk]) for start in starts)

    def read(self, refs: Sequence[ResultRef]) -> bytes:
        """The bytes of these results, one after another (split.Results).

        Raises:
            CommandError: They are here no more, or are others than they were.
        """
        chunks = {ref.sha256: chunk for chunk, ref in enumerate(self.refs)}
        return b"".join(self._checked(ref, chunks[ref.sha256]) for ref in refs)

    def _checked(self, ref: ResultRef, chunk: int) -> bytes:
        data = self.result(chunk)
        if sha256(data).digest() != ref.sha256:
            raise CommandError(f"the result of chunk {chunk} of the earlier task was altered", Exit.REFUSED)
        return data


def of_role(role: CreatorRole) -> Earlier:
    """A task of ours that is closed.

    Raises:
        CommandError: A chunk of it has no result.
    """
    results = [role.result(chunk) for chunk in range(role.ledger.chunks)]
    refs = [
        ResultRef(result.digest or b"", result.size, _volunteers(result.agreed, role.ledger.manifest.creator))
        for result in results
        if _has_result(result.chunk, result.state)
    ]
    manifest = role.ledger.manifest
    return Earlier(role.ledger.task, manifest.onward, tuple(refs), lambda chunk: role.result_bytes(chunk) or b"")


def of_bytes(results: Sequence[bytes]) -> Earlier:
    """Results that were computed on this machine alone."""
    refs = tuple(ResultRef(sha256(result).digest(), len(result), ()) for result in results)
    return Earlier(NOBODYS, is_onward=False, refs=refs, result=results.__getitem__)


def of_folder(folder: Path) -> Earlier:
    """A folder of results, with its certificate if the task was published.

    Raises:
        CommandError: It is no such folder, or a chunk has no result.
    """
    try:
        lines = [json.loads(line) for line in (folder / "results.ndjson").read_text(encoding="utf-8").splitlines()]
        rows = sorted(lines, key=lambda row: row["index"])
        stated = folder / CERTIFICATE_FILE
        signed = decode(bytes.fromhex(json.loads(stated.read_bytes())["manifest"]), Signed) if stated.exists() else None
        creator = NOBODYS if signed is None else signed.author
        refs = tuple(
            ResultRef(bytes.fromhex(row["sha256"]), row["size"], _makers(row, creator))
            for row in rows
            if _has_result(row["index"], row["status"])
        )
        indices = [row["index"] for row in rows]
        task = NOBODYS if signed is None else signed.record_id
        is_onward = signed is not None and decode(signed.body, Manifest).onward
    except (OSError, ValueError, KeyError, TypeError, ProtocolError) as error:
        raise CommandError(
            f"{folder} does not hold the results of a task ({error}): `cc-task results TASK -o {folder}` writes them",
            Exit.USAGE,
        ) from None
    if not refs or indices != list(range(len(indices))):
        raise CommandError(f"{folder} does not hold the results of all chunks of its task", Exit.USAGE)

    def result(chunk: int) -> bytes:
        try:
            return (folder / chunk_file(chunk)).read_bytes()
        except OSError as error:
            raise CommandError(f"{folder / chunk_file(chunk)} cannot be read: {error.strerror}", Exit.USAGE) from None

    return Earlier(task, is_onward, refs, result)


def _makers(row: dict[str, Any], creator: bytes) -> tuple[bytes, ...]:
    return _volunteers([public_key_of(worker) for worker in row.get("agreed", ())], creator)


def _volunteers(agreed: Iterable[bytes], creator: bytes) -> tuple[bytes, ...]:
    """Whom to ask first. The creator, whose own node may have executed a chunk as well, is asked last of all."""
    return tuple(maker for maker in agreed if maker != creator)[:MAKERS_MAX]


def _has_result(chunk: int, state: str) -> bool:
    """True, or a refusal: a task whose inputs lack one would compute something else than it says."""
    if state != "ok":
        raise CommandError(
            f"chunk {chunk} of the earlier task has no result ({state}): the next one takes all or none", Exit.REFUSED
        )
    return True
