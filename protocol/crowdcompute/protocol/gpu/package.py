"""The code blob of a GPU task (spec/gpu.md, "Package"): a kernel, how a chunk becomes its arguments, and what else is
needed to trust a device with it.

    package --open_package--> Task --arrange(input)--> Arrangement: buffers and invocations of one chunk
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from crowdcompute.protocol.codec import Bytes32, decode
from crowdcompute.protocol.errors import ModuleRefused, RemoteProtocolError
from crowdcompute.protocol.split import Part
from crowdcompute.protocol.wasm import admit

from .compare import Array, Comparator, Comparison, Exact, Within
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
COMPARED_BYTES_MAX = 262_144
"""A result that is compared as numbers: whoever counts needs those of all votes. A tile of 128 by 128 pixels."""
NOT_FINITE = "a number that is not finite"
"""Why a chunk has no result whose floats overflowed, or are none."""
_FLOAT_EXACT = 2**24
"""Whole numbers up to here are f32 numbers."""
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
    """A chunk's input, and the SHA-256 of its result: what a device has to reproduce before it may compute.

    Where results are compared as numbers, `result` is the one the fallback has; else it is empty.
    """

    input: Annotated[bytes, Meta(max_length=65_536)]
    sha256: Bytes32
    result: Annotated[bytes, Meta(max_length=COMPARED_BYTES_MAX)]


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
    comparison: Comparison | None
    """How results are compared; None: by their bytes."""

    @property
    def shares(self) -> tuple[int, ...]:
        return tuple(output.elements for output in self.package.outputs)

    def wgsl(self) -> str:
        return guarded_wgsl(self.kernel, self.package.fuel, self.shares)

    def opencl(self) -> str:
        return opencl(self.kernel, self.package.fuel, self.shares)

    def is_result(self, data: bytes) -> bool:
        """Whether what a device has computed may be voted for: a float that is no finite number may not."""
        return self.comparison is None or self.comparison.are_arrays(data)

    def proves(self, golden: Golden, data: bytes) -> bool:
        """Whether a device that makes this of a golden vector computes the task.

        Floats may differ by half of what votes may: two devices that pass agree with each other as well.
        """
        if sha256(data).digest() == golden.sha256:
            return True
        return self.comparison is not None and self.comparison.halved().are_near(golden.result, data)

    def difference(self, golden: Golden, data: bytes) -> str:
        """What a device has made of a golden vector that does not prove itself by it, in words before that vector's."""
        if self.comparison is None or len(data) != len(golden.result):
            return "something else than"
        return f"up to {self.comparison.farthest(golden.result, data):.3g} beside, which is not half of the tolerance:"

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
        allowed = output_bytes if self.comparison is None else min(output_bytes, COMPARED_BYTES_MAX)
        if sum(outputs) > allowed:
            raise RemoteProtocolError(f"the result has {sum(outputs)} bytes, {allowed} may be")
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
    package = _decoded(code)
    kernel = parse(package.source)
    _match("uniform field", kernel.uniform, package.uniform)
    _match("output", kernel.outputs, package.outputs)
    _check_outputs(kernel, package)
    comparison = comparison_of(package)
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
    for golden in package.golden:
        if comparison is None and golden.result:
            raise ModuleRefused("a golden vector holds a result, and results are compared by their bytes")
        if comparison is not None and not (
            comparison.are_arrays(golden.result) and sha256(golden.result).digest() == golden.sha256
        ):
            raise ModuleRefused("a golden vector does not hold its result, with which devices' are compared")
    try:
        admit(package.fallback)
    except ModuleRefused as refused:
        raise ModuleRefused(f"the fallback is refused: {refused}") from None
    return Task(package, kernel, comparison)


def _decoded(code: bytes) -> Package:
    try:
        return decode(code, Package)
    except RemoteProtocolError as error:
        raise ModuleRefused(str(error)) from None


def comparison_of(package: Package) -> Comparison | None:
    """How results are compared; None: by their bytes."""
    if all(isinstance(output.compare, Exact) for output in package.outputs):
        return None
    return Comparison(tuple(Array(output.elements, output.compare) for output in package.outputs))


def read_comparison(code: bytes) -> Comparison | None:
    """`comparison_of` a code blob that was opened before it was signed, or else that nobody computes.

    Raises:
        ModuleRefused: It is no package.
    """
    return comparison_of(_decoded(code))


def _check_outputs(kernel: Kernel, package: Package) -> None:
    """Devices round and rearrange floats differently: honest results of floats differ, and so do integers made of them.

    So each number that comes out of floats is one, and comes with a tolerance.
    """
    within = [isinstance(output.compare, Within) for output in package.outputs]
    if any(within) and not all(within):
        raise ModuleRefused("either every output is compared within classes of devices or none is")
    for variable, output in zip(kernel.outputs, package.outputs, strict=True):
        is_exact = isinstance(output.compare, Exact)
        if variable.type != "f32" and not is_exact:
            raise ModuleRefused(f"the output {output.name} holds integers, which are compared exactly")
        if variable.type != "f32" and kernel.uses_floats:
            raise ModuleRefused(
                f"the output {output.name} holds integers of a kernel with floats, on which devices do not agree to "
                "the bit: put the floats out"
            )
        if variable.type == "f32" and is_exact:
            raise ModuleRefused(
                f"the output {output.name} holds floats, on which devices do not agree to the bit: give a tolerance"
            )


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
    if variable.type == "f32":
        if abs(value) > _FLOAT_EXACT:
            raise RemoteProtocolError(f"{variable.source_name} is {value}, which does not fit f32")
        return struct.pack("<f", value)
    low, high = (0, 2**32) if variable.type == "u32" else (-(2**31), 2**31)
    if not low <= value < high:
        raise RemoteProtocolError(f"{variable.source_name} is {value}, which does not fit {variable.type}")
    return (value & 0xFFFF_FFFF).to_bytes(_WORD, "little")
