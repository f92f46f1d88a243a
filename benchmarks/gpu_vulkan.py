"""The kernels of gpu_kernels.py and gpu_collatz by Vulkan, guarded and as their source stands: for benchmarks/gpu.py.

WGSL has no 64-bit numbers and no guard of ours to leave out by hand, so a hand-written kernel is the source itself,
which wgpu compiles as anybody's. What naga adds by itself, such as its own bounds, both have.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import wgpu
from benchmarks.gpu_kernels import FUEL, PRODUCT_WGSL, SHA256_WGSL, SIZE, unguarded

from crowdcompute.node.executors.webgpu import WebGpu
from crowdcompute.protocol.gpu import parse
from crowdcompute.protocol.gpu.wgsl import ENTRY, RUN_BINDING, STATUS_BINDING, guarded_wgsl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from crowdcompute.protocol.gpu import Arrangement, Task

REPEATS = 5
GROUP = 64
_USAGE = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.UNIFORM | wgpu.BufferUsage.COPY_SRC


class Work(NamedTuple):
    """A kernel, and what it computes with."""

    source: str
    shares: tuple[int, ...]
    buffers: Mapping[int, tuple[str, bytes]]
    """By binding: what kind it is, and what is in it."""
    invocations: int
    elements: int
    """Of its input."""


def measure(
    *, software: bool, hashes: int, collatz: tuple[Task, Arrangement], clock: Callable[[], float]
) -> tuple[str, dict[str, dict[str, float]]]:
    """The device, and for each kernel the seconds: guarded, unguarded, by hand. They have to agree to the byte.

    Raises:
        SystemExit: There is no device.
    """
    engine = WebGpu(software=software)
    engine.start()
    task, chunk = collatz
    factors = np.random.default_rng(1).uniform(-1, 1, (2, SIZE, SIZE)).astype(np.float32)
    outputs = {2 - at: ("storage", bytes(size)) for at, size in enumerate(chunk.outputs[::-1])}
    works = {
        "collatz": Work(
            task.package.source.decode(), task.shares, {0: ("uniform", chunk.uniform), **outputs}, chunk.invocations, 0
        ),
        "sha256": Work(SHA256_WGSL, (2,), {0: ("storage", bytes(8 * hashes))}, hashes, 0),
        "matrix_product": Work(
            PRODUCT_WGSL,
            (1,),
            {0: ("read-only-storage", factors.tobytes()), 1: ("storage", bytes(4 * SIZE * SIZE))},
            SIZE * SIZE,
            factors.size,
        ),
    }
    return engine.device, {name: _measured(engine.gpu, work, clock) for name, work in works.items()}


def _measured(gpu: Any, work: Work, clock: Callable[[], float]) -> dict[str, float]:
    guarded = guarded_wgsl(parse(work.source.encode()), FUEL, work.shares)
    seconds, results = {}, set()
    for name, text in (("guarded", guarded), ("unguarded", unguarded(guarded)), ("by_hand", work.source)):
        seconds[name], result = _run(gpu, work, text, is_ours=name != "by_hand", clock=clock)
        results.add(result)
    assert len(results) == 1, "the kernels do not agree"
    return seconds


def _run(gpu: Any, work: Work, text: str, *, is_ours: bool, clock: Callable[[], float]) -> tuple[float, bytes]:
    run = struct.pack("<4I", 0, work.invocations, work.elements, 0)
    guards = {STATUS_BINDING: ("storage", bytes(4)), RUN_BINDING: ("uniform", run)}
    layouts: list[Any] = []
    groups: list[tuple[Any, dict[int, Any]]] = []
    for given in (work.buffers, guards) if is_ours else (work.buffers,):
        made = {at: gpu.create_buffer_with_data(data=data, usage=_USAGE) for at, (_, data) in given.items()}
        entries = [
            {"binding": at, "visibility": wgpu.ShaderStage.COMPUTE, "buffer": {"type": kind}}
            for at, (kind, _) in given.items()
        ]
        layouts.append(gpu.create_bind_group_layout(entries=entries))
        bound = [
            {"binding": at, "resource": {"buffer": each, "offset": 0, "size": each.size}} for at, each in made.items()
        ]
        groups.append((gpu.create_bind_group(layout=layouts[-1], entries=bound), made))
    pipeline = gpu.create_compute_pipeline(
        layout=gpu.create_pipeline_layout(bind_group_layouts=layouts),
        compute={"module": gpu.create_shader_module(code=text), "entry_point": ENTRY if is_ours else "main"},
    )
    own = groups[0][1]
    outputs = [own[at] for at, (kind, _) in work.buffers.items() if kind == "storage"]
    best = float("inf")
    result = b""
    for _ in range(REPEATS):
        started = clock()
        encoder = gpu.create_command_encoder()
        compute = encoder.begin_compute_pass()
        compute.set_pipeline(pipeline)
        for number, (group, _) in enumerate(groups):
            compute.set_bind_group(number, group)
        compute.dispatch_workgroups(-(-work.invocations // GROUP))
        compute.end()
        gpu.queue.submit([encoder.finish()])
        gpu.queue.read_buffer(outputs[0], 0, 4)
        best = min(best, clock() - started)
        # Atomics add up over repeats: what the first one left is compared.
        result = result or b"".join(bytes(gpu.queue.read_buffer(each)) for each in outputs)
    return best, result
