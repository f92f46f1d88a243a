"""kill -9 at random moments: what the store acknowledged is there, and nothing half-written is visible."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from random import Random
from shutil import rmtree

import pytest
from tests.postgres_server import PostgresServer

from crowdcompute.node.store.blobs import DiskBlobStore
from crowdcompute.node.store.database import PostgresPlace
from crowdcompute.node.store.records import RecordStore

BATCH = 8

SAVE_RECORDS = """
import sys
from pathlib import Path
from crowdcompute.node.store.database import PostgresPlace
from crowdcompute.node.store.records import RecordStore
from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.records import Commit, Signed

where, schema, batch, first = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
store = RecordStore(PostgresPlace.parse(where, schema) if schema else Path(where))
for start in range(first, 2**31, batch):
    seqs = range(start, start + batch)
    commits = [Commit(bytes(32), 0, seq, 0, b"", ((0, 1),), bytes(32), bytes(3_000)) for seq in seqs]
    records = [Signed("commit", bytes(32), encode(commit), bytes(64)) for commit in commits]
    store.save(records)
    print(start, *(signed.record_id.hex() for signed in records), flush=True)
"""

PUT_BLOBS = """
import sys
from hashlib import sha256
from pathlib import Path
from crowdcompute.node.store.blobs import DiskBlobStore

store = DiskBlobStore(Path(sys.argv[1]), 2**40)
# Made beforehand, so that nearly all of the life that is cut short is spent writing.
blobs = [(sha256(blob).digest(), blob) for blob in (bytes([number]) * 4_000_000 for number in range(30))]
for digest, blob in blobs:
    store.put(digest, blob)
    print(digest.hex(), flush=True)
input()
"""


def acknowledged_before_kill(program: str, *arguments: object, rng: Random) -> list[str]:
    """Run the program, kill -9 it at a random moment, and return all that it had acknowledged by then."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(rng.randint(1, 20))]
        with suppress(subprocess.TimeoutExpired):
            # Not to wait for anything, but to hit the middle of what comes next; it takes about two milliseconds.
            process.wait(timeout=rng.uniform(0, 0.004))
        process.kill()
        lines += process.stdout.readlines()
    assert process.returncode == -9
    # The kill may have cut the last line short: that one did not reach anybody.
    return [line.rstrip("\n") for line in lines if line.endswith("\n")]


@pytest.mark.parametrize("server", [False, True])
def test_every_record_acknowledged_before_kill_9_is_there_and_batches_are_whole(
    tmp_path: Path, postgres: PostgresServer, server: bool
) -> None:
    place = postgres.place() if server else tmp_path / "node.db"
    where = (place.url.render_as_string(), place.schema) if isinstance(place, PostgresPlace) else (place, "")
    rng = Random(9)
    acknowledged: list[str] = []
    for _ in range(4):
        # A killed save may have been kept although nobody heard of it, so each life starts where the file ends.
        lines = acknowledged_before_kill(SAVE_RECORDS, *where, BATCH, len(_kept(place)), rng=rng)
        acknowledged += [record for line in lines for record in line.split()[1:]]
        if server and rng.random() < 0.5:
            postgres.stop()
            postgres.start()
        kept = _kept(place)
        assert len(kept) % BATCH == 0
        assert set(acknowledged) <= set(kept)
        assert [record for record in kept if record in set(acknowledged)] == acknowledged


def _kept(place: Path | PostgresPlace) -> list[str]:
    store = RecordStore(place)
    kept = [signed.record_id.hex() for signed in store.load()]
    store.close()
    return kept


def test_every_blob_acknowledged_before_kill_9_is_there_and_none_is_half_visible(tmp_path: Path) -> None:
    rng = Random(9)
    for life in range(10):
        folder = tmp_path / str(life)
        acknowledged = acknowledged_before_kill(PUT_BLOBS, folder, rng=rng)
        # Looked at before the store is opened again: it is the naked folder that must never show half a blob.
        visible = {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.glob("??/*")}
        assert visible == {name: name for name in visible}
        assert set(acknowledged) <= set(visible)
        store = DiskBlobStore(folder, 2**40)
        assert list((folder / "incoming").iterdir()) == []
        assert all(store.size(bytes.fromhex(digest)) == 4_000_000 for digest in acknowledged)
        rmtree(folder)
