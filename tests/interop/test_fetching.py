"""Nodes fetch for a verified creator, and a second task computes with what they fetched (spec/permissions.md)."""

from __future__ import annotations

import itertools
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PAGES = 4
KERNEL = "export default (_, bytes) => bytes.reduce((sum, byte) => sum + byte, 0);"


class Library:
    """A server of this machine with a few pages; those that change are never twice the same."""

    def __init__(self, *, changes: bool = False) -> None:
        numbers = itertools.count()

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                said = f"{self.path} {next(numbers) if changes else ''}".encode() * 1_000
                self.send_response(200)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/pages/"

    def page(self, number: int) -> bytes:
        return f"/pages/{number} ".encode() * 1_000


@contextmanager
def library(*, changes: bool = False) -> Iterator[Library]:
    served = Library(changes=changes)
    thread = threading.Thread(target=served.server.serve_forever, daemon=True)
    thread.start()
    yield served
    served.server.shutdown()
    served.server.server_close()
    thread.join()


def peer_of(place: Any, home: str, *key: Any) -> str:
    """The peer id of a creator's key, newly made."""
    ended = place.cc_task("keygen", *key, home=home)
    assert ended.code == 0, ended.err
    return str(next(line.split()[1] for line in ended.out.splitlines() if line.startswith("creator")))


def fetching_task(place: Any, pages: Library, *, vouch: Path | None) -> Path:
    folder: Path = place.folder / "pages"
    folder.mkdir()
    (folder / "urls.txt").write_text("".join(f"{pages.address}{number}\n" for number in range(PAGES)))
    vouches = f'vouches = ["{vouch}"]\n' if vouch else ""
    (folder / "task.toml").write_text(
        f'schema = 1\nname = "Pages"\npermissions = ["net:{pages.address}"]\n{vouches}[code]\nruntime = "net"\n'
        '[split]\nurls = "urls.txt"\n[limits]\nseconds = 20\n[verify]\neps = 0.2\npow_bits = 8\n'
        "[publish]\nonward = true\n"
    )
    return folder


def computing_task(place: Any, results: str) -> Path:
    folder: Path = place.folder / "sums"
    folder.mkdir()
    (folder / "kernel.js").write_text(KERNEL)
    (folder / "task.toml").write_text(
        'schema = 1\nname = "Sums"\n[code]\nruntime = "js"\nmodule = "kernel.js"\n'
        f'[split]\nresults = {{ folder = "{place.folder / results}" }}\n[limits]\nseconds = 20\n'
        "[verify]\neps = 0.2\npow_bits = 8\n"
    )
    return folder


@pytest.fixture
def voucher(place: Any) -> str:
    return peer_of(place, "operator")


@pytest.fixture
def vouch(place: Any, voucher: str) -> Path:
    """The operator answers for the creator of these tests."""
    file: Path = place.folder / "creator.ccv"
    creator = peer_of(place, "creator")
    ended = place.cc_task("vouch", creator, "--name", "A lab", "-o", file, home="operator")
    assert ended.code == 0, ended.err
    return file


def test_pages_are_fetched_by_who_allows_it_and_computed_with_by_everybody(
    place: Any, join: str, task_id: Callable[[Any], str], voucher: str, vouch: Path
) -> None:
    with library() as pages:
        folder = fetching_task(place, pages, vouch=vouch)
        allowing = ["--allow", "net", "--trust", voucher, "--fetch-loopback"]
        willing = [place.node(join, name, *allowing).joined() for name in ("alice", "bob")]
        unwilling = place.node(join, "carol").joined()
        fetching = place.start_publish(folder, join, "--json")
        ended = fetching.ended()
        assert ended.code == 0, ended.err
        assert ended.document["convicted"] == []
        files, rows = place.results(task_id(fetching), "fetched")
        assert files == {number: pages.page(number) for number in range(PAGES)}
        voters = {peer for row in rows for peer in row["agreed"]}
        assert voters & {node.peer_id for node in willing}
        assert unwilling.peer_id not in voters
        audited = place.cc_task("audit", str(place.folder / "fetched"))
        assert audited.code == 0, audited.err
    # The server is gone: what is computed with now came from the nodes that have it.
    computing = place.start_publish(computing_task(place, "fetched"), join, "--json")
    ended = computing.ended()
    assert ended.code == 0, ended.err
    files, rows = place.results(task_id(computing), "computed")
    assert [int(files[number]) for number in range(PAGES)] == [sum(pages.page(number)) for number in range(PAGES)]
    assert unwilling.process.poll() is None


@pytest.mark.slow
def test_answers_that_differ_convict_nobody_and_a_vouch_that_is_taken_back_ends_it(
    place: Any, join: str, task_id: Callable[[Any], str], voucher: str, vouch: Path
) -> None:
    with library(changes=True) as pages:
        folder = fetching_task(place, pages, vouch=vouch)
        allowing = ["--allow", "net", "--trust", voucher, "--fetch-loopback"]
        nodes = [place.node(join, name, *allowing).joined() for name in ("alice", "bob")]
        publishing = place.start_publish(folder, join, "--json")
        ended = publishing.ended()
        assert ended.code == 0, ended.err
        assert (ended.document["accepted"], ended.document["convicted"]) == (PAGES, [])
        files, rows = place.results(task_id(publishing), "fetched")
        # What the creator itself got, which is none of what others got.
        assert all(len(row["agreed"]) == 1 for row in rows)
        assert all(file.startswith(b"/pages/") for file in files.values())
        audited = place.cc_task("audit", str(place.folder / "fetched"))
        assert audited.code == 0, audited.err

        creator = ended.err.split("creator   ")[1].split()[0]
        taken_back = place.cc_task("unvouch", creator, "--link", join, "--host", "127.0.0.1", home="operator")
        assert taken_back.code == 0, taken_back.err
        for node in nodes:
            node.says("answers for .* no more")
        # The same task once more, by the same creator with the same vouch: they see it, and take no part.
        again = place.start_publish(folder, join)
        task = task_id(again)
        for node in nodes:
            node.says(rf"task {task[:8]} 'Pages'")
            assert task not in [known["task"] for known in node.status()["tasks"]]
        again.kill()
