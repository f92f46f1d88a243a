"""Accounts between browsers and terminals: each makes one that the other joins, works for, shows and checks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from tests.interop.conftest import until

from crowdcompute.creator import Network, Task
from crowdcompute.node.account_login import statements_of
from crowdcompute.protocol.identity import public_key_of

if TYPE_CHECKING:
    import pytest

CC_NODE = (sys.executable, "-m", "crowdcompute.node")

AXE = Path(__file__).parents[3] / "web_peer" / "node_modules" / "axe-core" / "axe.min.js"
SMALL_PHONE = {"width": 360, "height": 740}

STORED_KEY = """
async () => {
  const database = await new Promise((resolve) => {
    const opening = indexedDB.open("crowdcompute");
    opening.onsuccess = () => resolve(opening.result);
  });
  const values = database.transaction("values").objectStore("values");
  const read = (name) => new Promise((resolve) => {
    const reading = values.get(name);
    reading.onsuccess = () => resolve(reading.result);
  });
  const [key, seed] = [await read("accountKey"), await read("accountSeed")];
  database.close();
  return [key.kind, key.privateKey.extractable, seed];
}
"""
"""What a script of the page could read of the account's key."""


def is_readable(tab: Any) -> None:
    """By everybody, in both colour schemes, and no wider than the screen."""
    for scheme in ("dark", "light"):
        tab.page.emulate_media(color_scheme=scheme)
        assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        found = tab.page.evaluate(
            "async () => (await axe.run()).violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)])"
        )
        assert found == [], (scheme, found)


def account_card(tab: Any) -> Any:
    return tab.page.locator("section.card", has=tab.page.get_by_role("heading", name="Account", exact=True))


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


