"""Read a module once, section by section, and hold it against every rule that rewriting cannot mend.

`admission` asks in addition that nothing is left to rewrite; `rewriter` uses the positions found here to do it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from . import rules, wasi
from .instructions import REFERENCE_TYPES, VALUE_TYPES, NanPoint, walk
from .reader import Reader
from .rules import Rule, RuleBroken, check_count

HEADER = b"\x00asm\x01\x00\x00\x00"


class Section(int, Enum):
    CUSTOM = 0
    TYPE = 1
    IMPORT = 2
    FUNCTION = 3
    TABLE = 4
    MEMORY = 5
    GLOBAL = 6
    EXPORT = 7
    START = 8
    ELEMENT = 9
    CODE = 10
    DATA = 11
    DATA_COUNT = 12


# The order the binary format prescribes; custom sections may stand anywhere.
_ORDER = {
    section: place
    for place, section in enumerate(
        (
            Section.TYPE,
            Section.IMPORT,
            Section.FUNCTION,
            Section.TABLE,
            Section.MEMORY,
            Section.GLOBAL,
            Section.EXPORT,
            Section.START,
            Section.ELEMENT,
            Section.DATA_COUNT,
            Section.CODE,
            Section.DATA,
        )
    )
}


class Shape(Enum):
    """The two kinds of module (spec/modules.md, "Shapes")."""

    REACTOR = "reactor"
    COMMAND = "command"


class FunctionType(NamedTuple):
    """Value type bytes of a function's parameters and results."""

    parameters: bytes
    results: bytes


class Size(NamedTuple):
    """How many pages or elements a memory or table has at first, and at most if it says so."""

    minimum: int
    maximum: int | None


class Body(NamedTuple):
    """One function body: its bytes, where its instructions begin, its local count, and what rewriting must insert."""

    data: bytes
    code_start: int
    local_count: int
    points: list[NanPoint]


class SectionBytes(NamedTuple):
    section: Section
    data: bytes


_MEMORY_KIND, _FUNCTION_KIND = 2, 0
_NOTHING = FunctionType(b"", b"")
_REACTOR_EXPORTS = {
    "cc_alloc": FunctionType(wasi.I32, wasi.I32),
    "cc_run": FunctionType(wasi.I32 * 2, wasi.I64),
}
_REACTOR_OPTIONAL = {
    "_initialize": _NOTHING,
    "cc_seed": FunctionType(wasi.I64, b""),
    "cc_error": FunctionType(b"", wasi.I64),
}


@dataclass(slots=True)
class Survey:
    """What a structurally sound module contains, in the order it was found."""

    sections: list[SectionBytes] = field(default_factory=list)
    types: list[FunctionType] = field(default_factory=list)
    imports: list[str] = field(default_factory=list)
    functions: list[FunctionType] = field(default_factory=list)
    """Imported functions first, then the module's own: the index space of calls and exports."""
    memory: Size | None = None
    table_type: int | None = None
    table: Size | None = None
    exports: dict[str, tuple[int, int]] = field(default_factory=dict)
    bodies: list[Body] = field(default_factory=list)
    shape: Shape = Shape.REACTOR


def survey(module: bytes) -> Survey:
    """Read `module`.

    Raises:
        RuleBroken: It is malformed or breaks a rule that rewriting cannot mend. No other exception, whatever the bytes.
    """
    if module[:8] != HEADER:
        raise RuleBroken(Rule.MALFORMED, "the file is not a WebAssembly module of version 1")
    found = Survey()
    reader = Reader(module, 8, len(module))
    last = -1
    while not reader.exhausted:
        number = reader.byte()
        window = reader.window(reader.u32())
        try:
            section = Section(number)
        except ValueError:
            raise RuleBroken(Rule.FEATURE, f"the module has a section {number}, which is not allowed") from None
        found.sections.append(SectionBytes(section, window.data[window.position : window.end]))
        if section == Section.CUSTOM:
            continue
        if _ORDER[section] <= last:
            raise RuleBroken(Rule.MALFORMED, f"section {number} stands twice or out of order")
        last = _ORDER[section]
        _PARSERS[section](found, window)
        window.finish(f"section {number}")
    own = len(found.functions) - len(found.imports)
    if len(found.bodies) != own:
        raise RuleBroken(Rule.MALFORMED, f"the module declares {own} functions and has {len(found.bodies)} bodies")
    found.shape = _shape(found)
    return found


def _types(found: Survey, reader: Reader) -> None:
    count = reader.u32()
    check_count(Rule.TYPES, count, rules.TYPES_MAX, "types")
    for _ in range(count):
        if reader.byte() != 0x60:
            raise RuleBroken(Rule.FEATURE, "the module declares a type that is not a function's")
        parameters = _value_types(reader, Rule.PARAMETERS, rules.PARAMETERS_MAX, "parameters in one type")
        results = _value_types(reader, Rule.RESULTS, rules.RESULTS_MAX, "results in one type")
        found.types.append(FunctionType(parameters, results))


