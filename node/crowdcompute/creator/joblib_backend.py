"""joblib over volunteers: `register_joblib()`, then `joblib.parallel_config("crowdcompute", executor=executor)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .executor import BATCH_CALLS, gathered

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from .executor import Executor


def register_joblib() -> None:
    """Make joblib's backend "crowdcompute" known.

    Raises:
        ImportError: joblib is not installed.
    """
    from joblib.parallel import ParallelBackendBase, register_parallel_backend

    class Backend(ParallelBackendBase):  # type: ignore[misc]
        """Sends each call to an `Executor`; what is not a kernel is refused as there."""

        supports_retrieve_callback = True

        def __init__(self, executor: Executor, **options: Any) -> None:
            super().__init__(**options)
            self._executor = executor

        def effective_n_jobs(self, n_jobs: int) -> int:
            # All calls at once: a task's chunks are fixed when it is signed.
            return BATCH_CALLS if n_jobs in (-1, None) else max(1, n_jobs)

        def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> Future[Any]:
            futures = [self._executor.submit(call, *args, **named) for call, args, named in func.items]
            whole = gathered(futures, lambda done: [future.result() for future in done])
            if callback is not None:
                whole.add_done_callback(callback)
            return whole

        def retrieve_result_callback(self, out: Future[Any]) -> Any:
            return out.result()

    register_parallel_backend("crowdcompute", Backend)
