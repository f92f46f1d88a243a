"""What programs of kernels have in common, whatever drives their device (spec/gpu.md).

    a package --compile--> a kernel --golden vectors--> a program --chunk--> dispatches, each a short one --> result

Runs inside a worker of its own, behind a lockdown that leaves drivers what they need. The text that is compiled comes
from the kernel's tree, never from the task. A program is ready only when its device has reproduced the task's golden
vectors.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from crowdcompute.protocol.errors import ModuleRefused, RemoteProtocolError
from crowdcompute.protocol.gpu import NOT_FINITE, OUT_OF_BOUNDS, PROBED, class_of, open_package, probe
from crowdcompute.protocol.gpu.pacing import GROUPS_FIRST, next_groups

from .engine import Refused
from .frames import NO_RESULT, OK, StatusNumber

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crowdcompute.protocol.gpu import Arrangement, Task

    from .frames import Load
    from .wasi import Keep


class DeviceFailed(Exception):
    """The driver or the device did: what is left of it is good for nothing."""


class KernelEngine(Protocol):
    """An open device."""

    is_spent: bool
    buffer_bytes_max: int
    """The largest array that the device holds."""


EngineT = TypeVar("EngineT", bound=KernelEngine)


class KernelProgram(ABC, Generic[EngineT]):
    """A task's compiled kernel and what its chunks may use."""

    def __init__(self, engine: EngineT, load: Load) -> None:
        self._engine = engine
        self._load = load
        try:
            self._task = open_package(load.module)
        except ModuleRefused as refused:
            raise Refused(str(refused)) from None
        comparison = self._task.comparison
        probed = self._probe() if comparison is not None and comparison.has_classes else None
        self._compile(self._task)
        self._class = b""
        """What each result ends with, where results are compared within classes of devices."""
        proofs = []
        for number, golden in enumerate(self._task.package.golden):
            status, data, detail = self.run(golden.input, 0)
            if status != OK:
                raise Refused(f"golden vector {number} ends without a result on this device: {detail}")
            if not self._task.proves(golden, data):
                raise Refused(f"this device computes {self._task.difference(golden, data)} golden vector {number}")
            proofs.append(data)
        if probed is not None:
            self._class = class_of(probed, proofs)

    def run(
        self, data: bytes, _seed: int, _state: bytes = b"", _keep: Keep | None = None, /
    ) -> tuple[StatusNumber, bytes, str]:
        """Execute one chunk: status, result, detail. A kernel draws nothing, so the seed says nothing."""
        load = self._load
        try:
            chunk = self._task.arrange(
                data, numbers=load.numbers, memory_bytes=load.memory_bytes, output_bytes=load.output_bytes
            )
        except RemoteProtocolError as error:
            return NO_RESULT, b"", str(error)
        if max(*chunk.outputs, len(chunk.input)) > self._engine.buffer_bytes_max:
            return NO_RESULT, b"", "an array is larger than this device can hold"
        try:
            ended, outputs = self._compute(chunk)
        except DeviceFailed as error:
            self._engine.is_spent = True
            return NO_RESULT, b"", f"the device failed: {error}"
        if ended:
            return NO_RESULT, b"", "an index out of bounds" if ended & OUT_OF_BOUNDS else "fuel limit"
        result = b"".join(outputs)
        return (OK, result + self._class, "") if self._task.is_result(result) else (NO_RESULT, b"", NOT_FINITE)

    def close(self) -> None:
        """Nothing to do: buffers live as long as a chunk."""

    def _probe(self) -> bytes:
        """What this device makes of the numbers by which its class is known."""
        task, self._task = self._task, probe()
        try:
            self._compile(self._task)
            ended, (numbers,) = self._compute(PROBED)
        except DeviceFailed as error:
            raise Refused(f"the device fails the probe of its class: {error}") from None
        finally:
            self._task = task
        if ended:
            raise Refused("the device does not end the probe of its class")
        return numbers

    def _dispatch(self, chunk: Arrangement, dispatch: Callable[[int, int], None]) -> None:
        """Run all invocations, in as many dispatches as keep each one short.

        `dispatch(base, groups)` runs so many workgroups from an invocation on, and returns when they are done.
        """
        size = self._task.kernel.workgroup_size
        base, groups = 0, GROUPS_FIRST
        while base < chunk.invocations:
            groups = min(groups, -(-(chunk.invocations - base) // size))
            started = time.perf_counter()
            dispatch(base, groups)
            base += groups * size
            groups = next_groups(groups, time.perf_counter() - started)

    # ---- what a driver does

    @abstractmethod
    def _compile(self, task: Task) -> None:
        """Have the driver compile the kernel.

        Raises:
            Refused: It does not.
        """

    @abstractmethod
    def _compute(self, chunk: Arrangement) -> tuple[int, Sequence[bytes]]:
        """Run all invocations of a chunk: the status word and the outputs.

        Raises:
            DeviceFailed: It does not answer any more.
        """
