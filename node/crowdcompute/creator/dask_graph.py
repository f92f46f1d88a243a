"""Dask hands its executor Python functions that wrap a graph's tasks; this finds the kernel calls inside.

`dask.compute(…, scheduler=executor)` submits `dask.local.batch_execute_tasks` with rows of (key, (task, inputs), …). A
task that calls a kernel goes to volunteers; what dask itself needs to put values together is done at once, here.
Nothing of dask is imported: who does not use it need not have it.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .executor import Executor


def calls_of(function: object, arguments: tuple[Any, ...]) -> Callable[[Executor], Future[Any]] | None:
    """What submits the tasks of dask's call; None if this is no call of dask's."""
    is_dask = getattr(function, "__module__", "") == "dask.local"
    if not is_dask or getattr(function, "__name__", "") != "batch_execute_tasks":
        return None
    (rows,) = arguments
    return lambda executor: _submit(executor, rows)


def _submit(executor: Executor, rows: list[Any]) -> Future[Any]:
    from .executor import gathered

    futures = [_start(executor, *loads(info)) for _, info, _, loads, _, _ in rows]

    def combine(done: list[Future[Any]]) -> list[tuple[Any, Any, bool]]:
        answers = []
        for (key, _, dumps, _, get_id, pack_exception), future in zip(rows, done, strict=True):
            try:
                answers.append((key, dumps((future.result(), get_id())), False))
            except Exception as error:
                answers.append((key, pack_exception(error, dumps), True))
        return answers

    return gathered(futures, combine)


def _start(executor: Executor, task: Any, inputs: dict[Any, Any]) -> Future[Any]:
    """Begin one task whose inputs are there."""
    try:
        function = getattr(task, "func", None)
        if function is None or str(getattr(function, "__module__", "")).partition(".")[0] == "dask":
            return _done(task(inputs))  # A value, a name for another task, or a list of such.
        return executor.submit(
            function, *[_value(part, inputs) for part in task.args], **_value(dict(task.kwargs), inputs)
        )
    except Exception as error:
        failed: Future[Any] = Future()
        failed.set_exception(error)
        return failed


def _value(part: Any, inputs: dict[Any, Any]) -> Any:
    """An argument in which names of other tasks are replaced by their results."""
    if type(part).__module__ == "dask._task_spec":
        return inputs[part.key] if type(part).__name__ == "TaskRef" else part(inputs)
    if isinstance(part, list | tuple):
        return type(part)(_value(inner, inputs) for inner in part)
    if isinstance(part, dict):
        return {name: _value(inner, inputs) for name, inner in part.items()}
    return part


def _done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future
