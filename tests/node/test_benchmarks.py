"""`make bench` ends, whatever its cases do, and what is written about it is what it found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.tables import DOCUMENT, MEASURES, RESULT, beside, document, reasons

ROOT = Path(__file__).parents[2]
BY_NAME = {measure.name: measure for measure in MEASURES}


def test_the_document_says_what_the_results_say() -> None:
    written = DOCUMENT.read_text()
    again = document(written, json.loads(RESULT.read_text()))
    assert again == written, "python -m benchmarks.tables writes the tables anew"


@pytest.mark.parametrize(
    ("measure", "ours", "theirs", "ratio"),
    [
        ("per_s_64", 300.0, 200.0, "1.5"),
        ("per_s_64", 20.0, 200.0, "0.1"),
        ("round_trip_ms", 4.0, 2.0, "0.5"),
        ("recovery_s", 0.0, 3.0, "∞"),
        ("recovery_s", 0.0, 0.0, "1.0"),
        ("recovery_s", 0.5, "never: 41 of 80 results 60 s after all could have been there", "∞"),
        ("join_s", 2.0, "–: workers are fixed", "–"),
        ("join_s", "failed: not done in 60 s", 2.0, "–"),
    ],
)
def test_a_ratio_above_one_is_ours_ahead(measure: str, ours: float | str, theirs: float | str, ratio: str) -> None:
    assert BY_NAME[measure].ratio(ours, theirs) == ratio


def test_what_failed_is_a_row_with_its_reason() -> None:
    rows = [
        {"contender": "ours", "executions_per_call": 1, "per_s_1": 8.0, "join_s": 1.0},
        {"contender": "theirs", "executions_per_call": 1, "per_s_1": 4.0, "join_s": "failed: it said so"},
    ]
    measures = (BY_NAME["per_s_1"], BY_NAME["join_s"])
    assert beside({"rows": rows}, measures)[1:] == [
        ["ours", "1", "8", "1.0"],
        ["theirs", "1", "4", "failed"],
        ["ours: times as good as"],
        ["theirs", "", "2.0", "–"],
    ]
    assert reasons({"rows": rows}, measures) == ["theirs, join s: failed: it said so"]


ORPHAN = "import os, signal, sys; print(os.getpid(), flush=True); os.kill(os.getpid(), signal.SIGSTOP)"
HANGS = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {ORPHAN!r}], start_new_session=True).wait()"


@pytest.mark.parametrize(
    ("program", "limit_s", "why"),
    [
        ("raise SystemExit('no such luck')", 20.0, "no such luck"),
        (HANGS, 2.0, "not done in 2 s"),
        ("pass", 20.0, ""),
    ],
)
def test_a_case_that_fails_or_hangs_says_why_and_leaves_nobody(
    tmp_path: Path, program: str, limit_s: float, why: str
) -> None:
    log = tmp_path / "log"
    # In a process of its own, since it ends everybody who descends from it.
    caller = f"""
import sys
from pathlib import Path
from benchmarks.cases import run_within
print(run_within([sys.executable, "-c", {program!r}], {limit_s}, Path({str(log)!r})))
"""
    said = subprocess.run([sys.executable, "-c", caller], cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=60)
    assert said.stdout.strip() == why
    for pid in (line for line in log.read_text().splitlines() if line.isdigit()):
        assert not Path("/proc", pid).exists()
