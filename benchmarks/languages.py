"""Seconds from `cc-task init` to the first verified result of a changed kernel, in every language there is.

    python benchmarks/languages.py

Every step is what a person does, but for the thinking: init, fetch the compiler (AssemblyScript alone), change the
formula, build, check, publish, and wait until two volunteers have agreed on a chunk. Compilers begin with empty caches.
The network (a signaling server and two nodes on this machine) is there already.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from crowdcompute.creator import Network, Task
from crowdcompute.creator.local_network import LOOPBACK, signaling_server, volunteer

ROOT = Path(__file__).parents[1]
CC_TASK = (sys.executable, "-c", "from crowdcompute.creator.cli import main; raise SystemExit(main())")
CHANGES = {
    "zig": ("kernel.zig", "n *% n", "n *% n *% n"),
    "rust": ("kernel.rs", "n.wrapping_mul(n)", "n.wrapping_mul(n).wrapping_mul(n)"),
    "assemblyscript": ("kernel.ts", "n * n", "n * n * n"),
    "js": ("kernel.js", "n * n", "n * n % 1000"),
    "python": ("kernel.py", "n * n", "n * n * n"),
    "go": ("kernel.go", "uint64(n * n)", "uint64(n * n * n)"),
    "c": ("kernel.c", "(uint64_t)(n * n)", "(uint64_t)(n * n * n)"),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "languages.json")
    options = arguments.parse_args()
    rows = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cc-bench-")))
        join = stack.enter_context(signaling_server(folder))["join"]
        nodes = [stack.enter_context(volunteer(folder, f"node-{number}", join)) for number in range(2)]
        os.environ["CC_HOME"] = str(folder / "creator")
        caches = {"XDG_CACHE_HOME": str(folder / "caches"), "ZIG_GLOBAL_CACHE_DIR": str(folder / "caches" / "zig")}
        network = stack.enter_context(Network(join, hosts=(LOOPBACK,)))
        for language in CHANGES:
            for node in nodes:
                node.check()
            steps = measure(language, folder, network, {**os.environ, **caches})
            rows.append({"language": language, "seconds": round(sum(steps.values()), 1), **steps})
            print(f"{language:15} {rows[-1]['seconds']:6.1f} s   {steps}", flush=True)
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average_5_min": round(os.getloadavg()[1], 1),
        "rows": rows,
    }
    options.output.write_text(json.dumps(report, indent=2) + "\n")


def measure(language: str, folder: Path, network: Network, environment: dict[str, str]) -> dict[str, float]:
    """Seconds of each step."""
    steps: dict[str, float] = {}
    kernel = folder / language

    def step(name: str, *command: str) -> None:
        started = time.monotonic()
        subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        steps[name] = round(time.monotonic() - started, 2)

    step("init", *CC_TASK, "init", language, "--lang", language)
    if (kernel / "package.json").exists():
        step("npm install", "npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(kernel))
    name, old, new = CHANGES[language]
    text = (kernel / name).read_text()
    assert old in text
    (kernel / name).write_text(text.replace(old, new))
    if language != "js":
        step("build", *CC_TASK, "build", language)
    step("check", *CC_TASK, "check", language)
    started = time.monotonic()
    job = network.publish(Task(kernel))
    next(job.results(timeout=120))
    steps["first result"] = round(time.monotonic() - started, 2)
    job.cancel()
    job.wait()
    return steps


if __name__ == "__main__":
    main()
