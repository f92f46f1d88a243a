"""The examples do what they say: their modules are the build of their sources, and agree with pure Python."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import struct
from hashlib import sha256
from itertools import permutations, product
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy
import pytest
import wasmtime

from crowdcompute.creator.build import build
from crowdcompute.creator.gpu_package import make_package
from crowdcompute.creator.task_file import read_task_file
from crowdcompute.creator.work import make_manifest, read_module
from crowdcompute.protocol.events import Status
from crowdcompute.protocol.gpu import Comparison, open_package
from crowdcompute.protocol.split import chunk_input
from crowdcompute.protocol.tally import ChunkState, Vote, tally_chunk
from crowdcompute.protocol.wasm import admit, rewrite

if TYPE_CHECKING:
    from types import ModuleType

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ["collatz", "deep_field", "deep_zoom", "path_trace", "value_at_risk", "van_der_waerden"]
GPU_NAMES = ["digits", "gpu_collatz", "gpu_path_trace"]
FLOAT_NAMES = ["digits", "gpu_path_trace"]


def load(example: str, script: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{example}_{script}", EXAMPLES / example / f"{script}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Instance:
    """One fresh instance of an example's module, called as spec/modules.md says a reactor is."""

    def __init__(self, example: str) -> None:
        engine = wasmtime.Engine()
        self._store = wasmtime.Store(engine)
        module = wasmtime.Module(engine, (EXAMPLES / example / f"{example}.wasm").read_bytes())
        exports = wasmtime.Instance(self._store, module, []).exports(self._store)
        self._exports: dict[str, Any] = {export.name: exports[export.name] for export in module.exports}
        self._exports["_initialize"](self._store)

    def run(self, data: bytes) -> bytes | None:
        """The result; None for a task error."""
        pointer = self._exports["cc_alloc"](self._store, len(data))
        self._exports["memory"].write(self._store, data, pointer)
        found = self._exports["cc_run"](self._store, pointer, len(data)) & (2**64 - 1)
        return None if found == 2**64 - 1 else self._at(found)

    def error(self) -> str:
        return self._at(self._exports["cc_error"](self._store) & (2**64 - 1)).decode()

    def _at(self, found: int) -> bytes:
        start, size = found >> 32, found & 0xFFFF_FFFF
        return bytes(self._exports["memory"].read(self._store, start, start + size))


@pytest.mark.slow  # ten seconds and more where zig has to compile its libc first
@pytest.mark.parametrize("example", NAMES)
def test_building_an_example_gives_the_committed_module(example: str, tmp_path: Path) -> None:
    source = tmp_path / "elsewhere.c"
    shutil.copy(EXAMPLES / example / "kernel.c", source)
    task = read_task_file(EXAMPLES / example)
    assert build(source, task.stack_bytes) == task.module.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("example", GPU_NAMES)
def test_building_a_gpu_example_gives_the_committed_package(example: str, tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLES / example, tmp_path / "elsewhere")
    (folder / f"{example}.kernel").unlink()
    (folder / f"{example}.wasm").unlink()
    task = read_task_file(folder)
    assert task.kernel is not None
    assert make_package(task, task.kernel) == (EXAMPLES / example / f"{example}.kernel").read_bytes()


@pytest.mark.parametrize("example", GPU_NAMES)
def test_a_gpu_example_is_a_task_whose_package_every_volunteer_admits(example: str) -> None:
    task = read_task_file(EXAMPLES / example)
    package = open_package(read_module(task))
    assert package.package.fallback == (EXAMPLES / example / f"{example}.wasm").read_bytes()
    assert make_manifest(task, read_module(task), None, created_s=0).runtime == "gpu"


@pytest.mark.parametrize("example", NAMES)
def test_an_example_is_a_task_whose_module_every_volunteer_admits(example: str) -> None:
    task = read_task_file(EXAMPLES / example)
    module = task.module.read_bytes()
    assert rewrite(module) == module
    assert admit(module).imports == ()
    manifest = make_manifest(task, read_module(task), None, created_s=0)
    result = Instance(example).run(chunk_input(manifest, manifest.chunks - 1, task.inputs))
    assert result is not None
    assert len(result) == task.limits.output_bytes or example in ("deep_field", "value_at_risk", "van_der_waerden")
    assert len(result) <= task.limits.output_bytes


