"""Execute one chunk at a time on wasmtime, each in a fresh instance (spec/modules.md).

Runs inside a worker, behind the lockdown. The public Python API of wasmtime costs four times what its C functions
cost (160 µs a chunk against 40), so the chunk's way goes through the latter; pyproject.toml pins the version.
"""

from __future__ import annotations

import ctypes
import struct
from ctypes import POINTER, byref, memmove, string_at
from typing import TYPE_CHECKING, Any

import wasmtime
from wasmtime import _bindings as c_api
from wasmtime import _ffi, _func

from .engine import Refused
from .frames import ERROR_BYTES_MAX, NO_RESULT, OK, TASK_ERROR, Load, StatusNumber
from .wasi import Wasi

if TYPE_CHECKING:
    from typing import TypeAlias

    from .wasi import Keep

TABLE_ELEMENTS_MAX = 100_000
STACK_BYTES_MAX = 2 * 1024 * 1024
"""Deep enough for an interpreter inside the module. Above it wasmtime aborts the whole process."""

_MEMORY_BYTES_MAX = 1 << 32
_RESIDENT_BYTES = 64 * 1024
"""Of a memory, and of a table, what is wiped and used again for the next chunk; the rest the kernel takes back."""
_INSTANCE_BYTES_MAX = 16 * 1024 * 1024
"""What wasmtime itself keeps of an instance: below 1 MiB for as many functions as admission lets through."""
_ALL_ONES = 0xFFFF_FFFF_FFFF_FFFF
_NO_FINALIZER = ctypes.cast(0, ctypes.CFUNCTYPE(None, ctypes.c_void_p))

Pointer: TypeAlias = Any  # ctypes has no type that names a C pointer


class _NoResult(Exception):
    """The chunk ends without a result; the message is the detail."""


class _TaskError(Exception):
    """The task itself reports an error; `text` is part of the vote."""

    def __init__(self, text: bytes, detail: str = "") -> None:
        super().__init__(detail)
        self.text = text


def make_engine(*, one_at_a_time: bool = False) -> wasmtime.Engine:
    """An engine that knows the features spec/modules.md allows and no others.

    With `one_at_a_time` an instance must be gone before the next one is made, which then costs half.
    """
    config = wasmtime.Config()
    config.wasm_threads = False
    config.shared_memory = False
    config.wasm_relaxed_simd = False
    config.wasm_memory64 = False
    config.wasm_multi_memory = False
    config.wasm_gc = False
    config.wasm_function_references = False
    config.wasm_exceptions = False
    config.wasm_tail_call = False
    config.wasm_component_model = False
    config.wasm_wide_arithmetic = False
    config.wasm_stack_switching = False
    config.wasm_custom_page_sizes = False
    config.max_wasm_stack = STACK_BYTES_MAX
    # Threads could not be started behind the lockdown; the copy-on-write image would need a file.
    config.parallel_compilation = False
    config.memory_init_cow = False
    if one_at_a_time:
        _reuse_memory(config)
    return wasmtime.Engine(config)


def _reuse_memory(config: wasmtime.Config) -> None:
    """Have all instances, one after the other, in one place of memory, wiped between them.

    To map it anew for each takes longer than all else that a small chunk needs.
    """
    pool = c_api.wasmtime_pooling_allocation_config_new()
    c_api.wasmtime_pooling_allocation_config_total_core_instances_set(pool, 1)
    c_api.wasmtime_pooling_allocation_config_total_memories_set(pool, 1)
    c_api.wasmtime_pooling_allocation_config_total_tables_set(pool, 1)
    # Of what admitted modules do not have nothing is set aside; a thousand stacks would be 2 GiB of writable memory.
    c_api.wasmtime_pooling_allocation_config_total_stacks_set(pool, 0)
    c_api.wasmtime_pooling_allocation_config_total_gc_heaps_set(pool, 0)
    c_api.wasmtime_pooling_allocation_config_max_core_instance_size_set(pool, _INSTANCE_BYTES_MAX)
    c_api.wasmtime_pooling_allocation_config_max_memory_size_set(pool, _MEMORY_BYTES_MAX)
    c_api.wasmtime_pooling_allocation_config_table_elements_set(pool, TABLE_ELEMENTS_MAX)
    c_api.wasmtime_pooling_allocation_config_linear_memory_keep_resident_set(pool, _RESIDENT_BYTES)
    c_api.wasmtime_pooling_allocation_config_table_keep_resident_set(pool, _RESIDENT_BYTES)
    c_api.wasmtime_pooling_allocation_strategy_set(config.ptr(), pool)
    c_api.wasmtime_pooling_allocation_config_delete(pool)


