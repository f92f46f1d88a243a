"""Decide whether a module may be compiled at all, before any compiler sees it (spec/modules.md, "Admission")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .rules import ELEMENTS_MAX, MEMORY_PAGES_MAX, MODULE_BYTES_MAX, Rule, RuleBroken
from .survey import Section, survey

if TYPE_CHECKING:
    from .survey import Shape


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """What admission found out about a module."""

    shape: Shape
    imports: tuple[str, ...]
    memory_pages_min: int
    memory_pages_max: int
    functions: int
    body_bytes_max: int
    size_bytes: int


def admit(module: bytes) -> ModuleFacts:
    """Check a rewritten module against every rule.

    Admission does not check types: an engine may still refuse what is admitted. It promises that compiling stays
    affordable, that nothing outside the chunk can be reached, and that the same input gives the same bytes on every
    engine, NaNs included.

    Raises:
        ModuleRefused: The module breaks a rule; the message says which. Whatever the bytes, nothing else is raised.
    """
    if len(module) > MODULE_BYTES_MAX:
        raise RuleBroken(
            Rule.MODULE_BYTES, f"the module has {len(module)} bytes; at most {MODULE_BYTES_MAX} are allowed"
        )
    found = survey(module)
    assert found.memory is not None  # survey() demands one
    memory, table = found.memory, found.table
    if memory.maximum is None or memory.maximum > MEMORY_PAGES_MAX:
        raise RuleBroken(
            Rule.MEMORY_MAXIMUM, f"the memory has no maximum of at most {MEMORY_PAGES_MAX} pages: rewrite it"
        )
    if table is not None and (table.maximum is None or table.maximum > ELEMENTS_MAX):
        raise RuleBroken(Rule.TABLE_MAXIMUM, f"the table has no maximum of at most {ELEMENTS_MAX} elements: rewrite it")
    if any(part.section == Section.CUSTOM for part in found.sections):
        raise RuleBroken(Rule.CUSTOM_SECTION, "the module carries a custom section: rewrite it")
    for index, body in enumerate(found.bodies, start=len(found.imports)):
        if body.points:
            raise RuleBroken(
                Rule.NAN, f"function {index} lets the bits of a NaN be seen, which differ between engines: rewrite it"
            )
    return ModuleFacts(
        shape=found.shape,
        imports=tuple(found.imports),
        memory_pages_min=memory.minimum,
        memory_pages_max=memory.maximum,
        functions=len(found.bodies),
        body_bytes_max=max((len(body.data) for body in found.bodies), default=0),
        size_bytes=len(module),
    )
