"""What becomes known while a node runs, told once: how its tasks go, and whether the signaling server answers.

Notices (protocol.events) tell what happens to this node. The rest is read off the peer's state, whenever that may have
changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crowdcompute.protocol.identity import peer_id_of

from .signaling_client import SignalingState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crowdcompute.protocol.ledger import Ledger

    from .runtime import Runtime

CONVICTED_TOLD = 5
"""Of one task by name: a stranger can have as many keys as it likes convicted."""

RUNTIMES = {"js": "JavaScript, which this node does not execute", "net": "a task that fetches, and nobody allowed that"}


class News:
    """A runtime's news since it was last asked."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._is_introduced = bool(runtime.link.servers)
        # What was known before it started is no news.
        ledgers = runtime.peer.ledgers.items()
        self._convicted = {task: set(ledger.verdicts) for task, ledger in ledgers}
        self._ended = {task for task, ledger in ledgers if ledger.certificate is not None}
        self._left: set[bytes] = set()

    def lines(self) -> Iterator[str]:
        """A line for each thing that has not been told yet."""
        yield from self._of_the_server()
        peer = self._runtime.peer
        for task, ledger in peer.ledgers.items():
            name = f"task {task.hex()[:8]}"
            if task in peer.workers or task in peer.stewards:
                yield from self._of_a_task(name, ledger)
            elif task not in self._left and (what := self._not_executed(ledger)) is not None:
                self._left.add(task)
                yield f"{name} {ledger.manifest.name!r} is left to others: it is {what}"

    def _of_the_server(self) -> Iterator[str]:
        state = self._runtime.signaling.state
        if self._is_introduced and state in (SignalingState.UNREACHABLE, SignalingState.REFUSED):
            self._is_introduced = False
            why = self._runtime.signaling_detail
            yield (
                f"no signaling server answers{f' ({why})' if why else ''}: work goes on with the peers connected; "
                "who is new has to wait"
            )
        elif not self._is_introduced and state is SignalingState.ENTERED:
            self._is_introduced = True
            yield "the signaling server answers again"

    def _of_a_task(self, name: str, ledger: Ledger) -> Iterator[str]:
        told = self._convicted.setdefault(ledger.task, set())
        if len(told) < len(ledger.verdicts):
            for worker in sorted(ledger.verdicts.keys() - told):
                told.add(worker)
                # Of this node itself a notice tells, and what follows from it.
                if worker != self._runtime.peer.signer.public_key and len(told) <= CONVICTED_TOLD:
                    yield f"{name} strikes out votes of {peer_id_of(worker)}: {ledger.verdicts[worker].reason}"
        if ledger.certificate is not None and ledger.task not in self._ended:
            self._ended.add(ledger.task)
            yield f"{name} {ledger.manifest.name!r} is complete: its creator has certified {_results(ledger)}"

    def _not_executed(self, ledger: Ledger) -> str | None:
        manifest, config = ledger.manifest, self._runtime.peer.config
        return RUNTIMES.get(manifest.runtime) if manifest.runtime not in config.runtimes else None


def _results(ledger: Ledger) -> str:
    accepted = ledger.certificate.accepted if ledger.certificate is not None else 0
    return f"{accepted:,} result{'s' if accepted != 1 else ''}"
