"""Cubes of "W(2; 3, 10) > n" from the package `cnfgen` (GPL-3, only run, not copied), and what comes of them.

Van der Waerden's number W(2; 3, 10) is 97: the numbers 1 to 96 can be coloured, 1 to 97 cannot. A colouring is
checked against the formula; that there is none is the word of volunteers on every cube, by quorum. The reference is
another solver, Glucose (`python-sat`), on the whole formula.
"""

from __future__ import annotations

import struct
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PARTS = ("96", "97")
BLUE, RED = 3, 10
CUBE_VARIABLES = 6


def clauses_of(n: int) -> list[list[int]]:
    """What cnfgen says: variable i is true if number i is red."""
    import cnfgen

    formula: Any = cnfgen.VanDerWaerden(n, BLUE, RED)
    return [list(clause) for clause in formula.clauses()]


def prepare(folder: Path, part: str) -> None:
    """Replace the sample by the cubes of this n."""
    write_cubes(folder / "inputs", int(part), clauses_of(int(part)), CUBE_VARIABLES)


def write_cubes(folder: Path, variables: int, clauses: Sequence[Sequence[int]], cube: int) -> None:
    """One file for each way to colour the numbers in the middle, which are part of most progressions."""
    for file in folder.iterdir():
        file.unlink()
    first = (variables - cube) // 2 + 1
    formula = [variables]
    for clause in clauses:
        formula += [*clause, 0]
    for number, signs in enumerate(product((1, -1), repeat=cube)):
        literals = [sign * (first + at) for at, sign in enumerate(signs)]
        words = [cube, *literals, *formula]
        (folder / f"{number:04}").write_bytes(struct.pack(f"<{len(words)}i", *words))


def finish(results: Mapping[int, bytes], out: Path, part: str) -> list[str]:
    """The answer, and whether the reference agrees."""
    n, clauses = int(part), clauses_of(int(part))
    models = [result for result in results.values() if result]
    answer = "none" if not models else "".join("R" if red else "b" for red in models[0])
    good = all(
        any((literal > 0) == bool(model[abs(literal) - 1]) for literal in clause)
        for model in models
        for clause in clauses
    )
    if not models:
        assert len(results) == 2**CUBE_VARIABLES, "that there is no colouring takes every cube"
    (out / f"colouring_{n}.txt").write_text(answer + "\n")
    agrees = reference(clauses) == bool(models)
    return [
        f"colouring  of 1 to {n} without {BLUE} blue or {RED} red ones at equal distances: {answer}",
        *(
            [f"checked    it satisfies all {len(clauses)} clauses" if good else "checked    it is WRONG"]
            if models
            else []
        ),
        f"reference  Glucose {'agrees' if agrees else 'DISAGREES'}",
    ]


def reference(clauses: list[list[int]]) -> bool:
    """Whether another solver satisfies the clauses."""
    from pysat.solvers import Glucose4

    with Glucose4(bootstrap_with=clauses) as solver:
        return bool(solver.solve())
