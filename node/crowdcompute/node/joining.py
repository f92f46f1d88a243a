"""Waiting until a runtime is on its network, and saying plainly why it is not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .exits import CommandError, Exit
from .signaling_client import SignalingState

if TYPE_CHECKING:
    from crowdcompute.protocol.join_link import JoinLink

    from .runtime import Runtime
    from .transports.native import NativeOptions

REACH_WITHIN_S = 10.0
"""A signaling server that does not answer in this time is called unreachable."""

REACH_NATIVE_WITHIN_S = 20.0
"""The same where peers can be dialled without it: one dial may take 10 s, and a second follows after 5."""

CLOCK_SKEW_MAX_S = 300.0
"""Beyond five minutes, tasks would seem expired or not yet made."""


INSTALL_LIBP2P = "pip install 'crowdcompute[libp2p]'"


def native_options(link: JoinLink, *, port: int | None = None, mdns: bool = True) -> NativeOptions | None:
    """How to meet native peers without a server: where a port was asked for, or the link names peers or no server.

    Otherwise not: libp2p takes a second to load, and nobody expects a volunteer's machine to open a port.

    Raises:
        CommandError: It is needed and not installed.
    """
    from .transports.native import NativeOptions, is_available

    if port is None and not link.bootstrap and link.servers:
        return None
    if not is_available():
        if port is None and link.servers:
            return None
        raise CommandError(f"meeting peers without a signaling server needs libp2p: {INSTALL_LIBP2P}", Exit.NOT_READY)
    return NativeOptions(port or 0, link.bootstrap, mdns)


async def join(runtime: Runtime) -> None:
    """Return once a signaling server has let us in, or a peer was reached without one.

    Where the link names no server, there is nothing to wait for: others may come later.

    Raises:
        CommandError: Nobody can be reached, a server refuses us, our clock and its clock are far apart, or we cannot
            listen.
    """
    try:
        await runtime.listen()
    except OSError as error:
        raise CommandError(f"{error}: choose another port with --listen (0 is any free one)", Exit.NOT_READY) from None
    if not runtime.link.servers:
        return
    where = " and ".join(runtime.link.servers)
    within_s = REACH_WITHIN_S if runtime.native is None else REACH_NATIVE_WITHIN_S
    deadline = asyncio.get_running_loop().time() + within_s
    while runtime.signaling.state is not SignalingState.ENTERED:
        detail = runtime.signaling_detail
        if runtime.signaling.state is SignalingState.REFUSED:
            raise CommandError(f"{where} refuses us: {detail}", Exit.REFUSED)
        if runtime.peer.neighbours:
            return
        remaining_s = deadline - asyncio.get_running_loop().time()
        waits = runtime.native is not None and remaining_s > 0
        if remaining_s <= 0 or (runtime.signaling.state is SignalingState.UNREACHABLE and not waits):
            raise CommandError(
                f"the signaling server {where} cannot be reached ({detail or 'no answer'}): "
                "check the link, and that `cc-signaling serve` runs there",
                Exit.UNREACHABLE,
            )
        try:
            await asyncio.wait_for(runtime.changed(), remaining_s)
        except TimeoutError:
            continue
    skew_s = runtime.signaling.clock_skew_s
    if skew_s is not None and abs(skew_s) > CLOCK_SKEW_MAX_S:
        raise CommandError(
            f"the clock of this machine is {abs(skew_s) / 60:.0f} minutes {'behind' if skew_s > 0 else 'ahead of'} "
            f"the clock of {where}: set one of them right (`timedatectl set-ntp true`), or tasks will "
            "seem expired",
            Exit.NOT_READY,
        )
