"""The deep zoom's tile in pure Python, byte for byte: what kernel.c must be compared with, and how it reads in words.

python -m examples.deep_zoom.reference X Y WIDTH HEIGHT > tile
"""

from __future__ import annotations

import math
import struct
import sys

PICTURE = 1024
ITERATIONS_MAX = 8_000
CENTER_X = -0.743643887037158704752191506114774
CENTER_Y = 0.131825904205311970493132056385139
WIDTH = 6e-11
ESCAPE = 65_536.0


def tile(left: int, top: int, width: int, height: int) -> bytes:
    """`width` * `height` little-endian u16s: 8 * smoothed iterations, 0 where the point never escapes."""
    values = [pixel(column, row) for row in range(top, top + height) for column in range(left, left + width)]
    return struct.pack(f"<{len(values)}H", *values)


def pixel(column: int, row: int) -> int:
    # In kernel.c's order of operations: floating-point sums depend on it.
    step = WIDTH / PICTURE
    cx = CENTER_X + (column - PICTURE // 2 + 0.5) * step
    cy = CENTER_Y + (row - PICTURE // 2 + 0.5) * step
    x = y = xx = yy = 0.0
    for iteration in range(ITERATIONS_MAX):
        y = (x + x) * y + cy
        x = xx - yy + cx
        xx = x * x
        yy = y * y
        if xx + yy > ESCAPE:
            return int(8.0 * (iteration + 1 - log2_of(log2_of(xx + yy) / 16.0)))
    return 0


def log2_of(x: float) -> float:
    """log2 of x >= 1 by a parabola over the mantissa. Not math.log2: that belongs to the machine's own libm."""
    mantissa, exponent = math.frexp(x)
    mantissa *= 2.0
    return exponent - 1 + ((2.0 - mantissa / 3.0) * mantissa - 5.0 / 3.0)


if __name__ == "__main__":
    sys.stdout.buffer.write(tile(*map(int, sys.argv[1:5])))
