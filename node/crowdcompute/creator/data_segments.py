"""Neighbouring data segments made one: Go writes tens of thousands of them, and admission allows 10,000.

Go leaves out every run of zeros. Where two active segments of memory 0 follow each other within `GAP_BYTES`, the zeros
between them are written out again: memory begins as zeros, so it holds the same afterwards.
"""

from __future__ import annotations

from crowdcompute.protocol.wasm.reader import Reader, u32_leb

GAP_BYTES = 64
_DATA, _DATA_COUNT = 11, 12
_ACTIVE, _I32_CONST, _END = 0, 0x41, 0x0B


def merge_data_segments(module: bytes) -> bytes:
    """The same module with fewer segments; as it is, if a segment is of another kind, or two overlap.

    Raises:
        RemoteProtocolError: These bytes are no module.
    """
    reader = Reader(module, 8, len(module))
    sections: list[tuple[int, bytes]] = []
    while not reader.exhausted:
        number = reader.byte()
        sections.append((number, reader.take(reader.u32())))
    merged = None
    for number, content in sections:
        if number == _DATA:
            merged = _merge(content)
    if merged is None:
        return module
    count, data = merged
    written = {_DATA: data, _DATA_COUNT: u32_leb(count)}
    parts = [module[:8]]
    for number, content in sections:
        content = written.get(number, content)
        parts += [bytes((number,)), u32_leb(len(content)), content]
    return b"".join(parts)


def _merge(content: bytes) -> tuple[int, bytes] | None:
    """How many segments are left, and the new section."""
    reader = Reader(content, 0, len(content))
    pieces: list[tuple[int, bytes]] = []
    for _ in range(reader.u32()):
        if reader.u32() != _ACTIVE or reader.byte() != _I32_CONST:
            return None
        offset = _signed_leb(reader)
        if reader.byte() != _END:
            return None
        pieces.append((offset, reader.take(reader.u32())))
    segments: list[tuple[int, bytearray]] = []
    end = 0
    for offset, data in sorted(pieces, key=lambda piece: piece[0]):
        gap = offset - end
        if gap < 0:
            return None  # Where segments overlap, their order counts.
        end = offset + len(data)
        if segments and gap <= GAP_BYTES:
            segments[-1][1].extend(bytes(gap) + data)
        else:
            segments.append((offset, bytearray(data)))
    out: list[bytes | bytearray] = [u32_leb(len(segments))]
    for offset, joined in segments:
        out += [bytes((_ACTIVE, _I32_CONST)), as_signed_leb(offset), bytes((_END,)), u32_leb(len(joined)), joined]
    return len(segments), b"".join(out)


def _signed_leb(reader: Reader) -> int:
    value = shift = 0
    while True:
        byte = reader.byte()
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value - (1 << shift) if byte & 0x40 else value


def as_signed_leb(value: int) -> bytes:
    out = bytearray()
    while True:
        byte = value & 0x7F
        value >>= 7
        if (value, byte & 0x40) in ((0, 0), (-1, 0x40)):
            out.append(byte)
            return bytes(out)
        out.append(byte | 0x80)
