"""Chunks that go on where they were: after a kill, in another worker, in another process (spec/modules.md)."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
import wasmtime

from crowdcompute.creator.cli import main
from crowdcompute.node.executors.pool import WorkerPool
from crowdcompute.node.executors.wasm import Program, make_engine
from crowdcompute.node.store.savepoints import FILES_MAX, SavepointStore
from crowdcompute.protocol.events import ChunkInput, Status
from crowdcompute.protocol.manifest import Limits
from crowdcompute.protocol.wasm import rewrite

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.protocol.events import ChunkOutcome

EXAMPLES = Path(__file__).parents[2] / "examples"
ROUNDS = 30
STEADY = """
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (memory (export "memory") 1 1)
  (func (export "_start") (local $left i32)
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 32))
    (drop (call $read (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 16)))
    (if (i64.ge_u (i64.load (i32.const 64)) (i64.const ROUNDS)) (then return))
    (loop $round
      (local.set $left (i32.const STEPS))
      (loop $again
        (i64.store (i32.const 72) (i64.add (i64.mul (i64.load (i32.const 72)) (i64.const 6364136223846793005))
                                           (i64.const 1442695040888963407)))
        (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
      (drop (call $random (i32.const 80) (i32.const 8)))
      (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 88)))
      (i32.store (i32.const 8) (i32.const 128)) (i32.store (i32.const 12) (i32.const 1))
      (drop (call $read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 16)))
      (i64.store (i32.const 72) (i64.xor (i64.load (i32.const 72)) (i64.load8_u (i32.const 128))))
      (i64.store (i32.const 64) (i64.add (i64.load (i32.const 64)) (i64.const 1)))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
      (drop (call $write (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 16)))
      (br_if $round (i64.lt_u (i64.load (i32.const 64)) (i64.const ROUNDS))))))
