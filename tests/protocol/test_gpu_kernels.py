"""Kernels that are anything: each is one or is refused; and comparators, which must not depend on an order."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crowdcompute.protocol.errors import ModuleRefused
from crowdcompute.protocol.gpu import open_package, parse
from crowdcompute.protocol.gpu.compare import Array, Comparator, Comparison, Tolerance, Ulp
from crowdcompute.protocol.gpu.opencl import opencl
from crowdcompute.protocol.gpu.wgsl import guarded_wgsl

KERNELS = [path.read_bytes() for path in sorted((Path(__file__).parent / "kernels").glob("*.wgsl"))]
WORDS = [
    *(b"{ } ( ) [ ] < > ; , . @ & = + - * / % << >> ! ~ if else for while loop switch case default break".split()),
    *(b"return var let const fn struct array atomic u32 i32 f32 bool vec3 0u 4294967295u -1 1e39 true select".split()),
    *(b"workgroupBarrier() atomicAdd(&counts[0],1) storage private workgroup continue main out id.x".split()),
]


def taken(source: bytes) -> bool:
    """Whether a source is a kernel, which then can be printed in every language."""
    try:
        kernel = parse(source)
    except ModuleRefused:
        return False
    shares = (1,) * len(kernel.outputs)
    assert guarded_wgsl(kernel, 10, shares).count("{") == guarded_wgsl(kernel, 10, shares).count("}")
    assert opencl(kernel, 10, shares).count("(") == opencl(kernel, 10, shares).count(")")
    return True


@given(st.binary(max_size=200))
def test_any_bytes_are_a_kernel_or_refused(data: bytes) -> None:
    taken(data)
    with pytest.raises(ModuleRefused):
        open_package(data)


@given(st.lists(st.sampled_from(WORDS), max_size=60))
def test_any_words_are_a_kernel_or_refused(words: list[bytes]) -> None:
    taken(b" ".join(words))
    taken(KERNELS[0].rpartition(b"}")[0] + b" ".join(words) + b"}")


@given(st.sampled_from(KERNELS), st.data())
def test_a_damaged_kernel_is_a_kernel_or_refused(kernel: bytes, data: st.DataObject) -> None:
    source = bytearray(kernel)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(source) - 1))
        match data.draw(st.sampled_from(["insert", "delete", "cut", "copy"])):
            case "insert":
                source[position:position] = b" " + data.draw(st.sampled_from(WORDS)) + b" "
            case "delete":
                del source[position : position + data.draw(st.integers(1, 20))]
            case "copy":
                source[position:position] = source[: data.draw(st.integers(1, 300))]
            case _:
                del source[position:]
        if not source:
            break
    taken(bytes(source))


def test_the_kernels_that_are_damaged_are_kernels() -> None:
    assert len(KERNELS) == 3
    assert all(map(taken, KERNELS))


FLOATS = st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3).map(lambda each: struct.pack("<3f", *each))
COMPARATORS: list[Comparator] = [
    Ulp(steps=4, absolute=0.0),
    Ulp(steps=1, absolute=1e-3),
    Tolerance(absolute=1e-3, relative=1e-5, outliers=0.0),
    Tolerance(absolute=0.0, relative=0.5, outliers=0.34),
]


@given(st.sampled_from(COMPARATORS), FLOATS, FLOATS)
def test_comparators_are_symmetric_and_take_what_is_the_same(comparator: Comparator, left: bytes, right: bytes) -> None:
    comparison = Comparison((Array(1, comparator),))
    assert comparison.are_close(left, right) == comparison.are_close(right, left)
    assert comparison.are_close(left, left)


@given(st.sampled_from(COMPARATORS[:3]), FLOATS, FLOATS, FLOATS)
def test_two_devices_that_prove_themselves_agree(
    comparator: Comparator, reference: bytes, one: bytes, other: bytes
) -> None:
    comparison = Comparison((Array(1, comparator),))
    half = comparison.halved()
    # Halves of what is relative, or counted in steps, add up to all of it but for what a larger number allows more.
    assume(not isinstance(comparator, Ulp) or comparator.absolute == 0.0)
    assume(not isinstance(comparator, Tolerance) or comparator.relative == 0.0)
    if half.are_close(reference, one) and half.are_close(reference, other):
        assert comparison.are_close(one, other)


@pytest.mark.parametrize("comparator", [COMPARATORS[0], COMPARATORS[2]])
@given(st.floats(1.0, 1e6, width=32))
def test_an_error_of_one_percent_is_not_the_same_result(comparator: Comparator, value: float) -> None:
    left, right = struct.pack("<f", value), struct.pack("<f", value * 1.01)
    assert not Comparison((Array(1, comparator),)).are_close(left, right)
