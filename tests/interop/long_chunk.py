"""One long chunk that writes a savepoint after each of its rounds: a command, so that it has a place for them."""

from __future__ import annotations

ROUNDS = 40

_WAT = """
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1 1)
  (func (export "_start") (local $left i32) (local $x i64)
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 16))
    (drop (call $read (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 16)))
    (block $done (loop $round
      (br_if $done (i64.ge_u (i64.load (i32.const 64)) (i64.const ROUNDS)))
      (local.set $x (i64.load (i32.const 72)))
      (local.set $left (i32.const STEPS))
      (loop $again
        (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005))
                               (i64.const 1442695040888963407)))
        (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
      (i64.store (i32.const 72) (local.get $x))
      (i64.store (i32.const 64) (i64.add (i64.load (i32.const 64)) (i64.const 1)))
      (drop (call $write (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 16)))
      (br $round)))
    (i32.store (i32.const 0) (i32.const 72)) (i32.store (i32.const 4) (i32.const 8))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))
"""


def long_chunk(steps: int, rounds: int = ROUNDS) -> str:
    """What steps `rounds` times `steps` numbers of the generator of conftest.spun, from 0, in a module's text."""
    return _WAT.replace("STEPS", str(steps)).replace("ROUNDS", str(rounds))
