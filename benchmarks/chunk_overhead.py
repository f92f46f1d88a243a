"""What a chunk costs besides computing: tiny chunks through the sandbox, beside a process pool without one.

    python benchmarks/chunk_overhead.py

Every row runs the same WebAssembly module, 64 bytes in and out, in a fresh instance per chunk. Rows are interleaved
and the best of several rounds counts, so that other load on the machine hurts all of them alike.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import wasmtime

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--chunks", type=int, default=8_192, help="chunks per row and round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the best counts (default: %(default)s)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent / "results" / "chunk_overhead.json",
        help="where to write the numbers (default: benchmarks/results/chunk_overhead.json)",
    )
    arguments = parser.parse_args()
    if arguments.chunks < BATCHES[-1] or arguments.rounds < 1:
        parser.error(f"--chunks must be at least {BATCHES[-1]} and --rounds at least 1")
    rows = measure(arguments.chunks, arguments.rounds)
    print(f"{'one worker, 64 bytes in and out':<40} {'µs/chunk':>9} {'chunks/s':>9}")
    for name, microseconds in sorted(rows.items()):
        print(f"{name:<40} {microseconds:>9.1f} {1e6 / microseconds:>9,.0f}")
    result = {
        "microseconds_per_chunk": {name: round(value, 2) for name, value in rows.items()},
        "chunks_per_round": arguments.chunks,
        "rounds": arguments.rounds,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "wasmtime": version("wasmtime"),
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
