"""The report as Markdown tables, for docs/verification.md: one a size and scheme, liars down, adversaries across."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .matrix import Row


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
