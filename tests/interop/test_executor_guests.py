"""What other people's libraries do with an Executor: dask and joblib, unchanged, on this machine's sandbox."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import dask as typed_dask
import joblib
import pytest

from crowdcompute.creator import ChunkFailed, Executor, Kernel, NotPortable, ThisMachine, here, register_joblib

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

dask: Any = typed_dask  # Its type hints hide what its documentation names.


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    with ThisMachine(1) as machine, Executor(machine) as executor:
        yield executor


@pytest.fixture
def add(tmp_path: Path) -> Kernel[Any]:
    (tmp_path / "kernel.js").write_text(
        """export default ([a, b]) => { if (a === 13) throw new Error("unlucky"); return a + b; };\n"""
    )
    (tmp_path / "task.toml").write_text(
        'schema = 1\nname = "Add"\n[code]\nruntime = "js"\nmodule = "kernel.js"\n[split]\nrange = [0, 1, 1]\n'
    )
    return Kernel(tmp_path)


def test_dask_computes_a_graph_of_kernels(executor: Executor, add: Kernel[Any]) -> None:
    published = len(executor.jobs)
    call = dask.delayed(add)
    first = [call(n, 1) for n in range(8)]
    second = [call(left, right) for left, right in zip(first[::2], first[1::2], strict=True)]
    whole = dask.delayed(here(sum))(second)
    assert dask.compute(whole, *first, scheduler=executor) == (36, *range(1, 9))
    jobs = executor.jobs[published:]
    assert sum(job.chunks for job in jobs) == 12
    assert len(jobs) < 12, "calls that are ready together share a task"


def test_dask_shows_what_failed_and_what_is_not_portable(executor: Executor, add: Kernel[Any]) -> None:
    with pytest.raises(ChunkFailed, match="unlucky"):
        dask.compute(dask.delayed(add)(13, 1), scheduler=executor)
    with pytest.raises(NotPortable, match="sum is Python"):
        dask.compute(dask.delayed(sum)([1, 2]), scheduler=executor)


def test_joblib_sends_kernels_to_volunteers(executor: Executor, add: Kernel[Any]) -> None:
    register_joblib()
    with joblib.parallel_config("crowdcompute", executor=executor):
        assert joblib.Parallel(n_jobs=-1)(joblib.delayed(add)(n, n) for n in range(12)) == list(range(0, 24, 2))
        with pytest.raises(ChunkFailed, match="unlucky"):
            joblib.Parallel(n_jobs=-1)([joblib.delayed(add)(13, 1)])
        with pytest.raises(NotPortable, match="is Python"):
            joblib.Parallel(n_jobs=-1)([joblib.delayed(abs)(-1)])


def test_asyncio_awaits_its_futures(executor: Executor, add: Kernel[Any]) -> None:
    async def program() -> Any:
        loop = asyncio.get_running_loop()
        wrapped = asyncio.wrap_future(executor.submit(add, 1, 2))
        return await asyncio.gather(wrapped, loop.run_in_executor(executor, add, 3, 4))

    assert asyncio.run(program()) == [3, 7]
