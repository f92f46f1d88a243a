"""Kernels in Python: what their modules do, and what their authors are told. tests/interop has them in Chromium."""

from __future__ import annotations

import hashlib
import json
import lzma
import random
import struct
import textwrap
from importlib import resources
from math import floor
from typing import TYPE_CHECKING, Any

import pytest

from crowdcompute.creator import NotPortable, portable
from crowdcompute.creator.build import build
from crowdcompute.creator.functions import source_of
from crowdcompute.creator.python import make_module
from crowdcompute.node.executors.frames import NO_RESULT, OK, TASK_ERROR
from crowdcompute.node.executors.wasm import Program, make_engine
from crowdcompute.node.exits import CommandError
from crowdcompute.protocol.wasm import Shape, admit, rewrite

if TYPE_CHECKING:
    from pathlib import Path

PARTS = {
    "python.wasm.xz": "902bf4a593295bf12ef1fe60efe35d72b21883b6e0f8de03ae7a55a274416038",
    "library.xz": "69ab5eda2d93067d69f70dac1690f79bbd512ff341479cfb1f622efb9e13bbda",
}
KERNEL = """
import array, json, random, re, secrets, statistics, sys
from fractions import Fraction

loaded = []

def late():
    import heapq
    import decimal

def main(data):
    loaded.append(1)
    if data == b"late":
        late()
    if data == b"fill":
        return bytearray(1_000_000_000)
    if data == b"words":
        raise ValueError("ä" * 5_000)
    return eval(data.decode())
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    source = tmp_path_factory.mktemp("kernel") / "kernel.py"
    source.write_text(KERNEL)
    return build(source, 0)


@pytest.fixture(scope="module")
def program(module: bytes) -> Program:
    return Program(make_engine(), module, memory_bytes=64 * 1024 * 1024, output_bytes=100_000, numbers=False)


def refusal(source: str, folder: Path) -> str:
    (folder / "kernel.py").write_text(source)
    with pytest.raises(CommandError) as raised:
        build(folder / "kernel.py", 0)
    return str(raised.value).partition("cannot be loaded:\n")[2]


@pytest.mark.parametrize("name", PARTS)
def test_the_interpreter_is_the_file_that_was_tried(name: str) -> None:
    data = (resources.files("crowdcompute.creator.python") / name).read_bytes()
    assert hashlib.sha256(lzma.decompress(data)).hexdigest() == PARTS[name]


def test_a_python_kernel_is_a_reactor_like_any_other(module: bytes) -> None:
    facts = admit(module)
    assert (facts.shape, facts.imports) == (Shape.REACTOR, ())
    assert rewrite(module) == module


def test_the_same_source_gives_the_same_module() -> None:
    source = b"import random\ndef main(data): return data\n"
    assert make_module(source) == make_module(source)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("b'ab\\0'", b"ab\0"),
        ("array.array('d', [1.5])", struct.pack("<d", 1.5)),
        ("'é\\n'", "é\n".encode()),
        ("{'b': [1, 2.5, None, True], 'a': ('é\"', -0.0, 10**30)}", None),
        ("str(Fraction(1, 3) + statistics.mean([1, 3]))", b"7/3"),
        ("re.findall('a+', 'caat')", b'["aa"]'),
        ("len(loaded)", b"1"),
        ("[sys.version_info[:2], hash('text')]", None),
    ],
)
def test_results_are_bytes_texts_or_json(program: Program, expression: str, result: bytes | None) -> None:
    # Twice: a chunk finds nothing of the one before.
    first, second = (program.run(expression.encode(), 7) for _ in range(2))
    assert first == second
    assert first[0] == OK, first
    if result is None:
        value = json.loads(first[1])
        result = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert first[1] == result


def test_chance_is_the_seeds(program: Program) -> None:
    expression = b"[random.random(), random.randrange(10**9), secrets.token_hex(4)]"
    one, again, other = (program.run(expression, seed)[1] for seed in (3, 3, 4))
    generator = random.Random(3)
    assert json.loads(one)[:2] == [generator.random(), generator.randrange(10**9)]
    assert one == again != other


@pytest.mark.parametrize(
    ("expression", "status", "words"),
    [
        ("1 / 0", TASK_ERROR, "in <module>\nZeroDivisionError: division by zero"),
        ("late", TASK_ERROR, "ImportError: import heapq at the top of the kernel"),
        ("open('/etc/passwd')", TASK_ERROR, "FileNotFoundError"),
        ("{1: 2}", TASK_ERROR, "TypeError: a result holds a dict whose keys are not all texts"),
        ("[float('inf')]", TASK_ERROR, "ValueError: a result holds inf, which JSON cannot say"),
        ("{'set'}", TASK_ERROR, "TypeError: a result is bytes, a text, or what JSON can say, not set"),
        ("sys.exit(3)", TASK_ERROR, "SystemExit: 3"),
        ("words", TASK_ERROR, "ValueError: äää"),
        ("fill", NO_RESULT, ""),
        ("b'1' * 100_001", NO_RESULT, ""),
    ],
)
def test_errors_come_with_the_traceback(program: Program, expression: str, status: int, words: str) -> None:
    ended, text, _ = program.run(expression.encode(), 7)
    assert (ended, words in text.decode(errors="replace")) == (status, True), text
    if status == TASK_ERROR and "a result" not in words:
        assert text.startswith(b"Traceback (most recent call last):\n  kernel.py, line ")
    assert len(text) <= 4_096


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def main(data)\n    pass\n", "kernel.py, line 1\n    def main(data)\nSyntaxError: expected ':'"),
        ("import numpy\n", "ModuleNotFoundError: No module named 'numpy'"),
        ("x = 1\n", "the kernel has no function `main`"),
        ("def main(a, b, c): pass\n", "`main` takes 2 numbers (of a range), 4 (of a grid), or 1 value"),
        ("def f():\n    return {}['a']\nf()\n", "  kernel.py, line 2, in f\n    return {}['a']\nKeyError: 'a'"),
        ("x = bytearray(1_000_000_000)\n", "MemoryError"),
    ],
)
def test_a_kernel_that_cannot_be_loaded_says_why(source: str, words: str, tmp_path: Path) -> None:
    assert words in refusal(source, tmp_path)


TIMES = 2


def doubled(word: str) -> str:
    return word * TIMES


def shouted(words: list[str], ends: str = "!") -> list[str]:
    """Uses all that can travel."""
    found: list[str] = [textwrap.dedent(doubled(word)) for word in words]
    return [word + ends * floor(1.5) for word in found]


def countdown(n: int) -> int:
    return n and countdown(n - 1)


def plotted(n: int) -> object:
    return pytest.approx(n)


def shown(n: int) -> object:
    return PARTS, n


def test_a_functions_source_brings_what_it_uses() -> None:
    here: dict[str, Any] = {}
    exec(source_of(shouted), here)
    assert here["main"](["ab"]) == shouted(["ab"]) == ["abab!"]
    exec(source_of(countdown), here)
    assert here["main"](3) == 0


def test_what_cannot_travel_is_named() -> None:
    around = 3
    refused: list[tuple[Any, str]] = [
        (lambda n: n, "is no function made with `def`"),
        (print, "is no function made with `def`"),
        (plotted, "plotted uses the package pytest, and kernels have the standard library alone"),
        (shown, "shown uses PARTS, a dict, which cannot travel"),
    ]

    def inner(n: int) -> int:
        return n + around

    for function, words in [*refused, (inner, "inner uses around of the function around it")]:
        with pytest.raises(NotPortable, match=words):
            source_of(function)


@pytest.mark.slow
def test_a_function_is_executed_in_the_sandbox_by_its_source() -> None:
    assert portable(shouted)(["é", "b"], "?") == ["éé?", "bb?"]
