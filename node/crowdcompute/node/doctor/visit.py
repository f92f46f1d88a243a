"""The signaling server as the doctor sees it: entered for a moment, under a key of its own."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING

from crowdcompute.node.joining import CLOCK_SKEW_MAX_S
from crowdcompute.node.signaling_client import SignalingState, StateChanged
from crowdcompute.node.signaling_servers import SignalingServers
from crowdcompute.protocol.identity import Identity

from .findings import Finding, bad, good, note

if TYPE_CHECKING:
    from crowdcompute.node.signaling_client import SignalingEvent
    from crowdcompute.protocol.join_link import JoinLink
    from crowdcompute.protocol.signaling import IceServer

VISIT_WITHIN_S = 10.0
"""Less than a probe may take, so that it is this row that says so."""

NO_LINK = "Not tried: say which network, `cc-node doctor 'http://…/j#n=NETWORK'`."


@dataclass(frozen=True, slots=True)
class Visit:
    """What one connection to the signaling server told."""

    websocket: Finding
    clock_skew_s: float | None = None
    ice_servers: tuple[IceServer, ...] | None = None
    """None where the server did not get to say."""


async def visit(link: JoinLink | None) -> Visit:
    """Enter the network and leave again. A key of its own: the node's would push out a node that runs."""
    if link is None:
        return Visit(note(NO_LINK))
    if not link.servers:
        return Visit(note("This network has no signaling server."))
    loop = asyncio.get_running_loop()
    client = SignalingServers(
        link.websocket_urls, Identity(secrets.token_bytes(32)), link.network, SystemRandom(), link.invite
    )
    settled: asyncio.Future[StateChanged] = loop.create_future()

    def heard(event: SignalingEvent) -> None:
        if isinstance(event, StateChanged) and event.state is not SignalingState.CONNECTING and not settled.done():
            settled.set_result(event)

    started = loop.time()
    running = asyncio.create_task(client.run(heard))
    try:
        event = await asyncio.wait_for(settled, VISIT_WITHIN_S)
    except TimeoutError:
        event = StateChanged(SignalingState.UNREACHABLE, f"no answer within {VISIT_WITHIN_S:g} s")
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    match event.state:
        case SignalingState.ENTERED:
            found = good(f"The server that introduces peers let us in after {(loop.time() - started) * 1000:.0f} ms.")
        case SignalingState.REFUSED:
            found = bad(f"The server refuses us: {event.detail}.")
        case _:
            found = bad(
                f"The server cannot be reached ({event.detail}): check the link, that `cc-signaling serve` runs there, "
                "and that no proxy swallows WebSockets."
            )
    entered = event.state is SignalingState.ENTERED
    return Visit(found, client.clock_skew_s, client.ice_servers if entered else None)


def clock(seen: Visit) -> Finding:
    """Our clock beside the server's. Only one of the two may be wrong, so neither is called right."""
    skew_s = seen.clock_skew_s
    if skew_s is None:
        return note("Not compared: that takes a signaling server that answers.")
    if abs(skew_s) <= CLOCK_SKEW_MAX_S:
        return good(f"This machine's clock and the server's differ by {abs(skew_s):.1f} s.")
    side = "behind" if skew_s > 0 else "ahead of"
    return bad(
        f"This machine's clock is {abs(skew_s) / 60:.0f} minutes {side} the server's: "
        "set one of them right (`timedatectl set-ntp true`), or tasks will seem expired."
    )
