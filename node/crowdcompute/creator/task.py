"""A task before it is published, in Python: a folder with a task.toml, a bundle, or a kernel with a list of inputs."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.protocol.manifest import time_refusal
from crowdcompute.protocol.split import Items, pack_items

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


class Task(Generic[T]):
    """What `publish` signs and hands to a network, or to this machine."""

    @overload
    def __init__(self: Task[bytes], path: str | Path) -> None: ...
    @overload
    def __init__(self, path: str | Path, *, decode: Callable[[bytes], T]) -> None: ...

    def __init__(self, path: str | Path, *, decode: Callable[[bytes], Any] = bytes) -> None:
        """Read a task.

        Args:
            path: A folder made by `cc-task init`, or a bundle made by `cc-task pack`.
            decode: Makes a result's bytes to what `Result.value` is: `json.loads`, or `struct.Struct("<qQ").unpack`.

        Raises:
            CommandError, TaskFileError, BundleError, ModuleRefused: It is no usable task; the sentence says why.
        """
        self.decode: Callable[[bytes], T] = decode
        self._path = Path(path)
        self._file: TaskFile | None = None
        self._module = b""
        if self._path.is_dir() or self._path.name == TASK_FILE:
            self._file = read_task_file(self._path if self._path.is_dir() else self._path.parent)
            self._module = read_module(self._file)
            examine(self._file.runtime, self._module)

    @classmethod
    def of_inputs(cls, file: TaskFile, module: bytes, inputs: Sequence[bytes], decode: Callable[[bytes], T]) -> Task[T]:
        """The task that applies a kernel to each of `inputs`: chunk i computes the i-th."""
        task: Task[T] = cls.__new__(cls)
        task.decode = decode
        task._path = file.folder
        task._file = replace(file, split=Items(), inputs=pack_items(inputs), plan=Plan())
        task._module = module
        return task

    @property
    def plan(self) -> Plan:
        """What task.toml says about results; nothing, for a bundle."""
        return self._file.plan if self._file is not None else Plan()

    def publish(self, place: Place) -> Job[T]:
        """Have it computed there; the same as `place.publish(task)`."""
        return place.publish(self)

    def bundle(self, identity: Identity) -> Bundle:
        """The signed task.

        Raises:
            CommandError: A bundle has expired.
        """
        if self._file is not None:
            return sign_task(self._file, self._module, identity)
        bundle = open_bundle(self._path)
        refusal = time_refusal(bundle.manifest, time.time())
        if refusal is not None:
            raise CommandError(f"{self._path} cannot be published: {refusal}", Exit.REFUSED)
        return bundle

    def work(self) -> Work:
        """The task as this machine computes it, without anybody's signature."""
        return open_work(self._path) if self._file is None else unsigned_work(self._file, self._module)
