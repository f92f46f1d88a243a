"""Modules made to do harm: each is refused or ends without a result within its limits, and the pool works on."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import TYPE_CHECKING

import pytest
import wasmtime

from crowdcompute.node.executors.pool import WorkerPool
from crowdcompute.protocol.errors import ModuleRefused
from crowdcompute.protocol.events import ChunkInput, ChunkOutcome, Status
from crowdcompute.protocol.manifest import Limits
from crowdcompute.protocol.wasm import rewrite
from crowdcompute.protocol.wasm.reader import u32_leb as leb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMITS = Limits(memory_bytes=16 * 1024 * 1024, output_bytes=1_024 * 1_024, seconds=0.3)
REFUSED, TIME, MEMORY, OUTPUT = "module refused", "time limit 0.3 s", "memory limit", "output limit"
OUTSIDE = "outside memory"

PAGE = '(memory (export "memory") 1)'
ALLOC = '(func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))'
FOREVER = "(loop $l (br $l))"


def wat(*parts: str) -> bytes:
    return bytes(wasmtime.wat2wasm(f"(module {' '.join(parts)})"))


def reactor(run: str, *parts: str, memory: str = PAGE, alloc: str = ALLOC) -> bytes:
    return wat(*parts, memory, alloc, f'(func $run (export "cc_run") (param i32 i32) (result i64) {run})')


def command(start: str) -> bytes:
    wasi = '(import "wasi_snapshot_preview1"'
    return wat(
        f'{wasi} "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))',
        f'{wasi} "random_get" (func $random_get (param i32 i32) (result i32)))',
        f'{wasi} "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))',
        f'{wasi} "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))',
        PAGE,
        f'(func (export "_start") {start})',
    )


def section(number: int, content: bytes) -> bytes:
    return bytes([number]) + leb(len(content)) + content


def bodies(*codes: bytes) -> bytes:
    """A reactor with these function bodies, without their `end`, besides its own two."""
    functions = [b"\x00\x41\x00\x0b", b"\x00\x42\x00\x0b", *(code + b"\x0b" for code in codes)]
    return (
        b"\0asm\1\0\0\0"
        + section(1, b"\x03\x60\x01\x7f\x01\x7f\x60\x02\x7f\x7f\x01\x7e\x60\x00\x00")
        + section(3, leb(len(functions)) + b"\x00\x01" + b"\x02" * len(codes))
        + section(5, b"\x01\x01\x01\x01")
        + section(7, b"\x03\x06memory\x02\x00\x08cc_alloc\x00\x00\x06cc_run\x00\x01")
        + section(10, leb(len(functions)) + b"".join(leb(len(function)) + function for function in functions))
    )


def many_live_values(operations: int, locals_: int) -> bytes:
    """Arithmetic over many locals with branches between: hard on a register allocator."""
    rng = random.Random(1)
    code = bytearray(b"\x01" + leb(locals_) + b"\x7e")
    for step in range(operations):
        left, right, target = (leb(rng.randrange(locals_)) for _ in range(3))
        code += b"\x20" + left + b"\x20" + right + b"\x7e\x21" + target
        if step % 3 == 0:
            code += b"\x20" + left + b"\xa7\x04\x40\x20" + target + b"\x21" + right + b"\x0b"
    return bytes(code)


GROW_FOREVER = """(local i32)
    (loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (i32.store (i32.const 0) (memory.size))"""
GC_BOMB = """(type $a (array (mut i64))) (type $l (struct (field (ref null $l)) (field (ref null $a))))"""

HOSTILE: dict[str, tuple[bytes, str]] = {
    "endless loop": (reactor(f"{FOREVER} (i64.const 0)"), TIME),
    "endless start": (reactor("(i64.const 0)", f"(func $s {FOREVER})", "(start $s)"), TIME),
    "endless initialize": (reactor("(i64.const 0)", f'(func (export "_initialize") {FOREVER})'), TIME),
    "endless alloc": (
        reactor("(i64.const 0)", alloc=ALLOC.replace("(i32.const 1024)", f"{FOREVER} i32.const 0")),
        TIME,
    ),
    "endless error": (
        reactor("(i64.const -1)", f'(func (export "cc_error") (result i64) {FOREVER} i64.const 0)'),
        TIME,
    ),
    "endless command": (command(FOREVER), TIME),
    "4 GB of initial memory": (reactor("(i64.const 0)", memory='(memory (export "memory") 65536)'), REFUSED),
    "1 GB of initial memory": (reactor("(i64.const 0)", memory='(memory (export "memory") 16384)'), REFUSED),
    "256 MiB of initial memory": (reactor("(i64.const 0)", memory='(memory (export "memory") 4096)'), MEMORY),
    "table of 10 million": (reactor("(i64.const 0)", "(table 10000000 funcref)"), REFUSED),
    "90 tables": (reactor("(i64.const 0)", "(table 1000000 funcref)" * 90), REFUSED),
    "three memories": (reactor("(i64.const 0)", memory=f"{PAGE} (memory 4000) (memory 4000)"), REFUSED),
    "endless recursion": (reactor("(call $run (local.get 0) (local.get 1))"), "trap: stack overflow"),
    "endless recursion with large frames": (
        reactor(f"(local {'i64 ' * 1_900}) (call $run (local.get 0) (local.get 1))"),
        "trap: stack overflow",
    ),
    "far more locals": (reactor(f"(local {'i64 ' * 5_000}) (i64.const 0)"), REFUSED),
    "result pointer outside": (reactor("(i64.const 0xfffffff000000040)"), OUTSIDE),
    "result length of 4 GB": (reactor("(i64.const 0xffffffff)"), OUTSIDE),
    "result all ones but one": (reactor("(i64.const -2)"), OUTSIDE),
    "alloc outside": (reactor("(i64.const 0)", alloc=ALLOC.replace("1024", "-16")), OUTSIDE),
    "alloc traps": (
        reactor("(i64.const 0)", alloc=ALLOC.replace("(i32.const 1024)", "unreachable")),
        "trap: unreachable",
    ),
    "exports of other kinds": (
        wat('(global (export "memory") i32 (i32.const 1)) (func (export "cc_alloc"))', '(func (export "cc_run"))'),
        REFUSED,
    ),
    "import of system": (reactor("(i64.const 0)", '(import "env" "system" (func (param i32)))'), REFUSED),
    "endless memory.fill": (
        reactor(
            "(loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 16000000)) (br $l)) (i64.const 0)",
            memory='(memory (export "memory") 250)',
        ),
        TIME,
    ),
    "endless memory.copy": (
        reactor(
            "(loop $l (memory.copy (i32.const 1) (i32.const 0) (i32.const 16000000)) (br $l)) (i64.const 0)",
            memory='(memory (export "memory") 250)',
        ),
        TIME,
    ),
    "atomic wait": (
        reactor(
            "(drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))) (i64.const 0)",
            memory='(memory (export "memory") 1 1 shared)',
        ),
        REFUSED,
    ),
    "gc bomb": (
        reactor(
            """(local (ref null $l)) (loop $x (local.set 2 (struct.new $l (local.get 2)
            (array.new $a (i64.const 7) (i32.const 100000)))) (br $x)) (i64.const 0)""",
            GC_BOMB,
        ),
        REFUSED,
    ),
    "flood of output": (
        command(
            "(i32.store (i32.const 4) (i32.const 65000)) (loop $l"
            "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))) (br $l))"
        ),
        OUTPUT,
    ),
    "flood of complaints": (
        command(
            "(i32.store (i32.const 4) (i32.const 65000)) (loop $l"
            "(drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 16))) (br $l))"
        ),
        TIME,
    ),
    "vector outside": (
        command(
            "(i32.store (i32.const 0) (i32.const -4096)) (i32.store (i32.const 4) (i32.const 0x7fffffff))"
            "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))"
        ),
        OUTSIDE,
    ),
    "endless system calls": (
        command("(loop $l (drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 8))) (br $l))"),
        TIME,
    ),
    "one function of 400,000 operations": (bodies(many_live_values(400_000, 1_000)), REFUSED),
    "50,000 nested blocks": (bodies(b"\x00" + b"\x02\x40" * 50_000 + b"\x0b" * 50_000), REFUSED),
    "5,000 nested loops": (bodies(b"\x00" + b"\x03\x40" * 5_000 + b"\x41\x00\x0d\x00" + b"\x0b" * 5_000), REFUSED),
    "huge branch tables": (bodies(b"\x00" + (b"\x41\x00\x0e" + leb(60_000) + b"\x00" * 60_001) * 4), REFUSED),
    "200 functions of 50,000 locals": (bodies(*[b"\x01" + leb(50_000) + b"\x7e"] * 200), REFUSED),
    "200,000 functions": (bodies(*[b"\x00\x10\x02"] * 200_000), REFUSED),
    "150,000 ifs": (bodies(b"\x01\x01\x7e" + b"\x41\x01\x04\x40\x20\x00\x42\x01\x7c\x21\x00\x0b" * 150_000), REFUSED),
    "no valid types": (bodies(b"\x00\x7c"), REFUSED),
    "not a module": (b"\x7fELF", REFUSED),
}

# What looks hostile and ends well, because the world inside does not give way.
HARMLESS = {
    "memory grown to its limit": (reactor(f"{GROW_FOREVER} (i64.const 4)"), (256).to_bytes(4, "little")),
    "table grown to its limit": (
        reactor(
            "(i32.store (i32.const 0) (table.grow $t (ref.null func) (i32.const 100000)))"
            "(i32.store (i32.const 4) (table.size $t)) (i64.const 8)",
            "(table $t 1 funcref)",
        ),
        b"\xff\xff\xff\xff\x01\x00\x00\x00",
    ),
    "4 GB of randomness": (command("(drop (call $random_get (i32.const 0) (i32.const -1)))"), b""),
    "300 years of sleep": (
        command(
            "(i64.store (i32.const 24) (i64.const 0x7fffffffffffffff))"
            "(drop (call $poll_oneoff (i32.const 0) (i32.const 256) (i32.const 1) (i32.const 512)))"
        ),
        b"",
    ),
}


@pytest.fixture(scope="module")
def execute() -> Iterator[Callable[[bytes], ChunkOutcome]]:
    """Execute one chunk of a module that its maker rewrote if that was possible."""
    with asyncio.Runner() as runner:
        pool = WorkerPool(1)
        runner.run(pool.start())

        def run(module: bytes) -> ChunkOutcome:
            code = hashlib.sha256(module).digest()
            chunks = [ChunkInput(0, b"input", 1)]
            (outcome,) = runner.run(pool.execute(code, module, LIMITS, numbers=False, chunks=chunks))
            return outcome

        yield run
        runner.run(pool.close())


def prepared(module: bytes) -> bytes:
    try:
        return rewrite(module)
    except ModuleRefused:
        return module


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_module_gets_no_result_and_the_next_chunk_does(
    name: str, execute: Callable[[bytes], ChunkOutcome]
) -> None:
    module, kind = HOSTILE[name]
    outcome = execute(prepared(module))
    assert (outcome.status, outcome.data) == (Status.NO_RESULT, b"")
    assert kind in outcome.detail
    assert execute(rewrite(reactor("(i64.const 3)"))).data == bytes(3)


@pytest.mark.parametrize("name", HARMLESS)
def test_a_module_that_asks_for_too_much_gets_a_plain_no(name: str, execute: Callable[[bytes], ChunkOutcome]) -> None:
    module, result = HARMLESS[name]
    assert execute(rewrite(module)) == ChunkOutcome(0, Status.OK, result)


def test_compiling_at_every_limit_at_once_stays_affordable(execute: Callable[[bytes], ChunkOutcome]) -> None:
    module = rewrite(bodies(*[many_live_values(13_000, 1_000)] * 2, b"\x00" + b"\x02\x40" * 511 + b"\x0b" * 511))
    assert execute(module).status == Status.OK
