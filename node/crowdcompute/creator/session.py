"""A creator on the network: its own data folder, its key, and a runtime that publishes and referees but never works.

A publication remembers through which link it was made, so that `watch` and `results` need no more than the task.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import msgspec

from crowdcompute.node import keys
from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.node.home import Home, open_home
from crowdcompute.node.joining import join, native_options
from crowdcompute.node.paths import paths
from crowdcompute.protocol.bundle import Bundle
from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.events import Notable, RecordsRestored
from crowdcompute.protocol.feeding import Fed
from crowdcompute.protocol.identity import Identity, peer_id_of, verify
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.manifest import Handed, Stream, open_manifest
from crowdcompute.protocol.onward import open_refs, refs_item
from crowdcompute.protocol.peer import Peer
from crowdcompute.protocol.records import Feed, parse
from crowdcompute.protocol.split import ChunkReader

from .large_inputs import LARGE_BYTES, LargeInputs
from .plan import Plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from crowdcompute.node.runtime import Runtime
    from crowdcompute.node.store.records import StoredTask
    from crowdcompute.node.transports.link import StackName
    from crowdcompute.protocol.creator import CreatorRole
    from crowdcompute.protocol.events import Notice
    from crowdcompute.protocol.manifest import Manifest
    from crowdcompute.protocol.onward import ResultRef
    from crowdcompute.protocol.split import Reader

DISK_BYTES = 64 * 2**30
"""A creator keeps all results of its tasks: the cap only stops a runaway."""
STAGED_BYTES_MIN = 256 * 1024
"""A blob of this size takes a fraction of a millisecond to write, or several where the disk is busy."""
REFEREE_JOBS = 2
"""Worker processes of a creator: it executes only disputed chunks and its own audits, but the task waits for them."""


DIGITS_SHOWN = 12
"""Of a task's id, where a person reads it: as many as `cc-task list` shows."""
IDS_SHOWN = 10
"""Of tasks with one name: enough to choose from, and still a sentence."""


@dataclass(frozen=True, slots=True)
class Creator:
    """One creator's data folder and key, held by this process."""

    home: Home
    identity: Identity

    def remember(self, task: bytes, link: JoinLink) -> None:
        """Note through which link a task was published."""
        (self.home.folder / f"{task.hex()}.link").write_text(str(link))

    def remember_plan(self, task: bytes, plan: Plan) -> None:
        """Note what is to be done with a task's results."""
        (self.home.folder / f"{task.hex()}.plan").write_bytes(msgspec.json.encode(plan))

    def plan_of(self, task: bytes) -> Plan:
        """What is to be done with a task's results; nothing, if nobody said so."""
        try:
            return msgspec.json.decode((self.home.folder / f"{task.hex()}.plan").read_bytes(), type=Plan)
        except FileNotFoundError:
            return Plan()

    def link_of(self, task: bytes) -> JoinLink:
        """The link a task was published through.

        Raises:
            CommandError: It was never published from this folder.
        """
        try:
            return JoinLink.parse((self.home.folder / f"{task.hex()}.link").read_text())
        except FileNotFoundError:
            raise CommandError(
                f"task {task.hex()[:16]} was not published from here: give its link with --link", Exit.USAGE
            ) from None

    def find(self, wanted: str) -> StoredTask:
        """The published task whose id begins with `wanted`, or that is called so.

        Raises:
            CommandError: There is none, or more than one.
        """
        tasks = self.home.records.tasks()
        found = [task for task in tasks if task.task_id.hex().startswith(wanted.lower()) or task.name == wanted]
        if not found:
            raise CommandError(
                f"no task here has an id that begins with {wanted!r}, or that name: `cc-task list` shows them",
                Exit.USAGE,
            )
        if len(found) > 1:
            ids = ", ".join(task.task_id.hex()[:DIGITS_SHOWN] for task in found[:IDS_SHOWN])
            more = f" and {len(found) - IDS_SHOWN} more" if len(found) > IDS_SHOWN else ""
            raise CommandError(
                f"{len(found)} tasks here are called {wanted!r}, or have ids that begin so: {ids}{more}; give the id",
                Exit.USAGE,
            )
        return found[0]

    def role(self, task: bytes) -> CreatorRole:
        """A task's state from what is stored, without any network.

        Raises:
            CommandError: The task was signed by another key than the one in use.
        """
        # Dice for audits that this peer, which never goes online, will not ask for.
        peer = Peer(ProtocolConfig(slots=0, work=False), self.identity, verify, Random(0), self.home.blobs, 0.0)
        peer.handle(RecordsRestored(tuple(self.home.records.load_task(task))), now=0.0)
        role = peer.creators.get(task)
        if role is None:
            raise CommandError(
                f"task {task.hex()[:16]} was signed by another key than {self.identity.peer_id}: use --key",
                Exit.NOT_READY,
            )
        return role

    def stored_bundle(self, stored: StoredTask) -> Bundle:
        """A published task as it was signed.

        Raises:
            CommandError: Its code or its inputs are no longer kept.
        """
        manifest = open_manifest(stored.manifest, verify)
        blobs, stored_blobs = {}, self.home.blobs
        apart: Reader | None = None
        for ref in (manifest.code, manifest.inputs):
            if ref is not None:
                if self.home.blobs.size(ref.sha256) != ref.size:
                    raise CommandError(f"the files of task {stored.task_id.hex()[:16]} are no longer here")
                if ref is manifest.inputs and ref.size > LARGE_BYTES:
                    apart = partial(stored_blobs.read, ref.sha256)
                else:
                    blobs[ref.sha256] = stored_blobs.read(ref.sha256, 0, ref.size)
        return Bundle(stored.manifest, manifest, blobs, apart, self._read_results, self._fed(stored.task_id, manifest))

    def _fed(self, task: bytes, manifest: Manifest) -> dict[int, bytes]:
        """What was fed to a stream of ours."""
        fed = Fed()
        for signed in self.home.records.load_task(task) if isinstance(manifest.split, Stream) else ():
            record = parse(signed) if signed.kind == "feed" else None
            if isinstance(record, Feed):
                fed.add(record)
        return fed.inputs

    def _read_results(self, refs: Sequence[ResultRef]) -> bytes:
        """Results of earlier tasks (split.Results), as far as they are here."""
        for ref in refs:
            if ref.size and self.home.blobs.size(ref.sha256) != ref.size:
                raise CommandError(f"the result {ref.sha256.hex()[:16]} of an earlier task is no longer here")
        return b"".join(self.home.blobs.read(ref.sha256, 0, ref.size) if ref.size else b"" for ref in refs)

    def stage_bundle(self, bundle: Bundle) -> dict[bytes, Path]:
        """Write what `store_bundle` will keep of a bundle, where that takes its time. From any thread."""
        blobs = self.home.blobs
        return {
            digest: blobs.stage(blob)
            for digest, blob in bundle.blobs.items()
            if len(blob) >= STAGED_BYTES_MIN and blobs.size(digest) is None
        }

    def store_bundle(self, bundle: Bundle, staged: Mapping[bytes, Path] | None = None) -> None:
        """Keep a bundle's blobs, and the results it takes, ready to be served. `staged`: those already written."""
        if bundle.manifest.creator != self.identity.public_key:
            raise CommandError(
                f"the bundle was signed by {peer_id_of(bundle.manifest.creator)}, and your key is "
                f"{self.identity.peer_id}: only its creator can publish a task (use --key)",
                Exit.REFUSED,
            )
        for digest, blob in bundle.blobs.items():
            if staged and digest in staged:
                self.home.blobs.put_staged(digest, staged[digest], len(blob))
            elif self.home.blobs.size(digest) is None:
                self.home.blobs.put(digest, blob)
        if (
            isinstance(bundle.manifest.split, Handed)
            and isinstance(bundle.inputs, bytes)
            and bundle.results is not None
        ):
            reader = ChunkReader(bundle.manifest, bundle.inputs, refs_item)
            for chunk in range(bundle.manifest.chunks):
                for ref in open_refs(reader.read(chunk)):
                    if ref.size and self.home.blobs.size(ref.sha256) is None:
                        self.home.blobs.put(ref.sha256, bundle.results([ref]))
        if isinstance(bundle.inputs, LargeInputs) and bundle.manifest.inputs is not None:
            self.home.blobs.put_file(bundle.manifest.inputs.sha256, bundle.inputs.blocks(), len(bundle.inputs))


