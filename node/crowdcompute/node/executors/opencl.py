"""Execute GPU tasks on an OpenCL device (spec/gpu.md).

Runs inside a worker of its own, behind a lockdown that leaves drivers what they need. The text that is compiled comes
from the kernel's tree (crowdcompute.protocol.gpu.opencl), never from the task. A program is ready only when this
device has reproduced the task's golden vectors.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pyopencl as cl

from crowdcompute.protocol.errors import ModuleRefused, RemoteProtocolError
from crowdcompute.protocol.gpu import NOT_FINITE, OUT_OF_BOUNDS, open_package
from crowdcompute.protocol.gpu.opencl import ENTRY
from crowdcompute.protocol.gpu.pacing import GROUPS_FIRST, next_groups

from .engine import Refused
from .frames import NO_RESULT, OK, StatusNumber

if TYPE_CHECKING:
    from .frames import Load
    from .wasi import Keep

_OUTPUT = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
_INPUT = cl.mem_flags.READ_ONLY | cl.mem_flags.COPY_HOST_PTR


class OpenCl:
    """The engine of a worker: one device of this machine.

    Args:
        software: Take a processor that plays a device, instead of a GPU. It computes the same, more slowly than a
            module would: for tests.
    """

    is_spent = False

    def __init__(self, *, software: bool) -> None:
        self._kind = cl.device_type.CPU if software else cl.device_type.GPU | cl.device_type.ACCELERATOR
        self.device = ""

    def start(self) -> None:
        """Open the device; its driver starts threads.

        Raises:
            SystemExit: There is none.
        """
        try:
            devices = [each for platform in cl.get_platforms() for each in platform.get_devices(self._kind)]
        except cl.Error as error:
            raise SystemExit(f"no OpenCL driver answers: {error}") from None
        usable = [each for each in devices if each.available and each.compiler_available and each.endian_little]
        # The one that computes most at a time comes first: a laptop may have two.
        for device in sorted(usable, key=lambda each: -each.max_compute_units * each.max_clock_frequency):
            context = cl.Context([device])
            if _compiles(context):
                break
        else:
            raise SystemExit("there is no OpenCL device of this kind that compiles anything")
        self.device = f"{device.name.strip()}, {device.platform.name.strip()} {device.driver_version.strip()}"
        self.context = context
        self.queue = cl.CommandQueue(self.context)
        self.buffer_bytes_max = device.max_mem_alloc_size
        self.options = ["-cl-std=CL1.2"]
        if device.single_fp_config & cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT:
            # What every device can round alike, it should.
            self.options.append("-cl-fp32-correctly-rounded-divide-sqrt")

    def compile(self, load: Load) -> Program:
        """Compile the package of `load`, and have the device prove itself.

        Raises:
            Refused: The driver does not take it, or the device computes something else.
        """
        return Program(self, load)


def _compiles(context: cl.Context) -> bool:
    """Whether the driver is what it says: one was seen that does not know its own processor."""
    try:
        cl.Program(context, "__kernel void f(__global uint *a) { a[0] = 1u; }").build(cache_dir=False)  # type: ignore[arg-type]
    except cl.Error:
        return False
    return True


class Program:
    """A task's compiled kernel and what its chunks may use."""

    def __init__(self, engine: OpenCl, load: Load) -> None:
        self._engine = engine
        self._load = load
        try:
            self._task = open_package(load.module)
            built = cl.Program(engine.context, self._task.opencl()).build(engine.options, cache_dir=False)  # type: ignore[arg-type]
            self._kernel = cl.Kernel(built, ENTRY)
        except ModuleRefused as refused:
            raise Refused(str(refused)) from None
        except cl.Error as error:
            raise Refused(f"the driver does not compile the kernel: {error}") from None
        for number, golden in enumerate(self._task.package.golden):
            status, data, detail = self.run(golden.input, 0)
            if status != OK:
                raise Refused(f"golden vector {number} ends without a result on this device: {detail}")
            if not self._task.proves(golden, data):
                raise Refused(f"this device computes {self._task.difference(golden, data)} golden vector {number}")

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
            given = [self._buffer(_INPUT, each) for each in (chunk.uniform, chunk.input) if each]
            outputs = [self._buffer(_OUTPUT, bytes(size)) for size in chunk.outputs]
            status = self._buffer(_OUTPUT, bytes(4))
            self._dispatch([*given, *outputs, status], chunk.invocations, chunk.input_elements)
            (ended,) = np.frombuffer(self._read(status, 4), np.uint32)
            if ended:
                why = "an index out of bounds" if ended & OUT_OF_BOUNDS else "fuel limit"
                return NO_RESULT, b"", why
            result = b"".join(map(self._read, outputs, chunk.outputs))
            return (OK, result, "") if self._task.is_result(result) else (NO_RESULT, b"", NOT_FINITE)
        except cl.Error as error:
            self._engine.is_spent = True
            return NO_RESULT, b"", f"the device failed: {error}"

    def close(self) -> None:
        """Nothing to do: buffers live as long as a chunk."""

    def _dispatch(self, buffers: list[cl.Buffer], invocations: int, input_elements: int) -> None:
        """Run all invocations, in as many dispatches as keep each one short."""
        size = self._task.kernel.workgroup_size
        base, groups = 0, GROUPS_FIRST
        while base < invocations:
            items = min(groups * size, -(-(invocations - base) // size) * size)
            self._kernel.set_args(*buffers, np.uint32(base), np.uint32(invocations), np.uint32(input_elements))
            started = time.perf_counter()
            cl.enqueue_nd_range_kernel(self._engine.queue, self._kernel, (items,), (size,))
            self._engine.queue.finish()
            groups = next_groups(groups, time.perf_counter() - started)
            base += items

    def _buffer(self, flags: int, data: bytes) -> cl.Buffer:
        return cl.Buffer(self._engine.context, flags, hostbuf=np.frombuffer(data, np.uint8))

    def _read(self, buffer: cl.Buffer, size: int) -> bytes:
        data = np.empty(size, np.uint8)
        cl.enqueue_copy(self._engine.queue, data, buffer)
        return data.tobytes()
