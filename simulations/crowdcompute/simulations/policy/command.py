"""`report`: the whole matrix, as JSON and as a page. `validate`: the engine beside the real protocol code."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from .matrix import PLANS, Row, cells, measure
from .page import page
from .tables import markdown
from .validation import VALIDATED, compare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .matrix import Plan


def validate(arguments: list[str]) -> int:
    """Print a table for docs/verification.md; 1 if the two engines differ by more than is explained there."""
    parser = argparse.ArgumentParser(
        prog="python -m crowdcompute.simulations validate",
        description="Hold the policy engine against the real protocol code, on sizes both can run.",
    )
    parser.add_argument("--seeds", type=int, default=2, help="runs of the protocol code for each row (default: 2)")
    options = parser.parse_args(arguments)
    if options.seeds < 1:
        parser.error("--seeds must be at least 1")
    differences = []
    for size, name, liars, replication in VALIDATED:
        comparison = compare(size, name, liars, replication, options.seeds)
        print(comparison.line(), flush=True)
        differences += [f"{name}, {replication} votes: {what}" for what in comparison.differences()]
    for what in differences:
        print(f"FAILED: {what}", file=sys.stderr)
    return 1 if differences else 0


def report(arguments: list[str]) -> int:
    """Run the matrix and write its numbers, its page and its tables."""
    parser = argparse.ArgumentParser(
        prog="python -m crowdcompute.simulations report",
        description="Compare our verification with others', at full size: about ten minutes of one core.",
    )
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/verification.json"), help="the numbers")
    parser.add_argument("--html", type=Path, default=Path("out/verification.html"), help="the page")
    parser.add_argument("--markdown", type=Path, help="the tables of docs/verification.md")
    parser.add_argument(
        "--sizes", nargs="+", choices=[plan.size.name for plan in PLANS], help="only these (default: all)"
    )
    parser.add_argument("--seeds", type=int, help="seeds of each cell (default: 3 to 5)")
    parser.add_argument("--again", action="store_true", help="run nothing: show the numbers that --json has")
    options = parser.parse_args(arguments)
    if options.seeds is not None and options.seeds < 1:
        parser.error("--seeds must be at least 1")
    if options.again:
        try:
            told = json.loads(options.json.read_text())
            rows = [Row(**row) for row in told["rows"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"{parser.prog}: {options.json} holds no report: {error}", file=sys.stderr)
            return 2
    else:
        started_s = perf_counter()
        plans = tuple(plan for plan in PLANS if not options.sizes or plan.size.name in options.sizes)
        rows = list(_run(plans, options.seeds))
        told = {
            "made": datetime.now(UTC).strftime("%Y-%m-%d"),
            "minutes": round((perf_counter() - started_s) / 60, 1),
            "machine": f"{platform.machine()}, one core, Python {platform.python_version()}, numpy {np.__version__}",
            "rows": [row.as_json() for row in rows],
        }
        _write(options.json, _one_row_a_line(told))
    _write(options.html, page(rows, f"{told['made']}, {told['minutes']} minutes on {told['machine']}."))
    if options.markdown:
        _write(options.markdown, markdown(rows))
    print(f"{len(rows)} cells in {told['minutes']} minutes: {options.json}, {options.html}")
    return 0


def _run(plans: tuple[Plan, ...], seeds: int | None) -> Iterator[Row]:
    for plan, name, liars, scheme in cells(plans):
        row = measure(plan.size, name, liars, scheme, seeds or plan.seeds)
        print(
            f"{row.size} {liars:4.0%} {name:16} {scheme:18} error {row.error:8.1e}  cost {row.cost:6.3f}"
            f"  honest convicted {row.honest_convicted}",
            flush=True,
        )
        yield row


def _one_row_a_line(told: dict[str, Any]) -> str:
    """JSON that a person can search and a diff can show."""
    rows = ",\n".join(json.dumps(row) for row in told["rows"])
    head = json.dumps({name: value for name, value in told.items() if name != "rows"})[:-1]
    return f'{head}, "rows": [\n{rows}\n]}}\n'


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
