from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crowdcompute.node.keys import KeyFileError, create, load, load_or_create
from crowdcompute.node.paths import paths


def test_a_new_key_is_kept_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "identity.key"
    identity = load_or_create(path)
    assert load_or_create(path).public_key == identity.public_key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["identity.key"]


def test_two_keys_are_never_the_same(tmp_path: Path) -> None:
    assert load_or_create(tmp_path / "a").public_key != load_or_create(tmp_path / "b").public_key


def test_processes_that_start_together_get_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        identities = threads.map(lambda _: load_or_create(tmp_path / "identity.key"), range(8))
        assert len({identity.public_key for identity in identities}) == 1


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    first = create(tmp_path / "identity.key")
    assert create(tmp_path / "identity.key").public_key == first.public_key


@pytest.mark.parametrize("content", [b"", b"hello", b"00" * 31, b"00" * 33, b"\xff" * 64, b"0" * 5_000_000])
def test_another_file_in_the_keys_place_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "identity.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="is not a key file: restore it, or move it away") as error:
        load(path)
    assert error.value.exit_code == 3


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    load_or_create(path)
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match=r"chmod 600 .*identity\.key"):
        load(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file" / "identity.key", tmp_path / "file" / "deeper" / "identity.key"):
        with pytest.raises(KeyFileError, match=r"set CC_HOME to another one|cannot be read"):
            load_or_create(path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(KeyFileError, match="Permission denied"):
        load_or_create(tmp_path / "identity.key")


def test_a_folder_in_the_keys_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "identity.key").mkdir()
    with pytest.raises(KeyFileError, match="cannot be read: Is a directory"):
        load_or_create(tmp_path / "identity.key")


def test_cc_home_moves_everything(tmp_path: Path) -> None:
    moved = paths({"CC_HOME": str(tmp_path)})
    assert moved.identity == tmp_path / "identity.key"
    assert {moved.data, moved.config.parent, moved.cache.parent} == {tmp_path}
    usual = paths({})
    assert "crowdcompute" in str(usual.data)
    assert usual.creator.parent == usual.identity.parent == usual.data
