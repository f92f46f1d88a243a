"""`cc-task audit` of a task that takes results of another, with that one's records and without."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from tests.protocol.conftest import creator as creator  # These fixtures, here as well.
from tests.protocol.conftest import make_manifest as make_manifest
from tests.protocol.test_onward import CHUNKS, Mesh, made

from crowdcompute.creator.audit import audit
from crowdcompute.creator.results import INPUTS_FILE, export
from crowdcompute.node.exits import CommandError
from crowdcompute.protocol.manifest import Handed
from crowdcompute.protocol.onward import ResultRef, refs_item
from crowdcompute.protocol.split import pack_items

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crowdcompute.protocol.manifest import Manifest


@pytest.fixture
def both(make_manifest: Callable[..., Manifest], tmp_path: Path) -> tuple[Path, Path]:
    """The folders of a task and of the one that takes its results, beside each other."""
    mesh = Mesh(make_manifest)
    first = mesh.first()
    later = mesh.second(first)
    mesh.run(300.0)
    for task, name in ((first, "first"), (later, "later")):
        export(mesh.creator.creators[task], tmp_path / name)
    return tmp_path / "first", tmp_path / "later"


def test_inputs_are_held_against_the_records_of_the_task_that_they_are_of(
    both: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, later = both
    assert audit(later) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{CHUNKS} results of task" in said
    assert "accepted there: all 12 accepted results were re-executed" in said or "accepted there: at most" in said
    elsewhere = first.parent / "deep" / "first"
    shutil.move(first, elsewhere)
    assert audit(later, source=[elsewhere], as_json=True) == 0
    sources = json.loads(capsys.readouterr().out)["sources"]
    assert (sources["table"], sources["unchecked"], [task["taken"] for task in sources["tasks"]]) == (True, 0, [CHUNKS])


def test_what_is_not_here_is_said(both: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    first, later = both
    shutil.rmtree(first)
    assert audit(later) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"unchecked that {CHUNKS} of the inputs are results of task" in said
    assert "--source" in said
    (later / INPUTS_FILE).unlink()
    assert audit(later) == 0
    assert "which results of other tasks went in" in " ".join(capsys.readouterr().out.split())


def test_an_input_that_the_source_never_accepted_is_found(
    make_manifest: Callable[..., Manifest], tmp_path: Path
) -> None:
    mesh = Mesh(make_manifest)
    first = mesh.first()
    mine = b"not what the volunteers found"
    refs = [ResultRef(sha256(made(0)).digest(), len(made(0)), ()), ResultRef(sha256(mine).digest(), len(mine), ())]
    for data in (made(0), mine):
        mesh.stores[mesh.creator.peer_id].put(sha256(data).digest(), data)
    later = mesh.publish(pack_items([refs_item([ref]) for ref in refs]), split=Handed(of=(first,)), chunks=2)
    mesh.run(900.0)
    for task, name in ((first, "first"), (later, "later")):
        export(mesh.creator.creators[task], tmp_path / name)
    with pytest.raises(CommandError, match="chunk 1: an input is no accepted result"):
        audit(tmp_path / "later")


def test_a_damaged_table_a_damaged_source_and_a_wrong_folder_are_found(both: tuple[Path, Path]) -> None:
    first, later = both
    with pytest.raises(CommandError, match="takes no results of others"):
        audit(first, source=[later])
    with pytest.raises(CommandError, match="that no input is from"):
        audit(later, source=[later])
    with pytest.raises(CommandError, match=r"holds no records\.ccr"):
        audit(later, source=[first.parent])
    records = first / "records.ccr"
    whole = records.read_bytes()
    records.write_bytes(whole[:-1])
    with pytest.raises(CommandError, match="that inputs are from does not hold"):
        audit(later)
    records.write_bytes(whole)
    table = later / INPUTS_FILE
    table.write_bytes(table.read_bytes()[:-1] + b"\0")
    with pytest.raises(CommandError, match="not the table of inputs"):
        audit(later)
