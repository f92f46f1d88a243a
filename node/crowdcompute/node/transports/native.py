"""What native peers have beside WebRTC: an address to dial without introduction, and ways to hear of others' addresses.

    bootstrap list, mDNS, Kad-DHT, remembered --> address book --on_peers--> the core, which decides whom to dial

Needs the extra `[libp2p]`; `is_available` says whether it is there. A node without it loses only this.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from crowdcompute.protocol.identity import PeerId

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from crowdcompute.protocol.identity import Identity

    from .libp2p_link import Libp2pLink
    from .mdns import Mdns

log = logging.getLogger(__name__)

BOOK_MAX = 1_000
"""Peers whose addresses are kept; the first ones heard of are forgotten first."""


@dataclass(frozen=True, slots=True)
class NativeOptions:
    """How to listen, and how to find others."""

    port: int = 0
    """TCP port; 0 for any free one, which is kept across restarts."""
    bootstrap: tuple[str, ...] = ()
    """Multiaddrs of peers to begin with, each with a peer id."""
    mdns: bool = True


def is_available() -> bool:
    """Whether libp2p is installed."""
    return find_spec("libp2p") is not None


class Native:
    """One peer's native side. Callbacks come on the event loop, never from within a call.

    `on_link(link, dialled)`: attach to it at once. `on_dial_failed(peer_id, through, reason)`: a `dial` made no link.
    `on_peers(peer_ids)`: peers that can be dialled. `remembered`: addresses from an earlier life, our own among them.
    """

    def __init__(
        self,
        identity: Identity,
        network: str,
        options: NativeOptions,
        *,
        hosts: Sequence[str],
        remembered: Mapping[str, tuple[str, ...]],
        on_link: Callable[[Libp2pLink, bool], None],
        on_dial_failed: Callable[[PeerId, PeerId | None, str], None],
        on_peers: Callable[[tuple[PeerId, ...]], None],
    ) -> None:
        self._identity = identity
        self._network = network
        self._options = options
        self._hosts = tuple(hosts)
        self._on_link = on_link
        self._on_dial_failed = on_dial_failed
        self._on_peers = on_peers
        self._book: dict[PeerId, tuple[str, ...]] = {}
        self._dials: dict[PeerId, PeerId | None] = {}
        self._mdns: Mdns | None = None
        self._remembered = remembered
        # A second and much memory to import: only who uses it pays that.
        from .libp2p_host import Libp2pHost

        self._host = Libp2pHost(
            identity.secret(),
            network,
            port=options.port,
            port_before=_port(remembered.get(identity.peer_id, ())),
            hosts=self._hosts,
            bootstrap=options.bootstrap,
            on_link=on_link,
            on_dial_failed=self._failed,
            on_found=self._found,
        )

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where we can be dialled."""
        return self._host.addresses

    async def start(self) -> None:
        """Listen, and begin to look for others.

        Raises:
            OSError: The port cannot be had.
        """
        await self._host.start()
        for peer_id, addresses in reversed(list(self._remembered.items())):
            self._found(PeerId(peer_id), addresses)
        for address in self._options.bootstrap:
            self._found(PeerId(address.rpartition("/")[2]), (address,))
        if self._options.mdns:
            from .mdns import Mdns

            mdns = Mdns(self._network, self._identity.peer_id, self.addresses, self._found, hosts=self._hosts)
            try:
                await mdns.start()
                self._mdns = mdns
            except OSError as error:
                log.warning("mDNS does not work here (%s): peers of this LAN are not found by it", error)

    def knows(self, peer_id: PeerId) -> bool:
        """Whether a peer can be dialled here."""
        return peer_id in self._book

    def dial(self, peer_id: PeerId, through: PeerId | None) -> None:
        """Connect to a peer that we know an address of. `through` is handed back when that fails."""
        self._dials[peer_id] = through
        self._host.dial(peer_id, self._book[peer_id])

    async def close(self) -> None:
        """Close every link and stop listening."""
        if self._mdns is not None:
            await self._mdns.close()
        await self._host.close()

    def _failed(self, peer_id: PeerId, reason: str) -> None:
        log.info("no libp2p link to %s: %s", peer_id, reason)
        self._on_dial_failed(peer_id, self._dials.pop(peer_id, None), reason)

    def _found(self, peer_id: PeerId, addresses: tuple[str, ...]) -> None:
        if peer_id == self._identity.peer_id:
            return
        self._book.pop(peer_id, None)
        self._book[peer_id] = addresses
        if len(self._book) > BOOK_MAX:
            del self._book[next(iter(self._book))]
        self._on_peers((peer_id,))


def _port(addresses: Sequence[str]) -> int:
    """Where we listened in an earlier life; 0 if there was none."""
    return int(addresses[0].partition("/tcp/")[2].partition("/")[0]) if addresses else 0
