"""Random kernels by OpenCL and by wgpu: whether both drivers take them, and end them alike.

    python -m benchmarks.gpu_fuzz [--kernels 200] [--seed 1] [--software]

OpenCL C is our translation, wgpu's compiler is naga, which reads the guarded WGSL: what differs is a fault of one of
them. With `--software` pocl and a Vulkan driver that is none of Mesa's play the devices, such as Chromium's
(LD_LIBRARY_PATH=/usr/lib/chromium VK_DRIVER_FILES=/usr/lib/chromium/vk_swiftshader_icd.json).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import struct
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from tests.node.random_kernels import FUNCTIONS, Kernels
from tests.node.test_gpu_executor import LIMITS, kernel

from crowdcompute.node.executors.pool import WorkerPool
from crowdcompute.protocol.events import ChunkInput

if TYPE_CHECKING:
    from crowdcompute.node.executors.gpu import GpuChoice
    from crowdcompute.protocol.events import ChunkOutcome


async def outcomes(choice: GpuChoice, packages: list[bytes]) -> tuple[str, list[tuple[str, ChunkOutcome]]]:
    """What a device makes of each package: why it refuses it, and how its chunk ends."""
    pool = WorkerPool(1, gpu=choice)
    await pool.start()
    try:
        if not pool.gpu.device:
            raise SystemExit(f"there is nothing to compare: {pool.gpu.missing}")
        ended = []
        for package in packages:
            digest = hashlib.sha256(package).digest()
            chunk = ChunkInput(0, struct.pack("<2q", 5, 69), 0)
            (outcome,) = await pool.execute(digest, package, LIMITS, True, [chunk], "gpu")  # noqa: FBT003
            ended.append((pool.gpu.refusal(digest), outcome))
        return pool.gpu.device, ended
    finally:
        await pool.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--software", action="store_true", help="processors play the GPUs")
    arguments = parser.parse_args()
    rng = Random(arguments.seed)
    statements = [Kernels(rng).statements() for _ in range(arguments.kernels)]
    packages = [kernel(f"if (start != 0u) {{ {each} }}", before=FUNCTIONS, fuel=300) for each in statements]
    choices: tuple[GpuChoice, ...] = ("software", "vulkan-software") if arguments.software else ("on", "vulkan")
    devices, ended = zip(*(asyncio.run(outcomes(choice, packages)) for choice in choices), strict=True)
    differing = [number for number, (one, other) in enumerate(zip(*ended, strict=True)) if one != other]
    refused = [number for number in range(len(packages)) if any(each[number][0] for each in ended)]
    print(
        json.dumps(
            {
                "devices": devices,
                "kernels": len(packages),
                "seed": arguments.seed,
                "refused": len(refused),
                "ended": Counter(outcome.detail or "a result" for _, outcome in ended[0]),
                "differing": len(differing),
            },
            indent=1,
        )
    )
    for number in [*refused, *differing][:3]:
        print(statements[number], *(each[number] for each in ended), sep="\n")


if __name__ == "__main__":
    main()
