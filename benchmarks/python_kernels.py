"""What a kernel in Python costs: the size of its module, the wait for it, an instance, and its speed beside CPython's.

    python benchmarks/python_kernels.py

Everything in one process, on wasmtime as in a worker; the same functions then run in the Python that runs this.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING

from crowdcompute.creator.python import make_module
from crowdcompute.node.executors.wasm import Program, make_engine
from crowdcompute.protocol.wasm import admit, rewrite

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parent / "results" / "python_kernels.json"
IMPORTS = ("", "math", "random", "json", "collections", "re", "typing", "decimal", "statistics", "dataclasses")
KERNEL = """
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

def floats(n):
    total = 0.0
    for i in range(1, n):
        total += 1.0 / (i * i) if i % 3 else i ** 0.5
    return total

def words(n):
    found = {}
    for i in range(n):
        word = str(i * 7919 % 10007)
        found[word] = found.get(word, 0) + 1
    return sorted(found.items())[:3]

def integers(n):
    value = 3
    for _ in range(n):
        value = value * value % (2**521 - 1)
    return value

WORK = {"fib": (fib, 23), "floats": (floats, 200_000), "words": (words, 60_000), "integers": (integers, 20_000)}

def main(data):
    if not data:
        return b""
    function, n = WORK[data.decode()]
    return repr(function(n))
"""


def seconds(function: Callable[[], object], times: int = 3) -> float:
    best = float("inf")
    for _ in range(times):
        started = time.process_time()
        function()
        best = min(best, time.process_time() - started)
    return best


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--output", type=Path, default=RESULTS)
    options = arguments.parse_args()
    make_module(b"def main(data): pass")  # the interpreter is compiled once, and kept in the user's cache folder
    modules = {}
    for name in IMPORTS:
        importing = f"import {name}\n" if name else ""
        modules[name or "no imports"] = len(rewrite(make_module(f"{importing}def main(data): pass".encode())))
    source = KERNEL.encode()
    module = rewrite(make_module(source))
    build_s = seconds(lambda: rewrite(make_module(source)))
    admit_s = seconds(lambda: admit(module))
    engine = make_engine()
    started = time.process_time()
    program = Program(engine, module, memory_bytes=64 * 2**20, output_bytes=100_000, numbers=False)
    compile_s = time.process_time() - started
    instance_s = seconds(lambda: [program.run(b"", 0) for _ in range(100)]) / 100
    here: dict[str, object] = {}
    exec(KERNEL, here)
    speed = {}
    for name, (function, n) in here["WORK"].items():  # type: ignore[attr-defined]
        assert program.run(name.encode(), 0)[1].decode() == repr(function(n)), name
        inside = seconds(lambda name=name: program.run(name.encode(), 0)) - instance_s  # type: ignore[misc]
        outside = seconds(lambda function=function, n=n: function(n))  # type: ignore[misc]
        speed[name] = round(inside / outside, 2)
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average_1_min": round(os.getloadavg()[0], 1),
        "module_bytes_with_import": modules,
        "cpu_seconds": {
            "build": round(build_s, 2),
            "admission": round(admit_s, 2),
            "compile": round(compile_s, 2),
            "instance": round(instance_s, 5),
        },
        "times_as_long_as_cpython": speed,
    }
    print(json.dumps(report, indent=2))
    options.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
