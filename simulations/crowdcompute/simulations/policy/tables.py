"""The report as Markdown tables, for docs/verification.md: costs beside the lower bounds, and every cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .bounds import cost_of_blind_audits, cost_of_honest_audits, share_at_best_play, share_at_constant_rate
from .schemes import OURS
from .sizes import SIZES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .matrix import Row
    from .sizes import Size


_STRATEGIC = ("pair", "rate", "sleeper", "few")


def bounds(rows: Sequence[Row]) -> str:
    """What the strategic liars that cost most cost, over the bounds (bounds.py) for one verdict and for two."""
    lines = [
        "| | size | liars | costs most | B3, one verdict | two verdicts | two, blind audits, best play |",
        f"|{'---|' * 7}",
    ]
    strategic = [row for row in rows if row.scheme in OURS and row.adversary.partition(":")[0] in _STRATEGIC]
    for scheme, size, liars in dict.fromkeys((row.scheme, row.size, row.liars) for row in strategic):
        if liars < 0.1 or size not in SIZES:
            continue
        worst = max(
            (row for row in strategic if (row.scheme, row.size, row.liars) == (scheme, size, liars)),
            key=lambda row: row.cost,
        )
        told = " | ".join(f"{worst.cost / bound:.2f} (of {bound:.2f})" for bound in _bounds(SIZES[size], liars))
        lines.append(
            f"| {scheme} | {size} | {liars:.0%} | {worst.adversary}: {worst.cost:.2f} "
            f"[{worst.cost_low:.2f}, {worst.cost_high:.2f}] | {told} |"
        )
    return "\n".join(lines) + "\n"


def _bounds(size: Size, liars: float) -> tuple[float, float, float]:
    each = size.chunks // size.workers
    return (
        cost_of_honest_audits(share_at_constant_rate(each, size.eps, liars, 1), liars),
        cost_of_honest_audits(share_at_constant_rate(each, size.eps, liars, 2), liars),
        cost_of_blind_audits(share_at_best_play(each, size.eps, liars, 2), liars),
    )


def markdown(rows: Sequence[Row]) -> str:
    """Every cell as `error / cost`, `error [low, high]` where the interval says more than that there was none."""
    parts = []
    for size in dict.fromkeys(row.size for row in rows):
        parts.append(f"### {size}\n")
        here = [row for row in rows if row.size == size]
        schemes = list(dict.fromkeys(row.scheme for row in here))
        lines = [f"| adversary, liars | {' | '.join(schemes)} |", f"|---|{'---|' * len(schemes)}"]
        for name, liars in dict.fromkeys((row.adversary, row.liars) for row in here):
            cells = {row.scheme: _cell(row) for row in here if (row.adversary, row.liars) == (name, liars)}
            told = " | ".join(cells.get(scheme, "") for scheme in schemes)
            lines.append(f"| {name}, {liars:.0%} | {told} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _cell(row: Row) -> str:
    open_ = "" if row.certified or not row.scheme.startswith("ours") else ", open"
    if not row.error:
        return f"0 / {row.cost:.2f}{open_}"
    return f"{_short(row.error)} [{_short(row.error_low)}, {_short(row.error_high)}] / {row.cost:.2f}{open_}"


def _short(share: float) -> str:
    return f"{share:.1e}".replace("e-0", "e-") if share else "0"
