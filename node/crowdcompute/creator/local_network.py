"""A network on this machine, each part a process of its own: for the demo and the benchmarks."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crowdcompute.node import keys
from crowdcompute.node.exits import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crowdcompute.protocol.identity import PeerId

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Volunteer:
    name: str
    peer_id: PeerId
    lies: bool
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise if the node has ended by itself."""
        if self.process.poll() is not None:
            raise CommandError(f"{self.name} ended by itself: {self.log.read_text().strip() or 'it said nothing'}")


@contextlib.contextmanager
def signaling_server(folder: Path) -> Iterator[dict[str, str]]:
    """A signaling server on a free port of loopback; yields its `url` and the `join` link of a new network.

    Raises:
        CommandError: It did not start.
    """
    command = [sys.executable, "-m", "crowdcompute.signaling", "serve", "--port", "0", "--ready-json"]
    log = folder / "signaling.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*command, "--network", f"demo-{os.urandom(4).hex()}"], stdout=subprocess.PIPE, stderr=errors
        )
    with _ended(process):
        assert process.stdout is not None
        # The creator's own network stack takes a second to import; the server takes as long to start.
        for module in ("runtime", "store.records", "transports.webrtc"):
            importlib.import_module(f"crowdcompute.node.{module}")
        importlib.import_module("crowdcompute.node.transports.webrtc").link_class("auto")
        line = process.stdout.readline()
        if not line:
            raise CommandError(f"the signaling server did not start: {log.read_text().strip()}")
        yield json.loads(line)


@contextlib.contextmanager
def volunteer(folder: Path, name: str, join: str, *, lies: bool = False) -> Iterator[Volunteer]:
    """A `cc-node run` of its own, with its data in `folder`/`name`."""
    home = folder / name
    home.mkdir()
    identity = keys.create(home / "identity.key")
    log = folder / f"{name}.log"
    command = [sys.executable, "-m", "crowdcompute.node", "run", join, "--yes", "--jobs", "1", "--host", LOOPBACK]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            # Nobody's background work: a person waits for it.
            [*command, "--nice", "0", "--grace", "0", *(["--lie"] if lies else [])],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            # A server's schema is one node's, and these are several.
            env={**{name: value for name, value in os.environ.items() if name != "CC_STORE"}, "CC_HOME": str(home)},
        )
    with _ended(process):
        yield Volunteer(name, identity.peer_id, lies, process, log)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the process when the block ends: politely, then not."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(3.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
