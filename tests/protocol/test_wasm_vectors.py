"""The modules every peer must admit, refuse or rewrite alike: protocol/vectors/modules.json.

Modules are the base64 of their gzip, since those at a limit are long and repetitive.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
import wasmtime

from crowdcompute.protocol.wasm import Rule, RuleBroken, admit, rewrite
from crowdcompute.protocol.wasm.reader import u32_leb as leb

VECTORS = Path(__file__).parents[2] / "protocol" / "vectors" / "modules.json"

MEMORY = '(memory (export "memory") 1 16)'
ALLOC = '(func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))'
RUN = '(func (export "cc_run") (param i32 i32) (result i64) (i64.const 0))'
START = '(func (export "_start"))'


def wat(*parts: str) -> bytes:
    return bytes(wasmtime.wat2wasm(f"(module {' '.join(parts)})"))


def reactor(*parts: str, memory: str = MEMORY) -> bytes:
    """A reactor with `parts` before its memory and two functions."""
    return wat(*parts, memory, ALLOC, RUN)


def imports(name: str, types: str, module: str = "wasi_snapshot_preview1") -> str:
    return f'(import "{module}" "{name}" (func {types}))'


def section(number: int, content: bytes) -> bytes:
    return bytes([number]) + leb(len(content)) + content


def sections(module: bytes) -> Iterable[tuple[int, bytes]]:
    position = 8
    while position < len(module):
        number, length, shift = module[position], 0, 0
        position += 1
        while True:
            length |= (module[position] & 0x7F) << shift
            shift += 7
            position += 1
            if module[position - 1] < 0x80:
                break
        yield number, module[position : position + length]
        position += length


def with_section(module: bytes, number: int, content: bytes) -> bytes:
    """`module` with the content of one of its sections replaced."""
    return module[:8] + b"".join(section(n, content if n == number else c) for n, c in sections(module))


def body(code: bytes, locals_: bytes = b"\x00") -> bytes:
    whole = locals_ + code + b"\x0b"
    return leb(len(whole)) + whole


ALLOC_BODY = body(b"\x41\x80\x08")
PLAIN = reactor()


def with_run(code: bytes, locals_: bytes = b"\x00") -> bytes:
    """A reactor whose cc_run has these instructions, valid or not, before it returns 0."""
    return with_section(PLAIN, 10, b"\x02" + ALLOC_BODY + body(code + b"\x42\x00", locals_))


def with_functions(count: int) -> bytes:
    """A reactor with `count` functions more than it needs."""
    module = with_section(PLAIN, 3, leb(2 + count) + b"\x00\x01" + b"\x00" * count)
    return with_section(module, 10, leb(2 + count) + ALLOC_BODY + body(b"\x42\x00") + body(b"\x41\x00") * count)


def with_types(count: int) -> bytes:
    content = next(content for number, content in sections(PLAIN) if number == 1)
    return with_section(PLAIN, 1, leb(2 + count) + content[1:] + b"\x60\x00\x00" * count)


@cache
def accepted() -> dict[str, bytes]:
    return {
        "reactor": PLAIN,
        "reactor-with-everything": wat(
            "(table 1 9 funcref) (global (mut i64) (i64.const 5))",
            MEMORY,
            ALLOC,
            RUN,
            '(func (export "_initialize")) (func (export "cc_seed") (param i64))',
            '(func (export "cc_error") (result i64) (i64.const 0))',
            '(elem (i32.const 0) func 0) (data (i32.const 0) "abc") (data "passive")',
        ),
        "command": wat(imports("fd_write", "(param i32 i32 i32 i32) (result i32)"), MEMORY, START),
        "command-that-also-runs": wat(imports("proc_exit", "(param i32)"), MEMORY, START, ALLOC, RUN),
        "command-with-a-file-call": wat(
            imports("path_open", "(param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)"), MEMORY, START
        ),
        "memory-at-the-limit": reactor(memory='(memory (export "memory") 4096 4096)'),
        "nested-to-the-limit": with_run(b"\x02\x40" * 511 + b"\x0b" * 511),
        "instructions-at-the-limit": with_run(b"\x01" * (120_000 - 2)),
        "locals-at-the-limit": with_run(b"", b"\x01" + leb(1_998) + b"\x7e"),
        "branch-targets-at-the-limit": with_run(b"\x41\x00\x0e" + leb(8_192) + b"\x00" * 8_193),
        "functions-at-the-limit": with_functions(19_998),
        "types-at-the-limit": with_types(9_998),
        "integers-need-no-canonical-nan": with_run(b"\x41\x00\x41\x00\xb7\x39\x03\x00"),
        "number-in-five-bytes": with_run(b"\x10\x80\x80\x80\x80\x00\x1a"),
    }


@cache
def refused() -> dict[str, tuple[str, bytes]]:
    i32x2 = "(param i32 i32) (result i32)"
    long_body = b"\x42" + b"\x80" * 8 + b"\x00\x1a"
    return {
        "empty": ("malformed", b""),
        "version-2": ("malformed", b"\0asm\2\0\0\0" + PLAIN[8:]),
        "component": ("malformed", b"\0asm\x0d\0\1\0"),
        "truncated": ("malformed", PLAIN[:-1]),
        "trailing-byte": ("malformed", PLAIN + b"\x05"),
        "section-twice": ("malformed", PLAIN + section(10, b"\x00")),
        "section-out-of-order": ("malformed", PLAIN + section(1, b"\x00")),
        "section-too-long-for-its-content": ("malformed", with_section(PLAIN, 5, b"\x01\x01\x01\x10\x00")),
        "number-of-six-bytes": ("malformed", with_section(PLAIN, 5, b"\x81\x80\x80\x80\x80\x00\x00\x01")),
        "number-above-32-bits": ("malformed", with_section(PLAIN, 5, b"\x81\x80\x80\x80\x10\x00\x01")),
        "instruction-cut-off": ("malformed", with_section(PLAIN, 10, b"\x02" + ALLOC_BODY + b"\x03\x00\x44\x00")),
        "end-too-early": ("malformed", with_run(b"\x0b")),
        "end-missing": ("malformed", with_run(b"\x02\x40")),
        "body-missing": ("malformed", with_section(PLAIN, 10, b"\x01" + ALLOC_BODY)),
        "type-missing": ("malformed", with_section(PLAIN, 3, b"\x02\x00\x09")),
        "name-not-utf-8": ("malformed", with_section(PLAIN, 7, b"\x01\x01\xff\x02\x00")),
        "exported-twice": ("malformed", with_section(PLAIN, 7, b"\x02\x01a\x02\x00\x01a\x02\x00")),
        "maximum-below-minimum": ("malformed", with_section(PLAIN, 5, b"\x01\x01\x02\x01")),
        "body-too-large": ("body-bytes", with_run(long_body * 23_900)),
        "too-many-instructions": ("instructions", with_run(b"\x01" * (120_000 - 1))),
        "too-many-functions": ("functions", with_functions(19_999)),
        "too-many-types": ("types", with_types(9_999)),
        "too-many-parameters": ("parameters", wat("(type (func (param", "i32 " * 256, ")))")),
        "too-many-results": ("results", wat("(type (func (result", "i32 " * 17, ")))")),
        "too-many-imports": ("imports", wat(*[imports("sched_yield", "(result i32)")] * 65, MEMORY, START)),
        "too-many-exports": ("exports", wat(MEMORY, START, *(f'(export "e{n}" (func 0))' for n in range(255)))),
        "too-many-globals": ("globals", reactor("(global i32 (i32.const 0))" * 10_001)),
        "too-many-data-segments": ("segments", reactor('(data "")' * 10_001)),
        "too-many-element-segments": ("segments", reactor("(elem func)" * 10_001)),
        "too-many-elements": ("elements", reactor("(elem func", "0 " * 100_001, ")")),
        "table-too-large": ("elements", reactor("(table 100001 100001 funcref)")),
        "too-many-locals": ("locals", with_run(b"", b"\x01" + leb(1_999) + b"\x7e")),
        "too-many-locals-in-groups": ("locals", with_run(b"", b"\x02" + leb(1_000) + b"\x7e" + leb(999) + b"\x7c")),
        "too-many-branch-targets": ("branch-targets", with_run(b"\x41\x00\x0e" + leb(8_193) + b"\x00" * 8_194)),
        "nested-too-deep": ("nesting", with_run(b"\x02\x40" * 512 + b"\x0b" * 512)),
        "two-memories": ("memory", reactor("(memory 1 1)")),
        "memory-too-large": ("memory-pages", reactor(memory='(memory (export "memory") 4097 4097)')),
        "memory-without-maximum": ("memory-maximum", reactor(memory='(memory (export "memory") 1)')),
        "memory-maximum-too-large": ("memory-maximum", reactor(memory='(memory (export "memory") 1 4097)')),
        "two-tables": ("table", reactor("(table 1 1 funcref) (table 1 1 funcref)")),
        "table-without-maximum": ("table-maximum", reactor("(table 1 funcref)")),
        "table-maximum-too-large": ("table-maximum", reactor("(table 1 100001 funcref)")),
        "shared-memory": ("feature", reactor(memory='(memory (export "memory") 1 1 shared)')),
        "memory-64": ("feature", reactor(memory='(memory (export "memory") i64 1 1)')),
        "gc-type": ("feature", reactor("(type (array i8))")),
        "exception-tag": ("feature", reactor("(tag)")),
        "atomics": ("feature", with_run(b"\xfe\x03\x00")),
        "gc-instruction": ("feature", with_run(b"\xfb\x00\x00")),
        "exception-instruction": ("feature", with_run(b"\x08\x00")),
        "tail-call": ("feature", with_run(b"\x12\x00")),
        "relaxed-simd": ("feature", with_run(b"\xfd\x80\x02")),
        "simd-unassigned": ("feature", with_run(b"\xfd\x9a\x01")),
        "bulk-unassigned": ("feature", with_run(b"\xfc\x12")),
        "unassigned-opcode": ("feature", with_run(b"\xff")),
        "second-memory-addressed": ("feature", with_run(b"\x41\x00\x28\x42\x01\x00\x1a")),
        "typed-function-reference": ("feature", with_run(b"\xd0\x6e\x1a")),
        "extended-constant": ("feature", reactor("(global i32 (i32.add (i32.const 1) (i32.const 2)))")),
        "constant-from-a-global": ("feature", reactor("(global $g i32 (i32.const 1)) (global i32 (global.get $g))")),
        "unknown-import": ("import", wat(imports("system", "(param i32)", "env"), MEMORY, START)),
        "unknown-wasi-function": ("import", wat(imports("fd_teleport", i32x2), MEMORY, START)),
        "other-wasi-version": (
            "import",
            wat(imports("fd_sync", "(param i32) (result i32)", "wasi_unstable"), MEMORY, START),
        ),
        "import-of-another-type": ("import", wat(imports("random_get", "(param i32) (result i32)"), MEMORY, START)),
        "imported-memory": ("import", wat('(import "wasi_snapshot_preview1" "fd_read" (memory 1 1))', START)),
        "no-memory": ("shape", wat(ALLOC, RUN)),
        "memory-not-exported": ("shape", wat("(memory 1 1)", START)),
        "memory-is-a-global": ("shape", wat('(memory 1 1) (global (export "memory") i32 (i32.const 0))', START)),
        "no-cc-run": ("shape", wat(MEMORY, ALLOC)),
        "no-cc-alloc": ("shape", wat(MEMORY, RUN)),
        "cc-run-of-another-type": ("shape", wat(MEMORY, ALLOC, '(func (export "cc_run"))')),
        "cc-seed-of-another-type": ("shape", wat(MEMORY, ALLOC, RUN, '(func (export "cc_seed") (param i32))')),
        "start-of-another-type": ("shape", wat(MEMORY, '(func (export "_start") (param i32))')),
        "reactor-with-an-import": ("shape", wat(imports("random_get", i32x2), MEMORY, ALLOC, RUN)),
        "custom-section": ("custom-section", PLAIN + section(0, b"\x04name")),
        "f64-stored": ("nan", with_run(b"\x41\x00" + b"\x44" + bytes(8) + b"\x39\x03\x00")),
        "f32-reinterpreted": ("nan", with_run(b"\x43" + bytes(4) + b"\xbc\x1a")),
        "f64-sign-copied": ("nan", with_run((b"\x44" + bytes(8)) * 2 + b"\xa6\x1a")),
        "f64x2-added": ("nan", with_run((b"\xfd\x0c" + bytes(16)) * 2 + b"\xfd\xf0\x01\x1a")),
        "f32-splatted": ("nan", with_run(b"\x43" + bytes(4) + b"\xfd\x13\x1a")),
        "canonical-code-inside-a-constant": (
            "nan",
            # The bytes of the right code end a v128 constant; the instruction before the store is still a division.
            with_run(
                b"\x41\x00\x44"
                + bytes(8)
                + b"\x44"
                + bytes(8)
                + b"\xa3\xfd\x0c"
                + b"\x00" * 15
                + b"\x22\x1a\x39\x03\x00"
            ),
        ),
        "canonical-code-of-the-other-width": (
            "nan",
            with_run(
                b"\x41\x00\x44" + bytes(8) + b"\x22\x02\x43\x00\x00\xc0\x7f\x20\x02\x20\x02\x5b\x1b\x39\x03\x00",
                b"\x01\x01\x7d",
            ),
        ),
        "canonical-code-over-two-locals": (
            "nan",
            with_run(
                b"\x41\x00\x44" + bytes(8) + b"\x22\x02\x44\0\0\0\0\0\0\xf8\x7f\x20\x02\x20\x03\x61\x1b\x39\x03\x00",
                b"\x01\x02\x7c",
            ),
        ),
    }


@cache
def rewritten() -> dict[str, bytes]:
    vector = "(f64x2.div (f64x2.splat (f64.const 0)) (f64x2.splat (f64.const 0)))"
    return {
        "nothing-to-do": PLAIN,
        "maxima": reactor("(table 1 funcref)", memory='(memory (export "memory") 1)'),
        "maxima-lowered": reactor("(table 1 200000 funcref)", memory='(memory (export "memory") 1 65536)'),
        "custom-sections": section(0, b"\x01a").join((PLAIN[:8], PLAIN[8:])) + section(0, b"\x04name\x01"),
        "every-kind-of-nan": wat(
            MEMORY,
            ALLOC,
            '(func (export "cc_run") (param i32 i32) (result i64) (local f32)',
            "(f64.store (i32.const 0) (f64.div (f64.const 0) (f64.const 0)))",
            "(f32.store (i32.const 8) (f32.copysign (f32.const 1) (f32.sqrt (f32.const -1))))",
            "(i64.store (i32.const 16) (i64.reinterpret_f64 (f64.neg (f64.const nan))))",
            "(f64.store (i32.const 24) (f64.convert_i32_s (i32.const 3)))",
            f"(v128.store (i32.const 32) {vector})",
            "(v128.store (i32.const 48) (f32x4.replace_lane 1 (v128.const i32x4 1 2 3 4) (f32.const -nan:0x200001)))",
            "(i64.const 64))",
        ),
    }


def vectors() -> dict[str, list[dict[str, object]]]:
    return {
        "accepted": [
            {
                "name": name,
                "module": module,
                "shape": admit(module).shape.value,
                "imports": list(admit(module).imports),
                "memory_pages_min": admit(module).memory_pages_min,
                "memory_pages_max": admit(module).memory_pages_max,
            }
            for name, module in accepted().items()
        ],
        "refused": [{"name": name, "module": module, "rule": rule} for name, (rule, module) in refused().items()],
        "rewritten": [
            {"name": name, "module": module, "sha256": hashlib.sha256(rewrite(module)).hexdigest()}
            for name, module in rewritten().items()
        ],
    }


def read_vectors() -> dict[str, list[dict[str, object]]]:
    """The committed file with its modules unpacked: two zlibs may pack the same bytes differently."""
    content = json.loads(VECTORS.read_text())
    del content["about"]
    return {
        kind: [{**case, "module": gzip.decompress(base64.b64decode(case["module"]))} for case in cases]
        for kind, cases in content.items()
    }


def write_vectors() -> None:
    packed = {
        kind: [{**case, "module": base64.b64encode(gzip.compress(case["module"], mtime=0)).decode()} for case in cases]  # type: ignore[arg-type]
        for kind, cases in vectors().items()
    }
    about = "Modules (base64 of gzip) and what becomes of them; see protocol/spec/modules.md."
    VECTORS.write_text(json.dumps({"about": about, **packed}, indent=1) + "\n")


def test_the_module_vectors_hold(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--write"):
        write_vectors()
    assert read_vectors() == vectors()


@pytest.mark.parametrize("name", accepted())
def test_a_module_within_all_limits_is_admitted(name: str) -> None:
    admit(accepted()[name])


@pytest.mark.parametrize("name", refused())
def test_a_module_that_breaks_one_rule_is_refused_for_that_rule(name: str) -> None:
    rule, module = refused()[name]
    with pytest.raises(RuleBroken) as refusal:
        admit(module)
    assert refusal.value.rule == rule
    assert str(refusal.value).endswith(f"(rule {rule})")


def test_every_rule_but_the_size_of_the_whole_has_a_vector() -> None:
    assert {Rule(rule) for rule, _ in refused().values()} | {Rule.MODULE_BYTES} == set(Rule)


def test_a_module_of_more_than_eight_megabytes_is_refused_unread() -> None:
    with pytest.raises(RuleBroken) as refusal:
        admit(PLAIN + bytes(8 * 1024 * 1024))
    assert refusal.value.rule == Rule.MODULE_BYTES
