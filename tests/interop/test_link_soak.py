"""A hundred connections leave nothing behind; thousands do in `benchmarks/link_soak.py`."""

from __future__ import annotations

import importlib.util
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import pytest

GROWTH_MB_MAX = 8.0
"""After the first ten; 2 MB in nine hundred more cycles, measured."""


@pytest.fixture(scope="module")
def link_soak() -> Any:
    # Under its own name, by which the process that is spawned finds it, too.
    folder = Path(__file__).parents[2] / "benchmarks"
    spec = importlib.util.spec_from_file_location("link_soak", folder / "link_soak.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(folder))
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(folder))


@pytest.mark.slow
@pytest.mark.parametrize("stacks", ["aiortc-aiortc", "wrtc-wrtc"])
def test_a_hundred_connections_made_used_and_closed_leave_nothing_behind(link_soak: Any, stacks: str) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as alone:
        row = alone.apply(link_soak.soak, (stacks, 100))
    assert row.rss_mb[-1] - row.rss_mb[1] < GROWTH_MB_MAX, row
    assert row.files[-1] <= row.files[1] + 2, row
    assert row.threads[-1] <= row.threads[1] + 1, row
