"""Native nodes and browsers admit and refuse the same modules, in the same words: Python against TypeScript on Node."""

from __future__ import annotations

import base64
import gzip
import json
import random
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.interop.typescript import compiled

from crowdcompute.protocol.errors import ModuleRefused
from crowdcompute.protocol.wasm import admit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Judge = Callable[[list[bytes]], list[Any]]

ROOT = Path(__file__).parents[2]
MUTANTS = 16_000
TELLING_BYTES = (0x00, 0x01, 0x0B, 0x20, 0x22, 0x40, 0x60, 0x7B, 0x7C, 0x7F, 0x80, 0xD0, 0xFC, 0xFD, 0xFF)
"""Opcodes, types and the ends of numbers: what turns one thing into another."""


def real_modules() -> list[bytes]:
    vectors = json.loads((ROOT / "protocol" / "vectors" / "modules.json").read_text())
    cases = json.loads((ROOT / "protocol" / "vectors" / "executions.json").read_text())["cases"]
    packed = [case["module"] for case in (*vectors["accepted"], *vectors["refused"], *vectors["rewritten"], *cases)]
    unpacked = dict.fromkeys(gzip.decompress(base64.b64decode(module)) for module in packed)
    return [*(path.read_bytes() for path in sorted((ROOT / "examples").glob("*/*.wasm"))), *unpacked]


def mutants(modules: list[bytes], count: int) -> Iterator[bytes]:
    """Modules with a few bytes changed, put in, taken out, doubled or cut off."""
    rng = random.Random(20_261_122)
    for _ in range(count):
        module = bytearray(rng.choice(modules))
        for _ in range(rng.choice((1, 1, 2, 3))):
            position = rng.randrange(len(module) + 1)
            match rng.randrange(12):
                case 0 | 1 | 2 | 3 if position < len(module):
                    module[position] = rng.choice(TELLING_BYTES)
                case 4 | 5 | 6 | 7 if position < len(module):
                    module[position] ^= 1 << rng.randrange(8)
                case 8:
                    module[position:position] = rng.randbytes(rng.randint(1, 5))
                case 9:
                    del module[position : position + rng.randint(1, 5)]
                case 10:
                    stop = position + rng.randint(1, 40)
                    module[stop:stop] = module[position:stop]
                case _ if rng.random() < 0.1:
                    del module[position:]
        yield bytes(module)


def verdict(module: bytes) -> Any:
    try:
        facts = admit(module)
    except ModuleRefused as refused:
        return str(refused)
    return [
        facts.shape.value,
        list(facts.imports),
        facts.memory_pages_min,
        facts.memory_pages_max,
        facts.functions,
        facts.body_bytes_max,
        facts.size_bytes,
    ]


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """What the TypeScript implementation says about modules."""
    made = compiled("modules", tmp_path_factory.mktemp("differential"))

    def judge(modules: list[bytes]) -> list[Any]:
        frames = b"".join(struct.pack("<I", len(module)) + module for module in modules)
        answer = subprocess.run(["node", made], input=frames, capture_output=True, check=True)
        return [json.loads(line) for line in answer.stdout.splitlines()]

    return judge


def assert_agreement(modules: list[bytes], typescript: Judge) -> int:
    """Returns how many of `modules` are admitted."""
    said = typescript(modules)
    assert len(said) == len(modules)
    admitted = 0
    for module, theirs in zip(modules, said, strict=True):
        ours = verdict(module)
        assert theirs == ours, module.hex()
        admitted += not isinstance(ours, str)
    return admitted


def test_real_modules_and_vectors_get_the_same_verdict(typescript: Judge) -> None:
    assert assert_agreement(real_modules(), typescript) > 40


def test_damaged_modules_get_the_same_verdict(typescript: Judge) -> None:
    # The largest vectors sit at limits of size, where a changed byte tells nothing new and costs a second.
    modules = [module for module in real_modules() if 0 < len(module) < 20_000]
    admissible = [module for module in modules if not isinstance(verdict(module), str)]
    # Most refusals come early and hide the rest of the module; what was sound is read to its end more often.
    damaged = [*mutants(modules, MUTANTS // 4), *mutants(admissible, MUTANTS * 3 // 4)]
    admitted = assert_agreement(damaged, typescript)
    assert admitted > MUTANTS / 20


def test_random_bytes_behind_a_header_get_the_same_verdict(typescript: Judge) -> None:
    rng = random.Random(7)
    modules = [b"\0asm\1\0\0\0" + rng.randbytes(rng.randrange(60)) for _ in range(1_000)]
    assert_agreement([b"", b"\0", *modules], typescript)


def test_names_that_would_disturb_a_terminal_are_quoted_alike(typescript: Judge) -> None:
    def importing(name: str) -> bytes:
        encoded = name.encode()
        imports = b"\x01" + bytes([len(encoded)]) + encoded + b"\x01x\x00\x00"
        return b"\0asm\1\0\0\0" + b"\x02" + bytes([len(imports)]) + imports

    names = [
        "",
        "it's",
        'say "hi"',
        'it\'s "both"',
        "a\\b\t\n\r\0\x7f",
        "\u00e9\u202e\ufeff",
        "\U0001f600" * 20,
        "e" * 99,
    ]
    assert_agreement([importing(name) for name in names], typescript)
