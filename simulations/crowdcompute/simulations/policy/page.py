"""The report as one self-contained page: error and cost of every scheme, per adversary and share of liars."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .charts import Axis, Line, chart
from .intervals import Interval
from .sizes import ASSUMED_LIARS, SIZES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .matrix import Row

_COLORS = {
    "ours, 1 vote": "#0b6e4f",
    "ours, 2 votes": "#2a9df4",
    "first 2 equal": "#8d8d8d",
    "2 of 3": "#444444",
    "BOINC adaptive": "#d1495b",
    "credibility": "#edae49",
}
_STYLE = """
body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:82rem;padding:0 1rem;color:#1c1c1c;background:#fff}
h1,h2,h3{line-height:1.2} table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:1rem 0}
th,td{padding:.15rem .6rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
th:first-child,td:first-child{text-align:left} td.over{background:#fde2e2}
.charts{display:flex;flex-wrap:wrap;gap:.5rem}
.wide{overflow-x:auto} .key span{display:inline-block;margin-right:1.2rem} .key i{display:inline-block;width:.9rem;
height:.9rem;margin-right:.3rem;vertical-align:-.1rem;border-radius:2px}
svg text{font:11px system-ui,sans-serif;fill:#333} svg .title{font-weight:600} svg .up{text-anchor:end} svg .across
{text-anchor:middle} svg .grid{stroke:#e4e4e4} svg .limit{stroke:#c00;stroke-dasharray:4 3} svg polyline{fill:none;
stroke-width:1.6} svg .bar{stroke-width:1;opacity:.6}
"""
_NO_ERROR = 1e-7
"""Where a logarithmic axis shows no error at all."""


def page(rows: Sequence[Row], made: str) -> str:
    """The whole page. `made` says when, how and from what."""
    sizes = dict.fromkeys(row.size for row in rows)
    schemes = [name for name in _COLORS if any(row.scheme == name for row in rows)]
    key = "".join(f'<span><i style="background:{_COLORS[name]}"></i>{escape(name)}</span>' for name in schemes)
    body = "".join(_size(name, [row for row in rows if row.size == name]) for name in sizes)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>CrowdCompute: verification, simulated</title><style>{_STYLE}</style>"
        "<h1>Wrong results, and what it costs to avoid them</h1>"
        f"<p>{escape(made)}</p><p>Every scheme is told to expect {ASSUMED_LIARS:.0%} of the work to lie. Error: share "
        "of wrong accepted results; cost: executions a chunk, the creator's own included. Bars and brackets are 95% "
        "intervals: Student's t between seeds, and for the error never less upwards than Wilson's for all chunks. The "
        f'dashed line is eps; cells above it are red. docs/verification.md says what is modelled.</p><p class="key">'
        f"{key}</p>{body}</html>\n"
    )


def _size(name: str, rows: Sequence[Row]) -> str:
    size = SIZES.get(name)
    told = f": {size.workers:,} workers, {size.chunks:,} chunks, eps {size.eps:g}" if size else ""
    eps = size.eps if size else None
    adversaries = [name for name in dict.fromkeys(row.adversary for row in rows) if name != "honest"]
    charts = "".join(_charts(name, [row for row in rows if row.adversary == name], eps) for name in adversaries)
    tables = "".join(
        _table(name, [row for row in rows if row.adversary == name], eps)
        for name in dict.fromkeys(row.adversary for row in rows)
    )
    return (
        f'<h2>{escape(name + told)}</h2><div class="charts">{charts}</div>'
        f'<details><summary>All numbers</summary><div class="wide">{tables}</div></details>'
    )


def _charts(adversary: str, rows: Sequence[Row], eps: float | None) -> str:
    shares = sorted({row.liars for row in rows})
    across = Axis(0, max(shares), shares, lambda share: f"{share:.0%}")
    errors, costs = [], []
    for scheme in dict.fromkeys(row.scheme for row in rows):
        theirs = sorted((row for row in rows if row.scheme == scheme), key=lambda row: row.liars)
        color = _COLORS[scheme]
        errors.append(
            Line(scheme, color, [(row.liars, Interval(row.error, row.error_low, row.error_high)) for row in theirs])
        )
        costs.append(
            Line(scheme, color, [(row.liars, Interval(row.cost, row.cost_low, row.cost_high)) for row in theirs])
        )
    decades = [10.0**power for power in range(-7, 1)]
    error = Axis(_NO_ERROR, 1, decades, lambda tick: "none" if tick == _NO_ERROR else f"{tick:.0e}", logarithmic=True)
    cost = Axis(1, 5, (1, 2, 3, 4, 5), lambda tick: f"{tick:g}" + ("+" if tick == 5 else ""))
    return chart(f"{adversary}: error by share of liars", across, error, errors, limit=eps) + chart(
        f"{adversary}: executions a chunk", across, cost, costs
    )


def _table(adversary: str, rows: Sequence[Row], eps: float | None) -> str:
    schemes = list(dict.fromkeys(row.scheme for row in rows))
    head = "".join(f"<th>{escape(scheme)}</th>" for scheme in schemes)
    lines = []
    for share in sorted({row.liars for row in rows}):
        cells = "".join(_cell(row, eps) for row in rows if row.liars == share)
        lines.append(f"<tr><td>{share:.0%}</td>{cells}</tr>")
    seeds = rows[0].seeds
    return f"<h3>{escape(adversary)}</h3><table><tr><th>liars, {seeds} seeds</th>{head}</tr>{''.join(lines)}</table>"


def _cell(row: Row, eps: float | None) -> str:
    error = "0" if not row.error else f"{row.error:.1e}"
    over = ' class="over"' if eps is not None and row.error > eps else ""
    ends = "" if row.certified or not row.scheme.startswith("ours") else ", does not close"
    detail = (
        f"error {row.error_low:.2g} to {row.error_high:.2g}, at most {row.error_max:.2g}; cost {row.cost_low:.3f} to "
        f"{row.cost_high:.3f}; the creator {row.creator:.2%}; {row.convicted:g} convicted, "
        f"{row.honest_convicted} of them honest"
    )
    bracket = f"[{row.error_low:.0e}, {row.error_high:.0e}]"
    return f'<td{over} title="{escape(detail)}">{error} {bracket} / {row.cost:.2f}{ends}</td>'
