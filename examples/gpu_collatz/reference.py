"""The chunk of gpu_collatz in Python integers: what kernel.wgsl and kernel.c must be compared with.

python -m examples.gpu_collatz.reference FIRST END > result
"""

from __future__ import annotations

import struct
import sys

GROUP, BUCKETS, STEPS_A_BUCKET = 16, 16, 64


def chunk(first: int, end: int) -> bytes:
    """Offset and steps of the longest way of each group of numbers, then the histogram of all."""
    steps = [steps_from(number) for number in range(first, end)]
    words = []
    for begin in range(0, len(steps), GROUP):
        offset = max(range(begin, min(begin + GROUP, len(steps))), key=steps.__getitem__)
        words += [offset, steps[offset]]
    histogram = [0] * BUCKETS
    for each in steps:
        histogram[min(each // STEPS_A_BUCKET, BUCKETS - 1)] += 1
    return struct.pack(f"<{len(words) + BUCKETS}I", *words, *histogram)


def steps_from(number: int) -> int:
    """How often a number has to be halved or tripled-plus-one to reach 1; 0 when it outgrows 64 bits on its way."""
    steps = 0
    while number > 1:
        number = 3 * number + 1 if number & 1 else number // 2
        if number >= 2**64:
            return 0
        steps += 1
    return steps


if __name__ == "__main__":
    sys.stdout.buffer.write(chunk(*map(int, sys.argv[1:3])))
