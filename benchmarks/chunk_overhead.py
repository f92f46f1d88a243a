"""What a chunk costs besides computing: tiny chunks through the sandbox, beside a process pool without one.

    python -m benchmarks.chunk_overhead [--quick]

Every row runs the same WebAssembly module, 64 bytes in and out, in a fresh instance per chunk. Rows are interleaved
and the best of several rounds counts, so that other load on the machine hurts all of them alike.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from typing import TYPE_CHECKING

import wasmtime
from benchmarks.cases import Report, answer, parser

from crowdcompute.node.executors.pool import WorkerPool
from crowdcompute.node.executors.wasm import Program, make_engine
from crowdcompute.protocol.events import ChunkInput
from crowdcompute.protocol.manifest import Limits
from crowdcompute.protocol.wasm import rewrite

if TYPE_CHECKING:
    from collections.abc import Callable

BATCHES = (1, 32, 1_024)
LIMITS = Limits(memory_bytes=1 << 20, output_bytes=1 << 16, seconds=10)
INPUT = bytes(range(64))
MODULE = rewrite(
    bytes(
        wasmtime.wat2wasm("""(module (memory (export "memory") 1)
        (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
        (func (export "cc_run") (param i32 i32) (result i64)
            (i64.or (i64.const 0x40000000000) (i64.extend_i32_u (local.get 1)))))""")
    )
)
CODE = hashlib.sha256(MODULE).digest()


def load() -> Program:
    """The program as a worker holds it, in this process."""
    return Program(
        make_engine(one_at_a_time=True),
        MODULE,
        memory_bytes=LIMITS.memory_bytes,
        output_bytes=LIMITS.output_bytes,
        numbers=False,
    )


def prepare_peer() -> None:
    """Give a process of the peer's pool what a worker has."""
    global _program
    _program = load()


def run_in_peer(data: bytes) -> bytes:
    return _program.run(data, 0)[1]


_program: Program


def seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(chunks: int, rounds: int) -> dict[str, float]:
    """Microseconds per chunk, by row."""
    program = load()
    best: dict[str, float] = {}

    def row(name: str, count: int, work: Callable[[], None]) -> None:
        took_us = seconds(work) / count * 1e6
        best[name] = min(took_us, best.get(name, took_us))

    def direct() -> None:
        for _ in range(chunks):
            program.run(INPUT, 0)

    with (
        asyncio.Runner() as runner,
        # Spawned: a forked copy of this process would share its engine's threads and locks.
        ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=prepare_peer) as peer,
    ):
        pool = WorkerPool(1)
        runner.run(pool.start())
        peer.submit(run_in_peer, INPUT).result()

        async def pooled(batch: int, count: int) -> None:
            asked = [ChunkInput(index, INPUT, 0) for index in range(batch)]
            for _ in range(count // batch):
                await pool.execute(CODE, MODULE, LIMITS, numbers=False, chunks=asked)

        def in_peer(batch: int, count: int) -> None:
            if batch == 1:
                for _ in range(count):
                    peer.submit(run_in_peer, INPUT).result()
            else:
                for _ in peer.map(run_in_peer, [INPUT] * count, chunksize=batch):
                    pass

        runner.run(pooled(1, 1))
        for _ in range(rounds):
            row("in this process, no sandbox", chunks, direct)
            for batch in BATCHES:
                # Single chunks are slow; fewer of them say as much.
                count = max(batch, (chunks // 8 if batch == 1 else chunks) // batch * batch)
                row(f"pool, batches of {batch}", count, lambda b=batch, c=count: runner.run(pooled(b, c)))  # type: ignore[misc]
                row(f"ProcessPoolExecutor, batches of {batch}", count, lambda b=batch, c=count: in_peer(b, c))  # type: ignore[misc]
        runner.run(pool.close())
    return best


def main() -> int:
    arguments = parser("chunk_overhead", __doc__)
    arguments.add_argument("--chunks", type=int, help="chunks per row and round (default: 8192, --quick 2048)")
    arguments.add_argument("--rounds", type=int, default=3, help="rounds, of which the best counts (default: 3)")
    options = arguments.parse_args()
    if options.case:
        answer(options, measure)
    chunks = options.chunks or (2_048 if options.quick else 8_192)
    if chunks < BATCHES[-1] or options.rounds < 1:
        arguments.error(f"--chunks must be at least {BATCHES[-1]} and --rounds at least 1")
    with Report("chunk_overhead", options) as report:
        rows = report.case(
            "overhead", limit_s=60 + 0.015 * chunks * options.rounds, chunks=chunks, rounds=options.rounds
        )
        if rows is not None:
            print(f"{'one worker, 64 bytes in and out':<40} {'µs/chunk':>9} {'chunks/s':>9}")
            for name, microseconds in sorted(rows.items()):
                print(f"{name:<40} {microseconds:>9.1f} {1e6 / microseconds:>9,.0f}")
            report.found |= {
                "microseconds_per_chunk": {name: round(value, 2) for name, value in rows.items()},
                "chunks_per_round": chunks,
                "rounds": options.rounds,
                "wasmtime": version("wasmtime"),
            }
    return report.code


if __name__ == "__main__":
    sys.exit(main())
