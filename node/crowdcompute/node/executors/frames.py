"""What the pool and a worker say to each other over the worker's stdin and stdout.

A frame is a little-endian u32 length and one MessagePack value of that length. The pool loads programs under numbers
of its own choice, then sends batches, one at a time. While a batch runs, the worker reports what has ended since its
last report: at least every REPORT_INTERVAL_S, and once more when it is done. So the pool, which holds the clock and
the only knife, knows which chunk is running.

This module stays free of `crowdcompute.protocol`: a worker that imports little is ready early.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import msgspec

LENGTH_BYTES = 4
REPORT_INTERVAL_S = 0.05
REPORT_BYTES = 256 * 1024
"""A report leaves early when it holds this much."""
REPORT_BYTES_MAX = 18 * 1024 * 1024
"""No frame is larger: one chunk's output has at most 16 MiB (manifest.Limits), and its savepoint 1 MiB."""

# crowdcompute.protocol.events.Status, by value.
OK: Literal[0] = 0
TASK_ERROR: Literal[1] = 1
NO_RESULT: Literal[2] = 2
StatusNumber: TypeAlias = Literal[0, 1, 2]

ERROR_BYTES_MAX = 4_096
"""How much of a task's error text counts, whatever the output limit."""


class Outcome(NamedTuple):
    """`crowdcompute.protocol.events.ChunkOutcome`, field by field, with the status as its number."""

    chunk: int
    status: StatusNumber
    data: bytes
    detail: str
    states: list[bytes] = []  # noqa: RUF012  # msgspec makes each its own


class Load(msgspec.Struct, frozen=True, array_like=True, tag="load"):
    """Compile `module`, whose SHA-256 is `digest`, and keep it as `program`. Answered by `Loaded`."""

    program: int
    digest: bytes
    module: bytes
    memory_bytes: int
    output_bytes: int
    numbers: bool
    """Whether inputs are little-endian i64s, which a command gets as arguments."""


class Forget(msgspec.Struct, frozen=True, array_like=True, tag="forget"):
    """Drop a program. Not answered."""

    program: int


class Run(msgspec.Struct, frozen=True, array_like=True, tag="run"):
    """Execute chunks (index, input, seed, state to go on from, numbers of savepoints to watch) in order.

    Answered by `Report`s, the last of which is `done`, and `Saved` between them.
    """

    program: int
    chunks: list[tuple[int, bytes, int, bytes, tuple[int, ...]]]
    cautious: bool
    """Report after every chunk, so that a chunk which takes the worker down is known."""
    save_every_s: float | None = None
    """How often the state of a chunk is worth a `Saved`; None for never."""


ToWorker: TypeAlias = Load | Forget | Run


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """The worker is locked down behind these layers and waits."""

    layers: tuple[str, ...]
    device: str = ""
    """What computes, where that is not the processor."""
    devices: int = 1
    """How many of its kind there are here; each has a worker of its own."""


class Loaded(msgspec.Struct, frozen=True, array_like=True, tag="loaded"):
    """The program is compiled, or refused for the reason given."""

    refusal: str


class Report(msgspec.Struct, frozen=True, array_like=True, tag="report"):
    """Outcomes since the last report, in order."""

    outcomes: list[Outcome]
    done: bool


class Saved(msgspec.Struct, frozen=True, array_like=True, tag="saved"):
    """A chunk that runs could go on from this state, after this Worker's end."""

    chunk: int
    number: int
    state: bytes


FromWorker: TypeAlias = Ready | Loaded | Report | Saved

_encoder = msgspec.msgpack.Encoder()


def encode(message: ToWorker | FromWorker) -> bytes:
    """One frame, length included."""
    body = _encoder.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "little") + body
