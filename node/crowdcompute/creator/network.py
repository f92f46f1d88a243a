"""The commands of cc-task that need the network, or what came from it: publish, watch, list, results."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.node.signals import Stopping
from crowdcompute.node.transports.link import StackName
from crowdcompute.protocol.closing import TaskState
from crowdcompute.protocol.identity import peer_id_of
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.manifest import time_refusal
from crowdcompute.protocol.split import are_read_in_pieces

from .code import examine
from .commands import HERE, Json, Key
from .local import reproduce_words
from .plan import Plan, assemble
from .report import SCHEMA, bundle_report, bundle_words, count_of
from .report import show as show_report
from .results import CERTIFICATE_FILE, accepted_results, certificate, export, failures, statement_of
from .session import Creator, online, open_creator
from .task_file import TASK_FILE, read_task_file
from .watching import report, screen, until_closed, words
from .work import open_bundle, read_module, sign_task

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager
    from typing import Any

    from crowdcompute.node.runtime import Runtime
    from crowdcompute.protocol.bundle import Bundle
    from crowdcompute.protocol.creator import CreatorRole

Link = Annotated[str | None, Parameter(env_var="CC_LINK", help="Join link of the network, http://host/j#n=NETWORK")]
Host = Annotated[tuple[str, ...], Parameter(help="Offer only this local address to other peers; may be given again")]
Stack = Annotated[
    StackName,
    Parameter(
        env_var="CC_STACK",
        help="What makes links: auto, or WebRTC only by this engine: aiortc, wrtc (the extra [fast])",
    ),
]
Upload = Annotated[
    str | None,
    Parameter(help="Give code and inputs at no more than this many bytes a second, like 500kB (default: no cap)"),
]
Timeout = Annotated[float | None, Parameter(help="Give up after this many seconds (exit 124)")]

FAILURES_SHOWN = 10
"""Chunks without a result that are named on the terminal; a broken kernel fails on all of them."""


def publish(
    path: Path = HERE,
    /,
    *,
    link: Link = None,
    wait: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    timeout: Timeout = None,
    as_json: Json = False,
    key: Key = None,
    host: Host = (),
    upload: Upload = None,
    stack: Stack = "auto",
) -> int:
    """Put a task (folder or bundle) on a network.

    Without --wait it stays until a volunteer holds the task, then leaves; volunteers go on computing, and
    `cc-task watch TASK` collects and checks what they did. With --wait it stays until the task is closed.

    Parameters
    ----------
    wait
        Stay until the task is closed: exit 0 if every chunk has a result, else 5.
    dry_run
        Show what would be published, and publish nothing.
    """
    cap = _upload_cap(upload)
    with open_creator(key) as creator:
        bundle, plan = _bundle(path, creator)
        facts = examine(bundle.manifest.runtime, bundle.module)
        if dry_run:
            show_report(
                bundle_report(bundle.manifest, bundle.task_id, facts),
                bundle_words(bundle.manifest, bundle.task_id, facts),
                as_json=as_json,
            )
            return Exit.OK
        if not link:
            raise CommandError("publish where? Give the network's join link with --link or CC_LINK", Exit.USAGE)
        where = JoinLink.parse(link)
        creator.store_bundle(bundle)
        creator.remember_plan(bundle.task_id, plan)
        join = replace(where, task_id=bundle.task_id)

        async def work(runtime: Runtime) -> CreatorRole:
            runtime.publish(bundle.signed)
            creator.remember(bundle.task_id, where)
            role = runtime.peer.creators[bundle.task_id]
            _say(f"task      {bundle.manifest.name}, {bundle.manifest.chunks:,} chunks, {bundle.task_id.hex()}")
            _say(f"creator   {peer_id_of(bundle.manifest.creator)}  signature ok")
            _say(f"join      {join}")
            await _watched(runtime, role, until_closed if wait else _until_held)
            return role

        role = in_network(creator, where, host, stack, work, timeout, cap)
        if not wait and role.state is not TaskState.CLOSED:
            _say(f"volunteers have the task; `cc-task watch {bundle.task_id.hex()[:12]}` collects their results")
        return _finish(role, as_json=as_json, extra={"join": str(join)}, judge=wait)


def watch(
    task: str,
    /,
    *,
    link: Link = None,
    timeout: Timeout = None,
    as_json: Json = False,
    key: Key = None,
    host: Host = (),
    upload: Upload = None,
    stack: Stack = "auto",
) -> int:
    """Go online for a task published before, and stay until it is closed: exit 0 if all chunks have results, else 5.

    Parameters
    ----------
    task
        The task's id, or its first digits, or its name.
    """
    cap = _upload_cap(upload)
    with open_creator(key) as creator:
        stored = creator.find(task)
        offline = creator.role(stored.task_id)
        if offline.state is TaskState.CLOSED:
            return _finish(offline, as_json=as_json, extra={}, judge=True)
        refusal = time_refusal(offline.ledger.manifest, time.time())
        if refusal is not None:
            raise CommandError(f"{stored.name}: {refusal}; publish it again to go on", Exit.REFUSED)
        where = JoinLink.parse(link) if link else creator.link_of(stored.task_id)

        async def work(runtime: Runtime) -> CreatorRole:
            role = runtime.peer.creators[stored.task_id]
            await _watched(runtime, role, until_closed)
            return role

        role = in_network(creator, where, host, stack, work, timeout, cap)
        return _finish(role, as_json=as_json, extra={}, judge=True)


def list_tasks(*, as_json: Json = False, key: Key = None) -> None:
    """The tasks published from this machine."""
    with open_creator(key) as creator:
        stored_tasks = creator.home.records.tasks()
        ours = creator.identity.public_key
        roles = [(stored, creator.role(stored.task_id)) for stored in stored_tasks if stored.creator == ours]
        if as_json:
            print(json.dumps({"schema": SCHEMA, "tasks": [report(role) for _, role in roles]}, indent=2))
            return
        if not stored_tasks:
            print("nothing published yet: `cc-task publish` does it")
        for stored, role in roles:
            progress = role.progress()
            print(
                f"{stored.task_id.hex()[:12]}  {progress.state.value:8}  "
                f"{progress.accepted:,}/{progress.chunks:,}  {stored.name}"
            )
        for stored in stored_tasks:
            if stored.creator != ours:
                print(f"{stored.task_id.hex()[:12]}  signed by another key, --key shows it: {stored.name}")


def results(
    task: str, /, *, output: Annotated[Path, Parameter(name=["--output", "-o"])], as_json: Json = False, key: Key = None
) -> int:
    """Write a task's accepted results, the votes behind them, and its certificate.

    Parameters
    ----------
    task
        The task's id, or its first digits, or its name.
    output
        Folder for 000042.bin per chunk, results.ndjson, certificate.json, and records.ccr, the evidence for it.
    """
    with open_creator(key) as creator:
        role = creator.role(creator.find(task).task_id)
        count = export(role, output)
        assembled = _assembled(role, creator.plan_of(role.ledger.task), output)
        if as_json:
            print(json.dumps({"schema": SCHEMA, **report(role), "certificate": certificate(role)}, indent=2))
        else:
            print(f"{count:,} of {role.ledger.chunks:,} results in {output}")
            if assembled is not None:
                print(f"together in {assembled}")
            _say_failures(role)
            if role.state is TaskState.CLOSED:
                print(f"certificate: {statement_of(role)}")
                print(f"anybody can check it: cc-task audit {output / CERTIFICATE_FILE} --results {output}")
            else:
                print(f"no certificate yet, the task is {role.state.value}: `cc-task watch {task}` goes on with it")
        return Exit.OK


def _bundle(path: Path, creator: Creator) -> tuple[Bundle, Plan]:
    """The bundle to publish, as it is, or signed now from a folder; and what a folder says about its results."""
    plan = Plan()
    if not path.is_dir() and path.name != TASK_FILE:
        bundle = open_bundle(path)
    else:
        task = read_task_file(path if path.is_dir() else path.parent)
        plan = task.plan
        bundle = sign_task(task, read_module(task), creator.identity)
        if task.earlier is not None and not task.earlier.is_onward:
            _say("note      volunteers fetch all inputs from here: the earlier task did not say publish.onward = true")
    refusal = time_refusal(bundle.manifest, time.time())
    if refusal is not None:
        raise CommandError(f"{path} cannot be published: {refusal}", Exit.REFUSED)
    return bundle, plan


def _assembled(role: CreatorRole, plan: Plan, folder: Path) -> Path | None:
    if plan.how == "none":
        return None
    return asyncio.run(assemble(plan, role.ledger.manifest.split, accepted_results(role), folder))


def in_network(
    creator: Creator,
    link: JoinLink,
    hosts: tuple[str, ...],
    stack: StackName,
    work: Callable[[Runtime], Awaitable[CreatorRole]],
    timeout_s: float | None,
    upload_bytes_per_s: int | None = None,
) -> CreatorRole:
    """Do something on the network, until it is done, `timeout_s` are over, or somebody presses Ctrl+C."""
    return _run(
        _while_online(
            online(creator, link, hosts=hosts, upload_bytes_per_s=upload_bytes_per_s, stack=stack), work, timeout_s
        )
    )


def _upload_cap(text: str | None) -> int | None:
    """Bytes a second, from what was given to --upload."""
    if text is None:
        return None
    from crowdcompute.node.config import size_of

    try:
        bytes_per_s = size_of(text)
        if bytes_per_s < 1:
            raise ValueError("nothing would ever leave")
    except ValueError as error:
        raise CommandError(f"--upload {text}: {error}", Exit.USAGE) from None
    return bytes_per_s


async def _while_online(
    connected: AbstractAsyncContextManager[Runtime],
    work: Callable[[Runtime], Awaitable[CreatorRole]],
    timeout_s: float | None,
) -> CreatorRole:
    stopping = Stopping()
    async with connected as runtime:
        working = asyncio.ensure_future(work(runtime))
        asked = asyncio.create_task(stopping.asked.wait())
        done, _ = await asyncio.wait({working, asked}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if working not in done:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            if not done:
                raise CommandError(
                    f"not done after {timeout_s:g} s; nothing is lost, `cc-task watch` goes on with it", Exit.TIMEOUT
                )
            raise CommandError("stopped; nothing is lost, `cc-task watch` goes on with it", Exit.INTERRUPTED)
        asked.cancel()
        return working.result()


async def _watched(
    runtime: Runtime,
    role: CreatorRole,
    until: Callable[[Runtime, CreatorRole, Callable[[], None]], Awaitable[None]],
) -> None:
    with screen(runtime, role) as show:
        await until(runtime, role, show)


async def _until_held(runtime: Runtime, role: CreatorRole, show: Callable[[], None]) -> None:
    """Until a worker has joined: it joins only once it holds the code and the inputs.

    Of large inputs volunteers hold only what they have read, so the creator may not leave before the end.
    """
    if are_read_in_pieces(role.ledger.manifest, runtime.peer.config.blob_whole_bytes):
        _say("stays       volunteers fetch its large inputs from here, piece by piece, to the end")
        await until_closed(runtime, role, show)
        return
    while not role.is_held and role.state is not TaskState.CLOSED:
        await runtime.changed()
        show()


def _finish(role: CreatorRole, *, as_json: bool, extra: dict[str, Any], judge: bool) -> int:
    if as_json:
        print(json.dumps({"schema": SCHEMA, **extra, **report(role), "certificate": certificate(role)}, indent=2))
    elif role.state is TaskState.CLOSED:
        _say(words(role.progress(), 0).rsplit(", ", 1)[0])
        _say_wrong(role)
        _say_failures(role)
        print(f"certificate: {statement_of(role)}")
        print(f"next: cc-task results {role.ledger.task.hex()[:12]} -o DIR")
    if not judge:
        return Exit.OK
    failed = next(failures(role), None) is not None
    return Exit.DISPUTED if failed or role.state is not TaskState.CLOSED else Exit.OK


def _say_wrong(role: CreatorRole) -> None:
    """Who voted wrongly; and where several did on one chunk, that it may be the task's own fault."""
    wrong = role.wrong_votes()
    for worker, count in sorted(wrong.items()):
        _say(f"wrong     {count_of(count, 'vote')} by {peer_id_of(worker)}")
    if len(wrong) < 2:
        return
    chunk, workers = max(
        ((chunk, len(role.result(chunk).disagreed)) for chunk in range(role.ledger.manifest.chunks)),
        key=lambda found: found[1],
    )
    if workers > 1:
        again = reproduce_words(role.ledger.task.hex()[:12], chunk)
        _say(
            f"beware    {workers} workers voted otherwise on chunk {chunk} than your own node: unless they lied "
            f"together, its code does not give the same everywhere; to see it here: {again}"
        )


def _say_failures(role: CreatorRole) -> None:
    for number, (chunk, reason) in enumerate(failures(role)):
        if number == FAILURES_SHOWN:
            _say("…and more: results.ndjson of `cc-task results` names all")
            return
        _say(f"chunk {chunk}   {reason}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _run(main: Coroutine[Any, Any, CreatorRole]) -> CreatorRole:
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.run(main)
    return asyncio.run(main)
