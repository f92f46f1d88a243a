"""`cc-task export`: rows of results, votes or the certificate for other programs, in files or in tables."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from crowdcompute.node.exits import CommandError, Exit

from .commands import Key
from .outcomes import ROWS
from .session import open_creator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TextIO

    from sqlalchemy import Table

    from .outcomes import Row

What = Literal["results", "votes", "certificate"]
Format = Literal["ndjson", "csv", "parquet", "tables"]

ROW_GROUP = 65_536
"""Rows of a Parquet file that are compressed together, and held in memory until then. A guess."""


def export(
    task: str,
    /,
    *,
    what: What | None = None,
    format: Format = "ndjson",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    key: Key = None,
) -> int:
    """Write what is known of a task as rows for other programs.

    Parameters
    ----------
    task
        The task's id, or its first digits, or its name.
    what
        One row per chunk (results), per vote (votes), or one in all (certificate). Tables get all if it is not given.
    format
        ndjson, csv, parquet (needs the extra [parquet]), or tables: those of the store, where SQL reads them.
    output
        The file; standard output if not given, which Parquet cannot take.
    """
    if format == "tables" and output is not None:
        raise CommandError("tables are written to the store's database: leave out -o", Exit.USAGE)
    if format != "tables" and what is None:
        raise CommandError("which rows? --what results, votes or certificate", Exit.USAGE)
    if format == "parquet" and output is None:
        raise CommandError("a Parquet file needs a name: -o FILE", Exit.USAGE)
    with open_creator(key) as creator:
        role = creator.role(creator.find(task).task_id)
        if format == "tables":
            asked = ROWS if what is None else {what: ROWS[what]}
            counts = creator.home.records.keep_outcome(
                role.ledger.task, {name: rows(role) for name, rows in asked.items()}
            )
            # A certificate's table holds those of all tasks.
            print(", ".join(f"{count:,} rows in {_table(name).name}" for name, count in counts.items()))
            return Exit.OK
        assert what is not None
        rows, table = ROWS[what](role), _table(what)
        if output is None:
            _TEXTS[format](rows, table, sys.stdout)
        else:
            count = _write(rows, table, format, output)
            print(f"{count:,} rows in {output}")
    return Exit.OK


def _table(what: str) -> Table:
    from crowdcompute.node.store.records import OUTCOMES

    return OUTCOMES[what]


def _write(rows: Iterable[Row], table: Table, format: Format, output: Path) -> int:
    """The file appears whole or not at all."""
    with _replacing(output) as temporary:
        if format == "parquet":
            return _parquet(rows, table, temporary)
        with temporary.open("w", encoding="utf-8", newline="") as file:
            return _TEXTS[format](rows, table, file)


def _ndjson(rows: Iterable[Row], table: Table, file: TextIO) -> int:
    count = 0
    for row in rows:
        file.write(json.dumps(row) + "\n")
        count += 1
    return count


def _csv(rows: Iterable[Row], table: Table, file: TextIO) -> int:
    writer = csv.DictWriter(file, table.columns.keys(), lineterminator="\n")
    writer.writeheader()
    count = 0
    for row in rows:
        # Truth values as JSON writes them.
        writer.writerow({name: str(value).lower() if isinstance(value, bool) else value for name, value in row.items()})
        count += 1
    return count


_TEXTS: dict[str, Callable[[Iterable[Row], Table, TextIO], int]] = {"ndjson": _ndjson, "csv": _csv}


def _parquet(rows: Iterable[Row], table: Table, path: Path) -> int:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise CommandError(
            "Parquet needs the extra [parquet]: pip install 'crowdcompute[parquet]', or choose --format ndjson",
            Exit.NOT_READY,
        ) from None
    kinds: dict[type, Any] = {str: arrow.string(), int: arrow.int64(), bool: arrow.bool_(), float: arrow.float64()}
    schema = arrow.schema(
        [arrow.field(column.name, kinds[column.type.python_type], nullable=column.nullable) for column in table.columns]
    )
    count, waiting = 0, iter(rows)
    with parquet.ParquetWriter(path, schema) as writer:
        while group := list(islice(waiting, ROW_GROUP)):
            writer.write_table(arrow.Table.from_pylist(group, schema=schema))
            count += len(group)
    return count


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    temporary = path.with_name(path.name + ".part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
