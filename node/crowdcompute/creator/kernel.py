"""A kernel: a function that strangers can execute, because it is WebAssembly or JavaScript, whatever it was written in.

    kernel = Kernel("primes")        a folder made by `cc-task init`; its task.toml says the limits and how to verify
    kernel(0, 1000)                  computed here and now, in the sandbox, to try it out
    executor.submit(kernel, 0, 1000) computed by volunteers

Arguments travel as bytes. A WebAssembly kernel gets whole numbers as little-endian i64s, exactly like a chunk of a
`range` or a `grid` split, or one bytes object as it is. A JavaScript kernel gets any JSON values, as the array that is
its first parameter; one in Python gets them as its arguments.
"""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from crowdcompute.protocol.javascript import decode_source
from crowdcompute.protocol.wasm import Shape, admit

from .build import build_python
from .task import Task
from .task_file import read_task_file
from .work import read_module

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .task_file import TaskFile

T = TypeVar("T")

_EXPORT = re.compile(r"^export[ \t]+default(?![\w$])[ \t]*(?P<named>function\s+(?P<name>[\w$]+))?", re.MULTILINE)
_ADAPTER = """
export default function (args, stdin) {
  const result = KERNEL(JSON.parse(new TextDecoder().decode(stdin)), new Uint8Array(0));
  return typeof result === "string" ? JSON.stringify(result) : result;
}
"""


class NotPortable(TypeError):
    """What was submitted cannot be executed by strangers. The sentence says what to do instead."""


class Kernel(Generic[T]):
    """A portable function. Make it once; it is read when it is made and never again."""

    @overload
    def __init__(self: Kernel[Any], path: str | Path) -> None: ...
    @overload
    def __init__(
        self, path: str | Path, *, decode: Callable[[bytes], T], encode: Callable[..., bytes] | None = None
    ) -> None: ...
    @overload
    def __init__(self: Kernel[Any], path: str | Path, *, encode: Callable[..., bytes]) -> None: ...

    def __init__(
        self,
        path: str | Path,
        *,
        decode: Callable[[bytes], Any] | None = None,
        encode: Callable[..., bytes] | None = None,
    ) -> None:
        """Read a kernel.

        Args:
            path: A folder made by `cc-task init`. Its [split] is for `cc-task` and not used here.
            decode: Makes a result's bytes to what `result()` returns. Otherwise WebAssembly gives bytes, and
                JavaScript and Python JSON values.
            encode: Makes arguments to the bytes the kernel gets, instead of the rules above.

        Raises:
            CommandError, TaskFileError, ModuleRefused: It is no usable kernel; the sentence says why.
        """
        self.file: TaskFile = read_task_file(Path(path))
        self.decode: Callable[[bytes], T] = decode or bytes  # type: ignore[assignment]
        self._encode = encode or self._encode_numbers
        self._accepts_numbers = True
        source = self.file.source
        if source is not None and source.suffix == ".py" and encode is None:
            self.code = build_python(source, json_arguments=True)
            self._encode = self._encode_json
            self.decode = decode or json.loads
            self.__name__ = self.file.name
            return
        self.code = read_module(self.file)
        if self.file.runtime == "js" and encode is None:
            self.code = _with_arguments(decode_source(self.code))
            self._encode = self._encode_json
            self.decode = decode or json.loads
        elif self.file.runtime == "js":
            self.decode = decode or json.loads
        else:
            self._accepts_numbers = admit(self.code).shape is Shape.REACTOR
        self.__name__ = self.file.name

    def __repr__(self) -> str:
        return f"<kernel {self.file.name!r} in {self.file.folder}>"

    def encode(self, *arguments: Any) -> bytes:
        """The bytes a chunk with these arguments gets.

        Raises:
            NotPortable: They cannot travel.
        """
        try:
            data = self._encode(*arguments)
        except NotPortable:
            raise
        except (TypeError, ValueError, struct.error) as error:
            raise NotPortable(f"the arguments {_shown(arguments)} of {self!r} cannot travel: {error}") from None
        if not isinstance(data, bytes):
            raise NotPortable(f"encode= of {self!r} must return bytes, and returned {type(data).__name__}")
        return data

    def task(self, inputs: Sequence[bytes]) -> Task[T]:
        """The task that applies this kernel to each of `inputs` (`encode` makes them)."""
        return Task.of_inputs(self.file, self.code, inputs, self.decode)

    def stream(self, number: int = 0) -> Task[T]:
        """The task that applies this kernel to inputs that come while it runs: of a second the one of this `number`."""
        return Task.of_stream(self.file, self.code, self.decode, number)

    def __call__(self, *arguments: Any) -> T:
        """Compute here and now, in the same sandbox and to the same bytes as volunteers do.

        Raises:
            ChunkFailed: It gave no result.
        """
        from .places import compute_here

        return compute_here(self, arguments)

    def _encode_numbers(self, *arguments: Any) -> bytes:
        if len(arguments) == 1 and isinstance(arguments[0], bytes | bytearray | memoryview):
            return bytes(arguments[0])
        if not all(isinstance(argument, int) for argument in arguments) or not arguments:
            raise NotPortable(
                f"{self!r} is WebAssembly: it takes whole numbers (as 64-bit integers) or one bytes object, not "
                f"{_shown(arguments)}; say how to make bytes of them with Kernel(…, encode=struct.Struct('<dd').pack)"
            )
        if not self._accepts_numbers:
            raise NotPortable(
                f"{self!r} is a WASI command: here it gets its input on stdin, so pass one bytes object; numbers as "
                "arguments are for `range` and `grid` splits"
            )
        return struct.pack(f"<{len(arguments)}q", *arguments)

    def _encode_json(self, *arguments: Any) -> bytes:
        return json.dumps(arguments, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def kernel_of(function: object) -> Kernel[Any]:
    """`function`, if it can be executed by strangers.

    Raises:
        NotPortable: It cannot.
    """
    if isinstance(function, Kernel):
        return function
    name = getattr(function, "__qualname__", None) or repr(function)
    raise NotPortable(
        f"{name} is Python in this process, and nothing pickled ever leaves it: submit portable({name}), which sends "
        "its source; or write it as a kernel (`cc-task init NAME --lang python`, js, c, zig, rust, assemblyscript, go) "
        f"and submit Kernel('NAME'); or submit here({name}) to have it run in this process"
    )


def _with_arguments(source: str) -> bytes:
    """JavaScript whose default export takes its arguments from JSON, by the same rule over text as the prelude's."""
    match = _EXPORT.search(source)
    if match is None:
        return source.encode()  # It is refused with the prelude's own sentence.
    head, tail = source[: match.start()], source[match.end() :]
    if match["named"]:
        return (head + match["named"] + tail + _ADAPTER.replace("KERNEL", match["name"])).encode()
    return (head + "const kernelOfThisTask = " + tail + _ADAPTER.replace("KERNEL", "kernelOfThisTask")).encode()


def _shown(arguments: tuple[Any, ...]) -> str:
    text = ", ".join(repr(argument) for argument in arguments)
    return f"({text[:97]}…)" if len(text) > 100 else f"({text})"
