"""Kernels on this machine: pocl plays the GPU, and modules stand in where there is none; and what hostile ones get."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import math
import os
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import wasmtime

from crowdcompute.node.executors.pool import WorkerPool
from crowdcompute.protocol.codec import decode, encode
from crowdcompute.protocol.events import ChunkInput, ChunkOutcome, Status
from crowdcompute.protocol.gpu import CLASS_BYTES, MODULE, Golden, Package, probe
from crowdcompute.protocol.gpu.compare import Exact, Tolerance, Within
from crowdcompute.protocol.gpu.package import Field, Output
from crowdcompute.protocol.manifest import Limits
from crowdcompute.protocol.wasm import rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from crowdcompute.node.executors.gpu import GpuChoice

EXAMPLE = Path(__file__).parents[2] / "examples" / "gpu_collatz"
COLLATZ = (EXAMPLE / "gpu_collatz.kernel").read_bytes()
LIMITS = Limits(memory_bytes=1 << 26, output_bytes=1 << 24, seconds=30)


class Machine:
    """A worker pool that lives as long as the tests of this file: a driver takes seconds to start."""

    def __init__(self, gpu: GpuChoice) -> None:
        self._runner = asyncio.Runner()
        self.pool = self._runner.run(self._start(gpu))
        self.most_running = 0
        """How many jobs ran when one of several had ended and others waited."""

    async def _start(self, gpu: GpuChoice) -> WorkerPool:
        pool = WorkerPool(1, gpu=gpu)
        await pool.start()
        return pool

    def close(self) -> None:
        self._runner.run(self.pool.close())
        self._runner.close()

    def compute(self, package: bytes, *ranges: tuple[int, int], limits: Limits = LIMITS) -> tuple[ChunkOutcome, ...]:
        return self.execute(package, *(struct.pack("<2q", *each) for each in ranges), limits=limits)

    def compute_at_once(self, package: bytes, ranges: Sequence[tuple[int, int]]) -> tuple[list[bytes], list[bytes]]:
        """The results of one job after another, and of all of them at the same time."""
        alone = [self.compute(package, each)[0].data for each in ranges]
        digest = hashlib.sha256(package).digest()

        async def one(number: int, first: int, last: int) -> bytes:
            chunk = ChunkInput(number, struct.pack("<2q", first, last), 0)
            (outcome,) = await self.pool.execute(digest, package, LIMITS, True, [chunk], "gpu")  # noqa: FBT003
            self.most_running = max(self.most_running, self.pool.describe().running)
            return outcome.data

        async def all_of_them() -> list[bytes]:
            return await asyncio.gather(*(one(number, *each) for number, each in enumerate(ranges)))

        return alone, self._runner.run(all_of_them())

    def execute(self, package: bytes, *inputs: bytes, limits: Limits = LIMITS) -> tuple[ChunkOutcome, ...]:
        chunks = [ChunkInput(number, data, 0) for number, data in enumerate(inputs)]
        digest = hashlib.sha256(package).digest()
        return self._runner.run(self.pool.execute(digest, package, limits, True, chunks, "gpu"))  # noqa: FBT003


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    machine = Machine("software")
    assert machine.pool.gpu.device, f"apt-get install pocl-opencl-icd binutils: {machine.pool.gpu.missing}"
    yield machine
    machine.close()


@pytest.fixture(scope="module")
def plain_machine() -> Iterator[Machine]:
    machine = Machine("off")
    yield machine
    machine.close()


def returning(word: int) -> bytes:
    """A fallback whose result is one word."""
    return rewrite(
        bytes(
            wasmtime.wat2wasm(f"""(module (memory (export "memory") 1)
                (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
                (func (export "cc_run") (param i32 i32) (result i64)
                    (i32.store (i32.const 0) (i32.const {word})) (i64.const 4)))""")
        )
    )


def kernel(statements: str, *, before: str = "", fuel: int = 1_000, **fields: Any) -> bytes:
    """A package whose golden vector, of the range 0 to 1, is the word 7; `statements` see `start` and `out`."""
    source = f"""
        struct Chunk {{ start: u32, count: u32 }}
        @group(0) @binding(0) var<uniform> chunk: Chunk;
        @group(0) @binding(1) var<storage, read_write> out: array<u32>;
        {before}
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {{
            let start = chunk.start;
            out[id.x] = 7u;
            {statements}
        }}"""
    return encode(
        Package(
            **{
                "schema": 1,
                "source": source.encode(),
                "uniform": (Field(name="start", value="start"), Field(name="count", value="count")),
                "invocations": "count",
                "outputs": (Output(name="out", elements=1, compare=Exact()),),
                "fuel": fuel,
                "golden": (
                    Golden(
                        input=struct.pack("<2q", 0, 1), sha256=hashlib.sha256(struct.pack("<I", 7)).digest(), result=b""
                    ),
                ),
                "fallback": returning(7),
                **fields,
            }
        )
    )


def floats(expression: str, absolute: float = 1e-3, comparator: type[Tolerance] | type[Within] = Tolerance) -> bytes:
    """A package of floats: 7.0 for the golden vector, for all else `expression` of `x`, the invocation."""
    seven = struct.pack("<f", 7.0)
    body = f"let x = f32(id.x); if (start != 0u) {{ out[id.x] = {expression}; }}"
    source = decode(kernel(body), Package).source.replace(b"array<u32>", b"array<f32>").replace(b"7u", b"7.0")
    near = comparator(absolute=absolute, relative=0.0, outliers=0.0)
    return kernel(
        "",
        source=source,
        outputs=(Output(name="out", elements=1, compare=near),),
        golden=(Golden(input=struct.pack("<2q", 0, 1), sha256=hashlib.sha256(seven).digest(), result=seven),),
        fallback=returning(int.from_bytes(seven, "little")),
    )


def many_floats(statements: str, before: str, elements: int) -> bytes:
    """A package whose invocations put out `elements` floats each: 7.0 for the golden vector, else what is computed."""
    seven = struct.pack("<f", 7.0) * elements
    filled = f"for (var i = 0u; i < {elements}u; i++) {{ out[{elements}u * id.x + i] = 7.0; }}"
    source = decode(kernel(f"if (start != 0u) {{ {statements} }}", before=before), Package).source
    return kernel(
        "",
        source=source.replace(b"array<u32>", b"array<f32>").replace(b"out[id.x] = 7u;", filled.encode()),
        outputs=(Output(name="out", elements=elements, compare=Tolerance(absolute=1e30, relative=0.0, outliers=0.0)),),
        golden=(Golden(input=struct.pack("<2q", 0, 1), sha256=hashlib.sha256(seven).digest(), result=seven),),
    )


EXPRESSIONS: dict[str, Callable[[float], float]] = {
    "x / 3.0 + sqrt(x)": lambda x: x / 3 + math.sqrt(x),
    "sin(x) * cos(x)": lambda x: math.sin(x) * math.cos(x),
    "exp(-x) + log(x + 1.0)": lambda x: math.exp(-x) + math.log(x + 1),
    "fract(x * 0.3) + floor(x * 0.3) + round(x * 0.5)": lambda x: x * 0.3 + round(x * 0.5),
    "pow(x + 1.0, 0.25) + atan2(x, 2.0)": lambda x: (x + 1) ** 0.25 + math.atan2(x, 2),
    "f32(u32(x * 1.5)) - f32(i32(-x * 1.5)) + max(x, 3.0) - min(x, 3.0)": (
        lambda x: 2 * int(x * 1.5) + max(x, 3) - min(x, 3)
    ),
    "select(1.5, -abs(x - 4.5), x < 5.0) + sign(x - 3.0) * inverseSqrt(x + 1.0)": (
        lambda x: (-abs(x - 4.5) if x < 5 else 1.5) + ((x > 3) - (x < 3)) / math.sqrt(x + 1)
    ),
}


def probing() -> bytes:
    """The probe of classes as a task of its own, which no fallback computes: its tolerance is any."""
    package = probe().package
    anything = struct.pack("<32768f", *[0.0] * 32_768)
    golden = Golden(input=struct.pack("<2q", 0, 1), sha256=hashlib.sha256(anything).digest(), result=anything)
    seed = (Field(name="seed", value="24301"),)
    return encode(msgspec.structs.replace(package, golden=(golden,), uniform=seed, fallback=returning(7)))


def is_near(data: bytes, expected: Callable[[float], float]) -> bool:
    """Whether the floats of invocations 0, 1, 2 and so on are those."""
    found = struct.unpack(f"<{len(data) // 4}f", data)
    return all(abs(number - expected(float(x))) < 1e-3 for x, number in enumerate(found))


def reference(first: int, end: int) -> bytes:
    spec = importlib.util.spec_from_file_location("gpu_collatz_reference", EXAMPLE / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: bytes = module.chunk(first, end)
    return found


RANGES = [(1, 1_000), (0, 1), (837_799, 837_816), (2**32 - 100, 2**32 + 100), (2**63 - 40, 2**63 - 1)]


def test_a_kernel_and_its_fallback_compute_what_python_computes(machine: Machine, plain_machine: Machine) -> None:
    expected = [(Status.OK, reference(*each)) for each in RANGES]
    assert [(outcome.status, outcome.data) for outcome in machine.compute(COLLATZ, *RANGES)] == expected
    assert machine.pool.gpu.takes(hashlib.sha256(COLLATZ).digest())
    assert [(outcome.status, outcome.data) for outcome in plain_machine.compute(COLLATZ, *RANGES)] == expected


def test_a_chunk_of_many_dispatches_is_the_same_as_its_fallback(machine: Machine, plain_machine: Machine) -> None:
    chunk = (10**12, 10**12 + 2**18)
    assert machine.compute(COLLATZ, chunk) == plain_machine.compute(COLLATZ, chunk)


def test_floats_are_those_of_python_within_the_tolerance(machine: Machine) -> None:
    for expression, expected in EXPRESSIONS.items():
        package = floats(expression)
        (outcome,) = machine.compute(package, (5, 15))
        assert machine.pool.gpu.takes(hashlib.sha256(package).digest()), expression
        assert (outcome.status, len(outcome.data)) == (Status.OK, 40), expression
        assert is_near(outcome.data, expected), (expression, struct.unpack("<10f", outcome.data))


def test_each_result_ends_with_the_class_of_what_computed_it(machine: Machine, plain_machine: Machine) -> None:
    one, other = floats("x / 3.0", comparator=Within), floats("x / 7.0", comparator=Within)
    device, again = machine.compute(one, (5, 15), (6, 9))
    assert machine.pool.gpu.takes(hashlib.sha256(one).digest()), machine.pool.gpu.refusal(hashlib.sha256(one).digest())
    assert len(device.data) == 10 * 4 + CLASS_BYTES
    assert device.data[-CLASS_BYTES:] == again.data[-CLASS_BYTES:] != MODULE
    (elsewhere,) = machine.compute(other, (5, 15))
    assert elsewhere.data[-CLASS_BYTES:] == device.data[-CLASS_BYTES:], (
        "golden vectors that come out alike say nothing more"
    )
    (module,) = plain_machine.compute(one, (0, 1))
    assert module.data == struct.pack("<f", 7.0) + MODULE


def test_the_probe_is_finite_and_no_two_of_its_operations_are_alike(machine: Machine) -> None:
    (outcome,) = machine.compute(probing(), (0, 1))
    numbers = struct.unpack(f"<{len(outcome.data) // 4}f", outcome.data)
    columns = [numbers[place::32] for place in range(32)]
    assert all(len(set(column)) > 100 for column in columns)


def test_a_float_that_is_none_ends_a_chunk_without_a_result(machine: Machine) -> None:
    (outcome,) = machine.compute(floats("1.0 / (x - 3.0)"), (5, 15))
    assert (outcome.status, outcome.detail) == (Status.NO_RESULT, "a number that is not finite")


def test_a_device_that_computes_something_else_is_not_used(machine: Machine) -> None:
    package = kernel("out[id.x] = 8u;")
    (outcome,) = machine.compute(package, (5, 6))
    assert (outcome.status, outcome.data) == (Status.OK, struct.pack("<I", 7))
    assert not machine.pool.gpu.takes(hashlib.sha256(package).digest())


def test_a_fallback_that_computes_something_else_is_refused(plain_machine: Machine) -> None:
    (outcome,) = plain_machine.compute(kernel("", fallback=returning(8)), (5, 6))
    assert outcome.status is Status.NO_RESULT
    assert outcome.detail == "module refused: its fallback does not reproduce golden vector 0"


def test_a_fallback_whose_result_no_kernel_could_have_gives_none(plain_machine: Machine) -> None:
    (outcome,) = plain_machine.compute(kernel(""), (5, 7))
    assert (outcome.status, outcome.detail) == (Status.NO_RESULT, "the fallback's result has 4 bytes, a kernel's 8")


def test_what_is_no_package_is_refused(machine: Machine) -> None:
    (outcome,) = machine.compute(b"\x80", (0, 1))
    assert outcome.detail.startswith("module refused: not a valid Package")


HOSTILE = {
    "an endless loop": (kernel("if (start == 66u) { loop { if (start == 67u) { break; } } }"), "fuel limit"),
    "an endless while": (kernel("while (start == 66u) { continue; }"), "fuel limit"),
    "endless loops in loops": (
        kernel("while (start == 66u) { while (start == 66u) { for (; start == 66u; ) { } } }"),
        "fuel limit",
    ),
    "an endless loop in a function": (
        kernel("f(start);", before="fn f(x: u32) { for (var i = 0u; x == 66u; i++) { } }"),
        "fuel limit",
    ),
    "writing the next element": (kernel("out[id.x + u32(start == 66u)] = 7u;"), "an index out of bounds"),
    "writing far away": (kernel("out[id.x + select(0u, 0x3fffffffu, start == 66u)] = 7u;"), "an index out of bounds"),
    "writing before the array": (kernel("out[i32(id.x) - i32(start)] = 7u;"), "an index out of bounds"),
    "reading another's element": (
        kernel("if (start == 66u) { out[id.x] = out[id.x + 1u]; }"),
        "an index out of bounds",
    ),
    "reading beyond a private array": (
        kernel("var a: array<u32, 4>; out[id.x] += a[start];"),
        "an index out of bounds",
    ),
    "reading beyond a table": (
        kernel("out[id.x] += T[start] - 1u;", before="const T = array<u32, 2>(1u, 1u);"),
        "an index out of bounds",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_kernel_ends_without_a_result(machine: Machine, name: str) -> None:
    package, detail = HOSTILE[name]
    outcomes = machine.compute(package, (66, 70))
    assert [outcome.status for outcome in outcomes] == [Status.NO_RESULT]
    assert detail in outcomes[0].detail


def test_a_kernel_that_takes_too_long_is_killed_and_the_next_one_runs(machine: Machine) -> None:
    slow = kernel("for (var i = 0u; i < 1000000u * u32(start == 66u); i++) { out[id.x] ^= i * start; }", fuel=1_000_000)
    limits = Limits(memory_bytes=1 << 26, output_bytes=1 << 24, seconds=0.3)
    outcomes = machine.compute(slow, (66, 66 + 2**20), (0, 1), limits=limits)
    assert [(outcome.status, outcome.detail) for outcome in outcomes] == [
        (Status.NO_RESULT, "time limit 0.3 s"),
        (Status.OK, ""),
    ]
    assert machine.pool.gpu.takes(hashlib.sha256(slow).digest())
    assert machine.compute(COLLATZ, (1, 50))[0].data == reference(1, 50)


@pytest.fixture
def two_devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """One processor that plays two devices."""
    monkeypatch.setenv("POCL_DEVICES", "pthread basic")
    machine = Machine("software")
    yield machine
    machine.close()


def test_each_device_has_a_worker_and_they_share_what_is_queued(two_devices: Machine) -> None:
    assert sorted(name.split("-")[0] for name in two_devices.pool.gpu.devices) == ["basic", "pthread"]
    slow = kernel("for (var i = 0u; i < 4000u; i++) { out[id.x] ^= i * start; } out[id.x] = 7u;", fuel=5_000)
    alone, at_once = two_devices.compute_at_once(slow, [(number, number + 2**14) for number in range(1, 9)])
    assert alone == at_once == [struct.pack("<I", 7) * 2**14] * 8
    assert two_devices.most_running == 2


def test_when_a_device_is_lost_the_other_one_goes_on(two_devices: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    two_devices.compute(COLLATZ, (1, 50))
    # A driver that is gone: whoever starts anew sees one device.
    monkeypatch.setenv("POCL_DEVICES", "pthread")
    for pid in two_devices.pool.describe().pids:
        os.kill(pid, signal.SIGKILL)
    alone, at_once = two_devices.compute_at_once(COLLATZ, [(number, number + 50) for number in range(1, 9)])
    assert alone == at_once == [reference(number, number + 50) for number in range(1, 9)]
    assert [name.split("-")[0] for name in two_devices.pool.gpu.devices] == ["pthread"]


def test_memory_is_empty_before_a_kernel_sees_it(machine: Machine) -> None:
    filler = kernel(
        "for (var i = 0u; i < 64u; i++) { a[i] = 0xdeadbeefu; } out[id.x] = a[id.x % 64u] % 1u + 7u;",
        before="var<private> a: array<u32, 64>;",
    )
    machine.compute(filler, (1, 4_097))
    words = struct.pack("<I", 7) * 64
    reader = kernel(
        "for (var i = 0u; i < 64u; i++) { out[id.x] |= a[i]; }  workgroupBarrier(); out[id.x] |= s[local.x];",
        before="var<private> a: array<u32, 64>;\nvar<workgroup> s: array<u32, 64>;",
        invocations="64",
        golden=(Golden(input=struct.pack("<2q", 0, 1), sha256=hashlib.sha256(words).digest(), result=b""),),
    )
    (outcome,) = machine.compute(reader, (1, 65))
    assert outcome.data == words
