"""Kernels: which are admitted, as what they are printed, and why others are refused, in both languages alike."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.errors import ModuleRefused, RemoteProtocolError
from crowdcompute.protocol.gpu import Golden, Package, open_package
from crowdcompute.protocol.gpu.compare import Array, Comparator, Comparison, Exact, Tolerance, Ulp, Within
from crowdcompute.protocol.gpu.opencl import opencl
from crowdcompute.protocol.gpu.pacing import next_groups
from crowdcompute.protocol.gpu.package import Field, Output
from crowdcompute.protocol.gpu.parser import parse
from crowdcompute.protocol.gpu.wgsl import guarded_wgsl

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import ExpectVectors

KERNELS = Path(__file__).parent / "kernels"
COLLATZ = Path(__file__).parents[2] / "examples" / "gpu_collatz" / "kernel.wgsl"

OUT = "@group(0) @binding(0) var<storage, read_write> out: array<u32>;\n"
MAIN = "@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>)"


def body(statements: str, before: str = "") -> str:
    """A kernel with these statements."""
    return f"{OUT}{before}{MAIN} {{ {statements} }}"


REFUSED: dict[str, str] = {
    "nothing": "",
    "no entry point": OUT,
    "no output": f"{MAIN} {{ }}",
    "another byte": body("let x = 1; // \u00e9"),
    "a character": body("let x = 1 # 2;"),
    "an open comment": body("/* "),
    "a comment in a comment": body("/* /* */ */"),
    "too long": body("") + " " * 65_536,
    "too many words": body("let x = 1;" * 4_001),
    "brackets too deep": body(f"let x = {'(' * 40}1u{')' * 40};"),
    "blocks too deep": body("{" * 26 + "}" * 26),
    "else too deep": body("if (id.x == 0u) {} " + "else if (id.x == 1u) {} " * 25),
    "a long expression": body("let x = id.x" + " + 1u" * 65 + ";"),
    "a reserved name": body("let __x = 1;"),
    "the name nothing": body("let _ = 1;"),
    "a keyword as name": body("let array = 1;"),
    "a function's name": body("let min = 1;"),
    "a bad number": body("let x = 12ab;"),
    "an octal number": body("let x = 012;"),
    "a half float": body("let x = 1.0h;"),
    "a hexadecimal float": body("let x = 0x1.8p3;"),
    "cut short": OUT + MAIN + " { let x = 1;",
    "a directive": "enable f16;\n" + body(""),
    "an alias": "alias T = u32;\n" + body(""),
    "an override": "override x: u32 = 1u;\n" + body(""),
    "an include": '#include "/etc/passwd"\n' + body(""),
    "inline assembly": body('asm("syscall");'),
    "an extern": "extern fn system(x: u32) -> u32;\n" + body(""),
    "a foreign function": body("system(1u);"),
    "a C type": body("let x: uint = 1u;"),
    "a pointer type": body("", "fn f(p: ptr<function, u32>) { }\n"),
    "an address": body("let p = &out;"),
    "a dereference": body("let p = *out;"),
    "a vector": body("let v = vec3<u32>(1u, 2u, 3u);"),
    "a vector's other components": body("let y = id.y;"),
    "an unknown name": body("let x = y;"),
    "a name too early": body("let x = f();") + "\nfn f() -> u32 { return 1u; }",
    "recursion": body("let x = f(1u);", "fn f(x: u32) -> u32 { return f(x); }\n"),
    "mutual recursion": body("", "fn f() -> u32 { return g(); }\nfn g() -> u32 { return f(); }\n"),
    "a name twice": body("let x = 1; let x = 2;"),
    "a global twice": body("", "const x = 1;\nconst x = 2;\n"),
    "a let changed": body("let x = 1; x = 2;"),
    "a parameter changed": body("", "fn f(x: u32) { x = 1u; }\n"),
    "an input written": body("data[0] = 1u;", "@group(0) @binding(1) var<storage, read> data: array<u32>;\n"),
    "a constant written": body("T[0] = 1u;", "const T = array<u32, 2>(1u, 2u);\n"),
    "mixed types": body("let x = id.x + 1i;"),
    "a bool added": body("let x = true + true;"),
    "a float's remainder": body("let x = 1.5 % f32(id.x);"),
    "a u32 negated": body("let x = -id.x;"),
    "a number as condition": body("if (1u) { }"),
    "a bool switched": body("switch (true) { default: { } }"),
    "a case twice": body("switch (id.x) { case 1u: { } case 1u: { } default: { } }"),
    "no default": body("switch (id.x) { case 1u: { } }"),
    "mixed and or": body("let x = true && false || true;"),
    "mixed bits": body("let x = id.x & 1u | 2u;"),
    "bits of a sum": body("let x = id.x + 1u & 2u;"),
    "a shift of a sum": body("let x = id.x + 1u << 2u;"),
    "compared twice": body("let x = 1u < id.x < 3u;"),
    "too large for u32": body("let x: u32 = 4294967296;"),
    "too small for u32": body("let x: u32 = -1;"),
    "too large for i32": body("let x = 2147483648;"),
    "beyond 64 bits": body("let x: u32 = 9223372036854775808;"),
    "a constant overflow": body("let x = 4294967295u + 1u;"),
    "a constant divided by zero": body("let x = 1 / 0;"),
    "divided by zero": body("let x = id.x / 0u;"),
    "a remainder by zero": body("let x = id.x % (1u - 1u);"),
    "shifted too far": body("let x = id.x << 32u;"),
    "an infinite float": body("let x = 1e39f;"),
    "a constant that is no number": body("let x = bitcast<f32>(0x7fc00000u);"),
    "a function of constants": body("let x = max(1u, 2u);"),
    "a float function of integers": body("let x = sqrt(id.x);"),
    "an integer function of floats": body("let x = countOneBits(f32(id.x));"),
    "a function's arguments": body("let x = min(id.x);"),
    "a value missing": body("let x = f();", "fn f() { }\n"),
    "a value not returned": body("", "fn f() -> u32 { if (true) { return 1u; } }\n"),
    "a value returned": body("return 1u;"),
    "no value returned": body("", "fn f() -> u32 { return; }\n"),
    "after a return": body("return; let x = 1;"),
    "break outside": body("break;"),
    "continue outside": body("switch (id.x) { default: { continue; } }"),
    "a writer in a sum": body("let x = 1u + f();", "var<private> n: u32;\nfn f() -> u32 { n += 1u; return n; }\n"),
    "a writer as argument": body(
        "let x = g(f());",
        "var<private> n: u32;\nfn f() -> u32 { n += 1u; return n; }\nfn g(x: u32) -> u32 { return x; }\n",
    ),
    "a writer by another's name": body(
        "out[id.x] = g();",
        "var<private> n: u32;\nfn f() -> u32 { n += 1u; return n; }\nfn g() -> u32 { let x = f(); return x; }\n",
    ),
    "an index out of bounds": body("var a: array<u32, 4>; a[4] = 1u;"),
    "a negative index": body("var a: array<u32, 4>; a[-1] = 1u;"),
    "a float index": body("out[1.0] = 1u;"),
    "an array as value": body("var a: array<u32, 4>; let b = a;"),
    "an array without length": body("var a: array<u32>;"),
    "an array of length zero": body("var a: array<u32, 0>;"),
    "a huge private array": body("var a: array<u32, 16777216>;"),
    "private arrays together": body(
        "f();", "var<private> a: array<u32, 3000>;\nfn f() { var b: array<u32, 1100>; b[0] = 1u; }\n"
    ),
    "huge workgroup memory": body(
        "workgroupBarrier();", "var<workgroup> a: array<u32, 4096>;\nvar<workgroup> b: u32;\n"
    ),
    "workgroup memory without a barrier": body("", "var<workgroup> a: array<u32, 16>;\n"),
    "many constants": body("", "".join(f"const T{n} = array<u32, 1024>({'1u,' * 1024});\n" for n in range(5))),
    "a table too short": body("", "const T = array<u32, 3>(1u, 2u);\n"),
    "storage with length": "@group(0) @binding(0) var<storage, read_write> o: array<u32, 4>;\n" + MAIN + " { }",
    "a scalar in storage": "@group(0) @binding(0) var<storage, read_write> o: u32;\n" + MAIN + " { }",
    "an atomic input": body("", "@group(0) @binding(1) var<storage, read> d: array<atomic<u32>>;\n"),
    "two inputs": body(
        "",
        "@group(0) @binding(1) var<storage, read> d: array<u32>;\n"
        "@group(0) @binding(2) var<storage, read> e: array<u32>;\n",
    ),
    "a binding twice": OUT + OUT.replace("out", "more") + MAIN + " { }",
    "a binding too high": OUT.replace("binding(0)", "binding(7)") + MAIN + " { }",
    "another group": OUT.replace("group(0)", "group(1)") + MAIN + " { }",
    "no binding": "var<storage, read_write> o: array<u32>;\n" + MAIN + " { }",
    "a texture": body("", "@group(0) @binding(1) var t: texture_2d<f32>;\n"),
    "an atomic read": body("let x = h[0];", "@group(0) @binding(1) var<storage, read_write> h: array<atomic<u32>>;\n"),
    "an atomic loaded": body(
        "let x = atomicLoad(&h[0]);", "@group(0) @binding(1) var<storage, read_write> h: array<atomic<u32>>;\n"
    ),
    "an atomic's old value": body(
        "let x = atomicAdd(&h[0], 1u);", "@group(0) @binding(1) var<storage, read_write> h: array<atomic<u32>>;\n"
    ),
    "atomics that do not commute": body(
        "atomicAdd(&h[0], 1u); atomicMax(&h[0], 1u);",
        "@group(0) @binding(1) var<storage, read_write> h: array<atomic<u32>>;\n",
    ),
    "an exchange": body(
        "atomicExchange(&h[0], 1u);", "@group(0) @binding(1) var<storage, read_write> h: array<atomic<u32>>;\n"
    ),
    "an atomic on a plain array": body("atomicAdd(&out[0], 1u);"),
    "a barrier in a branch": body("if (id.x < 3u) { workgroupBarrier(); }"),
    "a barrier in a loop": body("loop { workgroupBarrier(); break; }"),
    "a barrier in a function": body("f();", "fn f() { workgroupBarrier(); }\n"),
    "a barrier after a return": body("if (id.x < 3u) { return; } workgroupBarrier();"),
    "a large workgroup": OUT + MAIN.replace("64", "257") + " { }",
    "a workgroup in two dimensions": OUT + MAIN.replace("64", "16, 16") + " { }",
    "no workgroup size": OUT + MAIN.replace("@workgroup_size(64) ", "") + " { }",
    "a vertex shader": OUT + "@vertex fn main() { }",
    "an unknown builtin": OUT + MAIN.replace("global_invocation_id", "position") + " { }",
    "something after the entry point": body("") + "\nconst x = 1;",
    "two entry points": body("") + MAIN.replace("main", "second") + " { }",
    "functions that double": body(
        "let x = f16_();",
        "fn f0_() -> u32 { return 1u; }\n"
        + "".join(f"fn f{n}_() -> u32 {{ return f{n - 1}_() + f{n - 1}_(); }}\n" for n in range(1, 17)),
    ),
    "an endless loop": body("loop { if (id.x == 1u) { continue; } }"),
    "an endless for": body("for (;;) { switch (id.x) { case 1u: { break; } default: { } } }"),
    "a loop that ends elsewhere": body("for (;;) { loop { break; } }"),
    "a word kept for later": body("let filter = 1u;"),
    "a field kept for later": "struct S { self: u32 }\n" + body(""),
    "a word of var<>": "const read = 1u;\n" + body(""),
    "an attribute twice": OUT.replace("@binding(0)", "@binding(0) @binding(0)") + MAIN + " { }",
    "a bound constant": "@binding(0) const x = 1u;\n" + body(""),
    "a bound struct": "@group(0) struct S { x: u32 }\n" + body(""),
    "a bound private": "@group(0) @binding(1) var<private> x: u32;\n" + body(""),
    "a bound entry point": OUT + "@binding(0) " + MAIN + " { }",
    "a workgroup of a function": "@workgroup_size(8) fn f() { }\n" + body(""),
    "a bound parameter": OUT + MAIN.replace("@builtin", "@group(0) @builtin") + " { }",
    "a builtin twice": OUT
    + MAIN.replace("vec3<u32>)", "vec3<u32>, @builtin(global_invocation_id) more: vec3<u32>)")
    + " { }",
    "a float counted up": body("var x = 1.5; x++;"),
    "an entry point of another's name": OUT + "fn main() { }\n" + MAIN + " { }",
    "a float next to the largest": body("let x = f32(id.x) * 3.4028235e38;"),
    "a clamp upside down": body("let x = clamp(id.x, 5u, 3u);"),
    "a clamp of floats upside down": body("let x = clamp(f32(id.x), 0.5, -512.0);"),
    "a continuing block": body("loop { break; continuing { } }"),
    "a statement that is a value": body("id.x + 1u;"),
    "a discarded fragment": body("discard;"),
}

NEAR = Within(absolute=0.25, relative=0.0, outliers=0.0)
COMPARISONS: list[tuple[str, Comparator, list[float], list[float]]] = [
    ("the same", Exact(), [1.0, 2.0], [1.0, 2.0]),
    ("two zeros are other bytes", Exact(), [0.0], [-0.0]),
    ("another length", Tolerance(absolute=5.0, relative=0.0, outliers=0.0), [7.0], [7.0, 7.0]),
    ("no numbers", Tolerance(absolute=5.0, relative=0.0, outliers=0.9), [float("nan")], [float("nan")]),
    ("an infinity", Tolerance(absolute=1e30, relative=1e30, outliers=0.9), [float("inf")], [1.0]),
    ("one step", Ulp(steps=1, absolute=0.0), [1.0], [1.0000001192092896]),
    ("two steps", Ulp(steps=1, absolute=0.0), [1.0], [1.000000238418579]),
    ("steps across zero", Ulp(steps=2, absolute=0.0), [1e-45], [-1e-45]),
    ("zeros are no step apart", Ulp(steps=0, absolute=0.0), [0.0], [-0.0]),
    ("near zero", Ulp(steps=1, absolute=1e-6), [1e-7], [-1e-7]),
    ("within", Tolerance(absolute=0.125, relative=0.0, outliers=0.0), [1.0, 2.0], [1.125, 1.875]),
    ("beyond", Tolerance(absolute=0.125, relative=0.0, outliers=0.0), [1.0, 2.0], [1.25, 2.0]),
    ("relative to the larger", Tolerance(absolute=0.0, relative=0.25, outliers=0.0), [3.0], [4.0]),
    ("one outlier of four", Tolerance(absolute=0.0, relative=0.0, outliers=0.25), [1, 2, 3, 4], [1, 2, 3, 9]),
    ("two of four", Tolerance(absolute=0.0, relative=0.0, outliers=0.25), [1, 2, 3, 4], [1, 2, 8, 9]),
    ("near in two classes", NEAR, [1.0, *[2.0] * 8], [1.125, *[3.0] * 8]),
    ("far in two classes", NEAR, [1.0, *[2.0] * 8], [1.5, *[3.0] * 8]),
    ("near in one class of devices", NEAR, [1.0, *[2.0] * 8], [1.125, *[2.0] * 8]),
    ("a device near a module", NEAR, [1.0, *[2.0] * 8], [1.125, *[0.0] * 8]),
    ("two modules that differ", NEAR, [1.0, *[0.0] * 8], [1.125, *[0.0] * 8]),
    ("two modules that do not", NEAR, [1.0, *[0.0] * 8], [1.0, *[0.0] * 8]),
    ("no class", NEAR, [1.0], [1.0]),
]


FALLBACK = COLLATZ.with_name("gpu_collatz.wasm").read_bytes()
SQUARES = """
struct Numbers { first: i32, count: u32 }
@group(0) @binding(0) var<uniform> numbers: Numbers;
@group(0) @binding(1) var<storage, read> data: array<u32>;
@group(0) @binding(3) var<storage, read_write> squares: array<u32>;
@group(0) @binding(2) var<storage, read_write> total: array<atomic<u32>>;
@compute @workgroup_size(8) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    for (var i = 0u; i < 4u; i++) {
        let x = data[(4u * id.x + i) % arrayLength(&data)];
        squares[4u * id.x + i] = x * x;
        atomicAdd(&total[0], x);
    }
}
"""


def package(**fields: Any) -> bytes:
    """The package of SQUARES with some fields replaced."""
    return encode(
        Package(
            **{
                "schema": 1,
                "source": SQUARES.encode(),
                "uniform": (Field(name="first", value="start"), Field(name="count", value="count")),
                "invocations": "count / 4",
                "outputs": (
                    Output(name="total", elements=1, compare=Exact()),
                    Output(name="squares", elements=4, compare=Exact()),
                ),
                "fuel": 100,
                "golden": (Golden(input=bytes(16), sha256=bytes(32), result=b""),),
                "fallback": FALLBACK,
                **fields,
            }
        )
    )


HALVES = """
struct Numbers { first: f32, count: u32 }
@group(0) @binding(0) var<uniform> numbers: Numbers;
@group(0) @binding(1) var<storage, read_write> halves: array<f32>;
@compute @workgroup_size(8) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    halves[id.x] = 0.5 * (numbers.first + f32(id.x));
}
"""


def golden(result: bytes) -> Golden:
    return Golden(input=bytes(16), sha256=hashlib.sha256(result).digest(), result=result)


def halves(**fields: Any) -> bytes:
    """The package of HALVES with some fields replaced."""
    tolerance = Tolerance(absolute=0.25, relative=0.0, outliers=0.0)
    return package(
        **{
            "source": HALVES.encode(),
            "invocations": "count",
            "outputs": (Output(name="halves", elements=1, compare=tolerance),),
            "golden": (golden(struct.pack("<f", 0.0)),),
            **fields,
        }
    )


SQUARED = (Output(name="total", elements=1, compare=Exact()), Output(name="squares", elements=4, compare=Exact()))
PACKAGES: dict[str, bytes] = {
    "whole": package(),
    "bytes": b"kernel",
    "cut short": package()[:-1],
    "another kernel": package(source=b"fn main() { }"),
    "integers made of floats": package(source=SQUARES.replace("let x", "let f = 1.5; let x").encode()),
    "floats": halves(),
    "floats without a tolerance": halves(outputs=(Output(name="halves", elements=1, compare=Exact()),)),
    "floats without a result": halves(golden=(Golden(input=bytes(16), sha256=bytes(32), result=b""),)),
    "another result": halves(golden=(Golden(input=bytes(16), sha256=bytes(32), result=bytes(4)),)),
    "a result that is no number": halves(golden=(golden(struct.pack("<f", float("nan"))),)),
    "within classes": halves(outputs=(Output(name="halves", elements=1, compare=NEAR),)),
    "some outputs within classes": package(
        outputs=(SQUARED[0], Output(name="squares", elements=4, compare=NEAR)),
    ),
    "a large result": halves(golden=(golden(struct.pack("<2000f", *range(2_000))),)),
    "a result of integers": package(golden=(golden(bytes(4)),)),
    "another field": package(uniform=(Field(name="first", value="start"), Field(name="last", value="stop"))),
    "a field too few": package(uniform=(Field(name="first", value="start"),)),
    "outputs in another order": package(outputs=SQUARED[::-1]),
    "a tolerance": package(
        outputs=(SQUARED[0], Output(name="squares", elements=4, compare=Ulp(steps=1, absolute=0.0)))
    ),
    "an atomic never written": package(source=SQUARES.replace("atomicAdd(&total[0], x);", "").encode()),
    "too much work": package(fuel=2**24),
    "more fuel than there is": package(fuel=2**24 + 1),
    "no formula": package(invocations="count + 1"),
    "a formula with a long number": package(invocations="1" + "0" * 19),
    "no golden vector": package(golden=()),
    "no fallback": package(fallback=b"\0asm"),
    "no elements": package(outputs=(Output(name="total", elements=0, compare=Exact()), SQUARED[1])),
}
TWO = "<2q"
FLOAT_ARRANGEMENTS: list[tuple[str, bytes]] = [
    ("a float", struct.pack(TWO, -(2**24), -(2**24) + 3)),
    ("a float too large", struct.pack(TWO, 2**24 + 1, 2**24 + 4)),
    ("more than a vote holds", struct.pack(TWO, 0, 65_537)),
]
ARRANGEMENTS: list[tuple[str, dict[str, Any], bytes, bool]] = [
    ("a range's words", {"invocations": "count / 4 * 2"}, struct.pack(TWO, -3, 6), True),
    ("a range beyond i32", {}, struct.pack(TWO, 2**31, 2**31 + 4), True),
    ("an empty range", {}, struct.pack(TWO, 5, 5), True),
    (
        "a tile",
        {"uniform": (Field(name="first", value="x*y"), Field(name="count", value="width * height / 3"))},
        struct.pack("<4q", 3, 5, 7, 11),
        True,
    ),
    ("a range's name for a tile", {}, struct.pack("<4q", 3, 5, 7, 11), True),
    (
        "bytes",
        {"uniform": (Field(name="first", value="-7"), Field(name="count", value="bytes"))},
        bytes(range(24)),
        False,
    ),
    (
        "bytes that are no words",
        {"uniform": (Field(name="first", value="1"), Field(name="count", value="1"))},
        bytes(23),
        False,
    ),
    ("divided by nothing", {"invocations": "8 / start"}, struct.pack(TWO, 0, 6), True),
    (
        "negative for u32",
        {"uniform": (Field(name="first", value="1"), Field(name="count", value="0 * 1 * -1"))},
        struct.pack(TWO, 0, 6),
        True,
    ),
    (
        "below u32",
        {"uniform": (Field(name="first", value="1"), Field(name="count", value="-1"))},
        struct.pack(TWO, 0, 6),
        True,
    ),
    (
        "words of a negative number",
        {"invocations": "4", "uniform": (Field(name="first", value="stop"), Field(name="count", value="start_high"))},
        struct.pack(TWO, -(2**40), -5),
        True,
    ),
    ("too many invocations", {"invocations": "count * 16777216"}, struct.pack(TWO, 0, 6), True),
    ("a result too large", {"invocations": "256"}, struct.pack(TWO, 0, 6), True),
    (
        "arrays too large",
        {"outputs": (Output(name="total", elements=512, compare=Exact()), SQUARED[1])},
        struct.pack(TWO, 0, 4),
        True,
    ),
]
MEMORY_BYTES, OUTPUT_BYTES = 2_048, 4_000


def arranged(code: bytes, data: bytes, numbers: bool, memory_bytes: int, output_bytes: int) -> dict[str, Any]:
    task = open_package(code)
    try:
        chunk = task.arrange(data, numbers=numbers, memory_bytes=memory_bytes, output_bytes=output_bytes)
    except RemoteProtocolError as error:
        return {"why": str(error)}
    return {
        "invocations": chunk.invocations,
        "uniform": chunk.uniform.hex(),
        "input": chunk.input.hex(),
        "input_elements": chunk.input_elements,
        "outputs": list(chunk.outputs),
    }


def verdict(code: bytes) -> str | None:
    try:
        open_package(code)
    except ModuleRefused as refused:
        return str(refused)
    return None


def packed(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def compared(comparator: Comparator) -> Comparison:
    return Comparison((Array(1, comparator),))


def refusal(source: str) -> str:
    with pytest.raises(ModuleRefused) as refused:
        parse(source.encode())
    return str(refused.value)


def test_kernels_are_printed_and_refused_as_the_vectors_say(
    expect_vectors: ExpectVectors, plain_json: Callable[[Any], Any]
) -> None:
    accepted = []
    for path, fuel in (
        (COLLATZ, 16_384),
        *((KERNELS / f"{name}.wgsl", 99) for name in ("everything", "shared", "floats")),
    ):
        source = path.read_bytes()
        kernel = parse(source)
        shares = tuple(range(2, 2 + len(kernel.outputs)))
        accepted.append(
            {
                "source": source.decode(),
                "fuel": fuel,
                "shares": list(shares),
                "uses_floats": kernel.uses_floats,
                "words": kernel.entry.weight,
                "wgsl": guarded_wgsl(kernel, fuel, shares).splitlines(),
                "opencl": opencl(kernel, fuel, shares).splitlines(),
            }
        )
    expect_vectors(
        "gpu",
        {
            "accepted": accepted,
            "refused": [{"what": what, "source": text, "why": refusal(text)} for what, text in REFUSED.items()],
            "packages": [
                {"what": what, "package": code.hex(), "why": verdict(code)} for what, code in PACKAGES.items()
            ],
            "arrangements": [
                {
                    "what": what,
                    "package": code.hex(),
                    "input": data.hex(),
                    "numbers": numbers,
                    "memory_bytes": memory_bytes,
                    "output_bytes": output_bytes,
                    "expected": arranged(code, data, numbers, memory_bytes, output_bytes),
                }
                for what, code, data, numbers, memory_bytes, output_bytes in (
                    *(
                        (what, package(**fields), data, numbers, MEMORY_BYTES, OUTPUT_BYTES)
                        for what, fields, data, numbers in ARRANGEMENTS
                    ),
                    *((what, halves(), data, True, 2**20, 2**20) for what, data in FLOAT_ARRANGEMENTS),
                )
            ],
            "comparisons": [
                {
                    "what": what,
                    "comparator": {"kind": comparator.__struct_config__.tag, **plain_json(comparator)},
                    "left": packed(left).hex(),
                    "right": packed(right).hex(),
                    "close": compared(comparator).are_close(packed(left), packed(right)),
                    "half_as_close": compared(comparator).halved().are_close(packed(left), packed(right)),
                }
                for what, comparator, left, right in COMPARISONS
            ],
            "pacing": [
                {"groups": groups, "seconds": seconds, "next": next_groups(groups, seconds)}
                for groups, seconds in ((16, 0.0), (16, 0.001), (16, 0.1), (64, 0.2), (1, 5.0), (60_000, 0.01))
            ],
        },
    )


def test_a_refusal_says_where_and_why() -> None:
    assert refusal(body("let x = 1;\nlet y = z;")) == "line 3: z is not known here"


def test_no_refused_kernel_is_refused_for_another_reason_than_its_own() -> None:
    assert len({refusal(text) for text in REFUSED.values()}) > 70
    parse(body("let x = 1;").encode())
    parse(body("let x = id.x + 1u; out[id.x] = x;").encode())


def test_arrays_with_other_lengths_or_without_numbers_are_no_votes() -> None:
    pairs = Comparison((Array(2, Exact()),))
    assert pairs.is_result(packed([1.0, 2.0]))
    assert not pairs.is_result(packed([1.0, 2.0, 3.0]))
    assert not pairs.is_result(packed([1.0, 2.0])[:-1])
    assert not pairs.is_result(packed([1.0, float("nan")]))
    assert not pairs.is_result(packed([1.0, float("-inf")]))


def test_each_array_of_a_result_is_compared_by_its_own_comparator() -> None:
    near = Tolerance(absolute=0.5, relative=0.0, outliers=0.0)
    comparison = Comparison((Array(1, Exact()), Array(2, near)))
    left = packed([1.0, 2.0, 10.0, 10.0, 10.0, 10.0])
    assert comparison.are_close(left, packed([1.0, 2.0, 10.5, 10.0, 10.0, 9.5]))
    assert not comparison.are_close(left, packed([1.0, 2.5, 10.0, 10.0, 10.0, 10.0]))


def test_a_device_proves_itself_by_half_of_what_votes_may_differ() -> None:
    task = open_package(halves())
    (vector,) = task.package.golden
    assert task.proves(vector, packed([0.125]))
    assert not task.proves(vector, packed([0.126]))
    assert task.comparison is not None
    assert task.comparison.are_close(packed([0.126]), vector.result)
