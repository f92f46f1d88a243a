"""From the [gpu] table of a task.toml to the package that is signed (protocol/spec/gpu.md, "Package")."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING

from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.events import ChunkInput, Status
from crowdcompute.protocol.gpu import Golden, Package, open_package
from crowdcompute.protocol.gpu.compare import Exact
from crowdcompute.protocol.gpu.package import COMPARED_BYTES_MAX
from crowdcompute.protocol.split import is_numbers
from crowdcompute.protocol.wasm import rewrite

from .build import build
from .local import describe_outcome, open_pool

if TYPE_CHECKING:
    from pathlib import Path

    from crowdcompute.protocol.events import ChunkOutcome

    from .task_file import KernelFile, TaskFile


def make_package(task: TaskFile, kernel: KernelFile) -> bytes:
    """Compile the fallback, let it compute the golden vectors, and put everything together.

    Raises:
        CommandError: A file is missing, or the fallback does not compute a golden vector.
        ModuleRefused: No peer would execute the package.
    """
    source = _read(kernel.source, "kernel of [gpu]")
    if task.source is not None:
        kernel.fallback.write_bytes(build(task.source, task.stack_bytes))
    fallback = rewrite(_read(kernel.fallback, "fallback of [gpu]"))
    outcomes = asyncio.run(_compute(task, fallback, kernel.golden))
    for number, outcome in enumerate(outcomes):
        if outcome.status != Status.OK:
            raise CommandError(f"the fallback does not compute golden vector {number}: {describe_outcome(outcome)}")
    has_tolerance = not all(isinstance(output.compare, Exact) for output in kernel.outputs)
    golden = tuple(
        Golden(
            input=data,
            sha256=sha256(outcome.data).digest(),
            result=outcome.data[: COMPARED_BYTES_MAX + 1] if has_tolerance else b"",
        )
        for data, outcome in zip(kernel.golden, outcomes, strict=True)
    )
    package = encode(
        Package(
            schema=1,
            source=source,
            uniform=kernel.uniform,
            invocations=kernel.invocations,
            outputs=kernel.outputs,
            fuel=kernel.fuel,
            golden=golden,
            fallback=fallback,
        )
    )
    open_package(package)
    return package


def check_package(kernel: KernelFile, package: bytes, path: Path) -> None:
    """Refuse a package that was made of something else than what the [gpu] table names now.

    Raises:
        CommandError: It was.
        ModuleRefused: No peer would execute it.
    """
    made = open_package(package).package
    now = (_read(kernel.source, "kernel of [gpu]"), kernel.uniform, kernel.invocations, kernel.outputs, kernel.fuel)
    if (made.source, made.uniform, made.invocations, made.outputs, made.fuel) != now or kernel.golden != tuple(
        each.input for each in made.golden
    ):
        raise CommandError(f"{path} is older than what it is made of: run `cc-task build`", Exit.USAGE)


async def _compute(task: TaskFile, module: bytes, inputs: tuple[bytes, ...]) -> tuple[ChunkOutcome, ...]:
    chunks = [ChunkInput(number, data, 0) for number, data in enumerate(inputs)]
    async with open_pool(1) as pool:
        return await pool.execute(sha256(module).digest(), module, task.limits, is_numbers(task.split), chunks)


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"the {what}, {path}, cannot be read: {error.strerror}", Exit.USAGE) from None
