"""Random kernels by OpenCL, by wgpu and in Chromium: whether all take them, and end them as they may.

    python -m benchmarks.gpu_fuzz [--kernels 200] [--damaged 2000] [--seed 1] [--software] [--chromium] [--output FILE]

Three questions, each with kernels of its own, the same for the same seed:

- **integers**: every device ends a kernel of whole numbers with the same bytes, and kernel_reference.py too;
- **floats**: every number is one that WGSL allows (kernel_reference.py); half of the kernels let compilers reorder;
- **damaged**: what our grammar takes of kernels with a word exchanged is taken by naga and by Chromium's tint, as
  it stands and as the guard prints it.

OpenCL C is our translation, wgpu's compiler is naga: what differs is a fault of one of them. It is made smaller,
statement by statement, and printed. With `--software` pocl and SwiftShader play the devices; `--chromium` starts a
Chromium with WebGPU beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from tests.node.compilers import SWIFTSHADER, naga, tint
from tests.node.damaged_kernels import DamagedKernels
from tests.node.kernel_reference import computed, strayed
from tests.node.random_kernels import FLOAT_FUNCTIONS, FUNCTIONS, NUMBERS, FloatKernels, Kernels
from tests.node.test_gpu_executor import LIMITS, kernel, many_floats

from crowdcompute.node.executors.pool import WorkerPool
from crowdcompute.protocol.errors import ModuleRefused
from crowdcompute.protocol.events import ChunkInput
from crowdcompute.protocol.gpu import OUT_OF_BOUNDS, open_package
from crowdcompute.protocol.gpu.wgsl import ENTRY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crowdcompute.node.executors.gpu import GpuChoice

FIRST, INTEGERS_END, FLOATS_END = 5, 69, 37
SHOWN = 3
WHOLE_KERNELS = tuple(
    path.read_text() for path in sorted((Path(__file__).parents[1] / "tests" / "protocol" / "kernels").glob("*.wgsl"))
)
RUN = """async ([code, uniform, size, invocations]) => {
    window.device ??= await (await navigator.gpu.requestAdapter()).requestDevice();
    const { device } = window, { UNIFORM, STORAGE, COPY_DST, COPY_SRC, MAP_READ } = GPUBufferUsage;
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ code });
    const compute = { module, entryPoint: "ENTRY" };
    const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute });
    const filled = (words) => {
        const made = device.createBuffer({ size: 4 * words.length, usage: UNIFORM | COPY_DST });
        device.queue.writeBuffer(made, 0, Uint32Array.from(words));
        return { buffer: made };
    };
    const zeros = (size) => ({ buffer: device.createBuffer({ size, usage: STORAGE | COPY_SRC }) });
    const out = zeros(size), status = zeros(4);
    const bound = (group, resources) => device.createBindGroup({ layout: pipeline.getBindGroupLayout(group),
        entries: resources.map((resource, binding) => ({ binding, resource })) });
    const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bound(0, [filled(uniform), out]));
    pass.setBindGroup(1, bound(1, [status, filled([0, invocations, 0, 0])]));
    pass.dispatchWorkgroups(Math.ceil(invocations / 64));
    pass.end();
    const read = device.createBuffer({ size: size + 4, usage: MAP_READ | COPY_DST });
    encoder.copyBufferToBuffer(out.buffer, 0, read, 0, size);
    encoder.copyBufferToBuffer(status.buffer, 0, read, size, 4);
    device.queue.submit([encoder.finish()]);
    const error = await device.popErrorScope();
    if (error !== null) throw new Error(error.message);
    await read.mapAsync(GPUMapMode.READ);
    return btoa(String.fromCharCode(...new Uint8Array(read.getMappedRange())));
}""".replace("ENTRY", ENTRY)

Ended = tuple[str, bytes]
"""Why there is no result, or the result."""


class Pools:
    """A device of this machine."""

    def __init__(self, choice: GpuChoice) -> None:
        self._runner = asyncio.Runner()
        self._pool = self._runner.run(self._start(choice))
        self.name = self._pool.gpu.device
        if not self.name:
            raise SystemExit(f"there is nothing to compare: {self._pool.gpu.missing}")

    async def _start(self, choice: GpuChoice) -> WorkerPool:
        pool = WorkerPool(1, gpu=choice)
        await pool.start()
        return pool

    def run(self, package: bytes, end: int) -> Ended:
        digest = hashlib.sha256(package).digest()
        chunk = ChunkInput(0, struct.pack("<2q", FIRST, end), 0)
        executed = self._pool.execute(digest, package, LIMITS, True, [chunk], "gpu")  # noqa: FBT003
        (outcome,) = self._runner.run(executed)
        return self._pool.gpu.refusal(digest) or outcome.detail, outcome.data

    def close(self) -> None:
        self._runner.run(self._pool.close())
        self._runner.close()


class Chromium:
    """WebGPU in a headless Chromium, which takes SwiftShader for its device. Playwright gets a thread for its loop."""

    name = "Chromium, WebGPU"

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._page = self._there(self._open)

    def _there(self, call: Callable[[], Any]) -> Any:
        return self._thread.submit(call).result()

    def _open(self) -> Any:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(
            executable_path="/usr/bin/chromium", chromium_sandbox=False, args=["--enable-unsafe-webgpu"]
        )
        page = self._browser.new_page()
        page.route("http://localhost/", lambda route: route.fulfill(body="<p>", content_type="text/html"))
        page.goto("http://localhost/")
        return page

    def refusals(self, texts: Sequence[str]) -> list[str]:
        found: list[str] = self._there(lambda: tint(self._page, texts))
        return found

    def run(self, package: bytes, end: int) -> Ended:
        task = open_package(package)
        chunk = task.arrange(struct.pack("<2q", FIRST, end), numbers=True, memory_bytes=1 << 26, output_bytes=1 << 24)
        words = struct.unpack(f"<{len(chunk.uniform) // 4}I", chunk.uniform)
        given = [task.wgsl(), words, chunk.outputs[0], chunk.invocations]
        data = base64.b64decode(self._there(lambda: self._page.evaluate(RUN, given)))
        (status,) = struct.unpack("<I", data[-4:])
        return (detail(status), b"") if status else ("", data[:-4])

    def close(self) -> None:
        self._there(self._browser.close)
        self._there(self._playwright.stop)
        self._thread.shutdown()


def detail(status: int) -> str:
    return "an index out of bounds" if status & OUT_OF_BOUNDS else "fuel limit"


def whole(statements: str) -> bytes:
    return kernel(f"if (start != 0u) {{ {statements} }}", before=FUNCTIONS, fuel=300)


def of_floats(statements: str) -> bytes:
    return many_floats(statements, FLOAT_FUNCTIONS, NUMBERS)


def integers_differ(devices: Sequence[Any], package: bytes) -> str:
    """How devices, or the reference, disagree on a kernel of whole numbers."""
    ended = {device.name: device.run(package, INTEGERS_END) for device in devices}
    allowed = computed(open_package(package), struct.pack("<2q", FIRST, INTEGERS_END))
    assert allowed.is_decided, "whole numbers have one value"
    why = detail(allowed.status) if allowed.status else ""
    words = [0 if each is None else each for each in allowed.words]
    ended["reference"] = why, b"" if why else struct.pack(f"<{len(words)}I", *words)
    return (
        "" if len(set(ended.values())) == 1 else repr({name: (why, len(data)) for name, (why, data) in ended.items()})
    )


def floats_differ(devices: Sequence[Any], package: bytes) -> str:
    """What a device makes of a kernel of floats that none may."""
    task = open_package(package)
    for device in devices:
        why, data = device.run(package, FLOATS_END)
        if why:
            return f"{device.name}: {why}"
        if found := strayed(task, struct.pack("<2q", FIRST, FLOATS_END), data):
            return f"{device.name}: {'; '.join(found[:4])}"
    return ""


def smaller(statements: str, differs: Callable[[str], str]) -> str:
    """The same with as few lines as still differ."""
    lines = statements.splitlines()
    at = len(lines) - 1
    while at >= 0:
        without = lines[:at] + lines[at + 1 :]
        try:
            if differs("\n".join(without)):
                lines = without
        except ModuleRefused:
            pass  # A line needs this one.
        at -= 1
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", type=int, default=200, help="of whole numbers, and as many of floats")
    parser.add_argument("--damaged", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--software", action="store_true", help="processors play the GPUs")
    parser.add_argument("--chromium", action="store_true", help="compare with Chromium's WebGPU as well")
    parser.add_argument("--output", type=Path, help="write the numbers here as JSON")
    arguments = parser.parse_args()
    if arguments.software and os.environ.get("VK_DRIVER_FILES") is None:
        # The loader reads LD_LIBRARY_PATH when a process starts: workers are others.
        os.environ.update(SWIFTSHADER)
    choices: tuple[GpuChoice, ...] = ("software", "vulkan-software") if arguments.software else ("on", "vulkan")
    with ExitStack() as stack:
        devices: list[Any] = [Pools(choice) for choice in choices]
        for device in devices:
            stack.callback(device.close)
        browser = Chromium() if arguments.chromium else None
        if browser is not None:
            stack.callback(browser.close)
            devices.append(browser)
        report: dict[str, Any] = {"seed": arguments.seed, "devices": [each.name for each in devices]}
        rng = Random(arguments.seed)
        of_integers = [Kernels(rng).statements() for _ in range(arguments.kernels)]
        report["integers"] = compared(of_integers, lambda each: integers_differ(devices, whole(each)))
        free, opaque = (FloatKernels(rng, is_opaque=is_opaque) for is_opaque in (False, True))
        with_floats = [(opaque if number % 2 else free).statements() for number in range(arguments.kernels)]
        report["floats"] = compared(with_floats, lambda each: floats_differ(devices, of_floats(each)))
        report["damaged"] = refused(DamagedKernels(rng, WHOLE_KERNELS), arguments.damaged, browser)
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text + "\n")


def compared(kernels: Sequence[str], differs: Callable[[str], str]) -> dict[str, Any]:
    """How many differ; the first of them are made smaller and shown."""
    differing = [each for each in kernels if differs(each)]
    for each in differing[:SHOWN]:
        least = smaller(each, differs)
        print(least, differs(least), sep="\n", end="\n\n")
    return {"kernels": len(kernels), "differing": len(differing)}


def refused(kernels: DamagedKernels, count: int, browser: Chromium | None) -> dict[str, Any]:
    """How many of what is a kernel here compilers refuse, as it stands or guarded."""
    texts = [text for pair in kernels.accepted(count) for text in pair]
    said = {"naga": naga(texts)} | ({} if browser is None else {"tint": browser.refusals(texts)})
    found: dict[str, Any] = {"kernels": count}
    for name, answers in said.items():
        bad = [(text, why) for text, why in zip(texts, answers, strict=True) if why]
        found[f"refused by {name}"] = len(bad)
        for text, why in bad[:SHOWN]:
            print(f"{name}: {why}", text, sep="\n", end="\n\n")
    return found


if __name__ == "__main__":
    main()
