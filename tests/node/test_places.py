"""Places that did not come to be leave nothing behind but their sentence."""

from __future__ import annotations

import subprocess
import sys

FAILING = """
from crowdcompute.creator import Network
try:
    Network("this is no join link")
except Exception as error:
    print(error)
"""


def test_a_place_that_failed_to_open_is_not_closed_when_the_program_ends() -> None:
    done = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, check=True, timeout=60)
    assert "is not a join link" in done.stdout
    assert done.stderr == ""
