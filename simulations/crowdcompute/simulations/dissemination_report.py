"""`python -m crowdcompute.simulations swarm`: dissemination against the least time there is, over seeds, as a table.

A run of 1,000 peers takes minutes; settings run in processes of their own.
"""

from __future__ import annotations

import argparse
import json
import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from .dissemination import Dissemination, Setting, Spread

STUDENT_95 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}
"""Of a mean over one more seeds than that."""


def main(arguments: list[str]) -> int:
    """Run what is asked for, print a table, and write it down."""
    parser = argparse.ArgumentParser(prog="python -m crowdcompute.simulations swarm")
    parser.add_argument("--peers", type=int, nargs="+", default=[100])
    parser.add_argument("--uploads", choices=["equal", "mixed"], nargs="+", default=["equal", "mixed"])
    parser.add_argument("--pieces", type=int, default=512, help="of 64 KiB (default: 512, 32 MiB)")
    parser.add_argument("--degree", type=int, default=16)
    parser.add_argument("--upload", type=float, default=1.25e6, help="bytes a second, mean over peers")
    parser.add_argument("--source", type=float, default=4.0, help="the source's upload in means (default: 4)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="append to this JSON file")
    options = parser.parse_args(arguments)
    settings = [
        Setting(peers, options.pieces, uploads, options.degree, options.upload, options.source)
        for peers in options.peers
        for uploads in options.uploads
    ]
    rows = [] if options.out is None or not options.out.exists() else json.loads(options.out.read_text())["rows"]
    print(f"{'peers':>6} {'uploads':>8} {'pieces':>7} {'bound, s':>9} {'last / bound':>18} {'sent twice':>11}")
    with ProcessPoolExecutor(options.jobs) as pool:
        runs = {
            setting: [pool.submit(_spread, setting, seed) for seed in range(1, options.seeds + 1)]
            for setting in settings
        }
        for setting, running in runs.items():
            row = _row(setting, [run.result() for run in running])
            rows.append(row)
            ratio = (
                f"{row['ratio']:.3f} ± {row['ratio_95']:.3f}" if row["ratio_95"] is not None else f"{row['ratio']:.3f}"
            )
            print(
                f"{setting.peers:>6} {setting.uploads:>8} {setting.pieces:>7} {row['bound_s']:>9.2f} {ratio:>18} "
                f"{row['sent_twice']:>11.1%}",
                flush=True,
            )
            if options.out is not None:
                options.out.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    return 0


def _spread(setting: Setting, seed: int) -> Spread:
    return Dissemination(setting, seed).run()


def _row(setting: Setting, spreads: list[Spread]) -> dict[str, Any]:
    ratios = [spread.ratio for spread in spreads]
    seeds = len(spreads)
    half = None if seeds < 2 else STUDENT_95.get(seeds - 1, 1.96) * stdev(ratios) / math.sqrt(seeds)
    return {
        **asdict(setting),
        "seeds": seeds,
        "bound_s": fmean(spread.bound_s for spread in spreads),
        "ratio": fmean(ratios),
        "ratio_95": half,
        "ratio_worst": max(ratios),
        "median_ratio": fmean(spread.median_s / spread.bound_s for spread in spreads),
        "sent_twice": fmean(spread.sent_twice for spread in spreads),
        "source_copies": fmean(spread.source_copies for spread in spreads),
        "control_bytes_per_peer": fmean(spread.control_bytes_per_peer for spread in spreads),
    }
