"""Kernels by wgpu on Chromium's SwiftShader, a Vulkan device: the same bytes as by OpenCL, and hostile ones stopped."""

from __future__ import annotations

import struct
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.node.compilers import SWIFTSHADER, naga
from tests.node.damaged_kernels import DamagedKernels
from tests.node.kernel_reference import strayed
from tests.node.random_kernels import FLOAT_FUNCTIONS, FUNCTIONS, NUMBERS, FloatKernels, Kernels
from tests.node.test_gpu_executor import (
    COLLATZ,
    EXPRESSIONS,
    HOSTILE,
    RANGES,
    Machine,
    floats,
    is_near,
    kernel,
    many_floats,
    reference,
)

from crowdcompute.protocol.events import Status
from crowdcompute.protocol.gpu import CLASS_BYTES, MODULE, open_package
from crowdcompute.protocol.gpu.compare import Within
from crowdcompute.protocol.manifest import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

KERNELS, DAMAGED = 6, 100
"""Random ones. benchmarks/gpu_fuzz.py compares as many as one likes."""
CHUNK = (5, 37)
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def vulkan() -> Iterator[Machine]:
    """lavapipe would not do: it ends loops after 65,535 turns without a word."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in SWIFTSHADER.items():
            environment.setenv(name, value)
        machine = Machine("vulkan-software")
        assert "SwiftShader" in machine.pool.gpu.device, f"apt-get install chromium: {machine.pool.gpu.missing}"
        yield machine
        machine.close()


def test_a_kernel_computes_what_python_computes(vulkan: Machine) -> None:
    expected = [(Status.OK, reference(*each)) for each in RANGES]
    assert [(outcome.status, outcome.data) for outcome in vulkan.compute(COLLATZ, *RANGES)] == expected
    assert vulkan.pool.gpu.takes(sha256(COLLATZ).digest())


def test_floats_are_those_of_python_within_the_tolerance(vulkan: Machine) -> None:
    for expression, expected in EXPRESSIONS.items():
        package = floats(expression)
        (outcome,) = vulkan.compute(package, (5, 15))
        assert vulkan.pool.gpu.takes(sha256(package).digest()), expression
        assert outcome.status is Status.OK, expression
        assert is_near(outcome.data, expected), expression


def test_a_loop_of_more_turns_than_lavapipe_makes_is_made(vulkan: Machine) -> None:
    package = kernel("for (var i = 0u; i < 70000u * u32(start == 66u); i++) { out[id.x] += 1u; }", fuel=100_000)
    assert vulkan.compute(package, (66, 67))[0].data == (70_007).to_bytes(4, "little")


def test_hostile_kernels_end_without_a_result(vulkan: Machine) -> None:
    for name, (package, detail) in HOSTILE.items():
        (outcome,) = vulkan.compute(package, (66, 70))
        assert (name, outcome.status, outcome.detail) == (name, Status.NO_RESULT, detail)
    assert vulkan.compute(COLLATZ, (1, 50))[0].data == reference(1, 50)


def test_a_kernel_that_takes_too_long_is_killed_and_the_next_one_runs(vulkan: Machine) -> None:
    slow = kernel("for (var i = 0u; i < 1000000u * u32(start == 66u); i++) { out[id.x] ^= i * start; }", fuel=1_000_000)
    limits = Limits(memory_bytes=1 << 26, output_bytes=1 << 24, seconds=0.3)
    (outcome,) = vulkan.compute(slow, (66, 66 + 2**20), limits=limits)
    assert (outcome.status, outcome.detail) == (Status.NO_RESULT, "time limit 0.3 s")
    assert vulkan.compute(COLLATZ, (1, 50))[0].data == reference(1, 50)


@pytest.fixture(scope="module")
def opencl() -> Iterator[Machine]:
    machine = Machine("software")
    yield machine
    machine.close()


def test_random_kernels_end_alike_by_wgpu_and_by_opencl(vulkan: Machine, opencl: Machine) -> None:
    rng = Random(11)
    for _ in range(KERNELS):
        package = kernel(f"if (start != 0u) {{ {Kernels(rng).statements()} }}", before=FUNCTIONS, fuel=300)
        ended = vulkan.compute(package, (5, 69))
        assert vulkan.pool.gpu.takes(sha256(package).digest()), vulkan.pool.gpu.refusal(sha256(package).digest())
        assert ended == opencl.compute(package, (5, 69))


def test_floats_by_wgpu_and_by_opencl_are_of_two_classes(vulkan: Machine, opencl: Machine) -> None:
    measured = floats("x / 3.0", comparator=Within)
    classes = [each.compute(measured, (5, 15))[0].data[-CLASS_BYTES:] for each in (vulkan, vulkan, opencl)]
    assert classes[0] == classes[1] != classes[2]
    assert MODULE not in classes


@pytest.mark.parametrize("is_opaque", [True, False])
def test_random_kernels_of_floats_compute_what_wgsl_allows(vulkan: Machine, opencl: Machine, is_opaque: bool) -> None:
    statements = FloatKernels(Random(11), is_opaque=is_opaque)
    for _ in range(KERNELS // 2):
        package = many_floats(statements.statements(), FLOAT_FUNCTIONS, NUMBERS)
        for machine in (vulkan, opencl):
            (outcome,) = machine.compute(package, CHUNK)
            assert machine.pool.gpu.takes(sha256(package).digest())
            assert outcome.status is Status.OK
            assert not strayed(open_package(package), struct.pack("<2q", *CHUNK), outcome.data)


@pytest.mark.parametrize("example", ["digits", "gpu_path_trace"])
def test_an_example_of_floats_agrees_on_all_devices_with_its_fallback(
    vulkan: Machine, opencl: Machine, example: str
) -> None:
    package = (EXAMPLES / example / f"{example}.kernel").read_bytes()
    task = open_package(package)
    assert task.comparison is not None
    golden = task.package.golden[-1]
    for machine in (vulkan, opencl):
        (outcome,) = machine.execute(package, golden.input)
        assert machine.pool.gpu.takes(sha256(package).digest()), machine.pool.gpu.refusal(sha256(package).digest())
        assert task.comparison.are_close(outcome.data, golden.result)
        assert not task.comparison.are_close(outcome.data, scaled(golden.result, 1.01))


def scaled(data: bytes, factor: float) -> bytes:
    return struct.pack(f"<{len(data) // 4}f", *(factor * each for (each,) in struct.iter_unpack("<f", data)))


def test_naga_takes_what_is_a_kernel_and_what_the_guard_makes_of_it() -> None:
    texts = [text for pair in DamagedKernels(Random(5)).accepted(DAMAGED) for text in pair]
    assert [(text, why) for text, why in zip(texts, naga(texts), strict=True) if why] == []
