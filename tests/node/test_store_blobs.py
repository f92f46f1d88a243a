"""Blobs on disk: whole or absent, within the quota, and nobody else's files touched."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdcompute.node.store.blobs import DiskBlobStore
from crowdcompute.node.store.errors import QuotaExceeded, StoreError
from crowdcompute.protocol.storage import BlobStore, MemoryBlobStore

QUOTA = 1_000
BLOBS = [bytes([number]) * size for number, size in enumerate((0, 1, 10, 300, 400, 500))]


def digest_of(blob: bytes) -> bytes:
    return sha256(blob).digest()


def path_of(folder: Path, blob: bytes) -> Path:
    name = sha256(blob).hexdigest()
    return folder / name[:2] / name


puts = st.tuples(st.just("put"), st.sampled_from(BLOBS))
discards = st.tuples(st.just("discard"), st.sampled_from(BLOBS))
steps = st.one_of(puts, discards, st.just(("reopen", b"")))


@settings(deadline=None)  # A shared machine may stall; how long an example takes says nothing.
@given(st.lists(steps, max_size=15), st.integers(0, 600), st.integers(0, 600))
def test_any_sequence_of_putting_discarding_and_reopening_equals_a_dict(
    sequence: list[tuple[str, bytes]], start: int, length: int
) -> None:
    model = MemoryBlobStore()
    with TemporaryDirectory() as folder:
        store = DiskBlobStore(Path(folder), QUOTA)
        for action, blob in sequence:
            digest = digest_of(blob)
            if action == "reopen":
                store = DiskBlobStore(Path(folder), QUOTA)
            elif action == "discard":
                store.discard(digest)
                model.discard(digest)
            else:
                fits = store.used_bytes + len(blob) <= QUOTA or model.size(digest) is not None
                if fits:
                    store.put(digest, blob)
                    model.put(digest, blob)
                else:
                    with pytest.raises(QuotaExceeded, match="allow more disk"):
                        store.put(digest, blob)
            assert store.used_bytes == sum(model.size(digest_of(blob)) or 0 for blob in BLOBS)
            for blob in BLOBS:
                digest = digest_of(blob)
                assert store.size(digest) == model.size(digest)
                if model.size(digest) is not None:
                    assert store.read(digest, start, length) == model.read(digest, start, length)


def test_both_stores_raise_key_error_for_a_blob_that_is_not_here(tmp_path: Path) -> None:
    stores: list[BlobStore] = [DiskBlobStore(tmp_path, QUOTA), MemoryBlobStore()]
    for store in stores:
        with pytest.raises(KeyError):
            store.read(digest_of(b"nowhere"), 0, 1)


def test_what_a_crash_left_half_written_is_swept_at_the_start(tmp_path: Path) -> None:
    DiskBlobStore(tmp_path, QUOTA)
    (tmp_path / "incoming" / digest_of(BLOBS[3]).hex()).write_bytes(BLOBS[3][:100])
    store = DiskBlobStore(tmp_path, QUOTA)
    assert list((tmp_path / "incoming").iterdir()) == []
    assert store.size(digest_of(BLOBS[3])) is None


@pytest.mark.parametrize("left", [b"", bytes(300), b"\x03" * 299])
def test_a_blob_whose_bytes_a_power_cut_took_is_dropped_at_the_start(tmp_path: Path, left: bytes) -> None:
    store = DiskBlobStore(tmp_path, QUOTA)
    for blob in BLOBS[2:4]:
        store.put(digest_of(blob), blob)
    path_of(tmp_path, BLOBS[3]).write_bytes(left)
    store = DiskBlobStore(tmp_path, QUOTA)
    assert store.size(digest_of(BLOBS[3])) is None
    assert store.size(digest_of(BLOBS[2])) == store.used_bytes == len(BLOBS[2])


def test_blobs_written_long_before_the_newest_are_not_read_again_at_the_start(tmp_path: Path) -> None:
    store = DiskBlobStore(tmp_path, QUOTA)
    for blob in BLOBS[2:4]:
        store.put(digest_of(blob), blob)
    old = path_of(tmp_path, BLOBS[3])
    os.utime(old, (0, 0))
    read_s = old.stat().st_atime
    assert DiskBlobStore(tmp_path, QUOTA).used_bytes == 310
    assert old.stat().st_atime == read_s


def test_other_peoples_files_in_the_folder_are_neither_counted_nor_dropped(tmp_path: Path) -> None:
    theirs = [tmp_path / "notes.txt", tmp_path / "de" / "demo.txt", tmp_path / "ab"]
    theirs[1].parent.mkdir()
    for path in theirs:
        path.write_text("mine")
    store = DiskBlobStore(tmp_path, QUOTA)
    assert store.used_bytes == 0
    assert [path.read_text() for path in theirs] == ["mine"] * 3


def test_a_smaller_quota_keeps_what_is_here_and_takes_nothing_more(tmp_path: Path) -> None:
    DiskBlobStore(tmp_path, QUOTA).put(digest_of(BLOBS[5]), BLOBS[5])
    store = DiskBlobStore(tmp_path, 100)
    store.put(digest_of(BLOBS[5]), BLOBS[5])
    assert store.read(digest_of(BLOBS[5]), 0, 500) == BLOBS[5]
    with pytest.raises(QuotaExceeded):
        store.put(digest_of(BLOBS[1]), BLOBS[1])


def test_a_folder_that_is_a_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("in the way")
    with pytest.raises(StoreError, match="set CC_HOME to another one") as caught:
        DiskBlobStore(tmp_path / "blobs", QUOTA)
    assert caught.value.exit_code == 3


def test_a_failed_put_leaves_nothing_behind(tmp_path: Path) -> None:
    store = DiskBlobStore(tmp_path, QUOTA)
    branch = path_of(tmp_path, BLOBS[4]).parent
    branch.write_text("in the way")
    with pytest.raises(StoreError):
        store.put(digest_of(BLOBS[4]), BLOBS[4])
    assert store.used_bytes == 0
    assert list((tmp_path / "incoming").iterdir()) == []
    branch.unlink()
    store.put(digest_of(BLOBS[4]), BLOBS[4])
    assert store.read(digest_of(BLOBS[4]), 0, 400) == BLOBS[4]
