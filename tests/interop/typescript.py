"""The other implementation: what is in web_peer/test/differential/, as programs for Node."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

WEB_PEER = Path(__file__).parents[2] / "web_peer"


def compiled(name: str, folder: Path) -> Path:
    """One of those programs, made in `folder`."""
    bundler = WEB_PEER / "node_modules" / "rolldown" / "bin" / "cli.mjs"
    if not bundler.exists():
        pytest.fail("the web peer's tools are not installed: run `make test`, or `npm ci` in web_peer/")
    made = folder / f"{name}.mjs"
    subprocess.run(
        ["node", bundler, f"test/differential/{name}.ts", "-f", "esm", "-p", "node", "-o", made],
        cwd=WEB_PEER,
        check=True,
        capture_output=True,
    )
    return made


class Typescript:
    """A program in a process of its own: one question, one answer."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(["node", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, ask: str, **question: Any) -> Any:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        data = json.dumps({"ask": ask, **question}).encode()
        process.stdin.write(struct.pack("<I", len(data)) + data)
        process.stdin.flush()
        header = process.stdout.read(4)
        assert len(header) == 4, f"the TypeScript side ended over {ask}: its error stands above"
        return json.loads(process.stdout.read(struct.unpack("<I", header)[0]))

    def close(self) -> None:
        self._process.communicate(timeout=10)
