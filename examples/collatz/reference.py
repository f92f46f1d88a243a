"""The Collatz chunk in Python integers, which never overflow: what kernel.c must be compared with.

python -m examples.collatz.reference FIRST END > result
"""

from __future__ import annotations

import struct
import sys

BASE = 3179389980591125407167


def chunk(first: int, end: int) -> bytes:
    """Offset and steps of the number with the most steps among BASE + first up to, not including, BASE + end."""
    offset = max(range(first, end), key=lambda each: steps_from(BASE + each))
    return struct.pack("<qQ", offset, steps_from(BASE + offset))


def steps_from(number: int) -> int:
    """How often a number has to be halved or tripled-plus-one to reach 1."""
    steps = 0
    while number != 1:
        number = 3 * number + 1 if number & 1 else number // 2
        steps += 1
    return steps


if __name__ == "__main__":
    sys.stdout.buffer.write(chunk(*map(int, sys.argv[1:3])))
