"""What the creator executes itself: where votes differ, where nobody else is left, where its own word is needed.

a chunk:  WANTED --job--> RUNNING --outcome--> a vote that settles it (creator.py)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .events import ChunkInput, Status
from .onward import ResultsLacking
from .sizing import BatchSizer
from .split import ChunkReader, seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .config import ProtocolConfig
    from .desk import Desk
    from .events import ChunkOutcome
    from .ledger import Ledger
    from .lineage import Rest
    from .onward import Gathering


class Executing:
    """The chunks of one task that our own node is to execute, and its jobs."""

    def __init__(
        self,
        config: ProtocolConfig,
        ledger: Ledger,
        desk: Desk,
        read_inputs: Callable[[int, int], bytes],
        gathering: Gathering,
        rests: Callable[[int], list[Rest]],
    ) -> None:
        self._task = ledger.task
        self._desk = desk
        self._gathering = gathering
        self._reader = ChunkReader(ledger.manifest, read_inputs, gathering.read, ledger.inputs_fed())
        self._sizer = BatchSizer(config.batch_s)
        self._rests = rests
        """The savepoints that votes on a chunk rest on and that nobody has judged."""
        self._wanted: dict[int, None] = {}
        self._jobs: dict[int, tuple[int, ...]] = {}
        self._judging: dict[int, tuple[Rest, ...]] = {}
        """Chunk that is executed -> the savepoints that its execution shows to be true or false."""

    def __bool__(self) -> bool:
        """Whether anything is to be executed, or is being executed."""
        return bool(self._wanted or self._jobs)

    def __contains__(self, chunk: int) -> bool:
        return chunk in self._wanted

    @property
    def jobs_running(self) -> int:
        return len(self._jobs)

    def want(self, chunks: Iterable[int]) -> None:
        """Execute these chunks as well."""
        self._wanted.update(dict.fromkeys(chunks))

    def forget(self, chunks: Iterable[int]) -> None:
        """Do not execute these chunks after all: jobs that are of no use any more are cancelled."""
        unwanted = set(chunks)
        for chunk in unwanted:
            self._wanted.pop(chunk, None)
        useless = [job for job, running in self._jobs.items() if unwanted.issuperset(running)]
        for job in useless:
            del self._jobs[job]
            self._desk.cancel(job)

    def take_job(self) -> list[ChunkInput] | None:
        """The next batch, or None. `job_started` must follow. What takes results that are not here waits for them."""
        if not self._wanted:
            return None
        taken = {chunk for chunks in self._jobs.values() for chunk in chunks}
        batch = []
        for chunk in self._wanted:
            if chunk not in taken:
                try:
                    data, rests = self._reader.read(chunk), tuple(self._rests(chunk))
                    watched = tuple(rest.number for rest in rests)
                    batch.append(ChunkInput(chunk, data, seed(self._task, chunk), watched=watched))
                    self._judging[chunk] = rests
                except ResultsLacking as lacking:
                    self._gathering.fetch(lacking.refs)
                if len(batch) >= self._sizer.size(math.inf):
                    break
        return batch or None

    def job_started(self, job: int, batch: list[ChunkInput]) -> None:
        self._jobs[job] = tuple(chunk.chunk for chunk in batch)

    def judged(self, outcome: ChunkOutcome) -> list[tuple[Rest, bool]]:
        """Which of the savepoints that votes rest on an execution from scratch has shown to be true, and which not."""
        rests = self._judging.pop(outcome.chunk, ())
        if outcome.status is Status.NO_RESULT or len(outcome.states) != len(rests):
            return []
        return [(rest, state == rest.sha256) for rest, state in zip(rests, outcome.states, strict=True)]

    def finished(self, job: int, seconds: float) -> bool:
        """A job is over and its chunks are wanted no more; False when it is none of ours."""
        chunks = self._jobs.pop(job, None)
        if chunks is None:
            return False
        self._sizer.finished(len(chunks), seconds)
        for chunk in chunks:
            self._wanted.pop(chunk, None)
        return True