class Wasmtime:
    """The engine of a worker."""

    is_spent = False

    def __init__(self) -> None:
        self._engine = make_engine(one_at_a_time=True)

    def start(self) -> None:
        """Nothing to do: wasmtime starts no thread."""

    def compile(self, load: Load) -> Program:
        """Compile the module of `load`, which admission has let through.

        Raises:
            Refused: It is not valid after all, or imports what does not exist.
        """
        return Program(
            self._engine,
            load.module,
            memory_bytes=load.memory_bytes,
            output_bytes=load.output_bytes,
            numbers=load.numbers,
        )


class Program:
    """A compiled module and what its chunks may use."""

    def __init__(
        self, engine: wasmtime.Engine, module: bytes, *, memory_bytes: int, output_bytes: int, numbers: bool
    ) -> None:
        """Compile `module`, which admission has let through.

        Raises:
            Refused: It is not valid after all, or imports what does not exist.
        """
        self._engine = engine
        self._memory_bytes = memory_bytes
        self._output_bytes = output_bytes
        self._numbers = numbers
        self._wasi = Wasi(output_bytes)
        linker = wasmtime.Linker(engine)
        try:
            compiled = wasmtime.Module(engine, module)
            self._wasi.define(linker, compiled)
            self._prepared = linker.instantiate_pre(compiled)
        except (wasmtime.WasmtimeError, ValueError) as error:
            raise Refused(_first_line(error)) from None
        exports = {export.name for export in compiled.exports}
        self._is_command = "_start" in exports
        self._initializes = "_initialize" in exports
        self._takes_seed = "cc_seed" in exports
        self._explains = "cc_error" in exports
        self._result = (_ffi.wasmtime_val_t * 1)()
        self._arguments = (_ffi.wasmtime_val_t * 2)()

    def run(
        self, data: bytes, seed: int, state: bytes = b"", keep: Keep | None = None, /
    ) -> tuple[StatusNumber, bytes, str]:
        """Execute one chunk: status, result or error text, detail."""
        store: Pointer = c_api.wasmtime_store_new(self._engine.ptr(), None, _NO_FINALIZER)
        try:
            c_api.wasmtime_store_limiter(store, self._memory_bytes, TABLE_ELEMENTS_MAX, 1, 1, 1)
            chunk = _Instance(c_api.wasmtime_store_context(store))
            if self._is_command:
                result = self._run_command(chunk, data, seed, state, keep)
            else:
                result = self._run_reactor(chunk, data, seed)
        except _TaskError as error:
            return TASK_ERROR, error.text, str(error)
        except _NoResult as failure:
            return NO_RESULT, b"", str(failure)
        finally:
            c_api.wasmtime_store_delete(store)
        return OK, result, ""

    def close(self) -> None:
        """Nothing to do: wasmtime counts references."""

    def _run_reactor(self, chunk: _Instance, data: bytes, seed: int) -> bytes:
        chunk.instantiate(self._prepared.ptr())
        arguments, result = self._arguments, self._result
        if self._initializes:
            chunk.call(b"_initialize", None, 0, None, 0)
        if self._takes_seed:
            arguments[0].kind = _ffi.WASMTIME_I64
            arguments[0].of.i64 = _signed64(seed)
            chunk.call(b"cc_seed", arguments, 1, None, 0)
        arguments[0].kind = arguments[1].kind = _ffi.WASMTIME_I32
        arguments[0].of.i32 = len(data)
        chunk.call(b"cc_alloc", arguments, 1, result, 1)
        start = result[0].of.i32 & 0xFFFF_FFFF
        if start + len(data) > chunk.size():
            raise _NoResult("cc_alloc returned a place outside memory")
        chunk.write(start, data)
        arguments[0].of.i32 = result[0].of.i32
        arguments[1].of.i32 = len(data)
        chunk.call(b"cc_run", arguments, 2, result, 1)
        span = result[0].of.i64 & _ALL_ONES
        if span != _ALL_ONES:
            return self._slice(chunk, span, self._output_bytes)
        if not self._explains:
            raise _TaskError(b"")
        chunk.call(b"cc_error", None, 0, result, 1)
        span = result[0].of.i64 & _ALL_ONES
        raise _TaskError(self._slice(chunk, span, None)[:ERROR_BYTES_MAX])

    def _slice(self, chunk: _Instance, span: int, length_max: int | None) -> bytes:
        """The bytes at `start << 32 | length`."""
        start, length = span >> 32, span & 0xFFFF_FFFF
        if start + length > chunk.size():
            raise _NoResult("the result lies outside memory")
        if length_max is not None and length > length_max:
            raise _NoResult("output limit")
        return chunk.read(start, length)

    def _run_command(self, chunk: _Instance, data: bytes, seed: int, state: bytes, keep: Keep | None) -> bytes:
        wasi = self._wasi
        arguments = [b"chunk"]
        if self._numbers:
            count, rest = divmod(len(data), 8)
            if rest:
                raise _NoResult("the input is not a row of 64-bit numbers")
            arguments += [b"%d" % number for number in struct.unpack(f"<{count}q", data)]
        wasi.begin(arguments, b"" if self._numbers else data, seed, state, keep)
        try:
            chunk.instantiate(self._prepared.ptr())
            wasi.memory = chunk
            chunk.call(b"_start", None, 0, None, 0)
        except _NoResult as trap:
            _func.LAST_EXCEPTION = None  # wasmtime keeps what a host function raised for its own API, unused here
            if wasi.failure:
                raise _NoResult(wasi.failure) from None
            stderr = wasi.stderr.decode(errors="replace")
            if wasi.exit_code is None:
                raise _NoResult(f"{trap}\n{stderr}".rstrip()) from None
            if wasi.exit_code != 0:
                raise _TaskError(b"exit %d" % wasi.exit_code, stderr) from None
        finally:
            wasi.memory = None
        return wasi.output()


