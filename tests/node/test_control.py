"""The control socket, asked through a real one."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from crowdcompute.node.control import LINE_BYTES_MAX, ControlError, NotRunning, ask
from crowdcompute.node.control_server import ControlServer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


async def echo(command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"heard": command, "with": dict(arguments)}


async def asked(path: Path, command: str, **arguments: Any) -> dict[str, Any]:
    return await asyncio.to_thread(ask, path, command, **arguments)


def test_a_command_and_its_arguments_reach_the_node_and_its_answer_comes_back(path: Path) -> None:
    async def main() -> None:
        async with ControlServer(path, echo):
            assert await asked(path, "pause", seconds=3600) == {"heard": "pause", "with": {"seconds": 3600}}

    asyncio.run(main())


def test_every_answer_on_the_wire_carries_its_schema(path: Path) -> None:
    async def main() -> None:
        async with ControlServer(path, echo):
            assert json.loads(await exchanged(path, b'{"command": "status"}\n'))["schema"] == 1
            assert json.loads(await exchanged(path, b"nonsense\n"))["schema"] == 1

    asyncio.run(main())


def test_a_refusal_reaches_the_person_who_asked(path: Path) -> None:
    async def refuse(command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        raise ControlError(f"there is no command `{command}`: see `cc-node --help`")

    async def main() -> None:
        async with ControlServer(path, refuse):
            with pytest.raises(ControlError, match="no command `dance`") as caught:
                await asked(path, "dance")
            assert caught.value.exit_code == 1

    asyncio.run(main())


def test_without_a_node_the_asker_hears_how_to_start_one(path: Path) -> None:
    with pytest.raises(NotRunning, match="cc-node run") as caught:
        ask(path, "status")
    assert caught.value.exit_code == 3


def test_a_dead_nodes_socket_means_not_running_and_a_new_node_replaces_it(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(NotRunning):
        ask(path, "status")

    async def main() -> None:
        async with ControlServer(path, echo):
            assert (await asked(path, "status"))["heard"] == "status"

    asyncio.run(main())


def test_only_the_owner_may_open_the_socket_and_it_is_gone_with_the_node(path: Path) -> None:
    def mode() -> int:
        return stat.S_IMODE(path.stat().st_mode)

    async def main() -> None:
        async with ControlServer(path, echo):
            assert mode() == 0o600

    asyncio.run(main())
    assert not path.exists()


def test_a_file_that_is_no_socket_is_not_overwritten(path: Path) -> None:
    path.write_text("mine")

    async def main() -> None:
        with pytest.raises(ControlError, match="remove what stands there"):
            async with ControlServer(path, echo):
                pass

    asyncio.run(main())
    assert path.read_text() == "mine"


def test_a_path_too_long_for_a_socket_is_told_at_both_ends(tmp_path: Path) -> None:
    path = tmp_path / ("long" * 30) / "control.sock"

    async def main() -> None:
        with pytest.raises(ControlError, match="set CC_HOME to a shorter one"):
            async with ControlServer(path, echo):
                pass

    asyncio.run(main())
    with pytest.raises(ControlError, match="set CC_HOME to a shorter one"):
        ask(path, "status")


async def exchanged(path: Path, sent: bytes) -> bytes:
    """One raw exchange: whatever the node says until it has answered once or hangs up."""
    reader, writer = await asyncio.open_unix_connection(path, limit=2 * LINE_BYTES_MAX)
    writer.write(sent)
    try:
        return await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "line",
    [b"\n", b"{}\n", b"[]\n", b"7\n", b"null\n", b'"status"\n', b'{"command": 7}\n', b"\xff\n", b"[" * 100_000 + b"\n"],
)
def test_a_malformed_request_gets_a_sentence_and_the_connection_goes_on(path: Path, line: bytes) -> None:
    async def main() -> None:
        async with ControlServer(path, echo):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(line + b'{"command": "status"}\n')
            assert "a request is one JSON object" in json.loads(await reader.readline())["error"]
            assert json.loads(await reader.readline())["heard"] == "status"
            writer.close()

    asyncio.run(main())


def test_a_line_without_end_is_hung_up_on_and_others_are_answered(path: Path) -> None:
    async def main() -> None:
        async with ControlServer(path, echo):
            assert await exchanged(path, b"x" * (LINE_BYTES_MAX * 3)) == b""
            assert (await asked(path, "status"))["heard"] == "status"

    asyncio.run(main())


def test_a_silent_asker_holds_up_neither_the_others_nor_the_end(path: Path) -> None:
    async def main() -> None:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        async with ControlServer(path, echo):
            reader, writer = await asyncio.open_unix_connection(path)
            assert (await asked(path, "status"))["heard"] == "status"
        assert await reader.read() == b""
        writer.close()
        assert reported == []

    asyncio.run(main())


def test_an_answer_being_worked_on_is_finished_before_the_node_hangs_up(path: Path) -> None:
    async def main() -> None:
        stopping, closing = asyncio.Event(), asyncio.Event()

        async def stop(command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            stopping.set()
            await closing.wait()
            return {"state": "stopped"}

        async with ControlServer(path, stop):
            answer = asyncio.create_task(asked(path, "stop"))
            await stopping.wait()
            # Runs once the server is already waiting in its exit.
            asyncio.get_running_loop().call_soon(closing.set)
        assert await answer == {"state": "stopped"}

    asyncio.run(main())


def test_a_bug_in_the_node_breaks_off_that_answer_only(path: Path) -> None:
    async def stumble(command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        if command == "stumble":
            raise ZeroDivisionError
        return {}

    async def main() -> None:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        async with ControlServer(path, stumble):
            with pytest.raises(ControlError, match="look into its log"):
                await asked(path, "stumble")
            assert await asked(path, "status") == {}
        assert [type(context["exception"]) for context in reported] == [ZeroDivisionError]

    asyncio.run(main())


Impostor = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def saying(answer: bytes) -> Impostor:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    return say


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b'{"schema": 2}\n', "answers with schema 2"),
        (b"{}\n", "is not a CrowdCompute node"),
        (b"[]\n", "is not a CrowdCompute node"),
        (b"HTTP/1.1 400 Bad Request\n", "is not a CrowdCompute node"),
        (b'{"schema": 1', "broke off"),
        (b"", "broke off"),
    ],
)
def test_whatever_else_answers_there_is_told_in_one_sentence(path: Path, answer: bytes, sentence: str) -> None:
    async def main() -> None:
        async with await asyncio.start_unix_server(saying(answer), path):
            with pytest.raises(ControlError, match=sentence):
                await asked(path, "status")

    asyncio.run(main())


def test_a_node_that_does_not_answer_is_given_up_on(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(ControlError, match="did not answer `status` within"):
            ask(path, "status", timeout_s=0.01)
