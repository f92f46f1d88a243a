"""Who earned how much, accounts before their devices (protocol: accounts.py): `cc-node leaderboard`.

A volunteer's node knows the checkpoints of the tasks that it works on; `cc-task leaderboard` shows the same of a
creator's own tasks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter

from crowdcompute.protocol.accounts import Roster, Standing, leaderboard
from crowdcompute.protocol.identity import peer_id_of
from crowdcompute.protocol.join_link import JoinLink

from .account_files import own_statement, read_statement
from .account_login import statements_of
from .control import SCHEMA, NotRunning, ask
from .earned import amount, created_s, worker_amounts
from .exits import CommandError, Exit
from .home import control_socket, open_home
from .paths import paths

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crowdcompute.protocol.storage import BlobStore

    from .store.records import RecordStore, StoredTask

WORKERS_TOLD = 8_000
"""Of all tasks together, those who earned most: with each its key and a number, as many as one answer of a running node
holds (control.py). A leaderboard of more is the creator's to show."""

Accounts = Annotated[
    tuple[Path, ...],
    Parameter(name="--account", help="An account's statement, a file by `cc-node account show -o`; may be given again"),
]
AskedLink = Annotated[str | None, Parameter(help="Ask the signaling servers of this join link for accounts")]


class Table(NamedTuple):
    """What the checkpoints of one task say."""

    task: bytes
    name: str
    created_s: int
    millicredits: Mapping[bytes, int]


def tables_of(records: RecordStore, blobs: BlobStore, tasks: Sequence[StoredTask] | None = None) -> list[Table]:
    """One for each of these tasks (default: for all), as far as its checkpoints are here."""
    return [
        Table(each.task_id, each.name, created_s(each), worker_amounts(records.load_task(each.task_id), blobs))
        for each in (records.tasks() if tasks is None else tasks)
    ]


def told(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Tables as a running node answers with them."""
    most = WORKERS_TOLD // max(1, len(tables))
    return [
        {
            "task": table.task.hex(),
            "name": table.name,
            "created_s": table.created_s,
            "millicredits": {
                worker.hex(): earned
                for worker, earned in sorted(table.millicredits.items(), key=lambda row: (-row[1], row[0]))[:most]
            },
        }
        for table in tables
    ]


def show_leaderboard(
    task: str | None = None,
    /,
    *,
    account: Accounts = (),
    link: AskedLink = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document")] = False,
) -> None:
    """Who earned most in the tasks that this node works on, or in one: accounts, and workers that belong to none.

    Parameters
    ----------
    task
        The task's id, or its first digits, or its name (default: all tasks).
    """
    tables = _known()
    if task is not None:
        tables = [table for table in tables if table.task.hex().startswith(task.lower()) or table.name == task]
        if not tables:
            raise CommandError(f"this node knows no task whose id begins with {task!r}, or of that name", Exit.USAGE)
    show(tables, account, link, as_json=as_json)


def _known() -> list[Table]:
    """What this machine's node knows, whether it runs or not."""
    folder = paths().data / "node"
    try:
        answer = ask(control_socket(folder), "leaderboard")["tasks"]
    except NotRunning:
        with open_home(folder, disk_bytes=0, store=paths().store) as home:
            return tables_of(home.records, home.blobs)
    return [
        Table(
            bytes.fromhex(each["task"]),
            each["name"],
            each["created_s"],
            {bytes.fromhex(worker): earned for worker, earned in each["millicredits"].items()},
        )
        for each in answer
    ]


def show(tables: Sequence[Table], accounts: Sequence[Path], link: str | None, *, as_json: bool) -> None:
    """Print who earned how much in these tasks, under the names that these files, and a link's servers, know."""
    statements = [read_statement(path)[1] for path in accounts]
    if link is not None:
        workers = sorted({worker for table in tables for worker in table.millicredits})
        for server in JoinLink.parse(link).servers:
            statements += [statement for _, statement in statements_of(server, workers)]
    own = own_statement()
    roster = Roster([*statements, *([own] if own is not None else [])])
    board = leaderboard([(table.created_s, table.millicredits) for table in tables], roster)
    if as_json:
        document = {"schema": SCHEMA, "tasks": len(tables), "leaderboard": [_row(line) for line in board]}
        print(json.dumps(document, indent=2))
        return
    for place, line in enumerate(board, start=1):
        devices = f"  ({line.workers} devices)" if line.workers > 1 else ""
        print(f"{place:>4}  {amount(line.millicredits):>12}  {line.name or peer_id_of(line.key)}{devices}")
    if not board:
        print("nobody has earned anything yet")


def _row(line: Standing) -> dict[str, object]:
    return {
        "id": peer_id_of(line.key),
        "name": line.name or None,
        "millicredits": line.millicredits,
        "workers": line.workers,
        "tasks": line.tasks,
    }
