"""Which devices compute the same floats: a class is measured, not declared (spec/gpu.md, "Classes").

    probe.wgsl on a device --> its numbers --'
                                              +--> SHA-256: the class, at the end of each result of the device
    the task's golden vectors --> results ---'

A fallback is a module, and modules compute the same everywhere: they are one class, `MODULE`. Who lies about its class
has chosen with whom its votes are compared byte by byte, and nothing else.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from .compare import CLASS_BYTES, Array, Comparison, Tolerance
from .package import Arrangement, Golden, Output, Package, Task
from .parser import parse

if TYPE_CHECKING:
    from collections.abc import Iterable

INVOCATIONS = 1_024
_NUMBERS = 32
"""Of each invocation."""
_FUEL = 16

MODULE = bytes(CLASS_BYTES)


@lru_cache(maxsize=1)
def probe() -> Task:
    """The probe as a task that a device compiles."""
    source = (Path(__file__).parent / "probe.wgsl").read_bytes()
    anything = Tolerance(absolute=1e30, relative=0.0, outliers=0.0)
    package = Package(
        schema=1,
        source=source,
        uniform=(),
        invocations=str(INVOCATIONS),
        outputs=(Output(name="out", elements=_NUMBERS, compare=anything),),
        fuel=_FUEL,
        golden=(Golden(input=b"", sha256=bytes(32), result=b""),),
        fallback=b"",
    )
    return Task(package, parse(source), Comparison((Array(_NUMBERS, anything),)))


PROBED = Arrangement(
    invocations=INVOCATIONS,
    uniform=(0x5EED).to_bytes(4, "little") + bytes(12),
    input=b"",
    input_elements=0,
    outputs=(4 * _NUMBERS * INVOCATIONS,),
)
"""What it computes."""


def class_of(probed: bytes, golden: Iterable[bytes]) -> bytes:
    """The class of a device that makes this of the probe, and these arrays of a task's golden vectors."""
    return sha256(
        b"cc/class/1\0" + sha256(probed).digest() + b"".join(sha256(each).digest() for each in golden)
    ).digest()
