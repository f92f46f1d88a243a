"""Whom the creator asks for second votes, audits and repairs (spec/ledger.md, "Assign").

    (worker, chunk):  FREE --assign--> OUTSTANDING --commit--> FREE
                        ^                  |
                        '-- no lease, too slow, silent or void --'

A worker may choose its first executions itself, but never its seconds: two friends would choose the same chunk and
agree on a lie. So whoever confirms a chunk is drawn by the creator from all that are eligible, of two candidates the
one with less to do (the power of two choices), and cannot tell what its execution is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from .codec import U32, Body, decode, encode
from .identity import NONCE_BYTES
from .records import COMMIT_CHUNKS_MAX, Assign, Run, chunks_of, runs_of, shard_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
    from random import Random

    from .identity import Signer

ASSIGN_CONTEXT = b"assign"
"""Before the task id it is the context under which assignments are sealed."""

_BACKLOG_MIN = 8
"""Chunks a worker may be asked for before anything is known about its speed."""
_SHARE_MIN = 4
"""Chunks of one assignment, if there are as many: it costs its worker a lease and a commit."""
_BACKLOG_MAX = 2 * COMMIT_CHUNKS_MAX


class Request(Body, frozen=True):
    """What an assignment seals: chunks, and whether others have waited for them; never what they are wanted for."""

    shard: U32
    runs: Annotated[tuple[Run, ...], Meta(min_length=1, max_length=COMMIT_CHUNKS_MAX)]
    urgent: bool

    @property
    def chunks(self) -> list[int]:
        return chunks_of(self.shard, self.runs)


def seal_assignment(
    signer: Signer, seal_key: bytes, task: bytes, chunks: Sequence[int], rng: Random, *, urgent: bool
) -> bytes:
    """Seal chunks of one shard to the worker that owns `seal_key`."""
    request = encode(Request(shard_of(chunks[0]), runs_of(chunks), urgent))
    return signer.seal(seal_key, ASSIGN_CONTEXT + task, request, rng.randbytes(NONCE_BYTES))


def open_assignment(signer: Signer, seal_key: bytes, assign: Assign) -> Request:
    """What is asked by an assignment sealed between `signer` and the owner of `seal_key`.

    Raises:
        RemoteProtocolError: It does not open, or names no valid chunks.
    """
    request = decode(signer.unseal(seal_key, ASSIGN_CONTEXT + assign.task, assign.sealed), Request)
    chunks_of(request.shard, request.runs)
    return request


class Assignments:
    """Everything asked for and not yet committed.

    Args:
        capacity: How many chunks each worker may be asked for at a time, so far; it is learnt here.
    """

    def __init__(self, rng: Random, batch_s: float, capacity: dict[bytes, int]) -> None:
        self._rng = rng
        self._batch_s = batch_s
        self._of_worker: dict[bytes, dict[int, float]] = {}  # worker -> chunk -> assigned at
        self._of_chunk: dict[int, set[bytes]] = {}
        self._capacity = capacity
        self.answer_s = 0.0
        """How long an answer takes, usually."""

    def workers_on(self, chunk: int) -> Collection[bytes]:
        """Workers asked for this chunk who have not answered."""
        return self._of_chunk.get(chunk, ())

    def backlog(self, worker: bytes) -> int:
        return len(self._of_worker.get(worker, ()))

    def chunks(self) -> Iterable[int]:
        """The chunks that anything is outstanding for."""
        return self._of_chunk.keys()

    def outstanding(self) -> list[tuple[bytes, int, float]]:
        """All (worker, chunk, assigned at)."""
        return [(worker, chunk, at) for worker, chunks in self._of_worker.items() for chunk, at in chunks.items()]

    def committed(self, worker: bytes, chunks: Sequence[int], now: float) -> None:
        """A worker answered. Quick answers double what it may be asked for at a time, slow ones halve it."""
        held = self._of_worker.get(worker, {})
        waited_s = max((now - held[chunk] for chunk in chunks if chunk in held), default=None)
        if waited_s is not None:
            self.answer_s = 0.8 * self.answer_s + 0.2 * waited_s
        capacity = self._capacity.get(worker, _BACKLOG_MIN)
        if waited_s is not None and waited_s < self._batch_s:
            capacity = min(_BACKLOG_MAX, 2 * capacity)
        elif waited_s is not None and waited_s > 2 * self._batch_s:
            capacity = max(_BACKLOG_MIN, capacity // 2)
        # Whatever it waited for: a batch this large was one batch's work.
        self._capacity[worker] = max(capacity, len(chunks))
        self._release(worker, chunks)

    def withdraw(self, worker: bytes, chunks: Iterable[int] | None = None) -> list[int]:
        """Give up on a worker, for some chunks or for all; the chunks that are free again."""
        held = self._of_worker.get(worker, {})
        taken = [chunk for chunk in (list(held) if chunks is None else chunks) if chunk in held]
        self._release(worker, taken)
        return taken

    def room(self, workers: Iterable[bytes]) -> int:
        """Chunks these workers can be asked for now."""
        return sum(max(0, self._room(worker)) for worker in workers)

    def distribute(
        self,
        wanted: Mapping[int, int],
        candidates: Sequence[bytes],
        excluded: Callable[[int], Set[bytes]],
        now: float,
    ) -> list[tuple[bytes, list[int]]]:
        """Draw workers for chunks that want so many more votes each; what nobody can take now stays wanted.

        `excluded` names the workers that must not get a chunk (its voters); workers already on it are left out here.
        Returns (worker, ascending chunks of one shard) pairs, which from now on are outstanding.
        """
        given: list[tuple[bytes, list[int]]] = []
        for copies in range(max(wanted.values(), default=0)):
            by_shard: dict[int, list[int]] = {}
            barred: dict[int, Set[bytes]] = {}
            for chunk, count in sorted(wanted.items()):
                if count > copies:
                    on_it = self._of_chunk.get(chunk)
                    barred[chunk] = excluded(chunk) | on_it if on_it else excluded(chunk)
                    by_shard.setdefault(shard_of(chunk), []).append(chunk)
            for left in by_shard.values():
                given += self._hand_out(left, [w for w in candidates if self._room(w) > 0], barred, now)
        return given

    def hand_over(
        self,
        wanted: Mapping[int, int],
        pace: Mapping[bytes, tuple[float, float]],
        excluded: Callable[[int], Set[bytes]],
        now: float,
    ) -> list[tuple[bytes, list[int]]]:
        """The same for urgent chunks: each goes to who begins it soonest, whatever else that was asked for.

        `pace` says when each worker can begin something, and how long a chunk takes it.
        """
        free_at = {worker: at for worker, (at, _) in pace.items()}
        given: dict[tuple[bytes, int], list[int]] = {}
        for chunk, count in wanted.items():
            for _ in range(count):
                barred = excluded(chunk) | set(self.workers_on(chunk))
                eligible = [worker for worker in free_at if worker not in barred]
                if not eligible:
                    break
                worker = min(eligible, key=lambda worker: (free_at[worker], self._rng.random()))
                free_at[worker] += pace[worker][1]
                self._take(worker, [chunk], now)
                given.setdefault((worker, shard_of(chunk)), []).append(chunk)
        return [
            (worker, part[start : start + COMMIT_CHUNKS_MAX])
            for (worker, _), chunks in given.items()
            for part in [sorted(chunks)]
            for start in range(0, len(part), COMMIT_CHUNKS_MAX)
        ]

    def _hand_out(
        self, left: list[int], eligible: list[bytes], barred: Mapping[int, Set[bytes]], now: float
    ) -> list[tuple[bytes, list[int]]]:
        given: list[tuple[bytes, list[int]]] = []
        while left and eligible:
            worker = min(self._rng.sample(eligible, min(2, len(eligible))), key=self.backlog)
            share = max(-(-len(left) // len(eligible)), _SHARE_MIN)
            limit = min(share, self._room(worker), COMMIT_CHUNKS_MAX)
            portion: list[int] = []
            rest: list[int] = []
            for chunk in left:
                (portion if len(portion) < limit and worker not in barred[chunk] else rest).append(chunk)
            if portion:
                self._take(worker, portion, now)
                given.append((worker, portion))
            if not portion or self._room(worker) <= 0:
                eligible.remove(worker)
            left = rest
        return given

    def _room(self, worker: bytes) -> int:
        return self._capacity.get(worker, _BACKLOG_MIN) - self.backlog(worker)

    def _take(self, worker: bytes, chunks: Iterable[int], now: float) -> None:
        held = self._of_worker.setdefault(worker, {})
        for chunk in chunks:
            held[chunk] = now
            self._of_chunk.setdefault(chunk, set()).add(worker)

    def _release(self, worker: bytes, chunks: Iterable[int]) -> None:
        held = self._of_worker.get(worker, {})
        for chunk in chunks:
            if held.pop(chunk, None) is not None:
                on_chunk = self._of_chunk[chunk]
                on_chunk.discard(worker)
                if not on_chunk:
                    del self._of_chunk[chunk]
