"""A task that takes the results of another: on this machine, as files, and what cannot be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from crowdcompute.creator import ChunkFailed, Task, ThisMachine
from crowdcompute.creator.cli import main
from crowdcompute.node.exits import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIRST = 'export default ([n]) => { if (n === UNLUCKY) throw new Error("unlucky"); return `${n};`; };'
NEXT = "export default (_, bytes) => bytes.map((byte) => byte + 1);"
TOML = 'schema = 1\nname = "x"\n[code]\nruntime = "js"\nmodule = "kernel.js"\n[split]\n'


def folder(tmp_path: Path, name: str, kernel: str, split: str) -> Path:
    made = tmp_path / name
    made.mkdir()
    (made / "kernel.js").write_text(kernel)
    (made / "task.toml").write_text(TOML + split + "\n")
    return made


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return folder(tmp_path, "first", FIRST.replace("UNLUCKY", "-1"), "range = [0, 5, 1]")


@pytest.fixture
def cc_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    monkeypatch.setenv("CC_HOME", str(tmp_path / "home"))

    def run(*arguments: object) -> tuple[int, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out + printed.err

    return run


def test_a_job_takes_the_results_of_another_on_this_machine(tmp_path: Path, first: Path) -> None:
    later = folder(tmp_path, "later", NEXT, "results = { per_chunk = 2 }")
    with ThisMachine(1) as machine:
        job = machine.publish(Task(later, inputs=machine.publish(Task(first))))
        assert [result.value for result in job.results(ordered=True, timeout=60)] == [b"1<2<", b"3<4<", b"5<"]
        alone = machine.publish(Task(later, inputs=machine.publish(Task(first)), per_chunk=5))
        assert [result.value for result in alone.results(timeout=60)] == [b"1<2<3<4<5<"]


def test_a_task_after_one_that_lacks_a_result_is_not_begun(tmp_path: Path) -> None:
    unlucky = folder(tmp_path, "unlucky", FIRST.replace("UNLUCKY", "2"), "range = [0, 5, 1]")
    later = folder(tmp_path, "later", NEXT, "results = { per_chunk = 2 }")
    with ThisMachine(1) as machine, pytest.raises(ChunkFailed, match="chunk 2"):
        machine.publish(Task(later, inputs=machine.publish(Task(unlucky))))


def test_a_task_is_checked_and_run_with_results_in_a_folder(tmp_path: Path, first: Path, cc_task: Any) -> None:
    assert cc_task("run", first, "--local", "-o", first / "out")[0] == 0
    later = folder(tmp_path, "later", NEXT, 'results = { folder = "../first/out", per_chunk = 3 }')
    code, said = cc_task("check", later)
    assert code == 0, said
    assert "2 chunks" in said
    assert cc_task("run", later, "--local", "-o", later / "out")[0] == 0
    assert [(later / "out" / f"{chunk:06}.bin").read_bytes() for chunk in range(2)] == [b"1<2<3<", b"4<5<"]
    # Nobody has signed the first task, so nobody could say whose results these are.
    code, said = cc_task("publish", later, "--link", "http://127.0.0.1:1/j#n=x")
    assert code == 2
    assert "cc-task results TASK" in said
    code, said = cc_task("pack", later)
    assert code == 2
    assert "on this machine alone" in said


def test_results_that_cannot_be_taken_are_refused(tmp_path: Path, first: Path, cc_task: Any) -> None:
    out = first / "out"
    assert cc_task("run", first, "--local", "-o", out)[0] == 0
    later = folder(tmp_path, "later", NEXT, 'results = { folder = "../first/out" }')
    lines = (out / "results.ndjson").read_text().splitlines()
    for changed, why in (
        ("\n".join(lines[1:]), "all chunks"),
        ("{}", "does not hold"),
        ("[]", "does not hold"),
        ("", "all chunks"),
        (json.dumps({**json.loads(lines[0]), "status": "failed"}), "has no result"),
    ):
        (out / "results.ndjson").write_text(changed)
        code, said = cc_task("check", later)
        assert (code, why in said) in ((2, True), (6, True)), said
    (out / "results.ndjson").write_text("\n".join(lines))
    (out / "000000.bin").write_bytes(b"9;")
    code, said = cc_task("check", later)
    assert code != 0
    assert "altered" in said
    (out / "000000.bin").unlink()
    assert "cannot be read" in cc_task("check", later)[1]


def test_a_results_split_without_results_says_what_is_missing(tmp_path: Path, cc_task: Any) -> None:
    later = folder(tmp_path, "later", NEXT, "results = {}")
    code, said = cc_task("check", later)
    assert code == 2
    assert "split.results.folder" in said
    worse = folder(tmp_path, "worse", NEXT, "results = { per_chunk = 0 }")
    assert "per_chunk" in cc_task("check", worse)[1]


def test_what_is_signed_takes_no_other_inputs(tmp_path: Path, first: Path, cc_task: Any) -> None:
    assert cc_task("pack", first, "-o", tmp_path / "first.ccb")[0] == 0
    with pytest.raises(CommandError, match="is signed"):
        Task(tmp_path / "first.ccb", onward=True)
