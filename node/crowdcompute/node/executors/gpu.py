"""Where kernels are executed on this machine: its GPU, or nowhere, with the reason."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.events import ChunkOutcome, Status
from crowdcompute.protocol.gpu import MODULE, NOT_FINITE, open_package

from .engine import has_opencl, has_webgpu

if TYPE_CHECKING:
    from crowdcompute.protocol.events import ChunkInput
    from crowdcompute.protocol.gpu import Golden, Task
    from crowdcompute.protocol.manifest import Limits

    from .engine import EngineName

GpuChoice: TypeAlias = Literal["on", "off", "software", "vulkan", "vulkan-software"]
"""Software is a processor that plays a GPU, more slowly than a module would: nobody's choice but a test's. `vulkan` is
what a machine without OpenCL has."""

REFUSALS_KEPT = 256


DEVICES_MAX = 8
"""Of one machine: each has a worker process with a driver inside."""


class GpuPlace:
    """What is known of this machine's GPUs."""

    def __init__(self, choice: GpuChoice) -> None:
        self.engines = _engines(choice)
        """Looked at in this order for a device."""
        self.devices: list[str] = []
        """Their names, once their workers are ready."""
        self.missing = ""
        """Why there is none, as far as it is known."""
        if choice == "off":
            self.missing = "turned off"
        elif not self.engines:
            self.missing = "pip install 'crowdcompute[gpu]' to use one, or 'crowdcompute[wgpu]' where OpenCL is missing"
        self._refusals: OrderedDict[bytes, str] = OrderedDict()

    @property
    def device(self) -> str:
        """What computes kernels here; empty when nothing does."""
        return " and ".join(self.devices)

    def takes(self, package: bytes) -> bool:
        """Whether kernels of the package of this digest go to the GPU."""
        return bool(self.devices) and package not in self._refusals

    def refuses(self, package: bytes, why: str) -> None:
        """The driver does not compile the kernel, or the device gets a golden vector wrong."""
        self._refusals[package] = why
        if len(self._refusals) > REFUSALS_KEPT:
            self._refusals.popitem(last=False)

    def refusal(self, package: bytes) -> str:
        """Why the GPU does not take the package; empty when nothing speaks against it."""
        return self._refusals.get(package, "")

    def lost(self, device: str, why: str) -> None:
        """A device's worker died and none starts any more: a driver was updated, a card unplugged."""
        self.devices.remove(device)
        self.missing = why


def _engines(choice: GpuChoice) -> tuple[EngineName, ...]:
    """What this installation has of what a choice allows."""
    found: list[EngineName] = []
    if has_opencl() and choice in ("on", "software"):
        found.append("opencl" if choice == "on" else "opencl-software")
    if has_webgpu() and choice != "off":
        found.append("webgpu" if choice in ("on", "vulkan") else "webgpu-software")
    return tuple(found)


@lru_cache(maxsize=8)
def read_package(code: bytes) -> Task:
    """`open_package`, which takes a while, remembered.

    Raises:
        ModuleRefused: It is no package that any peer executes.
    """
    return open_package(code)


def as_a_kernels(
    task: Task, limits: Limits, chunk: ChunkInput, outcome: ChunkOutcome, *, numbers: bool
) -> ChunkOutcome:
    """What a fallback made of a chunk, without a result where no device could have that one."""
    try:
        arranged = task.arrange(
            chunk.data, numbers=numbers, memory_bytes=limits.memory_bytes, output_bytes=limits.output_bytes
        )
    except RemoteProtocolError as error:
        return ChunkOutcome(chunk.chunk, Status.NO_RESULT, b"", str(error))
    expected = sum(arranged.outputs)
    if outcome.status is not Status.OK:
        return outcome
    if len(outcome.data) != expected:
        why = f"the fallback's result has {len(outcome.data)} bytes, a kernel's {expected}"
        return ChunkOutcome(chunk.chunk, Status.NO_RESULT, b"", why)
    if not task.is_result(outcome.data):
        return ChunkOutcome(chunk.chunk, Status.NO_RESULT, b"", NOT_FINITE)
    has_classes = task.comparison is not None and task.comparison.has_classes
    return outcome._replace(data=outcome.data + MODULE) if has_classes else outcome


def reproduces(golden: Golden, outcome: ChunkOutcome) -> bool:
    return outcome.status is Status.OK and hashlib.sha256(outcome.data).digest() == golden.sha256
