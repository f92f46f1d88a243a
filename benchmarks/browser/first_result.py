"""From the link to the first verified result."""

from __future__ import annotations

import time
from contextlib import ExitStack
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.network import make_bundle

from crowdcompute.creator.local_network import volunteer
from crowdcompute.protocol.events import Notable
from crowdcompute.protocol.identity import peer_id_of

from .harness import COLLATZ_FILE, NATIVE_ROUNDS, Page, Place, Row

if TYPE_CHECKING:
    from crowdcompute.creator.chromium import Devtools
    from crowdcompute.protocol.creator import CreatorRole
    from crowdcompute.protocol.events import Notice
    from crowdcompute.protocol.identity import PeerId


class Verified:
    """When which chunk was accepted, by whose votes: told by the creator's runtime, in this process."""

    def __init__(self) -> None:
        self.role: CreatorRole | None = None
        self.accepted: list[tuple[float, int, tuple[bytes, ...]]] = []

    def heard(self, notice: Notice) -> None:
        if notice.what is Notable.CHUNK_ACCEPTED and self.role is not None and notice.chunk is not None:
            agreed = self.role.result(notice.chunk).agreed
            self.accepted.append((time.monotonic(), notice.chunk, agreed))

    def first(self, peer_id: PeerId, since: float, before: set[int]) -> float | None:
        """When a chunk was first accepted by a vote of that peer that is none of those `before`."""
        for at, chunk, agreed in self.accepted:
            if at > since and chunk not in before and any(peer_id_of(worker) == peer_id for worker in agreed):
                return at
        return None

    def voted(self, peer_id: PeerId) -> set[int]:
        """Chunks the peer has voted on so far."""
        assert self.role is not None
        ledger = self.role.ledger
        return {
            chunk
            for chunk in range(ledger.manifest.chunks)
            if any(peer_id_of(worker) == peer_id for worker in ledger.voters(chunk))
        }


async def joins(place: Place, devtools: Devtools, rounds: int) -> list[Row]:
    """Cold: a profile that has never seen the page. Warm: the same person comes back to the same link."""
    verified = Verified()
    cold: list[float] = []
    asked: list[float] = []
    voted: list[float] = []
    warm: list[float] = []
    native: list[float] = []
    with ExitStack() as nodes:
        async with place.network(verified.heard) as network:
            # About 20 ms a chunk: a task that needs more people than came.
            bundle = make_bundle(network.creator, "collatz", COLLATZ_FILE.read_bytes(), 20_000, 100_000)
            role = verified.role = network.publish(bundle)
            nodes.enter_context(volunteer(network.folder, "node", network.join()))
            await network.until(lambda: len(role.ledger.admits) > 0)

            async def result_of(peer_id: PeerId, since: float, before: set[int]) -> float:
                await network.until(lambda: verified.first(peer_id, since, before) is not None)
                at = verified.first(peer_id, since, before)
                assert at is not None
                return at - since

            for number in range(rounds):
                profile = await devtools.new_profile()
                opened = time.monotonic()
                page = await Page.open(devtools, network.join(bundle), profile=profile)
                await page.tab.press("Start")
                asked.append(time.monotonic() - opened)
                peer_id = (await page.until("shown.total.done > 0"))["peerId"]
                voted.append(time.monotonic() - opened)
                cold.append(await result_of(peer_id, opened, set()))
                # The browser keeps the page for the next time in the background.
                await page.tab.close()
                await network.until(lambda gone=peer_id: gone not in network.runtime.peer.neighbours)  # type: ignore[misc]

                before = verified.voted(peer_id)
                opened = time.monotonic()
                page = await Page.open(devtools, network.join(bundle), profile=profile)
                warm.append(await result_of(peer_id, opened, before))
                await devtools.call("Target.disposeBrowserContext", browserContextId=profile)

                if number < NATIVE_ROUNDS:
                    started = time.monotonic()
                    with volunteer(network.folder, f"newcomer-{number}", network.join()) as newcomer:
                        native.append(await result_of(newcomer.peer_id, started, set()))
    steps = {"asked": median(asked), "has voted": median(voted)}
    beside = {"slowest": max(cold), **steps, "cc-node from its start": median(native)}
    return [
        Row("link opened to first verified result, cold profile", median(cold), "s", "< 1.7", beside),
        Row("link opened to first verified result, warm profile", median(warm), "s", "< 1.7", {"slowest": max(warm)}),
    ]
