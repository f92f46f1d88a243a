"""What a task that takes results of others was given, held against their records (spec/onward.md, "Whose word it is").

    the table (inputs.bin) --its hash is in the manifest?--> each result it names --accepted by the source's evidence?

That these are the results is the creator's word, signed with the manifest. Whoever has the records of the tasks that
they are of can count those again, and then it is nobody's word any more. What is not here is said, and not assumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import verify
from crowdcompute.protocol.manifest import Handed
from crowdcompute.protocol.opening import MAGIC, read_shown
from crowdcompute.protocol.recount import DoesNotHold, recount
from crowdcompute.protocol.split import ChunkReader

from .results import INPUTS_FILE, RECORDS_FILE, statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from crowdcompute.protocol.onward import ResultRef
    from crowdcompute.protocol.recount import Recount


@dataclass(frozen=True, slots=True)
class Source:
    """A task whose results were taken."""

    task: bytes
    counted: Recount | None
    """Its records, counted again; None where they are not here."""
    taken: int
    """How many of its accepted results the table names."""

    @property
    def statement(self) -> str | None:
        """What its certificate says."""
        counted = self.counted
        return None if counted is None else statement(counted.manifest, counted.certificate, counted.cancelled)


@dataclass(frozen=True, slots=True)
class Sources:
    """What is known of a task's inputs."""

    tasks: tuple[Source, ...]
    has_table: bool
    unknown: int
    """Results in the table that only a task can have made whose records are not here."""

    def report(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "table": self.has_table,
            "unchecked": self.unknown,
            "tasks": [
                {"task": source.task.hex(), "statement": source.statement, "taken": source.taken}
                for source in self.tasks
            ],
        }

    def words(self) -> list[tuple[str, str]]:
        """For whoever reads the audit."""
        if not self.has_table:
            return [
                (
                    "unchecked",
                    f"which results of other tasks went in: {INPUTS_FILE}, that their table is in, is not here",
                )
            ]
        lines = [
            ("inputs", f"{source.taken:,} results of task {source.task.hex()}, each accepted there: {source.statement}")
            for source in self.tasks
            if source.counted is not None
        ]
        missing = ", ".join(source.task.hex() for source in self.tasks if source.counted is None)
        if missing:
            lines.append(
                (
                    "unchecked",
                    f"that {self.unknown:,} of the inputs are results of task {missing}: its records are not here; "
                    "name the folder that `cc-task results` wrote of it, with --source",
                )
            )
        return lines


def check_sources(counted: Recount, beside: Path, folders: Sequence[Path]) -> Sources | None:
    """Hold what a task was given against the tasks that it is from; None if it takes no results.

    `beside` is the folder of the task's own records. Sources are looked for in `folders`, and then next to it.

    Raises:
        DoesNotHold: The table is another one, a source's records do not hold, or it never accepted such a result.
        CommandError: A folder was named that holds no records, or that no result is from.
    """
    split = counted.manifest.split
    if not isinstance(split, Handed):
        if folders:
            raise CommandError("this task takes no results of others: leave --source out", Exit.USAGE)
        return None
    found = _found(split.of, beside, folders)
    accepted = {
        task: {digest for chunk in source.values if (digest := source.digest(chunk)) is not None}
        for task, source in found.items()
    }
    refs = _table(counted, beside / INPUTS_FILE)
    taken = dict.fromkeys(split.of, 0)
    unknown = 0
    for chunk, ref in refs if refs is not None else ():
        task = next((task for task in split.of if ref.sha256 in accepted.get(task, ())), None)
        if task is not None:
            taken[task] += 1
        elif len(found) == len(set(split.of)):
            raise DoesNotHold(
                f"an input is no accepted result of the tasks it should be of: {ref.sha256.hex()}", chunk=chunk
            )
        else:
            unknown += 1
    sources = tuple(Source(task, found.get(task), taken[task]) for task in dict.fromkeys(split.of))
    return Sources(sources, refs is not None, unknown)


def _table(counted: Recount, path: Path) -> list[tuple[int, ResultRef]] | None:
    """The results that each chunk takes; None where the table is not here.

    Raises:
        DoesNotHold: It is not the one that the manifest names.
    """
    manifest, named = counted.manifest, counted.manifest.inputs
    assert named is not None, "a manifest that takes results has inputs"
    if not path.exists():
        return None
    data = path.read_bytes()
    if sha256(data).digest() != named.sha256:
        raise DoesNotHold(f"{path} is not the table of inputs that the task's creator has signed")
    refs: list[tuple[int, ResultRef]] = []
    for chunk in range(manifest.chunks):

        def take(named: Iterable[ResultRef], chunk: int = chunk) -> bytes:
            refs.extend((chunk, ref) for ref in named)
            return b""

        try:
            ChunkReader(manifest, data, take).read(chunk)
        except RemoteProtocolError as error:
            raise DoesNotHold(f"the table of inputs is damaged: {error}", chunk=chunk) from None
    return refs


def _found(tasks: Sequence[bytes], beside: Path, folders: Sequence[Path]) -> dict[bytes, Recount]:
    """The records of these tasks that are here, each counted again."""
    found: dict[bytes, Recount] = {}
    for folder in folders:
        task = _task_of(folder)
        if task is None:
            raise CommandError(f"{folder} holds no {RECORDS_FILE}: name a folder of `cc-task results`", Exit.USAGE)
        if task not in tasks:
            raise CommandError(f"{folder} holds the records of a task that no input is from: {task.hex()}", Exit.USAGE)
        found[task] = _recount(folder, task)
    for folder in sorted(path.parent for path in beside.resolve().parent.glob(f"*/{RECORDS_FILE}")):
        task = _task_of(folder)
        if task is not None and task in tasks and task not in found:
            found[task] = _recount(folder, task)
    return found


def _task_of(folder: Path) -> bytes | None:
    """Whose records a folder holds."""
    try:
        data = (folder / RECORDS_FILE).read_bytes()
        return next((entry.signed.record_id for entry in read_shown(data)), None) if data.startswith(MAGIC) else None
    except (OSError, RemoteProtocolError):
        return None


def _recount(folder: Path, task: bytes) -> Recount:
    try:
        return recount(read_shown((folder / RECORDS_FILE).read_bytes()), verify)
    except (DoesNotHold, RemoteProtocolError) as error:
        raise DoesNotHold(f"the task {task.hex()} that inputs are from does not hold: {error}") from None
