"""Both compilers of WGSL that there are, asked whether they take a text: naga, which wgpu has, and Chromium's tint.

python -m tests.node.compilers       a line of JSON, a text, in; a line out: why naga refuses it, or ""
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

CHROMIUM = Path("/usr/lib/chromium")
SWIFTSHADER = {
    "LD_LIBRARY_PATH": str(CHROMIUM),
    "VK_DRIVER_FILES": str(CHROMIUM / "vk_swiftshader_icd.json"),
}
"""What makes Chromium's SwiftShader a Vulkan device of a process that is started with it."""
TINT = """async (texts) => {
    const device = await (await navigator.gpu.requestAdapter()).requestDevice();
    const found = [];
    for (const code of texts) {
        device.pushErrorScope("validation");
        const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
        await device.popErrorScope();
        found.push(messages.filter(({ type }) => type === "error").map(({ message }) => message).join("; "));
    }
    return found;
}"""


def naga(texts: Sequence[str]) -> list[str]:
    """Why naga refuses each text; empty where it takes it, and what it died of where it did."""
    found: list[str] = []
    while len(found) < len(texts):
        asked = "".join(f"{json.dumps(text)}\n" for text in texts[len(found) :])
        ended = subprocess.run(
            [sys.executable, "-m", "tests.node.compilers"], input=asked, capture_output=True, text=True,
            env={**os.environ, **SWIFTSHADER}, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        found += [json.loads(line) for line in ended.stdout.splitlines()]
        if ended.returncode:
            if not ended.stdout:
                raise RuntimeError(f"naga does not start: {ended.stderr}")
            found.append(f"naga died: {ended.stderr[-300:]}")
    return found[: len(texts)]


def tint(page: Any, texts: Sequence[str]) -> list[str]:
    """Why tint refuses each text; empty where it takes it. `page` is one of Chromium's that has WebGPU."""
    found: list[str] = page.evaluate(TINT, list(texts))
    return found


def main() -> None:
    import wgpu
    from wgpu.backends import wgpu_native  # noqa: F401  # what wgpu does by itself, but later

    (adapter, *_) = [each for each in wgpu.gpu.enumerate_adapters_sync() if each.info["backend_type"] == "Vulkan"]
    device = adapter.request_device_sync()
    for line in sys.stdin:
        try:
            device.create_shader_module(code=json.loads(line))
            why = ""
        except (wgpu.GPUError, RuntimeError) as error:
            why = str(error)
        print(json.dumps(why), flush=True)


if __name__ == "__main__":
    main()