def _value_types(reader: Reader, rule: Rule, maximum: int, what: str) -> bytes:
    count = reader.u32()
    check_count(rule, count, maximum, what)
    types = reader.take(count)
    for value_type in types:
        _check_value_type(value_type)
    return types


def _check_value_type(value_type: int) -> None:
    if value_type not in VALUE_TYPES:
        raise RuleBroken(Rule.FEATURE, f"the module uses the value type 0x{value_type:02x}, which is not allowed")


def _type(found: Survey, index: int) -> FunctionType:
    if index >= len(found.types):
        raise RuleBroken(Rule.MALFORMED, f"the module names type {index} of {len(found.types)}")
    return found.types[index]


def _imports(found: Survey, reader: Reader) -> None:
    count = reader.u32()
    check_count(Rule.IMPORTS, count, rules.IMPORTS_MAX, "imports")
    for _ in range(count):
        module, name, kind = reader.name(), reader.name(), reader.byte()
        signature = wasi.SIGNATURES.get(name)
        if module != wasi.MODULE or kind != _FUNCTION_KIND or signature is None:
            raise RuleBroken(Rule.IMPORT, f"the module imports {module[:80]!a} {name[:80]!a}, which is not offered")
        function_type = _type(found, reader.u32())
        if function_type != signature:
            raise RuleBroken(Rule.IMPORT, f"the module imports {name!a} with another type than WASI gives it")
        found.imports.append(name)
        found.functions.append(function_type)


def _functions(found: Survey, reader: Reader) -> None:
    count = reader.u32()
    check_count(Rule.FUNCTIONS, count, rules.FUNCTIONS_MAX, "functions")
    for _ in range(count):
        found.functions.append(_type(found, reader.u32()))


def _size(reader: Reader) -> Size:
    flags = reader.byte()
    if flags > 1:
        # Shared, 64-bit or with pages of another size.
        raise RuleBroken(Rule.FEATURE, f"a memory or table has the flags 0x{flags:02x}, which are not allowed")
    minimum = reader.u32()
    maximum = reader.u32() if flags else None
    if maximum is not None and maximum < minimum:
        raise RuleBroken(Rule.MALFORMED, "a memory's or table's maximum is below its minimum")
    return Size(minimum, maximum)


def _tables(found: Survey, reader: Reader) -> None:
    count = reader.u32()
    check_count(Rule.TABLE, count, 1, "tables")
    for _ in range(count):
        table_type = reader.byte()
        if table_type not in REFERENCE_TYPES:
            raise RuleBroken(Rule.FEATURE, f"a table holds the type 0x{table_type:02x}, which is not allowed")
        size = _size(reader)
        check_count(Rule.ELEMENTS, size.minimum, rules.ELEMENTS_MAX, "table elements")
        found.table_type, found.table = table_type, size


def _memories(found: Survey, reader: Reader) -> None:
    count = reader.u32()
    check_count(Rule.MEMORY, count, 1, "memories")
    for _ in range(count):
        size = _size(reader)
        check_count(Rule.MEMORY_PAGES, size.minimum, rules.MEMORY_PAGES_MAX, "pages of initial memory")
        found.memory = size


def _globals(found: Survey, reader: Reader) -> None:
    count = reader.u32()
    check_count(Rule.GLOBALS, count, rules.GLOBALS_MAX, "globals")
    for _ in range(count):
        _check_value_type(reader.byte())
        if reader.byte() > 1:
            raise RuleBroken(Rule.FEATURE, "a global has flags that are not allowed")
        _constant(reader)


def _constant(reader: Reader) -> None:
    """One constant instruction and `end`: extended constant expressions are not understood by every engine."""
    opcode = reader.byte()
    if opcode == 0x41 or opcode == 0xD2:
        reader.skip_leb(5)
    elif opcode == 0x42:
        reader.skip_leb(10)
    elif opcode == 0x43:
        reader.take(4)
    elif opcode == 0x44:
        reader.take(8)
    elif opcode == 0xD0 and reader.byte() in REFERENCE_TYPES:
        pass
    elif opcode == 0xFD and reader.u32() == 12:
        reader.take(16)
    else:
        raise RuleBroken(Rule.FEATURE, "an initial value is not a plain constant")
    if reader.byte() != 0x0B:
        raise RuleBroken(Rule.FEATURE, "an initial value is not a single constant")


def _exports(found: Survey, reader: Reader) -> None:
    count = reader.u32()
    check_count(Rule.EXPORTS, count, rules.EXPORTS_MAX, "exports")
    for _ in range(count):
        name, kind, index = reader.name(), reader.byte(), reader.u32()
        if name in found.exports:
            raise RuleBroken(Rule.MALFORMED, f"the module exports {name[:80]!a} twice")
        if kind > 3:
            raise RuleBroken(Rule.FEATURE, f"the export {name[:80]!a} is of a kind that is not allowed")
        found.exports[name] = (kind, index)


