"""`cc-task audit`: check somebody's certificate from files alone, without the network and without any trust in it.

Everything is counted again by the protocol's own rules (protocol: recount.py). Here files are read, certificate.json is
held against the signed record in it, results against what was certified, and all of it is said in words.
"""

from __future__ import annotations

import json
import re
from hashlib import file_digest
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.gpu.compare import Tolerance, Ulp, Within
from crowdcompute.protocol.identity import peer_id_of, verify
from crowdcompute.protocol.opening import MAGIC, read_shown
from crowdcompute.protocol.recount import DoesNotHold, recount

from .commands import Json
from .report import count_of, show
from .results import CERTIFICATE_FILE, RECORDS_FILE, SCHEMA, chunk_file, document, statement
from .sources import check_sources

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crowdcompute.protocol.gpu import Comparison
    from crowdcompute.protocol.gpu.compare import Array
    from crowdcompute.protocol.records import Kind
    from crowdcompute.protocol.recount import Recount

    from .sources import Sources

_RESULT_FILE = re.compile(r"[0-9]{6,10}\.bin")


def audit(
    certificate: Path,
    /,
    *,
    records: Path | None = None,
    results: Path | None = None,
    source: list[Path] | None = None,
    as_json: Json = False,
) -> int:
    """Check a certificate from the records behind it: exit 0 if everything holds, 1 with the first thing that does not.

    Parameters
    ----------
    certificate
        A certificate.json that `cc-task results` has written, or its folder; or a file of records alone (.ccr).
    records
        The records behind it; records.ccr beside the certificate if not given.
    results
        Folder of result files, which are compared with what was certified.
    source
        Folder of results of a task whose results this one takes: its certificate is checked as well, and that it has
        accepted what this one was given. What lies beside the certificate's folder is found without being named.
    """
    path = certificate / CERTIFICATE_FILE if certificate.is_dir() else certificate
    is_alone = path.suffix == Path(RECORDS_FILE).suffix
    stated = None if is_alone else _read_certificate(path)
    evidence = records or (path if is_alone else path.parent / RECORDS_FILE)
    with _mapped(evidence) as data:
        if data[: len(MAGIC)] != MAGIC:
            raise CommandError(
                f"{evidence} holds no records: name the {RECORDS_FILE} that `cc-task results` wrote, with --records",
                Exit.USAGE,
            )
        try:
            counted = recount(read_shown(data), verify)
            if stated is not None:
                _compare(stated, counted)
            files = None if results is None else _check_results(results, counted)
            sources = check_sources(counted, evidence.parent, source or ())
        except (DoesNotHold, RemoteProtocolError) as error:
            return _fail(error, as_json=as_json)
    show(_report(counted, files, sources), _words(counted, files, sources), as_json=as_json)
    return Exit.OK


def _read_certificate(path: Path) -> dict[str, Any]:
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(
            f"{path} cannot be read ({error.strerror}): name a certificate.json of `cc-task results`", Exit.USAGE
        ) from None
    except (ValueError, RecursionError):
        stated = None
    if not isinstance(stated, dict) or "record" not in stated:
        raise CommandError(f"{path} is no certificate: name a certificate.json of `cc-task results`", Exit.USAGE)
    if stated.get("schema") != SCHEMA:
        raise CommandError(
            f"{path} has schema {stated.get('schema')!r:.20} and this cc-task reads {SCHEMA}: have it written anew by "
            "`cc-task results`, or use the release that wrote it",
            Exit.USAGE,
        )
    return stated


def _mapped(path: Path) -> mmap:
    """A file's bytes, without reading all of them into memory: a large task's records are hundreds of megabytes."""
    try:
        with path.open("rb") as file:
            return mmap(file.fileno(), 0, access=ACCESS_READ)
    except OSError as error:
        raise CommandError(
            f"{path} cannot be read ({error.strerror}): without the records behind it a certificate is its creator's "
            f"word; ask for its {RECORDS_FILE}, and name it with --records",
            Exit.USAGE,
        ) from None
    except ValueError:
        raise CommandError(f"{path} is empty: ask for the {RECORDS_FILE} again", Exit.USAGE) from None


