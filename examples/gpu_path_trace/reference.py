"""The path tracer in pure Python, without anything of CrowdCompute: the same paths, with more digits than f32 has.

pixel(column, row) -> red, green and blue
"""

from __future__ import annotations

from math import sqrt
from typing import TypeAlias

WIDTH, HEIGHT, SAMPLES, BOUNCES = 192, 128, 64, 5
EYE = (0.0, 1.9, 7.2)
FAR, NEAR = 1e9, 1e-3
MASK = 2**32 - 1
V: TypeAlias = tuple[float, float, float]

# centre, radius, colour, whether it is a mirror
SPHERES: list[tuple[V, float, V, bool]] = [
    ((0.0, 1.0, 0.0), 1.0, (0.95, 0.95, 0.95), True),
    ((-2.2, 0.8, 0.6), 0.8, (0.85, 0.25, 0.2), False),
    ((2.1, 0.7, 0.9), 0.7, (0.2, 0.45, 0.85), False),
    ((0.9, 0.35, 2.1), 0.35, (0.95, 0.8, 0.3), True),
    ((-0.8, 0.3, 2.3), 0.3, (0.3, 0.75, 0.35), False),
    ((-1.6, 0.22, 2.9), 0.22, (0.8, 0.4, 0.8), False),
]
FLOOR = (0.78, 0.76, 0.72)


class Chance:
    """PCG, of which the upper 24 bits are a number from 0 to 1."""

    def __init__(self, seed: int) -> None:
        self._seed = seed & MASK

    def __call__(self) -> float:
        self._seed = (self._seed * 747796405 + 2891336453) & MASK
        word = ((self._seed >> ((self._seed >> 28) + 4)) ^ self._seed) * 277803737 & MASK
        return ((word >> 22 ^ word) >> 8) * 2.0**-24


def add(a: V, b: V) -> V:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def scale(a: V, k: float) -> V:
    return a[0] * k, a[1] * k, a[2] * k


def times(a: V, b: V) -> V:
    return a[0] * b[0], a[1] * b[1], a[2] * b[2]


def dot(a: V, b: V) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def unit(a: V) -> V:
    return scale(a, 1 / sqrt(dot(a, a)))


def distance_to(centre: V, radius: float, start: V, along: V) -> float:
    to = add(start, scale(centre, -1))
    half = dot(to, along)
    under = half * half - (dot(to, to) - radius * radius)
    if under < 0:
        return FAR
    for away in (-half - sqrt(under), -half + sqrt(under)):
        if away > NEAR:
            return away
    return FAR


def follow(start: V, along: V, chance: Chance) -> V:
    """The light that one path finds."""
    through = (1.0, 1.0, 1.0)
    for _ in range(BOUNCES):
        nearest, index = min(
            (distance_to(centre, radius, start, along), number) for number, (centre, radius, _, _) in enumerate(SPHERES)
        )
        is_floor = along[1] < 0 and start[1] > NEAR and start[1] < -along[1] * nearest
        if not is_floor and nearest == FAR:
            return times(through, sky(along))
        if is_floor:
            start = add(start, scale(along, -start[1] / along[1]))
            start, normal, colour, is_mirror = (start[0], 0.0, start[2]), (0.0, 1.0, 0.0), FLOOR, False
        else:
            centre, radius, colour, is_mirror = SPHERES[index]
            start = add(start, scale(along, nearest))
            normal = scale(add(start, scale(centre, -1)), 1 / radius)
        through = times(through, colour)
        if is_mirror:
            along = unit(add(along, scale(normal, -2 * dot(along, normal))))
        else:
            way = add(unit(inside_unit_sphere(chance)), normal)
            along = unit(way if dot(way, way) >= 1e-4 else normal)
    return 0.0, 0.0, 0.0


def sky(along: V) -> V:
    up, haze = 0.5 * (along[1] + 1), max(0.0, 0.6 * along[1] + 0.5 * along[2] - 0.62 * along[0]) ** 4
    return 0.3 + 0.1 * up + 1.5 * haze, 0.33 + 0.2 * up + 1.4 * haze, 0.38 + 0.4 * up + 1.1 * haze


def inside_unit_sphere(chance: Chance) -> V:
    while True:
        p = (2 * chance() - 1, 2 * chance() - 1, 2 * chance() - 1)
        if 1e-4 <= dot(p, p) < 1:
            return p


def pixel(column: int, row: int) -> V:
    total = (0.0, 0.0, 0.0)
    for sample in range(SAMPLES):
        chance = Chance(((row * WIDTH + column) * SAMPLES + sample) * 2654435769)
        right = (column + chance() - WIDTH / 2) / HEIGHT
        up = (HEIGHT / 2 - row - chance()) / HEIGHT
        total = add(total, follow(EYE, unit((right, up - 0.14, -1.25)), chance))
    return scale(total, 1 / SAMPLES)
