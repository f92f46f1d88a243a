"""How soon somebody else is on the work of a tab that is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.network import make_bundle

from crowdcompute.creator.chromium import Devtools, chromium
from crowdcompute.creator.local_network import volunteer
from crowdcompute.protocol.identity import peer_id_of
from crowdcompute.protocol.session import SessionState

from .harness import (
    COLLATZ_FILE,
    NATIVE_ROUNDS,
    NO_SPARE,
    WITHIN_S,
    Network,
    Page,
    Place,
    Row,
    renderers,
    with_terms,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from crowdcompute.protocol.bundle import Bundle


async def kills(place: Place, devtools: Devtools, rounds: int) -> list[Row]:
    """SIGKILL to what works on the only chunk there is, and when another peer, idle until then, is on that chunk."""
    tabs: list[float] = []
    nodes: list[float] = []
    noticed: list[float] = []
    for _ in range(rounds):
        rerun_s, noticed_s = await kill(place, devtools, tab_victim)
        tabs.append(rerun_s)
        noticed.append(noticed_s)
        if len(nodes) < NATIVE_ROUNDS:
            rerun_s, _ = await kill(place, devtools, node_victim)
            nodes.append(rerun_s)
    beside = {"slowest": max(tabs), "silence noticed": max(noticed), "a killed cc-node": median(nodes)}
    return [Row("tab killed to its chunk being run by another tab", median(tabs), "s", "< 5", beside)]


async def kill(place: Place, devtools: Devtools, victim: Any) -> tuple[float, float]:
    async with place.network() as network:
        # Half a minute for its one chunk.
        collatz = make_bundle(network.creator, "collatz", COLLATZ_FILE.read_bytes(), 1, 150_000_000)
        bundle = with_terms(network.creator, collatz, replication=1, seconds=600.0)
        role = network.publish(bundle)
        survivor = await Page.open(devtools, network.join(bundle))
        await survivor.agree(bundle, start=False)
        us = network.creator.identity.public_key

        def on_it() -> set[bytes]:
            now = asyncio.get_running_loop().time()
            return {lease.worker for lease in role.ledger.leases.on(0, now)} - {us}

        async with victim(network, bundle) as murder:
            await network.until(lambda: len(on_it()) == 1)
            (killed,) = on_it()
            killed_at = time.monotonic()
            murder()
            await survivor.ask("start")
            peer_id = peer_id_of(killed)
            noticed_s = rerun_s = None
            while noticed_s is None or rerun_s is None:
                await asyncio.wait_for(network.runtime.changed(), WITHIN_S)
                if rerun_s is None and on_it() - {killed}:
                    rerun_s = time.monotonic() - killed_at
                if noticed_s is None and network.runtime.peer.neighbours.get(peer_id) is not SessionState.OPEN:
                    noticed_s = time.monotonic() - killed_at
        await survivor.tab.close()
        return rerun_s, noticed_s


@asynccontextmanager
async def tab_victim(network: Network, bundle: Bundle) -> AsyncIterator[Callable[[], None]]:
    """A tab in a browser of its own, working on the task; yields what kills its process."""
    async with AsyncExitStack() as stack:
        browser = stack.enter_context(chromium(network.folder, NO_SPARE))
        devtools = await stack.enter_async_context(browser.devtools())
        page = await Page.open(devtools, network.join(bundle))
        await page.agree(bundle)
        await page.until("shown.executing > 0")
        processes = await renderers(devtools)

        def murder() -> None:
            for process in processes:
                os.kill(process, signal.SIGKILL)

        yield murder


@asynccontextmanager
async def node_victim(network: Network, bundle: Bundle) -> AsyncIterator[Callable[[], None]]:
    with volunteer(network.folder, "victim", network.join(bundle)) as node:
        yield node.process.kill
