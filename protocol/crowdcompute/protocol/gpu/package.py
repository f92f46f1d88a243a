"""The code blob of a GPU task (spec/gpu.md, "Package"): a kernel, how a chunk becomes its arguments, and what else is
needed to trust a device with it.

    package --open_package--> Task --arrange(input)--> Arrangement: buffers and invocations of one chunk
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from crowdcompute.protocol.codec import Bytes32, decode
from crowdcompute.protocol.errors import ModuleRefused, RemoteProtocolError
from crowdcompute.protocol.split import Part
from crowdcompute.protocol.wasm import admit

from .compare import Comparator, Exact
from .opencl import opencl
from .parser import parse
from .wgsl import guarded_wgsl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .syntax import Kernel, Variable

INVOCATIONS_MAX = 2**26
FUEL_MAX = 2**24
WORK_MAX = 2**28
"""Fuel times the kernel's words: what one invocation can take at most. A guess at about a second on a slow device, for
no dispatch is smaller than one workgroup, and a browser cannot stop one."""
_ELEMENTS_MAX = 2**22
_WORD = 4

_Name = Annotated[str, Meta(min_length=1, max_length=64)]
_Formula = Annotated[str, Meta(min_length=1, max_length=100)]


class Field(Part, frozen=True):
    """Where a field of the uniform structure has its value from: a formula over the chunk's numbers, or a number."""

    name: _Name
    value: _Formula


class Output(Part, frozen=True):
    """An output array. Of plain ones each invocation has `elements` of its own; atomic ones have so many in all."""

    name: _Name
    elements: Annotated[int, Meta(ge=1, le=_ELEMENTS_MAX)]
    compare: Comparator


class Golden(Part, frozen=True):
    """A chunk's input, and the SHA-256 of its result: what a device has to reproduce before it may compute."""

    input: Annotated[bytes, Meta(max_length=65_536)]
    sha256: Bytes32


class Package(Part, frozen=True):
    """A MessagePack map with exactly these keys."""

    schema: Literal[1]
    source: bytes
    uniform: Annotated[tuple[Field, ...], Meta(max_length=64)]
    invocations: _Formula
    outputs: Annotated[tuple[Output, ...], Meta(min_length=1, max_length=7)]
    fuel: Annotated[int, Meta(ge=1, le=FUEL_MAX)]
    golden: Annotated[tuple[Golden, ...], Meta(min_length=1, max_length=8)]
    fallback: bytes


@dataclass(frozen=True, slots=True)
class Arrangement:
    """One chunk as a device gets it."""

    invocations: int
    uniform: bytes
    """Empty when the kernel has none; else whole units of 16 bytes."""
    input: bytes
    """Empty when the kernel takes none; else at least one element."""
    input_elements: int
    outputs: tuple[int, ...]
    """Bytes of each output array, in the order in which they make up the result."""


@dataclass(frozen=True, slots=True)
class Task:
    """An opened package: everything in it fits together."""

    package: Package
    kernel: Kernel

    @property
    def shares(self) -> tuple[int, ...]:
        return tuple(output.elements for output in self.package.outputs)

    def wgsl(self) -> str:
        return guarded_wgsl(self.kernel, self.package.fuel, self.shares)

    def opencl(self) -> str:
        return opencl(self.kernel, self.package.fuel, self.shares)

    def arrange(self, data: bytes, *, numbers: bool, memory_bytes: int, output_bytes: int) -> Arrangement:
        """How a chunk with this input is computed; `numbers` as in `split.is_numbers`.

        Raises:
            RemoteProtocolError: It cannot be, by the creator's fault: the chunk ends without a result.
        """
        known = parameters(data, numbers=numbers)
        invocations = evaluate(self.package.invocations, known)
        if not 1 <= invocations <= INVOCATIONS_MAX:
            raise RemoteProtocolError(f"the chunk has {invocations} invocations, 1 to {INVOCATIONS_MAX} may be")
        uniform = b"".join(
            _packed(variable, field.value, known)
            for variable, field in zip(self.kernel.uniform, self.package.uniform, strict=True)
        )
        given = data if self.kernel.input is not None else b""
        if len(given) % _WORD:
            raise RemoteProtocolError(f"the chunk's input has {len(given)} bytes, which are no whole words")
        outputs = tuple(
            _WORD * output.elements * (1 if variable.is_atomic else invocations)
            for variable, output in zip(self.kernel.outputs, self.package.outputs, strict=True)
        )
        if sum(outputs) > output_bytes:
            raise RemoteProtocolError(f"the result has {sum(outputs)} bytes, {output_bytes} may be")
        if len(uniform) + len(given) + sum(outputs) > memory_bytes:
            raise RemoteProtocolError(f"the chunk's arrays do not fit {memory_bytes} bytes of memory")
        return Arrangement(
            invocations=invocations,
            uniform=uniform + bytes(-len(uniform) % 16),
            input=given or bytes(_WORD if self.kernel.input is not None else 0),
            input_elements=len(given) // _WORD,
            outputs=outputs,
        )


