"""A tab that is opened for the first time: what it fetches and when, and what it says when its peer cannot start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

WORKER = "**/assets/peer.worker-*.js"

NO_STORAGE = """
Object.defineProperty(globalThis, "indexedDB", {
  value: { open() { throw new DOMException("storage is blocked", "SecurityError"); } },
});
"""


def answered_with(before: str) -> Callable[[Any], None]:
    """The Worker's script with something before it, as a browser with other habits would have it."""

    def answer(route: Any) -> None:
        response = route.fetch()
        route.fulfill(response=response, body=before + response.text())

    return answer


@pytest.mark.parametrize(
    ("worker", "sentence"),
    [
        (answered_with(NO_STORAGE), "allow this site to store data, or leave private mode, then load the page again"),
        (answered_with("throw new Error('broken on purpose');"), "broken on purpose"),
        (lambda route: route.fulfill(status=503, body="later"), "could not be loaded. Load the page again"),
    ],
    ids=["storage is refused", "the Worker breaks off", "the server fails"],
)
def test_a_tab_whose_peer_cannot_start_says_why_and_what_to_do(
    join: str, tabs: Any, worker: Callable[[Any], None], sentence: str
) -> None:
    tab = tabs.open("about:blank")
    tab.context.route(WORKER, worker)
    tab.page.goto(join)
    tab.page.get_by_role("heading", name="No peer in this tab").wait_for()
    assert sentence in tab.page.get_by_role("alert").inner_text()
    assert tab.page.get_by_role("heading", name="Starting").count() == 0
    # The browser reports it too; nothing else may have gone wrong once the cause is gone.
    tab.errors.clear()
    tab.context.unroute(WORKER)
    tab.page.get_by_role("button", name="Load the page again").click()
    tab.until("shown.signaling === 'connected'")
    assert tab.page.get_by_role("alert").count() == 0


def test_only_a_task_makes_a_tab_fetch_what_computing_needs_and_computing_waits_for_it(
    place: Any, join: str, tabs: Any, task_id: Callable[[Any], str]
) -> None:
    later = "**/assets/sealing-*.js"
    asked: list[str] = []

    def refuse(route: Any) -> None:
        asked.append(route.request.url)
        route.abort("connectionfailed")

    tab = tabs.open("about:blank")
    tab.context.route(later, refuse)
    tab.page.goto(join)
    tab.until("shown.signaling === 'connected'")
    tab.page.get_by_role("heading", name="No task asks for help now").wait_for()
    assert asked == []

    folder, _ = place.slow_task(20, 1_000)
    task = task_id(place.start_publish(folder, join))
    tab.has_task(task)
    tab.ask("changeSettings", pauseWhenHot=False, power=1)
    tab.page.get_by_role("button", name="Start").click()
    shown = tab.until("shown.reason === 'fetching a part of the page'")
    assert (shown["mode"], shown["total"]["done"]) == ("waiting", 0)
    assert asked
    tab.errors.clear()
    tab.context.unroute(later)
    # A Worker does not fetch again what failed; a page that is loaded again goes on where this one was.
    tab.page.reload()
    tab.until("shown.total.done >= 1")
