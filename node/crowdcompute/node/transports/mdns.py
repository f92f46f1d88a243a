"""Peers of one network find each other on a LAN by multicast DNS (libp2p's mDNS specification, spec/libp2p.md).

Each peer advertises a service `_p2p-XXXXXXXX._udp.local.`, whose name stands for the network, with a TXT string
`dnsaddr=MULTIADDR` for each of its addresses, and hears of the others'. zeroconf's own asyncio side does it: the one
that libp2p brings would hold up its thread for seconds.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING

from zeroconf import InterfaceChoice, IPVersion, ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from crowdcompute.protocol.errors import LocalProtocolError
from crowdcompute.protocol.identity import PeerId
from crowdcompute.protocol.join_link import check_bootstrap
from crowdcompute.protocol.streams import ADDRESSES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zeroconf import Zeroconf

log = logging.getLogger(__name__)

ASK_WITHIN_MS = 3_000
_KEY = b"dnsaddr="
_TXT_BYTES_MAX = 255


def service_type(network: str) -> str:
    """What peers of a network advertise. Others on the LAN see a digest of its name."""
    return f"_p2p-{sha256(network.encode()).hexdigest()[:8]}._udp.local."


class Mdns:
    """Advertises one peer and hears of others. `on_found(peer_id, addresses)`: it may be a lie, a dial will tell."""

    def __init__(
        self,
        network: str,
        peer_id: PeerId,
        addresses: Sequence[str],
        on_found: Callable[[PeerId, tuple[str, ...]], None],
        *,
        hosts: Sequence[str] = (),
    ) -> None:
        """`hosts`: the local addresses whose interfaces are used; empty for all."""
        self._type = service_type(network)
        self._peer_id = peer_id
        self._addresses = addresses
        self._on_found = on_found
        self._hosts = tuple(hosts)
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._asking: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Advertise and listen.

        Raises:
            OSError: There is no interface that takes multicast.
        """
        interfaces = list(self._hosts) or InterfaceChoice.All
        zeroconf = AsyncZeroconf(interfaces=interfaces, ip_version=IPVersion.V4Only)
        self._zeroconf = zeroconf
        name = f"{secrets.token_hex(16)}.{self._type}"
        port = int(self._addresses[0].partition("/tcp/")[2].partition("/")[0])
        info = AsyncServiceInfo(
            self._type,
            name,
            port=port,
            properties=_txt(self._addresses),
            server=f"{name.partition('.')[0]}.local.",
            # A service without any is never complete for who asks.
            parsed_addresses=[address.split("/")[2] for address in self._addresses if address.startswith("/ip4/")],
        )
        # Nobody else draws the same 16 bytes, so nobody is asked for two seconds whether the name is free.
        await zeroconf.async_register_service(info, cooperating_responders=True)
        self._browser = AsyncServiceBrowser(zeroconf.zeroconf, self._type, handlers=[self._changed])

    async def close(self) -> None:
        """Say goodbye and stop."""
        for task in self._asking:
            task.cancel()
        if self._browser is not None:
            await self._browser.async_cancel()
        if self._zeroconf is not None:
            await self._zeroconf.async_unregister_all_services()
            await self._zeroconf.async_close()

    def _changed(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if state_change is not ServiceStateChange.Removed:
            task = asyncio.get_running_loop().create_task(self._ask(zeroconf, name))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _ask(self, zeroconf: Zeroconf, name: str) -> None:
        info = AsyncServiceInfo(self._type, name)
        if not await info.async_request(zeroconf, ASK_WITHIN_MS):
            return
        by_peer: dict[PeerId, list[str]] = {}
        for address in _addresses(info.text or b""):
            by_peer.setdefault(PeerId(address.rpartition("/")[2]), []).append(address)
        for peer_id, addresses in by_peer.items():
            if peer_id != self._peer_id:
                log.info("mDNS: %s is at %s", peer_id, ", ".join(addresses))
                self._on_found(peer_id, tuple(addresses[:ADDRESSES_MAX]))


def _txt(addresses: Sequence[str]) -> bytes:
    """A TXT record's strings, each with its length before it."""
    strings = [_KEY + address.encode() for address in addresses]
    return b"".join(bytes([len(string)]) + string for string in strings if len(string) <= _TXT_BYTES_MAX)


def _addresses(txt: bytes) -> list[str]:
    """The usable addresses in a TXT record."""
    found = []
    while txt:
        string, txt = txt[1 : 1 + txt[0]], txt[1 + txt[0] :]
        address = string.removeprefix(_KEY).decode("utf-8", "replace") if string.startswith(_KEY) else ""
        try:
            check_bootstrap(address)
        except LocalProtocolError:
            continue
        found.append(address)
    return found