def test_an_account_is_made_in_a_page_and_lives_elsewhere_too(
    place: Any, join: str, tabs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, _, network = join.partition("/j")
    phone = tabs.open(f"{base}/me{network}", script=AXE.read_text())
    page, card = phone.page, account_card(phone)
    page.set_viewport_size(SMALL_PHONE)
    phone.until("shown.signaling === 'connected'")

    # Made with nothing but a keyboard and a picture.
    Image.effect_noise((640, 480), 60).save(place.folder / "photo.png")
    card.get_by_label("Name to show").focus()
    page.keyboard.type("Ada's machines")
    page.keyboard.press("Tab")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("Phone")
    card.locator("input[accept='image/*']").set_input_files(place.folder / "photo.png")
    card.get_by_role("button", name="Use the drawn one").wait_for()
    card.get_by_role("button", name="Make the account").focus()
    page.keyboard.press("Enter")
    card.get_by_text("Save a backup now.").wait_for()
    assert page.evaluate("document.activeElement.innerText") == "Account"
    is_readable(phone)
    backup = place.folder / "ada.ccbackup"
    with page.expect_download() as saved:
        card.get_by_role("button", name="Save the backup").click()
    saved.value.save_as(backup)
    card.get_by_role("button", name="I have it").click()
    card.get_by_text("Save a backup now.").wait_for(state="detached")
    assert page.evaluate(STORED_KEY) == ["webcrypto", False, None]

    # A node without a screen joins by the address that the code shows.
    card.get_by_role("button", name="Link another device").click()
    joining = place.start(
        CC_NODE, "account", "join", card.get_by_label("Address").input_value(), "--name", "Desk", home="desk"
    )
    card.get_by_role("button", name="Yes, link it").wait_for()
    is_readable(phone)
    card.get_by_role("button", name="Yes, link it").click()
    assert "this machine belongs to Ada's machines" in joining.ended().out
    card.get_by_role("button", name="Revoke Desk").wait_for()

    # Whoever of the two computes a chunk, and whether both do: all of the reward is the account's.
    folder, _ = place.slow_task(6, 1_000_000, "[verify]\nreplication = 2\neps = 0.2\npow_bits = 8\n")
    place.nodes(join, "desk")
    monkeypatch.setenv("CC_HOME", str(place.folder / "creator"))
    with Network(join, hosts=("127.0.0.1",)) as work:
        job = work.publish(Task(folder))
        phone.works_for(job.id)
        job.wait(60)
        phone.until(f"shown.tasks.some((task) => task.taskId === '{job.id}' && task.state === 'closed')")
        for screen in (f"results/{job.id}", "tasks"):
            page.goto(f"{base}/{screen}{network}")
            first = page.locator("section.card", has_text="Who helped most").locator("li").first
            first.get_by_text("Ada's machines").wait_for()
            assert "6 credits" in first.inner_text()
            assert first.locator("img").evaluate("async (image) => (await image.decode(), image.naturalWidth)") > 0
        is_readable(phone)
    monkeypatch.delenv("CC_HOME")

    # Shown to somebody who has neither: `cc-node` and a page say the same.
    page.goto(f"{base}/me{network}")
    history = place.folder / "ada.cchistory"
    with page.expect_download() as saved:
        card.get_by_role("button", name="Save it, signed").click()
    saved.value.save_as(history)
    proved = place.cc_node("account", "history", "--verify", history, "--json", home="anybody").document
    assert (proved["name"], proved["millicredits"]) == ("Ada's machines", 6_000)
    assert [task["task"] for task in proved["tasks"]] == [job.id]
    card.get_by_text("Check somebody's history").click()
    card.locator("input[accept='.cchistory']").set_input_files(history)
    card.get_by_text("Every signature is right: 6 credits in 1 task").wait_for()
    is_readable(phone)

    card.get_by_role("button", name="Revoke Desk").click()
    card.get_by_role("button", name="Renew Desk").wait_for()
    refused = place.cc_node("account", "login", join, home="desk")
    assert (refused.code, "may not act for it" in refused.err) == (6, True)

    # The backup makes the same account in a terminal, which changes its name, and in a page that had logged out.
    restored = place.cc_node("account", "restore", backup, "--link", join, "--name", "Laptop", home="laptop")
    assert restored.code == 0, restored.err
    assert place.cc_node("account", "profile", "--name", "Ada", home="laptop").code == 0
    assert place.cc_node("account", "login", join, home="laptop").code == 0
    card.get_by_role("button", name="Log out").click()
    page.get_by_role("dialog").get_by_role("button", name="Log out").click()
    card.get_by_text("Bring one back from its backup").click()
    card.locator("input[accept='.ccbackup']").set_input_files(backup)
    card.get_by_role("button", name="Restore the account").click()
    card.get_by_text("Ada", exact=True).wait_for()
    told = {
        each["name"]: each["may_act"]
        for each in place.cc_node("account", "devices", "--json", home="laptop").document["devices"]
    }
    assert told == {"Phone": True, "Desk": False, "Laptop": True}
    assert card.locator(".devices li").count() == 3


def test_an_account_needs_neither_its_server_nor_a_browser_that_keeps_keys(place: Any, join: str, tabs: Any) -> None:
    # Plain http has no WebCrypto, and the server does not take this name for its own.
    base, _, network = join.replace("127.0.0.1", "lan.test").partition("/j")
    tab = tabs.open(f"{base}/me{network}", script=AXE.read_text())
    card = account_card(tab)
    tab.page.set_viewport_size(SMALL_PHONE)
    card.get_by_label("Name to show").fill("Ada")
    card.get_by_role("button", name="Make the account").click()
    for _ in range(2):
        card.get_by_text("the server could not be asked or told").wait_for()
        assert card.get_by_text("Ada", exact=True).is_visible()
        tab.page.reload()
    is_readable(tab)
    with tab.page.expect_download() as saved:
        card.get_by_role("button", name="Save the backup").click()
    saved.value.save_as(place.folder / "ada.ccbackup")
    restored = place.cc_node("account", "restore", place.folder / "ada.ccbackup", home="laptop")
    assert "Ada, with 1 other devices" in restored.out


def test_a_server_that_was_started_anew_hears_whose_a_tab_is(place: Any, tabs: Any) -> None:
    server = place.signaling()
    tab = tabs.open(server.join("lab").replace("/j#", "/me#"))
    card = account_card(tab)
    card.get_by_label("Name to show").fill("Ada")
    card.get_by_role("button", name="Make the account").click()
    card.get_by_text("Save a backup now.").wait_for()
    device = public_key_of(tab.peer_id)
    assert [said.name for _, said in statements_of(server.url, [device])] == ["Ada"]
    server.kill()
    again = place.signaling(server.port)
    until(lambda: statements_of(again.url, [device]), "the new server knows whose the tab is")
