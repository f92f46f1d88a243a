"""A kernel in Python as a module: CPython 3.11 with the kernel loaded, written out as it waits for its first chunk.

python.wasm is the interpreter, without imports (shell.c; build.py makes it). It is started here, executes the kernel's
top level, and what its memory holds then becomes the data of the task's module:

    python.wasm + library + kernel.py --start--> memory --write out--> module, a reactor like any other

So volunteers need no Python and trust none: the module passes the same admission, runs in the same sandbox, and gives
the same bytes on every engine. It is large (5 to 7 MB), and its instances are made in a millisecond or two.
"""

from __future__ import annotations

import lzma
import re
import threading
from functools import cache
from importlib import resources

import wasmtime

from crowdcompute.creator.data_segments import as_signed_leb
from crowdcompute.protocol.wasm.reader import Reader, u32_leb
from crowdcompute.protocol.wasm.rules import SEGMENTS_MAX
from crowdcompute.protocol.wasm.survey import HEADER, Section

LOAD_S_MAX = 60
"""How long a kernel's top level may take."""
MEMORY_BYTES_MAX = 256 * 1024 * 1024
STACK_BYTES_MAX = 2 * 1024 * 1024
PAGE_BYTES = 65_536
ZEROS_LEFT_OUT = (32, 64, 128, 256)
"""A longer run of zeros begins a new segment, which costs up to 13 bytes, and there may be so many of them: the first
of these numbers that keeps within it."""
_PUBLIC = ("memory", "cc_alloc", "cc_run", "cc_seed", "cc_error")


class KernelRefused(Exception):
    """The kernel cannot be loaded; the message is its traceback."""


def make_module(source: bytes, *, json_arguments: bool = False) -> bytes:
    """The module of the kernel `source`, as a compiler would leave it: not yet rewritten.

    Its `main` gets a chunk's numbers, or its bytes; with `json_arguments` what stands in an array of JSON, and then
    texts are answered in JSON, too. The same source gives the same module.

    Raises:
        KernelRefused: Its top level raises something, takes too long or too much, or leaves no usable `main`.
    """
    python = _read("python.wasm.xz")
    return _written_out(python, _memory_after_loading(python, source, json_arguments))


def _memory_after_loading(python: bytes, source: bytes, json_arguments: bool) -> bytes:
    engine = _engine()
    store = wasmtime.Store(engine)
    store.set_limits(memory_size=MEMORY_BYTES_MAX)
    store.set_epoch_deadline(1)
    exports = wasmtime.Instance(store, wasmtime.Module(engine, python), []).exports(store)
    memory = exports["memory"]
    assert isinstance(memory, wasmtime.Memory)

    def call(name: str, *arguments: int) -> int:
        function = exports[name]
        assert isinstance(function, wasmtime.Func)
        result: int = function(store, *arguments)
        return result

    texts: list[tuple[int, bytes]] = []

    def put(text: bytes) -> int:
        place = call("py_alloc", len(text) + 1) & 0xFFFF_FFFF
        memory.write(store, text + b"\0", place)
        texts.append((place, text))
        return place

    entry = (resources.files(__package__) / "entry.py").read_bytes()
    library = _read("library.xz")
    timer = threading.Timer(LOAD_S_MAX, engine.increment_epoch)
    timer.start()
    try:
        call("_initialize")
        places = (put(entry), put(library), len(library), put(source), len(source))
        said = call("py_start", *places, int(json_arguments))
    except wasmtime.Trap as trap:
        if trap.trap_code == wasmtime.TrapCode.INTERRUPT:
            raise KernelRefused(f"the kernel's top level is still running after {LOAD_S_MAX} s") from None
        raise KernelRefused("the kernel's top level exhausts memory or the stack") from None
    finally:
        timer.cancel()
    if said:
        said &= 0xFFFF_FFFF
        raise KernelRefused(bytes(memory.read(store, said, said + 4_096)).partition(b"\0")[0].decode(errors="replace"))
    for place, text in texts:
        memory.write(store, bytes(len(text)), place)  # nobody will read them again
    store.set_limits(memory_size=memory.data_len(store))
    call("py_wipe")
    return bytes(memory.read(store))


def _written_out(module: bytes, memory: bytes) -> bytes:
    """`module` with `memory` as what it begins with, and what only the build calls exported no more."""
    tried = (_segments(memory, zeros) for zeros in ZEROS_LEFT_OUT)
    segments = next((found for found in tried if len(found) <= SEGMENTS_MAX), None)
    if segments is None:
        raise KernelRefused("the kernel's top level leaves its data too scattered: make large tables in `main`")
    replaced = {
        Section.MEMORY: b"\x01\x00" + u32_leb(len(memory) // PAGE_BYTES),
        Section.DATA: u32_leb(len(segments)) + b"".join(segments),
        Section.DATA_COUNT: u32_leb(len(segments)),
    }
    parts = [HEADER]
    reader = Reader(module, len(HEADER), len(module))
    while not reader.exhausted:
        section = Section(reader.byte())
        content = reader.take(reader.u32())
        content = _public_exports(content) if section is Section.EXPORT else replaced.get(section, content)
        parts += [bytes((section,)), u32_leb(len(content)), content]
    return b"".join(parts)


def _segments(memory: bytes, zeros_max: int) -> list[bytes]:
    """What is not zero in `memory`, with shorter runs of zeros within it."""
    run = re.compile(rb"[^\0](?:\0{0,%d}[^\0])*" % zeros_max, re.DOTALL)
    return [
        b"\x00\x41" + as_signed_leb(found.start()) + b"\x0b" + u32_leb(len(found.group())) + found.group()
        for found in run.finditer(memory)
    ]


def _public_exports(content: bytes) -> bytes:
    reader = Reader(content, 0, len(content))
    kept = []
    for _ in range(reader.u32()):
        start = reader.position
        name = reader.name()
        reader.byte()
        reader.u32()
        if name in _PUBLIC:
            kept.append(content[start : reader.position])
    return u32_leb(len(kept)) + b"".join(kept)


@cache
def _engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    config.max_wasm_stack = STACK_BYTES_MAX
    config.epoch_interruption = True
    try:
        config.cache = True  # in the user's cache folder: compiling takes some seconds
        return wasmtime.Engine(config)
    except wasmtime.WasmtimeError:
        config = wasmtime.Config()
        config.max_wasm_stack = STACK_BYTES_MAX
        config.epoch_interruption = True
        return wasmtime.Engine(config)


@cache
def _read(name: str) -> bytes:
    return lzma.decompress((resources.files(__package__) / name).read_bytes())
