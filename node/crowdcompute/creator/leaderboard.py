"""`cc-task leaderboard`: who earned how much in our tasks, accounts before their devices (protocol: accounts.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from crowdcompute.node.account_files import own_statement, read_statement
from crowdcompute.node.account_login import statements_of
from crowdcompute.node.earned import amount, worker_amounts
from crowdcompute.node.exits import CommandError
from crowdcompute.protocol.accounts import Roster, Standing, leaderboard
from crowdcompute.protocol.identity import peer_id_of
from crowdcompute.protocol.join_link import JoinLink

from .commands import Json, Key
from .report import SCHEMA
from .session import Creator, open_creator

if TYPE_CHECKING:
    from collections.abc import Mapping

Accounts = Annotated[
    tuple[Path, ...],
    Parameter(name="--account", help="An account's statement, a file by `cc-node account show -o`; may be given again"),
]


def show_leaderboard(
    task: str | None = None,
    /,
    *,
    network: Annotated[str | None, Parameter(help="Only tasks published on the network of this name")] = None,
    account: Accounts = (),
    link: Annotated[str | None, Parameter(help="Ask the signaling servers of this join link for accounts")] = None,
    as_json: Json = False,
    key: Key = None,
) -> None:
    """Who earned most, in one task or in all that were published from here: accounts, and workers that belong to none.

    Parameters
    ----------
    task
        The task's id, or its first digits, or its name (default: all tasks).
    """
    statements = [read_statement(path)[1] for path in account]
    own = own_statement()
    with open_creator(key) as creator:
        tables = _tables(creator, task, network)
        if link is not None:
            workers = sorted({worker for table in tables for worker in table})
            for server in JoinLink.parse(link).servers:
                statements += statements_of(server, workers)
        board = leaderboard(tables, Roster([*statements, *([own] if own is not None else [])]))
    if as_json:
        print(
            json.dumps(
                {"schema": SCHEMA, "tasks": len(tables), "leaderboard": [_row(line) for line in board]}, indent=2
            )
        )
        return
    for place, line in enumerate(board, start=1):
        devices = f"  ({line.workers} devices)" if line.workers > 1 else ""
        print(f"{place:>4}  {amount(line.millicredits):>12}  {line.name or peer_id_of(line.key)}{devices}")
    if not board:
        print("nobody has earned anything yet")


def _tables(creator: Creator, task: str | None, network: str | None) -> list[Mapping[bytes, int]]:
    home = creator.home
    if task is not None:
        tasks = [creator.find(task).task_id]
    else:
        tasks = [each.task_id for each in home.records.tasks() if network in (None, _network(creator, each.task_id))]
    return [worker_amounts(home.records.load_task(each), home.blobs) for each in tasks]


def _network(creator: Creator, task: bytes) -> str | None:
    try:
        return creator.link_of(task).network
    except CommandError:
        # Signed here, and published by nobody yet.
        return None


def _row(line: Standing) -> dict[str, object]:
    return {
        "id": peer_id_of(line.key),
        "name": line.name or None,
        "millicredits": line.millicredits,
        "workers": line.workers,
        "tasks": line.tasks,
    }
