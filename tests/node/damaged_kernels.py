"""Kernels that are nearly valid: one or two words of a valid one exchanged, left out, or put where they do not belong.

Most are refused. Those that are not show whether our grammar is WGSL's: every compiler has to take them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.node.random_kernels import FLOAT_FUNCTIONS, FUNCTIONS, FloatKernels, Kernels

from crowdcompute.protocol.errors import ModuleRefused
from crowdcompute.protocol.gpu import parse
from crowdcompute.protocol.gpu.syntax import INTRINSICS
from crowdcompute.protocol.gpu.tokens import tokens
from crowdcompute.protocol.gpu.wgsl import guarded_wgsl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

SEEDS = 24
"""Kernels that are damaged."""
NUMBERS = (
    "0", "1", "-1", "2", "31", "32", "64", "0u", "1u", "31u", "32u", "4294967295u", "4294967296", "0i", "1i",
    "2147483647", "2147483647i", "2147483648", "(-2147483648)", "1.0", "0.5", "1f", "0.1f", "1e38", "3.4028235e38",
    "3.5e38", "1e-45", "1e-40", "0x7fffffff", "0xffffffffu", "9223372036854775807", "1.5", "1e10", "true", "false",
)  # fmt: skip
TYPES = ("i32", "u32", "f32", "bool")
OPERATORS = (
    "+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>", "&&", "||", "==", "!=", "<", "<=", ">", ">=",
)  # fmt: skip
OTHERS = (
    "(", ")", "[", "]", "{", "}", ";", ",", ".", "&", "@", "!", "~", "=", "+=", "++", "--", "if", "else", "for",
    "while", "loop", "switch", "case", "default", "break", "continue", "return", "let", "var", "const", "fn",
    "private", "workgroup", "storage", "read", "array", "atomic", "workgroupBarrier()", "enable", "private_", "self",
    "final", "class", "null", "std", "from", "bitcast<i32>", "bitcast<u32>", "bitcast<f32>", "id.x", "local_index",
    "arrayLength(&data)", "discard", "override",
)  # fmt: skip


def statements_alone(text: str, before: str, type_: str) -> str:
    """A whole kernel, as short as one can be."""
    return f"""
        struct Chunk {{ start: u32, count: u32 }}
        @group(0) @binding(0) var<uniform> chunk: Chunk;
        @group(0) @binding(1) var<storage, read_write> out: array<{type_}>;
        @group(0) @binding(2) var<storage, read> data: array<{type_}>;
        {before}
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) local_index: u32) {{
            let start = chunk.start;
            {text}
        }}"""


class DamagedKernels:
    """A source of texts; the same for the same `rng`."""

    def __init__(self, rng: Random, more: tuple[str, ...] = ()) -> None:
        self._rng = rng
        texts = list(more)
        for _ in range(SEEDS // 2):
            texts.append(statements_alone(Kernels(rng).statements(), FUNCTIONS, "u32"))
            lines = FloatKernels(rng, is_opaque=False).statements().splitlines()
            texts.append(statements_alone("\n".join(lines[:8]), FLOAT_FUNCTIONS, "f32"))
        self._seeds = [[word.text for word in tokens(text.encode())[:-1]] for text in texts]

    def text(self) -> str:
        words = list(self._rng.choice(self._seeds))
        for _ in range(1 if self._rng.random() < 0.8 else 2):
            self._damage(words)
        return " ".join(words)

    def accepted(self, count: int) -> Iterator[tuple[str, str]]:
        """So many texts that are kernels here, with what the guard makes of each."""
        while count:
            text = self.text()
            try:
                kernel = parse(text.encode())
            except ModuleRefused:
                continue
            count -= 1
            yield text, guarded_wgsl(kernel, 100, (1,) * len(kernel.outputs))

    def _damage(self, words: list[str]) -> None:
        rng = self._rng
        at = rng.randrange(len(words))
        match rng.randint(0, 11):
            case 0:
                del words[at : at + rng.randint(1, 3)]
            case 1:
                words.insert(at, rng.choice(OTHERS + OPERATORS + NUMBERS))
            case 2:
                other = rng.randrange(len(words))
                words[at], words[other] = words[other], words[at]
            case 3:
                end = at + rng.randint(1, 12)
                words[at:at] = words[at:end]
            case 4:
                words[at] = rng.choice(OTHERS)
            case _:
                words[at] = self._alike(words, at)

    def _alike(self, words: list[str], at: int) -> str:
        """Another word of the same kind."""
        rng, word = self._rng, words[at]
        for kind in (TYPES, OPERATORS, tuple(INTRINSICS)):
            if word in kind:
                return rng.choice(kind)
        if word[0].isdigit():
            return rng.choice((*NUMBERS, word + "u", word.rstrip("ui")))
        names = [each for each in words if each[0].isalpha() or each[0] == "_"]
        return rng.choice(names) if word in names else word
