"""Bytes that come over the wire until the page stands and its peer is connected."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING
from urllib.request import ProxyHandler, Request, build_opener

from .harness import Page, Place, Row

if TYPE_CHECKING:
    from crowdcompute.creator.chromium import Devtools


async def first_load(place: Place, devtools: Devtools) -> list[Row]:
    """Bytes that come over the wire until the page stands and its peer is connected."""
    async with place.network() as network:
        page = await Page.open(devtools, network.join())
        await page.until("shown.signaling === 'connected'")
        loaded = await page.tab.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
        addresses = {str(address) for address in loaded} | {network.join().partition("#")[0]}
        await page.tab.close()
    # The page fetches the rest in the background, once it has nothing better to do.
    worker = {address for address in addresses if "peer.worker" in address}
    first, first_raw = on_the_wire(addresses - worker)
    of_worker, worker_raw = on_the_wire(worker)
    of_sandbox, sandbox_raw = on_the_wire({f"{place.url}/sandbox.html"})
    return [
        Row("first load, the page", first / 1e3, "kB gzip", "60", {"uncompressed": first_raw / 1e3}),
        Row("first load, the peer's Worker", of_worker / 1e3, "kB gzip", "", {"uncompressed": worker_raw / 1e3}),
        Row(
            "before the first chunk, the sandbox", of_sandbox / 1e3, "kB gzip", "", {"uncompressed": sandbox_raw / 1e3}
        ),
    ]


def on_the_wire(addresses: set[str]) -> tuple[int, int]:
    """Bytes of the bodies as a browser is sent them, and as they are."""
    # Without the proxies of the environment: it is on this machine.
    opener = build_opener(ProxyHandler({}))
    sent = content = 0
    for address in addresses:
        with opener.open(Request(address, headers={"Accept-Encoding": "gzip"})) as answer:
            body = answer.read()
            sent += len(body)
            content += len(gzip.decompress(body) if answer.headers.get("Content-Encoding") == "gzip" else body)
    return sent, content
