"""A task before it is published, in Python: a folder with a task.toml, a bundle, or a kernel with a list of inputs."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.protocol.manifest import time_refusal
from crowdcompute.protocol.split import CALLS_MAX, Calls, Items, Stream, pack_items

from .code import examine
from .plan import Plan
from .task_file import TASK_FILE, TaskFile, read_task_file
from .work import Work, open_bundle, open_work, read_module, sign_task, unsigned_work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crowdcompute.protocol.bundle import Bundle
    from crowdcompute.protocol.identity import Identity

    from .jobs import Job
    from .places import Place

T = TypeVar("T")

CALLS_BYTES_MAX = 32 * 1024
"""Inputs that travel in the manifest. It may have 48 KiB, of which each input takes 5 bytes more, and text up to 10."""


class Task(Generic[T]):
    """What `publish` signs and hands to a network, or to this machine."""

    @overload
    def __init__(
        self: Task[bytes],
        path: str | Path,
        *,
        inputs: Job[Any] | None = None,
        per_chunk: int | None = None,
        onward: bool | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        path: str | Path,
        *,
        decode: Callable[[bytes], T],
        inputs: Job[Any] | None = None,
        per_chunk: int | None = None,
        onward: bool | None = None,
    ) -> None: ...

    def __init__(
        self,
        path: str | Path,
        *,
        decode: Callable[[bytes], Any] = bytes,
        inputs: Job[Any] | None = None,
        per_chunk: int | None = None,
        onward: bool | None = None,
    ) -> None:
        """Read a task.

        Args:
            path: A folder made by `cc-task init`, or a bundle made by `cc-task pack`.
            decode: Makes a result's bytes to what `Result.value` is: `json.loads`, or `struct.Struct("<qQ").unpack`.
            inputs: The job whose results this task's chunks take, whatever task.toml says; `publish` waits for it.
            per_chunk: How many of them a chunk takes; as task.toml says, or one.
            onward: Whether volunteers shall keep this task's results for another one; as task.toml says.

        Raises:
            CommandError, TaskFileError, BundleError, ModuleRefused: It is no usable task; the sentence says why.
        """
        self.decode: Callable[[bytes], T] = decode
        self._after = inputs
        self._per_chunk = per_chunk
        self._path = Path(path)
        self._file: TaskFile | None = None
        self._module = b""
        if self._path.is_dir() or self._path.name == TASK_FILE:
            self._file = read_task_file(self._path if self._path.is_dir() else self._path.parent)
            self._module = read_module(self._file)
            examine(self._file.runtime, self._module)
            if onward is not None:
                self._file = replace(self._file, onward=onward)
        elif inputs is not None or onward is not None:
            raise CommandError(f"{path} is signed: inputs and onward can be said of a folder only", Exit.USAGE)
        if per_chunk is not None and per_chunk < 1:
            raise CommandError("per_chunk: a chunk takes at least 1 result", Exit.USAGE)

    @classmethod
    def of_inputs(cls, file: TaskFile, module: bytes, inputs: Sequence[bytes], decode: Callable[[bytes], T]) -> Task[T]:
        """The task that applies a kernel to each of `inputs`: chunk i computes the i-th.

        A few small ones stand in the manifest, and such a task has no epochs: somebody waits for these calls, and
        does not leave volunteers alone with them. So they take one round trip (spec/ledger.md, "Assign").
        """
        are_few = len(inputs) <= CALLS_MAX and sum(map(len, inputs)) <= CALLS_BYTES_MAX
        task: Task[T] = cls.__new__(cls)
        task.decode = decode
        task._after = task._per_chunk = None
        task._path = file.folder
        task._file = (
            replace(file, split=Calls(tuple(inputs)), inputs=None, plan=Plan(), epoch_s=0)
            if inputs and are_few
            else replace(file, split=Items(), inputs=pack_items(inputs), plan=Plan())
        )
        task._module = module
        return task

    @classmethod
    def of_stream(cls, file: TaskFile, module: bytes, decode: Callable[[bytes], T], number: int) -> Task[T]:
        """The task that applies a kernel to inputs that come while it runs; it has no epochs.

        Of several signed within a second each has another `number`: a task is named by its bytes, and lasts so many
        seconds longer.
        """
        task = cls.of_inputs(file, module, [b""], decode)
        lifetime_s = file.lifetime_s + number
        task._file = replace(
            file, split=Stream(), inputs=None, onward=False, plan=Plan(), epoch_s=0, lifetime_s=lifetime_s
        )
        return task

    @property
    def plan(self) -> Plan:
        """What task.toml says about results; nothing, for a bundle."""
        return self._file.plan if self._file is not None else Plan()

    def publish(self, place: Place) -> Job[T]:
        """Have it computed there; the same as `place.publish(task)`."""
        return place.publish(self)

    def bundle(self, identity: Identity) -> Bundle:
        """The signed task, once the job whose results it takes is done.

        Raises:
            CommandError: A bundle has expired, or a result that it takes is lacking.
        """
        if self._file is not None:
            return sign_task(self._with_inputs(self._file), self._module, identity)
        bundle = open_bundle(self._path)
        refusal = time_refusal(bundle.manifest, time.time())
        if refusal is not None:
            raise CommandError(f"{self._path} cannot be published: {refusal}", Exit.REFUSED)
        return bundle

    def work(self) -> Work:
        """The task as this machine computes it, without anybody's signature."""
        if self._file is None:
            return open_work(self._path)
        return unsigned_work(self._with_inputs(self._file), self._module)

    def _with_inputs(self, file: TaskFile) -> TaskFile:
        if self._after is None:
            return file
        earlier = self._after.earlier()
        split, inputs = earlier.split(self._per_chunk or file.per_chunk)
        return replace(file, split=split, inputs=inputs, earlier=earlier)
