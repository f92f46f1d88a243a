"""One process for one data folder, and no lock outlives its process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crowdcompute.node.lock import FolderInUse, FolderLock
from crowdcompute.node.store.errors import StoreError

HOLD = """
import subprocess, sys
from pathlib import Path
from crowdcompute.node.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
executor = subprocess.Popen([sys.executable, "-c", "print('up', flush=True); input()"], close_fds=False)
executor.wait()
"""


def test_a_second_holder_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    with FolderLock(tmp_path), pytest.raises(FolderInUse, match=rf"process {os.getpid()} .*set CC_HOME"):
        FolderLock(tmp_path)


def test_a_released_folder_can_be_taken_again(tmp_path: Path) -> None:
    for _ in range(2):
        with FolderLock(tmp_path):
            pass


def test_kill_9_frees_the_folder_even_while_an_executor_lives_on(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as node:
        assert node.stdin is not None
        assert node.stdout is not None
        assert node.stdout.readline() == b"up\n"
        with pytest.raises(FolderInUse, match=f"process {node.pid}"):
            FolderLock(tmp_path)
        node.kill()
        node.wait()
        # The executor still waits for its input, which ends with this block.
        FolderLock(tmp_path).release()


def test_a_missing_folder_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="set CC_HOME"):
        FolderLock(tmp_path / "missing")
