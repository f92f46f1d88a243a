"""A page and a task that fetches: it says what it is and why it takes no part, and asks no server but its own."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AXE = Path(__file__).parents[3] / "web_peer" / "node_modules" / "axe-core" / "axe.min.js"
PAGES = 4


class Library:
    """A server of this machine whose every answer may be read from everywhere, and who asked it."""

    def __init__(self) -> None:
        asked: list[tuple[str, str]] = []

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.path, self.headers["User-Agent"]))
                said = self.path.encode() * 100
                self.send_response(200)
                self.send_header("Access-Control-Allow-Origin", "*")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: Any) -> None:
                pass

        self.asked = asked
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/pages/"


@pytest.fixture
def library() -> Iterator[Library]:
    served = Library()
    thread = threading.Thread(target=served.server.serve_forever, daemon=True)
    thread.start()
    yield served
    served.server.shutdown()
    served.server.server_close()
    thread.join()


def key_of(place: Any, home: str) -> str:
    ended = place.cc_task("keygen", home=home)
    assert ended.code == 0, ended.err
    return next(str(line.split()[1]) for line in ended.out.splitlines() if line.startswith("creator"))


def test_a_page_shows_what_a_task_fetches_and_fetches_nothing(
    place: Any, join: str, tabs: Any, library: Library, task_id: Callable[[Any], str]
) -> None:
    voucher, creator = key_of(place, "operator"), key_of(place, "creator")
    vouch = place.folder / "creator.ccv"
    ended = place.cc_task("vouch", creator, "--name", "A lab", "-o", vouch, home="operator")
    assert ended.code == 0, ended.err
    folder = place.folder / "pages"
    folder.mkdir()
    (folder / "urls.txt").write_text("".join(f"{library.address}{number}\n" for number in range(PAGES)))
    (folder / "task.toml").write_text(
        f'schema = 1\nname = "Pages"\npermissions = ["net:{library.address}"]\nvouches = ["{vouch}"]\n'
        '[code]\nruntime = "net"\n[split]\nurls = "urls.txt"\n[limits]\nseconds = 20\n'
        "[verify]\neps = 0.2\npow_bits = 8\n"
    )
    publishing = place.start_publish(folder, join)
    task = task_id(publishing)

    tab = tabs.open(f"{join}&t={task}&v={voucher}", script=AXE.read_text())
    tab.has_task(task)
    card = tab.page.locator("section.card", has=tab.page.get_by_role("heading", name="Pages"))
    card.get_by_text("This task has data fetched from other servers").wait_for()
    assert card.get_by_text(f"{library.address}").is_visible()
    assert card.get_by_role("button", name="Start").count() == 0
    for _ in tab.pictures("consent-net"):
        found = tab.page.evaluate("async () => (await axe.run()).violations.map(({ id }) => id)")
        assert found == []
    tab.page.goto(f"{join.partition('/j')[0]}/tasks/{task}{join.partition('/j')[2]}&v={voucher}")
    tab.has_task(task)
    tab.page.get_by_text(f"as A lab, by {voucher}").wait_for()
    for _ in tab.pictures("task-net"):
        pass
    # Even whoever says yes by hand gets nothing fetched, and a page that goes on.
    tab.works_for(task)

    allowing = ["--allow", "net", "--trust", voucher, "--fetch-loopback"]
    for name in ("alice", "bob"):
        place.node(join, name, *allowing).joined()
    ended = publishing.ended()
    assert ended.code == 0, ended.err
    assert tab.task(task)["mine"]["done"] == 0
    assert {agent for _, agent in library.asked} == {"crowdcompute"}
    assert {path for path, _ in library.asked} == {f"/pages/{number}" for number in range(PAGES)}
