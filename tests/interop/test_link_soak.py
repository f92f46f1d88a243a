"""A hundred connections leave nothing behind; thousands do in `benchmarks/link_soak.py`."""

from __future__ import annotations

import multiprocessing

import pytest
from benchmarks.link_soak import soak

GROWTH_MB_MAX = 8.0
"""After the first ten; 2 MB in nine hundred more cycles, measured."""


@pytest.mark.slow
@pytest.mark.parametrize("stacks", ["aiortc-aiortc", "wrtc-wrtc"])
def test_a_hundred_connections_made_used_and_closed_leave_nothing_behind(stacks: str) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as alone:
        row = alone.apply(soak, (stacks, 100))
    assert row.rss_mb[-1] - row.rss_mb[1] < GROWTH_MB_MAX, row
    assert row.files[-1] <= row.files[1] + 2, row
    assert row.threads[-1] <= row.threads[1] + 1, row
