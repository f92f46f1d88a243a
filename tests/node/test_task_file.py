from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.creator.task_file import (
    BlocksTable,
    CodeTable,
    GpuTable,
    GridTable,
    LimitsTable,
    LinesTable,
    PublishTable,
    ResultsTable,
    SplitTable,
    TaskFileError,
    TaskTable,
    VerifyTable,
    read_task_file,
)
from crowdcompute.protocol.manifest import Blocks, Grid, Items, Limits, Lines, Policy, Range
from crowdcompute.protocol.split import pack_items

DOCS = Path(__file__).parents[2] / "docs" / "task-toml.md"
HEAD = 'schema = 1\nname = "Squares"\n'
CODE = '[code]\nmodule = "kernel.wasm"\n'
SPLIT = "[split]\nrange = [0, 10, 4]\n"


def write(folder: Path, text: str) -> Path:
    (folder / "task.toml").write_text(text, encoding="utf-8")
    return folder


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(TaskFileError) as error:
        read_task_file(write(folder, text))
    assert error.value.exit_code == 2
    assert "task.toml" in str(error.value)
    return str(error.value)


def test_a_short_task_file_gets_the_documented_defaults(tmp_path: Path) -> None:
    task = read_task_file(write(tmp_path, HEAD + CODE + SPLIT))
    assert task.split == Range(start=0, stop=10, step=4)
    assert task.limits == Limits(memory_bytes=64 * 2**20, output_bytes=2**20, seconds=60.0)
    assert task.policy == Policy(replication=2, eps=1e-4, liars=0.2, pow_bits=16)
    assert (task.reward, task.lifetime_s, task.stack_bytes) == (1, 7 * 86_400, 2**20)
    assert (task.module, task.source, task.inputs) == (tmp_path / "kernel.wasm", None, None)


def test_every_key_can_be_said(tmp_path: Path) -> None:
    text = """
        schema = 1
        name = "Squares"
        description = "Of numbers"
        link = "https://example.org"
        [code]
        module = "build/kernel.wasm"
        source = "kernel.c"
        stack = 65536
        [split]
        grid = { width = 100, height = 50, tile = [10, 5] }
        [limits]
        memory = "1.5 MiB"
        output = "2kB"
        seconds = 3
        [verify]
        replication = 1
        eps = 0.5
        liars = 0
        pow_bits = 3
        [publish]
        reward = 4
        expires = "90m"
    """
    task = read_task_file(write(tmp_path, text))
    assert task.split == Grid(width=100, height=50, tile_width=10, tile_height=5)
    assert task.limits == Limits(memory_bytes=3 * 2**19, output_bytes=2_000, seconds=3.0)
    assert task.policy == Policy(replication=1, eps=0.5, liars=0.0, pow_bits=3)
    assert (task.reward, task.lifetime_s, task.stack_bytes) == (4, 5_400, 65_536)


def test_inputs_are_read_and_items_are_the_files_of_a_folder_by_name(tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    for name, content in (("b", b"second"), ("a", b"first"), (".hidden", b"no")):
        (tmp_path / "inputs" / name).write_bytes(content)
    (tmp_path / "data").write_bytes(b"1\n2\n3\n")
    items = read_task_file(write(tmp_path, HEAD + CODE + '[split]\nitems = "inputs"\n'))
    assert (items.split, items.inputs) == (Items(), pack_items([b"first", b"second"]))
    lines = read_task_file(write(tmp_path, HEAD + CODE + '[split]\nlines = { file = "data", per_chunk = 2 }\n'))
    assert (lines.split, lines.inputs) == (Lines(per_chunk=2), b"1\n2\n3\n")
    blocks = read_task_file(write(tmp_path, HEAD + CODE + '[split]\nblocks = { file = "data", size = "1KiB" }\n'))
    assert (blocks.split, blocks.inputs) == (Blocks(size=1_024), b"1\n2\n3\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "colour = 1\n" + CODE + SPLIT, "there is no key 'colour': there are schema, name"),
        (
            HEAD + '[code]\nruntime = "python"\nmodule = "k.py"\n' + SPLIT,
            "code.runtime: Python is compiled to a module",
        ),
        (HEAD + CODE + SPLIT + "[limit]\nseconds = 1\n", "no key 'limit': did you mean 'limits'?"),
        (HEAD + CODE + SPLIT + "[limits]\nsecond = 1\n", "no key 'second' in [limits]: did you mean 'seconds'?"),
        (HEAD + CODE + "[split]\ngrid = { widht = 1 }\n", "no key 'widht' in [split.grid]: did you mean 'width'?"),
        (
            HEAD + CODE + SPLIT + '[limits]\nmemory = "64 Mib b"\n',
            "limits.memory: '64 Mib b' is not understood",
        ),
        (HEAD + CODE + SPLIT + '[limits]\nmemory = "-1MiB"\n', "limits.memory: '-1MiB' is not understood"),
        (HEAD + CODE + SPLIT + '[limits]\nmemory = "9GiB"\n', "limits: Expected `int` <= 268435456"),
        (HEAD + CODE + SPLIT + "[limits]\nseconds = -1\n", "limits: Expected `float` > 0.0"),
        (HEAD + CODE + SPLIT + "[limits]\nseconds = nan\n", "limits: Expected `float`"),
        (HEAD + CODE + SPLIT + '[limits]\nseconds = "5"\n', "limits.seconds: Expected `float`, got `str`"),
        (HEAD + CODE + SPLIT + "[verify]\neps = 2\n", "verify: Expected `float` < 1.0"),
        (HEAD + CODE + SPLIT + '[publish]\nexpires = "soon"\n', "publish.expires: 'soon' is not understood"),
        (HEAD + CODE + "[split]\nrange = [0, 10, 0]\n", "split.range: Expected `int` >= 1"),
        (HEAD + CODE + "[split]\nrange = [0, 10]\n", "split.range: Expected `array` of length 3"),
        (HEAD + CODE + f"[split]\nrange = [0, {2**70}, 1]\n", "split.range: a number does not fit 64 bits"),
        (HEAD + CODE + "[split]\n", "[split] needs exactly one of range, grid, items, lines, blocks"),
        (HEAD + CODE + SPLIT + 'items = "x"\n', "[split] needs exactly one of"),
        (HEAD + CODE + '[split]\nitems = "nowhere"\n', "split.items: "),
        (HEAD + CODE + '[split]\nlines = { file = "nowhere", per_chunk = 1 }\n', "split.lines.file: "),
        (HEAD + SPLIT, "missing required field `code`"),
        (HEAD.replace("1", "2") + CODE + SPLIT, "schema: Invalid enum value 2"),
        (HEAD + "[code\n", "is not valid TOML"),
        (HEAD + "code = 5\n" + SPLIT, "code: Expected `object`, got `int`"),
    ],
)
def test_a_mistake_is_named_by_its_key(tmp_path: Path, text: str, message: str) -> None:
    told = refusal(tmp_path, text)
    assert message in told
    assert "\n" not in told


