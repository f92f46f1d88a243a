"""What `cc-node status` shows of a running node, as JSON."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from crowdcompute.protocol.identity import peer_id_of
from crowdcompute.protocol.provisional import ProvisionalState

if TYPE_CHECKING:
    from typing import Any

    from crowdcompute.protocol.creator import CreatorRole
    from crowdcompute.protocol.provisional import Provisional
    from crowdcompute.protocol.worker import WorkerRole

    from .runtime import Runtime, Totals


def runtime_facts(runtime: Runtime) -> dict[str, Any]:
    """All of it, in the order in which a person asks. Called on the runtime's loop."""
    peer, signaling, carriers = runtime.peer, runtime.signaling, runtime.carriers
    us, now = peer.signer.public_key, asyncio.get_running_loop().time()
    return {
        "peer_id": peer.peer_id,
        "network": runtime.link.network,
        "signaling": {
            "url": runtime.link.base_url,
            "servers": {url: client.state.value for url, client in signaling.clients.items()},
            "state": signaling.state.value,
            "detail": runtime.signaling_detail,
            "clock_skew_s": signaling.clock_skew_s,
        },
        "neighbours": [
            {"peer_id": peer_id, "state": state.value, "over": carriers[peer_id]}
            for peer_id, state in peer.neighbours.items()
            if peer_id in carriers
        ],
        "listening": list(runtime.native.addresses) if runtime.native is not None else [],
        "tasks": [_worker_facts(role, now) for role in peer.workers.values()],
        "steward_of": [_steward_facts(role, us) for role in peer.stewards.values()],
        "published": [
            {"task": task.hex(), "name": creator.ledger.manifest.name, "state": creator.state.value}
            for task, creator in peer.creators.items()
        ],
        "totals": _totals_facts(runtime.totals),
    }


def _worker_facts(role: WorkerRole, now: float) -> dict[str, Any]:
    ledger = role.ledger
    return {
        "task": ledger.task.hex(),
        "name": ledger.manifest.name,
        "state": role.state.value,
        "votes": role.votes,
        "running": role.jobs_running,
        "savepoints": [
            {"chunk": chunk, "by": peer_id_of(maker)}
            for chunk, makers in sorted(ledger.savepoints.items())
            for maker in sorted(makers)
        ],
        "creator_away": absence_facts(role.provisional(now)),
    }


def absence_facts(counted: Provisional | None) -> dict[str, Any] | None:
    """What the records of a task say while its creator is away; None while it is there."""
    if counted is None:
        return None
    credible = counted.credibility()
    return {
        **{state.value: counted.count(state) for state in ProvisionalState if state is not ProvisionalState.OPEN},
        "credibility": None if credible is None else round(credible, 6),
        "liars_found": len(counted.found),
    }


def _steward_facts(role: CreatorRole, us: bytes) -> dict[str, Any]:
    ledger, progress = role.ledger, role.progress()
    return {
        "task": ledger.task.hex(),
        "name": ledger.manifest.name,
        "state": role.state.value if role.acts else "watching",
        "until_s": ledger.delegations[us].until_s,
        "accepted": progress.accepted,
        "failed": progress.failed,
        "chunks": ledger.chunks,
        "audits": progress.worker_audits + progress.creator_audits,
        "liars_found": progress.convicted,
    }


def _totals_facts(totals: Totals) -> dict[str, Any]:
    counted = asdict(totals)
    seconds = time.time() - counted.pop("started_s")
    return {"seconds": round(seconds, 1), **counted, "busy_s": round(totals.busy_s, 1)}
