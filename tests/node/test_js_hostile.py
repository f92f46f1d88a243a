"""Scripts that mean harm end without a result, or in vain; what comes after them finds nothing of them (v8 and quickjs)."""
# ruff: noqa: E501  # programs on one line

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest

from crowdcompute.node.executors.pool import WorkerPool
from crowdcompute.protocol.events import ChunkInput, ChunkOutcome, Status
from crowdcompute.protocol.manifest import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[..., ChunkOutcome]

ENGINES = ("v8", "quickjs")
LIMITS = Limits(memory_bytes=16 * 1024 * 1024, output_bytes=1_024, seconds=20.0)
SHORT = Limits(memory_bytes=16 * 1024 * 1024, output_bytes=1_024, seconds=0.3)
HONEST = "export default () => [1, Math.sin(1), [3, 2, 1].sort()];"
RESULT = b"[1,0.8414709848078965,[1,2,3]]"

ENDLESS = {
    "a loop": "for (;;);",
    "a loop in a getter of the result": "return { get x() { for (;;); } };",
    "a loop in a toString": "return `${{ toString() { for (;;); } }}`;",
    "a regular expression": "return /^(a+)+$/.test('a'.repeat(60) + 'b');",
    "a proxy that answers for ever": "return new Proxy({}, { getPrototypeOf: () => { for (;;); } });",
}
GREEDY = {
    "objects": "const all = []; for (;;) all.push({ all });",
    "an array that doubles": "let all = [1]; for (;;) all = [...all, ...all];",
    "bytes": "const all = []; for (;;) all.push(new Uint8Array(1e7).fill(1));",
    "one large buffer": "return new Uint8Array(4e9).length;",
    "a string that doubles": "let text = 'x'; for (;;) text += text;",
    "a repeated string": "return 'x'.repeat(2 ** 30).length;",
    "a padded string": "return 'x'.padEnd(2 ** 31).length;",
    "a map": "const map = new Map(); for (let i = 0; ; i++) map.set(i, i);",
    "recursion": "const down = () => down() + 1; return down();",
    "recursion through a proxy": "let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); return p.x;",
    "recursion through sort": "const down = () => [2, 1].sort(() => down() || 1); return down().length;",
    "digits": "return String(7n ** (7n ** 20n)).length;",
}
"""None of them may end in a vote: what memory and stack an engine has, another has not."""


@pytest.fixture(scope="module", params=ENGINES)
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    with asyncio.Runner() as runner:
        pool = WorkerPool(1, javascript=request.param)
        runner.run(pool.start())

        def execute(body: str, limits: Limits = LIMITS) -> ChunkOutcome:
            source = (body if "export default" in body else f"export default () => {{ {body} }};").encode()
            code = hashlib.sha256(source).digest()
            chunks = [ChunkInput(0, b"", 0)]
            (outcome,) = runner.run(pool.execute(code, source, limits, numbers=False, chunks=chunks, runtime="js"))
            return outcome

        yield execute
        runner.run(pool.close())


@pytest.mark.parametrize("name", ENDLESS)
def test_a_script_that_never_ends_is_killed_at_its_limit(name: str, run: Run) -> None:
    assert run(HONEST).data == RESULT
    outcome = run(ENDLESS[name], SHORT)
    assert outcome[1:4] == (Status.NO_RESULT, b"", "time limit 0.3 s")
    assert run(HONEST).data == RESULT


@pytest.mark.parametrize("name", GREEDY)
def test_a_greedy_script_has_no_result(name: str, run: Run) -> None:
    outcome = run(GREEDY[name])
    assert outcome.status is Status.NO_RESULT, outcome
    assert outcome.detail
    assert run(HONEST).data == RESULT


