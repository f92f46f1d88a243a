"""What the engines of a worker have in common: a program is made from bytes and limits, runs chunks, and is closed."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from .frames import Load, StatusNumber
    from .wasi import Keep

EngineName: TypeAlias = Literal["wasmtime", "v8", "quickjs", "opencl", "opencl-software", "webgpu", "webgpu-software"]
"""What a worker process has inside, for its whole life."""

DRIVERS: frozenset[str] = frozenset({"opencl", "opencl-software", "webgpu", "webgpu-software"})
"""Those that bring a driver of the system's into their process."""


def has_v8() -> bool:
    """Whether this installation has the fast JavaScript engine, the extra `js`."""
    return importlib.util.find_spec("py_mini_racer") is not None


def has_opencl() -> bool:
    """Whether this installation can look for GPUs, the extra `gpu`."""
    return importlib.util.find_spec("pyopencl") is not None


def has_webgpu() -> bool:
    """Whether this installation can look for GPUs without OpenCL, the extra `wgpu`."""
    return importlib.util.find_spec("wgpu") is not None


class Refused(Exception):
    """The engine does not take the module."""


class Program(Protocol):
    """A compiled module and what its chunks may use."""

    def run(self, data: bytes, seed: int, state: bytes, keep: Keep | None, /) -> tuple[StatusNumber, bytes, str]:
        """Execute one chunk as if nothing had run before: status, result or error text, detail.

        With `state`, go on from what `keep` was offered in an earlier execution of it (wasi.py).
        """

    def close(self) -> None:
        """It will not run again."""


class Engine(Protocol):
    """One engine. Making it reads all files it needs and starts no thread."""

    @property
    def is_spent(self) -> bool:
        """Whether the last chunk has left it in a state that the next one could notice."""

    def start(self) -> None:
        """Get ready to compile. May start threads, and reads no file any more."""

    def compile(self, load: Load) -> Program:
        """Compile the module of `load`, whose bytes have been checked.

        Raises:
            Refused: The engine does not take it.
        """
