"""`cc-task leaderboard`: who earned how much in our tasks, accounts before their devices (protocol: accounts.py)."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from crowdcompute.node.exits import CommandError
from crowdcompute.node.leaderboard import Accounts, AskedLink, show, tables_of

from .commands import Json, Key
from .session import Creator, open_creator


def show_leaderboard(
    task: str | None = None,
    /,
    *,
    network: Annotated[str | None, Parameter(help="Only tasks published on the network of this name")] = None,
    account: Accounts = (),
    link: AskedLink = None,
    as_json: Json = False,
    key: Key = None,
) -> None:
    """Who earned most, in one task or in all that were published from here: accounts, and workers that belong to none.

    Parameters
    ----------
    task
        The task's id, or its first digits, or its name (default: all tasks).
    """
    with open_creator(key) as creator:
        if task is not None:
            tasks = [creator.find(task)]
        else:
            tasks = [
                each for each in creator.home.records.tasks() if network in (None, _network(creator, each.task_id))
            ]
        tables = tables_of(creator.home.records, creator.home.blobs, tasks)
    show(tables, account, link, as_json=as_json)


def _network(creator: Creator, task: bytes) -> str | None:
    try:
        return creator.link_of(task).network
    except CommandError:
        # Signed here, and published by nobody yet.
        return None
