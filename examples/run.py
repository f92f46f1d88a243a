"""Run an example on a network of this machine, show what came of it, and compare it with its reference.

    make example NAME=path_trace          or: python -m examples.run path_trace

A signaling server, three nodes and the creator, as in `cc-node demo`. An example is a folder with a task.toml and an
example.py: `prepare(folder)` writes inputs, if there are any; `finish(results, out)` leaves a picture or a table,
compares with the reference, and returns lines to print. With `PARTS`, both are told which part, one task for each.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from crowdcompute.creator import CommandError, Network, Task
from crowdcompute.creator.local_network import LOOPBACK, signaling_server, volunteer

HERE = Path(__file__).parent
NODES = 3


def main() -> int:
    names = sorted(path.parent.name for path in HERE.glob("*/example.py"))
    arguments = argparse.ArgumentParser(description="Run an example on a network of this machine.")
    arguments.add_argument("name", choices=names)
    arguments.add_argument(
        "--output", type=Path, default=None, help="folder for what comes of it; out/NAME if not given"
    )
    options = arguments.parse_args()
    example: Any = importlib.import_module(f"examples.{options.name}.example")
    out = options.output or Path("out") / options.name
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cc-example-")))
            run(options.name, example, folder, out, stack)
    except ImportError as error:
        print(f"{options.name} needs {error.name}: pip install 'crowdcompute[demos]'", file=sys.stderr)
        return 1
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(name: str, example: Any, folder: Path, out: Path, stack: ExitStack) -> None:
    """Compute it, and print what there is to see."""
    server = stack.enter_context(signaling_server(folder))
    for number in range(NODES):
        stack.enter_context(volunteer(folder, f"node-{number}", server["join"]))
    os.environ["CC_HOME"] = str(folder / "creator")
    network = stack.enter_context(Network(server["join"], hosts=(LOOPBACK,)))
    print(f"network    {server['url']}, {NODES} nodes and the creator on this machine")
    out.mkdir(parents=True, exist_ok=True)
    for part in getattr(example, "PARTS", ("",)):
        task = folder / "task" / part if part else folder / "task"
        shutil.copytree(HERE / name, task)
        if hasattr(example, "prepare"):
            example.prepare(task, part) if part else example.prepare(task)
        started = time.monotonic()
        job = network.publish(Task(task))
        certificate = job.wait()
        assert certificate is not None
        seconds = time.monotonic() - started
        job.export(out)
        results = {result.chunk: result.data for result in job.results_so_far() if result.status == "ok"}
        print(
            f"task       {job.name} {part}: {job.chunks} chunks, {certificate.accepted} with a result, {seconds:.1f} s"
        )
        executions = certificate.executions - certificate.document["cancelled"]
        print(f"cost       {executions / max(1, certificate.accepted):.2f} executions for each result")
        for line in example.finish(results, out, part) if part else example.finish(results, out):
            print(line)
        print(f"certified  {certificate.statement}")


if __name__ == "__main__":
    sys.exit(main())