LEAKS = {
    "a global": ("globalThis.left = 1;", "return typeof left;"),
    "a variable of sloppy mode": ("left = 1;", "return typeof left;"),
    "a property of Object.prototype": ("Object.prototype.left = 1;", "return typeof {}.left;"),
    "a property of a function": ("Math.sin.left = 1;", "return typeof Math.sin.left;"),
    "a property by definition": (
        "Object.defineProperty(Array.prototype, 'left', { value: 1 });",
        "return typeof [].left;",
    ),
    "a replaced method": ("Array.prototype.push = () => 7;", "return String([].push(1) === 7 ? 1 : undefined);"),
    "a prototype's prototype": ("Object.setPrototypeOf(Map.prototype, { left: 1 });", "return typeof new Map().left;"),
    "what a regular expression matched": ("/(left)/.exec('left');", "return typeof RegExp.$1;"),
    "the place of a shared regular expression": (
        "const r = /l/g; r.exec('left'); RegExp.prototype.lastIndex = 3;",
        "return typeof RegExp.prototype.lastIndex;",
    ),
    "a registered symbol": ("Symbol.for('left').left = 1;", "return typeof Symbol.for('left').left;"),
    "a template's texts": (
        "const tag = (texts) => { texts.left = 1; }; tag`left`;",
        "const tag = (texts) => typeof texts.left; return tag`left`;",
    ),
    "the clock": ("Date.now = () => 5;", "return Date.now() === 0 ? 'undefined' : 'left';"),
    "the console": ("console.left = 1; console.log = 1;", "return typeof console.left;"),
    "an error's prototype": ("Error.prototype.left = 1;", "return typeof new Error().left;"),
    "an override through the setter": (
        "Object.getOwnPropertyDescriptor(Object.prototype, 'toString').set.call(Object.prototype, () => 'left');",
        "return String({}) === '[object Object]' ? 'undefined' : 'left';",
    ),
    "an iterator's method": (
        "Object.getPrototypeOf([][Symbol.iterator]()).next = () => ({ done: true });",
        "return [...[1]].length === 1 ? 'undefined' : 'left';",
    ),
    "a species": (
        "Object.defineProperty(Array, Symbol.species, { get: () => Object });",
        "return Array.isArray([1].map((x) => x)) ? 'undefined' : 'left';",
    ),
    "frozen text encoders": (
        "TextDecoder.prototype.decode = () => 'left';",
        "return new TextDecoder().decode() || 'undefined';",
    ),
}


@pytest.mark.parametrize("name", LEAKS)
def test_nothing_a_chunk_does_is_seen_by_the_next(name: str, run: Run) -> None:
    leave, look = LEAKS[name]
    run(f"try {{ {leave} }} catch {{ }} return 1;")
    assert run(look).data == b"undefined"


def test_top_level_variables_begin_anew_with_each_chunk() -> None:
    source = b"let calls = 0;\nconst seen = [];\nexport default () => { seen.push(++calls); return seen; };"

    async def results(engine: str) -> list[bytes]:
        pool = WorkerPool(1, javascript="v8" if engine == "v8" else "quickjs")
        await pool.start()
        try:
            chunks = [ChunkInput(chunk, b"", 0) for chunk in range(5)]
            outcomes = await pool.execute(
                hashlib.sha256(source).digest(), source, LIMITS, numbers=False, chunks=chunks, runtime="js"
            )
        finally:
            await pool.close()
        return [outcome.data for outcome in outcomes]

    for engine in ENGINES:
        assert asyncio.run(results(engine)) == [b"[1]"] * 5


def test_chance_of_a_chunk_does_not_depend_on_the_chunks_before(run: Run) -> None:
    alone = run("return [Math.random()];")
    run("for (let i = 0; i < 1000; i++) Math.random(); return 1;")
    assert run("return [Math.random()];").data == alone.data


def test_a_worker_with_v8_is_locked_down() -> None:
    async def layers() -> tuple[str, ...]:
        pool = WorkerPool(1, javascript="v8")
        await pool.start()
        try:
            source = HONEST.encode()
            chunks = [ChunkInput(0, b"", 0)]
            (outcome,) = await pool.execute(
                hashlib.sha256(source).digest(), source, LIMITS, numbers=False, chunks=chunks, runtime="js"
            )
            assert outcome.data == RESULT
            children = [slot.child for slot in pool._slots[0].values() if slot.child is not None]
            assert len(children) == 2
            assert children[0].layers == children[1].layers
            return children[1].layers
        finally:
            await pool.close()

    assert "process" in asyncio.run(layers())


def test_sources_that_are_no_text_or_too_long_are_refused(run: Run) -> None:
    assert "source-bytes" in run("export default () => 1;" + " " * 1024 * 1024).detail
    too_nested = run("export default () => " + "(" * 100_000 + "1" + ")" * 100_000)
    assert too_nested.status is Status.NO_RESULT
    assert run(HONEST).data == RESULT