@contextmanager
def open_creator(key: Path | None) -> Iterator[Creator]:
    """Hold the creator's data folder.

    Raises:
        KeyFileError, StoreError, FolderInUse: Each says what to do.
    """
    with ExitStack() as stack:
        home = stack.enter_context(open_home(paths().data / "creator", disk_bytes=DISK_BYTES, store=paths().store))
        yield Creator(home, keys.load_or_create(key or paths().creator))


@asynccontextmanager
async def online(
    creator: Creator,
    link: JoinLink,
    *,
    hosts: Sequence[str] = (),
    upload_bytes_per_s: float | None = None,
    stack: StackName = "auto",
    on_notice: Callable[[Notice], None] = lambda notice: None,
) -> AsyncIterator[Runtime]:
    """Be on the network: everything stored is taken up again, and left as it is when the block ends.

    Code and inputs are given no faster than `upload_bytes_per_s`; None: as fast as links take them.

    Raises:
        CommandError: The network cannot be joined, or this machine has no working sandbox.
    """
    from crowdcompute.node.executors.fetching import FetchingExecutor
    from crowdcompute.node.executors.pool import WorkerPool
    from crowdcompute.node.runtime import Runtime, protocol_config

    pool = WorkerPool(REFEREE_JOBS)

    plans: dict[bytes, Plan] = {}

    def noticed(notice: Notice) -> None:
        on_notice(notice)
        if notice.what is Notable.CHUNK_ACCEPTED and notice.task_id is not None and notice.chunk is not None:
            if notice.task_id not in plans:
                plans[notice.task_id] = creator.plan_of(notice.task_id)
            if plans[notice.task_id].stops_at_first_solution:
                # Soon, and not within the event that tells us.
                asyncio.get_running_loop().call_soon(
                    _stop_if_solved, plans[notice.task_id], runtime, notice.task_id, notice.chunk
                )

    runtime = Runtime(
        protocol_config(network=link.network, slots=REFEREE_JOBS, work=False, upload_bytes_per_s=upload_bytes_per_s),
        creator.identity,
        link,
        creator.home.records,
        creator.home.blobs,
        # Where volunteers' answers differ, what a creator gets itself counts. Its own addresses are its own affair.
        FetchingExecutor(pool, loopback=True),
        hosts=hosts,
        native=native_options(link),
        stack=stack,
        on_notice=noticed,
    )
    try:
        try:
            await pool.start()
        except RuntimeError as error:
            raise CommandError(str(error), Exit.NOT_READY) from None
        runtime.start()
        await join(runtime)
        yield runtime
    finally:
        await runtime.close("the creator goes offline")
        await pool.close()


def _stop_if_solved(plan: Plan, runtime: Runtime, task: bytes, chunk: int) -> None:
    """End a task whose plan says so at its first solution, once our own node has confirmed it."""
    role = runtime.peer.creators[task]
    if role.result(chunk).state == "ok" and plan.is_solution(role.result_bytes(chunk) or b""):
        runtime.give_up(task, decisive=chunk)
