"""`cc-task audit` as a stranger uses it: on the files of a real job, on damaged ones, and on the wrong ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdcompute.creator.audit import audit
from crowdcompute.creator.cli import main
from crowdcompute.creator.results import export
from crowdcompute.node.exits import CommandError
from crowdcompute.simulations.network import World
from crowdcompute.simulations.scenario import parse_scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    Audit = Callable[..., "Ended"]

FAILING = 4


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def job(seed: int) -> World:
    """One of six lies, and one chunk has no result."""
    small = World(
        parse_scenario(
            f"""
            name = "small"
            network = {{peers = 6, real_keys = true, speed_sigma = 0.0}}
            task = {{chunks = 24, eps = 0.3, chunk_s = 0.5, failing = [{FAILING}]}}
            checks = {{stop_s = 600}}
            liars = [{{kind = "alone", count = 1}}]
            """
        ),
        seed=seed,
    )
    small.run()
    return small


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `cc-task results` writes."""
    folder = tmp_path_factory.mktemp("exported")
    assert export(job(1).role, folder) == 23
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(exported, tmp_path / "results")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Audit:
    def run(*arguments: object) -> Ended:
        capsys.readouterr()
        try:
            code = main(["audit", *map(str, arguments)])
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            code = ended.code
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Ended(code, printed.out, printed.err)

    return run


def one_sentence(ended: Ended, code: int) -> str:
    assert ended.code == code
    assert ended.err.startswith("cc-task: ")
    assert ended.err.count("\n") == 1
    assert ended.out == ""
    return ended.err


def test_a_stranger_finds_that_everything_holds(run: Audit, folder: Path) -> None:
    ended = run(folder / "certificate.json", "--results", folder)
    assert (ended.code, ended.err) == (0, "")
    assert "every signature right" in ended.out
    assert "23 accepted and 1 failed, as the votes say; 23 files, each the certified one" in ended.out
    assert "banned, all it did is void" in ended.out
    assert "unchecked  that audits were drawn at random" in ended.out
    stated = json.loads((folder / "certificate.json").read_text())
    assert stated["statement"] in ended.out
    assert run(folder).out == run(folder / "certificate.json").out


def test_a_program_is_told_the_same(run: Audit, folder: Path) -> None:
    report = json.loads(run(folder, "--results", folder, "--json").out)
    stated = json.loads((folder / "certificate.json").read_text())
    assert report["holds"] is True
    for key in ("task", "creator", "name", "statement", "executions", "accepted", "audits", "bound", "confidence"):
        assert report[key] == stated[key]
    assert report["convicted"] == [each["worker"] for each in stated["convicted"]]
    assert report["result_files"] == 23
    assert len(report["cannot_check"]) >= 4
    (folder / "000007.bin").write_bytes(b"")
    ended = run(folder, "--results", folder, "--json")
    report = json.loads(ended.out)
    assert (ended.code, ended.err, report["holds"], report["chunk"]) == (1, "", False, 7)


def test_every_changed_result_is_found_with_its_chunk(run: Audit, folder: Path) -> None:
    for chunk in (0, 11, 23):
        path = folder / f"{chunk:06}.bin"
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        assert f"does not hold: chunk {chunk}: " in one_sentence(run(folder, "--results", folder), 1)
        path.write_bytes(data)
    assert run(folder, "--results", folder).code == 0


def test_a_result_too_few_or_too_many_is_found(run: Audit, folder: Path) -> None:
    kept = (folder / "000003.bin").read_bytes()
    (folder / "000003.bin").unlink()
    assert "000003.bin is missing" in one_sentence(run(folder, "--results", folder), 1)
    (folder / "000003.bin").write_bytes(kept)
    for extra in (FAILING, 24):
        path = folder / f"{extra:06}.bin"
        path.write_bytes(kept)
        assert f"chunk {extra}: " in one_sentence(run(folder, "--results", folder), 1)
        path.unlink()


def changed(value: Any) -> Any:
    match value:
        case bool() | int() | float():
            return value + 1
        case str():
            return value[:-1] + ("0" if value[-1] != "0" else "1")
        case list():
            return value[:-1]
        case dict():
            return {key: changed(inner) for key, inner in value.items()}
    raise AssertionError(value)


