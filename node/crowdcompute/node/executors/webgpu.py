"""Kernels on a device that wgpu drives: Vulkan, Metal or Direct3D, where OpenCL is missing (kernels.py, spec/gpu.md).

It gets the same guarded WGSL as browsers.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import wgpu
from wgpu.backends import wgpu_native  # noqa: F401  # reads its library now, before the lockdown

from crowdcompute.protocol.gpu.wgsl import ENTRY, RUN_BINDING, STATUS_BINDING

from .engine import Refused
from .kernels import DeviceFailed, KernelProgram

if TYPE_CHECKING:
    from crowdcompute.protocol.gpu import Arrangement, Task

    from .frames import Load

BACKENDS = ("Vulkan", "Metal", "D3D12")
"""OpenGL's compute is a guest in a driver for pictures."""
_STORAGE = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC
_UNIFORM = wgpu.BufferUsage.UNIFORM | wgpu.BufferUsage.COPY_DST


class WebGpu:
    """The engine of a worker: one device of this machine.

    Args:
        software: Take a processor that plays a device, instead of a GPU: for tests.
        number: Which of them, those with memory of their own being first.
    """

    is_spent = False

    def __init__(self, *, software: bool, number: int = 0) -> None:
        self._software = software
        self._number = number
        self.device = ""
        self.devices = 0

    def start(self) -> None:
        """Open the device; its driver starts threads.

        Raises:
            SystemExit: There is none.
        """
        adapters = [each for each in wgpu.gpu.enumerate_adapters_sync() if self._is_wanted(each.info)]
        adapters.sort(key=lambda each: each.info["adapter_type"] != "DiscreteGPU")
        # One device may be there by two of the system's interfaces: those of the first one are counted.
        adapters = [each for each in adapters if each.info["backend_type"] == adapters[0].info["backend_type"]]
        if len(adapters) <= self._number:
            raise SystemExit("there is no Vulkan, Metal or Direct3D device of this kind")
        adapter = adapters[self._number]
        self.devices = len(adapters)
        try:
            self.gpu = adapter.request_device_sync()
        except RuntimeError as error:
            raise SystemExit(f"the device does not open: {error}") from None
        self.buffer_bytes_max = int(self.gpu.limits["max-storage-buffer-binding-size"])
        info = adapter.info
        self.device = f"{info['device'].strip()}, {info['backend_type']} {info['description'].strip()}".strip()

    def _is_wanted(self, info: Any) -> bool:
        is_software = info["adapter_type"] == "CPU"
        # llvmpipe ends loops after 65,535 turns without a word (research: gpu, section 4).
        return info["backend_type"] in BACKENDS and is_software == self._software and "llvmpipe" not in info["device"]

    def compile(self, load: Load) -> Program:
        """Compile the package of `load`, and have the device prove itself.

        Raises:
            Refused: The driver does not take it, or the device computes something else.
        """
        return Program(self, load)


class Program(KernelProgram[WebGpu]):
    """A kernel that wgpu has compiled."""

    def _compile(self, task: Task) -> None:
        gpu, kernel = self._engine.gpu, task.kernel
        own = {each.binding: "storage" for each in kernel.outputs}
        if kernel.uniform:
            own[kernel.uniform_binding] = "uniform"
        if kernel.input is not None:
            own[kernel.input.binding] = "read-only-storage"
        try:
            module = gpu.create_shader_module(code=task.wgsl())
            self._layouts = [_layout(gpu, own), _layout(gpu, {STATUS_BINDING: "storage", RUN_BINDING: "uniform"})]
            self._pipeline = gpu.create_compute_pipeline(
                layout=gpu.create_pipeline_layout(bind_group_layouts=self._layouts),
                compute={"module": module, "entry_point": ENTRY},
            )
        except (wgpu.GPUError, RuntimeError) as error:
            raise Refused(f"the driver does not compile the kernel: {error}") from None

    def _compute(self, chunk: Arrangement) -> tuple[int, list[bytes]]:
        gpu, kernel = self._engine.gpu, self._task.kernel
        try:
            own = {}
            if kernel.uniform:
                own[kernel.uniform_binding] = gpu.create_buffer_with_data(data=chunk.uniform, usage=_UNIFORM)
            if kernel.input is not None:
                own[kernel.input.binding] = gpu.create_buffer_with_data(data=chunk.input, usage=_STORAGE)
            outputs = [gpu.create_buffer_with_data(data=bytes(size), usage=_STORAGE) for size in chunk.outputs]
            own |= {each.binding: buffer for each, buffer in zip(kernel.outputs, outputs, strict=True)}
            status = gpu.create_buffer_with_data(data=bytes(4), usage=_STORAGE)
            run = gpu.create_buffer(size=16, usage=_UNIFORM)
            groups_of = [
                _bound(gpu, layout, buffers)
                for layout, buffers in zip(
                    self._layouts, (own, {STATUS_BINDING: status, RUN_BINDING: run}), strict=True
                )
            ]

            def dispatch(base: int, groups: int) -> None:
                gpu.queue.write_buffer(run, 0, struct.pack("<4I", base, chunk.invocations, chunk.input_elements, 0))
                encoder = gpu.create_command_encoder()
                work = encoder.begin_compute_pass()
                work.set_pipeline(self._pipeline)
                for number, group in enumerate(groups_of):
                    work.set_bind_group(number, group)
                work.dispatch_workgroups(groups)
                work.end()
                gpu.queue.submit([encoder.finish()])
                # Waits for what was submitted. wgpu's own way to do so fails (0.32, a callback of another type).
                gpu.queue.read_buffer(status)

            self._dispatch(chunk, dispatch)
            (ended,) = struct.unpack("<I", gpu.queue.read_buffer(status))
            return ended, [bytes(gpu.queue.read_buffer(each)) for each in outputs]
        except (wgpu.GPUError, RuntimeError) as error:
            raise DeviceFailed(str(error)) from None


def _layout(gpu: Any, bindings: dict[int, str]) -> Any:
    compute = wgpu.ShaderStage.COMPUTE
    return gpu.create_bind_group_layout(
        entries=[
            {"binding": binding, "visibility": compute, "buffer": {"type": type_}}
            for binding, type_ in bindings.items()
        ]
    )


def _bound(gpu: Any, layout: Any, buffers: dict[int, Any]) -> Any:
    return gpu.create_bind_group(
        layout=layout,
        entries=[
            {"binding": binding, "resource": {"buffer": buffer, "offset": 0, "size": buffer.size}}
            for binding, buffer in buffers.items()
        ],
    )
