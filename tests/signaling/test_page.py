"""The page as a browser gets it: whole, under the right policy, and small on the way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from crowdcompute.signaling.web import serve_page

INDEX = "<!doctype html><script type=module src=/assets/index-abc.js></script>" + " " * 1_000
BUILD = {
    "index.html": INDEX,
    "sandbox.html": "<!doctype html><script>1</script>",
    "sw.js": "0",
    "manifest.webmanifest": "{}",
    "icons/off.svg": "<svg/>",
    "assets/index-abc.js": "export const answer = 42;" * 100,
    "assets/index-def.css": "p { color: red }",
    "built-from": "of no interest to browsers",
}


class Client:
    """Asks an application that serves what one of the folders holds."""

    def __init__(self, *folders: Path) -> None:
        self._app = FastAPI()
        serve_page(self._app, folders=folders)

    def get(self, path: str, **headers: str) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
                return await client.get(path, headers={name.replace("_", "-"): text for name, text in headers.items()})

        return asyncio.run(ask())


@pytest.fixture
def client(tmp_path: Path) -> Client:
    for name, text in BUILD.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return Client(tmp_path)


def _policy(client: Client, path: str) -> dict[str, str]:
    header = client.get(path).headers["content-security-policy"]
    return {name: rest for name, _, rest in (directive.strip().partition(" ") for directive in header.split(";"))}


@pytest.mark.parametrize("path", ["/", "/j", "/tasks", "/tasks/" + "0" * 64, "/results/" + "0" * 64, "/settings"])
def test_every_screen_can_be_loaded_by_its_own_address(client: Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.text) == (200, INDEX)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("path", ["/built-from", "/index.html.bak", "/assets/", "/assets/../../etc/passwd", "/nowhere"])
def test_what_is_no_part_of_the_page_is_not_served(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_page_loads_from_this_server_only_and_stands_in_no_other(client: Client) -> None:
    policy = _policy(client, "/j")
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert all("unsafe-inline" not in sources and "'unsafe-eval'" not in sources for sources in policy.values())
    assert all("http" not in sources and "*" not in sources.split() for sources in policy.values())
    for path in ("/", "/sandbox.html", "/assets/index-abc.js"):
        assert client.get(path).headers["x-content-type-options"] == "nosniff"


def test_the_badge_may_stand_in_other_peoples_pages(client: Client) -> None:
    badge, page = _policy(client, "/embed"), _policy(client, "/")
    assert badge.pop("frame-ancestors") == "*"
    assert badge == {name: sources for name, sources in page.items() if name != "frame-ancestors"}


def test_the_sandbox_has_no_origin_and_no_network(client: Client) -> None:
    policy = _policy(client, "/sandbox.html")
    assert policy["sandbox"] == "allow-scripts"
    assert (policy["default-src"], policy["connect-src"]) == ("'none'", "'none'")
    assert "'self'" not in policy["script-src"] + policy["worker-src"]
    assert policy["frame-ancestors"] == "'self'"


def test_names_with_a_hash_are_kept_for_ever_and_others_asked_for_again(client: Client) -> None:
    assert "immutable" in client.get("/assets/index-abc.js").headers["cache-control"]
    assert client.get("/sw.js").headers["cache-control"] == "no-cache"
    first = client.get("/j")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/j", if_none_match=first.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")


def test_text_is_compressed_where_the_browser_takes_it(client: Client) -> None:
    answer = client.get("/", accept_encoding="gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.text == INDEX
    assert int(answer.headers["content-length"]) < len(INDEX) / 2
    plain = client.get("/", accept_encoding="identity")
    assert "content-encoding" not in plain.headers
    assert plain.text == INDEX


@pytest.mark.parametrize("path", ["/", "/j"])
def test_without_a_build_a_plain_page_says_how_to_join_and_loads_nothing(tmp_path: Path, path: str) -> None:
    answer = Client(tmp_path / "missing").get(path)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "cc-node run" in answer.text
    assert "was not built" in answer.text
    assert not [word for word in ("<script", "src=", "href=", "http:", "@import", "url(") if word in answer.text]
