"""The examples do what they say: their modules are the build of their sources, and agree with pure Python."""

from __future__ import annotations

import importlib.util
import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import wasmtime

from crowdcompute.creator.build import build
from crowdcompute.creator.task_file import read_task_file
from crowdcompute.creator.work import make_manifest, read_module
from crowdcompute.protocol.split import chunk_input
from crowdcompute.protocol.wasm import admit, rewrite

if TYPE_CHECKING:
    from types import ModuleType

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ["collatz", "deep_zoom"]


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


@pytest.mark.parametrize("example", NAMES)
def test_an_example_is_a_task_whose_module_every_volunteer_admits(example: str) -> None:
    task = read_task_file(EXAMPLES / example)
    module = task.module.read_bytes()
    assert rewrite(module) == module
    assert admit(module).imports == ()
    manifest = make_manifest(task, read_module(task), None, created_s=0)
    assert len(Instance(example).run(chunk_input(manifest, manifest.chunks - 1)) or b"") == task.limits.output_bytes


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
        ("deep_zoom", struct.pack("<4q", 0, 0, 1024, 1024), "at most 16384 pixels"),
        ("deep_zoom", struct.pack("<4q", 0, 0, 0, 8), "4 numbers"),
    ],
)
def test_an_input_out_of_bounds_is_a_task_error_with_a_text(example: str, data: bytes, message: str) -> None:
    instance = Instance(example)
    assert instance.run(data) is None
    assert message in instance.error()


def test_a_picture_shows_its_tiles_and_greys_what_is_missing() -> None:
    render = load("deep_zoom", "render")
    tile = struct.pack("<4096H", *([0] * 64 + [800] * (4096 - 64)))
    picture = render.render([(17, tile)])
    assert picture.size == (1024, 1024)
    assert picture.getpixel((0, 0)) == render.GREY
    assert picture.getpixel((64, 64)) == (0, 0, 0)
    assert picture.getpixel((64, 65)) not in {render.GREY, (0, 0, 0)}
