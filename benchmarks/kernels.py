"""What contenders compute, and how a worker calls it: all that the workers of the others import, so it is little.

A call takes whole numbers, which the module finds one after another in its memory, or one bytes object.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import Any

import wasmtime

NO_OP = """(module (memory (export "memory") 1)
  (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "cc_run") (param i32 i32) (result i64) (i64.const 0x40000000008)))"""

SPIN = """(module (memory (export "memory") 1)
  (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "cc_run") (param i32 i32) (result i64) (local i64 i64)
    (local.set 2 (i64.load (i32.const 1024))) (local.set 3 (i64.const STEPS))
    (loop (local.set 2 (i64.add (i64.mul (local.get 2) (i64.const 6364136223846793005)) (i64.const 1)))
      (br_if 0 (i64.ne (local.tee 3 (i64.sub (local.get 3) (i64.const 1))) (i64.const 0))))
    (i64.store (i32.const 1024) (local.get 2))
    (i64.const 0x40000000008)))"""
"""A multiplication and an addition a step: about a nanosecond."""


@dataclass(frozen=True)
class Kernel:
    """What is computed: a module of the reactor shape, whose calls take whole numbers, or one bytes object."""

    module: bytes
    output: str = "1KiB"
    memory: str = "16MiB"

    @staticmethod
    def of_text(text: str) -> Kernel:
        return Kernel(bytes(wasmtime.wat2wasm(text)))

    @staticmethod
    def spinning(steps: int) -> Kernel:
        return Kernel.of_text(SPIN.replace("STEPS", str(steps)))


@cache
def _compiled(module: bytes) -> Any:
    store: Any = wasmtime.Store()
    exports: Any = wasmtime.Instance(store, wasmtime.Module(store.engine, module), []).exports(store)
    return store, exports["memory"], exports["cc_alloc"], exports["cc_run"]


def call_here(module: bytes, *arguments: Any) -> bytes:
    """A call of a kernel, by whichever process this is."""
    store, memory, allocate, run = _compiled(module)
    is_bytes = len(arguments) == 1 and isinstance(arguments[0], bytes)
    data = arguments[0] if is_bytes else struct.pack(f"<{len(arguments)}q", *arguments)
    at = allocate(store, len(data))
    memory.write(store, data, at)
    place = run(store, at, len(data))
    return bytes(memory.read(store, place >> 32, (place >> 32) + (place & 0xFFFFFFFF)))
