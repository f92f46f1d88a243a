"""The pool: every chunk asked for is answered, in order, whatever happens to workers and callers."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import struct
from functools import partial
from typing import TYPE_CHECKING

import pytest
import uvloop
import wasmtime

from crowdcompute.node.executors import pool as pool_module
from crowdcompute.node.executors import slot
from crowdcompute.node.executors.pool import PoolClosed, WorkerPool
from crowdcompute.node.executors.slot import PROGRAMS_PER_WORKER
from crowdcompute.protocol.events import ChunkInput, ChunkOutcome, Status
from crowdcompute.protocol.manifest import Limits
from crowdcompute.protocol.wasm import rewrite

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

LIMITS = Limits(memory_bytes=1 << 20, output_bytes=1 << 16, seconds=20)

# Doubles the i64 of its input. Some inputs are special: -1 never ends, -2 traps, -3 is an error, others below zero
# count down from so many million first.
MODULE = rewrite(
    bytes(
        wasmtime.wat2wasm(r"""(module (memory (export "memory") 1) (data (i32.const 64) "minus three")
        (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
        (func (export "cc_error") (result i64) (i64.const 0x400000000b))
        (func (export "cc_run") (param i32 i32) (result i64) (local $x i64)
            (local.set $x (i64.load (local.get 0)))
            (if (i64.eq (local.get $x) (i64.const -1)) (then (loop $l (br $l))))
            (if (i64.eq (local.get $x) (i64.const -2)) (then unreachable))
            (if (i64.eq (local.get $x) (i64.const -3)) (then (return (i64.const -1))))
            (if (i64.lt_s (local.get $x) (i64.const 0)) (then
                (local.set $x (i64.mul (local.get $x) (i64.const 1000000)))
                (loop $l (br_if $l (i64.ne (i64.const 0) (local.tee $x (i64.add (local.get $x) (i64.const 1))))))))
            (i64.store (i32.const 0) (i64.add (local.get $x) (local.get $x)))
            (i64.const 8)))""")
    )
)
CODE = hashlib.sha256(MODULE).digest()


def chunks(*values: int, first: int = 0) -> list[ChunkInput]:
    return [ChunkInput(first + index, struct.pack("<q", value), index) for index, value in enumerate(values)]


def doubled(asked: Sequence[ChunkInput]) -> tuple[ChunkOutcome, ...]:
    """What `asked` gives when no input is special."""
    return tuple(
        ChunkOutcome(chunk.chunk, Status.OK, struct.pack("<q", max(0, 2 * struct.unpack("<q", chunk.data)[0])))
        for chunk in asked
    )


async def ask(
    pool: WorkerPool, asked: Sequence[ChunkInput], *, module: bytes = MODULE, seconds: float = 20
) -> tuple[ChunkOutcome, ...]:
    limits = Limits(memory_bytes=1 << 20, output_bytes=1 << 16, seconds=seconds)
    return await pool.execute(hashlib.sha256(module).digest(), module, limits, numbers=False, chunks=asked)


def with_pool(scenario: Callable[[WorkerPool], Awaitable[None]], slots: int = 1) -> None:
    async def main() -> None:
        pool = WorkerPool(slots)
        await pool.start()
        try:
            await scenario(pool)
        finally:
            await pool.close()

    # What nodes run on (node/service.py). It closes the pipes of a process that has ended, where asyncio leaves them.
    uvloop.run(main())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # what a pool describes comes with no event
        await asyncio.sleep(0)


def test_outcomes_come_back_in_the_order_asked_for() -> None:
    async def scenario(pool: WorkerPool) -> None:
        asked = chunks(*range(3_000), first=7)
        assert await ask(pool, asked) == doubled(asked)
        assert await ask(pool, []) == ()

    with_pool(scenario)


def test_a_batch_begins_when_those_before_it_are_done() -> None:
    """Or the wait would be taken for its work, and the next batches be made too small."""
    began: dict[str, float] = {}

    async def scenario(pool: WorkerPool) -> None:
        loop, code = asyncio.get_running_loop(), hashlib.sha256(MODULE).digest()
        limits = Limits(memory_bytes=1 << 20, output_bytes=1 << 16, seconds=0.2)

        async def run(name: str, asked: Sequence[ChunkInput]) -> None:
            def begins() -> None:
                began[name] = loop.time()

            await pool.execute(code, MODULE, limits, numbers=False, chunks=asked, began=begins)

        await asyncio.gather(run("runs to its limit", chunks(-1)), run("waits", chunks(1)))

    with_pool(scenario)
    assert began["waits"] >= began["runs to its limit"] + 0.2


def test_errors_and_traps_of_single_chunks_leave_the_others_alone() -> None:
    async def scenario(pool: WorkerPool) -> None:
        ok, trap, error, after = await ask(pool, chunks(5, -2, -3, 6))
        assert ok == ChunkOutcome(0, Status.OK, struct.pack("<q", 10))
        assert trap == ChunkOutcome(1, Status.NO_RESULT, b"", "trap: unreachable")
        assert error == ChunkOutcome(2, Status.TASK_ERROR, b"minus three")
        assert after == ChunkOutcome(3, Status.OK, struct.pack("<q", 12))
        assert pool.describe().workers_lost == 0

    with_pool(scenario)


def test_a_chunk_over_its_time_alone_gets_no_result() -> None:
    async def scenario(pool: WorkerPool) -> None:
        asked = chunks(*[1] * 40, -1, *[2] * 40)
        outcomes = await ask(pool, asked, seconds=0.2)
        assert outcomes[40] == ChunkOutcome(40, Status.NO_RESULT, b"", "time limit 0.2 s")
        assert outcomes[:40] + outcomes[41:] == doubled(asked[:40] + asked[41:])
        assert pool.describe().workers_lost == 1

    with_pool(scenario)


def test_chunks_of_every_length_in_one_batch_are_within_a_limit_each_alone_keeps() -> None:
    async def scenario(pool: WorkerPool) -> None:
        asked = chunks(*([1] * 50 + [-40]) * 20)
        assert await ask(pool, asked, seconds=5) == doubled(asked)
        assert pool.describe().workers_lost == 0

    with_pool(scenario)


def test_as_many_batches_run_at_once_as_there_are_slots() -> None:
    async def scenario(pool: WorkerPool) -> None:
        tasks = [asyncio.create_task(ask(pool, chunks(-1), seconds=3_600)) for _ in range(5)]
        await until(lambda: pool.describe().running == 2 and pool.describe().waiting == 3)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert await ask(pool, chunks(1)) == doubled(chunks(1))

    with_pool(scenario, slots=2)


def test_batches_run_in_the_order_they_came() -> None:
    async def scenario(pool: WorkerPool) -> None:
        ended: list[int] = []

        async def batch(number: int) -> None:
            asked = chunks(-10 if number % 2 else 1, number)
            assert await ask(pool, asked) == doubled(asked)
            ended.append(number)

        await asyncio.gather(*(batch(number) for number in range(8)))
        assert ended == list(range(8))

    with_pool(scenario)


@pytest.mark.parametrize("asked", [chunks(*[-30] * 60), chunks(*range(60_000))], ids=["long chunks", "short chunks"])
def test_every_chunk_is_answered_when_its_worker_is_killed_from_outside(asked: list[ChunkInput]) -> None:
    async def scenario(pool: WorkerPool) -> None:
        running = asyncio.create_task(ask(pool, asked))
        await until(lambda: pool.describe().running == 1)
        (pid,) = pool.describe().pids
        os.kill(pid, signal.SIGKILL)
        assert await running == doubled(asked)
        assert pool.describe().workers_lost == 1
        assert pool.describe().pids != (pid,)

    with_pool(scenario)


@pytest.mark.parametrize("noticed", [False, True])
def test_a_worker_killed_while_it_waits_is_replaced_for_the_next_batch(noticed: bool) -> None:
    async def scenario(pool: WorkerPool) -> None:
        for _ in range(2):
            assert await ask(pool, chunks(1)) == doubled(chunks(1))
            (pid,) = pool.describe().pids
            os.kill(pid, signal.SIGKILL)
            if noticed:
                await until(partial(is_gone, pid))
        assert await ask(pool, chunks(1)) == doubled(chunks(1))

    with_pool(scenario)


def is_gone(pid: int) -> bool:
    """Whether there is no such process: not even a dead one that nobody has waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_chunk_whose_workers_keep_dying_gets_no_result() -> None:
    async def scenario(pool: WorkerPool) -> None:
        await ask(pool, chunks(1))
        running = asyncio.create_task(ask(pool, chunks(-1)))
        await until(lambda: pool.describe().running == 1)
        killed: set[int] = set()
        while not running.done():
            killed |= (fresh := set(pool.describe().pids) - killed)
            for pid in fresh:
                os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0)
        (outcome,) = await running
        assert outcome.status == Status.NO_RESULT
        assert "worker died: SIGKILL" in outcome.detail

    with_pool(scenario)


