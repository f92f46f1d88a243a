"""Does the policy engine say what the real protocol code does? Both on the same sizes, against the same liars.

The engine knows no batches, no latency and no end game, and the real code draws with other dice, so runs are not equal
one by one; their distributions should be, up to what those add (docs/verification.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean, stdev

from crowdcompute.simulations.run import run
from crowdcompute.simulations.scenario import Checks, LiarGroup, Network, Scenario, Task

from .adversaries import adversary
from .blind_audits import blind_audits
from .sizes import ASSUMED_LIARS, Size

POLICY_SEEDS = 40
"""Runs of the engine, which are cheap: enough that its own spread is known."""
COST_ADDED = 0.12
"""What batches in flight at a conviction, copies of the end game and lost races may add to the engine's cost."""
_SMALL, _LARGE = Size("V1", 30, 600, 0.02), Size("V2", 100, 2_000, 0.01)
VALIDATED = (
    (_SMALL, "honest", 0.0, 1),
    (_SMALL, "honest", 0.0, 2),
    (_SMALL, "colluding", 0.1, 1),
    (_SMALL, "colluding", 0.1, 2),
    (_SMALL, "rate:0.1", 0.1, 1),
    (_SMALL, "rate:0.1", 0.1, 2),
    (_SMALL, "accuser", 0.1, 1),
    (_SMALL, "accuser", 0.1, 2),
    (_SMALL, "flaky:0.01", 0.2, 1),
    (_SMALL, "flaky:0.01", 0.2, 2),
    (_LARGE, "colluding", 0.1, 1),
    (_LARGE, "rate:0.03", 0.2, 1),
    (_LARGE, "rate:0.03", 0.2, 2),
)
"""What `python -m crowdcompute.simulations validate` runs."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What both engines measure, one entry a run."""

    error: list[float]
    cost: list[float]
    convicted: list[float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same size, liars and policy in both engines."""

    size: Size
    adversary: str
    liars: float
    replication: int
    policy: Figures
    protocol: Figures
    failures: list[str]
    """Checks of the protocol's runs that did not hold."""

    def differences(self) -> list[str]:
        """Sentences about what the protocol's runs do that the engine's distribution does not explain."""
        found = list(self.failures)
        for what, policy, protocol, added in (
            ("cost", self.policy.cost, self.protocol.cost, COST_ADDED * mean(self.policy.cost)),
            ("convicted", self.policy.convicted, self.protocol.convicted, 1.0),
            ("error", self.policy.error, self.protocol.error, 1.0 / self.size.chunks),
        ):
            reach = 3 * stdev(policy)
            low, high = min(policy) - reach, max(policy) + reach + added
            if not low <= mean(protocol) <= high:
                found.append(f"{what} {mean(protocol):.4g} is not within {low:.4g} and {high:.4g}")
        return found

    def line(self) -> str:
        """One row of the table in docs/verification.md."""
        return (
            f"| {self.size.workers} × {self.size.chunks:,} | {self.adversary}, {self.liars:.0%} | {self.replication} | "
            f"{_spread(self.policy.cost, 3)} | {_spread(self.protocol.cost, 3)} | "
            f"{_spread(self.policy.convicted, 1)} | {_spread(self.protocol.convicted, 1)} | "
            f"{mean(self.policy.error):.1e} | {mean(self.protocol.error):.1e} |"
        )


def compare(size: Size, name: str, liars: float, replication: int, seeds: int) -> Comparison:
    """Run both engines; `name` is one of the network's liars, with its number behind a colon."""
    # The network's `rate` does not look whether it was asked.
    in_policy = name.replace("rate:", "blunt:")
    runs = [
        blind_audits(size, adversary(in_policy), liars, seed, replication=replication)
        for seed in range(1, POLICY_SEEDS + 1)
    ]
    policy = Figures(
        [result.wrong / size.chunks for result in runs],
        [result.executions / size.chunks for result in runs],
        [float(result.convicted) for result in runs],
    )
    protocol, failures = Figures([], [], []), []
    for seed in range(1, seeds + 1):
        outcome = run(_scenario(size, name, liars, replication), seed)
        protocol.error.append(outcome.figures["wrong results"] / size.chunks)
        protocol.cost.append(outcome.figures["votes per chunk"])
        protocol.convicted.append(outcome.figures["convicted"])
        failures += outcome.failures
    return Comparison(size, name, liars, replication, policy, protocol, failures)


def _scenario(size: Size, name: str, liars: float, replication: int) -> Scenario:
    kind, _, number = name.partition(":")
    group = LiarGroup(kind=kind, share=liars, rate=float(number or 0.0))
    return Scenario(
        name=f"{size.name} {name}",
        network=Network(peers=size.workers),
        task=Task(chunks=size.chunks, replication=replication, eps=size.eps, liars=ASSUMED_LIARS, chunk_s=2.0),
        # Small meshes and long batches: records cost most of the time, and are not what is compared.
        protocol={"batch_s": 8.0, "mesh_low": 2, "mesh_target": 3, "mesh_high": 4, "neighbours_target": 8},
        creator={"neighbours_target": 24},
        liars=() if name == "honest" else (group,),
        checks=Checks(stop_s=7_200.0, settle_s=1.0, every_s=600.0, wrong_results_max=size.chunks),
    )


def _spread(values: list[float], digits: int) -> str:
    spread = stdev(values) if len(values) > 1 else 0.0
    return f"{mean(values):.{digits}f} ± {spread:.{digits}f}"
