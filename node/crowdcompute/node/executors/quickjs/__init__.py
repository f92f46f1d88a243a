"""The strict JavaScript engine: QuickJS-ng, an interpreter, as a WebAssembly module without imports on wasmtime.

A task's code has no compiler to confuse, and outside the interpreter there is nothing but the interpreter's own memory.
Every chunk gets an instance of its own, with the memory of one that has evaluated the prelude and compiled the source.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import wasmtime

from crowdcompute.node.executors.engine import Refused
from crowdcompute.node.executors.frames import NO_RESULT, OK, TASK_ERROR, StatusNumber
from crowdcompute.node.executors.wasm import make_engine
from crowdcompute.protocol.errors import ModuleRefused
from crowdcompute.protocol.javascript import decode_source, prelude

if TYPE_CHECKING:
    from crowdcompute.node.executors.frames import Load
    from crowdcompute.node.executors.wasi import Keep

HEAP_BYTES_SPARE = 32 * 1024 * 1024
"""What the interpreter itself uses; as with V8, a chunk may also use twice what its task asks for."""
TABLE_ELEMENTS_MAX = 100_000
PAGE_BYTES = 65_536
_STATUSES: dict[int, StatusNumber] = {int(status): status for status in (OK, TASK_ERROR, NO_RESULT)}


class QuickJs:
    """The engine of a worker."""

    is_spent = False

    def __init__(self) -> None:
        self.engine = make_engine()
        # A second of work, done once a worker.
        self.module = wasmtime.Module(self.engine, (resources.files(__package__) / "quickjs.wasm").read_bytes())
        self.prelude = prelude().encode()

    def start(self) -> None:
        """Nothing to do: wasmtime starts no thread."""

    def compile(self, load: Load) -> Program:
        """Try the source of `load` out.

        Raises:
            Refused: It is no source of a task.
        """
        return Program(self, load)


class Program:
    """A task's source and what its chunks may use."""

    def __init__(self, quickjs: QuickJs, load: Load) -> None:
        self._quickjs = quickjs
        self._memory_bytes = 2 * load.memory_bytes + HEAP_BYTES_SPARE
        self._output_bytes = load.output_bytes
        self._numbers = load.numbers
        try:
            instance = _Instance(quickjs, self._memory_bytes)
            refusal = instance.start(decode_source(load.module).encode())
            self._memory = instance.memory()
        except (ModuleRefused, wasmtime.WasmtimeError, wasmtime.Trap) as error:
            raise Refused(str(error).splitlines()[0]) from None
        if refusal:
            raise Refused(refusal)

    def run(
        self, data: bytes, seed: int, _state: bytes = b"", _keep: Keep | None = None, /
    ) -> tuple[StatusNumber, bytes, str]:
        """Execute one chunk: status, result or error text, detail."""
        try:
            instance = _Instance(self._quickjs, self._memory_bytes)
            instance.restore(self._memory)
            return instance.run(data, self._numbers, seed, self._output_bytes)
        except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
            return NO_RESULT, b"", (str(error).splitlines() or ["trap"])[0]

    def close(self) -> None:
        """Nothing to do: nothing is kept between chunks."""


class _Instance:
    """One interpreter, for one chunk."""

    def __init__(self, quickjs: QuickJs, memory_bytes: int) -> None:
        self._prelude = quickjs.prelude
        self._memory_bytes = memory_bytes
        self._store = wasmtime.Store(quickjs.engine)
        self._store.set_limits(memory_size=memory_bytes, table_elements=TABLE_ELEMENTS_MAX, instances=1)
        self._exports = wasmtime.Instance(self._store, quickjs.module, []).exports(self._store)
        memory = self._exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        self._memory = memory

    def start(self, source: bytes) -> str:
        """Evaluate the prelude and compile `source`; why that fails, or nothing."""
        self._call("_initialize")
        return self._text(self._call("qjs_start", *self._put(self._prelude), *self._put(source), self._memory_bytes))

    def memory(self) -> bytes:
        """All there is to know about it between two calls."""
        return bytes(self._memory.read(self._store))

    def restore(self, memory: bytes) -> None:
        """Become the instance that had this memory."""
        missing = len(memory) - self._memory.data_len(self._store)
        self._memory.grow(self._store, missing // PAGE_BYTES)
        self._memory.write(self._store, memory)

    def run(self, data: bytes, numbers: bool, seed: int, output_bytes: int) -> tuple[StatusNumber, bytes, str]:
        signed_seed = seed - (seed >> 63 << 64)
        failure = self._text(self._call("qjs_run", *self._put(data), int(numbers), signed_seed, output_bytes))
        if failure:
            return NO_RESULT, b"", failure
        status = _STATUSES[self._call("qjs_status")]
        return status, self._span("qjs_data"), self._span("qjs_detail").decode(errors="replace")

    def _call(self, name: str, *arguments: int) -> int:
        function = self._exports[name]
        assert isinstance(function, wasmtime.Func)
        result: int = function(self._store, *arguments)
        return result

    def _put(self, data: bytes) -> tuple[int, int]:
        start = self._call("qjs_alloc", len(data) + 1) & 0xFFFF_FFFF
        self._memory.write(self._store, data + b"\0", start)
        return start, len(data)

    def _span(self, name: str) -> bytes:
        span = self._call(name) & 0xFFFF_FFFF_FFFF_FFFF
        start, length = span >> 32, span & 0xFFFF_FFFF
        return bytes(self._memory.read(self._store, start, start + length))

    def _text(self, start: int) -> str:
        """The text that begins at `start` and ends with a zero byte; nothing for 0."""
        start &= 0xFFFF_FFFF
        if start == 0:
            return ""
        return bytes(self._memory.read(self._store, start, start + 1_024)).partition(b"\0")[0].decode(errors="replace")
