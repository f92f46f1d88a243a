"""JavaScript for creators: the template, the commands, the lints and the examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crowdcompute.creator.cli import main
from crowdcompute.creator.javascript_lints import lint
from crowdcompute.creator.task_file import TaskFileError, read_task_file

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = Path(__file__).parents[2] / "examples"
TASK = """schema = 1
name = "Squares"
[code]
runtime = "js"
module = "kernel.js"
[split]
range = [0, 40, 10]
[limits]
seconds = 20
"""


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], Path]:
    def write(source: str) -> Path:
        (tmp_path / "task.toml").write_text(TASK)
        (tmp_path / "kernel.js").write_text(source)
        return tmp_path

    return write


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC_HOME", str(tmp_path / "home"))


def test_the_template_is_a_task_that_checks_runs_packs_and_verifies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = str(tmp_path / "squares")
    assert main(["init", task, "--lang", "js"]) == 0
    assert main(["build", task]) == 0
    assert main(["check", task, "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["runtime"], report["shape"], report["deterministic"]) == ("js", "javascript", True)
    assert main(["pack", task]) == 0
    bundle = f"{task}.ccb"
    assert main(["verify", bundle]) == 0
    assert "lines of JavaScript" in capsys.readouterr().out
    assert main(["run", bundle, "--local", "-o", str(tmp_path / "out")]) == 0
    results = [json.loads(file.read_bytes()) for file in sorted((tmp_path / "out").glob("*.bin"))]
    assert len(results) == 100
    assert sum(result["sum"] for result in results[:2]) == sum(n * n for n in range(20_000))


def test_check_finds_where_two_engines_disagree(
    folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    task = folder("export default () => { try { null.x } catch (error) { return error.message } };")
    with pytest.raises(SystemExit) as ended:
        main(["check", str(task)])
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert "different results in two JavaScript engines" in told.err
    assert "line 1: what the engine itself throws" in told.out


def test_check_shows_a_creator_the_engines_own_words(
    folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["check", str(folder("export default ([start]) => start.x.y;"))])
    assert "task error: TypeError" in capsys.readouterr().out


def test_a_source_that_breaks_a_rule_is_named_with_its_line(
    folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["check", str(folder("// Adds.\nimport x from 'y';\nexport default () => 1;"))])
    assert "line 2: the word 'import' must not occur" in capsys.readouterr().out


def test_javascript_is_signed_as_it_is_written(folder: Callable[[str], Path]) -> None:
    task = folder("export default () => 1;")
    text = TASK.replace('module = "kernel.js"', 'module = "kernel.js"\nsource = "kernel.ts"')
    (task / "task.toml").write_text(text)
    with pytest.raises(TaskFileError, match="signed as it is written"):
        read_task_file(task)


def test_a_range_beyond_what_numbers_hold_is_refused(
    folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    task = folder("export default (args) => args;")
    (task / "task.toml").write_text(TASK.replace("[0, 40, 10]", f"[{2**53 - 10}, {2**53}, 10]"))
    with pytest.raises(SystemExit) as ended:
        main(["check", str(task)])
    assert ended.value.code == 2
    assert "beyond 2^53 - 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("return x ** 0.5;", "use Math.pow"),
        ("a.sort((x, y) => x > y);", "contradicts itself"),
        ("a.sort(() => Math.random() - 0.5);", "does not shuffle"),
        ("a.localeCompare(b);", "code unit"),
        ("n.toLocaleString();", "no language"),
        ("n.toString(36);", "radix"),
        ("new Date();", "stands still"),
        ("new Intl.NumberFormat();", "there is no Intl"),
        ("fetch('x');", "there is no fetch"),
        ("try { f(); } catch { g(); }", "caught error"),
        ("new Uint8Array(new Float64Array([x]).buffer);", "NaN"),
    ],
)
def test_what_may_differ_is_warned_of_by_line(code: str, advice: str) -> None:
    (warning,) = [line for line in lint(f"// One line.\n{code}\n") if advice in line]
    assert warning.startswith("line 2: ")


def test_comments_and_texts_are_no_code() -> None:
    assert list(lint("/** x ** y, Date */\nconst a = 'new Date()'; // fetch\nconst b = \"Intl\", c = `catch`;")) == []


@pytest.mark.parametrize("name", ["js_primes", "js_flow"])
def test_the_examples_have_nothing_to_be_warned_of(name: str) -> None:
    assert list(lint((EXAMPLES / name / "kernel.js").read_text())) == []


def test_the_primes_below_two_million_are_counted(tmp_path: Path) -> None:
    (tmp_path / "kernel.js").write_text((EXAMPLES / "js_primes" / "kernel.js").read_text())
    text = (EXAMPLES / "js_primes" / "task.toml").read_text()
    (tmp_path / "task.toml").write_text(text.replace("100_000_000", "2_000_000"))
    assert main(["run", str(tmp_path), "--local", "-o", str(tmp_path / "out"), "--jobs", "1"]) == 0
    results = [json.loads(file.read_bytes()) for file in sorted((tmp_path / "out").glob("*.bin"))]
    assert sum(result["count"] for result in results) == 148_933
    assert results[0]["first"] == 2
    assert max(result["gap"]["size"] for result in results) == 132


def test_a_tile_of_the_flow_is_the_same_in_both_engines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = (EXAMPLES / "js_flow" / "kernel.js").read_text()
    (tmp_path / "kernel.js").write_text(source)
    text = (EXAMPLES / "js_flow" / "task.toml").read_text()
    (tmp_path / "task.toml").write_text(text.replace("tile = 64", "tile = 8"))
    assert main(["check", str(tmp_path)]) == 0
    assert "the same results in V8 and QuickJS" in capsys.readouterr().out