def open_package(code: bytes) -> Task:
    """The task inside a code blob.

    Raises:
        ModuleRefused: It is no package, its kernel or its fallback is refused, or they do not fit together.
    """
    try:
        package = decode(code, Package)
    except RemoteProtocolError as error:
        raise ModuleRefused(str(error)) from None
    kernel = parse(package.source)
    if kernel.uses_floats:
        # Devices round and rearrange floats differently: honest votes would differ, and votes compare bytes.
        raise ModuleRefused("the kernel computes with floats, on which devices do not agree to the bit: use integers")
    _match("uniform field", kernel.uniform, package.uniform)
    _match("output", kernel.outputs, package.outputs)
    for output in package.outputs:
        if not isinstance(output.compare, Exact):
            raise ModuleRefused(f"the output {output.name} is compared with a tolerance, and votes compare bytes")
    for variable, output in zip(kernel.outputs, package.outputs, strict=True):
        if variable.is_atomic and variable.family is None:
            raise ModuleRefused(f"the atomic output {output.name} is never written")
    if package.fuel * kernel.entry.weight > WORK_MAX:
        raise ModuleRefused(
            f"an invocation may take {package.fuel} turns of {kernel.entry.weight} words: their product is at most "
            f"{WORK_MAX}"
        )
    for formula in (package.invocations, *(field.value for field in package.uniform)):
        if _FORMULA.fullmatch(formula) is None:
            raise ModuleRefused(f"{formula} is not a formula: write names and whole numbers with * and / between")
    try:
        admit(package.fallback)
    except ModuleRefused as refused:
        raise ModuleRefused(f"the fallback is refused: {refused}") from None
    return Task(package, kernel)


def _match(what: str, variables: tuple[Variable, ...], given: tuple[Field, ...] | tuple[Output, ...]) -> None:
    declared = [variable.source_name for variable in variables]
    named = [each.name for each in given]
    if declared != named:
        raise ModuleRefused(f"the kernel's {what}s are {', '.join(declared)}, the package's {', '.join(named)}")


# ---- formulas

_TERM = r"(?:-?[0-9]{1,19}|[a-z_]+)"
_FORMULA = re.compile(rf"{_TERM}(?: ?[*/] ?{_TERM})*")
_TOKEN = re.compile(rf"{_TERM}|[*/]")


def parameters(data: bytes, *, numbers: bool) -> dict[str, int]:
    """What formulas may name, of a chunk with this input."""
    if numbers and len(data) == 16:
        start, stop = struct.unpack("<2q", data)
        return {
            "start": start,
            "start_low": start & 0xFFFF_FFFF,
            "start_high": start >> 32 & 0xFFFF_FFFF,
            "stop": stop,
            "stop_low": stop & 0xFFFF_FFFF,
            "stop_high": stop >> 32 & 0xFFFF_FFFF,
            "count": stop - start,
        }
    if numbers and len(data) == 32:
        x, y, width, height = struct.unpack("<4q", data)
        return {"x": x, "y": y, "width": width, "height": height, "count": width * height}
    return {"bytes": len(data), "count": len(data) // _WORD}


def evaluate(formula: str, known: Mapping[str, int]) -> int:
    """Products and quotients from the left; a quotient is rounded up.

    Raises:
        RemoteProtocolError: A name means nothing for this chunk, or a number is divided by what is not positive.
    """
    operator, value = "*", 1
    for token in _TOKEN.findall(formula):
        if token in "*/":
            operator = token
            continue
        number = _number(token, known)
        if operator == "*":
            value *= number
        elif number <= 0:
            raise RemoteProtocolError(f"{formula} divides by {number}")
        else:
            value = -(-value // number)
    return value


def _number(token: str, known: Mapping[str, int]) -> int:
    if token[-1].isdigit():
        return int(token)
    if token not in known:
        raise RemoteProtocolError(f"{token} means nothing here: there are {', '.join(known)}")
    return known[token]


def _packed(variable: Variable, formula: str, known: Mapping[str, int]) -> bytes:
    value = evaluate(formula, known)
    low, high = (0, 2**32) if variable.type == "u32" else (-(2**31), 2**31)
    if not low <= value < high:
        raise RemoteProtocolError(f"{variable.source_name} is {value}, which does not fit {variable.type}")
    return (value & 0xFFFF_FFFF).to_bytes(_WORD, "little")
