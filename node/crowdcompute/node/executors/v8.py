"""The fast JavaScript engine: V8, as the package `mini-racer` brings it (spec/javascript.md).

One isolate with one realm for the life of a worker. The prelude freezes the realm before a task's code is seen, so two
chunks share nothing that either can write to; `glue.js` is all that Python calls. Python and V8 pass bytes through
array buffers whose address V8 tells, because the package's own API would copy them element by element.

What the package offers for threads, timeouts and promises is not used: the pool holds the clock, and tasks have none
of the others.
"""

from __future__ import annotations

import ctypes
import struct
from importlib import resources
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from py_mini_racer._dll import init_mini_racer, mr_callback_func

from crowdcompute.protocol.errors import ModuleRefused
from crowdcompute.protocol.javascript import decode_source, libm, prelude

from .engine import Refused
from .frames import NO_RESULT, OK, TASK_ERROR, StatusNumber

if TYPE_CHECKING:
    from typing import TypeAlias

    from .frames import Load
    from .wasi import Keep

FLAGS = (
    "--single-threaded",
    # Behind the lockdown no memory protection key can be made.
    "--no-memory-protection-keys",
    # The only WebAssembly is libm, and no thread is there to make it fast later.
    "--no-liftoff",
)
HEAP_BYTES_SPARE = 32 * 1024 * 1024
"""What the prelude and V8 itself use, and garbage not yet collected."""

Pointer: TypeAlias = Any  # ctypes has no type that names a C pointer

_FUNCTION, _ARRAY_BUFFER, _OUT_OF_MEMORY = 100, 102, 202
_TEXT = 5
_FIRST_ERROR = 200
_REQUEST = struct.Struct("<IIIIQ")
_LOAD, _RUN, _FORGET, _RESERVE = range(4)
_ANSWER = struct.Struct("<II")
_STATUSES: dict[int, StatusNumber] = {int(status): status for status in (OK, TASK_ERROR, NO_RESULT)}


class Lost(Exception):
    """The isolate ended the call; the message says why."""


