"""What a peer executes, and in which order its roles get a slot.

    a job:  waiting --a slot is free--> running --executed--> votes
               '--- recalled for an urgent one: its chunks wait with their role

Every slot is kept busy and one job waits, so that a worker process never idles between batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .events import CancelJob, ChunkInput, Execute, Output
from .sizing import Paces
from .split import is_numbers
from .worker import WorkerRole

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from .config import ProtocolConfig
    from .creator import CreatorRole
    from .manifest import Runtime

    Role = WorkerRole | CreatorRole


class Slots:
    """The jobs of one peer.

    Args:
        emit: Takes an output of the peer.
    """

    def __init__(self, config: ProtocolConfig, emit: Callable[[Output], None], now: float) -> None:
        self.count = config.slots
        """How many jobs are executed at the same time."""
        self.paces = Paces(config.batch_s, config.active_s, now)
        self._own = min(1, config.slots)
        self._emit = emit
        self._jobs: dict[int, Role] = {}
        self._next_job = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is being executed."""
        return not self._jobs

    def finished(self, job: int) -> Role | None:
        """A job is done; whose it was, unless it was cancelled."""
        return self._jobs.pop(job, None)

    def cancel(self, job: int) -> None:
        """Nobody needs this job any more."""
        if self._jobs.pop(job, None) is not None:
            self._emit(CancelJob(job))

    def fill(self, creators: Iterable[CreatorRole], workers: Collection[WorkerRole], now: float) -> None:
        """Have the roles' next batches executed, as far as there is room."""
        room = self.count + 1 if self.count else 0
        # What our own task still needs from us is executed even while we rest from other people's.
        own_room = max(room, self._own)
        for creator in creators:
            while len(self._jobs) < own_room and (batch := creator.take_job()):
                self._start(creator, batch)
        for worker in workers:
            if worker.is_urgent and len(self._jobs) >= room:
                self._recall(worker.ledger.manifest.runtime)
        # The task with the fewest jobs goes first, so that several tasks share the slots.
        for worker in sorted(workers, key=lambda role: (not role.is_urgent, role.jobs_running)):
            while len(self._jobs) < room and (batch := worker.take_job(now)):
                self._start(worker, batch)

    def _start(self, role: Role, batch: list[ChunkInput]) -> None:
        self._next_job += 1
        job = self._next_job
        task, manifest = role.ledger.task, role.ledger.manifest
        numbers = is_numbers(manifest.split)
        self._emit(Execute(job, task, manifest.runtime, manifest.code.sha256, manifest.limits, numbers, tuple(batch)))
        self._jobs[job] = role
        role.job_started(job, batch)

    def _recall(self, runtime: Runtime) -> None:
        """Make room for an urgent job: the job that came last waits still, if there are more than slots."""
        jobs = {job: role for job, role in self._jobs.items() if role.ledger.manifest.runtime == runtime}
        if len(jobs) <= self.count:
            return
        job, role = jobs.popitem()
        if isinstance(role, WorkerRole) and role.recall(job):
            self.cancel(job)
