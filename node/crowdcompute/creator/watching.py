"""What a creator sees while its task is computed: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from crowdcompute.protocol.closing import TaskState
from crowdcompute.protocol.identity import peer_id_of

from .report import count_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from crowdcompute.node.runtime import Runtime
    from crowdcompute.protocol.creator import CreatorRole
    from crowdcompute.protocol.manifest import Manifest
    from crowdcompute.protocol.results import Progress

PLAIN_EVERY_S = 5.0
UNTAKEN_S = 10.0
"""So long peers are connected and none takes the task up: then the creator is told why that may be. A guess."""
TERMINAL_EVERY_S = 0.1


async def until_closed(runtime: Runtime, role: CreatorRole, show: Callable[[], None]) -> None:
    """Call `show` as things happen, and return when the task is closed.

    Raises:
        Exception: What made the runtime stop.
    """
    while role.state is not TaskState.CLOSED:
        await runtime.changed()
        show()


@contextmanager
def screen(runtime: Runtime, role: CreatorRole) -> Iterator[Callable[[], None]]:
    """Show a task's progress on standard error; yields what to call when something may have changed."""
    if sys.stderr.isatty():
        with _live(runtime, role) as show:
            yield show
        return
    last, said = time.monotonic(), ""
    untaken = _Untaken(runtime, role)

    def show_plain() -> None:
        nonlocal last, said
        for hint in untaken.words():
            print(hint, file=sys.stderr, flush=True)
        line = words(role.progress(), len(runtime.peer.neighbours))
        if line != said and time.monotonic() - last >= PLAIN_EVERY_S:
            last, said = time.monotonic(), line
            print(line, file=sys.stderr, flush=True)

    yield show_plain


@contextmanager
def _live(runtime: Runtime, role: CreatorRole) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    with Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    ) as bars:
        line = bars.add_task("progress ", total=role.ledger.chunks, words="")
        shown_at = 0.0
        untaken = _Untaken(runtime, role)

        def show() -> None:
            nonlocal shown_at
            for hint in untaken.words():
                bars.console.print(hint, markup=False, highlight=False)
            done = role.state is TaskState.CLOSED
            if time.monotonic() - shown_at >= TERMINAL_EVERY_S or done:
                shown_at = time.monotonic()
                progress = role.progress()
                bars.update(line, completed=progress.accepted + progress.failed, words=_brief(progress, runtime))

        yield show
        show()


class _Untaken:
    """Tells once, of a task that no peer takes up although some are connected, what that may come from."""

    def __init__(self, runtime: Runtime, role: CreatorRole) -> None:
        self._runtime = runtime
        self._role = role
        self._since: float | None = None
        self._is_over = False

    def words(self) -> Iterator[str]:
        if self._is_over:
            return
        self._is_over = self._role.is_held
        if not self._runtime.peer.neighbours:
            self._since = None
        elif self._since is None:
            self._since = time.monotonic()
        elif time.monotonic() - self._since >= UNTAKEN_S and not self._is_over:
            self._is_over = True
            yield f"waiting   peers are connected, and none takes the task: {_wanting(self._role.ledger.manifest)}"


def _wanting(manifest: Manifest) -> str:
    match manifest.runtime:
        case "js":
            return (
                "nodes execute JavaScript with `pip install 'crowdcompute[js]'` or --strict-js; "
                "pages ask their person first"
            )
        case "net":
            return (
                "nodes fetch with --allow net only, for creators that somebody they trust vouches for; pages never do"
            )
        case _:
            return "nodes leave out what wants more than their --memory or --seconds; pages ask their person first"


def _brief(progress: Progress, runtime: Runtime) -> str:
    peers = len(runtime.peer.neighbours)
    convicted = f" · {progress.convicted} convicted" if progress.convicted else ""
    auditing = " · auditing" if progress.state is TaskState.AUDITING else ""
    return f"{progress.votes} votes · {peers} peers{convicted}{auditing}"


def words(progress: Progress, peers: int) -> str:
    """A task in one line."""
    parts = [f"{progress.accepted:,}/{progress.chunks:,} chunks accepted", count_of(progress.votes, "vote")]
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if progress.convicted:
        parts.append(f"{count_of(progress.convicted, 'worker')} convicted")
    if progress.drawn:
        parts.append(f"{count_of(progress.drawn, 'vote')} drawn by lot while you were away")
    audits = progress.worker_audits + progress.creator_audits
    if audits:
        parts.append(count_of(audits, "audit"))
    parts.append(f"{count_of(peers, 'peer')} connected")
    return f"{progress.state.value}: " + ", ".join(parts)


def report(role: CreatorRole) -> dict[str, Any]:
    """A task's state as JSON."""
    progress = role.progress()
    return {
        "task": role.ledger.task.hex(),
        "name": role.ledger.manifest.name,
        "state": progress.state.value,
        "chunks": progress.chunks,
        "accepted": progress.accepted,
        "failed": progress.failed,
        "votes": progress.votes,
        "drawn_while_away": progress.drawn,
        "workers": progress.workers,
        "audits": {"by_workers": progress.worker_audits, "by_creator": progress.creator_audits},
        "bound": progress.bound,
        "wrong_votes": {peer_id_of(worker): count for worker, count in sorted(role.wrong_votes().items())},
        "convicted": [peer_id_of(worker) for worker in sorted(role.ledger.verdicts)],
        "stewards": [peer_id_of(steward) for steward in sorted(role.ledger.delegations)],
    }
