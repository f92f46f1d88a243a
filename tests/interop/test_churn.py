"""A job in a network of machines that die, are cut off, and lose their signaling server (benchmarks/churn.py).

Its size is a test's. What is lost to all that is a number for `benchmarks/churn.py`, not for a test on shared cores.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHUNKS = 200
CHUNK_S = 0.25
"""Eight nodes need 12.5 s for two votes on each, on any machine: time enough for all to go wrong."""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_job_ends_right_though_nodes_die_the_network_splits_and_signaling_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "churn.json"
    size = ["--chunks", str(CHUNKS), "--chunk-s", str(CHUNK_S), "--every-s", "6", "--partition-s", "6"]
    # A process of its own: its nodes are forked from it, and tests before this one have started threads of WebRTC here
    # that no fork has. And a session of its own: it goes before all else in its session.
    job = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "churn.py", "--calm-chunks", "0", *size, "--out", out],
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=390,
        check=False,
    )
    with capsys.disabled():
        print(f"\n{job.stdout}")
    assert job.returncode == 0, job.stderr
    course = json.loads(out.read_text())["churn"]
    assert course["code"] == 0, course["said"]
    assert (course["partitions"], course["signaling_killed"]) == (1, True), course["moments"]
    assert course["killed"] >= 2
    assert course["stopped"] >= 1
    assert course["wrong results"] == 0


def test_a_machine_that_cannot_make_namespaces_is_told_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("cc_namespaces", ROOT / "tests" / "interop" / "namespaces.py")
    assert spec is not None
    assert spec.loader is not None
    namespaces = sys.modules.setdefault(spec.name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(namespaces)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(namespaces.NoNamespaces, match="apt-get install iproute2"):
        namespaces.Lab().machine("any")
