"""What cc-task tells about a task, in words for people and as one JSON document for programs."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from crowdcompute.protocol.events import Status
from crowdcompute.protocol.identity import peer_id_of
from crowdcompute.protocol.manifest import Handed
from crowdcompute.protocol.policy import explain

from .agreement import proposals
from .assurance import Assurance
from .local import describe_outcome

if TYPE_CHECKING:
    from crowdcompute.protocol.events import ChunkOutcome
    from crowdcompute.protocol.manifest import Manifest

    from .code import CodeFacts
    from .local import Sample
    from .work import Work

SCHEMA = 1
"""Version of what `--json` and results.ndjson hold."""


def bundle_words(manifest: Manifest, task_id: bytes, facts: CodeFacts) -> list[tuple[str, str]]:
    return [
        ("task", manifest.name),
        ("task id", task_id.hex()),
        ("creator", f"{peer_id_of(manifest.creator)}  signature ok"),
        ("creator key", manifest.creator.hex()),
        ("about", manifest.description.replace("\n", "\n" + " " * 13) or "(no description)"),
        *([("link", manifest.link)] if manifest.link else []),
        ("module", facts.words),
        ("inputs", "none" if manifest.inputs is None else f"{manifest.inputs.size:,} bytes"),
        ("chunks", f"{manifest.chunks:,}, split by {_split_words(manifest)}"),
        ("limits", _limits_words(manifest)),
        *(("fetches", permission) for permission in manifest.permissions),
        *(("vouched", f"by {peer_id_of(vouch.author)}") for vouch in manifest.vouches),
        ("checking", explain(manifest.policy, manifest.chunks)),
        ("created", _date(manifest.created_s)),
        ("expires", _date(manifest.expires_s)),
    ]


def bundle_report(manifest: Manifest, task_id: bytes, facts: CodeFacts) -> dict[str, Any]:
    return {
        "task_id": task_id.hex(),
        "signature": "ok",
        "creator": peer_id_of(manifest.creator),
        "creator_key": manifest.creator.hex(),
        "name": manifest.name,
        "description": manifest.description,
        "link": manifest.link,
        "chunks": manifest.chunks,
        "split": _split_words(manifest),
        **facts.report,
        "runtime": manifest.runtime,
        "module_sha256": manifest.code.sha256.hex(),
        "inputs_bytes": 0 if manifest.inputs is None else manifest.inputs.size,
        "memory_bytes": manifest.limits.memory_bytes,
        "output_bytes": manifest.limits.output_bytes,
        "seconds": manifest.limits.seconds,
        "replication": manifest.policy.replication,
        "permissions": list(manifest.permissions),
        "vouchers": [peer_id_of(vouch.author) for vouch in manifest.vouches],
        "created_s": manifest.created_s,
        "expires_s": manifest.expires_s,
    }


def check_report(work: Work, facts: CodeFacts, sampled: Sample) -> dict[str, Any]:
    assurance = Assurance(work.policy, work.chunks)
    return {
        "name": work.name,
        "chunks": work.chunks,
        **facts.report,
        "runtime": work.runtime,
        "warnings": [*facts.warnings, *assurance.warnings()],
        "deterministic": not sampled.differing
        and not sampled.disputed
        and not sampled.diverging
        and not any(device.differing(sampled.outcomes) for device in sampled.devices),
        **({"devices": [device.words(sampled.outcomes) for device in sampled.devices]} if sampled.devices else {}),
        **({"tolerances": list(proposed)} if (proposed := _proposed(sampled)) else {}),
        "samples": [
            {"chunk": outcome.chunk, "status": outcome.status.name.lower(), "result": describe_outcome(outcome)}
            for outcome in sampled.outcomes
        ],
        "seconds_per_chunk": sampled.seconds_per_chunk,
        "executions_per_chunk": assurance.executions,
        "cpu_seconds": sampled.seconds_per_chunk * work.chunks * assurance.executions,
        "verification": assurance.report(),
    }


def check_words(work: Work, facts: CodeFacts, sampled: Sample, report: dict[str, Any]) -> list[tuple[str, str]]:
    chunk = _in_time_units(sampled.seconds_per_chunk)
    once = _in_time_units(sampled.seconds_per_chunk * work.chunks)
    assurance = Assurance(work.policy, work.chunks)
    least = "about" if assurance.audits_suffice else "at least"
    return [
        ("task", f"{work.name}, {work.chunks:,} chunks"),
        ("module", facts.words),
        *(("beware", warning) for warning in facts.warnings),
        *((f"chunk {outcome.chunk}", describe_outcome(outcome)) for outcome in _shown(sampled)),
        (
            "twice",
            f"{'DIFFERENT' if sampled.differing else 'the same'} results, "
            f"of {count_of(len(sampled.outcomes), 'chunk')} tried",
        ),
        *_savepoint_words(sampled),
        *_engines_words(sampled),
        *(("device", device.words(sampled.outcomes)) for device in sampled.devices),
        *(("tolerance", proposal) for proposal in _proposed(sampled)),
        ("speed", f"{chunk} a chunk on this machine: {once} for all, once"),
        *assurance.lines(),
        *(("beware", warning) for warning in assurance.warnings()),
        ("cost", f"{least} {_in_time_units(report['cpu_seconds'])} of CPU time, checking included"),
    ]


def _shown(sampled: Sample) -> list[ChunkOutcome]:
    """All but what was looked at because there was time, and is fine."""
    odd = {*sampled.differing, *sampled.disputed}
    return [
        outcome
        for outcome in sampled.outcomes
        if outcome.chunk not in sampled.further or outcome.status != Status.OK or outcome.chunk in odd
    ]


def _proposed(sampled: Sample) -> tuple[str, ...]:
    """Comparators for the outputs of floats, from how far apart the devices here are."""
    return proposals([each for device in sampled.devices for each in device.agreements(sampled.outcomes)])


def _savepoint_words(sampled: Sample) -> list[tuple[str, str]]:
    if not sampled.resumed:
        return []
    return [("resumed", "the same results from a savepoint on" if not sampled.diverging else "DIFFERENT results")]


def _engines_words(sampled: Sample) -> list[tuple[str, str]]:
    """What the strict engine said, where there is one."""
    words = []
    for fast, strict in zip(sampled.outcomes, sampled.strictly, strict=False):
        if strict.chunk in sampled.disputed:
            words.append(("engines", f"V8 and QuickJS give DIFFERENT results for chunk {strict.chunk}"))
        elif strict.status == Status.NO_RESULT != fast.status:
            words.append(("engines", f"not compared, QuickJS gave no result for chunk {strict.chunk}: {strict.detail}"))
    return words or ([("engines", "the same results in V8 and QuickJS")] if sampled.strictly else [])


def _split_words(manifest: Manifest) -> str:
    return "results" if isinstance(manifest.split, Handed) else type(manifest.split).__name__.lower()


def _limits_words(manifest: Manifest) -> str:
    limits = manifest.limits
    return f"{limits.memory_bytes:,} bytes of memory, {limits.output_bytes:,} of output, {limits.seconds:g} s a chunk"


def _date(unix_s: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix_s))
    except (OverflowError, OSError, ValueError):
        return f"Unix time {unix_s}"


def count_of(number: int, noun: str) -> str:
    """As in "1 chunk" and "2 chunks"."""
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


def _in_time_units(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:,.1f} h"


def show(report: dict[str, Any], words: list[tuple[str, str]], *, as_json: bool) -> None:
    """Print one of the two forms to standard output."""
    if as_json:
        print(json.dumps({"schema": SCHEMA, **report}))
        return
    width = max(len(label) for label, _ in words) + 2
    for label, text in words:
        print(f"{label:<{width}}{text}")
