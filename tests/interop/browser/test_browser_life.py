"""What happens to tabs: paused, loaded again, closed in the middle of a chunk, left without the signaling server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

FOREVER = 100_000
"""Chunks of a task that no test waits for the end of."""

STOPPED_WITHIN_MS = 100
SHARED_MACHINE = 10
"""On shared cores a limit in milliseconds is held this many times over; what happened is checked exactly."""


def test_pause_stops_a_running_chunk_at_once_and_start_goes_on(
    place: Any, join: str, tabs: Any, task_id: Callable[[Any], str]
) -> None:
    # Hours for one chunk, if nothing stopped it.
    folder, _ = place.slow_task(4, 2**62)
    task = task_id(place.start_publish(folder, join))
    tab = tabs.open(f"{join}&t={task}")
    tab.works_for(task)
    tab.until("shown.mode === 'running' && shown.executing > 0")
    took_ms = tab.page.evaluate(
        """async () => {
            const startedMs = performance.now();
            await window.ask("pause", {});
            return performance.now() - startedMs;
        }"""
    )
    shown = tab.until("shown.mode === 'paused'")
    assert (shown["executing"], shown["reason"]) == (0, "paused by you")
    assert took_ms < STOPPED_WITHIN_MS * SHARED_MACHINE
    # Cancelled is not stopped: Chromium lets an ended Worker run on for two seconds, but not one whose page is removed.
    assert tab.page.locator("iframe").count() == 0
    tab.ask("start")
    tab.until("shown.executing > 0")


def test_finish_then_pause_lets_the_running_chunks_be_voted_on(
    place: Any, join: str, tabs: Any, task_id: Callable[[Any], str]
) -> None:
    folder, _ = place.slow_task(FOREVER, 20_000_000)
    task = task_id(place.start_publish(folder, join))
    tab = tabs.open(f"{join}&t={task}")
    tab.works_for(task)
    tab.until("shown.executing > 0")
    tab.ask("finish")
    before = tab.shown["total"]["done"]
    shown = tab.until("shown.mode === 'paused'")
    assert shown["total"]["done"] > before
    assert shown["executing"] == 0


def test_a_reload_loses_neither_key_nor_consent_nor_votes_and_goes_on_computing(
    place: Any, join: str, tabs: Any, task_id: Callable[[Any], str]
) -> None:
    folder, _ = place.slow_task(FOREVER, 2_000_000)
    task = task_id(place.start_publish(folder, join))
    tab = tabs.open(f"{join}&t={task}")
    tab.works_for(task)
    before = tab.until("shown.total.confirmed >= 1 || shown.total.done >= 5")
    tab.page.reload()
    after = tab.until(f"shown.total.done >= {before['total']['done']}")
    assert after["peerId"] == before["peerId"]
    assert tab.task(task)["consent"]["state"] == "given"
    assert after["settings"] == before["settings"]
    # Nobody pressed Start a second time.
    tab.until(f"shown.mode === 'running' && shown.total.done > {before['total']['done']}")


def test_a_person_caps_what_the_tab_gives_to_others(join: str, tabs: Any) -> None:
    tab = tabs.open(join.replace("/j#", "/settings#"))
    upload = tab.page.get_by_label("Give to other peers at most")
    upload.select_option("100 kB a second")
    tab.until("shown.settings.uploadBytesPerS === 100000")
    tab.page.reload()
    tab.until("shown.settings.uploadBytesPerS === 100000")
    assert upload.input_value() == "100000"
    upload.select_option("As much as it takes")
    tab.until("shown.settings.uploadBytesPerS === null")


def test_chunks_of_a_tab_closed_in_the_middle_are_computed_by_another(
    place: Any, join: str, tabs: Any, task_id: Callable[[Any], str]
) -> None:
    folder, expected = place.slow_task(6, 200_000_000)
    publishing = place.start_publish(folder, join, "--timeout", "100")
    task = task_id(publishing)
    first = tabs.open(f"{join}&t={task}")
    first.works_for(task)
    first.until("shown.executing > 0")
    first.close()
    place.nodes(join, "alice", "bob")
    assert publishing.ended().code == 0
    files, _ = place.results(task, "results")
    assert files == expected


def test_a_tab_that_lost_the_signaling_server_goes_on_with_its_peers(
    place: Any, tabs: Any, task_id: Callable[[Any], str]
) -> None:
    desk = place.signaling()
    join = desk.join("left-alone")
    place.nodes(join, "alice")
    folder, expected = place.slow_task(300, 5_000_000)
    publishing = place.start_publish(folder, join)
    task = task_id(publishing)
    tab = tabs.open(f"{join}&t={task}")
    tab.until("shown.peers.filter(({ state }) => state === 'open').length >= 2")
    tab.works_for(task)
    tab.until("shown.total.done >= 1")
    desk.kill()
    shown = tab.until("shown.signaling === 'unreachable'")
    assert publishing.ended().code == 0
    files, rows = place.results(task, "results")
    assert files == expected
    tab.until(f"shown.total.done > {shown['total']['done']} || shown.tasks[0].state === 'closed'")
    assert sum(tab.peer_id in row["agreed"] for row in rows) >= 1
