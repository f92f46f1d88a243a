"""All signaling servers of a network as one: we are present on each, and a newcomer needs only one of them.

    ENTERED while we are on any · REFUSED when each refuses us · UNREACHABLE when none can be reached · else CONNECTING

What we send goes by all of them, because only the other side knows which it is on; it takes what comes twice once. A
peer is absent when every server that we are on says so.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from .signaling_client import PeerAbsent, SignalingClient, SignalingState, StateChanged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from crowdcompute.protocol.identity import PeerId, Signer
    from crowdcompute.protocol.signaling import IceServer

    from .signaling_client import SignalingEvent

ICE_SERVERS_MAX = 8
"""Of all servers together: each costs every connection a question."""

ABSENT_MAX = 1_000
"""Peers that some server called absent. The oldest are forgotten: their dials run into their timeout."""


class SignalingServers:
    """One client per server, for one identity in one network; with no server at all it stays UNREACHABLE."""

    def __init__(self, urls: Sequence[str], signer: Signer, network: str, rng: Random, invite: str = "") -> None:
        self.clients = {url: SignalingClient(url, signer, network, rng, invite) for url in urls}
        self.state = SignalingState.CONNECTING if urls else SignalingState.UNREACHABLE
        self._absent: dict[PeerId, set[str]] = {}

    @property
    def ice_servers(self) -> tuple[IceServer, ...]:
        """What the servers recommend."""
        recommended = (server for client in self.clients.values() for server in client.ice_servers)
        return tuple(dict.fromkeys(recommended))[:ICE_SERVERS_MAX]

    @property
    def clock_skew_s(self) -> float | None:
        """As `SignalingClient`; of several servers the one that agrees best with us, since any clock may be wrong."""
        skews = [client.clock_skew_s for client in self.clients.values() if client.clock_skew_s is not None]
        return min(skews, key=abs, default=None)

    async def run(self, on_event: Callable[[SignalingEvent], None]) -> None:
        """Stay connected to all until cancelled, telling everything to `on_event`."""
        await asyncio.gather(*(client.run(partial(self._told, on_event, url)) for url, client in self.clients.items()))

    def relay(self, to: bytes, signal: bytes) -> bool:
        """Send a signal to the peer with this public key; False when no server takes it."""
        return any([client.relay(to, signal) for client in self.clients.values()])

    def ask(self) -> bool:
        """Ask for other peers, to be told by `PeersNamed`; False when no server can be asked."""
        return any([client.ask() for client in self.clients.values()])

    def _told(self, on_event: Callable[[SignalingEvent], None], url: str, event: SignalingEvent) -> None:
        match event:
            case StateChanged(detail=detail):
                self.state = self._together()
                on_event(StateChanged(self.state, "" if self.state is SignalingState.ENTERED else detail))
            case PeerAbsent(peer_id=peer_id):
                says = self._absent.setdefault(peer_id, set())
                says.add(url)
                entered = {url for url, client in self.clients.items() if client.state is SignalingState.ENTERED}
                if entered <= says:
                    del self._absent[peer_id]
                    on_event(event)
                elif len(self._absent) > ABSENT_MAX:
                    del self._absent[next(iter(self._absent))]
            case _:
                on_event(event)

    def _together(self) -> SignalingState:
        states = {client.state for client in self.clients.values()}
        if SignalingState.ENTERED in states:
            return SignalingState.ENTERED
        if states == {SignalingState.REFUSED}:
            return SignalingState.REFUSED
        return SignalingState.CONNECTING if SignalingState.CONNECTING in states else SignalingState.UNREACHABLE
