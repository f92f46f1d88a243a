"""Chunks per second through `crowdcompute.creator.Executor`, beside the executors people know, in one run.

    python benchmarks/executor.py        pip install ray distributed, to have them in the table

Each maps a function over `--calls` numbers with two workers, and makes one call alone to a warm pool. Ours
calls a WebAssembly kernel in locked-down processes: once (`ThisMachine`), or on a network of two volunteers that both
compute every chunk and vote, until all futures have settled (`Network`; certificates come after). The others call a
Python function that is busy for as much CPU time, and believe what comes back.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wasmtime

from crowdcompute.creator import Executor, Kernel, Network, ThisMachine
from crowdcompute.creator.local_network import LOOPBACK, signaling_server, volunteer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
WORKERS = 2
RUNS = {"no-op": 1, "1 ms": 1_000_000}
"""Steps of the loop: a multiplication and an addition each, about a nanosecond in WebAssembly."""
KERNEL = """(module (memory (export "memory") 1)
  (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "cc_run") (param i32 i32) (result i64) (local i64 i64)
    (local.set 2 (i64.load (i32.const 1024))) (local.set 3 (i64.const STEPS))
    (loop (local.set 2 (i64.add (i64.mul (local.get 2) (i64.const 6364136223846793005)) (i64.const 1)))
      (br_if 0 (i64.ne (local.tee 3 (i64.sub (local.get 3) (i64.const 1))) (i64.const 0))))
    (i64.store (i32.const 1024) (local.get 2))
    (i64.const 0x40000000008)))"""


@dataclass
class Row:
    executor: str
    chunk: str
    executions_per_chunk: float
    chunks_per_s: float
    one_call_s: float


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--calls", type=int, default=10_000)
    arguments.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "executor.json")
    options = arguments.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="cc-bench-") as folder:
        for chunk, steps in RUNS.items():
            calls = options.calls if steps == 1 else options.calls // 5
            cpu_s = kernel_s(bytes(wasmtime.wat2wasm(KERNEL.replace("STEPS", str(steps)))))
            kernel = make_kernel(Path(folder) / chunk.replace(" ", "-"), steps)
            for name, executions, opened in EXECUTORS:
                with contextlib.suppress(ImportError), opened(kernel, cpu_s) as (run, one):
                    one(1)
                    started = time.monotonic()
                    one(2)
                    alone_s = time.monotonic() - started
                    started = time.monotonic()
                    run(calls)
                    rows.append(
                        Row(name, chunk, executions, round(calls / (time.monotonic() - started), 1), round(alone_s, 4))
                    )
                    print(
                        f"{name:22} {chunk:6} {rows[-1].chunks_per_s:10,.0f} chunks/s  {alone_s:8.4f} s alone",
                        flush=True,
                    )
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    load = os.getloadavg()[1]
    report = {"machine": machine, "load_average_5_min": round(load, 1), "rows": [asdict(row) for row in rows]}
    options.output.write_text(json.dumps(report, indent=2) + "\n")


def make_kernel(folder: Path, steps: int) -> Kernel[bytes]:
    folder.mkdir()
    (folder / "kernel.wasm").write_bytes(wasmtime.wat2wasm(KERNEL.replace("STEPS", str(steps))))
    (folder / "task.toml").write_text(
        'schema = 1\nname = "Steps"\n[code]\nmodule = "kernel.wasm"\n[split]\nrange = [0, 1, 1]\n'
        "[verify]\nreplication = 2\neps = 0.05\npow_bits = 8\n"
    )
    return Kernel(folder, decode=bytes)


def kernel_s(module: bytes) -> float:
    """CPU seconds of one call of the kernel, in this process."""
    store = wasmtime.Store()
    exports: Any = wasmtime.Instance(store, wasmtime.Module(store.engine, module), []).exports(store)
    started = time.process_time()
    for _ in range(20):
        exports["cc_run"](store, 1024, 8)
    return (time.process_time() - started) / 20


def spin(number: int, cpu_s: float) -> int:
    """The same for those that call Python: busy for as much CPU time as the kernel takes."""
    end = time.process_time() + cpu_s
    while cpu_s > 1e-4 and time.process_time() < end:
        pass
    return number


@contextlib.contextmanager
def here(kernel: Kernel[bytes], cpu_s: float) -> Iterator[Any]:
    with ThisMachine(WORKERS) as place, Executor(place) as executor:
        yield (
            lambda calls: list(executor.map(kernel, range(calls))),
            lambda number: executor.submit(kernel, number).result(),
        )


@contextlib.contextmanager
def network(kernel: Kernel[bytes], cpu_s: float) -> Iterator[Any]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cc-bench-")))
        join = stack.enter_context(signaling_server(folder))["join"]
        for number in range(WORKERS):
            stack.enter_context(volunteer(folder, f"node-{number}", join))
        os.environ["CC_HOME"] = str(folder / "creator")
        place = stack.enter_context(Network(join, hosts=(LOOPBACK,)))
        while place.neighbours < WORKERS:
            time.sleep(0.05)
        executor = Executor(place)
        stack.callback(executor.shutdown, wait=False)
        yield (
            lambda calls: list(executor.map(kernel, range(calls))),
            lambda number: executor.submit(kernel, number).result(),
        )


@contextlib.contextmanager
def processes(kernel: Kernel[bytes], cpu_s: float) -> Iterator[Any]:
    with ProcessPoolExecutor(WORKERS) as pool:
        yield (
            lambda calls: list(pool.map(spin, range(calls), [cpu_s] * calls)),
            lambda n: pool.submit(spin, n, cpu_s).result(),
        )


@contextlib.contextmanager
def dask(kernel: Kernel[bytes], cpu_s: float) -> Iterator[Any]:
    import distributed

    Client: Any = distributed.Client

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Client(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as client:
            yield (
                lambda calls: client.gather(client.map(spin, range(calls), cpu_s=cpu_s, pure=False)),
                lambda number: client.submit(spin, number, cpu_s, pure=False).result(),
            )


@contextlib.contextmanager
def ray_cluster(kernel: Kernel[bytes], cpu_s: float) -> Iterator[Any]:
    import ray

    ray_module: Any = ray

    ray_module.init(num_cpus=WORKERS, include_dashboard=False, logging_level="error")
    try:
        remote = ray_module.remote(spin)
        yield (
            lambda calls: ray_module.get([remote.remote(number, cpu_s) for number in range(calls)]),
            lambda number: ray_module.get(remote.remote(number, cpu_s)),
        )
    finally:
        ray_module.shutdown()


EXECUTORS: tuple[tuple[str, float, Callable[..., Any]], ...] = (
    ("Executor(ThisMachine)", 1, here),
    ("Executor(Network)", 2, network),
    ("ProcessPoolExecutor", 1, processes),
    ("Dask", 1, dask),
    ("Ray", 1, ray_cluster),
)

if __name__ == "__main__":
    main()
