"""Every scheme against every adversary, on the same tasks: what is run, and the numbers it gives."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .adversaries import adversary
from .intervals import error_share, student, wilson
from .schemes import BASELINES, OURS, SCHEMES
from .sizes import SIZES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .sizes import Size

SHARES = (0.01, 0.05, 0.10, 0.20, 0.30)
"""Lying machines; what every scheme assumes is 20%, so the last breaks the promise's condition."""

_BLIND = ("alone", "colluding")
_TUNED = tuple(f"rate:{share}" for share in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3))
_SLEEPERS = ("sleeper:3", "sleeper:10")
_FEW = ("few:1", "few:3")
_ASKED = ("accuser", "lazy:0.1")
"""These lie only when somebody asks them to confirm another's: a scheme in which all copies are blind never does."""
_COMING_BACK = ("whitewasher", "whitewasher:0.03")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run at one size."""

    size: Size
    adversaries: tuple[str, ...]
    schemes: tuple[str, ...]
    seeds: int


PLANS = (
    Plan(
        SIZES["S1"],
        (*_BLIND, "pair", *_TUNED[:4], "sleeper:10", "few:1", "flaky:0.0001"),
        (*OURS, *BASELINES),
        seeds=3,
    ),
    Plan(
        SIZES["S2"],
        (*_BLIND, "pair", *_TUNED, *_SLEEPERS, *_FEW, *_ASKED, "flaky:0.001", *_COMING_BACK, "sybils"),
        (*OURS, *BASELINES),
        seeds=5,
    ),
    Plan(
        SIZES["S3"],
        (*_BLIND, "pair", *_TUNED[2:], *_SLEEPERS, *_FEW, *_ASKED, "flaky:0.001", *_COMING_BACK, "sybils"),
        (*OURS, *BASELINES),
        seeds=3,
    ),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One scheme against one adversary, over some seeds. Intervals are of 95% (intervals.py)."""

    size: str
    adversary: str
    liars: float
    scheme: str
    seeds: int
    error: float
    error_low: float
    error_high: float
    error_max: float
    over_eps: float
    """Share of runs with more than eps wrong."""
    over_eps_high: float
    cost: float
    """Executions a chunk, the creator's included."""
    cost_low: float
    cost_high: float
    creator: float
    """Of these, the creator's."""
    convicted: float
    honest_convicted: int
    undecided: float
    """Share of chunks without a result."""
    certified: float
    """Share of runs that the scheme ended with its own promise."""

    def as_json(self) -> dict[str, Any]:
        """Numbers of five digits, which is more than their intervals deserve."""
        return {
            name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in asdict(self).items()
        }


def cells(plans: tuple[Plan, ...]) -> Iterator[tuple[Plan, str, float, str]]:
    """(plan, adversary, liars, scheme), in the order in which they are run."""
    for plan in plans:
        for scheme in plan.schemes:
            yield plan, "honest", 0.0, scheme
        for name in plan.adversaries:
            for liars in SHARES:
                for scheme in plan.schemes:
                    if name not in _ASKED or scheme not in BASELINES:
                        yield plan, name, liars, scheme


def measure(size: Size, name: str, liars: float, scheme: str, seeds: int) -> Row:
    """Run one cell: seeds 1 to `seeds`, the same for every scheme."""
    results = [SCHEMES[scheme](size, adversary(name), liars, seed) for seed in range(1, seeds + 1)]
    wrong = [result.wrong for result in results]
    error = error_share(wrong, size.chunks)
    over = wilson(sum(count > size.eps * size.chunks for count in wrong), seeds)
    cost = student([result.executions / size.chunks for result in results])
    return Row(
        size=size.name,
        adversary=name,
        liars=liars,
        scheme=scheme,
        seeds=seeds,
        error=error.mean,
        error_low=error.low,
        error_high=error.high,
        error_max=max(wrong) / size.chunks,
        over_eps=over.mean,
        over_eps_high=over.high,
        cost=cost.mean,
        cost_low=cost.low,
        cost_high=cost.high,
        creator=sum(result.creator_executions for result in results) / seeds / size.chunks,
        convicted=sum(result.convicted for result in results) / seeds,
        honest_convicted=sum(result.honest_convicted for result in results),
        undecided=sum(result.undecided for result in results) / seeds / size.chunks,
        certified=sum(result.certified for result in results) / seeds,
    )
