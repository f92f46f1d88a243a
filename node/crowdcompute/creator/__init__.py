"""What creators use from Python (docs/python.md): kernels, tasks, jobs, and a standard Executor.

    from crowdcompute.creator import Executor, Kernel, Network

    with Executor("http://127.0.0.1:8765/j#n=main") as executor:
        print(list(executor.map(Kernel("primes"), range(0, 1_000_000, 10_000), range(10_000, 1_010_000, 10_000))))

`cc-task` is the same from the command line. Names are imported when they are first used, so that it stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from crowdcompute.node.exits import CommandError

if TYPE_CHECKING:
    from .async_client import AsyncClient, AsyncJob
    from .executor import Executor, here
    from .functions import portable
    from .joblib_backend import register_joblib
    from .jobs import Certificate, ChunkFailed, Job, JobLeft, Progress, Result
    from .kernel import Kernel, NotPortable
    from .places import Network, ThisMachine
    from .task import Task

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "Certificate",
    "ChunkFailed",
    "CommandError",
    "Executor",
    "Job",
    "JobLeft",
    "Kernel",
    "Network",
    "NotPortable",
    "Progress",
    "Result",
    "Task",
    "ThisMachine",
    "here",
    "portable",
    "register_joblib",
]

_HOMES = {
    "AsyncClient": "async_client",
    "AsyncJob": "async_client",
    "Certificate": "jobs",
    "ChunkFailed": "jobs",
    "Executor": "executor",
    "Job": "jobs",
    "JobLeft": "jobs",
    "Kernel": "kernel",
    "Network": "places",
    "NotPortable": "kernel",
    "Progress": "jobs",
    "Result": "jobs",
    "Task": "task",
    "ThisMachine": "places",
    "here": "executor",
    "portable": "functions",
    "register_joblib": "joblib_backend",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{home}", __name__), name)
