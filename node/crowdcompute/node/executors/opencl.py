"""Kernels on an OpenCL device of this machine (kernels.py, spec/gpu.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyopencl as cl

from crowdcompute.protocol.gpu.opencl import ENTRY

from .engine import Refused
from .kernels import DeviceFailed, KernelProgram

if TYPE_CHECKING:
    from crowdcompute.protocol.gpu import Arrangement, Task

    from .frames import Load

_OUTPUT = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
_INPUT = cl.mem_flags.READ_ONLY | cl.mem_flags.COPY_HOST_PTR


class OpenCl:
    """The engine of a worker: one device of this machine.

    Args:
        software: Take a processor that plays a device, instead of a GPU. It computes the same, more slowly than a
            module would: for tests.
        number: Which of them, the one that computes most at a time being 0.
    """

    is_spent = False

    def __init__(self, *, software: bool, number: int = 0) -> None:
        self._number = number
        self._kind = cl.device_type.CPU if software else cl.device_type.GPU | cl.device_type.ACCELERATOR
        self.device = ""
        self.devices = 0

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
        usable.sort(key=lambda each: -each.max_compute_units * each.max_clock_frequency)
        found = [(each, context) for each in usable if (context := _context(each)) is not None]
        if len(found) <= self._number:
            raise SystemExit("there is no OpenCL device of this kind that compiles anything")
        device, context = found[self._number]
        self.devices = len(found)
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


def _context(device: cl.Device) -> cl.Context | None:
    """To work with a device whose driver is what it says: one was seen that does not know its own processor."""
    try:
        context = cl.Context([device])
        cl.Program(context, "__kernel void f(__global uint *a) { a[0] = 1u; }").build(cache_dir=False)  # type: ignore[arg-type]
    except cl.Error:
        return None
    return context


class Program(KernelProgram[OpenCl]):
    """A kernel that an OpenCL driver has compiled."""

    def _compile(self, task: Task) -> None:
        engine = self._engine
        try:
            built = cl.Program(engine.context, task.opencl()).build(engine.options, cache_dir=False)  # type: ignore[arg-type]
            self._kernel = cl.Kernel(built, ENTRY)
        except cl.Error as error:
            raise Refused(f"the driver does not compile the kernel: {error}") from None

    def _compute(self, chunk: Arrangement) -> tuple[int, list[bytes]]:
        try:
            given = [self._buffer(_INPUT, each) for each in (chunk.uniform, chunk.input) if each]
            outputs = [self._buffer(_OUTPUT, bytes(size)) for size in chunk.outputs]
            status = self._buffer(_OUTPUT, bytes(4))
            size, queue = self._task.kernel.workgroup_size, self._engine.queue
            numbers = np.uint32(chunk.invocations), np.uint32(chunk.input_elements)

            def dispatch(base: int, groups: int) -> None:
                self._kernel.set_args(*given, *outputs, status, np.uint32(base), *numbers)
                cl.enqueue_nd_range_kernel(queue, self._kernel, (groups * size,), (size,))
                queue.finish()

            self._dispatch(chunk, dispatch)
            return int.from_bytes(self._read(status, 4), "little"), list(map(self._read, outputs, chunk.outputs))
        except cl.Error as error:
            raise DeviceFailed(str(error)) from None

    def _buffer(self, flags: int, data: bytes) -> cl.Buffer:
        return cl.Buffer(self._engine.context, flags, hostbuf=np.frombuffer(data, np.uint8))

    def _read(self, buffer: cl.Buffer, size: int) -> bytes:
        data = np.empty(size, np.uint8)
        cl.enqueue_copy(self._engine.queue, data, buffer)
        return data.tobytes()