class Isolate:
    """V8 with the prelude evaluated: programs are loaded and run by number."""

    def __init__(self) -> None:
        self._v8 = init_mini_racer(flags=FLAGS, ignore_duplicate_init=True)
        glue = (resources.files(__package__) / "glue.js").read_text(encoding="utf-8")
        self.is_spent = False
        self._script = f"({glue})({prelude()}, '{libm().hex()}')"
        self._answers: SimpleQueue[Pointer] = SimpleQueue()
        # Kept as an attribute: V8 calls it for as long as we live.
        self._on_answer = mr_callback_func(lambda _, value: self._answers.put(value))

    def start(self) -> None:
        """Make the isolate, which starts its thread, and the realm."""
        self._context = self._v8.mr_init_context(self._on_answer)
        self._no_arguments = self._evaluate("[]")
        self._this = self._evaluate("undefined")
        # A function value, held by its handle: no name in the realm leads to it.
        self._step = self._evaluate(self._script)
        if self._step.contents.type != _FUNCTION:
            raise RuntimeError(f"V8 does not evaluate the prelude: {_text(self._step)}")
        (self._request, _), _ = self._call()

    def load(self, program: int, source: str) -> str:
        """Compile `source` as `program`; why it is refused, or nothing."""
        data = source.encode()
        self._reserve(data)
        answer = self._ask(_LOAD, program, len(data))
        return answer[_ANSWER.size :].decode()

    def run(
        self, program: int, data: bytes, seed: int, *, numbers: bool, memory_bytes: int, output_bytes: int
    ) -> tuple[StatusNumber, bytes, str]:
        """Execute one chunk.

        Raises:
            Lost: V8 stopped it.
        """
        self._v8.mr_set_hard_memory_limit(self._context, 2 * memory_bytes + HEAP_BYTES_SPARE)
        self._reserve(data)
        answer = self._ask(_RUN, program, len(data) | numbers << 31, output_bytes, seed)
        status, detail_bytes = _ANSWER.unpack_from(answer)
        end = _ANSWER.size + detail_bytes
        return _STATUSES[status], answer[end:], answer[_ANSWER.size : end].decode()

    def forget(self, program: int) -> None:
        self._ask(_FORGET, program)

    def _reserve(self, data: bytes) -> None:
        """Put `data` where the next request finds its input."""
        (address, size), value = self._call_with(_RESERVE, 0, len(data))
        assert size == len(data)
        if size:
            ctypes.memmove(address, data, size)
        self._v8.mr_free_value(self._context, value)

    def _ask(self, *request: int) -> bytes:
        (address, size), value = self._call_with(*request)
        answer = ctypes.string_at(address, size)
        self._v8.mr_free_value(self._context, value)
        return answer

    def _call_with(
        self, operation: int, program: int = 0, length: int = 0, output_bytes: int = 0, seed: int = 0
    ) -> tuple[tuple[int, int], Pointer]:
        request = _REQUEST.pack(operation, program, length, output_bytes, seed)
        ctypes.memmove(self._request, request, len(request))
        return self._call()

    def _call(self) -> tuple[tuple[int, int], Pointer]:
        """Call the glue's one function: where the buffer it returns lies, its length, and the handle that keeps it."""
        self._v8.mr_call_function(self._context, self._step, self._this, self._no_arguments, 0)
        value = self._answers.get()
        answer = value.contents
        if answer.type != _ARRAY_BUFFER:
            words = _text(value)
            kind = answer.type
            self._v8.mr_free_value(self._context, value)
            ended = kind == _OUT_OF_MEMORY or self._v8.mr_hard_memory_limit_reached(self._context)
            raise Lost("memory limit" if ended else words or f"V8 answered with type {kind}")
        return (answer.value.value_ptr or 0, answer.len), value

    def _evaluate(self, code: str) -> Pointer:
        text = code.encode()
        handle = self._v8.mr_alloc_string_val(self._context, text, len(text), _TEXT)
        self._v8.mr_eval(self._context, handle, 0)
        return self._answers.get()


class V8:
    """The engine of a worker."""

    def __init__(self) -> None:
        self._isolate = Isolate()

    @property
    def is_spent(self) -> bool:
        # What a chunk that was stopped has left in the heap would count as the next one's memory.
        return self._isolate.is_spent

    def start(self) -> None:
        """Start V8's thread and evaluate the prelude."""
        self._isolate.start()

    def compile(self, load: Load) -> Program:
        """Compile the source of `load`.

        Raises:
            Refused: It is no source of a task.
        """
        return Program(self._isolate, load)


class Program:
    """A task's compiled source and what its chunks may use."""

    def __init__(self, isolate: Isolate, load: Load) -> None:
        self._isolate = isolate
        self._number = load.program
        self._memory_bytes = load.memory_bytes
        self._output_bytes = load.output_bytes
        self._numbers = load.numbers
        try:
            refusal = isolate.load(load.program, decode_source(load.module))
        except (ModuleRefused, Lost) as error:
            raise Refused(str(error)) from None
        if refusal:
            raise Refused(refusal)

    def run(
        self, data: bytes, seed: int, _state: bytes = b"", _keep: Keep | None = None, /
    ) -> tuple[StatusNumber, bytes, str]:
        """Execute one chunk: status, result or error text, detail."""
        try:
            return self._isolate.run(
                self._number,
                data,
                seed,
                numbers=self._numbers,
                memory_bytes=self._memory_bytes,
                output_bytes=self._output_bytes,
            )
        except Lost as lost:
            self._isolate.is_spent = True
            return NO_RESULT, b"", str(lost)

    def close(self) -> None:
        """Let V8 forget the source."""
        self._isolate.forget(self._number)


def _text(value: Pointer) -> str:
    """What a string or an error says."""
    answer = value.contents
    if answer.type != _TEXT and answer.type < _FIRST_ERROR:
        return ""
    text: bytes = ctypes.string_at(answer.value.value_ptr or 0, answer.len)
    return text.decode(errors="replace")