def test_cancelling_a_running_batch_frees_its_slot() -> None:
    async def scenario(pool: WorkerPool) -> None:
        running = asyncio.create_task(ask(pool, chunks(-1), seconds=3_600))
        await until(lambda: pool.describe().running == 1)
        waiting = asyncio.create_task(ask(pool, chunks(2)))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await waiting == doubled(chunks(2))

    with_pool(scenario)


def test_a_cancelled_batch_that_ends_by_itself_costs_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot, "ABANDONED_S", 60.0)

    async def scenario(pool: WorkerPool) -> None:
        running = asyncio.create_task(ask(pool, chunks(-100)))
        await until(lambda: pool.describe().running == 1)
        waiting = asyncio.create_task(ask(pool, chunks(2)))
        running.cancel()
        assert await waiting == doubled(chunks(2))
        assert pool.describe().workers_lost == 0

    with_pool(scenario)


def test_cancelling_a_waiting_batch_takes_it_out_of_the_queue() -> None:
    async def scenario(pool: WorkerPool) -> None:
        running = asyncio.create_task(ask(pool, chunks(-100)))
        await until(lambda: pool.describe().running == 1)
        waiting = asyncio.create_task(ask(pool, chunks(-1), seconds=3_600))
        await until(lambda: pool.describe().waiting == 1)
        waiting.cancel()
        assert await running == doubled(chunks(-100))
        assert await ask(pool, chunks(3)) == doubled(chunks(3))
        assert pool.describe().workers_lost == 0

    with_pool(scenario)


