"""A store on a Postgres server: held by one process, and lost or refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.postgres_server import PostgresServer

from crowdcompute.node.home import open_home
from crowdcompute.node.store import database
from crowdcompute.node.store.database import PostgresPlace
from crowdcompute.node.store.errors import StoreError
from crowdcompute.node.store.records import RecordStore

from .test_store_records import LEDGERS, PRIMES, TILES

LEDGER = LEDGERS[PRIMES.record_id]


def test_a_server_that_dies_loses_nothing_that_was_acknowledged(postgres: PostgresServer) -> None:
    place = postgres.place()
    store = RecordStore(place)
    store.save(LEDGER)
    postgres.stop()
    for _ in range(2):
        with pytest.raises(StoreError, match="cannot be reached"):
            store.save([TILES])
    with pytest.raises(StoreError, match="cannot be reached"):
        RecordStore(place)
    store.close()
    postgres.start()
    store = RecordStore(place)
    assert store.load() == LEDGER
    store.close()


def test_a_second_process_is_told_who_is_there(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "WAIT_MS", 50)
    place = postgres.place()
    first = RecordStore(place)
    with pytest.raises(StoreError, match=f"another process already works with {place.schema}"):
        RecordStore(place)
    first.close()
    RecordStore(place).close()


def test_a_node_and_a_creator_share_a_server_and_no_table(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.database().render_as_string()
    with (
        open_home(tmp_path / "here", disk_bytes=0, store=url) as node,
        open_home(tmp_path / "there", disk_bytes=0, store=url) as creator,
    ):
        node.records.save(LEDGER)
        assert creator.records.load() == []
    assert not (tmp_path / "here" / "records.db").exists()


@pytest.mark.parametrize(
    ("user", "name", "sentence"),
    [
        ("cc", "nowhere", 'database "nowhere" does not exist'),
        ("stranger", "postgres", 'role "stranger" does not exist'),
    ],
)
def test_a_mistaken_url_is_told_in_one_sentence(postgres: PostgresServer, user: str, name: str, sentence: str) -> None:
    place = PostgresPlace(postgres.place().url.set(username=user, database=name), "crowdcompute_node")
    with pytest.raises(StoreError, match=sentence) as caught:
        RecordStore(place)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
