"""A node told to lie, for `cc-node demo` and for tests: how else would one see that lies are found?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crowdcompute.protocol.events import ChunkOutcome, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crowdcompute.protocol.events import ChunkInput
    from crowdcompute.protocol.manifest import Limits, Runtime

    from .executors.slot import Savepoints
    from .runtime import Executor


class LyingExecutor:
    """Executes honestly, then changes one bit of every result."""

    def __init__(self, honest: Executor) -> None:
        self._honest = honest

    async def execute(
        self,
        code: bytes,
        module: bytes,
        limits: Limits,
        numbers: bool,
        chunks: Sequence[ChunkInput],
        runtime: Runtime = "wasm",
        savepoints: Savepoints | None = None,
        began: Callable[[], None] = lambda: None,
    ) -> tuple[ChunkOutcome, ...]:
        outcomes = await self._honest.execute(code, module, limits, numbers, chunks, runtime, savepoints, began)
        return tuple(
            outcome._replace(data=bytes((outcome.data[0] ^ 1,)) + outcome.data[1:])
            if outcome.status is Status.OK and outcome.data
            else outcome
            for outcome in outcomes
        )