"""
"""Each round computes, draws, reads the clock and a byte of input, writes all of it out, and a savepoint."""

LIMITS = Limits(memory_bytes=65_536, output_bytes=10_000, seconds=60.0)
CHUNK = ChunkInput(3, bytes(range(100)), 12_345)
TASK = b"\7" * 32


def module(steps: int) -> bytes:
    return rewrite(bytes(wasmtime.wat2wasm(STEADY.replace("STEPS", str(steps)).replace("ROUNDS", str(ROUNDS)))))


class Watched:
    """A store that tells when something is saved, and remembers the rounds."""

    def __init__(self, store: SavepointStore) -> None:
        self._store = store
        self.rounds: list[int] = []
        self.saved = asyncio.Event()

    def load(self, chunk: int) -> bytes:
        return self._store.load(TASK, chunk)

    def save(self, chunk: int, number: int, state: bytes) -> None:
        self._store.save(TASK, chunk, state)
        assert number == state[-1], "a small number is its own last byte"
        # The first of the kernel's own words, little-endian, behind what says how long they are.
        self.rounds.append(state[state.index(b"\xc4\x20") + 2])
        self.saved.set()


def in_one_process(code: bytes, state: bytes = b"") -> tuple[bytes, list[bytes]]:
    """What a chunk gives, and all states it could go on from."""
    program = Program(make_engine(), code, memory_bytes=65_536, output_bytes=10_000, numbers=False)
    states: list[bytes] = []
    status, result, detail = program.run(CHUNK.data, CHUNK.seed, state, lambda _, make: states.append(make()))
    assert Status(status) is Status.OK, detail
    return result, states


def test_from_every_savepoint_on_a_chunk_gives_the_same_bytes(
    expect_vectors: Callable[[str, object], None],
) -> None:
    code = module(1)
    result, states = in_one_process(code)
    assert len(states) == ROUNDS
    for number, state in enumerate(states):
        assert in_one_process(code, state) == (result, states[number + 1 :])
    expect_vectors(
        "savepoints",
        {
            "about": "A command that writes a savepoint a round (module: base64), its result, and some of its states "
            "to go on from; see protocol/spec/modules.md, section Savepoints. Numbers of 64 bits are text.",
            "module": base64.b64encode(code).decode(),
            "input": CHUNK.data.hex(),
            "seed": str(CHUNK.seed),
            "output_bytes": 10_000,
            "result": result.hex(),
            "rounds": ROUNDS,
            "states": [as_vector(number, states[number]) for number in (0, 7, ROUNDS - 1)],
        },
    )


def as_vector(number: int, state: bytes) -> dict[str, object]:
    savepoint, output, stdin_position, clock_ns, random_state, written = msgspec.msgpack.decode(state)
    return {
        "number": written,
        "state": state.hex(),
        "savepoint": savepoint.hex(),
        "output": output.hex(),
        "stdin_position": stdin_position,
        "clock_ns": str(clock_ns),
        "random_state": str(random_state),
    }


async def execute(pool: WorkerPool, code: bytes, savepoints: Watched | None = None) -> ChunkOutcome:
    digest = sha256(code).digest()
    (outcome,) = await pool.execute(digest, code, LIMITS, False, [CHUNK], savepoints=savepoints)  # noqa: FBT003
    return outcome


def test_a_chunk_that_was_killed_goes_on_and_gives_the_same_bytes(tmp_path: Path) -> None:
    code = module(1_000_000)

    async def scenario() -> None:
        store = SavepointStore(tmp_path / "savepoints")
        first = WorkerPool(1, save_every_s=0.0)
        await first.start()
        killed = Watched(store)
        running = asyncio.ensure_future(execute(first, code, killed))
        await killed.saved.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await first.close()
        assert store.begun() == {TASK: (3,)}
        second = WorkerPool(1, save_every_s=0.0)
        await second.start()
        gone_on = Watched(store)
        outcome = await execute(second, code, gone_on)
        assert second.describe().resumed == 1
        scratch = await execute(second, code)
        await second.close()
        assert outcome == scratch
        assert outcome.status is Status.OK
        assert len(outcome.data) == 32 * ROUNDS
        # It began after the last round that was kept, and not with the first.
        assert gone_on.rounds[0] > killed.rounds[-1] > 0

    asyncio.run(scenario())


def cc_task(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_the_example_goes_on_and_check_tries_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(EXAMPLES / "long_collatz", tmp_path / "task")
    task = folder / "task.toml"
    task.write_text(task.read_text().replace("[1, 2_000_000_001, 250_000_000]", "[1, 300_001, 150_000]"))
    assert cc_task("build", folder) == 0
    assert cc_task("check", folder) == 0
    assert "the same results from a savepoint on" in capsys.readouterr().out
    assert cc_task("run", folder, "--local", "-o", tmp_path / "out") == 0
    longest = max(range(1, 150_001), key=collatz_steps)
    assert json.loads((tmp_path / "out" / "000000.bin").read_text()) == {
        "longest": longest,
        "steps": collatz_steps(longest),
    }


@cache
def collatz_steps(number: int) -> int:
    steps = 0
    while number > 1:
        number = 3 * number + 1 if number % 2 else number // 2
        steps += 1
    return steps


def test_check_refuses_a_program_whose_savepoint_lacks_something(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # It never reads its savepoint, so what it had written is written again.
    forgetful = STEADY.replace("(drop (call $read (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 16)))", "")
    (tmp_path / "kernel.wasm").write_bytes(
        wasmtime.wat2wasm(forgetful.replace("STEPS", "1").replace("ROUNDS", str(ROUNDS)))
    )
    (tmp_path / "task.toml").write_text(
        'schema = 1\nname = "x"\n[code]\nmodule = "kernel.wasm"\n[split]\nrange = [0, 2, 1]\n'
    )
    with pytest.raises(SystemExit):
        cc_task("check", tmp_path)
    said = capsys.readouterr()
    assert "DIFFERENT results" in said.out
    assert "gave another result when it went on from its savepoint" in said.err


def test_short_chunks_are_not_saved(tmp_path: Path) -> None:
    async def scenario() -> None:
        pool = WorkerPool(1)
        await pool.start()
        watched = Watched(SavepointStore(tmp_path / "savepoints"))
        assert (await execute(pool, module(1), watched)).status is Status.OK
        await pool.close()
        assert not watched.rounds

    asyncio.run(scenario())


def test_a_state_that_cannot_be_read_costs_a_worker_and_no_result(tmp_path: Path) -> None:
    store = SavepointStore(tmp_path / "savepoints")
    store.save(TASK, 3, b"nonsense")

    async def scenario() -> None:
        pool = WorkerPool(1)
        await pool.start()
        code = module(1)
        assert await execute(pool, code, Watched(store)) == await execute(pool, code)
        assert pool.describe().workers_lost == 1
        await pool.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda _: b"", lambda data: bytes(32) + data[32:]])
def test_a_damaged_file_counts_as_none(tmp_path: Path, damage: object) -> None:
    store = SavepointStore(tmp_path)
    store.save(TASK, 1, b"state")
    assert store.load(TASK, 1) == b"state"
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    assert store.load(TASK, 1) == b""


def test_the_store_keeps_what_is_of_use(tmp_path: Path) -> None:
    store = SavepointStore(tmp_path / "new")
    assert store.begun() == {}
    for chunk in range(FILES_MAX + 3):
        store.save(TASK, chunk, bytes([chunk % 256]))
    assert sum(map(len, store.begun().values())) == FILES_MAX
    store.save(b"\1" * 32, 0, b"other")
    store.keep_only([b"\1" * 32])
    assert store.begun() == {b"\1" * 32: (0,)}
    store.drop(b"\1" * 32, 0)
    assert store.load(b"\1" * 32, 0) == b""
    assert store.begun() == {}