@pytest.mark.parametrize("tile", [(0, 0, 8, 8), (508, 508, 8, 8), (300, 450, 3, 5), (1016, 1016, 8, 8)])
def test_a_tile_of_the_deep_zoom_is_what_python_computes(tile: tuple[int, int, int, int]) -> None:
    assert Instance("deep_zoom").run(struct.pack("<4q", *tile)) == load("deep_zoom", "reference").tile(*tile)


def test_points_inside_the_mandelbrot_set_are_zero() -> None:
    reference: Any = load("deep_zoom", "reference")
    reference.CENTER_X, reference.CENTER_Y = -1.0, 0.0
    assert reference.tile(512, 512, 1, 1) == b"\0\0"


def test_a_range_of_collatz_numbers_is_what_python_computes() -> None:
    reference = load("collatz", "reference")
    for first, end in ((0, 175), (175, 350), (6_825, 7_000), (10**15, 10**15 + 5)):
        assert Instance("collatz").run(struct.pack("<2q", first, end)) == reference.chunk(first, end)


def test_among_the_first_7000_collatz_numbers_the_first_takes_most_steps() -> None:
    assert load("collatz", "reference").steps_from(3179389980591125407167) == 2_760
    results = [Instance("collatz").run(struct.pack("<2q", first, first + 175)) for first in range(0, 7_000, 175)]
    peaks = [struct.unpack("<qQ", result or b"") for result in results]
    assert max(peaks, key=lambda peak: peak[1]) == (0, 2_760)


@pytest.mark.parametrize(
    ("example", "data", "message"),
    [
        ("collatz", struct.pack("<2q", -1, 5), "not negative"),
        ("collatz", b"12345678", "two numbers"),
        ("deep_field", struct.pack("<8I", 321, 1, 0, 0, 1, 1, 1, 1), "at most 320 x 320 pixels"),
        ("deep_zoom", struct.pack("<4q", 0, 0, 1024, 1024), "at most 16384 pixels"),
        ("deep_zoom", struct.pack("<4q", 0, 0, 0, 8), "4 numbers"),
        ("path_trace", struct.pack("<4q", 0, 0, 480, 360), "at most 3600 pixels"),
        ("value_at_risk", struct.pack("<Q4I", 0, 1, 10, 5, 3), "as many returns"),
        ("van_der_waerden", struct.pack("<3i", 0, 5, 1), "no cube"),
    ],
)
def test_an_input_out_of_bounds_is_a_task_error_with_a_text(example: str, data: bytes, message: str) -> None:
    instance = Instance(example)
    assert instance.run(data) is None
    assert message in instance.error()


def test_a_tile_of_the_deep_field_is_what_numpy_computes_on_the_whole_picture() -> None:
    example, reference = load("deep_field", "example"), load("deep_field", "reference")
    rng = numpy.random.default_rng(5)
    picture = (255 * rng.random((90, 110, 3)) ** 4).astype(numpy.uint8)
    whole = reference.restored(picture, example.blur(), 4)
    for rows, columns in ((slice(0, 30), slice(60, 110)), (slice(40, 70), slice(30, 60))):
        top, left = max(0, rows.start - 24), max(0, columns.start - 24)
        part = picture[top : rows.stop + 24, left : columns.stop + 24]
        sides = (rows.stop - rows.start, columns.stop - columns.start)
        data = example.packed(part, rows.start - top, columns.start - left, *sides, example.blur(), 4)
        assert Instance("deep_field").run(data) == whole[rows, columns].tobytes()


