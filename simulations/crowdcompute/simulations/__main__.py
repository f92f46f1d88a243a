"""`python -m crowdcompute.simulations SCENARIO.toml --seed 7 [--story PEER|CHUNK]`, or `report`, `validate` or `swarm`

Runs the nodes' own protocol code under virtual time and prints a report. Exit codes: 0 all checks hold, 1 one does
not, 2 the scenario or the arguments are wrong. `report` compares the verification policy with others' at full size,
`validate` holds the engine it does that with against the real protocol code. `swarm` times a blob on its way to all.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from .dissemination_report import main as swarm
from .report import table
from .run import run
from .scenario import ScenarioError, load_scenario


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["swarm"]:
        return swarm(given[1:])
    if given[:1] in (["report"], ["validate"]):
        try:
            # Here, because nothing else needs numpy.
            from .policy import command
        except ModuleNotFoundError:
            print(f"`{given[0]}` needs numpy: .venv/bin/python -m pip install numpy", file=sys.stderr)
            return 2
        return command.report(given[1:]) if given[0] == "report" else command.validate(given[1:])
    parser = argparse.ArgumentParser(prog="python -m crowdcompute.simulations", description="Simulate one network.")
    parser.add_argument("scenario", type=Path, help="a TOML file; see simulations/scenarios/")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same run (default: 1)")
    parser.add_argument("--story", metavar="PEER|CHUNK", help="tell what happened to one peer or one chunk")
    options = parser.parse_args(given)
    try:
        scenario = load_scenario(options.scenario)
    except ScenarioError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    started_s = perf_counter()
    outcome = run(scenario, options.seed, story=options.story)
    wall_s = perf_counter() - started_s
    if options.story:
        print("\n".join(outcome.story))
    print(f"{scenario.name}, seed {options.seed}")
    print(table(outcome.figures))
    print(f"{outcome.figures['events'] / wall_s:,.0f} events/s, {wall_s:.1f} s of wall clock")
    print(f"trace {outcome.trace}")
    if outcome.failures:
        for failure in outcome.failures[:20]:
            print(f"FAILED: {failure}", file=sys.stderr)
        print(f"{len(outcome.failures)} checks failed: seed {options.seed}, commit {_commit()}", file=sys.stderr)
        return 1
    return 0


def _commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
