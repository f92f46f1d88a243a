"""Native nodes and browsers show a program the same world: random system calls on wasmtime and on Node's V8."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import struct
import subprocess
from pathlib import Path

import pytest
import wasmtime
from tests.interop.typescript import compiled

from crowdcompute.node.executors.pool import WorkerPool
from crowdcompute.protocol.events import ChunkInput, Status
from crowdcompute.protocol.manifest import Limits
from crowdcompute.protocol.wasm import rewrite, wasi

PROGRAMS = 600
LIMITS = Limits(memory_bytes=4 * 65_536, output_bytes=32_768, seconds=20)
LETTERS = {wasi.I32[0]: "i32", wasi.I64[0]: "i64"}
FREQUENT = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_sizes_get",
    "fd_fdstat_get",
    "fd_read",
    "fd_write",
    "poll_oneoff",
    "random_get",
]
"""What touches memory; the rest is called now and then."""


def argument(rng: random.Random, kind: str) -> int:
    """Mostly small and inside the page, sometimes at an edge."""
    if kind == "i64":
        return rng.choice((0, 1, 2**63 - 1, -1, rng.getrandbits(63)))
    if rng.random() < 0.04:
        return rng.choice((-1, 65_532, 65_536, 65_537, 2**31 - 1, -(2**31), 1_024, 1_025))
    return rng.choice((0, 1, 2, 3, rng.randrange(8), 8 * rng.randrange(256), rng.randrange(4_096)))


def words(rng: random.Random) -> str:
    """What lies in memory at first: vectors and subscriptions to be found by chance, as text of a data segment."""
    values = [rng.choice((0, 1, 2, rng.randrange(64), rng.randrange(4_096))) for _ in range(512)]
    if rng.random() < 0.2:
        values[rng.randrange(512)] = rng.getrandbits(32)
    return "".join(f"\\{byte:02x}" for byte in struct.pack("<512I", *values))


def program(rng: random.Random) -> bytes:
    """A command that makes some calls, keeps what each returned, and writes that and its first page half to stdout."""
    names = sorted(wasi.SIGNATURES)
    declared = "".join(
        f'(import "{wasi.MODULE}" "{name}" (func ${name}'
        f" (param {' '.join(LETTERS[kind] for kind in wasi.SIGNATURES[name][0])})"
        f"{'(result i32)' if wasi.SIGNATURES[name][1] else ''}))"
        for name in names
    )
    calls = []
    for place in range(rng.randrange(1, 12)):
        name = rng.choice(FREQUENT) if rng.random() < 0.85 else rng.choice(names)
        parameters = wasi.SIGNATURES[name][0]
        arguments = " ".join(f"({LETTERS[kind]}.const {argument(rng, LETTERS[kind])})" for kind in parameters)
        call = f"(call ${name} {arguments})"
        calls.append(call if name == "proc_exit" else f"(i32.store (i32.const {60_000 + 4 * place}) {call})")
    told = (
        "(i32.store (i32.const 61000) (i32.const 60000)) (i32.store (i32.const 61004) (i32.const 64))"
        "(i32.store (i32.const 61008) (i32.const 0)) (i32.store (i32.const 61012) (i32.const 8192))"
        "(drop (call $fd_write (i32.const 1) (i32.const 61000) (i32.const 2) (i32.const 61016)))"
    )
    start = rng.random() < 0.05
    early = f"(func $early {calls[0]}) (start $early)" if start else ""
    return rewrite(
        bytes(
            wasmtime.wat2wasm(
                f'(module {declared} (memory (export "memory") 1) (data (i32.const 0) "{words(rng)}") {early}'
                f' (func (export "_start") {"".join(calls)} {told}))'
            )
        )
    )


def native(cases: list[tuple[bytes, ChunkInput, bool]]) -> list[tuple[int, str, str]]:
    async def main() -> list[tuple[int, str, str]]:
        pool = WorkerPool(1)
        await pool.start()
        try:
            ended = []
            for module, chunk, numbers in cases:
                code = hashlib.sha256(module).digest()
                (outcome,) = await pool.execute(code, module, LIMITS, numbers, [chunk])
                ended.append((int(outcome.status), outcome.data.hex(), outcome.detail))
            return ended
        finally:
            await pool.close()

    return asyncio.run(main())


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The TypeScript implementation as a program for Node."""
    return compiled("executions", tmp_path_factory.mktemp("differential"))


def test_programs_that_make_random_system_calls_end_the_same(typescript: Path) -> None:
    rng = random.Random(20_261_122)
    cases = []
    for index in range(PROGRAMS):
        numbers = rng.random() < 0.3
        data = rng.randbytes(8 * rng.randrange(5) if numbers else rng.randrange(200))
        cases.append((program(rng), ChunkInput(index, data, rng.getrandbits(64)), numbers))
    lines = "".join(
        json.dumps(
            {
                "module": module.hex(),
                "input": chunk.data.hex(),
                "seed": str(chunk.seed),
                "numbers": numbers,
                "memoryBytes": LIMITS.memory_bytes,
                "outputBytes": LIMITS.output_bytes,
            }
        )
        + "\n"
        for module, chunk, numbers in cases
    )
    said = subprocess.run(["node", typescript], input=lines, text=True, capture_output=True, check=True).stdout
    theirs = [tuple(json.loads(line)) for line in said.splitlines()]
    ours = native(cases)
    assert [theirs[index] for index in range(PROGRAMS)] == ours
    assert len({data for status, data, _ in ours if status == Status.OK}) > PROGRAMS / 3
    assert {status for status, _, _ in ours} == {Status.OK, Status.TASK_ERROR, Status.NO_RESULT}