def _compare(stated: dict[str, Any], counted: Recount) -> None:
    """Whether certificate.json says what the signed records say, word for word.

    Raises:
        DoesNotHold: It does not.
    """
    expected = document(
        counted.signed, counted.manifest, counted.certificate_signed, counted.verdicts, counted.cancelled
    )
    if stated.get("task") != expected["task"]:
        raise DoesNotHold(f"the certificate is about another task than the records, which are of {expected['task']}")
    for key in [*expected, *(key for key in stated if key not in expected)]:
        if key not in stated or key not in expected or not _is_same(stated[key], expected[key]):
            raise DoesNotHold(f"{CERTIFICATE_FILE} says something else under {key!r:.60} than the signed records")


def _is_same(stated: object, expected: object) -> bool:
    """Equality as JSON sees it, where true is not 1."""
    return json.dumps(stated, sort_keys=True) == json.dumps(expected, sort_keys=True)


def _check_results(folder: Path, counted: Recount) -> int:
    """Whether the result files are the certified ones, no more and no fewer; how many.

    Raises:
        DoesNotHold: They are not.
        CommandError: There is no such folder, or a file cannot be read.
    """
    if not folder.is_dir():
        raise CommandError(f"{folder} is no folder: name the one with the result files", Exit.USAGE)
    certified = {chunk_file(chunk): chunk for chunk in counted.values if counted.digest(chunk) is not None}
    for path in sorted(folder.iterdir()):
        if _RESULT_FILE.fullmatch(path.name) and path.name not in certified:
            raise DoesNotHold(f"{path} is no certified result", chunk=int(path.stem))
    for name, chunk in sorted(certified.items(), key=lambda item: item[1]):
        path = folder / name
        try:
            with path.open("rb") as file:
                found = file_digest(file, "sha256").digest()
        except FileNotFoundError:
            raise DoesNotHold(f"{path} is missing", chunk=chunk) from None
        if found != counted.digest(chunk):
            raise DoesNotHold(f"{path} is not the certified result: its SHA-256 is {found.hex()}", chunk=chunk)
    return len(certified)


def _fail(error: Exception, *, as_json: bool) -> int:
    chunk, worker = (error.chunk, error.worker) if isinstance(error, DoesNotHold) else (None, None)
    where = [
        *([] if chunk is None else [f"chunk {chunk}"]),
        *([] if worker is None else [f"worker {peer_id_of(worker)}"]),
    ]
    if as_json:
        print(
            json.dumps(
                {
                    "schema": SCHEMA,
                    "holds": False,
                    "what": str(error),
                    "chunk": chunk,
                    "worker": None if worker is None else peer_id_of(worker),
                }
            )
        )
        return Exit.FAILED
    raise CommandError("does not hold: " + ": ".join([", ".join(where), str(error)] if where else [str(error)]))


def _report(counted: Recount, files: int | None, sources: Sources | None) -> dict[str, Any]:
    body = counted.certificate
    return {
        "holds": True,
        "task": counted.signed.record_id.hex(),
        "creator": peer_id_of(counted.manifest.creator),
        "name": counted.manifest.name,
        "statement": statement(counted.manifest, body, counted.cancelled),
        "records": dict(counted.records),
        "peers": counted.peers,
        "executions": body.executions,
        "accepted": body.accepted,
        "failed": body.failed,
        "audits": {"by_workers": body.worker_audits, "by_creator": body.creator_audits, "mismatches": body.mismatches},
        "convicted": [peer_id_of(worker) for worker in sorted(counted.verdicts)],
        "decided_by": {
            "creator": {kind: counted.records[kind] - _by_stewards(counted, kind) for kind in _DECIDING},
            "stewards": {
                peer_id_of(steward): {"trusted": steward in counted.trusted, "records": dict(said)}
                for steward, said in sorted(counted.by_steward.items())
            },
            "revoked": [peer_id_of(steward) for steward in sorted(counted.revoked)],
        },
        "millicredits": {peer_id_of(worker): amount for worker, amount in sorted(counted.credit.items())},
        "wrong_votes": {peer_id_of(worker): count for worker, count in sorted(counted.wrong_votes.items())},
        "bound": body.bound,
        "confidence": body.confidence,
        "result_files": files,
        "sources": None if sources is None else sources.report(),
        "cannot_check": list(counted.cannot_check),
        "compared": [msgspec.to_builtins(array.comparator) for array in _arrays(counted.comparison)],
    }


