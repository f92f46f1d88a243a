"""`cc-node demo`: a whole network on this machine, from a signed bundle to a picture with its certificate.

    cc-signaling          a process of its own
    3 x cc-node run       processes of their own, the third told to lie
    a headless Chromium   with --browser: the page on a fresh profile
    the creator           this process

Everything is real: links on loopback, sandboxed worker processes, SQLite stores in a temporary folder.
Only independence is not: three peers on one machine belong to one person, and the demo says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import runpy
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from crowdcompute.node import keys
from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.node.home import open_home
from crowdcompute.node.signals import Stopping
from crowdcompute.protocol.bundle import read_bundle, write_bundle
from crowdcompute.protocol.identity import peer_id_of, verify
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.manifest import sign_manifest

from .chromium import Chromium, Tab, check_page, chromium
from .local_network import LOOPBACK, Volunteer, signaling_server, volunteer
from .results import certificate, export, statement_of
from .session import DISK_BYTES, Creator, online
from .task_file import read_task_file
from .watching import screen, until_closed
from .work import make_manifest, read_module

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from crowdcompute.node.runtime import Runtime
    from crowdcompute.protocol.bundle import Bundle
    from crowdcompute.protocol.creator import CreatorRole
    from crowdcompute.protocol.identity import PeerId

NODES = 3
CARRIERS = {"direct": "directly", "webrtc": "over WebRTC data channels", "libp2p": "over libp2p"}
START_WITHIN_S = 60.0
"""A cold, busy machine compiles a gigabyte of Python the first time."""


def demo(
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("out"),
    keep: Annotated[bool, Parameter(negative="")] = False,
    browser: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Run a whole network on this machine: 3 peers, one of them lying, compute a picture.

    Parameters
    ----------
    output
        Folder for the picture, the results and the certificate.
    keep
        Stay up afterwards, so that others can join; prints the join link and its QR code.
    browser
        Add a peer in a browser: a headless Chromium that opens the join link and presses Start for you.
    as_json
        Print one JSON document at the end and nothing else on standard output.
    """
    started = time.monotonic()
    show = _Lines(quiet=as_json)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cc-demo-")))
        guest = stack.enter_context(chromium(folder)) if browser else None
        signaling = stack.enter_context(signaling_server(folder))
        show("signaling", signaling["url"])
        if guest is not None:
            check_page(signaling["url"])
        nodes = [
            stack.enter_context(volunteer(folder, f"node-{number}", signaling["join"], lies=number == NODES))
            for number in range(1, NODES + 1)
        ]
        home = stack.enter_context(open_home(folder / "creator", disk_bytes=DISK_BYTES))
        creator = Creator(home, keys.create(folder / "creator.key"))
        bundle = _bundle(creator)
        show("task", f"{bundle.manifest.name}, {bundle.manifest.chunks} chunks, {bundle.task_id.hex()[:16]}")
        show("creator", f"{creator.identity.peer_id} (made for this demo)  signature ok")
        link = JoinLink.parse(signaling["join"])
        _run(_play(creator, bundle, link, Peers(nodes, guest), output, started, show, keep=keep))
    return Exit.OK


@dataclass
class Peers:
    """Everybody who computes in the demo."""

    nodes: list[Volunteer]
    browser: Chromium | None
    browser_id: PeerId | None = None
    """Who the browser is, which is known once it has connected: its page makes its key."""

    def check(self) -> None:
        """Raise if one of them has ended by itself."""
        for node in self.nodes:
            node.check()
        if self.browser is not None:
            self.browser.check()

    def are_among(self, neighbours: Collection[PeerId]) -> bool:
        """Whether all of them are connected; nobody else knows the link yet, so another neighbour is the browser."""
        others = set(neighbours) - {node.peer_id for node in self.nodes}
        if self.browser is not None and len(others) == 1:
            (self.browser_id,) = others
        return len(neighbours) - len(others) == len(self.nodes) and (self.browser is None) == (self.browser_id is None)

    @property
    def names(self) -> dict[PeerId, str]:
        names = {node.peer_id: node.name for node in self.nodes}
        return names if self.browser_id is None else {**names, self.browser_id: "browser"}


