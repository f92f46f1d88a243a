"""`cc-node run`: volunteer until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from crowdcompute.protocol.events import Notable
from crowdcompute.protocol.identity import public_key_of
from crowdcompute.protocol.join_link import MEETING_PLACES_MAX, JoinLink

from .account_files import own_statement, own_statement_file
from .account_login import log_in
from .consent import whose_vouch_counts
from .control import ControlError
from .control_server import ControlServer
from .earned import earned
from .exits import CommandError, Exit
from .home import open_home
from .joining import INSTALL_LIBP2P, join, native_options
from .keys import load_or_create
from .leaderboard import tables_of, told
from .lying import LyingExecutor
from .news import News
from .paths import paths
from .signals import Stopping
from .store.savepoints import SavepointStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crowdcompute.protocol.events import Notice
    from crowdcompute.protocol.identity import Identity, PeerId

    from .config import NodeConfig
    from .executors.engine import EngineName
    from .runtime import Executor, Runtime

SUMMARY_EVERY_S = 10.0


LOG_IN_EVERY_S = 900.0
"""As long as a token is good: a server that was restarted knows the account again after half of that on average."""


def run(config: NodeConfig, *, lie: bool = False, quiet: bool = False) -> int:
    """Join the network of `config.link` and work until SIGINT or SIGTERM; the exit code.

    Raises:
        CommandError, KeyFileError, StoreError, FolderInUse: The node cannot start; each says what to do.
    """
    link = JoinLink.parse(config.link)
    link = replace(link, bootstrap=(*link.bootstrap, *config.bootstrap))
    native = native_options(link, port=config.listen, mdns=config.mdns)
    identity_file = paths().identity
    with open_home(paths().data / "node", disk_bytes=config.disk, store=paths().store) as home:
        identity = load_or_create(identity_file)
        say = _Teller(quiet, identity.peer_id)

        async def serve() -> None:
            from .executors.engine import has_v8
            from .executors.fetching import FetchingExecutor
            from .executors.pool import WorkerPool
            from .runtime import Runtime, protocol_config
            from .status import runtime_facts

            stopping = Stopping()
            javascript: EngineName = "quickjs" if config.javascript == "strict" else "v8"
            takes_javascript = config.javascript == "strict" or (config.javascript == "fast" and has_v8())
            if config.javascript == "fast" and not takes_javascript:
                say("JavaScript tasks are left to others: pip install 'crowdcompute[js]', or choose --strict-js")
            pool = WorkerPool(
                config.jobs,
                niceness=config.nice,
                javascript=javascript,
                gpu=config.gpu,
                save_every_s=config.savepoint,
            )
            fetching = FetchingExecutor(pool, per_minute=config.fetches, loopback=config.fetch_loopback)
            executor: Executor = LyingExecutor(fetching) if lie else fetching
            runtime = Runtime(
                protocol_config(
                    network=link.network,
                    slots=config.jobs,
                    memory_bytes_max=config.memory,
                    seconds_max=config.seconds,
                    runtimes=frozenset({"wasm", "gpu", *(("js",) if takes_javascript else ()), *config.allow}),
                    vouchers=frozenset(map(public_key_of, whose_vouch_counts(config, link))),
                    upload_bytes_per_s=config.upload,
                    # One creator's tasks leave room for another's.
                    creator_bytes_max=config.disk * 3 // 4,
                    steward=config.steward,
                    handover_every_s=config.handover,
                    accept_creators=frozenset(map(public_key_of, config.accept)) or None,
                ),
                identity,
                link,
                home.records,
                home.blobs,
                executor,
                hosts=config.host,
                native=native,
                savepoints=SavepointStore(home.folder / "savepoints"),
                stack=config.stack,
                on_notice=say.notice,
            )

            home.blobs.needed = runtime.peer.needs

            async def answer(command: str, _: Mapping[str, Any]) -> Mapping[str, Any]:
                if command == "status":
                    return {
                        "state": "running",
                        "jobs": config.jobs,
                        **runtime_facts(runtime),
                        "worker": pool_facts(pool),
                    }
                if command == "credit":
                    return {"credit": earned(home.records, home.blobs, identity.public_key, own_statement())}
                if command == "leaderboard":
                    return {"tasks": told(tables_of(home.records, home.blobs))}
                raise ControlError(f"a node does not understand the command {command!r}")

            try:
                await asyncio.gather(pool.start(), _started(runtime, link))
            except RuntimeError as error:
                raise CommandError(str(error), Exit.NOT_READY) from None
            if config.gpu != "off":
                say(f"GPU: {pool.gpu.device or f'none, so kernels run as modules ({pool.gpu.missing})'}")
            try:
                async with ControlServer(home.control_socket, answer):
                    through = " and ".join(link.servers) or "no server"
                    say(f"peer {identity.peer_id} joined network {link.network} through {through}")
                    if runtime.native is not None:
                        for address in runtime.native.addresses:
                            say(f"listening on {address}")
                        invitation = replace(link, bootstrap=runtime.native.addresses[:MEETING_PLACES_MAX])
                        say(f"others join by: cc-node run '{invitation}'")
                    elif link.bootstrap:
                        say(f"native nodes are met through the signaling server only: {INSTALL_LIBP2P}")
                    logging_in = asyncio.create_task(_logged_in(link, identity, say))
                    try:
                        await _work(runtime, stopping, say)
                    finally:
                        logging_in.cancel()
                    say("finishing what runs; press Ctrl+C again to stop at once")
                    await runtime.finish(config.grace)
                say(f"stopped after {runtime.totals.chunks} chunks")
            finally:
                await runtime.close("the node stops")
                await pool.close()

        _run(serve())
    return Exit.OK


async def _started(runtime: Runtime, link: JoinLink) -> None:
    runtime.start()
    try:
        await join(runtime)
    except BaseException:
        await runtime.close("could not join")
        raise


async def _logged_in(link: JoinLink, identity: Identity, say: _Teller) -> None:
    """Tell the signaling servers, which forget everything at their end, whose this node is; now and again and again."""
    refused: set[str] = set()
    while (statement := own_statement_file()) is not None:
        for server in link.servers:
            try:
                await asyncio.to_thread(log_in, server, identity, statement)
            except CommandError as error:
                # Nothing else depends on it, and the next time may do.
                if server not in refused:
                    say(f"not logged in for the account: {error}")
                refused.add(server)
        await asyncio.sleep(LOG_IN_EVERY_S)


async def _work(runtime: Runtime, stopping: Stopping, say: _Teller) -> None:
    asked = asyncio.create_task(stopping.asked.wait())
    news, summary = News(runtime), ""
    try:
        while not asked.done():
            changed = asyncio.create_task(runtime.changed())
            done, _ = await asyncio.wait({asked, changed}, return_when=asyncio.FIRST_COMPLETED)
            if changed in done:
                changed.result()
            else:
                changed.cancel()
            for line in news.lines():
                say(line)
            now = _summary(runtime)
            if now != summary and say.due():
                summary = now
                say(now)
    finally:
        asked.cancel()


def _summary(runtime: Runtime) -> str:
    peers = len(runtime.peer.neighbours)
    votes = sum(role.votes for role in runtime.peer.workers.values())
    return f"{votes} chunks voted on, {peers} peer{'s' if peers != 1 else ''} connected"


def pool_facts(pool: Any) -> dict[str, Any]:
    """What confines the worker processes, for `status`."""
    description = pool.describe()
    return {
        "layers": list(description.layers),
        "pids": list(description.pids),
        "gpu": description.gpu,
        "resumed": description.resumed,
    }


class _Teller:
    """Says on standard error what a person running a node wants to know, a line each."""

    def __init__(self, quiet: bool, peer_id: PeerId) -> None:
        self._quiet = quiet
        self._peer_id = peer_id
        self._last = time.monotonic()

    def __call__(self, line: str) -> None:
        if not self._quiet:
            print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)

    def due(self) -> bool:
        """Whether the last summary is long enough ago."""
        if time.monotonic() - self._last < SUMMARY_EVERY_S:
            return False
        self._last = time.monotonic()
        return True

    def notice(self, notice: Notice) -> None:
        task = f" {notice.task_id.hex()[:8]}" if notice.task_id else ""
        match notice.what:
            case Notable.TASK_SEEN:
                self(f"task{task} {notice.detail!r} by {notice.peer_id}")
            case Notable.CREATOR_VOUCHED:
                self(f"{notice.peer_id} answers for {notice.detail}")
            case Notable.STEWARD_NAMED:
                self(f"task{task} {notice.detail!r}: its creator lets this node act for it while it is away")
            case Notable.TASK_SETTLED:
                self(f"task{task} is settled: its creator checks and closes it when it is back")
            case Notable.WORKER_CONVICTED if notice.peer_id != self._peer_id:
                pass  # As steward; everybody hears of it by news.py.
            case Notable.WORKER_CONVICTED if notice.detail == "a strike":
                self(
                    f"task{task} a result of this machine was wrong: what it did so far does not count, "
                    "and a second wrong one ends it"
                )
            case Notable.WORKER_CONVICTED:
                self(f"task{task} takes no more from this machine: {notice.detail}")
            case Notable.PEER_SUSPECTED:
                self(f"peer {notice.peer_id}: {notice.detail}")
            case _:
                pass


def _run(main: Any) -> None:
    """asyncio.run on uvloop where there is one: it doubles what a WebRTC link carries (m)."""
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.run(main)
        return
    asyncio.run(main)
