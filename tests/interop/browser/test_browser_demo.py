"""`cc-node demo --browser`: a browser takes part like the nodes do, and is gone with the demo."""

from __future__ import annotations

import functools
import shutil
import sys
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from crowdcompute.creator import chromium
from crowdcompute.node.exits import CommandError, Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

DEMO = (sys.executable, "-m", "crowdcompute.node", "demo", "--browser", "--json")


@pytest.mark.slow
def test_the_browser_is_one_of_the_peers_and_its_votes_count_and_nothing_of_it_stays(place: Any) -> None:
    if shutil.which("chromium") is None:
        pytest.fail("there is no Chromium: apt-get install chromium")
    temporary = place.folder / "tmp"
    temporary.mkdir()
    demo = place.start(DEMO, "-o", place.folder / "out", home="demo", settings={"TMPDIR": str(temporary)})
    ended = demo.ended()
    assert ended.code == 0, ended.err
    document = ended.document
    assert (document["state"], document["accepted"]) == ("closed", document["chunks"])
    *nodes, browser = document["peers"]
    assert [node["name"] for node in nodes] == ["node-1", "node-2", "node-3"]
    assert browser["name"] == "browser"
    assert browser["votes_for_results"] > 0
    assert browser["peer_id"] not in document["wrong_votes"]
    assert f"browser {browser['peer_id']}" in ended.err

    assert list(temporary.iterdir()) == []
    assert [line for line in command_lines() if str(temporary) in line] == []


def command_lines() -> Iterator[str]:
    """Of every process of this machine."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield process.read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue


def test_without_a_browser_on_the_machine_the_demo_says_what_to_install(place: Any) -> None:
    demo = place.start(DEMO, home="demo", settings={"PATH": str(place.folder)}).ended()
    assert (demo.code, demo.out) == (Exit.NOT_READY, "")
    assert demo.err == (
        "cc-node: there is no Chromium or Chrome on the PATH: install one (Debian: apt-get install chromium)\n"
    )


def test_a_browser_that_ends_at_once_is_told_in_its_own_words(place: Any) -> None:
    programs = place.folder / "bin"
    programs.mkdir()
    broken = programs / "chromium"
    broken.write_text("#!/bin/sh\necho 'cannot open shared libraries' >&2\nexit 1\n")
    broken.chmod(0o755)
    demo = place.start(DEMO, home="demo", settings={"PATH": f"{programs}:/usr/bin:/bin"}).ended()
    assert demo.code == Exit.FAILED
    assert demo.err.splitlines()[-1] == "cc-node: the browser ended by itself: cannot open shared libraries"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder on http, quietly."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_server_without_the_built_page_is_told_apart(tmp_path: Path) -> None:
    with served(tmp_path) as url:
        with pytest.raises(CommandError, match="run `make page` first"):
            chromium.check_page(url)
        (tmp_path / "sandbox.html").write_text("<!doctype html>")
        chromium.check_page(url)
