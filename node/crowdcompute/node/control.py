"""Talk to the node that runs on this machine, through its control socket.

A Unix socket in the node's folder, which only its owner may open (mode 0600). One JSON object a line each way:

    {"command": "status"}   →   {"schema": 1, "peer_id": …, "tasks": […], …}
    {"command": "dance"}    →   {"schema": 1, "error": "…one sentence…"}

This is the asking side, for the command line: synchronous and without asyncio, which would add 40 ms to each command.
The answering side is control_server.py. Python has no Unix sockets on Windows, so there both say so in one sentence.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
"""Version of the answers, the same number `--json` prints. It grows when a key changes its meaning or goes away."""

LINE_BYTES_MAX = 1024 * 1024
"""A request or an answer. A status with a thousand tasks takes a quarter of it."""


class ControlError(Exception):
    """The node could not do what was asked. The message is its sentence, for the person who asked."""

    exit_code = 1


class NotRunning(ControlError):
    """Nobody answers: no node runs with this folder."""

    exit_code = 3


def ask(path: Path, command: str, *, timeout_s: float = 10.0, **arguments: Any) -> dict[str, Any]:
    """Send one command to the node whose socket is `path` and return its answer, without `schema`.

    `timeout_s` bounds each wait; the default is a guess at what a node on a busy machine needs.

    Raises:
        NotRunning: No node listens there.
        ControlError: The node refused, did not answer in time, or speaks another schema.
    """
    request = json.dumps({"command": command, **arguments}).encode() + b"\n"
    with open_socket() as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(address_of(path))
            connection.sendall(request)
            line = _read_line(connection)
        except TimeoutError:
            raise ControlError(
                f"the node did not answer `{command}` within {timeout_s:g} s: try again, or stop its process"
            ) from None
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning(
                f"no node is running here (nobody listens at {path}): start one with `cc-node run`"
            ) from None
        except OSError as error:
            raise ControlError(f"the node at {path} cannot be reached: {error.strerror or error}") from None
    answer = _parse_answer(line)
    if "error" in answer:
        raise ControlError(answer["error"])
    return answer


def open_socket() -> socket.socket:
    """A Unix socket, not yet bound or connected.

    Raises:
        ControlError: This system has none.
    """
    family = getattr(socket, "AF_UNIX", None)
    if family is None:
        raise ControlError("Python has no Unix sockets on this system, so a running node cannot be asked anything")
    return socket.socket(family, socket.SOCK_STREAM)


def address_of(path: Path) -> str:
    """The path as a socket address.

    Raises:
        ControlError: The path is longer than the system allows.
    """
    # 104 bytes on macOS and the BSDs, 108 on Linux, the final zero included.
    if len(bytes(path)) > 103:
        raise ControlError(
            f"{path} is too long for a socket's address (at most 103 bytes): set CC_HOME to a shorter one"
        )
    return str(path)


def _read_line(connection: socket.socket) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        received = connection.recv(64 * 1024)
        if not received or len(line) > LINE_BYTES_MAX:
            raise ControlError("the node broke off before it had answered: look into its log")
        line += received
    return bytes(line)


def _parse_answer(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
        schema = answer.pop("schema")
    except (ValueError, AttributeError, TypeError, KeyError):
        raise ControlError("what answers at the control socket is not a CrowdCompute node") from None
    if schema != SCHEMA:
        raise ControlError(
            f"the running node answers with schema {schema!r}, this command knows {SCHEMA}: "
            "restart the node with the CrowdCompute release that this command belongs to"
        )
    result: dict[str, Any] = answer
    return result
