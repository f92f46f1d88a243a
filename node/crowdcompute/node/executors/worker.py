"""A worker: the child process in which strangers' code is compiled and runs.

Started by the pool as `python -m crowdcompute.node.executors.worker PARENT_PID NICENESS ENGINE DEVICE`. It makes its
engine, locks itself down, and serves frames (frames.py) on stdin and stdout until its stdin closes. It holds no key, no
file and no socket.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from . import lockdown
from .engine import Refused
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
    Saved,
    ToWorker,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from .engine import Engine, Program
    from .wasi import Keep


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

    def leave(self) -> None:
        """The batch ends here, unfinished: send what has been done of it."""
        with self._lock:
            self._running.clear()
            self._send(done=False)

    def finish(self) -> None:
        """The batch is over: send the rest."""
        with self._lock:
            self._running.clear()
            self._send(done=True)

    def saving(self, chunk: int, every_s: float | None, watched: dict[int, bytes]) -> Keep | None:
        """What takes the savepoints of a chunk that begins now; the hashes of those `watched` are put there."""
        if every_s is None and not watched:
            return None
        due_at = math.inf if every_s is None else time.monotonic() + every_s

        def keep(number: int, state: Callable[[], bytes]) -> None:
            nonlocal due_at
            if number in watched:
                watched[number] = hashlib.sha256(state()).digest()
            now = time.monotonic()
            if every_s is not None and now >= due_at:
                due_at = now + every_s
                with self._lock:
                    _write(self._output, encode(Saved(chunk, number, state())))

        return keep

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


def serve(source: BinaryIO, reporter: Reporter, engine: Engine) -> None:
    """Answer frames from `source` until it ends, or the engine is spent and the pool has to start another."""
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
                programs.pop(program).close()
            case Run(program, chunks, cautious, save_every_s):
                run = programs[program].run
                reporter.begin()
                for chunk, data, seed, state, numbers in chunks:
                    watched = dict.fromkeys(numbers, b"")
                    keep = reporter.saving(chunk, save_every_s, watched)
                    status, result, detail = run(data, seed, state, keep)
                    states = [watched[number] for number in numbers]
                    reporter.add(Outcome(chunk, status, result, detail, states), now=cautious)
                    if engine.is_spent and chunk != chunks[-1][0]:
                        reporter.leave()
                        return
                reporter.finish()
                if engine.is_spent:
                    return


def _load(engine: Engine, programs: dict[int, Program], load: Load) -> str:
    """Compile what `load` holds; the reason when the engine refuses it."""
    if hashlib.sha256(load.module).digest() != load.digest:
        return "the module's bytes are not those named"
    try:
        programs[load.program] = engine.compile(load)
    except Refused as refused:
        return str(refused)
    return ""


def make_engine(name: str, device: int = 0) -> Engine:
    """The engine `name`, on the device of this number where it has some.

    No other is imported: what a worker does not have inside, nobody breaks out through.
    """
    if name == "v8":
        from .v8 import V8

        return V8()
    if name == "quickjs":
        from .quickjs import QuickJs

        return QuickJs()
    if name in ("opencl", "opencl-software"):
        from .opencl import OpenCl

        return OpenCl(software=name == "opencl-software", number=device)
    if name in ("webgpu", "webgpu-software"):
        from .webgpu import WebGpu

        return WebGpu(software=name == "webgpu-software", number=device)
    from .wasm import Wasmtime

    return Wasmtime()


def _write(output: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(output, rest) :]


def main() -> None:
    parent_pid, niceness = map(int, sys.argv[1:3])
    name = sys.argv[3]
    if niceness and hasattr(os, "nice"):
        os.nice(niceness)
    source = open(0, "rb", buffering=1 << 16, closefd=False)  # noqa: SIM115  # for the life of the process
    reporter = Reporter(1)
    engine = make_engine(name, int(sys.argv[4]))

    def start_threads() -> None:
        reporter.start()
        engine.start()

    scratch = os.environ.get("CROWDCOMPUTE_SCRATCH")
    driver = None if scratch is None else lockdown.Driver(scratch)
    layers = lockdown.apply(parent_pid=parent_pid, start_threads=start_threads, driver=driver)
    reporter.say(Ready(layers, getattr(engine, "device", ""), getattr(engine, "devices", 1)))
    serve(source, reporter, engine)


if __name__ == "__main__":
    main()
