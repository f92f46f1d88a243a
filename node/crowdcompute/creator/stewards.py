"""`cc-task delegate` and `cc-task revoke`: who acts for a creator while it is away (protocol/spec/stewards.md)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.protocol.closing import TaskState
from crowdcompute.protocol.errors import LocalProtocolError, RemoteProtocolError
from crowdcompute.protocol.identity import PeerId, peer_id_of, public_key_of
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.ledger import task_topic

from .commands import Json, Key
from .network import Host, Link, Stack, in_network
from .report import SCHEMA
from .session import open_creator
from .task_file import TaskFileError, duration_s

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crowdcompute.node.runtime import Runtime
    from crowdcompute.node.transports.link import StackName
    from crowdcompute.protocol.creator import CreatorRole

WAIT_S = 60.0
"""How long a command waits to meet somebody who follows the task."""

DIRECTLY_S = 10.0
"""How long the steward itself is looked for, after others have heard it."""

Timeout = Annotated[float, Parameter(help="Give up after this many seconds (exit 124)")]


def delegate(
    task: str,
    /,
    *,
    to: str,
    for_: Annotated[str, Parameter(name="--for")],
    trusted: Annotated[bool, Parameter(negative="")] = False,
    link: Link = None,
    timeout: Timeout = WAIT_S,
    as_json: Json = False,
    key: Key = None,
    host: Host = (),
    stack: Stack = "auto",
) -> int:
    """Let a peer act for you in one task while you are away: admit, ask for second votes and audits, settle disputes.

    It cannot publish, convict, pay or close the task; what it settles you settle anew when you are back. It can read
    the task's votes and results. While you are there it only looks on.

    Parameters
    ----------
    task
        The task's id, or its first digits, or its name.
    to
        Peer id of a node that runs `cc-node steward` and has joined the task.
    for_
        How long from now: "2d" or "12h".
    trusted
        Answer for its dice: audits it draws count for your certificate. For machines of your own.
    """
    steward = _peer(to)
    try:
        until_s = int(time.time()) + duration_s("--for", for_)
    except TaskFileError as error:
        raise CommandError(str(error), Exit.USAGE) from None

    def say(runtime: Runtime, role: CreatorRole) -> None:
        runtime.delegate(role.ledger.task, steward, until_s, trusted=trusted)

    role = _said(task, steward, say, link, timeout, key, host, stack, joined=True)
    until = time.strftime("%Y-%m-%d %H:%M", time.localtime(until_s))
    words = f"{steward} acts for you in {role.ledger.manifest.name} until {until}, whenever you are away"
    _show(role, words, as_json=as_json)
    return Exit.OK


def revoke(
    task: str,
    /,
    *,
    from_: Annotated[str, Parameter(name="--from")],
    link: Link = None,
    timeout: Timeout = WAIT_S,
    as_json: Json = False,
    key: Key = None,
    host: Host = (),
    stack: Stack = "auto",
) -> int:
    """Take back a delegation, for good, and with it all that the steward did: what it had confirmed is confirmed anew.

    A steward that you only want to stop needs none of this: it stops when its time is over, and while you are there.

    Parameters
    ----------
    task
        The task's id, or its first digits, or its name.
    from_
        The steward's peer id.
    """
    steward = _peer(from_)

    def say(runtime: Runtime, role: CreatorRole) -> None:
        runtime.revoke(role.ledger.task, steward)

    role = _said(task, steward, say, link, timeout, key, host, stack, joined=False)
    words = f"{steward} acts for you no more in {role.ledger.manifest.name}; nothing it said counts"
    _show(role, words, as_json=as_json)
    return Exit.OK


def stewards_report(role: CreatorRole) -> dict[str, Any]:
    """Who acts for the creator of a task, as JSON."""
    ledger = role.ledger
    return {
        "task": ledger.task.hex(),
        "stewards": [
            {"peer": peer_id_of(steward), "until_s": it.until_s, "trusted": it.trusted}
            for steward, it in sorted(ledger.delegations.items())
        ],
        "revoked": [peer_id_of(steward) for steward in sorted(ledger.revoked)],
    }


# ---- inside


def _show(role: CreatorRole, words: str, *, as_json: bool) -> None:
    print(json.dumps({"schema": SCHEMA, **stewards_report(role)}, indent=2) if as_json else words)


def _peer(text: str) -> PeerId:
    try:
        return peer_id_of(public_key_of(text))
    except RemoteProtocolError as error:
        raise CommandError(f"{error}: `cc-node id` on that machine prints it", Exit.USAGE) from None


def _said(
    task: str,
    steward: PeerId,
    say: Callable[[Runtime, CreatorRole], None],
    link: str | None,
    timeout_s: float,
    key: Path | None,
    hosts: tuple[str, ...],
    stack: StackName,
    *,
    joined: bool,
) -> CreatorRole:
    """Go online, say it, and stay until the steward, or somebody who passes it on, has it."""
    with open_creator(key) as creator:
        stored = creator.find(task)
        if creator.role(stored.task_id).state is TaskState.CLOSED:
            raise CommandError(f"{stored.name} is closed: a steward has nothing left to do there", Exit.REFUSED)
        where = JoinLink.parse(link) if link else creator.link_of(stored.task_id)

        async def work(runtime: Runtime) -> CreatorRole:
            role = runtime.peer.creators[stored.task_id]
            if joined and public_key_of(steward) not in role.ledger.joins:
                with contextlib.suppress(TimeoutError):
                    await _until(runtime, lambda: public_key_of(steward) in role.ledger.joins, timeout_s / 2)
            topic = task_topic(stored.task_id)
            while not runtime.peer.followers(topic):
                await runtime.changed()
            try:
                say(runtime, role)
            except LocalProtocolError as error:
                raise CommandError(f"{steward}: {error}", Exit.REFUSED) from None
            # Best is to tell it ourselves; if it is not there now, others pass the word on.
            with contextlib.suppress(TimeoutError):
                await _until(runtime, lambda: steward in runtime.peer.followers(topic), DIRECTLY_S)
            return role

        return in_network(creator, where, hosts, stack, work, timeout_s)


async def _until(runtime: Runtime, is_so: Callable[[], bool], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not is_so():
            await runtime.changed()
