"""Intervals are those of the textbooks, and the report shows what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from crowdcompute.simulations.__main__ import main
from crowdcompute.simulations.policy.intervals import error_share, student, wilson
from crowdcompute.simulations.policy.matrix import PLANS, Plan, cells, measure
from crowdcompute.simulations.policy.page import page
from crowdcompute.simulations.policy.schemes import BASELINES, OURS
from crowdcompute.simulations.policy.sizes import Size

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Size("small", 50, 500, 0.02)


def test_student_gives_the_textbook_interval() -> None:
    mean, low, high = student([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5
    assert (low, high) == pytest.approx((0.446, 4.554), abs=1e-3)
    assert student([3.0]) == (3.0, 3.0, 3.0)


def test_wilson_gives_the_textbook_interval() -> None:
    assert wilson(4, 10) == pytest.approx((0.4, 0.1682, 0.6873), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.0, 0.2775), abs=1e-4)


def test_no_error_in_some_runs_does_not_prove_that_there_is_none() -> None:
    assert error_share([0, 0, 0], 1_000).high == wilson(0, 3_000).high > 0
    assert error_share([0, 90], 1_000).high > wilson(90, 2_000).high


def test_the_matrix_has_every_share_of_liars_against_ours_and_the_others() -> None:
    planned = list(cells(PLANS))
    assert {plan.size.name for plan, *_ in planned} == {"S1", "S2", "S3"}
    for plan in PLANS:
        for scheme in (*OURS, *BASELINES):
            shares = {liars for p, name, liars, s in planned if (p, name, s) == (plan, "colluding", scheme)}
            assert shares == {0.01, 0.05, 0.1, 0.2, 0.3}


def test_the_page_is_well_formed_and_shows_every_number() -> None:
    rows = [
        measure(SMALL, name, liars, scheme, 2)
        for name, liars in (("honest", 0.0), ("colluding", 0.1), ("colluding", 0.3))
        for scheme in ("ours, 1 vote", "2 of 3")
    ]
    text = page(rows, "made by a test")
    # Everything is in the page itself, and nothing is fetched from elsewhere.
    assert "http" not in text
    assert "src=" not in text
    for row in rows:
        assert f"/ {row.cost:.2f}" in text
    svgs = [part.split("</svg>")[0] for part in text.split("<svg")[1:]]
    assert len(svgs) == 2
    for svg in svgs:
        ElementTree.fromstring(f"<svg{svg}</svg>")
    json.dumps([row.as_json() for row in rows])


def test_the_numbers_of_an_earlier_run_are_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers, shown, tables = tmp_path / "numbers.json", tmp_path / "deep" / "page.html", tmp_path / "tables.md"
    row = measure(SMALL, "rate:0.3", 0.3, "2 of 3", 2)
    numbers.write_text(json.dumps({"made": "today", "minutes": 1, "machine": "here", "rows": [row.as_json()]}))
    options = ["--again", "--json", str(numbers), "--html", str(shown), "--markdown", str(tables)]
    assert main(["report", *options]) == 0
    assert "today" in shown.read_text()
    assert f" / {row.cost:.2f} |" in tables.read_text()
    numbers.write_text("{}")
    assert main(["report", *options]) == 2
    assert "holds no report" in capsys.readouterr().err


def test_our_own_cells_are_run_again_beside_the_numbers_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = tmp_path / "numbers.json"
    theirs = measure(SMALL, "colluding", 0.3, "2 of 3", 1)
    ours = replace(measure(SMALL, "colluding", 0.3, "ours, 1 vote", 1), cost=9.0)
    told = {"made": "then", "minutes": 1, "machine": "there", "rows": [theirs.as_json(), ours.as_json()]}
    numbers.write_text(json.dumps(told))
    plan = Plan(SMALL, ("colluding",), ("ours, 1 vote", "2 of 3"), 1)
    monkeypatch.setattr("crowdcompute.simulations.policy.command.PLANS", (plan,))
    assert main(["report", "--ours", "--json", str(numbers), "--html", str(tmp_path / "page.html")]) == 0
    rows = {(row["scheme"], row["liars"]): row["cost"] for row in json.loads(numbers.read_text())["rows"]}
    assert len(rows) == 1 + 6
    assert rows["2 of 3", 0.3] == theirs.as_json()["cost"]
    assert 1 < rows["ours, 1 vote", 0.3] < 9


@pytest.mark.parametrize("command", ["report", "validate"])
def test_no_seeds_are_a_usage_error(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([command, "--seeds", "0"])
    assert "--seeds must be at least 1" in capsys.readouterr().err
