"""`cc-task export` on a real job's records: the same rows in every format, and in tables that SQL reads."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import psycopg
import pytest
from pyarrow import parquet
from tests.postgres_server import PostgresServer

from crowdcompute.creator import results
from crowdcompute.creator.cli import main
from crowdcompute.node.store.database import PostgresPlace
from crowdcompute.node.store.records import RecordStore
from crowdcompute.protocol.identity import Identity
from crowdcompute.protocol.manifest import open_manifest, sign_manifest, with_task_key

from .test_audit import FAILING, job

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.protocol.creator import CreatorRole

    CcTask = Callable[..., "Ended"]

CREATOR_SEED = sha256(b"1/keys/0").digest()
"""That of the simulated creator: its records are those of a real one."""


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def role() -> CreatorRole:
    return job(1).role


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this job's creator; its store is still empty."""
    monkeypatch.setenv("CC_HOME", str(tmp_path))
    monkeypatch.delenv("CC_STORE", raising=False)
    key = tmp_path / "creator.key"
    key.write_text(CREATOR_SEED.hex())
    key.chmod(0o600)
    (tmp_path / "creator").mkdir()
    return tmp_path


def keep(role: CreatorRole, place: Path | PostgresPlace) -> None:
    store = RecordStore(place)
    store.save(list(role.ledger.records()))
    store.close()


@pytest.fixture
def cc_task(capsys: pytest.CaptureFixture[str]) -> CcTask:
    def run(*arguments: object) -> Ended:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            code = ended.code
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    return run


@pytest.mark.parametrize("what", ["results", "votes", "certificate"])
def test_every_format_says_the_same(role: CreatorRole, home: Path, cc_task: CcTask, what: str) -> None:
    keep(role, home / "creator" / "records.db")
    task = role.ledger.task.hex()[:12]
    printed = cc_task("export", task, "--what", what)
    assert printed.code == 0, printed.err
    rows = [json.loads(line) for line in printed.out.splitlines()]
    assert rows
    for format in ("ndjson", "csv", "parquet"):
        file = home / f"rows.{format}"
        ended = cc_task("export", task, "--what", what, "--format", format, "-o", file)
        assert (ended.code, ended.out) == (0, f"{len(rows):,} rows in {file}\n")
    assert (home / "rows.ndjson").read_text() == printed.out
    assert parquet.read_table(home / "rows.parquet").to_pylist() == rows
    with (home / "rows.csv").open(newline="") as opened:
        assert list(csv.DictReader(opened)) == [{name: _text(value) for name, value in row.items()} for row in rows]
    assert not list(home.glob("*.part"))


def test_the_rows_say_what_the_results_say(role: CreatorRole, home: Path, cc_task: CcTask) -> None:
    keep(role, home / "creator" / "records.db")

    def rows(what: str) -> list[dict[str, Any]]:
        # The task by its name, for it is the only one called so.
        printed = cc_task("export", role.ledger.manifest.name, "--what", what).out
        return [json.loads(line) for line in printed.splitlines()]

    expected = list(results.rows(role))
    found, votes = rows("results"), rows("votes")
    assert [(row["chunk"], row["status"], row["sha256"]) for row in found] == [
        (row["index"], row["status"], row["sha256"]) for row in expected
    ]
    assert found[FAILING]["status"] == "failed"
    assert json.loads(found[FAILING]["reasons"]) == expected[FAILING]["reasons"] != []
    for row in expected:
        cast = [vote for vote in votes if vote["chunk"] == row["index"]]
        assert len(cast) == row["votes"]
        assert sorted(vote["worker"] for vote in cast if vote["agrees"]) == sorted(row["agreed"])
        assert sorted(vote["worker"] for vote in cast if vote["agrees"] is False) == sorted(row["disagreed"])
        # What was accepted has the votes that it needs among those that count.
        agreeing = [vote for vote in cast if vote["agrees"] and vote["counts"]]
        assert row["status"] == "failed" or len(agreeing) >= 2 or agreeing[0]["chosen"] == "creator's own"
    (stated,) = rows("certificate")
    assert stated["convicted"] == 1
    assert not any(vote["counts"] for vote in votes if vote["agrees"] is False)
    assert stated["executions"] == len(votes)


@pytest.mark.parametrize("server", [False, True])
def test_sql_reads_what_was_put_into_tables(
    role: CreatorRole,
    home: Path,
    cc_task: CcTask,
    server: bool,
    postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = postgres.database().render_as_string()
    if server:
        monkeypatch.setenv("CC_STORE", url)
    keep(role, PostgresPlace.parse(url, "crowdcompute_creator") if server else home / "creator" / "records.db")
    task = role.ledger.task.hex()
    for _ in range(2):  # The second time in the place of the first.
        ended = cc_task("export", task, "--format", "tables")
        assert ended.out.startswith("24 rows in results, "), ended.err
    accepted = "SELECT count(*) FROM results WHERE status = 'ok'"
    liars = "SELECT count(DISTINCT worker) FROM votes WHERE NOT agrees"
    bound = "SELECT statement FROM certificates WHERE bound <= eps"
    if server:
        with psycopg.connect(url, options="-c search_path=crowdcompute_creator") as connection:
            found = [connection.execute(query).fetchone() for query in (accepted, liars, bound)]
    else:
        with closing(sqlite3.connect(home / "creator" / "records.db")) as file:
            found = [file.execute(query).fetchone() for query in (accepted, liars, bound)]
    assert found == [(23,), (1,), (results.statement_of(role),)]


def test_tasks_with_one_name_live_side_by_side(role: CreatorRole, home: Path, cc_task: CcTask) -> None:
    creator = Identity(CREATOR_SEED)
    manifest = role.ledger.manifest
    signed = [
        sign_manifest(
            creator,
            with_task_key(creator, msgspec.structs.replace(manifest, created_s=manifest.created_s + number)),
        )
        for number in range(3)
    ]
    store = RecordStore(home / "creator" / "records.db")
    store.save(signed)
    assert [open_manifest(task.manifest, lambda *_: True).name for task in store.tasks()] == [manifest.name] * 3
    store.close()
    ended = cc_task("export", manifest.name, "--what", "results")
    assert ended.code == 2
    assert "3 tasks here are called" in ended.err
    assert all(task.record_id.hex()[:12] in ended.err for task in signed)
    for task in signed:
        first = json.loads(cc_task("export", task.record_id.hex()[:12], "--what", "results").out.splitlines()[0])
        assert first["task"] == task.record_id.hex()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere", "--what", "votes"), "no task here has an id that begins with 'nowhere'"),
        (("nowhere",), "which rows?"),
        (("nowhere", "--what", "votes", "--format", "parquet"), "a Parquet file needs a name"),
        (("nowhere", "--format", "tables", "-o", "file"), "leave out -o"),
    ],
)
def test_mistakes_are_told_in_one_sentence(
    home: Path, cc_task: CcTask, arguments: tuple[str, ...], sentence: str
) -> None:
    ended = cc_task("export", *arguments)
    assert ended.code == 2
    assert sentence in ended.err
    assert ended.err.count("\n") == 1


def _text(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
