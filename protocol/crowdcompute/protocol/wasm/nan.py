"""Where a program could see which NaN it holds, and the instructions that make every NaN the same one.

WebAssembly leaves the bits of a computed NaN open, and engines use that freedom: two compilers inside one browser
differ. A float becomes visible where its bits reach memory, an integer, a sign or a vector; in vectors every
arithmetic result is visible at once, since any integer instruction may look at it. At these points we insert:

    scalar, before the observing instruction:  local.tee t  const NaN  local.get t  local.get t  eq  select
    vector, behind the computing instruction:  local.tee t  const NaN  local.get t  local.get t  eq  v128.bitselect

A module where every point is preceded (followed) by exactly these instructions, over any local, is canonical. That is
recognised rather than marked, so nobody can claim it.
"""

from __future__ import annotations

from enum import Enum

from .reader import u32_leb

TEE, GET, SELECT = b"\x22", b"\x20", b"\x1b"
BITSELECT = b"\xfd\x52"


class Canonical(Enum):
    """One kind of float: its local's type, its canonical NaN as a constant, and its equality instruction."""

    F32 = (0x7D, b"\x43\x00\x00\xc0\x7f", b"\x5b" + SELECT)
    F64 = (0x7C, b"\x44\x00\x00\x00\x00\x00\x00\xf8\x7f", b"\x61" + SELECT)
    F32X4 = (0x7B, b"\xfd\x0c" + b"\x00\x00\xc0\x7f" * 4, b"\xfd\x41" + BITSELECT)
    F64X2 = (0x7B, b"\xfd\x0c" + b"\x00\x00\x00\x00\x00\x00\xf8\x7f" * 2, b"\xfd\x47" + BITSELECT)

    def __init__(self, local_type: int, constant: bytes, equal_and_choose: bytes) -> None:
        self.local_type = local_type
        self.constant = constant
        self.equal_and_choose = equal_and_choose

    def code(self, local: int) -> bytes:
        """The instructions that replace a NaN on top of the stack by the canonical one, through `local`."""
        return self._code(u32_leb(local))

    def _code(self, local: bytes) -> bytes:
        return TEE + local + self.constant + GET + local + GET + local + self.equal_and_choose

    def match(self, body: bytes, start: int) -> int | None:
        """Where these instructions end, over any local, if they begin at `start`, where an instruction begins.

        A stretch that starts at an instruction and reads like the code is the code: decoding has no second reading.
        """
        if body[start : start + 1] != TEE:
            return None
        stop = start + 1
        while stop < len(body) and body[stop] & 0x80:
            stop += 1
        code = self._code(body[start + 1 : stop + 1])
        return start + len(code) if body.startswith(code, start) else None


INSTRUCTIONS = 6
"""How many instructions `Canonical.code` has."""

SCALAR_OBSERVERS = {
    0x38: Canonical.F32,  # f32.store
    0x39: Canonical.F64,  # f64.store
    0x98: Canonical.F32,  # f32.copysign: the sign of its second operand
    0xA6: Canonical.F64,  # f64.copysign
    0xBC: Canonical.F32,  # i32.reinterpret_f32
    0xBD: Canonical.F64,  # i64.reinterpret_f64
}
NEVER_NAN = {
    # What comes straight from an integer needs no check: f32.convert_*, f64.convert_*.
    Canonical.F32: frozenset({0xB2, 0xB3, 0xB4, 0xB5}),
    Canonical.F64: frozenset({0xB7, 0xB8, 0xB9, 0xBA}),
}
VECTOR_OBSERVERS = {
    19: Canonical.F32,  # f32x4.splat
    20: Canonical.F64,  # f64x2.splat
    32: Canonical.F32,  # f32x4.replace_lane
    34: Canonical.F64,  # f64x2.replace_lane
}
# abs, neg, pmin and pmax are missing on purpose: they move bits and leave nothing open.
VECTOR_PRODUCERS = {
    **dict.fromkeys((94, 103, 104, 105, 106, 227, 228, 229, 230, 231, 232, 233), Canonical.F32X4),
    **dict.fromkeys((95, 116, 117, 122, 148, 239, 240, 241, 242, 243, 244, 245), Canonical.F64X2),
}
