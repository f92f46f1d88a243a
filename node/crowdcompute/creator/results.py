"""What a creator takes home: one file per chunk, a line per chunk about its votes, and the certificate.

DIR/000042.bin        the accepted result of chunk 42, byte for byte; none where the chunk failed
DIR/results.ndjson    one JSON object per chunk: index, status, sha256, size, votes, agreed, disagreed, reasons;
                      of a chunk without result also its arguments, and the command that computes it here
DIR/certificate.json  how well the whole was checked, with the creator's signed record
DIR/records.ccr       every signed record, with the votes opened: what `cc-task audit` counts again
DIR/inputs.bin        of a task that takes results of others: which, as its creator has signed it
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from crowdcompute.protocol.codec import decode, encode
from crowdcompute.protocol.events import CANCELLED
from crowdcompute.protocol.identity import peer_id_of
from crowdcompute.protocol.manifest import Handed
from crowdcompute.protocol.opening import write_shown
from crowdcompute.protocol.records import CertificateBody, Verdict
from crowdcompute.protocol.split import chunk_input, is_numbers

from .local import numbers_of, printable, printable_lines, reproduce_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from crowdcompute.protocol.creator import CreatorRole
    from crowdcompute.protocol.manifest import Manifest
    from crowdcompute.protocol.records import Signed
    from crowdcompute.protocol.results import ChunkResult

SCHEMA = 1
CERTIFICATE_FILE = "certificate.json"
RECORDS_FILE = "records.ccr"
INPUTS_FILE = "inputs.bin"


def chunk_file(chunk: int) -> str:
    """The name of a chunk's result file."""
    return f"{chunk:06d}.bin"


def row(role: CreatorRole, result: ChunkResult) -> dict[str, Any]:
    """One line of results.ndjson."""
    failed = {
        "arguments": arguments(role.ledger.manifest, result.chunk),
        "reproduce": reproduce_words(_id(role), result.chunk),
    }
    return {
        "schema": SCHEMA,
        "index": result.chunk,
        "status": result.state,
        "sha256": result.digest.hex() if result.digest is not None else None,
        "size": result.size,
        "votes": result.votes,
        "agreed": [peer_id_of(worker) for worker in result.agreed],
        "disagreed": [peer_id_of(worker) for worker in result.disagreed],
        "reasons": reasons_of(role, result),
        **(failed if result.state in ("failed", "task error") else {}),
    }


def rows(role: CreatorRole) -> Iterator[dict[str, Any]]:
    """All lines of results.ndjson, by chunk."""
    return (row(role, role.result(chunk)) for chunk in range(role.ledger.chunks))


def arguments(manifest: Manifest, chunk: int) -> tuple[int, ...] | None:
    """The numbers a chunk gets; None if it gets bytes."""
    return numbers_of(manifest.split, chunk_input(manifest, chunk)) if is_numbers(manifest.split) else None


def failures(role: CreatorRole) -> Iterator[tuple[int, str]]:
    """The chunks that ended without a result: their arguments, why (as the task or the sandboxes said it), and how to
    see it here.

    What was given up is not among them.
    """
    for chunk in range(role.ledger.chunks):
        result = role.result(chunk)
        if result.state in ("failed", "task error") and CANCELLED not in result.reasons:
            numbers = arguments(role.ledger.manifest, chunk)
            given = "" if numbers is None else f"(arguments {' '.join(map(str, numbers))}) "
            why = "; ".join(reasons_of(role, result)) or "no reason was given"
            yield chunk, f"{given}{result.state}: {why}; to see it here: {reproduce_words(_id(role), chunk)}"


def _id(role: CreatorRole) -> str:
    return role.ledger.task.hex()[:12]


def reasons_of(role: CreatorRole, result: ChunkResult) -> list[str]:
    """Why a chunk has no result."""
    # Texts of the task and of strangers: harmless in a terminal only without control characters.
    if result.state == "task error":
        return [printable_lines((role.result_bytes(result.chunk) or b"").decode(errors="replace"))]
    return [printable(reason) for reason in result.reasons]