def _start(found: Survey, reader: Reader) -> None:
    _function(found, reader.u32())


def _function(found: Survey, index: int) -> FunctionType:
    if index >= len(found.functions):
        raise RuleBroken(Rule.MALFORMED, f"the module names function {index} of {len(found.functions)}")
    return found.functions[index]


def _elements(found: Survey, reader: Reader) -> None:
    count = reader.u32()
    check_count(Rule.SEGMENTS, count, rules.SEGMENTS_MAX, "element segments")
    total = 0
    for _ in range(count):
        flags = reader.u32()
        if flags > 7:
            raise RuleBroken(Rule.MALFORMED, f"an element segment has the flags {flags}")
        # Bit 0: not placed at the start. Bit 1: with a table index, or declared only. Bit 2: expressions, not indices.
        if flags & 1 == 0:
            if flags & 2:
                reader.u32()
            _constant(reader)
        expressions = flags & 4
        if flags & 3:
            kind = reader.byte()
            if kind not in (REFERENCE_TYPES if expressions else (0,)):
                raise RuleBroken(Rule.FEATURE, "an element segment is of a kind that is not allowed")
        length = reader.u32()
        total += length
        check_count(Rule.ELEMENTS, total, rules.ELEMENTS_MAX, "elements in its segments")
        for _ in range(length):
            if expressions:
                _constant(reader)
            else:
                _function(found, reader.u32())


def _data_count(found: Survey, reader: Reader) -> None:
    reader.u32()


def _data(found: Survey, reader: Reader) -> None:
    count = reader.u32()
    check_count(Rule.SEGMENTS, count, rules.SEGMENTS_MAX, "data segments")
    for _ in range(count):
        flags = reader.u32()
        if flags > 2:
            raise RuleBroken(Rule.MALFORMED, f"a data segment has the flags {flags}")
        if flags == 2:
            reader.u32()
        if flags != 1:
            _constant(reader)
        reader.take(reader.u32())


def _code(found: Survey, reader: Reader) -> None:
    count = reader.u32()
    check_count(Rule.FUNCTIONS, count, rules.FUNCTIONS_MAX, "function bodies")
    for own_index in range(count):
        index = len(found.imports) + own_index
        function_type = _function(found, index)
        window = reader.window(reader.u32())
        size = window.end - window.position
        if size > rules.BODY_BYTES_MAX:
            raise RuleBroken(
                Rule.BODY_BYTES,
                f"function {index} has {size} bytes; at most {rules.BODY_BYTES_MAX} are allowed, so split it",
            )
        body = window.data[window.position : window.end]
        # Within the body's own bytes, so that offsets can be used by the rewriter.
        local_reader = Reader(body, 0, size)
        local_count = len(function_type.parameters)
        for _ in range(local_reader.u32()):
            local_count += local_reader.u32()
            _check_value_type(local_reader.byte())
            check_count(Rule.LOCALS, local_count, rules.LOCALS_MAX, f"locals in function {index}")
        points = walk(body, local_reader.position, index)
        found.bodies.append(Body(body, local_reader.position, local_count, points))


_PARSERS = {
    Section.TYPE: _types,
    Section.IMPORT: _imports,
    Section.FUNCTION: _functions,
    Section.TABLE: _tables,
    Section.MEMORY: _memories,
    Section.GLOBAL: _globals,
    Section.EXPORT: _exports,
    Section.START: _start,
    Section.ELEMENT: _elements,
    Section.DATA_COUNT: _data_count,
    Section.CODE: _code,
    Section.DATA: _data,
}


def _shape(found: Survey) -> Shape:
    """Tell the shape by the exports. A command is asked for first: Go and Rust programs export both."""
    if found.memory is None or found.exports.get("memory") != (_MEMORY_KIND, 0):
        raise RuleBroken(Rule.SHAPE, "the module has no memory of its own exported as 'memory'")
    if "_start" in found.exports:
        _check_export(found, "_start", _NOTHING)
        return Shape.COMMAND
    for name, function_type in _REACTOR_EXPORTS.items():
        if name not in found.exports:
            raise RuleBroken(Rule.SHAPE, f"the module exports neither '_start' nor {name!a}: it is no task")
        _check_export(found, name, function_type)
    for name, function_type in _REACTOR_OPTIONAL.items():
        if name in found.exports:
            _check_export(found, name, function_type)
    if found.imports:
        raise RuleBroken(
            Rule.SHAPE, f"a module with 'cc_run' imports nothing, but this one imports {found.imports[0]!a}"
        )
    return Shape.REACTOR


def _check_export(found: Survey, name: str, function_type: FunctionType) -> None:
    kind, index = found.exports[name]
    if kind != _FUNCTION_KIND or _function(found, index) != function_type:
        raise RuleBroken(Rule.SHAPE, f"the export {name!a} is not a function of the type it must have")
