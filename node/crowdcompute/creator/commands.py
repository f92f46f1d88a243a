"""The commands of cc-task that work on this machine alone: from an empty folder to a signed bundle."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shlex
import sys
import time
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from crowdcompute.node import keys
from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.node.paths import paths
from crowdcompute.protocol.bundle import write_bundle
from crowdcompute.protocol.errors import BundleError
from crowdcompute.protocol.events import Status
from crowdcompute.protocol.manifest import sign_manifest, time_refusal

from .build import build as build_module
from .code import examine
from .gpu_package import make_package
from .large_inputs import LargeInputs
from .local import cores, describe_outcome, numbers_of, reproduce_words
from .local import run as run_chunks
from .local import sample as sample_chunks
from .plan import assemble
from .report import SCHEMA, bundle_report, bundle_words, check_report, check_words, count_of, show
from .task_file import TASK_FILE, read_task_file
from .work import bundle_work, make_manifest, open_bundle, open_work, read_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from crowdcompute.protocol.events import ChunkOutcome

    from .work import Work

HERE = Path()
CHUNKS_BETWEEN = 8
"""Of a kernel for GPUs: how far apart devices are differs from chunk to chunk."""
FURTHER_MAX = 100
"""Chunks between the edges that are tried out if they are quick: all of a small task."""
GOLDEN = 0.6180339887498949
_TASK_ID = re.compile(r"[0-9a-f]{6,64}")
Key = Annotated[Path | None, Parameter(env_var="CC_CREATOR_KEY", help="Key file; default: creator.key in the data dir")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document")]


def keygen(*, key: Key = None) -> None:
    """Make the key that signs your tasks, and print the names it has."""
    path = key or paths().creator
    if path.exists():
        raise CommandError(f"there is a key in {path} already: `--key FILE` makes another one elsewhere")
    identity = keys.create(path)
    print(f"key file  {path}  (keep a copy: without it nobody can steer or finish your tasks)")
    print(f"creator   {identity.peer_id}")
    print(f"key       {identity.public_key.hex()}")


def init(name: str, *, lang: Literal["c", "zig", "rust", "assemblyscript", "js", "go", "python"] = "c") -> None:
    """Make the folder NAME with a small task in it to start from.

    Parameters
    ----------
    lang
        Language of the kernel. zig and c need the extra [build], go the extra [go], assemblyscript Node and npm, rust a
        rustc that knows WebAssembly; js and python need nothing.
    """
    folder = Path(name)
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise CommandError(f"{folder} exists already: choose another name", Exit.USAGE) from None
    for template in (resources.files("crowdcompute.creator") / "templates" / lang).iterdir():
        text = template.read_text(encoding="utf-8")
        if template.name == TASK_FILE:
            text = text.replace('"NAME"', json.dumps(folder.name, ensure_ascii=False), 1)
        (folder / template.name).write_text(text, encoding="utf-8")
    kernel = next(file.name for file in folder.iterdir() if file.name.startswith("kernel."))
    first = f"(cd {shlex.quote(str(folder))} && npm install) && " if lang == "assemblyscript" else ""
    next_step = f"{first}cc-task {'check' if lang == 'js' else 'build'} {shlex.quote(str(folder))}"
    print(f"{folder}: {kernel} computes a chunk, {TASK_FILE} says what it is; next: {next_step}")


def build(folder: Path = HERE, /) -> None:
    """Compile the task's source to its module, in the form that volunteers' engines agree on."""
    task = read_task_file(folder)
    if task.runtime == "js":
        source = read_module(task)
        print(f"{task.module}  {len(source):,} bytes  sha256 {sha256(source).hexdigest()}  JavaScript, signed as it is")
        return
    if task.kernel is not None:
        package = make_package(task, task.kernel)
        task.module.write_bytes(package)
        print(f"{task.module}  {len(package):,} bytes  sha256 {sha256(package).hexdigest()}  kernel with its fallback")
        return
    if task.source is None:
        raise CommandError(f"{folder / TASK_FILE} names no source in [code]: there is nothing to build", Exit.USAGE)
    if sys.stderr.isatty():
        print(f"compiling {task.source.name}; a compiler's first time can take a minute", file=sys.stderr)
    module = build_module(task.source, task.stack_bytes)
    task.module.parent.mkdir(parents=True, exist_ok=True)
    task.module.write_bytes(module)
    print(f"{task.module}  {len(module):,} bytes  sha256 {sha256(module).hexdigest()}")


def _looked_at(work: Work) -> list[int]:
    """The first chunk and the last one, and of a kernel for GPUs some between: the edges may be the easy ones."""
    steps = min(work.chunks - 1, CHUNKS_BETWEEN + 1 if work.runtime == "gpu" else 1)
    return sorted({step * (work.chunks - 1) // max(1, steps) for step in range(steps + 1)})


def _further(work: Work) -> Iterator[int]:
    """Other chunks of what runs in a sandbox, as many as there may be, the first few of them far apart already."""
    if work.runtime not in ("wasm", "js"):
        return
    seen = set(_looked_at(work))
    # Multiples of the golden ratio leave no large gap, wherever one stops.
    for number in range(1, 2 * FURTHER_MAX):
        chunk = int(number * GOLDEN % 1 * work.chunks)
        if chunk not in seen and len(seen) < FURTHER_MAX:
            seen.add(chunk)
            yield chunk


def check(path: Path = HERE, /, *, as_json: Json = False) -> int:
    """Check a task (folder or bundle) as volunteers will, run a few chunks twice, and estimate what all of it costs."""
    work = open_work(path)
    facts = examine(work.runtime, work.module)
    sampled = asyncio.run(sample_chunks(work, _looked_at(work), _further(work)))
    report = check_report(work, facts, sampled)
    show(report, check_words(work, facts, sampled, report), as_json=as_json)
    if sampled.differing:
        raise CommandError(f"chunk {sampled.differing[0]} gave two different results: workers could never agree on it")
    if sampled.diverging:
        raise CommandError(
            f"chunk {sampled.diverging[0]} gave another result when it went on from its savepoint, or wrote other ones "
            "then: volunteers who were interrupted would be convicted for it, so let the savepoint hold all that the "
            "rest depends on, and nothing else"
        )
    if sampled.disputed:
        raise CommandError(
            f"chunk {sampled.disputed[0]} gave different results in two JavaScript engines: look at the lines above "
            "that say beware, and at protocol/spec/javascript.md"
        )
    for device in sampled.devices:
        if differing := device.differing(sampled.outcomes):
            raise CommandError(
                f"chunk {differing[0]} ends otherwise on a device than in the fallback: volunteers with and without a "
                "GPU would vote against each other, so compare both with protocol/spec/gpu.md"
            )
    if any(outcome.status != Status.OK for outcome in sampled.outcomes):
        raise CommandError("a chunk has no result: see above")
    return Exit.OK


def run(
    path: Path = HERE,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("out"),
    local: Annotated[bool, Parameter(negative="")] = False,
    chunk: int | None = None,
    jobs: int | None = None,
    key: Key = None,
) -> int:
    """Compute a task (folder, bundle, or the id of one published from here) on this machine, without any network.

    Parameters
    ----------
    output
        Folder for the results: one file for each chunk, and results.ndjson with one line for each.
    local
        Say that you mean this machine. The network's way is `publish`.
    chunk
        Compute only this chunk, and tell all there is to know about it: arguments, result, trap, standard error.
    jobs
        Processes to use; as many as there are cores if not given.
    """
    if not local:
        raise CommandError("say `--local` to compute all chunks on this machine", Exit.USAGE)
    if jobs is not None and jobs < 1:
        raise CommandError("--jobs needs at least 1 process", Exit.USAGE)
    work = _published(str(path), key) or open_work(path)
    examine(work.runtime, work.module)
    if chunk is not None:
        return _run_one(work, chunk, output)
    output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    counts = dict.fromkeys(Status, 0)
    found: dict[int, bytes] = {}
    solved = False
    with (output / "results.ndjson").open("w", encoding="utf-8") as results, _progress(work) as advance:

        def keep(outcome: ChunkOutcome) -> bool:
            nonlocal solved
            results.write(json.dumps(_kept(outcome, output)) + "\n")
            counts[outcome.status] += 1
            if outcome.status != Status.OK:
                print(f"chunk {outcome.chunk}: {describe_outcome(outcome)}", file=sys.stderr)
                print(f"  to see it alone: {reproduce_words(work.where, outcome.chunk)}", file=sys.stderr)
            elif work.plan.how != "none":
                found[outcome.chunk] = outcome.data
            solved = solved or (outcome.status == Status.OK and work.plan.is_solution(outcome.data))
            advance()
            return solved

        asyncio.run(run_chunks(work, jobs or cores(), keep))
    print(f"{counts[Status.OK]:,} of {work.chunks:,} chunks in {output}  {time.monotonic() - started:.1f} s")
    assembled = asyncio.run(assemble(work.plan, work.split, found, output))
    if assembled is not None:
        print(f"together in {assembled}")
    if solved:
        print("stopped at the first solution")
        return Exit.OK
    if counts[Status.OK] < work.chunks:
        raise CommandError(f"{count_of(work.chunks - counts[Status.OK], 'chunk')} without a result: see above")
    return Exit.OK


def _published(name: str, key: Path | None) -> Work | None:
    """The task published from here whose id begins with `name`, if that can be one."""
    if not _TASK_ID.fullmatch(name) or Path(name).exists():
        return None
    from .session import open_creator

    with open_creator(key) as creator:
        return bundle_work(creator.stored_bundle(creator.find(name)), name)


def _run_one(work: Work, chunk: int, output: Path) -> int:
    """One chunk, for whoever wants to know what is wrong with it."""
    if not 0 <= chunk < work.chunks:
        raise CommandError(f"there is no chunk {chunk}: {work.name} has chunks 0 to {work.chunks - 1}", Exit.USAGE)
    outcomes: list[ChunkOutcome] = []
    asyncio.run(run_chunks(work, 1, lambda outcome: outcomes.append(outcome), [chunk]))
    (outcome,) = outcomes
    data = work.inputs.read(chunk)
    numbers = numbers_of(work.split, data)
    print(f"chunk      {chunk} of {work.name}")
    print("arguments  " + (f"{len(data)} bytes of input" if numbers is None else " ".join(map(str, numbers))))
    if outcome.status != Status.OK:
        raise CommandError(describe_outcome(outcome))
    output.mkdir(parents=True, exist_ok=True)
    line = _kept(outcome, output)
    print(f"result     {output / line['file']}  {line['size']:,} bytes  sha256 {line['sha256']}")
    return Exit.OK


def pack(
    folder: Path = HERE,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    key: Key = None,
) -> None:
    """Sign a task with your creator key and write it to one file, the bundle (FOLDER.ccb if not said otherwise)."""
    task = read_task_file(folder)
    module = read_module(task)
    key_path = key or paths().creator
    if keys.load(key_path) is None:
        print(f"cc-task: made a new creator key in {key_path}: keep a copy", file=sys.stderr)
    creator = keys.load_or_create(key_path)
    manifest = make_manifest(task, module, creator, created_s=int(time.time()))
    if isinstance(task.inputs, LargeInputs):
        raise CommandError(
            f"the inputs have {len(task.inputs):,} bytes, and a bundle is read at once: publish the folder itself, and "
            "volunteers fetch of the inputs what they read",
            Exit.USAGE,
        )
    if task.earlier is not None:
        raise CommandError("a bundle holds no results of an earlier task: publish the folder itself", Exit.USAGE)
    signed = sign_manifest(creator, manifest)
    blobs = {
        ref.sha256: data for ref, data in ((manifest.code, module), (manifest.inputs, task.inputs)) if ref and data
    }
    target = output or folder.absolute().with_suffix(".ccb")
    data = write_bundle(signed, blobs)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    print(f"{target}  {len(data):,} bytes  task {signed.record_id.hex()}  {manifest.chunks:,} chunks")


def verify(bundle: Path, /, *, as_json: Json = False) -> None:
    """Check a bundle's signature and everything in it, and show what it asks of volunteers."""
    opened = open_bundle(bundle)
    facts = examine(opened.manifest.runtime, opened.module)
    refusal = time_refusal(opened.manifest, time.time())
    if refusal is not None:
        raise BundleError(f"{bundle} is signed and complete, but {refusal}")
    show(
        bundle_report(opened.manifest, opened.task_id, facts),
        bundle_words(opened.manifest, opened.task_id, facts),
        as_json=as_json,
    )


def _kept(outcome: ChunkOutcome, folder: Path) -> dict[str, Any]:
    """Write a result to its file; return its line of results.ndjson."""
    line: dict[str, Any] = {"schema": SCHEMA, "index": outcome.chunk, "status": outcome.status.name.lower()}
    if outcome.status == Status.OK:
        file = folder / f"{outcome.chunk:06}.bin"
        file.write_bytes(outcome.data)
        return {**line, "file": file.name, "size": len(outcome.data), "sha256": sha256(outcome.data).hexdigest()}
    return {**line, "detail": describe_outcome(outcome)}


@contextlib.contextmanager
def _progress(work: Work) -> Iterator[Callable[[], None]]:
    """A progress bar on a terminal, nothing elsewhere; yields what to call for each chunk done."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(
        *Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn(), console=console
    ) as bar:
        task = bar.add_task(work.name, total=work.chunks)
        yield lambda: bar.advance(task)