async def _play(
    creator: Creator,
    bundle: Bundle,
    link: JoinLink,
    peers: Peers,
    output: Path,
    started: float,
    show: _Lines,
    *,
    keep: bool,
) -> None:
    stopping = Stopping()
    creator.store_bundle(bundle)
    invitation = replace(link, task_id=bundle.task_id)
    async with online(creator, link, hosts=(LOOPBACK,)) as runtime, _visit(peers.browser, invitation) as tab:
        playing = asyncio.create_task(_compute(runtime, bundle, peers, tab, show))
        stopped = asyncio.create_task(stopping.asked.wait())
        await asyncio.wait({playing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not playing.done():
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            raise CommandError("the demo was stopped", Exit.INTERRUPTED)
        role = playing.result()
        export(role, output)
        picture = output / "deep_zoom.png"
        tiles = ((chunk, role.result_bytes(chunk) or b"") for chunk in range(bundle.manifest.chunks))
        runpy.run_path(str(_example() / "render.py"))["render"](tiles).save(picture)
        seconds = time.monotonic() - started
        _tell(role, peers, show)
        show("certificate", f"{output / 'certificate.json'}: {statement_of(role)}")
        show("note", "peers on one machine are not independent: real safety needs strangers' machines")
        show("picture", f"{picture}   {seconds:.1f} s")
        if show.quiet:
            print(json.dumps(_document(role, peers, picture, seconds), indent=2), flush=True)
        if keep:
            _invite(invitation, show)
            await stopped
        stopped.cancel()


@contextlib.asynccontextmanager
async def _visit(browser: Chromium | None, invitation: JoinLink) -> AsyncIterator[Tab | None]:
    """Have the link opened, if there is a browser."""
    if browser is None:
        yield None
        return
    async with browser.devtools() as devtools:
        yield await devtools.open(str(invitation))


async def _compute(runtime: Runtime, bundle: Bundle, peers: Peers, tab: Tab | None, show: _Lines) -> CreatorRole:
    """Wait for the peers, publish, and see the task through."""
    deadline = time.monotonic() + START_WITHIN_S
    while not peers.are_among(runtime.peer.neighbours):
        peers.check()
        if time.monotonic() > deadline:
            missing = "the browser" if peers.browser is not None and peers.browser_id is None else "the nodes"
            raise CommandError(f"{missing} did not connect within {START_WITHIN_S:.0f} s", Exit.UNREACHABLE)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(runtime.changed(), 1.0)
    guest = "" if tab is None else " and a browser"
    carriers = sorted({CARRIERS[over] for over in runtime.carriers.values()})
    show("peers", f"{len(peers.nodes)} native nodes{guest}, connected {' and '.join(carriers)} on {LOOPBACK}")
    for node in peers.nodes:
        show("", f"{node.name}  {node.peer_id}{'  (told to lie)' if node.lies else ''}")
    if tab is not None:
        show("", f"browser {peers.browser_id}  (a page on a fresh profile; --browser pressed its Start for you)")
    runtime.publish(bundle.signed)
    role = runtime.peer.creators[bundle.task_id]
    if tab is not None:
        try:
            # The page computes nothing before a person agrees; whoever started the demo with --browser has.
            await asyncio.wait_for(tab.press("Start"), START_WITHIN_S)
        except TimeoutError:
            raise CommandError("the page did not ask whether it may compute the task") from None
    with screen(runtime, role) as update:
        await until_closed(runtime, role, update)
    return role


def _tell(role: CreatorRole, peers: Peers, show: _Lines) -> None:
    progress = role.progress()
    names = peers.names
    show("progress", f"{progress.accepted}/{progress.chunks} chunks accepted, {progress.failed} failed")
    show("votes", f"{progress.votes}, of them {progress.creator_audits + progress.worker_audits} blind audits")
    if peers.browser_id is not None:
        show("", f"{_votes_for_results(role, peers.browser_id)} by the browser for what was accepted")
    wrong = {peer_id_of(worker): count for worker, count in role.wrong_votes().items()}
    if wrong:
        pinned = ", ".join(f"{count} by {names.get(peer_id, peer_id)}" for peer_id, count in sorted(wrong.items()))
        convicted = ", ".join(names.get(peer_id_of(worker), "?") for worker in role.ledger.verdicts)
        show("wrong votes", f"{pinned}; convicted: {convicted or 'nobody'}")
    else:
        show("wrong votes", "none: the liar was never asked")


def _votes_for_results(role: CreatorRole, peer_id: PeerId) -> int:
    """How many accepted results a peer has voted for."""
    chunks = range(role.ledger.chunks)
    return sum(any(peer_id_of(worker) == peer_id for worker in role.result(chunk).agreed) for chunk in chunks)


def _document(role: CreatorRole, peers: Peers, picture: Path, seconds: float) -> dict[str, Any]:
    from .watching import report

    return {
        "schema": 1,
        **report(role),
        "peers": [
            {"name": name, "peer_id": peer_id, "votes_for_results": _votes_for_results(role, peer_id)}
            for peer_id, name in peers.names.items()
        ],
        "liars": [node.peer_id for node in peers.nodes if node.lies],
        "certificate": certificate(role),
        "picture": str(picture),
        "seconds": round(seconds, 2),
    }


def _invite(join: JoinLink, show: _Lines) -> None:
    import segno

    show("join", str(join))
    show("", f"cc-node run '{join}'   (Ctrl+C ends the demo)")
    segno.make(str(join)).terminal(sys.stderr if show.quiet else None, compact=True)


def _bundle(creator: Creator) -> Bundle:
    task = read_task_file(_example())
    module = read_module(task)
    manifest = make_manifest(task, module, creator.identity, created_s=int(time.time()))
    signed = sign_manifest(creator.identity, manifest)
    # Read back through the door every stranger's bundle comes through: that is what 'signature ok' means.
    return read_bundle(write_bundle(signed, {manifest.code.sha256: module}), verify)


def _example() -> Path:
    """The deep zoom's folder: beside the sources in a checkout, inside the package in a wheel."""
    packaged = Path(__file__).parent / "deep_zoom"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "examples" / "deep_zoom"


class _Lines:
    """The demo's lines: a word, then what it is about."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet

    def __call__(self, word: str, text: str) -> None:
        print(f"{word:11} {text}", file=sys.stderr if self.quiet else sys.stdout, flush=True)


def _run(main: Any) -> None:
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.run(main)
        return
    asyncio.run(main)
