"""How long a machine that stops answering holds up what it was on, when everybody else is busy.

    sudo python -m benchmarks.stopped [--nodes 4] [--times 6]

Nodes of a fixed speed (churn.py, paced_node.py) compute a job of two votes a chunk. Again and again one of them is
stopped (SIGSTOP) while it executes a batch: its links stay, and nothing comes from it. Of each chunk of that batch two
moments are taken down: when the batch begins in which somebody else executes it next, and when a checkpoint accepts it,
of which there is one every two seconds at most. A dozen seconds later the node goes on. Chunks that had been accepted
when it was stopped, or that nobody executes then because its vote is not needed, are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import churn

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTLE_S = 8.0
"""From the first accepted chunk on, until all are busy with batches of the usual size."""
STOPPED_S = 12.0


def stops(network: churn.Network, machines: list[Any], times: int) -> Iterator[tuple[float, float | None]]:
    """For each chunk that a stopped node was on: seconds to its next execution, and to its acceptance if seen."""
    for turn in range(times):
        machine = machines[turn % len(machines)]
        number = network.lives[machine.name]
        while not network.running_batch(number):
            time.sleep(0.02)
        network.stop(machine)
        stopped_at = time.monotonic()
        waiting = [chunk for chunk in network.running_batch(number) if not network.has_accepted(chunk)]
        accepted_at: dict[int, float] = {}
        while time.monotonic() < stopped_at + STOPPED_S:
            for chunk in waiting:
                if chunk not in accepted_at and network.has_accepted(chunk):
                    accepted_at[chunk] = time.monotonic()
            time.sleep(0.05)
        others = [network.lives[other.name] for other in machines if other is not machine]
        begun_at: dict[int, float] = {}
        for began, _, chunks in (batch for other in others for batch in network.batches(other)):
            for chunk in set(chunks).intersection(waiting):
                if began > stopped_at:
                    begun_at[chunk] = min(began, begun_at.get(chunk, began))
        for chunk in begun_at:
            yield begun_at[chunk] - stopped_at, accepted_at[chunk] - stopped_at if chunk in accepted_at else None
        network.resume(machine)
        time.sleep(3.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--times", type=int, default=6)
    parser.add_argument("--chunk-s", type=float, default=0.25)
    parser.add_argument("--out", type=Path, default=churn.ROOT / "benchmarks" / "results" / "stopped.json")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    churn.go_first()
    # More than they can do meanwhile: they are busy to the end.
    chunks = int(options.nodes * (SETTLE_S + options.times * (STOPPED_S + 4.0)) / options.chunk_s / churn.REPLICATION)
    lab = churn.namespaces().Lab()
    try:
        with tempfile.TemporaryDirectory(prefix="cc-stopped-") as made:
            network = churn.Network(Path(made), lab, options.chunk_s)
            try:
                network.start_signaling()
                machines = network.machines[: options.nodes]
                for machine in machines:
                    network.start_node(machine)
                network.publish(churn.write_task(Path(made) / "task", chunks))
                while not network.accepted():
                    time.sleep(0.1)
                time.sleep(SETTLE_S)
                seen = list(stops(network, machines, options.times))
            finally:
                network.close()
    finally:
        lab.close()
    begun = [began_s for began_s, _ in seen]
    accepted = [accepted_s for _, accepted_s in seen if accepted_s is not None]
    figures = {
        "chunks": len(begun),
        "begun elsewhere after, median s": statistics.median(begun),
        "begun elsewhere after, most s": max(begun),
        "accepted within the time": len(accepted),
        "accepted after, median s": statistics.median(accepted),
        "accepted after, most s": max(accepted),
    }
    for what, figure in figures.items():
        print(f"{what:34} {figure:6.2f}")
    machine_facts = {"python": platform.python_version(), "cpus": os.cpu_count(), "load": os.getloadavg()}
    options.out.write_text(json.dumps({"machine": machine_facts, **figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
