"""A run in numbers: one table of text, and the hash that names the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .checkers import wrong_chunks

if TYPE_CHECKING:
    from .measures import ChunkTimes, GossipMeter
    from .network import World


def figures(world: World, times: ChunkTimes, gossip: GossipMeter) -> dict[str, float]:
    """Every number of the report by name; equal for equal scenario and seed."""
    role, manifest = world.role, world.manifest
    progress = role.progress()
    work_s = sum(world.chunk_work_s(chunk) for chunk in range(manifest.chunks))
    speed = sum(node.speed * node.config.slots for node in world.nodes[1:])
    bound_s = work_s * manifest.policy.replication / speed
    volunteers = world.nodes[1:]
    control = sorted(node.bytes_sent[0] for node in volunteers)
    held = [
        sum(1 for _ in node.peer.ledgers[world.task].records())
        for node in volunteers
        if node.alive and world.task in node.peer.ledgers
    ]
    quorum_s = times.quorum_s()
    last_s = max(times.accepted_at.values(), default=0.0)
    numbers = {
        "chunks accepted": progress.accepted,
        "chunks failed": progress.failed,
        "wrong results": len(wrong_chunks(world)),
        "executions per chunk": world.executions / manifest.chunks,
        "executions by the creator": world.creator.executions,
        "votes per chunk": progress.votes / manifest.chunks,
        "closed after, s": world.closed_at if world.closed_at is not None else float("nan"),
        "last chunk accepted, s": last_s,
        "makespan / fluid bound": last_s / bound_s,
        "time to quorum median, s": _quantile(quorum_s, 0.5),
        "time to quorum 99%, s": _quantile(quorum_s, 0.99),
        "records held per peer, mean": sum(held) / max(1, len(held)),
        "records held at the creator": sum(1 for _ in role.ledger.records()),
        "control kB sent per peer, mean": sum(control) / len(control) / 1e3,
        "control kB sent per peer, most": control[-1] / 1e3,
        "bulk kB sent per peer, mean": sum(node.bytes_sent[1] for node in volunteers) / len(volunteers) / 1e3,
        "control kB sent by the creator": world.creator.bytes_sent[0] / 1e3,
        "frames sent": sum(node.frames_sent for node in world.nodes),
        "workers": progress.workers,
        "liars who sign lies": len(world.convictable),
        "convicted": progress.convicted,
        "banned": sum(verdict.is_ban for verdict in role.ledger.verdicts.values()),
        "wrong votes": sum(world.role.wrong_votes().values()),
        "audits by workers": progress.worker_audits,
        "audits by the creator": progress.creator_audits,
        "certified bound": progress.bound,
        "eps asked for": manifest.policy.eps,
        "wakes wanted again at once": world.spins,
        "events": world.events,
    }
    gossiped = gossip.figures()
    if gossiped is not None:
        numbers["gossip hops, mean"], numbers["gossip hops, most"], numbers["gossip copies per delivery"] = gossiped
    return numbers


def table(numbers: dict[str, float]) -> str:
    """The figures as aligned lines."""
    width = max(map(len, numbers))
    return "\n".join(f"{name:<{width}}  {_text(value):>14}" for name, value in numbers.items())


def _text(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 1_000 else f"{value:,.0f}"


def _quantile(ascending: list[float], share: float) -> float:
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))] if ascending else float("nan")
