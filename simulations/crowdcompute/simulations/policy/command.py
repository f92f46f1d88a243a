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
from .schemes import OURS, SCHEMES
from .tables import bounds, markdown
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
    parser.add_argument("--ours", action="store_true", help="run our own schemes; keep what --json has of the others")
    parser.add_argument("--again", action="store_true", help="run nothing: show the numbers that --json has")
    options = parser.parse_args(arguments)
    if options.seeds is not None and options.seeds < 1:
        parser.error("--seeds must be at least 1")
    told: dict[str, Any] = {"rows": []}
    if options.again or options.ours:
        try:
            told = json.loads(options.json.read_text())
            rows = [Row(**row) for row in told["rows"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"{parser.prog}: {options.json} holds no report: {error}", file=sys.stderr)
            return 2
    if not options.again:
        started_s = perf_counter()
        plans = tuple(plan for plan in PLANS if not options.sizes or plan.size.name in options.sizes)
        numbers = {_cell(row): row for row in told["rows"]}
        machine = f"{platform.machine()}, one core, Python {platform.python_version()}, numpy {np.__version__}"
        for row in _run(plans, options.seeds, OURS if options.ours else tuple(SCHEMES)):
            numbers[_cell(row.as_json())] = row.as_json()
            told = {
                "made": datetime.now(UTC).strftime("%Y-%m-%d"),
                "minutes": round((perf_counter() - started_s) / 60, 1),
                "machine": machine,
                "rows": list(numbers.values()),
            }
            _write(options.json, _one_row_a_line(told))  # After each: a run of an hour may be stopped.
        rows = [Row(**row) for row in told["rows"]]
    _write(options.html, page(rows, f"{told['made']}, {told['minutes']} minutes on {told['machine']}."))
    if options.markdown:
        _write(options.markdown, f"### Beside the lower bounds\n\n{bounds(rows)}\n{markdown(rows)}")
    print(f"{len(rows)} cells in {told['minutes']} minutes: {options.json}, {options.html}")
    return 0


def _cell(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["size"], row["adversary"], row["liars"], row["scheme"]


def _run(plans: tuple[Plan, ...], seeds: int | None, schemes: tuple[str, ...]) -> Iterator[Row]:
    for plan, name, liars, scheme in cells(plans):
        if scheme not in schemes:
            continue
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