def test_a_folder_without_a_task_file_and_a_folder_without_items_are_named(tmp_path: Path) -> None:
    with pytest.raises(TaskFileError, match=r"task\.toml cannot be read .*cc-task init"):
        read_task_file(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "holds no files" in refusal(tmp_path, HEAD + CODE + '[split]\nitems = "empty"\n')


def test_a_task_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "task.toml").write_bytes(b'name = "Gr\xf6\xdfe"')
    with pytest.raises(TaskFileError, match="not valid TOML"):
        read_task_file(tmp_path)


@given(junk=st.text(max_size=60))
def test_any_text_is_a_task_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, junk: str) -> None:
    folder = write(tmp_path_factory.getbasetemp(), (HEAD + junk).encode(errors="replace").decode())
    with pytest.raises(TaskFileError):
        read_task_file(folder)


def test_the_manual_lists_every_key() -> None:
    manual = DOCS.read_text(encoding="utf-8")
    for table, name in (
        (TaskTable, ""),
        (CodeTable, "code"),
        (GpuTable, "gpu"),
        (SplitTable, "split"),
        (GridTable, "split.grid"),
        (LinesTable, "split.lines"),
        (BlocksTable, "split.blocks"),
        (ResultsTable, "split.results"),
        (LimitsTable, "limits"),
        (VerifyTable, "verify"),
        (PublishTable, "publish"),
    ):
        for key in table.__struct_fields__:
            full = f"{name}.{key}" if name else key
            if full not in ("code", "gpu", "split", "assemble", "limits", "verify", "publish"):
                assert re.search(rf"`{re.escape(full)}`", manual), full


@pytest.mark.parametrize("liars", [0.5, 0.6, 1])
def test_a_majority_of_liars_is_refused_with_the_reason(tmp_path: Path, liars: float) -> None:
    said = refusal(tmp_path, HEAD + CODE + SPLIT + f"[verify]\nliars = {liars}\n")
    assert "verify.liars" in said
    assert "outvote the honest" in said
    assert "run --local" in said


def test_an_eps_that_no_task_is_large_enough_for_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, HEAD + CODE + SPLIT + "[verify]\neps = 1e-12\n")
    assert "verify.eps: 1e-12 is less than one result of the largest task" in said


KERNEL = """[code]
runtime = "gpu"
module = "k.kernel"
[split]
range = [0, 10, 5]
[gpu]
kernel = "k.wgsl"
fallback = "k.wasm"
invocations = "count"
fuel = 10
golden = [[0, 5]]
[gpu.outputs]
sums = { elements = 1 }
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('runtime = "gpu"', 'runtime = "wasm"', "the table [gpu] belongs to"),
        ("[[0, 5]]", "[[0, 5, 6]]", "gpu.golden: a chunk of this split has 2 numbers, not 3"),
        ("[[0, 5]]", '["input.bin"]', "gpu.golden: name the 2 numbers of a chunk"),
        ("[[0, 5]]", "[[0, 9223372036854775808]]", "64"),
        ("fuel = 10\n", "", "fuel"),
        ("elements = 1", 'elements = 1, compare = { kind = "near" }', "gpu.outputs"),
        ("fuel = 10\n", "fule = 10\n", "did you mean 'fuel'?"),
    ],
)  # fmt: skip
def test_what_the_gpu_table_cannot_say(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert read_task_file(write(tmp_path, HEAD + KERNEL)).kernel is not None
    assert said in refusal(tmp_path, HEAD + KERNEL.replace(old, new))