def test_every_line_of_the_certificate_is_held_against_the_signed_records(run: Audit, folder: Path) -> None:
    path = folder / "certificate.json"
    stated = json.loads(path.read_text())
    for key in stated.keys() - {"schema", "task"}:
        for lie in ({**stated, key: changed(stated[key])}, {k: v for k, v in stated.items() if k != key}):
            path.write_text(json.dumps(lie))
            ended = run(folder)
            if key == "record" and "record" not in lie:
                assert "is no certificate" in one_sentence(ended, 2)
            else:
                assert repr(key) in one_sentence(ended, 1)
    path.write_text(json.dumps({**stated, "endorsed_by": "everybody"}))
    assert "'endorsed_by'" in one_sentence(run(folder), 1)
    path.write_text(json.dumps({**stated, "task": "00" * 32}))
    assert "another task" in one_sentence(run(folder), 1)


@settings(max_examples=200)
@given(st.data())
def test_any_changed_byte_of_the_certificate_is_found_or_is_no_change(exported: Path, data: st.DataObject) -> None:
    original = (exported / "certificate.json").read_bytes()
    position = data.draw(st.integers(0, len(original) - 1))
    damaged = bytearray(original)
    damaged[position] ^= data.draw(st.integers(1, 255))
    path = exported / "damaged.json"
    path.write_bytes(damaged)
    try:
        audit(path)
    except CommandError as error:
        assert error.exit_code in (1, 2)
    else:
        assert json.loads(damaged) == json.loads(original)


def test_records_of_another_job_are_not_this_certificates(run: Audit, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    export(job(2).role, other)
    assert "another task" in one_sentence(run(folder, "--records", other / "records.ccr"), 1)
    shutil.copy(other / "certificate.json", folder)
    assert "another task" in one_sentence(run(folder), 1)


def test_damaged_records_are_found(run: Audit, folder: Path) -> None:
    path = folder / "records.ccr"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert "ends in the middle" in one_sentence(run(folder), 1)
    half = len(data) // 2
    path.write_bytes(data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :])
    assert "does not hold: " in one_sentence(run(folder), 1)


def test_mistakes_are_one_sentence_that_says_what_to_do(run: Audit, folder: Path, tmp_path: Path) -> None:
    certificate, records = folder / "certificate.json", folder / "records.ccr"
    stated = json.loads(certificate.read_text())
    assert "cannot be read" in one_sentence(run(tmp_path / "nowhere.json"), 2)
    assert "name a certificate.json" in one_sentence(run(tmp_path), 2)
    assert "is no certificate" in one_sentence(run(folder / "results.ndjson"), 2)
    assert "holds no records" in one_sentence(run(certificate, "--records", certificate), 2)
    assert "cannot be read" in one_sentence(run(certificate, "--records", folder), 2)
    assert "is no folder" in one_sentence(run(certificate, "--results", records), 2)
    certificate.write_text(json.dumps({**stated, "schema": 0}))
    assert "schema 0" in one_sentence(run(certificate), 2)
    certificate.write_text("[" * 100_000)
    assert "is no certificate" in one_sentence(run(certificate), 2)
    certificate.write_text(json.dumps(stated))
    records.write_bytes(b"")
    assert "is empty" in one_sentence(run(certificate), 2)
    records.unlink()
    assert "its creator's word" in one_sentence(run(certificate), 2)
    assert run().code == 2


def test_a_task_that_is_not_closed_has_neither_certificate_nor_records(run: Audit, tmp_path: Path) -> None:
    small = World(parse_scenario('name = "s"\nnetwork = {peers = 2}\ntask = {chunks = 24}'), seed=1)
    small.step_until(3.0)
    export(small.role, tmp_path / "open")
    assert not (tmp_path / "open" / "records.ccr").exists()
    assert "cannot be read" in one_sentence(run(tmp_path / "open"), 2)


def test_records_alone_are_checked_as_well(run: Audit, folder: Path) -> None:
    alone = (folder / "records.ccr").rename(folder.parent / "from a page.ccr")
    whole = run(alone)
    assert (whole.code, whole.err) == (0, "")
    assert "every signature right" in whole.out
    alone.write_bytes(alone.read_bytes()[:-1])
    assert "ends in the middle" in one_sentence(run(alone), 1)
