"""Every way a chunk of JavaScript can end (spec/javascript.md), in both engines, and the vectors that browsers run too."""
# ruff: noqa: E501  # programs on one line

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from crowdcompute.node.executors.pool import WorkerPool
from crowdcompute.protocol.events import ChunkInput, ChunkOutcome, Status
from crowdcompute.protocol.manifest import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VECTORS = Path(__file__).parents[2] / "protocol" / "vectors" / "javascript.json"
SEED = 0xFEDC_BA98_7654_3210
OUTPUT_BYTES = 4_096


@dataclass(frozen=True)
class Case:
    """One chunk and how it ends; text stands for its UTF-8, and the input is numbers if it is a tuple."""

    source: str
    data: bytes | str = b""
    status: Status = Status.OK
    input: bytes | tuple[int, ...] = (3, 10)
    output_bytes: int = OUTPUT_BYTES
    seed: int = SEED

    @property
    def input_bytes(self) -> bytes:
        return self.input if isinstance(self.input, bytes) else struct.pack(f"<{len(self.input)}q", *self.input)

    @property
    def expected(self) -> tuple[Status, bytes]:
        return self.status, self.data.encode() if isinstance(self.data, str) else self.data


def expression(code: str) -> str:
    return f"export default () => {code};"


def json_of(code: str, data: str) -> Case:
    return Case(expression(code), data)


def error(code: str, text: str) -> Case:
    return Case(f"export default () => {{ {code} }};", text, Status.TASK_ERROR)


def no_result(code: str) -> Case:
    return Case(f"export default () => {{ {code} }};", status=Status.NO_RESULT)


def refused(source: str) -> Case:
    return Case(source, status=Status.NO_RESULT)


def xoshiro(seed: int, index: int) -> float:
    """Number `index` of Math.random, written a second time from spec/javascript.md."""
    words = []
    for _ in range(2):
        seed = (seed + 0x9E37_79B9_7F4A_7C15) % 2**64
        z = (seed ^ seed >> 30) * 0xBF58_476D_1CE4_E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D0_49BB_1331_11EB % 2**64
        words.append(z ^ z >> 31)
    s = [part for word in words for part in (word % 2**32, word >> 32)]

    def rotated(x: int, k: int) -> int:
        return (x << k | x >> 32 - k) % 2**32

    def following() -> int:
        result = (rotated((s[0] + s[3]) % 2**32, 7) + s[0]) % 2**32
        t = s[1] << 9 & 0xFFFF_FFFF
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotated(s[3], 11)
        return result

    for _ in range(2 * index):
        following()
    high, low = following() >> 5, following() >> 6
    return (high * 2**26 + low) / 2**53