@pytest.mark.parametrize(("light", "celsius"), [(1000, 25), (25, -10), (600, 60)])
def test_a_solar_module_gives_the_most_that_any_voltage_does(light: float, celsius: float) -> None:
    kernel = load("solar_modules", "kernel")
    module = json.loads((EXAMPLES / "solar_modules" / "inputs" / "0000").read_text())["modules"][0]
    found = kernel.power(module, light, celsius)
    _, a_reference, _, dark_current, series, shunt, _ = module
    assert 0 < found < light * 0.5
    assert kernel.main(json.dumps({"conditions": [[light, celsius, 2]], "modules": [module]}).encode()) == [2 * found]
    if celsius == 25:  # where the formulas for other temperatures say nothing
        generated, leaks = light / 1000 * module[2], shunt * 1000 / light
        tried = []
        for step in range(20_000):
            diode = step * 0.0025
            current = generated - dark_current * math.expm1(diode / a_reference) - diode / leaks
            tried.append(current * (diode - current * series))
        assert found >= max(tried) > found * (1 - 1e-6)


@pytest.mark.parametrize(("column", "row"), [(0, 0), (240, 170), (90, 210), (320, 265), (479, 359)])
def test_a_pixel_of_the_path_tracer_is_what_python_computes(column: int, row: int) -> None:
    traced = Instance("path_trace").run(struct.pack("<4q", column, row, 1, 1))
    assert traced == load("path_trace", "reference").pixel(column, row)


def test_paths_of_the_bootstrap_are_what_python_computes() -> None:
    reference = load("value_at_risk", "reference")
    task = read_task_file(EXAMPLES / "value_at_risk")
    manifest = make_manifest(task, read_module(task), None, created_s=0)
    data = chunk_input(manifest, 3, task.inputs)
    first, paths, days, block, count = struct.unpack_from("<Q4I", data)
    returns = struct.unpack_from(f"<{count}d", data, 24)
    found = struct.unpack(f"<{paths}i", Instance("value_at_risk").run(data) or b"")
    assert list(found) == [reference.path(first + at, returns, days, block) for at in range(paths)]


def solve(clauses: list[list[int]], variables: int, cube: list[int]) -> bytes | None:
    words = [len(cube), *cube, variables, *(word for clause in clauses for word in (*clause, 0))]
    return Instance("van_der_waerden").run(struct.pack(f"<{len(words)}i", *words))


def is_model(model: bytes, clauses: list[list[int]]) -> bool:
    return all(any((literal > 0) == bool(model[abs(literal) - 1]) for literal in clause) for clause in clauses)


def test_the_solver_agrees_with_trying_every_assignment() -> None:
    rng, satisfied = Random(7), 0
    for _ in range(150):
        variables = rng.randint(3, 9)
        clauses = [
            [variable * rng.choice((1, -1)) for variable in rng.sample(range(1, variables + 1), 3)]
            for _ in range(round(variables * rng.uniform(3, 6)))
        ]
        cube = [rng.randint(1, variables) * rng.choice((1, -1))]
        every = (bytes(bits) for bits in product((0, 1), repeat=variables))
        possible = any(is_model(model, [*clauses, cube]) for model in every)
        model = solve(clauses, variables, cube)
        assert model is not None
        assert bool(model) == possible
        assert not model or is_model(model, [*clauses, cube])
        satisfied += possible
    assert 20 < satisfied < 130


def test_the_sample_of_van_der_waerden_has_a_colouring() -> None:
    task = read_task_file(EXAMPLES / "van_der_waerden")
    manifest = make_manifest(task, read_module(task), None, created_s=0)
    results = [
        Instance("van_der_waerden").run(chunk_input(manifest, chunk, task.inputs)) for chunk in range(manifest.chunks)
    ]
    # W(2; 3, 4) is 18: the numbers 1 to 17 can be coloured.
    assert manifest.chunks == 8 and None not in results and any(results)


def test_a_picture_shows_its_tiles_and_greys_what_is_missing() -> None:
    render = load("deep_zoom", "render")
    tile = struct.pack("<4096H", *([0] * 64 + [800] * (4096 - 64)))
    picture = render.render([(17, tile)])
    assert picture.size == (1024, 1024)
    assert picture.getpixel((0, 0)) == render.GREY
    assert picture.getpixel((64, 64)) == (0, 0, 0)
    assert picture.getpixel((64, 65)) not in {render.GREY, (0, 0, 0)}


