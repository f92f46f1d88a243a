"""`make bench`: everything that is measured, in one go, with one table of ours beside the others at its end.

    python -m benchmarks.run [--full] [--only NAME ...] [--record] [--list]

Sizes are small, about 20 minutes on a quiet machine of two cores; --full has the full ones, an hour and a half, and
leaves what it found in benchmarks/results/NAME.json as well. Each part is a program of its own (benchmarks/NAME.py)
whose cases are limited in time: what fails is a row that says why, and the exit code is 1 in the end.

All that was found goes to benchmarks/results/bench.json, its tables into docs/benchmarks.md (tables.py). With --only
it goes to out/bench/ instead; with --record as well it replaces these parts in the results, as after one that failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cases import LOGS, RESULTS, ROOT, SMALL_RESULTS, machine, run_within, write_json
from benchmarks.tables import BUSY, DOCUMENT, RESULT, beside, course, document, reasons, says, text

from crowdcompute.creator import chromium
from crowdcompute.node.exits import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable


def needs_chromium() -> str:
    try:
        chromium.find()
    except CommandError as error:
        return str(error)
    return ""


def needs_libp2p() -> str:
    return "" if find_spec("libp2p") else "needs libp2p: pip install 'crowdcompute[libp2p]'"


def needs_root() -> str:
    if os.geteuid():
        return "needs root, for network namespaces: sudo make bench"
    return "" if shutil.which("ip") else "needs network namespaces: apt-get install iproute2"


def needs_nothing() -> str:
    return ""


@dataclass(frozen=True)
class Part:
    name: str
    what: str
    quick_s: int | None
    """About how long it takes on a quiet machine of two cores; None where only --full has it."""
    full_s: int
    missing: Callable[[], str] = needs_nothing
    """What it lacks on this machine, if anything."""
    command: tuple[str, ...] = ()
    """Where it is not benchmarks/NAME.py, which writes into `--output` and knows `--quick`."""
    quick_options: tuple[str, ...] = ()
    full_options: tuple[str, ...] = ()
    kept: bool = True
    """Whether its whole report goes into the one file; its line does always."""

    def expected_s(self, full: bool) -> int:
        return self.full_s if full else self.quick_s or 0

    def limit_s(self, full: bool) -> float:
        """Its cases have limits of their own; this is for what nobody thought of, on a machine of any load."""
        return 300.0 + 6 * self.expected_s(full)

    def arguments(self, output: Path, full: bool) -> list[str]:
        options = self.full_options if full else self.quick_options
        if self.command:
            return [*self.command, str(output), *options]
        return ["-m", f"benchmarks.{self.name}", "--output", str(output), *(() if full else ("--quick",)), *options]


SIMULATIONS = ("-m", "crowdcompute.simulations")
PARTS = (
    Part("peers", "ours beside the executors people would pick", 500, 900),
    Part("chunk_overhead", "a tiny chunk through the sandbox, beside a process pool without one", 10, 25),
    Part(
        "rules",
        "what the rules themselves cost a chunk",
        8,
        30,
        command=("-m", "benchmarks.rules", "--output"),
        quick_options=("--chunks", "10000"),
    ),
    Part("network", "tasks of many small chunks on a network with two votes each", 25, 60),
    Part(
        "links",
        "each kind of link; the first verified chunk of a new network",
        50,
        120,
        needs_libp2p,
    ),
    Part("stacks", "what a call costs over each kind of link", 60, 250),
    Part("lossy_links", "what links carry over a bad line, and several together", 35, 60),
    Part("link_soak", "what thousands of links leave behind", 30, 400),
    Part("swarm", "a blob to volunteers with capped uploads, beside its simulation", 40, 60),
    Part(
        "dissemination",
        "the same, simulated: many peers, equal and mixed uploads",
        15,
        500,
        command=(*SIMULATIONS, "swarm", "--out"),
        quick_options=("--pieces", "128", "--seeds", "1"),
        full_options=("--peers", "100", "1000", "--seeds", "1"),
    ),
    Part("reconcile", "what it costs two neighbours to learn what the other lacks", 25, 90),
    Part("signaling", "one signaling server under load", 45, 130),
    Part("scale", "what grows with the network, simulated", 150, 1_500),
    Part("browser", "the page in a real Chromium", 120, 240, needs_chromium),
    Part(
        "verification",
        "our verification beside that of others, simulated: its page is out/verification.html",
        170,
        600,
        command=(*SIMULATIONS, "report", "--json"),
        quick_options=("--sizes", "S1", "--seeds", "1"),
        kept=False,
    ),
    Part(
        "stopped",
        "a machine that stops answering while all others are busy",
        None,
        150,
        needs_root,
        command=("-m", "benchmarks.stopped", "--out"),
    ),
    Part(
        "churn",
        "a job among machines that die",
        None,
        250,
        needs_root,
        command=("-m", "benchmarks.churn", "--out"),
    ),
)


def busy() -> float:
    """The share of all cores that others use just now; nothing of ours runs."""

    def ticks() -> tuple[int, int]:
        fields = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]

    total, idle = ticks()
    time.sleep(1.0)
    total_then, idle_then = ticks()
    return 1 - (idle_then - idle) / max(1, total_then - total)


def run_part(part: Part, full: bool) -> dict[str, Any]:
    """What became of it: its report, or why there is none."""
    output = SMALL_RESULTS / f"{part.name}.json"
    output.unlink(missing_ok=True)
    load, used = os.getloadavg()[0], busy()
    about = f"about {part.expected_s(full)} s; load average {load:.1f}, others use {used:.0%} of the cores"
    print(f"\n== {part.name}: {part.what}\n   {about}", flush=True)
    if used > BUSY:
        print("   WARNING: the machine is busy. Read ratios, if anything.", flush=True)
    found: dict[str, Any] = {
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "load": round(load, 1),
        "others_use": round(used, 2),
        "left_out": part.missing(),
        "failed": {},
        "says": [],
    }
    began = time.monotonic()
    if found["left_out"]:
        print(f"   left out: {found['left_out']}", flush=True)
    else:
        why = run_within([sys.executable, *part.arguments(output, full)], part.limit_s(full))
        report = json.loads(output.read_text()) if output.exists() else {}
        found["failed"] = dict(report.get("failed", {})) or ({part.name: why} if why else {})
        if report:
            try:
                found["says"] = says(part.name, report)
            except (KeyError, IndexError, StopIteration):  # Something of it is missing, and it has said so.
                found["failed"].setdefault(part.name, "its report is not whole")
            if part.kept:
                found["report"] = report
            if full and not found["failed"]:
                shutil.copy(output, RESULTS / output.name)
    found["seconds"] = round(time.monotonic() - began, 1)
    print(f"   {part.name} took {found['seconds']:.0f} s{', FAILED' if found['failed'] else ''}", flush=True)
    return found


def commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return said or "unknown"


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.run", description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--full", action="store_true", help="full sizes: about an hour and a half")
    arguments.add_argument(
        "--only", nargs="+", metavar="NAME", choices=[part.name for part in PARTS], help="these parts"
    )
    arguments.add_argument("--record", action="store_true", help="with --only: into benchmarks/results/bench.json")
    arguments.add_argument("--list", action="store_true", help="what there is, and how long it takes")
    options = arguments.parse_args()
    parts = [part for part in PARTS if part.name in options.only] if options.only else PARTS
    parts = [part for part in parts if options.full or part.quick_s is not None]
    expected_s = sum(part.expected_s(options.full) for part in parts)
    for part in PARTS if options.list else parts:
        quick = "–" if part.quick_s is None else f"{part.quick_s} s"
        print(f"{part.name:16} {quick:>6}  --full {part.full_s:5} s  {part.what}")
    if options.list:
        return 0
    print(f"together about {expected_s / 60:.0f} minutes; what cases say is in {LOGS.relative_to(ROOT)}/", flush=True)
    recorded = not options.only or options.record
    bench: dict[str, Any] = {"parts": {}}
    if options.only and options.record and RESULT.exists():
        bench = json.loads(RESULT.read_text())
    else:
        bench |= {"machine": machine(), "made": datetime.now(UTC).strftime("%Y-%m-%d"), "commit": commit()}
        bench["size"] = "full" if options.full else "quick"
    to = RESULT if recorded else SMALL_RESULTS / "bench.json"
    began = time.monotonic()
    for part in parts:
        bench["parts"][part.name] = run_part(part, options.full)
        bench["seconds"] = round(sum(each["seconds"] for each in bench["parts"].values()))
        write_json(to, bench)
    print(f"\n{text(course(bench))}")
    if peers := bench["parts"].get("peers", {}).get("report"):
        print("", text(beside(peers)), "", *reasons(peers), sep="\n")
        if recorded:
            DOCUMENT.write_text(document(DOCUMENT.read_text(), bench))
    failed = [f"{name}: {case}" for name, part in bench["parts"].items() for case in part["failed"]]
    minutes = f"{(time.monotonic() - began) / 60:.1f} minutes, about {expected_s / 60:.0f} were expected"
    print(f"\n{minutes}; {to.relative_to(ROOT)}{' and docs/benchmarks.md' if recorded else ''}")
    busiest = max(part["others_use"] for part in bench["parts"].values())
    if busiest > BUSY:
        print(f"WARNING: others used up to {busiest:.0%} of the cores. Read ratios, if anything.")
    if failed:
        print(f"{len(failed)} cases FAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
