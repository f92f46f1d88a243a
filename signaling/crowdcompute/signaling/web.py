"""The page that browsers get: what `npm run build` made of web_peer/, kept in memory, each route with its own policy.

The wheel carries it as `web/` beside this file; an editable checkout has it in web_peer/dist. Everything is loaded
once at start: the page has some hundred kilobytes, and what is served can never be half of two builds.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi.responses import Response

from .page import PAGE, PAGE_HEADERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI, Request

_FOLDERS = (Path(__file__).parent / "web", Path(__file__).parents[3] / "web_peer" / "dist")

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}
"""What a build consists of. A file of another kind is not served."""
_COMPRESSED = {".css", ".html", ".js", ".svg", ".wasm", ".webmanifest"}

_COMMON = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

# Scripts and styles come from this server only; WebAssembly is for the connection doctor. The page speaks to this
# server (its WebSocket too), to those this one names beside itself, and, through WebRTC, which no policy covers, to
# other peers.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; frame-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'"
)
_PAGE = {
    "Content-Security-Policy": f"{_PAGE_POLICY}; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# The badge is made to stand in other people's pages, where it has storage and consent of its own.
_EMBED = {
    "Content-Security-Policy": f"{_PAGE_POLICY}; frame-ancestors *",
    "Cross-Origin-Resource-Policy": "cross-origin",
}

# Strangers' code runs below this document: an origin of its own that is nobody's, and no network by any route.
# Everything it consists of stands in the one file, so there is nothing it may load.
_SANDBOX = {
    "Content-Security-Policy": (
        "sandbox allow-scripts; default-src 'none'; connect-src 'none'; "
        "script-src 'unsafe-inline' 'wasm-unsafe-eval' 'unsafe-eval' blob:; worker-src blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
}
# A worker's script has the policy it was served with, not the page's.
_SCRIPT = {"Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'"}

_SCREENS = (
    *("/", "/j", "/tasks", "/tasks/{task}", "/results/{task}"),
    *("/publish", "/me", "/settings", "/doctor", "/badge", "/about", "/embed"),
)
"""Addresses a person can load again while on a screen of the page (web_peer/src/screens/router.ts)."""


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    gzipped: bytes | None
    headers: Mapping[str, str]

    def response(self, request: Request) -> Response:
        if request.headers.get("if-none-match") == self.headers["ETag"]:
            return Response(status_code=304, headers=dict(self.headers))
        if self.gzipped is not None and "gzip" in request.headers.get("accept-encoding", ""):
            return Response(self.gzipped, headers={**self.headers, "Content-Encoding": "gzip"})
        return Response(self.content, headers=dict(self.headers))


def serve_page(app: FastAPI, *, also: Sequence[str] = (), folders: tuple[Path, ...] = _FOLDERS) -> None:
    """Add the page's routes: the built page from the first folder that has one, else a plain page that says so.

    `also` are further signaling servers that the page may connect to.
    """
    files = next((_load(folder) for folder in folders if (folder / "index.html").is_file()), None)
    if files is None:
        files = dict.fromkeys(("/", "/j"), _file("index.html", PAGE.encode(), {**_COMMON, **PAGE_HEADERS}))
    for path, file in files.items():
        if also:
            file = _reaching(file, also)
        _route(app, path, file)


def _reaching(file: _File, also: Sequence[str]) -> _File:
    """The same file, with these servers' WebSockets among what it may connect to."""
    sockets = " ".join("ws" + url.removeprefix("http") for url in also)
    headers = dict(file.headers)
    policy = headers.get("Content-Security-Policy", "")
    headers["Content-Security-Policy"] = policy.replace("connect-src 'self'", f"connect-src 'self' {sockets}")
    # What browsers kept under another policy is fetched again.
    headers["ETag"] = f'"{sha256((headers["ETag"] + sockets).encode()).hexdigest()[:32]}"'
    return replace(file, headers=headers)


def _route(app: FastAPI, path: str, file: _File) -> None:
    async def get(request: Request) -> Response:
        return file.response(request)

    # Closed over per file; a plain route, because there is nothing to validate or document.
    app.router.add_route(path, get, methods=["GET"])


def _load(folder: Path) -> dict[str, _File]:
    """Every file of a build by the path it is served under."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.suffix in _TYPES and name != "index.html":
            files[f"/{name}"] = _file(name, path.read_bytes(), {**_COMMON, **_policy(name)})
    index = (folder / "index.html").read_bytes()
    for screen in _SCREENS:
        policy = _EMBED if screen == "/embed" else _PAGE
        files[screen] = _file("index.html", index, {**_COMMON, **policy})
    return files


def _policy(name: str) -> Mapping[str, str]:
    if name == "sandbox.html":
        return _SANDBOX
    if name.endswith(".html"):
        return _PAGE
    return _SCRIPT


def _caching(name: str) -> str:
    # Names below assets/, and the address that the page uses for the sandbox, carry a hash of the content. The sandbox
    # must be at hand without us: its origin is nobody's, so no service worker answers for it.
    if name.startswith("assets/") or name == "sandbox.html":
        return "public, max-age=31536000, immutable"
    return "no-cache"


def _file(name: str, content: bytes, policy: Mapping[str, str]) -> _File:
    suffix = Path(name).suffix
    headers = {
        **policy,
        "Content-Type": _TYPES[suffix],
        "ETag": f'"{sha256(content).hexdigest()[:32]}"',
        "Cache-Control": _caching(name),
        "Vary": "Accept-Encoding",
    }
    gzipped = gzip.compress(content, 9, mtime=0) if suffix in _COMPRESSED else None
    return _File(content, gzipped if gzipped is not None and len(gzipped) < len(content) else None, headers)