def test_the_fallback_of_the_digits_is_near_what_python_computes_and_an_error_of_one_percent_is_not() -> None:
    task = read_task_file(EXAMPLES / "digits")
    comparison = open_package(read_module(task)).comparison
    assert comparison is not None
    data = (EXAMPLES / "digits" / "inputs" / "0000").read_bytes()
    result = Instance("digits").run(data)
    assert result is not None
    images = [data[at : at + 64] for at in range(44, len(data), 64)]
    classes = [images[10 * each : 10 * each + 10] for each in range(10)]
    alike = load("digits", "reference").alike
    expected = [number for image in images[100:] for number in alike(image, classes)]
    assert comparison.halved().are_close(result, struct.pack("<640f", *expected))
    for item in range(640):
        wrong = [*expected[:item], 1.01 * expected[item], *expected[item + 1 :]]
        assert not comparison.are_close(result, struct.pack("<640f", *wrong))


def test_the_fallback_of_the_path_tracer_is_near_what_python_computes() -> None:
    pixel = load("gpu_path_trace", "reference").pixel
    left, top = 64, 48
    result = Instance("gpu_path_trace").run(struct.pack("<4q", left, top, 16, 16)) or b""
    off = [
        abs(one - other)
        for column, row in ((66, 50), (70, 63), (79, 48), (64, 56), (71, 55), (77, 60))
        for one, other in zip(
            pixel(column, row),
            struct.unpack_from("<3f", result, 12 * ((row - top) * 16 + column - left)),
            strict=True,
        )
    ]
    # One path that hits here and misses there is allowed for.
    assert sum(each > 5e-5 for each in off) <= 3
    assert max(off) < 0.02


def of_floats(example: str) -> tuple[Comparison, list[float]]:
    """How an example's results are compared, and one of them."""
    task = read_task_file(EXAMPLES / example)
    package = open_package(read_module(task))
    assert package.comparison is not None
    golden = package.package.golden[0]
    return package.comparison, list(struct.unpack(f"<{len(golden.result) // 4}f", golden.result))


def packed(numbers: list[float]) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


@pytest.mark.parametrize("example", FLOAT_NAMES)
def test_no_error_of_one_percent_passes_an_examples_comparator_whichever_side_it_is_on(example: str) -> None:
    comparison, right = of_floats(example)
    assert comparison.are_close(packed(right), packed(right))
    for factor in (1.01, 0.99):
        for first, step in ((0, 1), (0, 2), (1, 3), (7, 20)):
            wrong = [factor * each if (at - first) % step == 0 else each for at, each in enumerate(right)]
            assert not comparison.are_close(packed(right), packed(wrong))
            assert not comparison.are_close(packed(wrong), packed(right))
    third = len(right) // 3
    for begin in range(0, 3 * third, third):
        wrong = [*right[:begin], *(1.01 * each for each in right[begin : begin + third]), *right[begin + third :]]
        assert not comparison.are_close(packed(right), packed(wrong))


@pytest.mark.parametrize("example", FLOAT_NAMES)
def test_votes_on_an_example_say_the_same_in_every_order_and_a_liar_of_one_percent_is_an_offender(example: str) -> None:
    comparison, right = of_floats(example)
    rng = Random(7)
    honest = [[each * (1 + rng.uniform(-2e-7, 2e-7)) for each in right] for _ in range(3)]
    lie = [1.01 * each for each in right]
    results = {bytes([Status.OK]) + sha256(packed(each)).digest(): packed(each) for each in (*honest, lie)}

    def same(_: int, one: bytes, other: bytes) -> bool:
        return comparison.is_same(one, results[one], other, results[other])

    workers = dict(zip((bytes([number]) * 32 for number in range(4)), results, strict=True))
    liar = list(workers)[-1]
    votes = [Vote(worker, value, assigned=True) for worker, value in workers.items()]
    agreed = {tally_chunk(order, 2, tainted=False, same=same) for order in permutations(votes[:3])}
    assert [(each.state, each.missing) for each in agreed] == [(ChunkState.AGREED, 0)]
    assert {tally_chunk(order, 2, tainted=False, same=same).state for order in permutations(votes)} == {
        ChunkState.DISPUTED
    }
    creators = Vote(bytes(32), next(iter(results)), trusted=True)
    settled = {tally_chunk(order, 2, tainted=False, same=same) for order in permutations([*votes, creators])}
    assert [each.offenders for each in settled] == [(liar,)]
