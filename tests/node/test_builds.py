"""From `cc-task init` to a module in every language: what compilers need, and what they say when something is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import wasmtime

from crowdcompute.creator import commands
from crowdcompute.creator.build import build
from crowdcompute.creator.data_segments import merge_data_segments
from crowdcompute.node.exits import CommandError

if TYPE_CHECKING:
    from pathlib import Path


def memory_of(module: bytes) -> bytes:
    store = wasmtime.Store()
    exports = wasmtime.Instance(store, wasmtime.Module(store.engine, module), []).exports(store)
    memory: Any = exports["memory"]
    return bytes(memory.read(store, 0, memory.data_len(store)))


SEGMENTS = [(8, "ab"), (10, "cd"), (40, "ef"), (300, "gh"), (310, "ij"), (70_000, "kl")]
"""Touching, near, far, and behind 65 KiB (three bytes of offset)."""


def with_data(segments: list[tuple[int, str]]) -> bytes:
    data = "".join(f'(data (i32.const {at}) "{text}")' for at, text in segments)
    return bytes(wasmtime.wat2wasm(f'(module (memory (export "memory") 2) {data})'))


def test_merged_data_segments_fill_memory_with_the_same_bytes() -> None:
    module = with_data(SEGMENTS)
    merged = merge_data_segments(module)
    assert merged == with_data([(8, "abcd" + 28 * r"\00" + "ef"), (300, "gh" + 8 * r"\00" + "ij"), (70_000, "kl")])
    assert memory_of(merged) == memory_of(module)


def test_segments_of_another_kind_or_that_overlap_are_left_alone() -> None:
    overlapping = with_data([(305, "xy"), (300, "ghghgh"), (310, "ij")])
    assert merge_data_segments(overlapping) == overlapping
    passive = bytes(wasmtime.wat2wasm('(module (memory (export "memory") 1) (data "ab") (data (i32.const 1) "c"))'))
    assert merge_data_segments(passive) == passive


@pytest.mark.parametrize(
    ("name", "source"),
    [("kernel.c", "int x = ;"), ("kernel.zig", "const x = ;"), ("kernel.rs", "fn x( {"), ("kernel.go", "package")],
)
def test_what_does_not_compile_is_shown_in_the_compilers_own_words(name: str, source: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(source)
    with pytest.raises(CommandError, match=rf"(?s){name} does not compile:.*{name}"):
        build(tmp_path / name, 65_536)


def test_missing_compilers_say_where_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands.init(str(tmp_path / "k"), lang="assemblyscript")
    with pytest.raises(CommandError, match=r"run `npm install` in .*k"):
        commands.build(tmp_path / "k")
    (tmp_path / "kernel.lua").write_text("")
    with pytest.raises(CommandError, match=r"a source ends in \.c, \.zig, \.rs, \.ts, \.go, \.py"):
        build(tmp_path / "kernel.lua", 65_536)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "kernel.go").write_text("")
    with pytest.raises(CommandError, match=r"pip install 'crowdcompute\[go\]'"):
        build(tmp_path / "kernel.go", 65_536)