class _Instance:
    """One chunk's instance and its memory, by C calls."""

    __slots__ = ("_context", "_export", "_instance", "_memory", "_trap")

    def __init__(self, context: Pointer) -> None:
        self._context = context
        self._instance = _ffi.wasmtime_instance_t()
        self._export = _ffi.wasmtime_extern_t()
        self._trap = POINTER(_ffi.wasm_trap_t)()
        self._memory: Pointer = None

    def instantiate(self, prepared: Pointer) -> None:
        error = c_api.wasmtime_instance_pre_instantiate(
            prepared, self._context, byref(self._instance), byref(self._trap)
        )
        if error or self._trap:
            self._fail(error)
        self._find(b"memory")
        self._memory = byref(_ffi.wasmtime_memory_t.from_buffer_copy(self._export.of.memory))

    def call(self, name: bytes, arguments: Pointer, argument_count: int, results: Pointer, result_count: int) -> None:
        self._find(name)
        error = c_api.wasmtime_func_call(
            self._context,
            byref(self._export.of.func),
            arguments,
            argument_count,
            results,
            result_count,
            byref(self._trap),
        )
        if error or self._trap:
            self._fail(error)

    def _find(self, name: bytes) -> None:
        found = c_api.wasmtime_instance_export_get(
            self._context, byref(self._instance), name, len(name), byref(self._export)
        )
        assert found, name  # admission has seen it

    def _fail(self, error: Pointer) -> None:
        if self._trap:
            trap = wasmtime.Trap._from_ptr(self._trap)
            self._trap = POINTER(_ffi.wasm_trap_t)()
            code = trap.trap_code
            raise _NoResult(f"trap: {code.name.lower().replace('_', ' ')}" if code else f"trap: {_first_line(trap)}")
        reason = _first_line(wasmtime.WasmtimeError._from_ptr(error))
        raise _NoResult("memory limit" if "memory" in reason and "limit" in reason else reason)

    def size(self) -> int:
        return c_api.wasmtime_memory_data_size(self._context, self._memory)

    def read(self, start: int, count: int) -> bytes:
        return string_at(self._base() + start, count)

    def write(self, start: int, data: bytes) -> None:
        memmove(self._base() + start, data, len(data))

    def _base(self) -> int:
        # Asked anew each time: growing may move the memory.
        return ctypes.addressof(c_api.wasmtime_memory_data(self._context, self._memory).contents)


def _signed64(value: int) -> int:
    value &= _ALL_ONES
    return value - (1 << 64) if value >> 63 else value


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
