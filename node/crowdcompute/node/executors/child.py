"""One worker process seen from the pool: started, spoken to in frames, killed.

What a worker says is checked like a stranger's words, since the code inside may have taken it over: whatever is wrong
with it is `WorkerLost`, and the process is to be killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from typing import TYPE_CHECKING, TypeVar

import msgspec

from .engine import DRIVERS
from .frames import LENGTH_BYTES, REPORT_BYTES_MAX, FromWorker, Loaded, Ready, Report, Saved, ToWorker, encode

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable

    from .engine import EngineName

START_S_MAX = 60.0
"""Spawning to ready took 70 ms on an idle machine; a volunteer's may be busy."""
STDERR_BYTES_KEPT = 1_000

T = TypeVar("T", Ready, Loaded, Report)

_decoder = msgspec.msgpack.Decoder(FromWorker)


class WorkerLost(Exception):
    """The worker died or said what it may not say; the message tells which."""


class WorkerSilent(WorkerLost):
    """The worker said nothing in the time it had."""


class Child:
    """A running worker. Make it with `start`; after `WorkerLost`, `kill` it and make another."""

    def __init__(self, process: Process, scratch: tempfile.TemporaryDirectory[str] | None = None) -> None:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self._process = process
        self._input, self._output, self._stderr = process.stdin, process.stdout, process.stderr
        self._stderr_tail = b""
        self._draining = asyncio.create_task(self._drain())
        self._scratch = scratch
        self.layers: tuple[str, ...] = ()
        self.device = ""
        self.devices = 1

    @classmethod
    async def start(cls, engine: EngineName, niceness: int, device: int = 0) -> Child:
        """Spawn a worker with `engine` inside and wait until it is locked down.

        `device` numbers those that the engine can compute on, if there are such.

        Raises:
            WorkerLost: It did not get that far. Nothing is left running.
        """
        # Nothing of our environment is the guest's business; what Python and the linker need to find us is.
        environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        scratch = None
        if engine in DRIVERS:
            # A folder of its own, gone with the worker: what a compiler leaves there is code that nobody else may run.
            scratch = tempfile.TemporaryDirectory(prefix="crowdcompute-", ignore_cleanup_errors=True)
            environment |= {name: scratch.name for name in ("CROWDCOMPUTE_SCRATCH", "HOME", "TMPDIR", "POCL_CACHE_DIR")}
            environment["PATH"] = "/usr/bin:/bin"  # pocl links with ld
            # Which drivers and devices there are is for whoever runs the node to say.
            environment |= {
                name: os.environ[name] for name in ("VK_DRIVER_FILES", "POCL_DEVICES") if name in os.environ
            }
        module = "crowdcompute.node.executors.worker"
        command = (sys.executable, "-P", "-m", module, str(os.getpid()), str(niceness), engine, str(device))
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
                # Ctrl-C in the terminal is for the node, which then decides about its workers.
                start_new_session=os.name == "posix",
            )
        except OSError as error:
            raise WorkerLost(f"worker not started: {error}") from None
        child = cls(process, scratch)
        try:
            ready = await child.receive(Ready, START_S_MAX)
            child.layers, child.device, child.devices = ready.layers, ready.device, ready.devices
        except BaseException as error:
            await child.kill()
            if isinstance(error, WorkerSilent):
                raise WorkerLost(f"worker not ready in {START_S_MAX:g} s: {child.last_words()}") from None
            raise
        return child

    @property
    def pid(self) -> int:
        return self._process.pid

    async def send(self, message: ToWorker) -> None:
        """Write one frame.

        Raises:
            WorkerLost: The worker is dead.
        """
        frame = encode(message)
        try:
            self._input.write(frame)
            await self._input.drain()
        except (OSError, RuntimeError):
            # RuntimeError is uvloop's word for a pipe that it has closed, as it does when it hears of a death first.
            raise WorkerLost(await self._how_it_died()) from None

    async def receive(self, kind: type[T], timeout_s: float, on_saved: Callable[[Saved], None] | None = None) -> T:
        """The next frame, which must be of type `kind`. Savepoints before it go to `on_saved`, and win no time.

        Raises:
            WorkerSilent: Nothing came in `timeout_s`.
            WorkerLost: The worker is dead, or what came is something else.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while isinstance(message := await self._next(), Saved) and on_saved is not None:
                    on_saved(message)
        except TimeoutError:
            raise WorkerSilent(f"worker silent for {timeout_s:g} s") from None
        except (asyncio.IncompleteReadError, OSError):
            raise WorkerLost(await self._how_it_died()) from None
        if not isinstance(message, kind):
            raise WorkerLost(f"worker misbehaved: it sent {type(message).__name__} instead of {kind.__name__}")
        return message

    async def _next(self) -> FromWorker:
        length = int.from_bytes(await self._output.readexactly(LENGTH_BYTES), "little")
        if length > REPORT_BYTES_MAX:
            raise WorkerLost("worker misbehaved: it announced a frame that is too long")
        body = await self._output.readexactly(length)
        try:
            message: FromWorker = _decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise WorkerLost("worker misbehaved: it sent a frame that cannot be read") from None
        return message

    def terminate(self) -> None:
        """Kill at once; whoever waits for a frame gets `WorkerLost`. `kill` must still follow."""
        if self._process.returncode is not None:
            return
        if os.name == "posix":
            # Not Process.kill(): it looks first whether the process is dead, and so takes the exit status that the
            # event loop's watcher waits for.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        else:
            self._process.kill()

    async def kill(self) -> None:
        """Kill, and wait until the process is gone and its pipes are closed."""
        self.terminate()
        self._input.close()
        await self._process.wait()
        await asyncio.wait([self._draining])
        if self._scratch is not None:
            self._scratch.cleanup()

    def last_words(self) -> str:
        """The end of what the worker wrote to stderr: Python's or the engine's own complaint."""
        return " ".join(self._stderr_tail.decode(errors="replace").split())

    async def _drain(self) -> None:
        while piece := await self._stderr.read(4_096):
            self._stderr_tail = (self._stderr_tail + piece)[-STDERR_BYTES_KEPT:]

    async def _how_it_died(self) -> str:
        """Its pipe is closed, so it is dying; make sure of it and read the signs."""
        await self.kill()
        code = self._process.returncode or 0
        name = signal.Signals(-code).name if code < 0 and -code in set(signal.Signals) else f"exit code {code}"
        return f"worker died: {name} {self.last_words()}".rstrip()
