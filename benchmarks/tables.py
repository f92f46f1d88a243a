"""What `make bench` has found as tables: at its end, and in docs/benchmarks.md, which thus cannot say anything else.

    python -m benchmarks.tables        writes the tables of benchmarks/results/bench.json into docs/benchmarks.md

There they stand between `<!-- bench: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "bench.json"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
IN_FLIGHT = (1, 16, 64)
BUSY = 0.15
"""Share of the cores that others use beyond which numbers say little."""

Table = list[list[str]]
"""Rows of cells, the heads first; a row of one cell is a heading."""


@dataclass(frozen=True)
class Measure:
    """A column. Where there is no number a row has `word: why`."""

    name: str
    head: str
    places: int = 0
    unit: float = 1.0
    more_is_better: bool = True

    def cell(self, row: dict[str, Any]) -> str:
        value = row.get(self.name)
        if isinstance(value, str):
            return value.partition(":")[0]
        return "–" if value is None else f"{value / self.unit:,.{self.places}f}"

    def ratio(self, ours: Any, theirs: Any) -> str:
        """How many times as good ours is."""
        if isinstance(ours, str) or ours is None:
            return "–"
        if isinstance(theirs, str) or theirs is None:
            return "∞" if str(theirs).startswith("never") else "–"
        above, below = (ours, theirs) if self.more_is_better else (theirs, ours)
        if not below:
            return "∞" if above else "1.0"
        times = above / below
        return f"{times:,.0f}" if times >= 10 else f"{times:.1f}" if times >= 1 else f"{times:.2g}"


DISPATCH = (
    *(Measure(f"per_s_{count}", f"{count}/s" if count == 1 else f"{count}") for count in IN_FLIGHT),
    Measure("per_s_all", "all"),
    Measure("round_trip_ms", "trip ms", 1, more_is_better=False),
    Measure("cpu_ms", "CPU ms", 2, more_is_better=False),
    Measure("memory_mb", "MB", more_is_better=False),
)
WORK = (
    Measure("collatz_per_s", "Collatz M/s", 1, 1e6),
    Measure("tiles_per_s", "tiles/s"),
    Measure("bulk_mb_per_s", "bulk MB/s"),
    Measure("join_s", "join s", 1, more_is_better=False),
    Measure("recovery_s", "recover s", 1, more_is_better=False),
)
MEASURES = (*DISPATCH, *WORK)


def beside(peers: dict[str, Any], measures: tuple[Measure, ...] = MEASURES) -> Table:
    """Everybody's numbers, and below them how many times as good each of ours is as each other."""
    rows = {row["contender"]: row for row in peers["rows"]}
    ours = [name for name in rows if name.startswith("ours")]
    table = [["", "runs", *(measure.head for measure in measures)]]
    for name, row in rows.items():
        table.append([name, str(row["executions_per_call"]), *(measure.cell(row) for measure in measures)])
    for mine in ours:
        table.append([f"{mine}: times as good as"])
        for name, row in rows.items():
            if name not in ours:
                ratios = [measure.ratio(rows[mine].get(measure.name), row.get(measure.name)) for measure in measures]
                table.append([name, "", *ratios])
    return table


def reasons(peers: dict[str, Any], measures: tuple[Measure, ...] = MEASURES) -> list[str]:
    """Why there is no number, for each that is missing."""
    why: dict[tuple[str, str], list[str]] = {}
    for row in peers["rows"]:
        for measure in measures:
            if isinstance(value := row.get(measure.name), str):
                why.setdefault((row["contender"], value), []).append(measure.head)
    return [f"{name}, {', '.join(heads)}: {value}" for (name, value), heads in why.items()]


def course(bench: dict[str, Any]) -> Table:
    """What was run, how long it took, on how busy a machine, and what it says in a line."""
    table = [["", "s", "load", "", "says"]]
    for name, part in bench["parts"].items():
        failed = [f"{case}: {why}" for case, why in part["failed"].items()]
        outcome = "left out" if part["left_out"] else "failed" if failed else "ok"
        says = [part["left_out"]] if part["left_out"] else [*failed, *part["says"]]
        table.append([name, f"{part['seconds']:.0f}", f"{part['load']:.1f}", outcome, "; ".join(filter(None, says))])
    return table


# ---- what each part says in a line; a part may lack what has failed


def says(name: str, report: dict[str, Any]) -> list[str]:
    """Numbers of a part's report worth a line."""
    return [line for line in SAYS[name](report)] if name in SAYS else []


def _of_overhead(report: dict[str, Any]) -> list[str]:
    spent = report["microseconds_per_chunk"]
    names = ("batches of 1", "batches of 1024")
    return [
        f"{each}: {spent[f'pool, {each}']:.0f} µs, unconfined {spent[f'ProcessPoolExecutor, {each}']:.0f}"
        for each in names
    ]


def _of_rules(report: dict[str, Any]) -> list[str]:
    return [
        f"{row['votes']} votes: creator {row['creator_us']:.0f} µs, volunteers {row['volunteers_us']:.0f}"
        for row in report["rows"]
    ]


def _of_network(report: dict[str, Any]) -> list[str]:
    return [f"{row['task']} {row['chunks_per_s']:,.0f} chunks/s, two votes each" for row in report["rows"]]


def _of_reconcile(report: dict[str, Any]) -> list[str]:
    row = next(row for row in report["rows"] if (row["set_size"], row["missing"], row["surplus"]) == (10_000, 50, 50))
    return [f"100 of 10,000 records: {row['total_bytes']:,} bytes, all ids {row['all_ids_bytes']:,}"]


