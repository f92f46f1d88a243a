"""The path tracer in pure Python, without anything of CrowdCompute: the same operations in the same order.

pixel(column, row) -> three bytes
"""

from __future__ import annotations

from math import sqrt
from typing import TypeAlias

WIDTH, HEIGHT, SAMPLES, BOUNCES = 480, 360, 400, 6
EYE = (0.0, 1.9, 7.2)
V: TypeAlias = tuple[float, float, float]

# centre, radius, colour, glow, mirror
SPHERES: list[tuple[V, float, V, float, bool]] = [
    ((0.0, -1000.0, 0.0), 1000.0, (0.78, 0.76, 0.72), 0.0, False),
    ((0.0, 1.0, 0.0), 1.0, (0.95, 0.95, 0.95), 0.0, True),
    ((-2.2, 0.8, 0.6), 0.8, (0.85, 0.25, 0.2), 0.0, False),
    ((2.1, 0.7, 0.9), 0.7, (0.2, 0.45, 0.85), 0.0, False),
    ((0.9, 0.35, 2.1), 0.35, (0.95, 0.8, 0.3), 0.0, True),
    ((-0.8, 0.3, 2.3), 0.3, (0.3, 0.75, 0.35), 0.0, False),
    ((-1.6, 0.22, 2.9), 0.22, (0.8, 0.4, 0.8), 0.0, False),
    ((-4.0, 7.0, 5.0), 2.0, (0.0, 0.0, 0.0), 9.0, False),
]
MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


class Chance:
    """splitmix64."""

    def __init__(self, state: int) -> None:
        self._state = state

    def __call__(self) -> float:
        self._state = (self._state + GOLDEN) & MASK
        z = self._state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        return ((z ^ z >> 31) >> 11) * 2.0**-53


def add(a: V, b: V) -> V:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def sub(a: V, b: V) -> V:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def scale(a: V, k: float) -> V:
    return a[0] * k, a[1] * k, a[2] * k


def times(a: V, b: V) -> V:
    return a[0] * b[0], a[1] * b[1], a[2] * b[2]


def dot(a: V, b: V) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def unit(a: V) -> V:
    return scale(a, 1 / sqrt(dot(a, a)))


def inside_unit_sphere(chance: Chance) -> V:
    while True:
        p = (2 * chance() - 1, 2 * chance() - 1, 2 * chance() - 1)
        if 1e-12 < dot(p, p) < 1:
            return p


def meets(centre: V, radius: float, start: V, along: V) -> float:
    to = sub(start, centre)
    half = dot(to, along)
    under = half * half - (dot(to, to) - radius * radius)
    if under < 0:
        return -1.0
    root = sqrt(under)
    if -half - root > 1e-6:
        return -half - root
    return -half + root if -half + root > 1e-6 else -1.0


def light_along(start: V, along: V, chance: Chance) -> V:
    found, through = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    for _ in range(BOUNCES):
        hits = [
            (distance, index)
            for index, (centre, radius, *_) in enumerate(SPHERES)
            if (distance := meets(centre, radius, start, along)) > 0
        ]
        if not hits:
            up = 0.5 * (along[1] + 1)
            sky = (0.35 * (0.55 + 0.25 * up), 0.35 * (0.6 + 0.4 * up), 0.35 * (0.7 + 0.6 * up))
            return add(found, times(through, sky))
        nearest, index = min(hits)
        centre, radius, colour, glow, mirror = SPHERES[index]
        at = add(start, scale(along, nearest))
        normal = scale(sub(at, centre), 1 / radius)
        found = add(found, scale(through, glow))
        through = times(through, colour)
        if mirror:
            along = unit(sub(along, scale(normal, 2 * dot(along, normal))))
        else:
            way = add(normal, unit(inside_unit_sphere(chance)))
            along = unit(way) if dot(way, way) > 1e-12 else normal
        start = at
    return found


def byte_of(light: float) -> int:
    return int(255 * min(sqrt(max(light, 0.0)), 1.0) + 0.5)


def pixel(column: int, row: int) -> bytes:
    """Red, green and blue of one pixel of the picture."""
    total = (0.0, 0.0, 0.0)
    for sample in range(SAMPLES):
        chance = Chance(((row * WIDTH + column) * SAMPLES + sample) * GOLDEN & MASK ^ 0x5CA1AB1E)
        right = (column + chance() - WIDTH // 2) / HEIGHT
        up = (HEIGHT // 2 - row - chance()) / HEIGHT
        total = add(total, light_along(EYE, unit((right, up - 0.14, -1.25)), chance))
    return bytes(byte_of(part / SAMPLES) for part in total)
