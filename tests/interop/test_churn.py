"""A job in a network of machines that die, are cut off, and lose their signaling server (benchmarks/churn.py).

Its size is a test's. What is lost to all that is a number for `benchmarks/churn.py`, not for a test on shared cores.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.interop.conftest import Place

CHUNKS = 200
CHUNK_S = 0.25
"""Eight nodes need 12.5 s for two votes on each, on any machine: time enough for all to go wrong."""


@pytest.fixture(scope="module")
def churn() -> Any:
    path = Path(__file__).parents[2] / "benchmarks" / "churn.py"
    spec = importlib.util.spec_from_file_location("cc_bench_churn", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault(spec.name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_job_ends_right_though_nodes_die_the_network_splits_and_signaling_is_killed(
    place: Place, churn: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    task = churn.write_task(place.folder / "task", CHUNKS)
    course = churn.compute(place.folder, task, CHUNKS, CHUNK_S, churn.Trouble(every_s=6.0, partition_s=6.0))
    share = churn.shares(course, CHUNK_S)["share of ideal"]
    with capsys.disabled():
        print(f"\n{CHUNKS} chunks in {course.seconds:.0f} s, {share:.0%} of ideal", *course.moments, sep="\n")
    assert course.code == 0, course.said
    assert (course.partitions, course.signaling_killed) == (1, True), course.moments
    assert course.killed >= 2
    assert course.stopped >= 1
    files, _ = place.results("churn", "results")
    assert files == {chunk: churn.right_result(chunk) for chunk in range(CHUNKS)}


def test_a_machine_that_cannot_make_namespaces_is_told_what_it_takes(
    churn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespaces = churn.namespaces()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(namespaces.NoNamespaces, match="apt-get install iproute2"):
        namespaces.Lab().machine("any")
