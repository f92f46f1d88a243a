"""Finding others of our network in the Kad-DHT: say that we are of it, and ask who else is (spec/libp2p.md)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from crowdcompute.protocol.identity import PeerId

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from libp2p.abc import IHost
    from libp2p.kad_dht.kad_dht import KadDHT

log = logging.getLogger(__name__)

ANSWER_WITHIN_S = 10.0
DHT_EVERY_S = (2.0, 60.0)
"""How often we look for others of our network: soon while we know nobody, then seldom."""


async def look_for_others(
    host: IHost,
    dht: KadDHT,
    network: str,
    bootstrap: Sequence[str],
    on_found: Callable[[PeerId, tuple[str, ...]], None],
) -> None:
    """Go on for ever, beginning with the peers whose multiaddrs are in `bootstrap`.

    `on_found(peer_id, addresses)`: somebody of our network, as the DHT says; it may lie, a dial will tell.
    """
    pause_s, longest_s = DHT_EVERY_S
    key = f"/crowdcompute/{network}"
    own = str(host.get_id())
    while True:
        try:
            for address in bootstrap:
                await _introduce_to(host, dht, address)
            for peer in host.get_connected_peers():
                await dht.add_peer(peer)
            with trio.move_on_after(ANSWER_WITHIN_S):
                await dht.provide(key)
                for info in await dht.find_providers(key):
                    peer_id = str(info.peer_id)
                    if peer_id != own and info.addrs:
                        bare = (str(address).partition("/p2p/")[0] for address in info.addrs)
                        on_found(PeerId(peer_id), tuple(f"{address}/p2p/{peer_id}" for address in bare))
        except Exception as error:
            log.info("the DHT cannot be asked: %r", error)
        await trio.sleep(pause_s)
        pause_s = min(2 * pause_s, longest_s)


async def _introduce_to(host: IHost, dht: KadDHT, address: str) -> None:
    bare, _, peer_id = address.rpartition("/p2p/")
    their_id = ID.from_string(peer_id)
    if their_id in host.get_connected_peers() or their_id == host.get_id():
        return
    try:
        with trio.move_on_after(ANSWER_WITHIN_S):
            await host.connect(PeerInfo(their_id, [Multiaddr(bare)]))
            await dht.add_peer(their_id)
    except Exception as error:
        log.info("the bootstrap peer %s cannot be reached: %r", address, error)
