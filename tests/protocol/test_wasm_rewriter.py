"""Rewriting: one NaN on every engine, the same program otherwise, and the same bytes again."""

from __future__ import annotations

import math
import struct

import pytest
import wasmtime
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crowdcompute.protocol.errors import ModuleRefused
from crowdcompute.protocol.wasm import Rule, RuleBroken, admit, rewrite

F64_NAN = bytes.fromhex("000000000000f87f")
F32_NAN = bytes.fromhex("0000c07f")

# name, wat of a value, how it is stored, how many bytes that takes
PRODUCERS = [
    ("f64 quotient", "(f64.div (f64.load (i32.const 0)) (f64.load (i32.const 8)))", "f64.store", F64_NAN),
    ("f64 negated", "(f64.neg (f64.sqrt (f64.const -1)))", "f64.store", F64_NAN),
    ("f64 loaded", "(f64.load (i32.const 16))", "f64.store", F64_NAN),
    ("f64 from bits", "(f64.reinterpret_i64 (i64.const 0x7ff4000000000001))", "f64.store", F64_NAN),
    ("f64 as integer", "(i64.reinterpret_f64 (f64.load (i32.const 16)))", "i64.store", F64_NAN),
    ("f32 quotient", "(f32.div (f32.const 0) (f32.const 0))", "f32.store", F32_NAN),
    ("f32 demoted", "(f32.demote_f64 (f64.load (i32.const 16)))", "f32.store", F32_NAN),
    ("f32 as integer", "(i32.reinterpret_f32 (f32.neg (f32.sqrt (f32.const -1))))", "i32.store", F32_NAN),
    ("sign of a nan", "(f64.copysign (f64.const 1) (f64.load (i32.const 16)))", "f64.store", struct.pack("<d", 1.0)),
    ("f64x2 quotient", "(f64x2.div (v128.load (i32.const 0)) (v128.const i64x2 0 0))", "v128.store", F64_NAN * 2),
    ("f64x2 from a scalar", "(f64x2.splat (f64.load (i32.const 16)))", "v128.store", F64_NAN * 2),
    ("f32x4 root", "(f32x4.sqrt (f32x4.splat (f32.const -1)))", "v128.store", F32_NAN * 4),
    ("f32x4 demoted", "(f32x4.demote_f64x2_zero (v128.load (i32.const 16)))", "v128.store", F32_NAN * 2 + bytes(8)),
    (
        "f32x4 lane",
        "(f32x4.replace_lane 2 (v128.const i32x4 1 2 3 4) (f32.const -nan:0x200001))",
        "v128.store",
        struct.pack("<II", 1, 2) + F32_NAN + struct.pack("<I", 4),
    ),
]


def storing(value: str, store: str) -> bytes:
    """A reactor that stores `value` at 64 and returns those 16 bytes. At 16 lie two negative NaNs with payloads."""
    nan = r"\01\00\00\00\00\00\f4\ff"
    return bytes(
        wasmtime.wat2wasm(f"""(module (memory (export "memory") 1)
            (data (i32.const 16) "{nan}{nan}")
            (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
            (func (export "cc_run") (param i32 i32) (result i64)
                ({store} (i32.const 64) {value}) (i64.const 0x4000000010)))""")
    )


def run(module: bytes) -> bytes:
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    exports = wasmtime.Instance(store, wasmtime.Module(engine, module), []).exports(store)
    cc_run, memory = exports["cc_run"], exports["memory"]
    assert isinstance(cc_run, wasmtime.Func) and isinstance(memory, wasmtime.Memory)
    span = cc_run(store, 0, 0)
    return bytes(memory.read(store, span >> 32, (span >> 32) + (span & 0xFFFF_FFFF)))


@pytest.mark.parametrize(
    ("value", "store", "stored"), [case[1:] for case in PRODUCERS], ids=[case[0] for case in PRODUCERS]
)
def test_every_visible_nan_is_the_canonical_one(value: str, store: str, stored: bytes) -> None:
    assert run(rewrite(storing(value, store)))[: len(stored)] == stored


