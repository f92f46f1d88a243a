"""States of long chunks, as a simulated machine keeps and goes on from them.

    right 0 --savepoint_s of work--> right 1 --> right 2 ... right n --the rest--> the right result
                                        '--changed--> wrong 2' --> wrong 3' ... --> a wrong result

A state knows its number and a hash; what follows from a wrong one is wrong, and the same for whoever goes on from it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from crowdcompute.protocol.codec import decode, encode


class State(NamedTuple):
    """Where an execution is."""

    number: int
    digest: bytes

    def written(self) -> bytes:
        return encode(tuple(self))


def read_state(data: bytes) -> State:
    number, digest = decode(data, tuple)
    return State(number, digest)


def right(task: bytes, chunk: int, number: int) -> State:
    """The state of an execution from scratch."""
    return State(number, sha256(b"state" + task + chunk.to_bytes(4) + number.to_bytes(4)).digest())


def following(task: bytes, chunk: int, state: State) -> State:
    """The next one."""
    number = state.number + 1
    if state == right(task, chunk, state.number):
        return right(task, chunk, number)
    return State(number, sha256(state.digest + number.to_bytes(4)).digest())
