"""The pool's side of the pipe: a worker that was taken over can say what it likes and only loses its life."""

from __future__ import annotations

import asyncio
import sys

import msgspec
import pytest

from crowdcompute.node.executors.child import Child, WorkerLost, WorkerSilent
from crowdcompute.node.executors.frames import REPORT_BYTES_MAX, Loaded, Ready, Report, encode

OUTCOME = [0, 0, b"", ""]


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + body


def packed(value: object) -> bytes:
    return framed(msgspec.msgpack.encode(value))


async def hear(said: bytes, *, then: str = "") -> Report:
    """What the pool makes of a process that says `said`, then runs `then`."""
    source = f"import sys; sys.stdout.buffer.write({said!r}); sys.stdout.flush(); {then}"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", source),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    child = Child(process)
    try:
        return await child.receive(Report, 20 if not then else 0.2)
    finally:
        await child.kill()


def test_a_report_is_heard() -> None:
    report = asyncio.run(hear(packed(["report", [OUTCOME], True])))
    assert report.done and report.outcomes == [(0, 0, b"", "", [])]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x01",
        framed(b""),
        framed(b"\xc1"),
        framed(b"\x91" * 5_000),
        framed(encode(Ready(()))[4:] + b"\x00"),
        (REPORT_BYTES_MAX + 1).to_bytes(4, "little"),
        (100).to_bytes(4, "little") + b"short",
        encode(Ready(())),
        encode(Loaded("")),
        packed(["run", 0, [], False]),
        packed(["report"]),
        packed(["report", [OUTCOME], True, "more"])[:-1],
        packed(["report", [[0, 3, b"", ""]], True]),
        packed(["report", [[0, 0, "text", ""]], True]),
        packed(["report", [[0, 0, b"", "", 1]], True]),
        packed(["report", [[0, 0, b"", b"\xff"]], True]),
        packed({"type": "report"}),
    ],
)
def test_anything_but_a_report_is_a_lost_worker(said: bytes) -> None:
    with pytest.raises(WorkerLost):
        asyncio.run(hear(said))


def test_silence_is_told_apart_from_death() -> None:
    with pytest.raises(WorkerSilent):
        asyncio.run(hear(b"", then="sys.stdin.read()"))
    with pytest.raises(WorkerLost, match="worker died: exit code 3 last words"):
        asyncio.run(hear(b"", then="sys.stderr.write('last  words'); sys.exit(3)"))
