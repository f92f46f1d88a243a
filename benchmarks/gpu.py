"""Kernels on this machine's OpenCL device: right, as fast as hand-written ones, and gone when they are to be.

    python -m benchmarks.gpu [--software] [--output FILE]

With `--software` a processor plays the GPU (pocl), which says whether this script works and what guards cost there;
nothing about GPUs. What is measured, all in one run:

- the example gpu_collatz, golden vectors and a chunk, against its fallback and against Python;
- the class of each device by the probe of floats, by OpenCL and by Vulkan: those of one class are alike to the bit;
- seconds for the same numbers: the kernel as nodes run it, the same text without fuel and bounds, a kernel written by
  hand in OpenCL C with 64-bit numbers, and the fallback on one core;
- SHA-256 of 2^18 words and a product of matrices of floats (gpu_kernels.py), likewise;
- the same three by Vulkan, against their WGSL as it stands (gpu_vulkan.py);
- a worker that is killed in the middle of a kernel, and how long until the next one has computed.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import runpy
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyopencl as cl
from benchmarks.gpu_kernels import HASHES, measure, unguarded
from benchmarks.gpu_vulkan import measure as vulkan_kernels

from crowdcompute.node.executors.opencl import OpenCl
from crowdcompute.node.executors.pool import WorkerPool
from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.events import ChunkInput, Status
from crowdcompute.protocol.gpu import CLASS_BYTES, open_package
from crowdcompute.protocol.gpu.compare import Within
from crowdcompute.protocol.gpu.opencl import ENTRY
from crowdcompute.protocol.manifest import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.node.executors.gpu import GpuChoice
    from crowdcompute.protocol.gpu import Arrangement, Task

EXAMPLE = Path(__file__).parents[1] / "examples" / "gpu_collatz"
PACKAGE = (EXAMPLE / "gpu_collatz.kernel").read_bytes()
FLOATS = (EXAMPLE.parent / "gpu_path_trace" / "gpu_path_trace.kernel").read_bytes()
LIMITS = Limits(memory_bytes=1 << 28, output_bytes=1 << 24, seconds=120)
FIRST, NUMBERS = 10**12, 2**20
REPEATS = 5

BY_HAND = """
__kernel void g_main(ulong start, uint count, __global uint *most, __global volatile uint *histogram) {
    uint id = get_global_id(0), first = id * 16u, best = first, best_steps = 0u;
    for (uint offset = first; offset < min(first + 16u, count); offset++) {
        ulong n = start + offset;
        uint steps = 0u;
        while (n > 1u) {
            if (n & 1u) {
                if (n > 0x5555555555555554ul) { steps = 0u; break; }
                n = 3u * n + 1u;
            } else {
                n >>= 1;
            }
            steps++;
        }
        if (steps > best_steps) { best = offset; best_steps = steps; }
        atomic_add(&histogram[min(steps / 64u, 15u)], 1u);
    }
    if (first < count) { most[2u * id] = best; most[2u * id + 1u] = best_steps; }
}
"""


async def through_the_pool(choice: GpuChoice) -> dict[str, Any]:
    """The example as a node executes it: its time, its result, and what a kill costs."""
    pool = WorkerPool(1, gpu=choice)
    await pool.start()
    try:
        if choice != "off" and not pool.gpu.device:
            raise SystemExit(f"there is nothing to measure: {pool.gpu.missing}")
        digest = hashlib.sha256(PACKAGE).digest()

        async def compute(first: int, end: int, limits: Limits = LIMITS) -> tuple[float, Any]:
            chunk = ChunkInput(0, struct.pack("<2q", first, end), 0)
            started = time.perf_counter()
            (outcome,) = await pool.execute(digest, PACKAGE, limits, True, [chunk], "gpu")  # noqa: FBT003
            return time.perf_counter() - started, outcome

        first_s, small = await compute(1, 5_000)
        reference = runpy.run_path(str(EXAMPLE / "reference.py"))
        assert small.data == reference["chunk"](1, 5_000), "the result is not Python's"
        times = [await compute(FIRST, FIRST + NUMBERS) for _ in range(REPEATS)]
        assert {outcome.status for _, outcome in times} == {Status.OK}
        found: dict[str, Any] = {
            "device": pool.gpu.device or "fallback on one core",
            "golden_vectors": len(open_package(PACKAGE).package.golden),
            "first_chunk_s": first_s,
            "seconds": min(seconds for seconds, _ in times),
            "sha256": hashlib.sha256(times[0][1].data).hexdigest(),
        }
        if choice != "off":
            if not pool.gpu.takes(digest):
                raise SystemExit(f"the device does not compute the example: {pool.gpu.refusal(digest)}")
            tight = Limits(memory_bytes=1 << 28, output_bytes=1 << 24, seconds=found["seconds"] / 8)
            _, killed = await compute(FIRST, FIRST + NUMBERS, tight)
            after_s, outcome = await compute(FIRST, FIRST + NUMBERS)
            assert outcome.data == times[0][1].data
            found |= {"killed": killed.detail, "after_the_kill_s": after_s}
        return found
    finally:
        await pool.close()


async def device_class(choice: GpuChoice) -> str:
    """The class in which a device would vote on floats, as its worker measures it; or why it would not."""
    pool = WorkerPool(1, gpu=choice)
    await pool.start()
    try:
        return await _class_in(pool) if pool.gpu.device else f"no device: {pool.gpu.missing}"
    finally:
        await pool.close()


async def _class_in(pool: WorkerPool) -> str:
    package = open_package(FLOATS).package
    within = Within(absolute=0.01, relative=0.0, outliers=0.02)
    outputs = tuple(msgspec.structs.replace(output, compare=within) for output in package.outputs)
    code = encode(msgspec.structs.replace(package, outputs=outputs))
    digest, chunk = hashlib.sha256(code).digest(), ChunkInput(0, package.golden[0].input, 0)
    (outcome,) = await pool.execute(digest, code, LIMITS, True, [chunk], "gpu")  # noqa: FBT003
    if not pool.gpu.takes(digest):
        return f"refused: {pool.gpu.refusal(digest)}"
    return outcome.data[-CLASS_BYTES:].hex() if outcome.status is Status.OK else outcome.detail


def arranged(task: Task, numbers: int) -> Arrangement:
    given = struct.pack("<2q", FIRST, FIRST + numbers)
    return task.arrange(given, numbers=True, memory_bytes=1 << 28, output_bytes=1 << 24)


def in_process(software: bool, clock: Callable[[], float]) -> dict[str, dict[str, float]]:
    """Seconds for the same work on the same device, in one dispatch: guarded, unguarded, by hand."""
    engine = OpenCl(software=software)
    engine.start()
    task = open_package(PACKAGE)
    guarded = task.opencl()
    chunk = arranged(task, NUMBERS)
    rounded = -(-chunk.invocations // 64) * 64
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR

    def measured(source: str, before: tuple[Any, ...], after: tuple[Any, ...]) -> tuple[float, bytes]:
        kernel = cl.Kernel(cl.Program(engine.context, source).build(["-cl-std=CL1.2"]), ENTRY)
        best = float("inf")
        for _ in range(REPEATS):
            outputs = [cl.Buffer(engine.context, flags, hostbuf=np.zeros(size, np.uint8)) for size in chunk.outputs]
            kernel.set_args(*before, *outputs, *after)
            started = clock()
            cl.enqueue_nd_range_kernel(engine.queue, kernel, (rounded,), (64,))
            engine.queue.finish()
            best = min(best, clock() - started)
        data = b""
        for buffer, size in zip(outputs, chunk.outputs, strict=True):
            read = np.empty(size, np.uint8)
            cl.enqueue_copy(engine.queue, read, buffer)
            data += read.tobytes()
        return best, data

    uniform = cl.Buffer(engine.context, flags, hostbuf=np.frombuffer(chunk.uniform, np.uint8))
    status = cl.Buffer(engine.context, flags, hostbuf=np.zeros(4, np.uint8))
    last = (status, np.uint32(0), np.uint32(chunk.invocations), np.uint32(0))
    results = {
        "guarded": measured(guarded, (uniform,), last),
        "unguarded": measured(unguarded(guarded), (uniform,), last),
        "by_hand": measured(BY_HAND, (np.uint64(FIRST), np.uint32(NUMBERS)), ()),
    }
    assert len({data for _, data in results.values()}) == 1, "the kernels do not agree"
    return {"collatz": {name: seconds for name, (seconds, _) in results.items()}, **measure(engine, clock)}


def compared(kernels: dict[str, dict[str, float]]) -> dict[str, Any]:
    return {
        "kernels_s": kernels,
        "derived_against_by_hand": {name: each["by_hand"] / each["guarded"] for name, each in kernels.items()},
        "cost_of_guards": {name: each["guarded"] / each["unguarded"] for name, each in kernels.items()},
    }


def unless_missing(measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is measured by one of the two; or why there is no such device, which is no reason to lose the other's."""
    try:
        return measured()
    except SystemExit as missing:
        return {"missing": str(missing)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--software", action="store_true", help="a processor plays the GPU")
    parser.add_argument("--output", type=Path, help="write the numbers here as JSON")
    arguments = parser.parse_args()
    pooled = asyncio.run(through_the_pool("software" if arguments.software else "on"))
    module = asyncio.run(through_the_pool("off"))
    assert pooled["sha256"] == module["sha256"], "the device and the fallback do not agree"
    # Threads of a processor that plays a device count as they work, whatever else the machine does.
    clock = time.process_time if arguments.software else time.perf_counter
    task = open_package(PACKAGE)
    numbers, hashes = (2**16, 2**15) if arguments.software else (NUMBERS, HASHES)

    choices: tuple[GpuChoice, ...] = ("software", "vulkan-software") if arguments.software else ("on", "vulkan")

    def by_opencl() -> dict[str, Any]:
        return compared(in_process(arguments.software, clock))

    def by_vulkan() -> dict[str, Any]:
        device, kernels = vulkan_kernels(
            software=arguments.software, hashes=hashes, collatz=(task, arranged(task, numbers)), clock=clock
        )
        return {"device": device, "numbers": numbers, "hashes": hashes, **compared(kernels)}

    report = {
        "numbers": NUMBERS,
        "is_a_gpu": not arguments.software,
        "device": pooled,
        "fallback": module,
        "classes": {choice: asyncio.run(device_class(choice)) for choice in choices},
        "opencl": unless_missing(by_opencl),
        "vulkan": unless_missing(by_vulkan),
        "device_against_one_core": module["seconds"] / pooled["seconds"],
    }
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