def cases() -> dict[str, Case]:
    return {
        # What the function gets.
        "numbers are Numbers": Case(
            "export default function ([start, stop], stdin) { return { start, stop, size: stdin.length }; }",
            '{"size":0,"start":3,"stop":10}',
        ),
        "four numbers of a tile": Case("export default (tile) => tile;", "[-1,0,64,64]", input=(-1, 0, 64, 64)),
        "the largest safe numbers": Case(
            "export default (args) => args;",
            "[-9007199254740991,9007199254740991]",
            input=(-(2**53) + 1, 2**53 - 1),
        ),
        "a number beyond them": Case(
            "export default (args) => args;",
            "the argument 9007199254740992 is beyond 2^53 - 1 and does not fit a Number",
            Status.TASK_ERROR,
            input=(0, 2**53),
        ),
        "bytes": Case("export default (args, stdin) => [args.length, ...stdin];", "[0,104,105]", input=b"hi"),
        "no bytes": Case("export default (args, stdin) => stdin;", b"", input=b""),
        "bytes as text": Case(
            "export default (args, stdin) => new TextDecoder().decode(stdin).split('').reverse().join('');",
            "eüg",
            input="güe".encode(),
        ),
        "bytes that are no UTF-8": Case(
            "export default (args, stdin) => new TextDecoder().decode(stdin);",
            "a\ufffdb\ufffd\ufffdc\ufffd",
            input=b"a\xffb\xe2\x82\xc0c\xf0\x9f",
        ),
        # What it may return.
        "a Uint8Array": Case(expression("new Uint8Array([0, 128, 255])"), b"\x00\x80\xff"),
        "a part of a buffer": Case(expression("new Uint8Array([1, 2, 3, 4]).subarray(1, 3)"), b"\x02\x03"),
        "an ArrayBuffer": Case(expression("new Uint8Array([7, 8]).buffer"), b"\x07\x08"),
        "a Uint16Array is little-endian": Case(expression("new Uint16Array([1, 515])"), b"\x01\x00\x03\x02"),
        "the NaNs of a Float64Array are one": Case(
            expression("new Float64Array([1, -(0 / 0), Math.sqrt(-1)])"),
            struct.pack("<d", 1.0) + 2 * bytes.fromhex("000000000000f87f"),
        ),
        "the NaNs of a Float32Array are one": Case(
            expression("new Float32Array([-(0 / 0), 1])"), bytes.fromhex("0000c07f0000803f")
        ),
        "the NaNs of a DataView are one": Case(
            "export default () => { const v = new DataView(new ArrayBuffer(12)); v.setFloat64(0, -(0 / 0));"
            " v.setFloat32(8, NaN, true); return v; };",
            bytes.fromhex("7ff80000000000000000c07f"),
        ),
        "a string is UTF-8": json_of("'a\u00e9\u20ac\U0001f600\\0'", "a\u00e9\u20ac\U0001f600\0"),
        "half a surrogate pair": json_of(r"'\ud800x\udc00'", "\ufffdx\ufffd"),
        "an empty string": json_of("''", ""),
        "JSON has its keys in order": json_of(
            "({ b: 1, a: [true, false, null, 'x'], 10: 2, 9: 3, 'é': 4, Z: 5 })",
            '{"10":2,"9":3,"Z":5,"a":[true,false,null,"x"],"b":1,"é":4}',
        ),
        "JSON has ECMAScript's numbers": json_of(
            "[0, -0, 1.5, 1e21, 1e-7, 123456789012345680000, 5e-324, 0.1 + 0.2, 2 ** 53]",
            "[0,0,1.5,1e+21,1e-7,123456789012345680000,5e-324,0.30000000000000004,9007199254740992]",
        ),
        "JSON escapes what it must": json_of(r"""['"\\/\b\n\u001f\u2028', '\ud800']""", '["\\"\\\\/\\b\\n\\u001f\u2028","\\ud800"]'),
        "a number alone": json_of("42", "42"),
        "null alone": json_of("null", "null"),
        "an object without prototype": json_of("Object.assign(Object.create(null), { x: 1 })", '{"x":1}'),
        "nothing": error("", "the function returned nothing: return bytes, a string or a JSON value"),
        "NaN": error("return [NaN];", "the result contains NaN, which JSON cannot say"),
        "infinity": error("return { x: -Infinity };", "the result contains -Infinity, which JSON cannot say"),
        "undefined inside": error(
            "return { x: undefined };", "the result contains a value of type undefined, which JSON cannot say"
        ),
        "a function": error("return () => 1;", "the result contains a value of type function, which JSON cannot say"),
        "a BigInt": error("return [1n];", "the result contains a value of type bigint, which JSON cannot say"),
        "a symbol": error("return Symbol.iterator;", "the result contains a value of type symbol, which JSON cannot say"),
        "a hole": error("return [1, , 2];", "the result contains a value of type undefined, which JSON cannot say"),
        "a Map": error("return new Map();", "the result contains an object that is neither plain nor an array"),
        "bytes inside": error(
            "return [new Uint8Array(1)];", "the result contains an object that is neither plain nor an array"
        ),
        "an object of a class": error(
            "return new (class { x = 1; })();", "the result contains an object that is neither plain nor an array"
        ),
        "a circle": error(
            "const a = []; a.push(a); return a;",
            "the result is nested deeper than 200 levels, or contains itself",
        ),
        "a getter that throws": error("return { get x() { throw new Error('seen'); } };", "seen"),
        "a result of exactly the limit": Case(expression("new Uint8Array(4096)"), bytes(4_096)),
        "a result above the limit": Case(expression("new Uint8Array(4097)"), status=Status.NO_RESULT),
        # Errors.
        "an error of the task": error("throw new Error('no such tile');", "no such tile"),
        "an error without words": error("throw new RangeError();", ""),
        "an error of the task's own class": error(
            "throw new (class Bad extends TypeError { constructor() { super('bad'); this.name = 'Bad'; } })();", "bad"
        ),
        "a thrown string": error("throw 'no such tile';", "no such tile"),
        "an error of many words": error("throw new Error('é'.repeat(5000));", "é" * 2_048),
        "an error called without new": error("throw TypeError('x');", "x"),
        "the engine's TypeError": error("null.x;", "TypeError"),
        "the engine's ReferenceError": error("return nowhere;", "ReferenceError"),
        "a constant assigned": error("const c = 1; c = 2;", "TypeError"),
        "the engine's SyntaxError": error("JSON.parse('{');", "SyntaxError"),
        "the engine's URIError": error("decodeURI('%');", "URIError"),
        "the engine's RangeError is no vote": no_result("new Array(-1);"),
        "a thrown number": no_result("throw 1;"),
        "thrown null": no_result("throw null;"),
        "a thrown object": no_result("throw { message: 'x' };"),
        "a thrown proxy that throws": no_result("throw new Proxy({}, { getPrototypeOf() { throw 1; } });"),
        "endless recursion": no_result("const f = () => f() + 1; return f();"),
        "no function": Case("export default 5;", "the default export is no function", Status.TASK_ERROR),
        "no stack to see": json_of("[typeof new Error('x').stack, Object.getOwnPropertyNames(new Error('x'))]", '["undefined",["message"]]'),
        "an error's words can be changed": json_of(
            "(() => { const e = new Error('a', { cause: 1 }); e.message = 'b'; e.name = 'C';"
            " return [String(e), e.cause, e instanceof Error, new URIError('x') instanceof Error]; })()",
            '["C: b",1,true,true]',
        ),
        # Sources.
        "helpers around the export": Case(
            "const square = (n) => n * n;\nexport default function sum([a, b]) { return a === b ? 0 : square(a) + sum([a + 1, b]); }\n",
            "280",
        ),
        "an export of something named before": Case("function main() { return 'm'; }\nexport default main;", "m"),
        "helpers behind the export": Case("export default function () { return half(10); }\nfunction half(n) { return n / 2; }", "5"),
        "a named export is called by others": Case(
            "const again = () => main.length;\nexport default function main(args, stdin) { return again(); }", "2"
        ),
        "strict mode": Case("export default function () { return this === undefined; }", "true"),
        "a generator": json_of("[...(function* () { yield 1; yield* [2, 3]; })()]", "[1,2,3]"),
        "no export": refused("function main() {}"),
        "two exports": refused("export default () => 1;\nexport const x = 1;"),
        "an import": refused("import x from './x.js';\nexport default () => 1;"),
        "a dynamic import": refused("export default () => import('./x.js');"),
        "asynchronous": refused("export default async () => 1;"),
        "a forbidden word in a comment": refused("// await\nexport default () => 1;"),
        "no JavaScript": refused("export default ("),
        "an HTML comment": refused("<!-- x\nexport default () => 1;"),
        "a brace too many": refused("export default () => 1 }, evil(), function () {"),
        "another brace too many": refused("export default () => { return 1 } } + {"),
        "a syntax of sloppy mode": refused("export default () => { with ({}) return 1; };"),
        # One world, whatever the engine.
        "Math is one library's": json_of(
            "[Math.sin(1), Math.cos(1e22), Math.tan(0.5), Math.asin(0.3), Math.acos(0.3), Math.atan(3), Math.atan2(1, -2),"
            " Math.sinh(1), Math.cosh(1), Math.tanh(0.1), Math.asinh(1), Math.acosh(2), Math.atanh(0.5), Math.exp(1),"
            " Math.expm1(1e-5), Math.log(3), Math.log2(3), Math.log10(3), Math.log1p(1e-5), Math.cbrt(3),"
            " Math.pow(2, 0.5), Math.hypot(1, 2, 3)]",
            "[0.8414709848078965,0.523214785395139,0.5463024898437905,0.3046926540153975,1.2661036727794992,"
            "1.2490457723982544,2.677945044588987,1.1752011936438014,1.543080634815244,0.09966799462495582,"
            "0.881373587019543,1.3169578969248166,0.5493061443340548,2.7182818284590455,0.000010000050000166668,"
            "1.0986122886681098,1.584962500721156,0.47712125471966244,0.000009999950000333332,1.4422495703074083,"
            "1.4142135623730951,3.7416573867739413]",
        ),
        "Math at its edges": json_of(
            "[Math.pow(1, Infinity), Math.pow(1, NaN), Math.pow(NaN, 0), Math.hypot(), Math.hypot(NaN, Infinity),"
            " Math.hypot(NaN, 1), Math.cbrt(-0), Math.atan2(-0, -1), Math.max(), Math.round(-0.5), Math.sign(-3)].map(String)",
            '["NaN","NaN","1","0","Infinity","NaN","0","-3.141592653589793","-Infinity","0","-1"]',
        ),
        "chance comes from the seed": json_of(
            "[Math.random(), Math.random(), Math.random()]",
            f"[{','.join(repr(xoshiro(SEED, index)) for index in range(3))}]",
        ),
        "chance of another seed": Case(
            expression("[Math.random(), Math.random()]"), f"[{xoshiro(0, 0)!r},{xoshiro(0, 1)!r}]", seed=0
        ),
        "time stands still": json_of(
            "[Date.now(), new Date().toISOString(), new Date(2020, 1, 29, 12).toString(), new Date('2020-02-29T12:00').getHours(),"
            " new Date('2020-02-29').getTime(), Date.UTC(1970, 0, 2), String(new Date('Feb 29, 2020')), new Date(0).getTimezoneOffset(),"
            " new Date('2020-02-29T12:00:00.5+01:00').toJSON(), typeof Date()]",
            '[0,"1970-01-01T00:00:00.000Z","2020-02-29T12:00:00.000Z",12,1582934400000,86400000,"Invalid Date",0,'
            '"2020-02-29T11:00:00.500Z","string"]',
        ),
        "numbers in other radices": json_of(
            "[(255).toString(16), (-255.5).toString(2), (0.1).toString(3), (1e21).toString(7), (0.5).toString(36), NaN.toString(2)]",
            '["ff","-11111111.1","0.002200220022002200220022002200220","5135235413265003022550266","0.i","NaN"]',
        ),
        "numbers in text": json_of(
            "[(1.005).toFixed(2), (123.456).toPrecision(4), (0.00001).toString(), (1e21).toFixed(2), (12345.678).toExponential(2),"
            " (0.5).toFixed(0), (1.5).toFixed(0), (25).toLocaleString()]",
            '["1.00","123.5","0.00001","1e+21","1.23e+4","1","2","25"]',
        ),
        "text into numbers": json_of(
            "[parseFloat('3.14abc'), Number('0x1F'), Number(''), parseInt('101', 2), Number('1e1000') > 1e308, Number('9007199254740993')]",
            "[3.14,31,0,5,true,9007199254740992]",
        ),
        "sorting": json_of(
            "[[3, 1, undefined, 20, , 'b'].sort().map(String).join(), [5, 2, 9, 1].sort((a, b) => b - a), [1, 2, 3].toSorted(() => 0),"
            " [...new Float64Array([3, -0, 0, NaN, -1]).sort()].map((x) => Object.is(x, -0) ? '-0' : String(x))]",
            '["1,20,3,b,undefined,",[9,5,2,1],[1,2,3],["-1","-0","0","3","NaN"]]',
        ),
        "sorting with a comparator that contradicts itself": json_of(
            "(() => { let n = 0; const a = Array.from({ length: 40 }, (_, i) => i); a.sort(() => (n++ * 7919) % 3 - 1);"
            " return [n, ...a]; })()",
            "[116,33,25,9,32,0,17,34,2,8,36,16,1,35,4,24,38,10,3,37,18,6,39,12,20,5,7,26,11,14,19,13,15,22,28,21,23,27,30,29,31]",
        ),
        "sorting is stable": json_of(
            "Array.from({ length: 100 }, (_, i) => [i % 3, i]).sort((a, b) => a[0] - b[0]).every(([k, i], n, all) =>"
            " n === 0 || all[n - 1][0] < k || all[n - 1][1] < i)",
            "true",
        ),
        "no language but code units": json_of(
            "['a'.localeCompare('B'), 'ä'.localeCompare('z'), 'I'.toLocaleLowerCase('tr'), [1234.5].toLocaleString(), 10n.toLocaleString()]",
            '[1,1,"i","1234.5","10"]',
        ),
        "nothing else is there": json_of(
            "[typeof fetch, typeof XMLHttpRequest, typeof WebSocket, typeof Worker, typeof importScripts, typeof postMessage,"
            " typeof self, typeof window, typeof navigator, typeof location, typeof indexedDB, typeof caches, typeof crypto,"
            " typeof performance, typeof setTimeout, typeof setInterval, typeof queueMicrotask, typeof Promise, typeof eval,"
            " typeof WebAssembly, typeof Intl, typeof WeakRef, typeof FinalizationRegistry, typeof Atomics,"
            " typeof SharedArrayBuffer, typeof Iterator, typeof Temporal, typeof structuredClone, typeof process,"
            " typeof require, typeof Deno, typeof std, typeof os, typeof escape].every((type) => type === 'undefined')",
            "true",
        ),
        "globals": json_of(
            "Object.getOwnPropertyNames(globalThis).sort().join(' ')",
            "Array ArrayBuffer BigInt BigInt64Array BigUint64Array Boolean DataView Date Error EvalError Float32Array"
            " Float64Array Function Infinity Int16Array Int32Array Int8Array JSON Map Math NaN Number Object Proxy"
            " RangeError ReferenceError Reflect RegExp Set String Symbol SyntaxError TextDecoder TextEncoder TypeError"
            " URIError Uint16Array Uint32Array Uint8Array Uint8ClampedArray WeakMap WeakSet console decodeURI"
            " decodeURIComponent encodeURI encodeURIComponent globalThis isFinite isNaN parseFloat parseInt undefined",
        ),
        "no newer methods": json_of(
            "[[].group, Object.groupBy, new Set().union, ''.isWellFormed, Math.f16round, Array.fromAsync, RegExp.escape,"
            " Symbol.dispose, new Uint8Array().toHex, new ArrayBuffer(1).transfer, [].values().map].every((m) => m === undefined)",
            "true",
        ),
        "code has no text": json_of("[String(Math.sin), String(() => 1), String(class {})]", json.dumps(["function () { [code] }"] * 3, separators=(",", ":"))),
        "console says nothing": json_of("console.log('x') === undefined", "true"),
        "text and bytes": json_of(
            "[[...new TextEncoder().encode('é😀')], new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([239, 187, 191, 97]))]",
            '[[195,169,240,159,152,128],"a"]',
        ),
        "regular expressions": json_of(
            "['a1b22'.replace(/\\d+/g, (d) => `<${d}>`), [...'x=1,y=2'.matchAll(/(?<k>\\w)=(\\d)/g)].map((m) => m.groups.k + m[2]),"
            " 'a,b;c'.split(/[,;]/), /^\\p{Lu}/u.test('É'), 'aBc'.search(/[A-Z]/), RegExp.$1 === undefined]",
            '["a<1>b<22>",["x1","y2"],["a","b","c"],true,1,true]',
        ),
        "big integers": json_of("[String(2n ** 100n), String(BigInt.asIntN(8, 255n)), (255n).toString(16)]", '["1267650600228229401496703205376","-1","ff"]'),
        # Escapes.
        "no code from text by Function": error("return (() => {}).constructor('return this')();", "a task cannot make code from text"),
        "no code from text by generators": error(
            "return (function* () {}).constructor('yield 1')();", "a task cannot make code from text"
        ),
        "no code from text by new Function": error("new Function('return 1');", "a task cannot make code from text"),
        "no eval": error("return eval('1');", "ReferenceError"),
        "the global object is frozen": error("globalThis.left = 1;", "TypeError"),
        "no variable appears by itself": error("left = 1;", "ReferenceError"),
        "prototypes are frozen": error("Array.prototype.push = () => 0;", "TypeError"),
        "Object.prototype is frozen": error("Object.prototype.polluted = 1;", "TypeError"),
        "prototypes keep their prototypes": error("Object.setPrototypeOf(Array.prototype, {});", "TypeError"),
        "__proto__ pollutes nothing": json_of(
            "(() => { const o = JSON.parse('{\"__proto__\": {\"x\": 1}}'); return [({}).x === undefined, Object.keys(o)]; })()",
            '[true,["__proto__"]]',
        ),
        "constructors are frozen": error("Math.random = () => 4;", "TypeError"),
        "iterators are frozen": error("Object.getPrototypeOf([][Symbol.iterator]()).next = 1;", "TypeError"),
        "heirs may override": json_of(
            "(() => { const o = {}; o.toString = () => 'mine'; o.constructor = 1; o.hasOwnProperty = 2; class A {}"
            " A.prototype.toString = () => 'A'; function F() {} F.prototype.valueOf = () => 7; const words = {};"
            " for (const w of ['constructor', 'valueOf', 'constructor']) words[w] = (Object.hasOwn(words, w) ? words[w] : 0) + 1;"
            " return [String(o), o.constructor, o.hasOwnProperty, String(new A()), +new F(), words]; })()",
            '["mine",1,2,"A",7,{"constructor":2,"valueOf":1}]',
        ),
    }  # fmt: skip


