"""Admission: what it tells about a module, and that no bytes make it fail in another way than by refusing."""

from __future__ import annotations

import wasmtime
from hypothesis import example, given
from hypothesis import strategies as st

from crowdcompute.protocol.errors import ModuleRefused
from crowdcompute.protocol.wasm import ModuleFacts, Shape, admit, rewrite

KITCHEN_SINK = rewrite(
    bytes(
        wasmtime.wat2wasm("""(module
        (type $run (func (param i32 i32) (result i64)))
        (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
        (table 4 funcref) (memory (export "memory") 2)
        (global $g (mut i64) (i64.const -9)) (global f64 (f64.const 1.5)) (global v128 (v128.const i64x2 1 2))
        (func (export "_start") (local f64 v128)
            (block (br_table 0 0 0 (i32.const 2)))
            (if (i32.const 1) (then (global.set $g (i64.const 0x7fffffffffffffff))))
            (f64.store offset=70000 (i32.const 8) (f64.div (local.get 0) (local.get 0)))
            (v128.store (i32.const 16) (f32x4.mul (local.get 1) (local.get 1)))
            (memory.copy (i32.const 0) (i32.const 8) (i32.const 8))
            (drop (i64.trunc_sat_f64_s (local.get 0)))
            (drop (call_indirect (type $run) (i32.const 1) (i32.const 2) (i32.const 0)))
            (drop (select (result i32) (i32.const 1) (i32.const 2) (i32.const 3)))
            (drop (ref.is_null (ref.null func))))
        (func $run (type $run) (i64.const 0))
        (elem (i32.const 0) func $run) (elem declare func $run)
        (data (i32.const 0) "some bytes"))""")
    )
)


def test_the_facts_describe_the_module() -> None:
    assert admit(KITCHEN_SINK) == ModuleFacts(
        shape=Shape.COMMAND,
        imports=("fd_write",),
        memory_pages_min=2,
        memory_pages_max=4_096,
        functions=2,
        body_bytes_max=147,
        size_bytes=len(KITCHEN_SINK),
    )


def verdict(module: bytes) -> bool:
    try:
        admit(module)
    except ModuleRefused:
        return False
    return True


@given(st.binary(max_size=200))
@example(b"\0asm\1\0\0\0")
def test_any_bytes_are_admitted_or_refused(data: bytes) -> None:
    verdict(data)
    verdict(b"\0asm\1\0\0\0" + data)


@given(st.data())
def test_a_damaged_module_is_admitted_or_refused(data: st.DataObject) -> None:
    module = bytearray(KITCHEN_SINK)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(module) - 1))
        match data.draw(st.sampled_from(["change", "insert", "delete", "cut"])):
            case "change":
                module[position] = data.draw(
                    st.sampled_from([0, 1, 0x0B, 0x7F, 0x80, 0xFC, 0xFD, 0xFF, position & 0xFF])
                )
            case "insert":
                module[position:position] = data.draw(st.binary(min_size=1, max_size=6))
            case "delete":
                del module[position : position + data.draw(st.integers(1, 6))]
            case _:
                del module[position:]
        if not module:
            break
    verdict(bytes(module))


def test_every_single_byte_changed_is_admitted_or_refused() -> None:
    for position in range(len(KITCHEN_SINK)):
        for value in (0x00, 0x0B, 0x40, 0x7F, 0x80, 0xFF):
            verdict(KITCHEN_SINK[:position] + bytes([value]) + KITCHEN_SINK[position + 1 :])
