"""The screens as a person uses them: asked before anything runs, by keyboard, in the dark, on a phone, reloaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

AXE = Path(__file__).parents[3] / "web_peer" / "node_modules" / "axe-core" / "axe.min.js"
PHONE = {"width": 390, "height": 844}

HEADINGS = {
    "/tasks": "Tasks",
    "/publish": "Publish a task",
    "/me": "My contribution",
    "/settings": "Settings",
    "/doctor": "Connection doctor",
    "/badge": "Badge for your site",
    "/about": "About and safety",
}


def heading(tab: Any, text: str) -> None:
    """Wait for the screen that begins so."""
    tab.page.get_by_role("heading", level=1, name=text).wait_for()


def stay_cool(tab: Any) -> None:
    """A busy test machine may call itself hot; nobody is there to wait for it."""
    tab.until("true")
    tab.ask("changeSettings", pauseWhenHot=False)


def press_start(tab: Any) -> None:
    tab.page.get_by_role("button", name="Start", exact=True).click()


@pytest.fixture
def small_zoom(place: Any) -> Path:
    """A bundle of 16 tiles, quick enough to see the end of."""
    folder = place.example("deep_zoom", ("width = 1024, height = 1024", "width = 256, height = 256"))
    bundle: Path = place.folder / "zoom.ccb"
    assert place.cc_task("keygen").code == 0
    assert place.cc_task("pack", folder, "--output", bundle).code == 0
    return bundle


def test_nothing_is_computed_before_start_is_pressed_by_keyboard_and_the_space_bar_pauses(
    place: Any, join: str, tabs: Any, task_id: Callable[[Any], str]
) -> None:
    folder, _ = place.slow_task(100_000, 2_000_000)
    task = task_id(place.start_publish(folder, join))
    tab = tabs.open(f"{join}&t={task}")
    stay_cool(tab)
    tab.page.get_by_text("No access to your files or network.").wait_for()
    shown = tab.until("shown.peers.some((peer) => peer.state === 'open')")
    assert (shown["mode"], shown["executing"], shown["total"]["done"]) == ("off", 0, 0)
    assert tab.task(task)["consent"]["state"] == "none"

    keys = tab.page.keyboard
    for _ in range(40):
        keys.press("Tab")
        if tab.page.evaluate("document.activeElement.textContent") == "Start":
            break
    keys.press("Enter")
    tab.until("shown.executing > 0")
    heading(tab, "Computing")
    assert tab.task(task)["consent"]["state"] == "given"
    assert re.match(r"▶ \d+ % · CrowdCompute", tab.page.title())
    # The focus has moved on to the new screen's heading, so the space bar is nobody else's.
    keys.press("Space")
    tab.until("shown.mode === 'paused'")
    heading(tab, "Paused")


def test_a_bundle_is_tried_and_published_on_one_screen_and_its_picture_arrives_on_another(
    join: str, tabs: Any, small_zoom: Path
) -> None:
    creator = tabs.open(join.replace("/j#", "/publish#"))
    page = creator.page
    heading(creator, "Publish a task")
    page.get_by_text("Use a bundle file").click()
    page.set_input_files("input[type=file]", small_zoom)
    page.get_by_role("button", name="Read it").click()
    page.get_by_role("heading", level=3, name="Deep zoom").wait_for()
    page.get_by_role("button", name="Run this chunk here").click()
    page.get_by_text("Worked, in").wait_for()
    page.get_by_role("button", name="Sign and publish").click()
    heading(creator, "Published")
    link = page.get_by_role("textbox", name="Join link").input_value()
    page.get_by_role("link", name="See results arrive").click()
    heading(creator, "Results of Deep zoom")

    for _ in range(2):
        volunteer = tabs.open(link)
        stay_cool(volunteer)
        press_start(volunteer)
    page.get_by_text("16 chunks verified, 0 failed, 0 to go.").wait_for()
    page.locator("summary", has_text=re.compile("verified$")).nth(15).wait_for()
    # Tiles are opaque, what is missing is not. The page may still be fetching the last ones.
    whole = """async (canvas) => {
        for (;;) {
            const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            if (pixels.every((value, index) => index % 4 !== 3 || value === 255)) return true;
            await new Promise(requestAnimationFrame);
        }
    }"""
    assert page.locator("canvas.picture").evaluate(whole)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download NDJSON").click()
    assert len(Path(download.value.path()).read_text().splitlines()) == 16
    creator.pictures("results-picture")


def test_a_form_that_is_not_complete_says_what_is_missing_where_it_is(join: str, tabs: Any) -> None:
    creator = tabs.open(join.replace("/j#", "/publish#"))
    page = creator.page
    heading(creator, "Publish a task")
    page.get_by_role("button", name="Sign and publish").click()
    page.get_by_role("alert").get_by_text("Give the task a name").wait_for()
    assert page.evaluate("document.activeElement.id") == "field-name"
    page.keyboard.type("Primes below a million")
    page.get_by_role("button", name="Run this chunk here").click()
    page.get_by_text('{"end":10000,"first":0,"primes":1229}').wait_for()
    page.get_by_role("button", name="Sign and publish").click()
    heading(creator, "Published")


def test_every_screen_is_readable_in_the_dark_fits_a_phone_and_survives_a_reload(
    place: Any, join: str, tabs: Any, task_id: Callable[[Any], str]
) -> None:
    folder, _ = place.slow_task(100_000, 2_000_000)
    task = task_id(place.start_publish(folder, join))
    tab = tabs.open(f"{join}&t={task}", script=AXE.read_text())
    tab.page.emulate_media(color_scheme="dark")
    tab.page.set_viewport_size(PHONE)
    stay_cool(tab)
    heading(tab, "spin")
    is_readable(tab)
    press_start(tab)
    heading(tab, "Computing")
    tab.until("shown.total.done > 0")
    is_readable(tab)
    tab.ask("pause")
    for path, title in {**HEADINGS, f"/tasks/{task}": "spin", f"/results/{task}": "Results of spin"}.items():
        tab.page.goto(join.replace("/j#", f"{path}#"))
        heading(tab, title)
        tab.page.reload()
        heading(tab, title)
        is_readable(tab)


def is_readable(tab: Any) -> None:
    """Contrast and targets are what differs in the dark; the width is what a phone lacks."""
    assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{tab.page.url} is too wide"
    violations = tab.page.evaluate(
        "async (rules) => (await axe.run(document, { runOnly: rules }))"
        ".violations.map(({ id, nodes }) => [id, nodes.map((node) => node.target.join(' '))])",
        {"type": "rule", "values": ["color-contrast", "target-size"]},
    )
    assert violations == [], tab.page.url
