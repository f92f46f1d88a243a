"""What grows with the network and what does not: the nodes' own protocol code under virtual time.

    python -m benchmarks.scale [--quick]

*Hearing*: peers that meet and work for nobody; a task is published when they know each other. *Working*: everybody
computes one task, whose shards grow with the number of peers, or not. Traffic is what each peer sends, control frames
only; memory and CPU are this process's, divided, the simulator's own share included. Each case runs in a process of its
own.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from typing import Any

from benchmarks.cases import Report, answer, parser

from crowdcompute.protocol.events import Channel, Notable, Notice
from crowdcompute.simulations.network import World
from crowdcompute.simulations.scenario import parse_scenario

MEET_S = 30.0
"""Peers join during this time, and then hear of the task."""
WORK_FROM_S, WORK_TO_S = 20.0, 50.0

HEARING = [{"kind": "hearing", "peers": peers} for peers in (100, 1_000, 3_000, 10_000)]
WORKING = [
    {"kind": "working", "peers": peers, "shards": shards} for peers, shards in ((25, 1), (50, 2), (100, 4), (200, 8))
]
LARGER_TASKS = [{"kind": "working", "peers": 50, "shards": shards} for shards in (2, 25, 250)]

CLOCKS = """
creator_first_s = 20.0
seek_every_s = 60.0
ping_after_s = 30.0
suspect_after_s = 60.0
gone_after_s = 120.0
heartbeat_s = 5.0
gossip_gap_s = 0.5
batch_s = 10.0
checkpoint_s = 10.0
neighbours_target = 8
neighbours_max = 32
mesh_low = 2
mesh_target = 3
mesh_high = 4
"""
"""Clocks of a large network with long chunks, as in simulations/scenarios/liars.toml."""


def resident_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def hearing(peers: int) -> dict[str, Any]:
    base_kb = resident_kb()
    world = World(
        parse_scenario(
            f"""
            name = "hearing"
            [network]
            peers = {peers}
            introductions = 8
            join_within_s = {MEET_S}
            [task]
            chunks = 4096
            [protocol]
            work = false
            slots = 0
            {CLOCKS}
            """
        ),
        seed=1,
    )
    heard: dict[int, float] = {}
    # The creator comes back last, as a new one: its task is news to a network that stands.
    world.at(0.001, lambda: world.stop(world.nodes[0]))
    world.at(2 * MEET_S, lambda: world.start(world.nodes[0], keep_state=False))

    def listen(now: float, node: Any, event: Any) -> None:
        if isinstance(event, Notice) and event.what is Notable.TASK_SEEN:
            heard.setdefault(node.index, now)

    world.observers.append(listen)
    world.step_until(2 * MEET_S)
    before = [node.bytes_sent[Channel.CONTROL] for node in world.nodes]
    standing_kb = resident_kb()
    started = time.process_time()
    world.step_until(3 * MEET_S)
    cpu_s = time.process_time() - started
    idle = sorted(
        (node.bytes_sent[Channel.CONTROL] - sent) / MEET_S for node, sent in zip(world.nodes, before, strict=True)
    )
    times = sorted(at - 2 * MEET_S for at in heard.values())
    needed = -(-99 * peers // 100)
    return {
        "links": sum(len(node.wires) for node in world.nodes) / len(world.nodes),
        "heard_99_s": times[needed - 1] if len(times) >= needed else None,
        "heard": len(times) / peers,
        "bytes_per_s_mean": sum(idle) / len(idle),
        "bytes_per_s_99": idle[len(idle) * 99 // 100],
        "cpu_ms_per_peer_and_s": 1_000 * cpu_s / MEET_S / peers,
        "kb_per_peer": (standing_kb - base_kb) / peers,
        "events": world.events,
    }


def working(peers: int, shards: int) -> dict[str, Any]:
    base_kb = resident_kb()
    world = World(
        parse_scenario(
            f"""
            name = "working"
            [network]
            peers = {peers}
            introductions = 20
            join_within_s = 5.0
            [task]
            chunks = {4_096 * shards}
            chunk_s = 2.0
            replication = 2
            eps = 1e-2
            [protocol]
            {CLOCKS}
            [creator]
            neighbours_target = 20
            neighbours_max = 64
            """
        ),
        seed=1,
    )
    world.step_until(WORK_FROM_S)
    before = [node.bytes_sent[Channel.CONTROL] for node in world.nodes]
    executions, started = world.executions, time.process_time()
    world.step_until(WORK_TO_S)
    cpu_s, span_s = time.process_time() - started, WORK_TO_S - WORK_FROM_S
    sent = [(node.bytes_sent[Channel.CONTROL] - was) / span_s for node, was in zip(world.nodes, before, strict=True)]
    ledgers = [node.peer.ledgers[world.task] for node in world.nodes[1:] if world.task in node.peer.ledgers]
    others = sorted(sent[1:])
    return {
        "bytes_per_s_mean": sum(others) / len(others),
        "bytes_per_s_most": others[-1],
        "bytes_per_s_creator": sent[0],
        "executions_per_s": (world.executions - executions) / span_s,
        "records_per_peer": sum(sum(1 for _ in ledger.records()) for ledger in ledgers) / len(ledgers),
        "admitted": len(world.role.ledger.admits),
        "cpu_ms_per_peer_and_s": 1_000 * cpu_s / span_s / peers,
        "kb_per_peer": (resident_kb() - base_kb) / peers,
        "events": world.events,
    }


def case(kind: str, **network: int) -> dict[str, Any]:
    gc.disable()
    return (hearing if kind == "hearing" else working)(**network)


def main() -> int:
    options = parser("scale", __doc__).parse_args()
    if options.case:
        answer(options, case)
    with Report("scale", options) as report:
        for name, cases in (("hearing", HEARING), ("working", WORKING), ("larger_tasks", LARGER_TASKS)):
            rows = report.found[name] = []
            for each in cases[:2] if options.quick else cases:
                said = " ".join(f"{value} {what}" for what, value in each.items() if what != "kind")
                # The largest takes some minutes.
                if (
                    found := report.case(f"{name}, {said}", limit_s=300 if options.quick else 1_500, **each)
                ) is not None:
                    rows.append({**each, **found})
                    numbers = (
                        f"{key} {value:.6g}" for key, value in rows[-1].items() if isinstance(value, int | float)
                    )
                    print(name, *numbers, flush=True)
    return report.code


if __name__ == "__main__":
    sys.exit(main())