CASES = cases()


@pytest.fixture(scope="module", params=["v8", "quickjs"])
def execute(request: pytest.FixtureRequest) -> Iterator[Callable[[Case], ChunkOutcome]]:
    with asyncio.Runner() as runner:
        pool = WorkerPool(1, javascript=request.param)
        runner.run(pool.start())

        def run(case: Case) -> ChunkOutcome:
            limits = Limits(memory_bytes=1 << 26, output_bytes=case.output_bytes, seconds=20)
            source = case.source.encode()
            code = hashlib.sha256(source).digest()
            numbers = not isinstance(case.input, bytes)
            chunks = [ChunkInput(chunk, case.input_bytes, case.seed) for chunk in (0, 1)]
            first, again = runner.run(pool.execute(code, source, limits, numbers, chunks, "js"))
            # Whatever the first chunk did, the second finds the world as it was.
            assert first[1:3] == again[1:3]
            return first

        yield run
        runner.run(pool.close())


@pytest.mark.parametrize("name", CASES)
def test_a_chunk_of_javascript_ends_as_specified(name: str, execute: Callable[[Case], ChunkOutcome]) -> None:
    outcome = execute(CASES[name])
    assert (outcome.status, outcome.data) == CASES[name].expected, outcome.detail
    assert bool(outcome.detail) >= (outcome.status == Status.NO_RESULT)


def vector(name: str, case: Case) -> dict[str, Any]:
    status, data = case.expected
    return {
        "name": name,
        "source": case.source,
        "input": case.input_bytes.hex(),
        "numbers": not isinstance(case.input, bytes),
        "seed": str(case.seed),
        "output_bytes": case.output_bytes,
        "status": status.name,
        "data": data.hex(),
    }


def test_the_javascript_vectors_hold(request: pytest.FixtureRequest) -> None:
    vectors = {
        "about": "Chunks of JavaScript and how each ends (a refused source: without a result); see protocol/spec/javascript.md.",
        "cases": [vector(name, case) for name, case in CASES.items()],
    }
    if request.config.getoption("--write"):
        VECTORS.write_text(json.dumps(vectors, indent=1) + "\n")
    assert json.loads(VECTORS.read_text()) == vectors
