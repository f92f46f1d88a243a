"""What a creator takes home: one file per chunk, a line per chunk about its votes, and the certificate.

DIR/000042.bin        the accepted result of chunk 42, byte for byte; none where the chunk failed
DIR/results.ndjson    one JSON object per chunk: index, status, sha256, size, votes, agreed, disagreed, reasons
DIR/certificate.json  how well the whole was checked, with the creator's signed record
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.identity import peer_id_of

from .local import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crowdcompute.protocol.creator import ChunkResult, CreatorRole

SCHEMA = 1


def chunk_file(chunk: int) -> str:
    """The name of a chunk's result file."""
    return f"{chunk:06d}.bin"


def row(role: CreatorRole, result: ChunkResult) -> dict[str, Any]:
    """One line of results.ndjson."""
    return {
        "schema": SCHEMA,
        "index": result.chunk,
        "status": result.state,
        "sha256": result.digest.hex() if result.digest is not None else None,
        "size": result.size,
        "votes": result.votes,
        "agreed": [peer_id_of(worker) for worker in result.agreed],
        "disagreed": [peer_id_of(worker) for worker in result.disagreed],
        "reasons": _reasons(role, result),
    }


def rows(role: CreatorRole) -> Iterator[dict[str, Any]]:
    """All lines of results.ndjson, by chunk."""
    return (row(role, role.result(chunk)) for chunk in range(role.ledger.manifest.chunks))


def failures(role: CreatorRole) -> Iterator[tuple[int, str]]:
    """The chunks that ended without a result, and why: as the task itself or as the sandboxes said it."""
    for chunk in range(role.ledger.manifest.chunks):
        result = role.result(chunk)
        if result.state in ("failed", "task error"):
            yield chunk, f"{result.state}: {'; '.join(_reasons(role, result)) or 'no reason was given'}"


def _reasons(role: CreatorRole, result: ChunkResult) -> list[str]:
    # Texts of the task and of strangers: harmless in a terminal only without control characters.
    if result.state == "task error":
        return [printable((role.result_bytes(result.chunk) or b"").decode(errors="replace"))]
    return [printable(reason) for reason in result.reasons]


def certificate(role: CreatorRole) -> dict[str, Any] | None:
    """The certificate as JSON, or None while the task is not closed."""
    body = role.ledger.certificate
    if body is None:
        return None
    signed = next(record for record in role.ledger.records() if record.kind == "certificate")
    return {
        "schema": SCHEMA,
        "task": role.ledger.task.hex(),
        "creator": peer_id_of(role.ledger.manifest.creator),
        "name": role.ledger.manifest.name,
        "statement": statement(role),
        "chunks": body.chunks,
        "accepted": body.accepted,
        "failed": body.failed,
        "results_root": body.root.hex(),
        "executions": body.executions,
        "audits": {"by_workers": body.worker_audits, "by_creator": body.creator_audits, "mismatches": body.mismatches},
        "convicted": [
            {"worker": peer_id_of(worker), "reason": verdict.reason, "chunk": verdict.chunk}
            for worker, verdict in sorted(role.ledger.verdicts.items())
        ],
        "eps": body.eps,
        "bound": body.bound,
        "confidence": body.confidence,
        "record": encode(signed).hex(),
        "manifest": encode(role.ledger.signed).hex(),
    }


def statement(role: CreatorRole) -> str:
    """What the certificate says, in one sentence."""
    body = role.ledger.certificate
    assert body is not None
    if body.bound == 0:
        return f"all {body.accepted} accepted results were re-executed by the creator's own node"
    words = (
        f"at most {body.bound:.2%} of the {body.accepted:,} accepted results are wrong, with {body.confidence:.0%}"
        " confidence"
    )
    if body.worker_audits:
        words += f", as long as at most {role.ledger.manifest.policy.liars:.0%} of the workers' audits lie"
    return words


def export(role: CreatorRole, folder: Path) -> int:
    """Write everything; the number of result files. Each file appears whole or not at all.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for chunk in range(role.ledger.manifest.chunks):
        # A task error's text is no result: whoever reads the files must not take it for one.
        data = role.result_bytes(chunk) if role.result(chunk).state == "ok" else None
        if data is not None:
            _write(folder / chunk_file(chunk), data)
            count += 1
    lines = "".join(json.dumps(line) + "\n" for line in rows(role))
    _write(folder / "results.ndjson", lines.encode())
    stated = certificate(role)
    if stated is not None:
        _write(folder / "certificate.json", json.dumps(stated, indent=2).encode() + b"\n")
    return count


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data)
    temporary.replace(path)
