"""What task.toml says about results: put together in one file, and an end at the first solution."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

import pytest
import wasmtime
from PIL import Image

from crowdcompute.creator import Task, ThisMachine
from crowdcompute.creator.cli import main
from crowdcompute.creator.plan import Plan, assemble
from crowdcompute.creator.task_file import TaskFileError, read_task_file
from crowdcompute.node.exits import CommandError
from crowdcompute.protocol.split import Grid, Range

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RANGE = Range(0, 4, 1)


def put(plan: Plan, results: Mapping[int, bytes], folder: Path, split: Range | Grid = RANGE) -> Path:
    path = asyncio.run(assemble(plan, split, results, folder))
    assert path is not None
    return path


def js_task(folder: Path, source: str, more: str) -> Path:
    folder.mkdir()
    (folder / "kernel.js").write_text(source)
    (folder / "task.toml").write_text(
        'schema = 1\nname = "Plan"\n[code]\nruntime = "js"\nmodule = "kernel.js"\n' + more
    )
    return folder


def test_results_are_joined_in_the_order_of_their_chunks(tmp_path: Path) -> None:
    assert put(Plan(how="concat", file="all"), {2: b"c", 0: b"a"}, tmp_path).read_bytes() == b"ac"
    lines = put(Plan(how="ndjson", file="all.ndjson"), {1: b"[2]", 0: b'{"a":1}'}, tmp_path)
    assert lines.read_text() == '{"a":1}\n[2]\n'
    with pytest.raises(CommandError, match="chunk 3 is no JSON"):
        put(Plan(how="ndjson", file="x"), {3: b"\xff"}, tmp_path)
    assert asyncio.run(assemble(Plan(), RANGE, {0: b"a"}, tmp_path)) is None


def test_tiles_become_a_picture_and_missing_ones_stay_grey(tmp_path: Path) -> None:
    split = Grid(5, 3, 2, 2)
    tiles = {0: bytes((255, 0, 0)) * 4, 2: bytes((0, 255, 0)) * 2, 5: bytes((0, 0, 255))}
    with Image.open(put(Plan(how="png tiles", file="p.png"), tiles, tmp_path, split)) as picture:
        assert picture.size == (5, 3)
        assert [picture.getpixel(at) for at in ((1, 1), (4, 0), (4, 2), (2, 0))] == [
            (255, 0, 0),
            (0, 255, 0),
            (0, 0, 255),
            (40, 40, 40),
        ]
    with pytest.raises(CommandError, match="chunk 5 has 4 bytes, and a tile of 1 x 1 grey pixels has 1"):
        put(Plan(how="png tiles", file="p.png", pixels="grey"), {5: b"1234"}, tmp_path, split)


SUM = """(module (memory (export "memory") 1)
  (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "cc_run") (param $in i32) (param $size i32) (result i64) (local $i i32) (local $sum i64) (local $at i32)
    ;; u32 count, then a u64 end for each, then the results, eight bytes each
    (local.set $at (i32.add (local.get $in) (i32.add (i32.const 4) (i32.mul (i32.load (local.get $in)) (i32.const 8)))))
    (loop $next
      (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $at) (i32.add (local.get $in) (local.get $size)))))
    (i64.store (i32.const 8) (local.get $sum))
    (i64.const 0x800000008)))"""


def test_a_reducer_gets_all_results_in_the_sandbox(tmp_path: Path) -> None:
    module = bytes(wasmtime.wat2wasm(SUM))
    results = {chunk: struct.pack("<q", 10**chunk) for chunk in range(4)}
    reduced = put(Plan(how="reducer", file="sum", code=module), results, tmp_path)
    assert struct.unpack("<q", reduced.read_bytes()) == (1111,)
    source = b"export default (_, stdin) => JSON.parse(new TextDecoder().decode(stdin)).reduce((a, b) => a + b);"
    script = Plan(how="reducer", file="sum.json", runtime="js", code=source)
    assert put(script, {0: b"3", 2: b"4"}, tmp_path).read_bytes() == b"7"
    with pytest.raises(CommandError, match="the reducer gave task error"):
        put(script, {0: b"3", 1: b"oops"}, tmp_path)


def test_run_puts_results_together_and_stops_at_the_first_solution(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = "[split]\nrange = [0, 4000, 1]\n"
    source = "export default ([n]) => (n === 2 ? { n } : null);\n"
    folder = js_task(
        tmp_path / "search", source, f'{split}[publish]\nstop = "first solution"\n[assemble]\nas = "ndjson"\n'
    )
    out = tmp_path / "out"
    assert main(["run", "--local", str(folder), "-o", str(out), "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "stopped at the first solution" in said
    lines = (out / "result.ndjson").read_text().splitlines()
    assert '{"n":2}' in lines and len(lines) < 4000
    with ThisMachine(1) as machine:
        job = machine.publish(Task(folder))
        assert job.wait(60) is None
        states = [result.status for result in job.results(ordered=True)]
        assert states[2] == "ok" and "failed" in states
        job.export(tmp_path / "exported")
    assert (tmp_path / "exported" / "result.ndjson").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('[assemble]\nas = "png tiles"\n', "png tiles are for a `grid` split"),
        ('[assemble]\nas = "reducer"\n', "assemble.module"),
        ('[assemble]\nas = "concat"\nfile = "../x"\n', "without a folder"),
        ('[assemble]\nhow = "concat"\n', "no key 'how' in"),
        ('[publish]\nstop = "soon"\n', "publish.stop"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(more: str, message: str, tmp_path: Path) -> None:
    folder = js_task(tmp_path / "t", "export default () => 1;\n", "[split]\nrange = [0, 4, 1]\n" + more)
    with pytest.raises(TaskFileError, match=message):
        read_task_file(folder)
