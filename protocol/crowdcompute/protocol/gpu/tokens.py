"""A kernel's source as words (spec/gpu.md, "Words").

Everything that a parser could stumble over is decided here, on plain text: which characters there may be, how many
words, and how deep brackets go.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

from crowdcompute.protocol.errors import ModuleRefused

SOURCE_BYTES_MAX = 65_536
TOKENS_MAX = 20_000
"""Engines compile a thousand statements in a second and sixty thousand in five minutes (research/gpu.md)."""
NAME_CHARACTERS_MAX = 64
NESTING_MAX = 32
"""Of brackets. One compiler crashed at 3,000."""

Kind: TypeAlias = Literal["name", "number", "mark", "end"]


class Token(NamedTuple):
    kind: Kind
    text: str
    line: int


_REFUSED = re.compile(r"[^\t\n\r -~]")
_SPACE = re.compile(r"(?:[ \t\r\n]+|//[^\n]*)*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(
    r"0[xX][0-9a-fA-F]+[iu]?"
    r"|[0-9]+\.[0-9]*(?:[eE][+-]?[0-9]+)?f?"
    r"|\.[0-9]+(?:[eE][+-]?[0-9]+)?f?"
    r"|[0-9]+[eE][+-]?[0-9]+f?"
    r"|(?:0|[1-9][0-9]*)[iuf]?"
)
_NUMBER_GOES_ON = re.compile(r"[A-Za-z0-9_.]")
_MARK = re.compile(
    r"<<=|>>=|->|\+\+|--|\+=|-=|\*=|/=|%=|&=|\|=|\^=|==|!=|<=|>=|&&|\|\||<<|>>|[-{}()\[\]<>=+*/%&|^~!.,;:@]"
)
_OPENING = frozenset("([{")
_CLOSING = frozenset(")]}")


def tokens(source: bytes) -> list[Token]:
    """The words of `source`, then one of kind `end`.

    Raises:
        ModuleRefused: It is not made of the words of a kernel, or of too many.
    """
    if not 1 <= len(source) <= SOURCE_BYTES_MAX:
        raise ModuleRefused(f"the kernel has {len(source)} bytes, 1 to {SOURCE_BYTES_MAX} may be")
    text = source.decode("latin-1")
    if found := _REFUSED.search(text):
        raise ModuleRefused(f"line {_line(text, found.start())}: the byte {ord(found[0]):#04x} is not a kernel's")
    words: list[Token] = []
    position = nesting = 0
    line = 1
    while True:
        start = position
        position = _skip(text, position, line)
        line += text.count("\n", start, position)
        if position == len(text):
            return [*words, Token("end", "the end", line)]
        if len(words) == TOKENS_MAX:
            raise ModuleRefused(f"the kernel has more than {TOKENS_MAX} words")
        token = _word(text, position, line)
        position += len(token.text)
        words.append(token)
        if token.text in _OPENING:
            nesting += 1
            if nesting > NESTING_MAX:
                raise ModuleRefused(f"line {line}: brackets go deeper than {NESTING_MAX}")
        elif token.text in _CLOSING:
            nesting -= 1


def _skip(text: str, position: int, line: int) -> int:
    """Where the next word begins."""
    while True:
        found = _SPACE.match(text, position)
        assert found is not None, "the pattern takes nothing, too"
        position = found.end()
        if not text.startswith("/*", position):
            return position
        end = text.find("*/", position + 2)
        if end < 0 or text.find("/*", position + 2, end) >= 0:
            raise ModuleRefused(f"line {line}: a comment does not end, or holds another")
        position = end + 2


def _word(text: str, position: int, line: int) -> Token:
    if found := _NAME.match(text, position):
        name = found[0]
        if name == "_" or name.startswith("__") or len(name) > NAME_CHARACTERS_MAX:
            raise ModuleRefused(f"line {line}: a name is not _, does not begin with __, and is not longer than 64")
        return Token("name", name, line)
    if found := _NUMBER.match(text, position):
        if _NUMBER_GOES_ON.match(text, found.end()):
            raise ModuleRefused(f"line {line}: this is not a number of a kernel")
        return Token("number", found[0], line)
    if found := _MARK.match(text, position):
        return Token("mark", found[0], line)
    raise ModuleRefused(f"line {line}: {text[position]} is not a word of a kernel")


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
