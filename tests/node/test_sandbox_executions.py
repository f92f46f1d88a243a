"""What programs observe and return, bit for bit: protocol/vectors/executions.json, which the browser peer runs too."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import wasmtime

from crowdcompute.node.executors import frames
from crowdcompute.node.executors.pool import WorkerPool
from crowdcompute.protocol.events import ChunkInput, ChunkOutcome, Status
from crowdcompute.protocol.manifest import Limits
from crowdcompute.protocol.wasm import rewrite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VECTORS = Path(__file__).parents[2] / "protocol" / "vectors" / "executions.json"
SEED = 0x0123_4567_89AB_CDEF


@dataclass(frozen=True)
class Case:
    """One chunk and how it ends. `data` is what a vote names; it is empty without a result."""

    module: bytes
    data: bytes = b""
    status: Status = Status.OK
    input: bytes = b""
    numbers: bool = False
    memory_bytes: int = 4 * 65_536
    output_bytes: int = 1_024


def reactor(run: str, *parts: str, alloc: str = "(i32.const 1024)") -> bytes:
    """A reactor with $p and $n as pointer and length of its input."""
    return rewrite(
        bytes(
            wasmtime.wat2wasm(f"""(module {" ".join(parts)} (memory (export "memory") 1)
            (func (export "cc_alloc") (param i32) (result i32) {alloc})
            (func (export "cc_run") (param $p i32) (param $n i32) (result i64) {run}))""")
        )
    )


SPAN = "(i64.or (i64.shl (i64.extend_i32_u (local.get $p)) (i64.const 32)) (i64.extend_i32_u (local.get $n)))"
ALL_ONES = "(i64.const -1)"

IMPORTS = {
    "args_get": "i32 i32",
    "args_sizes_get": "i32 i32",
    "clock_res_get": "i32 i32",
    "clock_time_get": "i32 i64 i32",
    "environ_get": "i32 i32",
    "environ_sizes_get": "i32 i32",
    "fd_close": "i32",
    "fd_fdstat_get": "i32 i32",
    "fd_fdstat_set_flags": "i32 i32",
    "fd_prestat_get": "i32 i32",
    "fd_prestat_dir_name": "i32 i32 i32",
    "fd_read": "i32 i32 i32 i32",
    "fd_seek": "i32 i64 i32 i32",
    "fd_sync": "i32",
    "fd_tell": "i32 i32",
    "fd_write": "i32 i32 i32 i32",
    "path_unlink_file": "i32 i32 i32",
    "poll_oneoff": "i32 i32 i32 i32",
    "random_get": "i32 i32",
    "sched_yield": "",
}


def command(body: str, *parts: str) -> bytes:
    """A command. `(call $put start length)` writes memory to stdout, `(call $put_errno …)` an i32."""
    imports = "".join(
        f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {parameters}) (result i32)))'
        for name, parameters in IMPORTS.items()
    )
    return rewrite(
        bytes(
            wasmtime.wat2wasm(f"""(module {imports}
            (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
            {" ".join(parts)} (memory (export "memory") 1)
            (func $put (param i32 i32)
                (i32.store (i32.const 60000) (local.get 0)) (i32.store (i32.const 60004) (local.get 1))
                (if (call $fd_write (i32.const 1) (i32.const 60000) (i32.const 1) (i32.const 60008))
                    (then unreachable))
                (if (i32.ne (i32.load (i32.const 60008)) (local.get 1)) (then unreachable)))
            (func $put_errno (param i32)
                (i32.store (i32.const 60016) (local.get 0)) (call $put (i32.const 60016) (i32.const 4)))
            (func $main (export "_start") {body}))""")
        )
    )


def calls(*texts: str) -> str:
    """Put the error number of each call."""
    return "".join(f"(call $put_errno (call {text}))" for text in texts)


def u32(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def splitmix64(state: int, count: int) -> tuple[bytes, int]:
    """`count` words and the next state, written once more from its definition."""
    mask, words = (1 << 64) - 1, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        word = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
        words.append(word ^ (word >> 31))
    return struct.pack(f"<{count}Q", *words), state


ARGUMENTS = command(
    calls("$args_sizes_get (i32.const 0) (i32.const 4)", "$args_get (i32.const 16) (i32.const 256)")
    + "(call $put (i32.const 0) (i32.const 8))"
    + "(call $put (i32.const 16) (i32.mul (i32.load (i32.const 0)) (i32.const 4)))"
    + "(call $put (i32.const 256) (i32.load (i32.const 4)))"
)
READ = command(
    """(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 3))
    (i32.store (i32.const 8) (i32.const 2048)) (i32.store (i32.const 12) (i32.const 4))"""
    + calls("$fd_read (i32.const 0) (i32.const 0) (i32.const 2) (i32.const 16)")
    + "(call $put (i32.const 16) (i32.const 4)) (call $put (i32.const 1024) (i32.const 3))"
    + "(call $put (i32.const 2048) (i32.const 4))"
    + calls("$fd_read (i32.const 0) (i32.const 0) (i32.const 2) (i32.const 16)")
    + "(call $put (i32.const 16) (i32.const 4)) (call $put (i32.const 1024) (i32.const 3))"
)


def cases() -> dict[str, Case]:
    five_bytes, after_five = splitmix64(SEED, 1)
    two_words, _ = splitmix64(after_five, 2)
    tick = 1_000_000
    oob_write = "$fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)"
    echo = reactor(SPAN)
    grow = "(drop (memory.grow (i32.const 2))) (drop (memory.grow (i32.const 2)))"
    return {
        "echo": Case(echo, b"hello", input=b"hello"),
        "echo of nothing": Case(echo, input=b""),
        "initialize, then seed, then alloc": Case(
            reactor(
                "(i64.store (local.get $p) (i64.mul (global.get $s) (i64.const 3))) (local.set $n (i32.const 8))"
                + SPAN,
                "(global $s (mut i64) (i64.const 0))",
                '(func (export "_initialize") (global.set $s (i64.const 1)))',
                '(func (export "cc_seed") (param i64) (global.set $s (i64.add (global.get $s) (local.get 0))))',
            ),
            struct.pack("<Q", (SEED + 1) * 3 & (1 << 64) - 1),
        ),
        "canonical nans": Case(
            reactor(
                "(f64.store (i32.const 0) (f64.neg (f64.div (f64.const 0) (f64.const 0))))"
                "(f32.store (i32.const 8) (f32.sqrt (f32.const -1)))"
                "(v128.store (i32.const 16) (f64x2.sqrt (f64x2.splat (f64.const -2)))) (i64.const 32)"
            ),
            bytes.fromhex("000000000000f87f0000c07f00000000000000000000f87f000000000000f87f"),
        ),
        "memory grows to the limit and no further": Case(
            reactor(grow + "(i32.store (i32.const 0) (memory.size)) (i64.const 4)"), u32(3)
        ),
        "memory limit in parts of a page": Case(
            reactor(grow + "(i32.store (i32.const 0) (memory.size)) (i64.const 4)"), u32(3), memory_bytes=5 * 65_536 - 1
        ),
        "result of exactly the limit": Case(reactor("(i64.const 1024)"), bytes(1_024)),
        "result above the limit": Case(reactor("(i64.const 1025)"), status=Status.NO_RESULT),
        "result to the end of memory": Case(reactor("(i64.const 0xffff00000001)"), b"\0"),
        "result beyond memory": Case(reactor("(i64.const 0xffff00000002)"), status=Status.NO_RESULT),
        "empty result beyond memory": Case(reactor("(i64.const 0x1000100000000)"), status=Status.NO_RESULT),
        "input beyond memory": Case(reactor(SPAN, alloc="(i32.const 65534)"), status=Status.NO_RESULT, input=b"abc"),
        "task error": Case(
            reactor(
                ALL_ONES,
                '(data (i32.const 64) "no such tile")',
                '(func (export "cc_error") (result i64) (i64.const 0x400000000c))',
            ),
            b"no such tile",
            Status.TASK_ERROR,
        ),
        "task error without words": Case(reactor(ALL_ONES), b"", Status.TASK_ERROR),
        "task error of many words": Case(
            reactor(ALL_ONES, '(func (export "cc_error") (result i64) (i64.const 60000))'),
            bytes(4_096),
            Status.TASK_ERROR,
            output_bytes=8,
        ),
        "task error beyond memory": Case(
            reactor(ALL_ONES, f'(func (export "cc_error") (result i64) {ALL_ONES})'), status=Status.NO_RESULT
        ),
        "trap": Case(reactor("unreachable"), status=Status.NO_RESULT),
        "more initial memory than the limit": Case(echo, status=Status.NO_RESULT, memory_bytes=65_535),
        "numbers as arguments": Case(
            ARGUMENTS,
            u32(0, 0, 4, 33, 256, 262, 264, 268) + b"chunk\0" + b"0\0" + b"-12\0" + b"-9223372036854775808\0",
            input=struct.pack("<3q", 0, -12, -(2**63)),
            numbers=True,
        ),
        "no arguments but the name": Case(ARGUMENTS, u32(0, 0, 1, 6, 256) + b"chunk\0", input=b"12345678"),
        "numbers leave stdin empty": Case(
            READ, u32(0, 0) + bytes(7) + u32(0, 0) + bytes(3), input=bytes(16), numbers=True
        ),
        "half a number": Case(READ, status=Status.NO_RESULT, input=bytes(9), numbers=True),
        "stdin in pieces": Case(READ, u32(0, 7) + b"abcdefg" + u32(0, 2) + b"hic", input=b"abcdefghi"),
        "clock": Case(
            command(
                calls(
                    "$clock_time_get (i32.const 0) (i64.const 0) (i32.const 0)",
                    "$clock_time_get (i32.const 1) (i64.const 9) (i32.const 8)",
                    "$clock_time_get (i32.const 3) (i64.const 0) (i32.const 16)",
                    "$clock_time_get (i32.const 4) (i64.const 0) (i32.const 24)",
                    "$clock_res_get (i32.const 2) (i32.const 32)",
                    "$clock_res_get (i32.const -1) (i32.const 40)",
                )
                + "(call $put (i32.const 0) (i32.const 48))"
            ),
            u32(0, 0, 0, 28, 0, 28) + struct.pack("<6Q", tick, 2 * tick, 3 * tick, 0, tick, 0),
        ),
        "random": Case(
            command(
                calls(
                    "$random_get (i32.const 0) (i32.const 5)",
                    "$random_get (i32.const 8) (i32.const 16)",
                    "$random_get (i32.const 0) (i32.const 65537)",
                    "$random_get (i32.const 65536) (i32.const 0)",
                )
                + "(call $put (i32.const 0) (i32.const 24))"
            ),
            u32(0, 0, 28, 0) + five_bytes[:5] + bytes(3) + two_words,
        ),
        "sleeping moves the clock": Case(
            command(
                # Relative 5 ms, then absolute 3 ms (already over), then a stream: all are over at once.
                "(i64.store (i32.const 0) (i64.const 7)) (i64.store (i32.const 24) (i64.const 5000000))"
                "(i64.store (i32.const 48) (i64.const 8)) (i64.store (i32.const 72) (i64.const 3000000))"
                "(i32.store16 (i32.const 88) (i32.const 1))"
                "(i64.store (i32.const 96) (i64.const 9)) (i32.store8 (i32.const 104) (i32.const 1))"
                + calls(
                    "$poll_oneoff (i32.const 0) (i32.const 256) (i32.const 3) (i32.const 512)",
                    "$clock_time_get (i32.const 0) (i64.const 0) (i32.const 520)",
                    "$poll_oneoff (i32.const 0) (i32.const 256) (i32.const 0) (i32.const 512)",
                )
                + "(call $put (i32.const 256) (i32.const 96)) (call $put (i32.const 512) (i32.const 16))"
            ),
            u32(0, 0, 28)
            + b"".join(struct.pack("<QHB21x", user, 0, kind) for user, kind in ((7, 0), (8, 0), (9, 1)))
            + struct.pack("<I4xQ", 3, 5_000_000 + tick),
        ),
        "an unknown subscription changes nothing": Case(
            command(
                "(i64.store (i32.const 24) (i64.const 5000000)) (i32.store8 (i32.const 56) (i32.const 3))"
                + calls(
                    "$poll_oneoff (i32.const 0) (i32.const 256) (i32.const 2) (i32.const 512)",
                    "$clock_time_get (i32.const 0) (i64.const 0) (i32.const 520)",
                )
                + "(call $put (i32.const 512) (i32.const 16))"
            ),
            u32(28, 0) + struct.pack("<QQ", 0, tick),
        ),
        "descriptors": Case(
            command(
                calls(
                    "$fd_fdstat_get (i32.const 0) (i32.const 0)",
                    "$fd_fdstat_get (i32.const 2) (i32.const 24)",
                    "$fd_fdstat_get (i32.const 4) (i32.const 48)",
                    "$fd_fdstat_set_flags (i32.const 1) (i32.const 4)",
                    "$fd_fdstat_set_flags (i32.const 4) (i32.const 4)",
                    "$fd_close (i32.const 2)",
                    "$fd_close (i32.const -1)",
                    "$fd_seek (i32.const 1) (i64.const 0) (i32.const 0) (i32.const -1)",
                    "$fd_seek (i32.const 9) (i64.const 0) (i32.const 0) (i32.const 0)",
                    "$fd_tell (i32.const 0) (i32.const 0)",
                    "$fd_tell (i32.const 4) (i32.const 0)",
                    "$fd_prestat_get (i32.const 3) (i32.const -1)",
                    "$fd_prestat_dir_name (i32.const 3) (i32.const -1) (i32.const 9)",
                    "$fd_read (i32.const 1) (i32.const -1) (i32.const 1) (i32.const 0)",
                    "$fd_write (i32.const 0) (i32.const -1) (i32.const 1) (i32.const 0)",
                    "$fd_read (i32.const 0) (i32.const -1) (i32.const 1025) (i32.const 0)",
                    "$fd_write (i32.const 1) (i32.const -1) (i32.const 1025) (i32.const 0)",
                    "$fd_sync (i32.const 1)",
                    "$path_unlink_file (i32.const -1) (i32.const -1) (i32.const -1)",
                    "$environ_sizes_get (i32.const 72) (i32.const 76)",
                    "$environ_get (i32.const -1) (i32.const -1)",
                    "$sched_yield",
                )
                + "(call $put (i32.const 0) (i32.const 80))",
                r'(data (i32.const 72) "\01\01\01\01\01\01\01\01")',
            ),
            u32(0, 0, 8, 0, 8, 0, 8, 70, 8, 70, 8, 8, 8, 8, 8, 28, 28, 52, 52, 0, 0, 0)
            + struct.pack("<8xQ8x8xQ8x32x", 2, 64),
        ),
        "stderr is no output": Case(
            command(
                """(i32.store (i32.const 4) (i32.const 60000))
                (call $put_errno (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
                (call $put (i32.const 8) (i32.const 4))"""
            ),
            u32(0, 60_000),
        ),
        "exit 0 keeps the output": Case(
            command("(call $put_errno (i32.const 5)) (call $proc_exit (i32.const 0)) unreachable"), u32(5)
        ),
        "exit 3": Case(
            command("(call $put_errno (i32.const 5)) (call $proc_exit (i32.const 3))"), b"exit 3", Status.TASK_ERROR
        ),
        "exit -1": Case(command("(call $proc_exit (i32.const -1))"), b"exit 4294967295", Status.TASK_ERROR),
        "output of exactly the limit": Case(
            command("(call $put (i32.const 0) (i32.const 1000)) (call $put (i32.const 0) (i32.const 24))"), bytes(1_024)
        ),
        "output above the limit": Case(
            command("(call $put (i32.const 0) (i32.const 1000)) (call $put (i32.const 0) (i32.const 25))"),
            status=Status.NO_RESULT,
        ),
        "a write from beyond memory": Case(
            command(
                "(i32.store (i32.const 0) (i32.const 65535)) (i32.store (i32.const 4) (i32.const 2))" + calls(oob_write)
            ),
            status=Status.NO_RESULT,
        ),
        "a write of nothing from the end of memory": Case(
            command(f"(i32.store (i32.const 0) (i32.const 65536)) {calls(oob_write)}"), u32(0)
        ),
        "a write of nothing from beyond memory": Case(
            command(f"(i32.store (i32.const 0) (i32.const 65537)) {calls(oob_write)}"), status=Status.NO_RESULT
        ),
        "a count beyond memory": Case(
            command(calls("$fd_write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 65533)")),
            status=Status.NO_RESULT,
        ),
        "a read with one vector beyond memory": Case(
            command(
                "(i32.store (i32.const 8) (i32.const -1)) (i32.store (i32.const 12) (i32.const 1))"
                + calls("$fd_read (i32.const 0) (i32.const 0) (i32.const 2) (i32.const 16)")
            ),
            status=Status.NO_RESULT,
        ),
        "random bytes beyond memory": Case(
            command(calls("$random_get (i32.const 65535) (i32.const 2)")), status=Status.NO_RESULT
        ),
        "a savepoint, which nobody has kept": Case(
            command(
                "(i32.store (i32.const 0) (i32.const 512)) (i32.store (i32.const 4) (i32.const 8))"
                "(i32.store (i32.const 8) (i32.const 0)) (i32.store (i32.const 12) (i32.const 65536))"
                "(i64.store (i32.const 512) (i64.const 7))"
                + calls(
                    "$fd_read (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 100)",
                    "$fd_write (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 104)",
                    "$fd_read (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 108)",
                    "$fd_write (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 112)",
                    "$fd_fdstat_get (i32.const 3) (i32.const 120)",
                    "$fd_fdstat_set_flags (i32.const 3) (i32.const 4)",
                    "$fd_seek (i32.const 3) (i64.const 0) (i32.const 0) (i32.const -1)",
                    "$fd_tell (i32.const 3) (i32.const -1)",
                    "$fd_close (i32.const 3)",
                    "$fd_read (i32.const 3) (i32.const -1) (i32.const 1025) (i32.const 0)",
                    "$fd_write (i32.const 3) (i32.const -1) (i32.const 1025) (i32.const 0)",
                )
                + "(call $put (i32.const 100) (i32.const 44)) (call $put (i32.const 512) (i32.const 8))"
            ),
            u32(0, 0, 0, 0, 0, 0, 70, 70, 0, 28, 28)
            + u32(0, 8, 0, 0, 0)
            + struct.pack("<8xQ8x", 66)
            + struct.pack("<Q", 7),
        ),
        "a call before the module is ready": Case(
            command("", "(func $early (drop (call $random_get (i32.const 0) (i32.const 0))))", "(start $early)"),
            status=Status.NO_RESULT,
        ),
    }


CASES = cases()


@pytest.fixture(scope="module")
def execute() -> Iterator[Callable[[Case], ChunkOutcome]]:
    with asyncio.Runner() as runner:
        pool = WorkerPool(1)
        runner.run(pool.start())

        def run(case: Case) -> ChunkOutcome:
            limits = Limits(memory_bytes=case.memory_bytes, output_bytes=case.output_bytes, seconds=20)
            code = hashlib.sha256(case.module).digest()
            chunks = (ChunkInput(0, case.input, SEED), ChunkInput(1, case.input, SEED))
            first, again = runner.run(pool.execute(code, case.module, limits, case.numbers, chunks))
            # A fresh instance and a fresh world for every chunk.
            assert first[1:] == again[1:]
            return first

        yield run
        runner.run(pool.close())


@pytest.mark.parametrize("name", CASES)
def test_a_chunk_ends_as_specified(name: str, execute: Callable[[Case], ChunkOutcome]) -> None:
    outcome = execute(CASES[name])
    assert (outcome.status, outcome.data) == (CASES[name].status, CASES[name].data), outcome.detail
    assert bool(outcome.detail) == (outcome.status == Status.NO_RESULT)


def vector(name: str, case: Case) -> dict[str, Any]:
    return {
        "name": name,
        "module": case.module,
        "input": case.input.hex(),
        "numbers": case.numbers,
        "seed": str(SEED),
        "memory_bytes": case.memory_bytes,
        "output_bytes": case.output_bytes,
        "status": case.status.name,
        "data": case.data.hex(),
    }


def test_the_execution_vectors_hold(request: pytest.FixtureRequest) -> None:
    expected = [vector(name, case) for name, case in CASES.items()]
    if request.config.getoption("--write"):
        packed = [
            {**case, "module": base64.b64encode(gzip.compress(case["module"], mtime=0)).decode()} for case in expected
        ]
        about = "Chunks (modules: base64 of gzip) and how each ends; see protocol/spec/modules.md."
        VECTORS.write_text(json.dumps({"about": about, "cases": packed}, indent=1) + "\n")
    # Compared unpacked: two zlibs may pack the same bytes differently.
    written = json.loads(VECTORS.read_text())["cases"]
    assert [{**case, "module": gzip.decompress(base64.b64decode(case["module"]))} for case in written] == expected


def test_a_worker_counts_statuses_as_the_protocol_does() -> None:
    assert (frames.OK, frames.TASK_ERROR, frames.NO_RESULT) == (Status.OK, Status.TASK_ERROR, Status.NO_RESULT)