def test_closing_ends_running_and_waiting_batches() -> None:
    async def scenario(pool: WorkerPool) -> None:
        tasks = [asyncio.create_task(ask(pool, chunks(-1), seconds=3_600)) for _ in range(3)]
        await until(lambda: pool.describe().waiting == 2)
        await pool.close()
        for task in tasks:
            with pytest.raises(PoolClosed):
                await task
        with pytest.raises(PoolClosed):
            await ask(pool, chunks(1))

    with_pool(scenario)


def test_a_module_of_other_bytes_than_named_is_refused() -> None:
    async def scenario(pool: WorkerPool) -> None:
        (outcome,) = await pool.execute(CODE, MODULE + b"\0", LIMITS, numbers=False, chunks=chunks(1))
        assert outcome == ChunkOutcome(0, Status.NO_RESULT, b"", pool_module.OTHER_BYTES)
        assert await ask(pool, chunks(1)) == doubled(chunks(1))

    with_pool(scenario)


def test_a_module_that_is_not_rewritten_is_refused() -> None:
    async def scenario(pool: WorkerPool) -> None:
        module = MODULE.replace(b"\x05\x05\x01\x01\x01\x80\x20", b"\x05\x03\x01\x00\x01")
        assert module != MODULE
        (outcome,) = await ask(pool, chunks(1), module=module)
        assert "(rule memory-maximum)" in outcome.detail

    with_pool(scenario)


def test_more_programs_than_a_worker_keeps_all_run() -> None:
    async def scenario(pool: WorkerPool) -> None:
        for _ in range(2):
            for output_bytes in range(8, 8 + PROGRAMS_PER_WORKER + 2):
                limits = Limits(memory_bytes=1 << 20, output_bytes=output_bytes, seconds=20)
                outcomes = await pool.execute(CODE, MODULE, limits, numbers=False, chunks=chunks(4))
                assert outcomes == doubled(chunks(4))

    with_pool(scenario)


def test_inputs_and_outputs_of_megabytes_pass_in_several_frames() -> None:
    echo = rewrite(
        bytes(
            wasmtime.wat2wasm("""(module (memory (export "memory") 100)
            (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
            (func (export "cc_run") (param i32 i32) (result i64)
                (i64.or (i64.const 0x40000000000) (i64.extend_i32_u (local.get 1)))))""")
        )
    )

    async def scenario(pool: WorkerPool) -> None:
        asked = [ChunkInput(number, bytes([number]) * 3_000_000, 0) for number in range(8)]
        limits = Limits(memory_bytes=8 << 20, output_bytes=3_000_000, seconds=20)
        outcomes = await pool.execute(hashlib.sha256(echo).digest(), echo, limits, numbers=False, chunks=asked)
        assert [outcome.data for outcome in outcomes] == [chunk.data for chunk in asked]

    with_pool(scenario)


def test_a_pool_describes_what_confines_its_workers() -> None:
    async def scenario(pool: WorkerPool) -> None:
        description = pool.describe()
        assert (description.slots, len(description.pids)) == (2, 2)
        assert description.layers[0] == "process"

    with_pool(scenario, slots=2)
