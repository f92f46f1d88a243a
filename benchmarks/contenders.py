"""Those that are compared: ours and the executors people would pick, each with two workers and the same kernels.

    with opened(CONTENDERS["Dask"], kernel, folder) as place:
        place.submit(1, 2)()          a call, and its result
        place.map([(1, 2), (3, 4)])   many

A kernel is one WebAssembly module for all of them. Ours executes it in locked-down processes and, on a network of two
volunteers over WebRTC, settles a call when its votes agree. The others call it from a Python function in processes of
their own, unconfined, through wasmtime, compiled once in each; and believe what comes back.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wasmtime

from crowdcompute.creator import Executor, ThisMachine
from crowdcompute.creator import Kernel as OurKernel
from crowdcompute.creator import Network as OurNetwork
from crowdcompute.creator.local_network import LOOPBACK, signaling_server, volunteer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).parents[1]
WORKERS = 2
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MARK = "BENCH_CONTENDER"
"""In the environment of all processes of a case, who can thus be found."""

NO_OP = """(module (memory (export "memory") 1)
  (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "cc_run") (param i32 i32) (result i64) (i64.const 0x40000000008)))"""

SPIN = """(module (memory (export "memory") 1)
  (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "cc_run") (param i32 i32) (result i64) (local i64 i64)
    (local.set 2 (i64.load (i32.const 1024))) (local.set 3 (i64.const STEPS))
    (loop (local.set 2 (i64.add (i64.mul (local.get 2) (i64.const 6364136223846793005)) (i64.const 1)))
      (br_if 0 (i64.ne (local.tee 3 (i64.sub (local.get 3) (i64.const 1))) (i64.const 0))))
    (i64.store (i32.const 1024) (local.get 2))
    (i64.const 0x40000000008)))"""
"""A multiplication and an addition a step: about a nanosecond."""


@dataclass(frozen=True)
class Kernel:
    """What is computed: a module of the reactor shape, whose calls take whole numbers, or one bytes object."""

    module: bytes
    output: str = "1KiB"
    memory: str = "16MiB"

    @staticmethod
    def of_text(text: str) -> Kernel:
        return Kernel(bytes(wasmtime.wat2wasm(text)))

    @staticmethod
    def spinning(steps: int) -> Kernel:
        return Kernel.of_text(SPIN.replace("STEPS", str(steps)))

    def ours(self, folder: Path, replication: int) -> OurKernel[bytes]:
        """The same as a folder that `cc-task` would take."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kernel.wasm").write_bytes(self.module)
        (folder / "task.toml").write_text(
            'schema = 1\nname = "Benchmark"\n[code]\nmodule = "kernel.wasm"\n[split]\nrange = [0, 1, 1]\n'
            f'[limits]\nmemory = "{self.memory}"\noutput = "{self.output}"\nseconds = 60\n'
            f"[verify]\nreplication = {replication}\neps = 0.05\npow_bits = 8\n"
        )
        return OurKernel(folder, decode=bytes)


@cache
def _compiled(module: bytes) -> Any:
    store: Any = wasmtime.Store()
    exports: Any = wasmtime.Instance(store, wasmtime.Module(store.engine, module), []).exports(store)
    return store, exports["memory"], exports["cc_alloc"], exports["cc_run"]


def call_here(module: bytes, *arguments: Any) -> bytes:
    """A call of a kernel, by whichever process this is."""
    store, memory, allocate, run = _compiled(module)
    is_bytes = len(arguments) == 1 and isinstance(arguments[0], bytes)
    data = arguments[0] if is_bytes else struct.pack(f"<{len(arguments)}q", *arguments)
    at = allocate(store, len(data))
    memory.write(store, data, at)
    place = run(store, at, len(data))
    return bytes(memory.read(store, place >> 32, (place >> 32) + (place & 0xFFFFFFFF)))


def cpu_s_of(kernel: Kernel, *arguments: Any) -> float:
    """CPU seconds of one call in this process."""
    call_here(kernel.module, *arguments)
    started = time.process_time()
    for _ in range(5):
        call_here(kernel.module, *arguments)
    return (time.process_time() - started) / 5


@dataclass
class Place:
    """A contender that is ready for calls."""

    submit: Callable[..., Callable[[], object]]
    """Begins a call; what is returned waits for its result."""
    map: Callable[[Sequence[tuple[Any, ...]]], list[Any]]
    workers: Callable[[], list[int]] = list
    """The process of each worker, its children left out."""
    join: Callable[[], None] | None = None
    """Has one more worker come, and returns when it has given a result; None where there is no such thing."""


@dataclass(frozen=True)
class Contender:
    opened: Callable[[Path, Kernel], Any] = field(repr=False)
    executions: int = 1
    """How often each call is computed."""


@contextlib.contextmanager
def _ours(place: Any, task: OurKernel[bytes]) -> Iterator[tuple[Callable[..., Any], Callable[..., Any]]]:
    executor = Executor(place)
    try:
        yield (
            lambda *arguments: executor.submit(task, *arguments).result,
            lambda calls: list(executor.map(task, *zip(*calls, strict=True))),
        )
    finally:
        executor.shutdown(wait=False)


