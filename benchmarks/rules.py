"""What the rules themselves cost a chunk: processor time of a creator and its volunteers, without what carries them.

    python -m benchmarks.rules [--profile PART]

Real peers with real keys in one process, in virtual time: frames take two milliseconds, a chunk that does nothing 60 µs
of its volunteer's one slot. The same seed gives the same run, so two checkouts differ by what they do; and processor
time means something on a busy machine, too. Links, disk and sandbox are left out: benchmarks/network.py.
"""

from __future__ import annotations

import argparse
import cProfile
import heapq
import json
import os
import platform
import pstats
import sys
import time
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.closing import TaskState
from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.events import (
    CancelJob,
    ChunkOutcome,
    Execute,
    Executed,
    FrameReceived,
    Input,
    LinkOpened,
    SendFrame,
    Status,
    TaskPublished,
    Woke,
)
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.manifest import Limits, Manifest, Policy, Range, sign_manifest
from crowdcompute.protocol.peer import Peer
from crowdcompute.protocol.storage import MemoryBlobStore

VOLUNTEERS = 2
DELAY_S = 0.002
CHUNK_S = 60e-6
JOB_S = 0.001
"""What a batch takes besides its chunks: pipes and a frame each way."""
STARTED_S = 1_700_000_000
END_S = 600.0
PARTS = ("creator", "volunteer")
MODULE = b"never executed"
RESULT = bytes(8)


@dataclass
class Row:
    votes: int
    chunks: int
    creator_us: float
    volunteers_us: float
    executions_per_chunk: float
    commits: int
    assignments: int
    frames: int


@dataclass
class Place:
    """One peer and what it has cost."""

    peer: Peer
    free_at: float = 0.0
    wake_at: float = 0.0
    cpu_s: float = 0.0
    frames: int = 0
    profile: cProfile.Profile | None = None


class World:
    """A creator, first, and volunteers that are all linked with each other."""

    def __init__(self, chunks: int, replication: int, seed: int, profiled: str) -> None:
        signers = [Identity(bytes([number + 1]) * 32) for number in range(VOLUNTEERS + 1)]
        self.manifest = _manifest(signers[0], chunks, replication)
        self.now = 0.0
        self._order = count()
        self._events: list[tuple[float, int, Place, Any]] = []
        self._cancelled: set[tuple[int, int]] = set()
        self.places: list[Place] = []
        for number, signer in enumerate(signers):
            blobs = MemoryBlobStore()
            config = ProtocolConfig(slots=1, work=number > 0, epoch_offset_s=STARTED_S)
            if not number:
                blobs.put(self.manifest.code.sha256, MODULE)
            place = Place(Peer(config, signer, verify, Random(seed * 100 + number), blobs, self.now))
            if PARTS[min(number, 1)] == profiled and number < len(PARTS):
                place.profile = cProfile.Profile()
            self.places.append(place)
        self._by_id = {place.peer.peer_id: place for place in self.places}
        for place in self.places:
            for other in self.places:
                if other is not place:
                    self._feed(place, LinkOpened(other.peer.peer_id, dialled=place.peer.peer_id < other.peer.peer_id))
        self._at(1.0, self.places[0], TaskPublished(sign_manifest(signers[0], self.manifest)))

    def run(self) -> None:
        """Until the task is closed."""
        while self._events and not self._is_over():
            self.now, _, place, event = heapq.heappop(self._events)
            if self.now > END_S:
                raise SystemExit("the task does not end")
            if isinstance(event, Execute):
                if (id(place), event.job) in self._cancelled:
                    continue
                outcomes = tuple(ChunkOutcome(chunk.chunk, Status.OK, RESULT) for chunk in event.chunks)
                event = Executed(event.job, outcomes, _seconds(event))
            elif isinstance(event, Woke) and self.now < place.wake_at:
                continue  # It was put off meanwhile.
            self._feed(place, event)

    def _is_over(self) -> bool:
        return any(role.state is TaskState.CLOSED for role in self.places[0].peer.creators.values())

    def _feed(self, place: Place, event: Input) -> None:
        started = time.thread_time()
        if place.profile is not None:
            place.profile.enable()
        outputs = place.peer.handle(event, now=self.now)
        place.wake_at = max(place.peer.wake_at, self.now)
        if place.profile is not None:
            place.profile.disable()
        place.cpu_s += time.thread_time() - started
        for output in outputs:
            match output:
                case SendFrame(peer_id=peer_id, frame=frame):
                    place.frames += 1
                    self._at(self.now + DELAY_S, self._by_id[peer_id], FrameReceived(place.peer.peer_id, frame))
                case Execute():
                    place.free_at = max(place.free_at, self.now) + _seconds(output)
                    self._at(place.free_at, place, output)
                case CancelJob(job=job):
                    self._cancelled.add((id(place), job))
                case _:
                    pass
        self._at(place.wake_at, place, Woke())

    def _at(self, time_s: float, place: Place, event: Input | Execute) -> None:
        heapq.heappush(self._events, (time_s, next(self._order), place, event))


def measure(chunks: int, replication: int, seed: int, profiled: str = "") -> Row:
    world = World(chunks, replication, seed, profiled)
    world.run()
    creator, *volunteers = world.places
    (role,) = creator.peer.creators.values()
    kinds = [signed.kind for signed in role.ledger.records()]
    for place in world.places:
        if place.profile is not None:
            pstats.Stats(place.profile).sort_stats("tottime").print_stats(40)
    return Row(
        replication,
        chunks,
        round(creator.cpu_s / chunks * 1e6, 1),
        round(sum(place.cpu_s for place in volunteers) / chunks * 1e6, 1),
        round(role.progress().votes / chunks, 3),
        kinds.count("commit"),
        kinds.count("assign"),
        sum(place.frames for place in world.places),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--chunks", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--profile", choices=PARTS, default="", help="show where this part's time goes, and write nothing"
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "rules.json")
    options = parser.parse_args()
    rows = [measure(options.chunks, votes, options.seed, options.profile) for votes in (1, 2)]
    print(
        f"{'votes':>5} {'creator':>10} {'volunteers':>10} {'executions':>10} {'commits':>8} {'asked':>6} {'frames':>7}"
    )
    for row in rows:
        print(
            f"{row.votes:5} {row.creator_us:7.1f} µs {row.volunteers_us:7.1f} µs {row.executions_per_chunk:10.3f} "
            f"{row.commits:8,} {row.assignments:6,} {row.frames:7,}"
        )
    if not options.profile:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        found = {"machine": machine, "load_average": os.getloadavg()[0], "rows": [asdict(row) for row in rows]}
        options.output.write_text(json.dumps(found, indent=2) + "\n")
    return 0


def _seconds(order: Execute) -> float:
    return len(order.chunks) * CHUNK_S + JOB_S


def _manifest(creator: Identity, chunks: int, replication: int) -> Manifest:
    return Manifest(
        schema=1,
        name="rules",
        description="",
        link="",
        creator=creator.public_key,
        seal_key=creator.seal_key,
        runtime="wasm",
        code=describe(MODULE),
        split=Range(0, chunks, 1),
        chunks=chunks,
        inputs=None,
        limits=Limits(memory_bytes=1 << 20, output_bytes=1 << 10, seconds=10.0),
        policy=Policy(replication=replication, eps=0.01, liars=0.2, pow_bits=8),
        reward=1,
        epochs=None,
        onward=False,
        permissions=(),
        vouches=(),
        created_s=STARTED_S,
        expires_s=STARTED_S + 86_400,
    )


if __name__ == "__main__":
    sys.exit(main())
