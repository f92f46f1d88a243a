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
from crowdcompute.protocol import merkle
from crowdcompute.protocol.blobs import PIECE_BYTES, describe, piece_hashes
from crowdcompute.protocol.pieces import Partial
from crowdcompute.protocol.storage import BlobStore, MemoryBlobStore

QUOTA = 1_000
BLOBS = [bytes([number]) * size for number, size in enumerate((0, 1, 10, 300, 400, 500))]


def digest_of(blob: bytes) -> bytes:
    return sha256(blob).digest()


def path_of(folder: Path, blob: bytes) -> Path:
    name = sha256(blob).hexdigest()
    return folder / name[:2] / name


puts = st.tuples(st.sampled_from(["put", "put staged"]), st.sampled_from(BLOBS))
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

                def put(digest: bytes, blob: bytes, store: DiskBlobStore = store, action: str = action) -> None:
                    if action == "put":
                        store.put(digest, blob)
                    else:
                        store.put_staged(digest, store.stage(blob), len(blob))

                fits = store.used_bytes + len(blob) <= QUOTA or model.size(digest) is not None
                if fits:
                    put(digest, blob)
                    model.put(digest, blob)
                else:
                    with pytest.raises(QuotaExceeded, match="allow more disk"):
                        put(digest, blob)
                assert not list((Path(folder) / "incoming").iterdir())
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


BIG = b"".join(sha256(number.to_bytes(4)).digest() for number in range(5 * PIECE_BYTES // 32 + 1))
REF = describe(BIG)


def partial(store: DiskBlobStore, *indices: int) -> Partial:
    """These pieces of BIG, put into the store besides those that are there."""
    pieces = Partial(store, REF.sha256, REF.size, REF.root)
    hashes = piece_hashes(BIG)
    for index in indices:
        pieces.add(index, BIG[index * PIECE_BYTES :][:PIECE_BYTES], merkle.proof(hashes, index))
    return pieces


def test_pieces_outlive_the_process_and_become_the_blob(tmp_path: Path) -> None:
    partial(DiskBlobStore(tmp_path, 2**20), 1, 4)
    store = DiskBlobStore(tmp_path, 2**20)
    pieces = partial(store)
    assert pieces.here == 0b10010
    assert store.read(REF.sha256, PIECE_BYTES + 7, 9) == BIG[PIECE_BYTES + 7 :][:9]
    assert store.size(REF.sha256) is None
    partial(store, 0, 2, 3, 5)
    assert store.finish(REF.sha256)
    assert store.read(REF.sha256, 0, REF.size) == BIG
    assert store.used_bytes == REF.size
    assert list((tmp_path / "partial").iterdir()) == []


def test_a_piece_that_a_crash_left_wrong_is_not_believed(tmp_path: Path) -> None:
    partial(DiskBlobStore(tmp_path, 2**20), 0, 1, 2)
    with (tmp_path / "partial" / REF.sha256.hex()).open("r+b") as file:
        file.seek(PIECE_BYTES + 3)
        file.write(b"?")
    journal = tmp_path / "partial" / f"{REF.sha256.hex()}.tree"
    journal.write_bytes(journal.read_bytes()[:-7])
    here = partial(DiskBlobStore(tmp_path, 2**20)).here
    assert here & 0b010 == 0
    assert here & 0b001 == 1


def test_pieces_that_make_another_blob_are_dropped(tmp_path: Path) -> None:
    store = DiskBlobStore(tmp_path, 2**20)
    store.begin(digest_of(b"other"), 5)
    store.put_piece(digest_of(b"other"), 0, b"wrong", ())
    assert not store.finish(digest_of(b"other"))
    assert store.used_bytes == 0


def test_what_is_not_needed_makes_room_what_was_used_longest_ago_first(tmp_path: Path) -> None:
    store = DiskBlobStore(tmp_path, QUOTA)
    needed, old, used, new = BLOBS[3], BLOBS[2], b"u" * 280, b"n" * 700
    store.needed = lambda digest: digest == digest_of(needed)
    for blob in (needed, used, old):
        store.put(digest_of(blob), blob)
    store.read(digest_of(used), 0, 1)
    with pytest.raises(QuotaExceeded):
        store.put(digest_of(b"x" * 701), b"x" * 701)
    assert store.size(digest_of(old)) is not None, "nothing goes for what cannot fit"
    store.put(digest_of(b"m" * 420), b"m" * 420)
    assert store.size(digest_of(old)) is None
    assert store.size(digest_of(used)) is not None
    store.put(digest_of(new), new)
    assert [store.size(digest_of(blob)) for blob in (needed, used, new)] == [300, None, 700]


def test_a_piece_that_does_not_fit_is_refused_and_the_others_stay(tmp_path: Path) -> None:
    store = DiskBlobStore(tmp_path, REF.size)
    store.put(digest_of(b"k" * PIECE_BYTES), b"k" * PIECE_BYTES)
    with pytest.raises(QuotaExceeded):
        partial(store, 0, 1, 2, 3, 4, 5)
    assert partial(store).here == 0b1111
    with pytest.raises(QuotaExceeded):
        store.begin(digest_of(b"huge"), REF.size + 1)


def test_a_file_that_changes_while_it_is_copied_is_not_kept(tmp_path: Path) -> None:
    store = DiskBlobStore(tmp_path, 2**20)
    with pytest.raises(StoreError, match="changed while it was copied"):
        store.put_file(REF.sha256, iter([BIG[:-1], b"?"]), REF.size)
    assert store.size(REF.sha256) is None
    store.put_file(REF.sha256, iter([BIG[:70_000], BIG[70_000:]]), REF.size)
    assert store.read(REF.sha256, 0, REF.size) == BIG
    assert store.used_bytes == REF.size