def _of_links(report: dict[str, Any]) -> list[str]:
    trip, bulk = "1 in flight, trip ms", "in one go, MB/s"
    carried = [f"{kind} {row[bulk]:.0f} MB/s, trip {row[trip]:.1f} ms" for kind, row in report["links"].items()]
    return [
        *carried,
        *(f"first chunk {way} {took_s:.1f} s" for way, took_s in report["first_verified_chunk_s"].items()),
    ]


def _of_swarm(report: dict[str, Any]) -> list[str]:
    return [f"{report['real_ratio']:.2f} times the least time, simulated {report['simulated_ratio']:.2f}"]


def _of_dissemination(report: dict[str, Any]) -> list[str]:
    return [
        f"{row['peers']} peers, {row['uploads']} uploads: {row['ratio']:.2f} times the least time"
        for row in report["rows"]
    ]


def _of_signaling(report: dict[str, Any]) -> list[str]:
    row = report["rows"][-1]
    return [
        f"{row['peers']:,} peers: {row['introductions_per_s']:,.0f} introductions/s, {row['kb_per_peer']:.0f} kB each"
    ]


def _of_scale(report: dict[str, Any]) -> list[str]:
    row = report["hearing"][-1]
    return [f"{row['peers']:,} peers: 99 % hear in {row['heard_99_s']:.1f} s, {row['bytes_per_s_mean']:.0f} B/s each"]


def _of_browser(report: dict[str, Any]) -> list[str]:
    return [f"{row['what']} {row['value']:,.1f} {row['unit']}" for row in report["rows"] if row["goal"]]


def _of_lossy_links(report: dict[str, Any]) -> list[str]:
    rows = [row for row in report["rows"] if row["loss"]]
    return [
        f"{row['stack']}, {row['neighbours']} neighbours: {row['megabytes'] / row['seconds']:.2f} MB/s" for row in rows
    ]


def _of_link_soak(report: dict[str, Any]) -> list[str]:
    return [
        f"{row['stacks']} {row['rss_mb'][-1] - row['rss_mb'][1]:+.1f} MB in {row['cycles']} cycles"
        for row in report["rows"]
    ]


def _of_verification(report: dict[str, Any]) -> list[str]:
    return [f"{len(report['rows'])} cells in {report['minutes']:.1f} minutes"]


def _of_stacks(report: dict[str, Any]) -> list[str]:
    trip, rate, bulk = "1 in flight, trip ms", "64 in flight, calls/s", "bulk, MB/s"
    return [
        f"{kind}: a call {row[trip]:.1f} ms, 64 in flight {row[rate]:,.0f}/s, bulk {row[bulk]:.0f} MB/s"
        for kind, row in report["kinds"].items()
    ]


def _of_stopped(report: dict[str, Any]) -> list[str]:
    after, most = report["begun elsewhere after, median s"], report["begun elsewhere after, most s"]
    return [f"{report['chunks']} chunks begun elsewhere after {after:.1f} s, {most:.1f} at most"]


SAYS = {
    "chunk_overhead": _of_overhead,
    "rules": _of_rules,
    "network": _of_network,
    "reconcile": _of_reconcile,
    "links": _of_links,
    "stacks": _of_stacks,
    "swarm": _of_swarm,
    "dissemination": _of_dissemination,
    "signaling": _of_signaling,
    "scale": _of_scale,
    "browser": _of_browser,
    "lossy_links": _of_lossy_links,
    "link_soak": _of_link_soak,
    "verification": _of_verification,
    "stopped": _of_stopped,
}


# ---- how a table looks


def text(table: Table) -> str:
    """Aligned, for a terminal."""
    full = [row for row in table if len(row) > 1]
    widths = [max(len(row[column]) for row in full) for column in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [
            f"{row[0]:{widths[0]}}",
            *(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=False)),
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown(table: Table) -> str:
    heads, *rows = table
    lines = [
        heads,
        ["---"] * len(heads),
        *([f"**{row[0]}**", *[""] * (len(heads) - 1)] if len(row) == 1 else row for row in rows),
    ]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


def listed(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def rendered(bench: dict[str, Any]) -> dict[str, str]:
    """Each part of the document that is made from results, by its name."""
    peers = bench["parts"]["peers"]["report"]
    size = " ARGS=--full" if bench["size"] == "full" else ""
    busy = max(part["others_use"] for part in bench["parts"].values())
    said = f"others used up to {busy:.0%} of the cores{' (**read ratios, if anything**)' if busy > BUSY else ''}"
    minutes = f"{bench['seconds'] / 60:.0f} minutes on {bench['machine']}"
    run = f"`make bench{size}` of {bench['made']}: {minutes}; {said}; commit {bench['commit']}."
    return {
        "run": run,
        "dispatch": markdown(beside(peers, DISPATCH)),
        "work": markdown(beside(peers, WORK)),
        "reasons": listed(reasons(peers)),
        "course": markdown(course(bench)),
    }


def document(written: str, bench: dict[str, Any]) -> str:
    """The document with its tables as the results say."""
    for name, made in rendered(bench).items():
        place = re.compile(rf"(<!-- bench: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        written = place.sub(lambda found, made=made: f"{found[1]}\n{made}\n\n{found[2]}", written)  # type: ignore[misc]
    return written


def main() -> int:
    DOCUMENT.write_text(document(DOCUMENT.read_text(), json.loads(RESULT.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