@contextlib.contextmanager
def _this_machine(folder: Path, kernel: Kernel) -> Iterator[Place]:
    with ThisMachine(WORKERS) as place, _ours(place, kernel.ours(folder / "kernel", 1)) as (submit, many):
        yield Place(submit, many)


@contextlib.contextmanager
def _network(folder: Path, kernel: Kernel, *, replication: int) -> Iterator[Place]:
    with ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        link = stack.enter_context(signaling_server(folder))["join"]
        nodes = [stack.enter_context(volunteer(folder, f"node-{number}", link)) for number in range(WORKERS)]
        os.environ["CC_HOME"] = str(folder / "creator")
        network = stack.enter_context(OurNetwork(link, hosts=(LOOPBACK,)))
        while network.neighbours < WORKERS:
            time.sleep(0.02)
        submit, many = stack.enter_context(_ours(network, kernel.ours(folder / "kernel", replication)))

        def join() -> None:
            stack.enter_context(volunteer(folder, "newcomer", link))
            job = network.publish(kernel.ours(folder / "kernel", replication).task([bytes(16)] * 4))
            while network.progress(job).workers <= WORKERS:
                time.sleep(0.01)

        yield Place(submit, many, lambda: [node.process.pid for node in nodes], join)


@contextlib.contextmanager
def _processes(folder: Path, kernel: Kernel) -> Iterator[Place]:
    call = partial(call_here, kernel.module)
    with ProcessPoolExecutor(WORKERS) as pool:
        yield Place(
            lambda *arguments: pool.submit(call, *arguments).result,
            lambda calls: list(pool.map(call, *zip(*calls, strict=True))),
            lambda: list(pool._processes),
        )


@contextlib.contextmanager
def _dask(folder: Path, kernel: Kernel) -> Iterator[Place]:
    import distributed

    cluster_class: Any = distributed.LocalCluster
    client_class: Any = distributed.Client
    call = partial(call_here, kernel.module)
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        cluster = stack.enter_context(
            cluster_class(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None, silence_logs=50)
        )
        client = stack.enter_context(client_class(cluster))

        def join() -> None:
            before = set(client.scheduler_info()["workers"])
            cluster.scale(WORKERS + 1)
            client.wait_for_workers(WORKERS + 1)
            (newcomer,) = set(client.scheduler_info()["workers"]) - before
            client.submit(call, 1, 2, workers=[newcomer], pure=False).result()

        yield Place(
            lambda *arguments: client.submit(call, *arguments, pure=False).result,
            lambda calls: client.gather(client.map(call, *zip(*calls, strict=True), pure=False)),
            lambda: list(client.run(os.getpid).values()),
            join,
        )


@contextlib.contextmanager
def _ray(folder: Path, kernel: Kernel) -> Iterator[Place]:
    import ray  # type: ignore[import-not-found,unused-ignore]

    module: Any = ray
    module.init(num_cpus=WORKERS, include_dashboard=False, logging_level="error", log_to_driver=False)
    try:
        remote = module.remote(call_here)
        code = module.put(kernel.module)

        def submit(*arguments: Any) -> Callable[[], object]:
            reference = remote.remote(code, *arguments)
            return lambda: module.get(reference)

        pids = module.remote(lambda: os.getpid())
        yield Place(
            submit,
            lambda calls: module.get([remote.remote(code, *arguments) for arguments in calls]),
            lambda: sorted(set(module.get([pids.remote() for _ in range(20 * WORKERS)]))),
        )
    finally:
        module.shutdown()


CONTENDERS: dict[str, Contender] = {
    "ours, this machine": Contender(_this_machine),
    "ours, network, 1 vote": Contender(partial(_network, replication=1)),
    "ours, network, 2 votes": Contender(partial(_network, replication=2), 2),
    "ProcessPoolExecutor": Contender(_processes),
    "Dask": Contender(_dask),
    "Ray": Contender(_ray),
}


# ---- what it costs: whatever inherited the mark in its environment, or descends from what did (our workers have none)


def marked() -> Iterator[Path]:
    """The processes of this case."""
    mark = f"{MARK}={os.environ[MARK]}".encode()
    parents: dict[str, str] = {}
    ours: set[str] = set()
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit():
                parents[process.name] = (process / "stat").read_text().rpartition(")")[2].split()[1]
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    ours.add(process.name)
    for name in parents:
        ancestor = name
        while ancestor in parents and ancestor not in ours:
            ancestor = parents[ancestor]
        if ancestor in ours:
            yield Path("/proc") / name


def cpu_s() -> float:
    """CPU time of the case so far."""
    total = 0
    for process in marked():
        with contextlib.suppress(OSError):
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS_PER_S


def memory_mb() -> float:
    """Proportional set size of all its processes."""
    total = 0
    for process in marked():
        with contextlib.suppress(OSError):
            lines = (process / "smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1_024