@pytest.mark.parametrize(("value", "store"), [case[1:3] for case in PRODUCERS], ids=[case[0] for case in PRODUCERS])
def test_rewriting_twice_changes_nothing_more(value: str, store: str) -> None:
    rewritten = rewrite(storing(value, store))
    assert rewrite(rewritten) == rewritten


def test_a_module_with_visible_nans_is_not_admitted_before_it_is_rewritten() -> None:
    module = bounded(storing("(f64.div (f64.const 0) (f64.const 0))", "f64.store"))
    with pytest.raises(RuleBroken) as refusal:
        admit(module)
    assert refusal.value.rule == Rule.NAN
    admit(rewrite(module))


def bounded(module: bytes) -> bytes:
    """`module` with a maximum for its memory, which is all it lacks besides canonical NaNs."""
    return module.replace(b"\x05\x03\x01\x00\x01", b"\x05\x04\x01\x01\x01\x01", 1)


@given(st.lists(st.floats(allow_nan=False, width=64), min_size=2, max_size=2), st.sampled_from(["add", "mul", "min"]))
@example([1e308, 1e308], "mul")
@settings(max_examples=30)
def test_numbers_that_are_no_nan_are_left_alone(operands: list[float], operation: str) -> None:
    left, right = (f"(f64.const {operand!r})" for operand in operands)
    module = storing(f"(f64.{operation} {left} {right})", "f64.store")
    value = struct.unpack_from("<d", run(module))[0]
    assert math.isnan(value) or run(rewrite(module)) == run(module)


def test_functions_with_many_locals_get_theirs_behind_them() -> None:
    module = wasmtime.wat2wasm(f"""(module (memory (export "memory") 1)
        (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
        (func (export "cc_run") (param i32 i32) (result i64)
            (local {"i64 " * 200} f32 {"f64 " * 200})
            (local.set 202 (f32.div (f32.const 0) (f32.const 0)))
            (f64.store (i32.const 64) (f64.promote_f32 (local.get 202)))
            (f32.store (i32.const 72) (local.get 202)) (i64.const 0x400000000c)))""")
    rewritten = rewrite(bytes(module))
    assert run(rewritten) == F64_NAN + F32_NAN
    assert rewrite(rewritten) == rewritten


def test_a_function_that_becomes_too_large_is_refused() -> None:
    stores = "(f64.store (i32.const 64) (local.get 2))" * 17_200
    module = wasmtime.wat2wasm(f"""(module (memory (export "memory") 1)
        (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
        (func (export "cc_run") (param i32 i32) (result i64) (local f64) {stores} (i64.const 0)))""")
    with pytest.raises(RuleBroken) as refusal:
        rewrite(bytes(module))
    assert refusal.value.rule == Rule.BODY_BYTES


ENGINE = wasmtime.Engine()
ORIGINAL = wasmtime.wat2wasm("""(module (memory (export "memory") 1) (table 2 funcref)
    (global (mut f64) (f64.const 1.5))
    (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
    (func (export "cc_run") (param i32 i32) (result i64) (local f32 v128)
        (f64.store (i32.const 8) (f64.div (global.get 0) (f64.const 0)))
        (f32.store (i32.const 8) (f32.copysign (local.get 2) (local.get 2)))
        (v128.store (i32.const 16) (f32x4.add (f32x4.splat (local.get 2)) (local.get 3)))
        (block (br_if 0 (local.get 0)) (loop (global.set 0 (f64.sqrt (global.get 0)))))
        (i64.reinterpret_f64 (f64.convert_i64_s (i64.const 5)))))""")


def is_valid(module: bytes) -> bool:
    try:
        wasmtime.Module.validate(ENGINE, module)
    except wasmtime.WasmtimeError:
        return False
    return True


@given(st.data())
@settings(max_examples=300)
def test_a_damaged_module_is_refused_or_rewritten_into_one_as_valid_as_it_was(data: st.DataObject) -> None:
    module = bytearray(ORIGINAL)
    for _ in range(data.draw(st.integers(1, 3))):
        module[data.draw(st.integers(8, len(module) - 1))] = data.draw(st.integers(0, 255))
    try:
        rewritten = rewrite(bytes(module))
    except ModuleRefused:
        return
    admit(rewritten)
    assert is_valid(rewritten) == is_valid(bytes(module))
