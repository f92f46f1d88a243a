"""A browser joins an account by the code that a terminal shows, works, and is counted under the account's name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from crowdcompute.creator import Network, Task

if TYPE_CHECKING:
    import pytest

CC_NODE = (sys.executable, "-m", "crowdcompute.node")


def test_a_browser_joins_an_account_by_its_code(
    place: Any, join: str, tabs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = place.folder / "picture.ppm"
    picture.write_bytes(b"P6 2 2 255 " + bytes(range(12)))
    place.cc_node("account", "create", "The lab", "--avatar", picture, home="desk")
    account = place.cc_node("account", "show", "--json", home="desk").document["account"]
    linking = place.start(CC_NODE, "account", "link", "--link", join, "--yes", home="desk")
    address = linking.says(r"The lab: (http\S+)")[1]

    tab = tabs.open(address)
    tab.page.get_by_label("What to call this device").fill("Old tablet")
    tab.page.get_by_role("button", name="Ask to join").click()
    linked = linking.ended()
    assert linked.code == 0, linked.err
    assert f"Old tablet  {tab.peer_id}  may act for The lab until" in linked.out
    card = tab.page.locator("section.card", has=tab.page.get_by_role("heading", name="Account"))
    card.get_by_text("Old tablet").wait_for()
    assert card.get_by_text(", this device").is_visible()
    # The picture came along, and is one.
    assert card.locator("img").evaluate("async (image) => (await image.decode(), image.naturalWidth)") == 2

    folder, _ = place.slow_task(12, 1_000_000, "[verify]\nreplication = 1\neps = 0.2\npow_bits = 8\n")
    monkeypatch.setenv("CC_HOME", str(place.folder / "creator"))
    with Network(join, hosts=("127.0.0.1",)) as network:
        job = network.publish(Task(folder))
        tab.works_for(job.id)
        job.wait(60)
        tab.until(f"shown.tasks.some((task) => task.taskId === '{job.id}' && task.state === 'closed')")
        tab.page.goto(f"{address.partition('/me#')[0]}/results/{job.id}#{join.partition('#')[2]}")
        helped = tab.page.locator("section.card", has_text="Who helped most").locator("li").first
        helped.get_by_text("The lab").wait_for()
    monkeypatch.delenv("CC_HOME")
    (line,) = place.cc_task("leaderboard", job.id[:12], "--link", join, "--json").document["leaderboard"]
    assert (line["id"], line["name"]) == (account, "The lab")
    assert f"{line['millicredits'] / 1_000:g} credits" in helped.inner_text()
