"""Read WebAssembly's binary encodings, never past the end of what was given."""

from __future__ import annotations

from .rules import Rule, RuleBroken


class Reader:
    """A cursor over `data[start:end]`. Anything that would leave the window is a malformed module."""

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self.data = data
        self.position = start
        self.end = end

    @property
    def exhausted(self) -> bool:
        return self.position >= self.end

    def byte(self) -> int:
        if self.position >= self.end:
            raise RuleBroken(Rule.MALFORMED, f"the module ends early at byte {self.position}")
        value = self.data[self.position]
        self.position += 1
        return value

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        stop = self.position + count
        if stop > self.end:
            raise RuleBroken(Rule.MALFORMED, f"the module ends early at byte {self.end}")
        taken = self.data[self.position : stop]
        self.position = stop
        return taken

    def u32(self) -> int:
        """An unsigned LEB128 number of at most five bytes and 32 bits."""
        value = shift = 0
        while True:
            part = self.byte()
            value |= (part & 0x7F) << shift
            if part < 0x80:
                break
            shift += 7
            if shift > 28:
                raise RuleBroken(Rule.MALFORMED, f"a number before byte {self.position} is longer than 32 bits")
        if value >> 32:
            raise RuleBroken(Rule.MALFORMED, f"a number before byte {self.position} is larger than 32 bits")
        return value

    def skip_leb(self, length_max: int) -> None:
        """Pass over one LEB128 number of at most `length_max` bytes whose value does not matter here."""
        for _ in range(length_max):
            if self.byte() < 0x80:
                return
        raise RuleBroken(Rule.MALFORMED, f"a number before byte {self.position} is too long")

    def name(self) -> str:
        """A length and that many bytes of UTF-8."""
        try:
            return self.take(self.u32()).decode()
        except UnicodeDecodeError:
            raise RuleBroken(Rule.MALFORMED, f"the name before byte {self.position} is not UTF-8") from None

    def window(self, length: int) -> Reader:
        """A reader over the next `length` bytes; this one continues behind them."""
        start = self.position
        if start + length > self.end:
            raise RuleBroken(Rule.MALFORMED, f"a part of {length} bytes at byte {start} is longer than what holds it")
        self.position = start + length
        return Reader(self.data, start, self.position)

    def finish(self, what: str) -> None:
        """Require that nothing is left."""
        if self.position != self.end:
            raise RuleBroken(Rule.MALFORMED, f"{what} has {self.end - self.position} bytes too many")


def u32_leb(value: int) -> bytes:
    """The shortest unsigned LEB128 encoding."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