def certificate(role: CreatorRole) -> dict[str, Any] | None:
    """The certificate as JSON, or None while the task is not closed."""
    verdicts: dict[bytes, Verdict] = {}
    for signed in role.ledger.records():
        if signed.kind == "verdict":
            verdict = decode(signed.body, Verdict)
            if verdict.worker not in verdicts or not verdicts[verdict.worker].is_ban:
                verdicts[verdict.worker] = verdict
        elif signed.kind == "certificate":
            # Whoever was convicted later, by a commit on its way when the task closed, is no part of it.
            return document(role.ledger.signed, role.ledger.manifest, signed, verdicts, role.cancelled_chunks())
    return None


def document(
    signed: Signed, manifest: Manifest, certified: Signed, verdicts: Mapping[bytes, Verdict], cancelled: int
) -> dict[str, Any]:
    """certificate.json of a manifest's and a certificate's record. It says nothing that does not follow from them."""
    body = decode(certified.body, CertificateBody)
    return {
        "schema": SCHEMA,
        "task": signed.record_id.hex(),
        "creator": peer_id_of(manifest.creator),
        "name": manifest.name,
        "statement": statement(manifest, body, cancelled),
        "chunks": body.chunks,
        "accepted": body.accepted,
        "failed": body.failed,
        "cancelled": cancelled,
        "results_root": body.root.hex(),
        "executions": body.executions,
        "audits": {"by_workers": body.worker_audits, "by_creator": body.creator_audits, "mismatches": body.mismatches},
        "convicted": [
            {
                "worker": peer_id_of(worker),
                "reason": verdict.reason,
                "chunk": verdict.chunk,
                "sentence": "banned" if verdict.is_ban else "struck",
            }
            for worker, verdict in sorted(verdicts.items())
        ],
        "eps": body.eps,
        "bound": body.bound,
        "confidence": body.confidence,
        "record": encode(certified).hex(),
        "manifest": encode(signed).hex(),
    }


def statement(manifest: Manifest, body: CertificateBody, cancelled: int) -> str:
    """What the certificate says, in one sentence."""
    missing = ""
    if body.failed:
        whom = "" if cancelled == body.failed else f"{cancelled:,} of them "
        because = f", {whom}because the creator cancelled them" if cancelled else ""
        missing = f"; {body.failed:,} of {body.chunks:,} chunks have no result{because}"
    if body.bound == 0:
        return f"all {body.accepted} accepted results were re-executed by the creator's own node{missing}"
    words = (
        f"at most {body.bound:.2%} of the {body.accepted:,} accepted results are wrong, with {body.confidence:.0%}"
        " confidence"
    )
    if body.worker_audits:
        words += f", as long as at most {manifest.policy.liars:.0%} of the workers' audits lie"
    return words + missing


def statement_of(role: CreatorRole) -> str:
    """The same of a task of ours that is closed."""
    assert role.ledger.certificate is not None
    return statement(role.ledger.manifest, role.ledger.certificate, role.cancelled_chunks())


def export(role: CreatorRole, folder: Path) -> int:
    """Write everything; the number of result files. Each file appears whole or not at all.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for chunk in range(role.ledger.chunks):
        # A task error's text is no result: whoever reads the files must not take it for one.
        data = role.result_bytes(chunk) if role.result(chunk).state == "ok" else None
        if data is not None:
            _write(folder / chunk_file(chunk), [data])
            count += 1
    lines = "".join(json.dumps(line) + "\n" for line in rows(role))
    _write(folder / "results.ndjson", [lines.encode()])
    stated = certificate(role)
    if stated is not None:
        _write(folder / RECORDS_FILE, write_shown(role.evidence()))
        if isinstance(role.ledger.manifest.split, Handed):
            _write(folder / INPUTS_FILE, [role.inputs()])
        _write(folder / CERTIFICATE_FILE, [json.dumps(stated, indent=2).encode() + b"\n"])
    return count


def accepted_results(role: CreatorRole) -> dict[int, bytes]:
    """The results there are, by chunk."""
    chunks = (chunk for chunk in role.settled_chunks() if role.result(chunk).state == "ok")
    return {chunk: role.result_bytes(chunk) or b"" for chunk in chunks}


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        file.writelines(pieces)
    temporary.replace(path)
