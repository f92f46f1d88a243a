"""What the devices of this machine make of a kernel, beside what its fallback does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from crowdcompute.node.executors.pool import WorkerPool
from crowdcompute.protocol.events import Status
from crowdcompute.protocol.gpu import open_package
from crowdcompute.protocol.split import is_numbers

from .agreement import agreements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crowdcompute.node.executors.gpu import GpuChoice
    from crowdcompute.protocol.events import ChunkInput, ChunkOutcome
    from crowdcompute.protocol.gpu import Task

    from .agreement import Agreement
    from .work import Work

CHOICES: tuple[GpuChoice, ...] = ("on", "vulkan", "software", "vulkan-software")
"""A GPU, by what drives it first and by Vulkan; and processors that play one: nobody uses these for work, but they
show what other compilers do."""


@dataclass(frozen=True, slots=True)
class OnDevice:
    """A few chunks on one device."""

    name: str
    refusal: str
    """Why the device does not compute the task, if it does not."""
    outcomes: tuple[ChunkOutcome, ...]
    task: Task

    def differing(self, others: Sequence[ChunkOutcome]) -> tuple[int, ...]:
        """Chunks that end otherwise here than those of the fallback."""
        if self.refusal:
            return ()
        pairs = zip(self.outcomes, others, strict=True)
        return tuple(ours.chunk for ours, theirs in pairs if not self._are_same(ours, theirs))

    def agreements(self, others: Sequence[ChunkOutcome]) -> tuple[Agreement, ...]:
        """Of floats, how far each output is from the fallback's; nothing of integers."""
        comparison = self.task.comparison
        if self.refusal or comparison is None:
            return ()
        pairs = zip(self.outcomes, others, strict=True)
        return agreements(
            self.task,
            [
                (comparison.arrays_of(a.data), comparison.arrays_of(b.data))
                for a, b in pairs
                if a.status is b.status is Status.OK and len(a.data) == len(b.data)
            ],
        )

    def _are_same(self, ours: ChunkOutcome, theirs: ChunkOutcome) -> bool:
        comparison = self.task.comparison
        if ours[:3] == theirs[:3]:
            return True
        return (
            comparison is not None
            and ours.status is theirs.status is Status.OK
            and comparison.are_close(ours.data, theirs.data)
        )

    @property
    def _class(self) -> str:
        """The class it is in, where results are compared within classes."""
        comparison = self.task.comparison
        results = [outcome.data for outcome in self.outcomes if outcome.status is Status.OK]
        if comparison is None or not comparison.has_classes or not results:
            return ""
        return f" (class {comparison.class_of(results[0]).hex()[:8]})"

    def words(self, others: Sequence[ChunkOutcome]) -> str:
        if self.refusal:
            return f"{self.name}: not used ({self.refusal})"
        if differing := self.differing(others):
            detail = next(outcome.detail for outcome in self.outcomes if outcome.chunk == differing[0])
            return (
                f"{self.name}: ends chunk {differing[0]} OTHERWISE than the fallback{f' ({detail})' if detail else ''}"
            )
        if seen := self.agreements(others):
            return f"{self.name}{self._class}: agrees with the fallback: {'; '.join(each.words() for each in seen)}"
        return f"{self.name}: the same results as the fallback"


async def on_devices(work: Work, inputs: Sequence[ChunkInput]) -> tuple[OnDevice, ...]:
    """Execute chunks of a GPU task on every device that is found here, by every driver."""
    task = open_package(work.module)
    found = await asyncio.gather(*(_on_device(work, task, inputs, choice) for choice in CHOICES))
    return tuple({device.name: device for device in found if device is not None}.values())


async def _on_device(work: Work, task: Task, inputs: Sequence[ChunkInput], choice: GpuChoice) -> OnDevice | None:
    digest = sha256(work.module).digest()
    pool = WorkerPool(1, gpu=choice)
    if not pool.gpu.engines:
        return None
    try:
        await pool.start()
        if not pool.gpu.device:
            return None
        numbers = is_numbers(work.split)
        outcomes = await pool.execute(digest, work.module, work.limits, numbers, inputs, "gpu")
        return OnDevice(pool.gpu.device, pool.gpu.refusal(digest), outcomes, task)
    finally:
        await pool.close()