_DECIDING: tuple[Kind, ...] = ("admit", "assign", "verdict", "checkpoint", "certificate")
"""The records that say what others are to do, and what counts."""

_PLURALS = {
    "admit": "admissions",
    "assign": "assignments",
    "verdict": "verdicts",
    "checkpoint": "checkpoints",
    "certificate": "certificate",
    "commit": "batches of votes",
}


def _by_stewards(counted: Recount, kind: Kind) -> int:
    return sum(said.get(kind, 0) for said in counted.by_steward.values())


def _deciders(counted: Recount) -> list[tuple[str, str]]:
    """Who decided what; nothing where nobody but the creator did."""
    if not counted.by_steward and not counted.revoked:
        return []
    own: dict[str, int] = {kind: counted.records[kind] - _by_stewards(counted, kind) for kind in _DECIDING}
    lines = [("decided by", f"the creator: {_counts(own)}")]
    for steward, said in sorted(counted.by_steward.items()):
        worth = (
            "trusted: its audits count as the creator's own"
            if steward in counted.trusted
            else "its word is no audit, and settles nothing that the creator did not settle itself"
        )
        spoken = _counts({kind: count for kind, count in said.items() if kind in _PLURALS})
        lines.append(("steward", f"{peer_id_of(steward)}  {spoken or 'nothing'}; {worth}"))
    lines += [("revoked", f"{peer_id_of(each)}  was a steward; nothing it said counts") for each in counted.revoked]
    return lines


def _counts(said: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {_PLURALS[kind]}" for kind, count in said.items() if count)


def _arrays(comparison: Comparison | None) -> tuple[Array, ...]:
    return () if comparison is None else comparison.arrays


def _compared(comparison: Comparison | None) -> list[tuple[str, str]]:
    """What votes had to be like to agree, where that is not the same bytes."""
    said = []
    for array in _arrays(comparison):
        match array.comparator:
            case Tolerance(absolute, relative, outliers):
                beside = f", but for {100 * outliers:g} % of them" if outliers else ""
                said.append(("compared", f"as floats, within tol {absolute:g} + {relative:g} x the larger one{beside}"))
            case Within(absolute, relative, outliers):
                beside = f", but for {100 * outliers:g} % of them" if outliers else ""
                within = (
                    f"to the bit within a class of devices, else within {absolute:g} + {relative:g} x the larger one"
                )
                said.append(("compared", f"as floats, {within}{beside}"))
            case Ulp(steps, absolute):
                said.append(("compared", f"as floats, within ulp {steps} or {absolute:g}"))
            case _:
                pass
    return said


def _words(counted: Recount, files: int | None, sources: Sources | None) -> list[tuple[str, str]]:
    body, manifest = counted.certificate, counted.manifest
    convicted = [
        (
            "convicted",
            f"{peer_id_of(worker)}  {verdict.reason}, {count_of(counted.wrong_votes.get(worker, 0), 'wrong vote')}; "
            + ("banned, all it did is void" if verdict.is_ban else "a strike, what it did until then is void"),
        )
        for worker, verdict in sorted(counted.verdicts.items())
    ]
    earners = count_of(len(counted.credit), "worker")
    compared = "not compared: --results FOLDER does" if files is None else f"{files:,} files, each the certified one"
    return [
        ("task", f"{manifest.name}, {body.chunks:,} chunks, {counted.signed.record_id.hex()}"),
        ("creator", f"{peer_id_of(manifest.creator)}  has signed the task and the certificate"),
        ("records", f"{sum(counted.records.values()):,} by {counted.peers:,} peers, every signature right"),
        ("votes", f"{body.executions:,}, each the one its author signed while it was sealed"),
        *_compared(counted.comparison),
        ("results", f"{body.accepted:,} accepted and {body.failed:,} failed, as the votes say; {compared}"),
        ("audits", f"{body.worker_audits:,} by workers, {body.creator_audits:,} by the creator, as certified"),
        ("credit", f"{sum(counted.credit.values()) / 1_000:,.10g} credits to {earners}, as earned"),
        *(convicted or [("convicted", "nobody")]),
        *_deciders(counted),
        ("holds", statement(manifest, body, counted.cancelled)),
        *(sources.words() if sources is not None else ()),
        *(("unchecked", point) for point in counted.cannot_check),
    ]
