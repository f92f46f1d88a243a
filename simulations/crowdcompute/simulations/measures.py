"""What is measured while a world runs, without changing it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from crowdcompute.protocol.events import Execute, Executed, FrameReceived, Notable, Notice
from crowdcompute.protocol.frames import Publish, decode_frame

if TYPE_CHECKING:
    from crowdcompute.protocol.events import Input, Output

    from .network import Node, World

_PUBLISH = b"\x93\xa7publish"
"""How every `Publish` frame begins: an array of three and its tag."""


class ChunkTimes:
    """When each chunk was first started and when it was accepted for the last time."""

    def __init__(self, world: World) -> None:
        self.started_at: dict[int, float] = {}
        self.accepted_at: dict[int, float] = {}
        world.observers.append(self._see)

    def _see(self, now: float, node: Node, event: Input | Output) -> None:
        if type(event) is Execute:
            for chunk in event.chunks:
                self.started_at.setdefault(chunk.chunk, now)
        elif type(event) is Notice and event.what is Notable.CHUNK_ACCEPTED and event.chunk is not None:
            self.accepted_at[event.chunk] = now

    def quorum_s(self) -> list[float]:
        """Ascending times from a chunk's first start to its acceptance."""
        return sorted(at - self.started_at.get(chunk, at) for chunk, at in self.accepted_at.items())


class NodeTime:
    """What became of the time that machines were there, from the first accepted chunk to the certificate.

    *Ideal* is that each computes all the time and nothing more often than the policy demands: replication, and the
    audits that the certificate counts. Machines execute one batch at a time here.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._from_s = math.inf
        world.observers.append(self._see)

    def _see(self, now: float, node: Node, event: Input | Output) -> None:
        if type(event) is Notice and event.what is Notable.CHUNK_ACCEPTED:
            self._from_s = min(self._from_s, now)

    def shares(self) -> dict[str, float]:
        """Shares of the time that machines were there; nothing when the task was not closed."""
        begins, ends = self._from_s, self._world.closed_at
        if ends is None or begins >= ends:
            return {}

        def within(since: float, until: float) -> float:
            return max(0.0, min(until, ends) - max(since, begins))

        there_s = starting_s = lost_s = executed_s = executed = 0.0
        before = 0.0
        for life in (life for node in self._world.nodes[1:] for life in node.lives):
            batches = [batch for batch in life.batches if batch[1] <= life.ended_at]
            there_s += within(life.started_at, life.ended_at)
            starting_s += within(life.started_at, batches[0][0] if batches else life.ended_at)
            if batches and life.ended_at < ends:
                lost_s += within(batches[-1][1], life.ended_at)
            for began, ended, chunks in batches:
                executed_s += within(began, ended)
                executed += chunks * within(began, ended) / (ended - began)
                before += chunks * min(1.0, max(0.0, begins - began) / (ended - began))
        progress = self._world.role.progress()
        demanded = self._world.manifest.policy.replication * progress.chunks + progress.worker_audits - before
        needed_s = demanded * executed_s / executed
        return {
            "share of ideal": needed_s / there_s,
            "of it: starting": starting_s / there_s,
            "of it: lost with its machine": lost_s / there_s,
            "of it: executed in vain": (executed_s - needed_s) / there_s,
            "of it: pauses": (there_s - executed_s - starting_s - lost_s) / there_s,
        }


class GossipMeter:
    """Follows records from their authors through the mesh: hops and copies, over the first `frames` publications.

    Only records first seen leaving their author are counted, and only until the frames are used up, so what is on
    its way at the end lowers the figures a little.
    """

    def __init__(self, world: World, *, start_s: float, frames: int) -> None:
        self._world = world
        self._start_s = start_s
        self._frames_left = frames
        self._hops: dict[bytes, dict[int, int]] = {}
        self._copies: dict[bytes, int] = {}
        world.observers.append(self._see)

    def _see(self, now: float, node: Node, event: Input | Output) -> None:
        if now < self._start_s or type(event) is not FrameReceived or not event.frame.startswith(_PUBLISH):
            return
        self._frames_left -= 1
        if self._frames_left < 0:
            self._world.observers.remove(self._see)
            return
        frame = decode_frame(event.frame)
        assert isinstance(frame, Publish)
        sender = self._world.index_of[event.peer_id]
        sender_key = self._world.nodes[sender].signer.public_key
        for signed in frame.records:
            record_id = signed.record_id
            hops = self._hops.get(record_id)
            if hops is None:
                if signed.author != sender_key:
                    continue
                hops = self._hops[record_id] = {sender: 0}
                self._copies[record_id] = 0
            self._copies[record_id] += 1
            if node.index not in hops and sender in hops:
                hops[node.index] = hops[sender] + 1

    def figures(self) -> tuple[float, int, float] | None:
        """(mean hops, most hops, copies per peer reached), or None if nothing was seen."""
        hops = [hop for reached in self._hops.values() for hop in reached.values() if hop]
        if not hops:
            return None
        return sum(hops) / len(hops), max(hops), sum(self._copies.values()) / len(hops)


class Story:
    """Lines about one peer (by name or peer id) or one chunk (by number), in the order things happened."""

    def __init__(self, world: World, subject: str) -> None:
        self.lines: list[str] = []
        self._chunk = int(subject) if subject.isdigit() else None
        self._subject = subject
        world.observers.append(self._see)

    def _see(self, now: float, node: Node, event: Input | Output) -> None:
        text = self._about_chunk(event) if self._chunk is not None else self._about_peer(node, event)
        if text:
            self.lines.append(f"{now:10.3f} {node.name} {node.signer.peer_id[-6:]}: {text}")

    def _about_chunk(self, event: Input | Output) -> str:
        match event:
            case Execute(chunks=chunks) if any(chunk.chunk == self._chunk for chunk in chunks):
                return f"executes it, with {len(chunks) - 1} others"
            case Executed(outcomes=outcomes):
                for outcome in outcomes:
                    if outcome.chunk == self._chunk:
                        return f"got {outcome.status.name.lower()} {outcome.data[:8].hex()} {outcome.detail}"
            case Notice(chunk=chunk, what=what, detail=detail) if chunk == self._chunk:
                return f"{what.value} {detail}"
        return ""

    def _about_peer(self, node: Node, event: Input | Output) -> str:
        if isinstance(event, Notice) and event.peer_id is not None and self._is(event.peer_id, ""):
            return f"says of it: {event.what.value} {event.detail}"
        if not self._is(node.signer.peer_id, node.name):
            return ""
        match event:
            case FrameReceived():
                return ""
            case Execute(chunks=chunks):
                return f"executes {[chunk.chunk for chunk in chunks]}"
            case Executed(outcomes=outcomes):
                return f"executed {[outcome.chunk for outcome in outcomes]}"
            case Notice(what=what, detail=detail):
                return f"{what.value} {detail}"
            case _:
                return type(event).__name__ + (f" {event.reason}" if hasattr(event, "reason") else "")

    def _is(self, peer_id: str, name: str) -> bool:
        return self._subject in (peer_id, name) or (len(self._subject) >= 6 and peer_id.endswith(self._subject))
