"""A worker: the child process in which strangers' code is compiled and runs.

Started by the pool as `python -m crowdcompute.node.executors.worker PARENT_PID NICENESS`. It imports, locks itself
down, and serves frames (frames.py) on stdin and stdout until its stdin closes. It holds no key, no file and no socket.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from typing import BinaryIO

import msgspec
import wasmtime

from . import lockdown
from .frames import (
    LENGTH_BYTES,
    REPORT_BYTES,
    REPORT_INTERVAL_S,
    Forget,
    FromWorker,
    Load,
    Loaded,
    Outcome,
    Ready,
    Report,
    Run,
    ToWorker,
    encode,
)
from .wasm import Program, Refused, make_engine


class Reporter:
    """Gathers outcomes and sends them in few frames, yet never keeps one longer than about REPORT_INTERVAL_S.

    A thread sends what has gathered while a long chunk runs: wasmtime lets go of Python's lock meanwhile.
    """

    def __init__(self, output: int) -> None:
        self._output = output
        self._lock = threading.Lock()
        self._running = threading.Event()
        self._gathered: list[Outcome] = []
        self._gathered_bytes = 0
        self._sent_at = 0.0

    def start(self) -> None:
        """Start the thread, which the lockdown makes impossible later."""
        threading.Thread(target=self._watch, daemon=True).start()

    def begin(self) -> None:
        """A batch starts."""
        self._sent_at = time.monotonic()
        self._running.set()

    def add(self, outcome: Outcome, *, now: bool) -> None:
        with self._lock:
            self._gathered.append(outcome)
            self._gathered_bytes += len(outcome.data)
            if now or self._gathered_bytes >= REPORT_BYTES or time.monotonic() - self._sent_at >= REPORT_INTERVAL_S:
                self._send(done=False)

    def finish(self) -> None:
        """The batch is over: send the rest."""
        with self._lock:
            self._running.clear()
            self._send(done=True)

    def say(self, message: FromWorker) -> None:
        _write(self._output, encode(message))

    def _send(self, *, done: bool) -> None:
        report = Report(self._gathered, done)
        self._gathered, self._gathered_bytes, self._sent_at = [], 0, time.monotonic()
        _write(self._output, encode(report))

    def _watch(self) -> None:
        while self._running.wait():
            time.sleep(REPORT_INTERVAL_S)
            with self._lock:
                if self._gathered and time.monotonic() - self._sent_at >= REPORT_INTERVAL_S:
                    self._send(done=False)


def serve(source: BinaryIO, reporter: Reporter, engine: wasmtime.Engine) -> None:
    """Answer frames from `source` until it ends."""
    decoder = msgspec.msgpack.Decoder(ToWorker)
    programs: dict[int, Program] = {}
    while len(header := source.read(LENGTH_BYTES)) == LENGTH_BYTES:
        length = int.from_bytes(header, "little")
        body = source.read(length)
        if len(body) < length:
            return  # the pool is gone
        match decoder.decode(body):
            case Load() as load:
                reporter.say(Loaded(_load(engine, programs, load)))
            case Forget(program):
                programs.pop(program, None)
            case Run(program, chunks, cautious):
                run = programs[program].run
                reporter.begin()
                for chunk, data, seed in chunks:
                    reporter.add(Outcome(chunk, *run(data, seed)), now=cautious)
                reporter.finish()


def _load(engine: wasmtime.Engine, programs: dict[int, Program], load: Load) -> str:
    """Compile what `load` holds; the reason when the engine refuses it."""
    if hashlib.sha256(load.module).digest() != load.digest:
        return "the module's bytes are not those named"
    try:
        programs[load.program] = Program(
            engine,
            load.module,
            memory_bytes=load.memory_bytes,
            output_bytes=load.output_bytes,
            numbers=load.numbers,
        )
    except Refused as refused:
        return str(refused)
    return ""


def _write(output: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(output, rest) :]


def main() -> None:
    parent_pid, niceness = map(int, sys.argv[1:3])
    if niceness and hasattr(os, "nice"):
        os.nice(niceness)
    source = open(0, "rb", buffering=1 << 16, closefd=False)  # noqa: SIM115  # for the life of the process
    engine = make_engine()
    reporter = Reporter(1)
    layers = lockdown.apply(parent_pid=parent_pid, start_threads=reporter.start)
    reporter.say(Ready(layers))
    serve(source, reporter, engine)


if __name__ == "__main__":
    main()
