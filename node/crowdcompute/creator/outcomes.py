"""What a task's records say, as rows: of its results, of the votes behind them, and of its certificate.

The columns are those of the store's tables (store/schema.py), whatever the rows are written to.

    results       status: ok, task error, failed, open; reasons: a JSON array of why nobody got a result
    votes         vote: ok, task error, no result, sealed; counts: whether the tally heeds it; batch: its commit's seq;
                  chosen: who put the worker on the chunk (itself, creator, lots), or that it is the creator's own
    certificate   one row once the task is closed
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from crowdcompute.protocol.events import Status
from crowdcompute.protocol.identity import peer_id_of

from .results import certificate, reasons_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from crowdcompute.protocol.creator import CreatorRole
    from crowdcompute.protocol.tally import Vote

Row = dict[str, Any]


def result_rows(role: CreatorRole) -> Iterator[Row]:
    """One row for each chunk."""
    task = role.ledger.task.hex()
    for chunk in range(role.ledger.chunks):
        result = role.result(chunk)
        yield {
            "task": task,
            "chunk": chunk,
            "status": result.state,
            "sha256": result.digest.hex() if result.digest is not None else None,
            "size": result.size,
            "votes": result.votes,
            # JSON also because a spreadsheet takes a text of somebody's that begins with "=" for a formula.
            "reasons": json.dumps(reasons_of(role, result)),
        }


def vote_rows(role: CreatorRole) -> Iterator[Row]:
    """One row for each worker that voted on a chunk, with the vote of its that says most."""
    task, referee = role.ledger.task.hex(), role.referee
    for chunk in range(role.ledger.chunks):
        result = role.result(chunk)
        accepted = (result.state, result.digest) if result.digest is not None else None
        drawn = role.ledger.lots.workers(chunk, blind=True)
        for worker, vote in sorted(referee.voters(chunk).items()):
            said, digest = _said(vote)
            yield {
                "task": task,
                "chunk": chunk,
                "worker": peer_id_of(worker),
                "vote": said,
                "sha256": digest.hex() if digest is not None else None,
                "agrees": (said, digest) == accepted if accepted is not None and digest is not None else None,
                "counts": referee.counts(vote),
                "chosen": _chosen(vote, asked=referee.is_assigned(chunk, worker), lots=worker in drawn),
                "batch": vote.seq,
            }


def certificate_rows(role: CreatorRole) -> Iterator[Row]:
    """One row, or none while the task is not closed."""
    stated = certificate(role)
    if stated is None:
        return
    audits = stated["audits"]
    same = ("task", "name", "creator", "statement", "chunks", "accepted", "failed", "cancelled", "results_root")
    yield {
        **{column: stated[column] for column in same},
        "executions": stated["executions"],
        "worker_audits": audits["by_workers"],
        "creator_audits": audits["by_creator"],
        "mismatches": audits["mismatches"],
        "convicted": len(stated["convicted"]),
        **{column: stated[column] for column in ("eps", "bound", "confidence", "record")},
    }


ROWS: Mapping[str, Callable[[CreatorRole], Iterator[Row]]] = {
    "results": result_rows,
    "votes": vote_rows,
    "certificate": certificate_rows,
}


def _said(vote: Vote) -> tuple[str, bytes | None]:
    """A vote in words, and the hash it names."""
    if vote.value is None:
        return "sealed", None
    if not vote.value:
        return "no result", None
    return "ok" if vote.value[0] == Status.OK else "task error", vote.value[1:]


def _chosen(vote: Vote, *, asked: bool, lots: bool) -> str:
    if vote.trusted:
        return "creator's own"
    return "creator" if asked else "lots" if lots else "itself"
