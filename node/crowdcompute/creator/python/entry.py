"""What stands around a kernel in Python, inside its module: how it is loaded, called, and asked for its result.

`load` runs once, when `cc-task build` makes the module; `run_chunk` in every chunk, on a copy of the memory of then.
CPython 3.11 evaluates this file, before there is a standard library.
"""

import gc
import sys
from _frozen_importlib import ModuleSpec, spec_from_loader
from _json import encode_basestring, make_scanner
from _struct import unpack
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FunctionType, ModuleType

NUMBER_BYTES = 8
FRAMES_FIRST, FRAMES_LAST = 5, 15
ERROR_BYTES_MAX = 4_096

_kernel = type(sys)("kernel")
_lines: list[str] = []
_main: "FunctionType"
_arguments: "Callable[[bytes], list[object] | tuple[object, ...]]"
_is_json = False


class _Library:
    """Imports what the build has brought, and says so when it is too late for that."""

    def __init__(self, packed: memoryview) -> None:
        self._codes: dict[str, tuple[bool, memoryview]] = {}
        self._is_open = True
        place = 0
        while place < len(packed):
            name_bytes, code_bytes, is_package = unpack("<IIB", packed[place : place + 9])
            place += 9
            name = str(packed[place : place + name_bytes], "ascii")
            place += name_bytes
            self._codes[name] = bool(is_package), packed[place : place + code_bytes]
            place += code_bytes
        self._names = frozenset(self._codes)

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name not in self._names:
            return None
        if not self._is_open:
            raise ImportError(f"import {name} at the top of the kernel: its module holds what was imported there")
        return spec_from_loader(name, self, is_package=self._codes[name][0])  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """An ordinary one will do."""

    def exec_module(self, module: "ModuleType") -> None:
        name = module.__name__
        exec(loads(self._codes[name][1]), module.__dict__)

    def close(self) -> None:
        self._is_open = False
        self._codes = {}


def load(packed: memoryview, source: bytes, json_arguments: int) -> None:
    """Execute the kernel's top level. What goes wrong is a RuntimeError that says it to its author."""
    global _lines, _main, _arguments, _is_json
    library = _Library(packed)
    sys.meta_path.append(library)
    sys.modules["kernel"] = _kernel
    _is_json = bool(json_arguments)
    words = ""
    try:
        text = source.decode()
        _lines = text.splitlines()
        exec(compile(text, "kernel.py", "exec", dont_inherit=True), _kernel.__dict__)
        code = getattr(_kernel.__dict__.get("main"), "__code__", None)
        if code is None:
            raise TypeError("the kernel has no function `main`")
        _main = _kernel.__dict__["main"]
        if _is_json:
            _arguments = _from_json
        elif code.co_argcount == 1:
            _arguments = _from_bytes
        elif code.co_argcount in (2, 4):
            _arguments = _from_numbers
        else:
            raise TypeError("`main` takes 2 numbers (of a range), 4 (of a grid), or 1 value, the chunk's bytes")
    except BaseException as error:
        words = _explain(error)
    library.close()
    if words:
        raise RuntimeError(words)
    gc.collect()
    gc.freeze()  # chunks need not look at what was there before them


def run_chunk(data: bytes, seed: int) -> tuple[bool, bytes]:
    """One chunk: whether it has a result, and its bytes or the error's words. Raises MemoryError alone."""
    try:
        if "random" in sys.modules:
            sys.modules["random"].seed(seed)
        return True, _as_bytes(_main(*_arguments(data)))
    except MemoryError:
        raise
    except BaseException as error:
        return False, _explain(error).encode("utf-8", "replace")[:ERROR_BYTES_MAX]


# ---- arguments


def _from_bytes(data: bytes) -> tuple[bytes]:
    return (data,)


def _from_numbers(data: bytes) -> tuple[int, ...]:
    count = _main.__code__.co_argcount
    if len(data) != count * NUMBER_BYTES:
        raise TypeError(f"`main` takes {count} numbers, and the chunk has {len(data)} bytes")
    return unpack(f"<{count}q", data)


class _JsonRules:
    strict = True
    object_hook = object_pairs_hook = None
    parse_float = parse_constant = float
    parse_int = int


def _from_json(data: bytes) -> list[object]:
    arguments, _ = make_scanner(_JsonRules)(data.decode(), 0)  # type: ignore[arg-type]
    return arguments  # type: ignore[no-any-return]


# ---- results


def _as_bytes(value: object) -> bytes:
    if isinstance(value, str) and not _is_json:
        return value.encode()
    try:
        view = memoryview(value)  # type: ignore[arg-type]
    except TypeError:
        pieces: list[str] = []
        _write_json(value, pieces)
        return "".join(pieces).encode()
    return view.tobytes()


def _write_json(value: object, out: list[str]) -> None:
    """JSON without spaces, keys in the order of their code points, numbers as `repr` writes them."""
    if value is None or value is True or value is False:
        out.append("null" if value is None else "true" if value else "false")
    elif isinstance(value, str):
        out.append(encode_basestring(value))
    elif isinstance(value, int):
        out.append(int.__repr__(value))
    elif isinstance(value, float):
        if value - value != 0:
            raise ValueError(f"a result holds {value!r}, which JSON cannot say")
        out.append(float.__repr__(value))
    elif isinstance(value, (list, tuple)):
        out.append("[")
        for place, item in enumerate(value):
            if place:
                out.append(",")
            _write_json(item, out)
        out.append("]")
    elif isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("a result holds a dict whose keys are not all texts")
        out.append("{")
        for place, key in enumerate(sorted(value)):
            out.append(("," if place else "") + encode_basestring(key) + ":")
            _write_json(value[key], out)
        out.append("}")
    else:
        raise TypeError(f"a result is bytes, a text, or what JSON can say, not {type(value).__name__}")


# ---- errors


def _explain(error: BaseException) -> str:
    """The traceback as Python prints it, without the frames of this file, and not too many of a recursion."""
    if isinstance(error, SyntaxError) and error.filename == "kernel.py":
        return f"kernel.py, line {error.lineno}\n    {(error.text or '').strip()}\n{type(error).__name__}: {error.msg}"
    frames = []
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if code.co_filename not in ("entry.py", "<frozen importlib._bootstrap>"):
            frames.append((code.co_filename, step.tb_lineno, code.co_name))
        step = step.tb_next
    out = ["Traceback (most recent call last):"] if frames else []
    for place, (file, line, name) in enumerate(frames):
        if FRAMES_FIRST <= place < len(frames) - FRAMES_LAST:
            if place == FRAMES_FIRST:
                out.append(f"  ... {len(frames) - FRAMES_FIRST - FRAMES_LAST} more")
            continue
        out.append(f"  {file}, line {line}, in {name}")
        if file == "kernel.py" and 0 < line <= len(_lines):
            out.append(f"    {_lines[line - 1].strip()}")
    try:
        said = str(error)
    except Exception:
        said = "(its text cannot be made)"
    name = type(error).__name__
    out.append(f"{name}: {said}" if said else name)
    return "\n".join(out)
