"""Those that are compared: ours and the executors people would pick, each with two workers and the same kernels.

    with opened(CONTENDERS["Dask"], kernel, folder) as place:
        place.submit(1, 2)()          a call, and its result
        place.map([(1, 2), (3, 4)])   many

A kernel is one WebAssembly module for all of them (kernels.py). Ours executes it in locked-down processes and, on a
network of two volunteers, settles a call when its votes agree. The others call it from a Python function in
processes of their own, unconfined, through wasmtime, compiled once in each; and believe what comes back. All are ready
when both workers have answered.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cases import MARK
from benchmarks.kernels import Kernel, call_here

from crowdcompute.creator import Executor, ThisMachine
from crowdcompute.creator import Kernel as OurKernel
from crowdcompute.creator import Network as OurNetwork
from crowdcompute.creator.local_network import LOOPBACK, signaling_server, volunteer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

WORKERS = 2
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


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
    module: str = ""
    """What must be installed."""


def _as_ours(kernel: Kernel, folder: Path, replication: int) -> OurKernel[bytes]:
    """The same as a folder that `cc-task` would take."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.wasm").write_bytes(kernel.module)
    (folder / "task.toml").write_text(
        'schema = 1\nname = "Benchmark"\n[code]\nmodule = "kernel.wasm"\n[split]\nrange = [0, 1, 1]\n'
        f'[limits]\nmemory = "{kernel.memory}"\noutput = "{kernel.output}"\nseconds = 60\n'
        f"[verify]\nreplication = {replication}\neps = 0.05\npow_bits = 8\n"
    )
    return OurKernel(folder, decode=bytes)


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
    with ThisMachine(WORKERS) as place, _ours(place, _as_ours(kernel, folder / "kernel", 1)) as (submit, many):
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
        submit, many = stack.enter_context(_ours(network, _as_ours(kernel, folder / "kernel", replication)))

        def join() -> None:
            stack.enter_context(volunteer(folder, "newcomer", link))
            job = network.publish(_as_ours(kernel, folder / "kernel", replication).task([bytes(16)] * 4))
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
def _loky(folder: Path, kernel: Kernel) -> Iterator[Place]:
    from joblib.externals.loky import ProcessPoolExecutor as Loky

    call = partial(call_here, kernel.module)
    with Loky(WORKERS) as pool:
        while len({asked.result() for asked in [pool.submit(os.getpid) for _ in range(20 * WORKERS)]}) < WORKERS:
            pass
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
    import ray

    module: Any = ray
    module.init(address="local", num_cpus=WORKERS, include_dashboard=False, logging_level="error", log_to_driver=False)
    try:
        remote = module.remote(call_here)
        code = module.put(kernel.module)

        def submit(*arguments: Any) -> Callable[[], object]:
            reference = remote.remote(code, *arguments)
            return lambda: module.get(reference)

        pid = module.remote(lambda: os.getpid())

        def pids() -> list[int]:
            return sorted(set(module.get([pid.remote() for _ in range(20 * WORKERS)])))

        def join() -> None:
            # A node of its own, as another machine would be.
            address = module.get_runtime_context().gcs_address
            command = [Path(sys.executable).with_name("ray"), "start", "--address", address, "--num-cpus", "1"]
            subprocess.run([*command, "--resources", '{"newcomer": 1}'], check=True, stdout=subprocess.DEVNULL)
            module.get(remote.options(resources={"newcomer": 1}).remote(code, 1, 2))

        while len(pids()) < WORKERS:
            pass
        yield Place(
            submit,
            lambda calls: module.get([remote.remote(code, *arguments) for arguments in calls]),
            pids,
            join,
        )
    finally:
        module.shutdown()


@contextlib.contextmanager
def _parsl(folder: Path, kernel: Kernel) -> Iterator[Place]:
    # Its interchange and its managers are programs beside Python.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    import parsl
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    # A manager with one worker each, as machines of one core would have.
    provider_class: Any = LocalProvider
    provider: Any = provider_class(init_blocks=WORKERS, min_blocks=WORKERS, max_blocks=WORKERS + 1)
    executor: Any = HighThroughputExecutor(
        label="bench", max_workers_per_node=1, address="127.0.0.1", provider=provider, encrypted=False
    )
    config: Any = Config(executors=[executor], run_dir=str(folder / "parsl"), strategy="none")
    with parsl.load(config):
        app: Any = parsl.python_app(call_here)
        managers: Any = parsl.python_app(os.getppid)
        code = kernel.module

        def pids() -> list[int]:
            return sorted({each.result() for each in [managers() for _ in range(20 * WORKERS)]})

        def join() -> None:
            before = len(pids())
            executor.scale_out_facade(1)
            while len(pids()) <= before:
                pass

        while len(pids()) < WORKERS:
            time.sleep(0.1)
        yield Place(
            lambda *arguments: app(code, *arguments).result,
            lambda calls: [each.result() for each in [app(code, *arguments) for arguments in calls]],
            pids,
            join,
        )


@cache
def _redis() -> str:
    """Where this case's Redis is: one for all its places, which goes when the case does."""
    if not (server := shutil.which("redis-server")):
        raise RuntimeError("needs a redis-server: apt-get install redis-server")
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = probe.getsockname()[1]
    command = [server, "--port", str(port), "--bind", LOOPBACK, "--save", "", "--appendonly", "no"]
    subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection((LOOPBACK, port)):
            return f"redis://{LOOPBACK}:{port}"
        time.sleep(0.05)


@contextlib.contextmanager
def _celery(folder: Path, kernel: Kernel) -> Iterator[Place]:
    os.environ["BENCH_REDIS"] = _redis()
    # Celery takes pickles of root only when told so; everything here is ours.
    os.environ["C_FORCE_ROOT"] = "1"
    from benchmarks.celery_app import app, call

    with ExitStack() as stack:

        def worker(queue: str) -> int:
            options = ["--concurrency", "1", "--queues", queue, "--hostname", f"{queue}-{len(workers)}@bench"]
            quick = ["--without-gossip", "--without-mingle", "--loglevel", "ERROR"]
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "benchmarks.celery_app", "worker", *options, *quick],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.kill)
            return process.pid

        workers: list[int] = []
        for _ in range(WORKERS):
            workers.append(worker("celery"))
        code = kernel.module

        def join() -> None:
            worker("newcomer")
            call.apply_async((code, 1, 2), queue="newcomer").get()

        while len(app.control.ping(timeout=0.5)) < WORKERS:
            pass
        yield Place(
            lambda *arguments: call.delay(code, *arguments).get,
            lambda calls: [each.get() for each in [call.delay(code, *arguments) for arguments in calls]],
            lambda: workers,
            join,
        )


CONTENDERS: dict[str, Contender] = {
    "ours, this machine": Contender(_this_machine),
    "ours, network, 1 vote": Contender(partial(_network, replication=1)),
    "ours, network, 2 votes": Contender(partial(_network, replication=2), 2),
    "ProcessPoolExecutor": Contender(_processes),
    "joblib's loky": Contender(_loky, module="joblib"),
    "Dask": Contender(_dask, module="distributed"),
    "Ray": Contender(_ray, module="ray"),
    "Parsl": Contender(_parsl, module="parsl"),
    "Celery, Redis": Contender(_celery, module="celery"),
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
