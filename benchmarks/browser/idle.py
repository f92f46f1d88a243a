"""What a page costs that is connected and was not asked to compute, beside an empty one."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from crowdcompute.creator.chromium import Chromium, chromium
from crowdcompute.creator.local_network import volunteer

from .harness import NO_SPARE, Page, Place, Row, renderers

if TYPE_CHECKING:
    from collections.abc import Iterable


async def idle(place: Place, seconds: float) -> list[Row]:
    """A page that is connected and was not asked to compute, beside an empty one."""
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(place.network())
        stack.enter_context(volunteer(network.folder, "node", network.join()))
        browser: Chromium = stack.enter_context(chromium(network.folder, NO_SPARE))
        devtools = await stack.enter_async_context(browser.devtools())
        await devtools.open("about:blank", profile=await devtools.new_profile())
        empty = await renderers(devtools)  # And the browser's own first tab, which is as empty.
        empty_mb, empty_cpu = (value / len(empty) for value in await watched(empty, seconds))
        page = await Page.open(devtools, network.join())
        await page.until("shown.peers.filter(({ state }) => state === 'open').length === 2")
        page_mb, page_cpu = await watched(await renderers(devtools) - empty, seconds)
    return [
        Row("an idle page with two peers, memory (PSS)", page_mb, "MB", "", {"an empty tab": empty_mb}),
        Row("an idle page with two peers, CPU", page_cpu, "% of a core", "", {"an empty tab": empty_cpu}),
    ]


async def watched(processes: set[int], seconds: float) -> tuple[float, float]:
    """Memory of processes in MB, and the share of a core in percent they take while nothing is wanted of them."""
    before, started = cpu_s(processes), time.monotonic()
    await asyncio.sleep(seconds)  # The time is what is measured: in an idle page nothing happens to wait for.
    share = (cpu_s(processes) - before) / (time.monotonic() - started)
    return sum(pss_mb(process) for process in processes), 100 * share


def cpu_s(processes: Iterable[int]) -> float:
    ticks = 0
    for process in processes:
        # Behind the name, which may contain anything: utime and stime are fields 14 and 15 of all.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def pss_mb(process: int) -> float:
    """Memory of a process, with its share of what it shares."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6
