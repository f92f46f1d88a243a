"""What a tab still computes when somebody opens another one in the same window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.network import make_bundle

from .harness import COLLATZ_FILE, TICK, Page, Place, Row

if TYPE_CHECKING:
    from crowdcompute.creator.chromium import Devtools


async def hidden(place: Place, devtools: Devtools, seconds: float) -> list[Row]:
    """Compute before and after somebody opens another tab in the same window."""
    async with place.network() as network:
        bundle = make_bundle(network.creator, "collatz", COLLATZ_FILE.read_bytes(), 200_000, 50_000)
        network.publish(bundle)
        profile = await devtools.new_profile()
        page = await Page.open(devtools, network.join(bundle), profile=profile, script=TICK)
        await page.agree(bundle)
        await page.until("shown.total.done > 0")
        other = await devtools.open("about:blank", profile=profile)
        found: dict[str, list[tuple[float, float]]] = {"visible": [], "hidden": []}
        # Twice, in turn: what else this machine does changes with time.
        for state, shown_tab in (("visible", page.tab), ("hidden", other)) * 2:
            await devtools.call("Target.activateTarget", targetId=shown_tab.target)
            await page.tab.evaluate(BECOMES.replace("STATE", state))
            found[state].append(await page.done_in(seconds / 2))
        await devtools.call("Target.disposeBrowserContext", browserContextId=profile)
    (visible, visible_ticks), (in_background, hidden_ticks) = (
        tuple(sum(part) / len(part) for part in zip(*found[state], strict=True)) for state in ("visible", "hidden")
    )
    beside = {"visible": visible, "page's own 10 ms timer": hidden_ticks, "the same visible": visible_ticks}
    return [Row("chunks done by a hidden tab", in_background, "chunks/s", "", beside)]


BECOMES = """
new Promise((resolve) => {
  const look = () => document.visibilityState === "STATE" && resolve();
  addEventListener("visibilitychange", look);
  look();
})
"""
