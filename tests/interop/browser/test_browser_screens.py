"""Every screen in a real browser: usable by everybody (axe), and kept as pictures to look at in out/screens/."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

AXE = Path(__file__).parents[3] / "web_peer" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")

SCREENS = {
    "tasks": "/tasks",
    "publish": "/publish",
    "me": "/me",
    "settings": "/settings",
    "doctor": "/doctor",
    "badge": "/badge",
    "about": "/about",
    "embed": "/embed",
}
"""Those that show nothing of a task; the others are made where there is one."""


FIRST_SCREEN_BYTES = 60_000
ALL_BYTES = 120_000
"""With the peer's Worker, which the first screen does not wait for: protocol and cryptography. 92 kB were measured."""


def accessible(tab: Any, name: str) -> None:
    """Keep the screen as pictures, and check it at both sizes."""
    tab.page.get_by_role("heading").first.wait_for()
    for width, height in tab.pictures(name):
        found = tab.page.evaluate(
            "(tags) => axe.run({ runOnly: { type: 'tag', values: tags } })"
            ".then(({ violations }) => violations.map(({ id, help, nodes }) =>"
            " `${id}: ${help}: ${nodes.map(({ html }) => html).join(' ')}`))",
            list(RULES),
        )
        assert found == [], f"{name} at {width}x{height}"


@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_without_tasks_is_accessible(join: str, tabs: Any, name: str) -> None:
    base, _, network = join.partition("/j")
    tab = tabs.open(f"{base}{SCREENS[name]}{network}", script=AXE.read_text())
    tab.until("shown.signaling === 'connected'")
    accessible(tab, name)


def test_the_screens_around_a_task_are_accessible(
    place: Any, join: str, tabs: Any, task_id: Callable[[Any], str]
) -> None:
    folder, _ = place.slow_task(2_000, 20_000_000)
    task = task_id(place.start_publish(folder, join))
    tab = tabs.open(f"{join}&t={task}", script=AXE.read_text())
    tab.has_task(task)
    accessible(tab, "consent")
    tab.ask("changeSettings", pauseWhenHot=False, power=1)
    tab.page.get_by_role("button", name="Start").click()
    tab.until("shown.total.done >= 1")
    accessible(tab, "computing")
    for name, path in (("tasks-one", "/tasks"), ("task", f"/tasks/{task}")):
        tab.page.goto(f"{join.partition('/j')[0]}{path}{join.partition('/j')[2]}")
        tab.has_task(task)
        accessible(tab, name)


def test_the_results_of_a_creator_are_accessible(place: Any, join: str, tabs: Any) -> None:
    base, _, network = join.partition("/j")
    creator = tabs.open(f"{base}/publish{network}", script=AXE.read_text())
    task = creator.page.evaluate(
        """async () => (await window.ask("publishDraft", { draft: {
            name: "Gradient", description: "A picture.", link: "", runtime: "js",
            source: new TextEncoder().encode(
                "export default ([x, y, w, h]) => Uint8Array.from({ length: Number(w * h) }, (_, i) =>" +
                " Number(x) + (i % Number(w)) + Number(y))"),
            split: { kind: "grid", width: 64, height: 64, tileWidth: 16, tileHeight: 16 },
            seconds: 10, memoryBytes: 64 * 2 ** 20, outputBytes: 1024, replication: 1, eps: 0.01,
        } })).taskId"""
    )
    volunteer = tabs.open(f"{join}&t={task}")
    volunteer.works_for(task)
    creator.until("shown.tasks.some(({ isMine, state }) => isMine && state === 'closed')")
    creator.page.goto(f"{base}/results/{task}{network}")
    creator.has_task(task)
    accessible(creator, "results")
    page = creator.page
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the evidence").click()
    evidence = place.folder / "evidence.ccr"
    download.value.save_as(evidence)
    page.set_input_files("input[type=file]", evidence)
    page.get_by_role("button", name="Check it").click()
    page.get_by_text("every signature right").wait_for()
    accessible(creator, "results-checked")
    damaged = place.folder / "damaged.ccr"
    damaged.write_bytes(evidence.read_bytes()[:-9] + bytes(9))
    page.set_input_files("input[type=file]", damaged)
    page.get_by_role("button", name="Check it").click()
    page.get_by_text("does not hold: ").wait_for()


def test_the_first_load_is_small(join: str, tabs: Any) -> None:
    sizes: dict[str, int] = {}
    tab = tabs.open("about:blank")
    tab.page.on(
        "response", lambda response: sizes.update({response.url: int(response.headers.get("content-length", 0))})
    )
    tab.page.goto(join, wait_until="load")
    tab.until("shown.signaling === 'connected'")
    # The service worker fetches everything else in the background, once there is nothing better to do.
    worker = {url: size for url, size in sizes.items() if "peer.worker" in url}
    screen = {
        url: size for url, size in sizes.items() if url not in worker and url.rpartition("/")[2] in _named_by(tab, join)
    }
    assert len(worker) == 1
    assert sum(screen.values()) < FIRST_SCREEN_BYTES, screen
    assert sum(screen.values()) + sum(worker.values()) < ALL_BYTES, (screen, worker)


def _named_by(tab: Any, join: str) -> set[str]:
    """The last part of everything the page itself has loaded."""
    names = tab.page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
    return {name.rpartition("/")[2] for name in [*names, join.partition("#")[0]]}
