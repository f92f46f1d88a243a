"""Make a compiled module fit for voting: the same bytes out of every engine (spec/modules.md, "Rewriting").

Three changes: every NaN becomes the canonical one where its bits could be seen (nan.py), memory and table get a
maximum, custom sections go. The creator rewrites once, when publishing; the manifest names the rewritten bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .admission import admit
from .reader import Reader, u32_leb
from .rules import ELEMENTS_MAX, MEMORY_PAGES_MAX
from .survey import HEADER, Section, survey

if TYPE_CHECKING:
    from .survey import Body, Size, Survey


def rewrite(module: bytes) -> bytes:
    """The admitted form of `module`. The same bytes give the same bytes; rewriting twice changes nothing.

    Values that are NaN patterns but not floats do not survive a way through a float instruction: their payload is
    replaced too. No compiler we know moves integers that way.

    Raises:
        ModuleRefused: The module breaks a rule that rewriting cannot mend, or is too large afterwards.
    """
    found = survey(module)
    rewritten = HEADER + b"".join(
        bytes([part.section]) + _sized(_section(found, part.section, part.data))
        for part in found.sections
        if part.section != Section.CUSTOM
    )
    admit(rewritten)
    return rewritten


def _section(found: Survey, section: Section, data: bytes) -> bytes:
    match section:
        case Section.MEMORY if found.memory is not None:
            return u32_leb(1) + _bounded(found.memory, MEMORY_PAGES_MAX)
        case Section.TABLE if found.table is not None and found.table_type is not None:
            return u32_leb(1) + bytes([found.table_type]) + _bounded(found.table, ELEMENTS_MAX)
        case Section.CODE:
            return u32_leb(len(found.bodies)) + b"".join(_sized(_body(body)) for body in found.bodies)
        case _:
            return data


def _bounded(size: Size, maximum: int) -> bytes:
    bound = maximum if size.maximum is None else min(size.maximum, maximum)
    return b"\x01" + u32_leb(size.minimum) + u32_leb(bound)


def _sized(data: bytes) -> bytes:
    return u32_leb(len(data)) + data


def _body(body: Body) -> bytes:
    if not body.points:
        return body.data
    # One more local for each type that needs one, behind the function's own.
    types = sorted({point.kind.local_type for point in body.points})
    local = {local_type: body.local_count + place for place, local_type in enumerate(types)}
    reader = Reader(body.data, 0, body.code_start)
    groups = reader.u32()
    head = u32_leb(groups + len(types)) + body.data[reader.position : body.code_start]
    pieces = [head, *(bytes([1, local_type]) for local_type in types)]
    copied = body.code_start
    for offset, kind in body.points:
        pieces += (body.data[copied:offset], kind.code(local[kind.local_type]))
        copied = offset
    pieces.append(body.data[copied:])
    return b"".join(pieces)
