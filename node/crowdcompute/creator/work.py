"""A task on this machine, whether it is still a folder or already a bundle: what can be checked, run and packed."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.protocol.blobs import describe, describe_stream
from crowdcompute.protocol.bundle import BUNDLE_BYTES_MAX, Bundle, own_bundle, read_bundle
from crowdcompute.protocol.epochs import make_epochs
from crowdcompute.protocol.errors import BundleError, RemoteProtocolError
from crowdcompute.protocol.gpu import read_comparison
from crowdcompute.protocol.identity import verify
from crowdcompute.protocol.javascript import decode_source
from crowdcompute.protocol.manifest import CHUNKS_MAX, Calls, Handed, Manifest, Stream, sign_manifest, with_task_key
from crowdcompute.protocol.permissions import FETCH_RULES
from crowdcompute.protocol.split import ChunkReader, Range, check_inputs, chunk_count
from crowdcompute.protocol.wasm import rewrite

from .earlier import NOBODYS
from .gpu_package import check_package
from .large_inputs import LargeInputs
from .plan import Plan
from .task_file import TASK_FILE, read_task_file
from .vouch_files import read_vouches

if TYPE_CHECKING:
    from crowdcompute.protocol.identity import Signer
    from crowdcompute.protocol.manifest import BlobRef, Limits, Policy, Runtime, Split

    from .task_file import TaskFile

UNSIGNED = bytes(32)
"""Stands for the task id in the seeds of a task that has none yet, because nobody signed it."""


@dataclass(frozen=True, slots=True)
class Work:
    """What executing and describing a task takes; of a bundle, or of a folder before anybody signed it."""

    name: str
    runtime: Runtime
    module: bytes
    split: Split
    chunks: int
    inputs: ChunkReader
    limits: Limits
    policy: Policy
    task_id: bytes
    plan: Plan
    where: str
    """Where it was read: a folder, a bundle, or the id of a published task."""


def open_work(path: Path) -> Work:
    """Open a bundle file or a task's folder.

    Raises:
        BundleError: A bundle is refused.
        CommandError, TaskFileError, ModuleRefused: A folder is no usable task.
    """
    if path.is_dir() or path.name == TASK_FILE:
        task = read_task_file(path if path.is_dir() else path.parent)
        return unsigned_work(task, read_module(task))
    bundle = open_bundle(path)
    return bundle_work(bundle, str(path))


def bundle_work(bundle: Bundle, where: str) -> Work:
    """A signed task, to be computed here."""
    inputs = ChunkReader(bundle.manifest, bundle.inputs, bundle.results, bundle.fed)
    chunks = len(bundle.fed) if isinstance(bundle.manifest.split, Stream) else bundle.manifest.chunks
    return _work(bundle.manifest, bundle.module, inputs, chunks, bundle.task_id, Plan(), where)


def unsigned_work(task: TaskFile, module: bytes) -> Work:
    """A task that nobody has signed: who signs, and when, changes nothing about how a chunk is computed.

    Raises:
        CommandError: As `make_manifest`.
    """
    manifest = make_manifest(task, module, None, created_s=0)
    results = None if task.earlier is None else task.earlier.read
    inputs = ChunkReader(manifest, task.inputs, results)
    return _work(manifest, module, inputs, manifest.chunks, UNSIGNED, task.plan, str(task.folder))


def sign_task(task: TaskFile, module: bytes, creator: Signer) -> Bundle:
    """Sign a task now.

    Raises:
        CommandError, BundleError: It cannot be published.
    """
    manifest = make_manifest(task, module, creator, created_s=int(time.time()))
    signed = sign_manifest(creator, manifest)
    blobs = {manifest.code.sha256: module}
    if isinstance(task.split, Calls | Stream):
        return Bundle(signed, manifest, blobs)  # Signing has checked all there is, and somebody waits.
    if isinstance(task.inputs, LargeInputs):
        return Bundle(signed, manifest, blobs, task.inputs)
    if manifest.inputs is not None and task.inputs is not None:
        blobs[manifest.inputs.sha256] = task.inputs
    bundle = own_bundle(signed, manifest, blobs)
    return bundle if task.earlier is None else replace(bundle, results=task.earlier.read)


def open_bundle(path: Path) -> Bundle:
    """Read a bundle file and check all of it.

    Raises:
        BundleError: It is refused.
        CommandError: It cannot be read.
    """
    try:
        if path.stat().st_size > BUNDLE_BYTES_MAX:
            raise BundleError(f"{path} has {path.stat().st_size} bytes, a bundle has at most {BUNDLE_BYTES_MAX}")
        data = path.read_bytes()
    except OSError as error:
        raise CommandError(
            f"{path} cannot be read ({error.strerror}): name a task's folder, or a bundle that `cc-task pack` has made",
            Exit.USAGE,
        ) from None
    return read_bundle(data, verify)


def read_module(task: TaskFile) -> bytes:
    """The task's code as it is signed: JavaScript and packages as they are, a module rewritten, which changes nothing
    the second time.

    Raises:
        CommandError: There is no such file.
        ModuleRefused: The code breaks a rule of admission.
    """
    if task.runtime == "net":
        return FETCH_RULES
    try:
        code = task.module.read_bytes()
        if task.runtime == "js":
            decode_source(code)
            return code
        if task.kernel is not None:
            check_package(task.kernel, code, task.module)
            return code
        return rewrite(code)
    except OSError as error:
        if task.runtime == "js":
            raise CommandError(
                f"the JavaScript {task.module} cannot be read ({error.strerror}): write it, or name another in [code]",
                Exit.USAGE,
            ) from None
        advice = "run `cc-task build`" if task.source or task.kernel else "compile it, or name its source in [code]"
        raise CommandError(
            f"the module {task.module} cannot be read ({error.strerror}): {advice}", Exit.USAGE
        ) from None


def make_manifest(task: TaskFile, module: bytes, creator: Signer | None, *, created_s: int) -> Manifest:
    """The manifest of a task file; without a creator, one that can be run here but not signed.

    Raises:
        CommandError: The inputs do not give 1 to 2^31 - 1 chunks, or a chunk's input does not fit its memory.
    """
    inputs = task.inputs
    if isinstance(task.split, Handed):
        if inputs is None:
            raise CommandError(
                "split.results.folder: name the folder with the earlier task's results, or say Task(…, inputs=job)",
                Exit.USAGE,
            )
        if creator is not None and NOBODYS in task.split.of:
            raise CommandError(
                "these results were computed on this machine alone: publish their task, and write what volunteers "
                "found with `cc-task results TASK -o FOLDER`",
                Exit.USAGE,
            )
    chunks = chunk_count(task.split, 0 if inputs is None else len(inputs), inputs)
    if not 1 <= chunks <= CHUNKS_MAX:
        raise CommandError(f"the split makes {chunks} chunks: a task has 1 to {CHUNKS_MAX}", Exit.USAGE)
    code, expires_s = _described(module), created_s + task.lifetime_s
    epochs = None
    # Without the results nobody can tell whether votes agree within a tolerance: such votes wait for their creator.
    is_shown = task.runtime != "gpu" or read_comparison(module) is None
    if creator is not None and task.epoch_s and expires_s > created_s and is_shown:
        epochs = make_epochs(creator, code.sha256, created_s, expires_s, task.epoch_s)
    manifest = Manifest(
        schema=1,
        name=task.name,
        description=task.description,
        link=task.link,
        creator=UNSIGNED if creator is None else creator.public_key,
        seal_key=UNSIGNED,
        runtime=task.runtime,
        code=code,
        split=task.split,
        chunks=chunks,
        inputs=None
        if inputs is None
        else describe_stream(inputs.blocks())
        if isinstance(inputs, LargeInputs)
        else describe(inputs),
        limits=task.limits,
        policy=task.policy,
        reward=task.reward,
        epochs=epochs,
        onward=task.onward,
        permissions=task.permissions,
        vouches=() if creator is None else read_vouches(task.vouches, creator.public_key),
        created_s=created_s,
        expires_s=expires_s,
    )
    if creator is not None:
        manifest = with_task_key(creator, manifest)
    if task.runtime == "js" and isinstance(task.split, Range):
        beyond = max(abs(task.split.start), abs(task.split.stop))
        if beyond >= 2**53:
            raise CommandError(
                f"split.range: {beyond} is beyond 2^53 - 1, which JavaScript numbers cannot hold: count from nearer by",
                Exit.USAGE,
            )
    try:
        check_inputs(manifest, inputs)
    except RemoteProtocolError as error:
        raise CommandError(str(error), Exit.USAGE) from None
    return manifest


@lru_cache(maxsize=8)
def _described(module: bytes) -> BlobRef:
    """The reference to a module: kernels, which may have megabytes, are signed again for every few calls."""
    return describe(module)


def _work(
    manifest: Manifest,
    module: bytes,
    inputs: ChunkReader,
    chunks: int,
    task_id: bytes,
    plan: Plan,
    where: str,
) -> Work:
    return Work(
        name=manifest.name,
        runtime=manifest.runtime,
        module=module,
        split=manifest.split,
        chunks=chunks,
        inputs=inputs,
        limits=manifest.limits,
        policy=manifest.policy,
        task_id=task_id,
        plan=plan,
        where=where,
    )
