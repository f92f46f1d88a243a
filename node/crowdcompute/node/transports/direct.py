"""How two native peers meet by TCP: one listens while a connection is being made, the other comes (spec/direct.md).

    listening: TLS --proof of the peer expected, its opening--> our opening --> link          one at most
    dialling:  TLS --the certificate is the signed one--> proof, our opening --their opening--> link

Addresses of this machine's interfaces are offered, as WebRTC offers them; nothing stays open afterwards.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import ifaddr
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from crowdcompute.protocol.direct import ADDRESSES_MAX, PROOF_BYTES, Address, DirectWay
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.streams import FrameReader, opening

from .direct_link import LINGER_S, DirectLink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from crowdcompute.protocol.events import Channel
    from crowdcompute.protocol.identity import PeerId

    _Frames = list[tuple[Channel, bytes]]

log = logging.getLogger(__name__)

CONNECT_WITHIN_S = 1.0
"""Three round trips. Whoever has not met by then goes on by WebRTC."""

HANDSHAKE_WITHIN_S = 5.0
"""How long a stranger may take for TLS with a listener. Listeners end with their connection, within 15 s."""

CALLERS_MAX = 16
"""Who may be at a listener at one time; more are hung up on."""


class Certificate:
    """A key of this process, its certificate, which offers and answers name, and the TLS of both sides."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "crowdcompute")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=3650))
            .sign(key, hashes.SHA256())
        )
        self.fingerprint = sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()
        self.listening = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.dialling = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # The signed offer or answer says which certificate it must be: no authority, name or date matters.
        self.dialling.check_hostname = False
        self.dialling.verify_mode = ssl.CERT_NONE
        for context in (self.listening, self.dialling):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.listening.num_tickets = 0
        with tempfile.TemporaryDirectory(prefix="cc-") as folder:  # The library reads keys from files only.
            file = Path(folder) / "certificate.pem"
            file.touch(0o600)
            file.write_bytes(
                certificate.public_bytes(serialization.Encoding.PEM)
                + key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
            self.listening.load_cert_chain(file)


@dataclass(frozen=True, slots=True)
class Ends:
    """What both sides of a connection say and expect first: `listening`, as on a stream of libp2p."""

    network: str
    peer_id: PeerId
    """The other side's."""
    addresses: tuple[str, ...]
    """Where we can be dialled by libp2p."""

    def opening(self) -> bytes:
        return opening(self.network, self.addresses)

    def reader(self) -> FrameReader:
        return FrameReader(self.network, self.peer_id)

    def link(self, transport: asyncio.Transport, reader: FrameReader, first: _Frames) -> DirectLink:
        link = DirectLink(self.peer_id, transport, reader, first)
        transport.set_protocol(link)
        return link


class Listener:
    """Waits for one peer on all our addresses. `came` is done when it has come, or nobody is waited for any more."""

    def __init__(self, certificate: Certificate, ends: Ends, is_proof: Callable[[bytes], bool]) -> None:
        """`is_proof`: whether these bytes were signed by that peer for this connection."""
        self.came: asyncio.Future[DirectLink] = asyncio.get_running_loop().create_future()
        self._taken = False
        self._certificate = certificate
        self.ends = ends
        self.is_proof = is_proof
        self._servers: list[asyncio.Server] = []
        self._callers: set[_Caller] = set()

    async def start(self, hosts: Iterable[str]) -> DirectWay | None:
        """Listen; what to offer, or None when there is no address to listen at."""
        addresses = []
        for host in hosts:
            with suppress(OSError):
                server = await asyncio.get_running_loop().create_server(
                    lambda: _Caller(self),
                    host,
                    0,
                    ssl=self._certificate.listening,
                    ssl_handshake_timeout=HANDSHAKE_WITHIN_S,
                    ssl_shutdown_timeout=LINGER_S,
                )
                self._servers.append(server)
                addresses.append(Address(host, server.sockets[0].getsockname()[1]))
        return DirectWay(self._certificate.fingerprint, tuple(addresses)) if addresses else None

    def take(self) -> DirectLink | None:
        """The link to who has come, which is the caller's from now on."""
        if not self.came.done() or self.came.cancelled():
            return None
        self._taken = True
        return self.came.result()

    def close(self) -> None:
        """Stop listening, and hang up on whom nobody has taken."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for caller in list(self._callers):
            caller.hang_up()
        if not self.came.cancel() and not self._taken and (link := self.take()) is not None:
            link.close("nobody waits for this connection any more")

    def admits(self, caller: _Caller) -> bool:
        """Whether one more caller may stay."""
        if len(self._callers) >= CALLERS_MAX or self.came.done():
            return False
        self._callers.add(caller)
        return True

    def left(self, caller: _Caller) -> None:
        self._callers.discard(caller)

    def proved(self, caller: _Caller, transport: asyncio.Transport, reader: FrameReader, first: _Frames) -> None:
        """A caller is the peer we wait for."""
        self._callers.discard(caller)
        if self.came.done():
            transport.abort()
            return
        transport.write(self.ends.opening())
        self.came.set_result(self.ends.link(transport, reader, first))


class _Caller(asyncio.Protocol):
    """Somebody at a listener who has not proved anything yet."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._said = b""
        self._reader: FrameReader | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        if not self._listener.admits(self):
            transport.abort()

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._reader is None:
            self._said += data
            if len(self._said) < PROOF_BYTES:
                return
            if not self._listener.is_proof(self._said[:PROOF_BYTES]):
                self._transport.abort()
                return
            self._reader, data = self._listener.ends.reader(), self._said[PROOF_BYTES:]
        try:
            first = self._reader.feed(data)
        except RemoteProtocolError as error:
            log.info("a peer that came to us is hung up on: %s", error)
            self._transport.abort()
            return
        if self._reader.addresses is not None:
            self._listener.proved(self, self._transport, self._reader, first)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.left(self)

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _Dialler(asyncio.Protocol):
    """Our side of a connection that we make, until we are welcome."""

    def __init__(self, ends: Ends, fingerprint: bytes, proof: bytes) -> None:
        self.link: asyncio.Future[DirectLink] = asyncio.get_running_loop().create_future()
        self._ends = ends
        self._reader = ends.reader()
        self._fingerprint = fingerprint
        self._proof = proof
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        connection: ssl.SSLObject = transport.get_extra_info("ssl_object")
        certificate = connection.getpeercert(binary_form=True)
        if certificate is None or sha256(certificate).digest() != self._fingerprint:
            self._fail("the TLS certificate in use is not the signed one")
        else:
            transport.write(self._proof + self._ends.opening())

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self.link.done():
            return
        try:
            first = self._reader.feed(data)
        except RemoteProtocolError as error:
            self._fail(str(error))
            return
        if self._reader.addresses is not None:
            self.link.set_result(self._ends.link(self._transport, self._reader, first))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the peer hung up")

    def _fail(self, reason: str) -> None:
        if not self.link.done():
            self.link.set_exception(ConnectionError(reason))
            self.link.exception()  # Marks it as seen: who dialled may have stopped waiting.
        if self._transport is not None:
            self._transport.abort()


async def dial(
    certificate: Certificate, ends: Ends, way: DirectWay, proof: bytes, *, within_s: float = CONNECT_WITHIN_S
) -> DirectLink:
    """Connect to a peer at whichever of these addresses answers first.

    Raises:
        ConnectionError: At none of them, in this time.
    """
    tasks = [asyncio.create_task(_dial_at(certificate, ends, at, way.certificate, proof)) for at in way.addresses]
    made: DirectLink | None = None
    reason = f"no connection within {within_s:g} s"
    try:
        async with asyncio.timeout(within_s):
            for first in asyncio.as_completed(tasks):
                try:
                    made = await first
                    return made
                except OSError as error:
                    reason = str(error)
    except TimeoutError:
        pass
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, DirectLink) and outcome is not made:
                outcome.close("there is another connection")
    raise ConnectionError(reason)


async def _dial_at(certificate: Certificate, ends: Ends, at: Address, fingerprint: bytes, proof: bytes) -> DirectLink:
    dialler = _Dialler(ends, fingerprint, proof)
    transport, _ = await asyncio.get_running_loop().create_connection(
        lambda: dialler,
        at.host,
        at.port,
        ssl=certificate.dialling,
        ssl_handshake_timeout=HANDSHAKE_WITHIN_S,
        ssl_shutdown_timeout=LINGER_S,
    )
    try:
        return await dialler.link
    except asyncio.CancelledError:
        transport.abort()
        raise


def own_addresses(hosts: Sequence[str]) -> list[str]:
    """Where to listen: the addresses of this machine's interfaces, or those that were named."""
    if hosts:
        return list(hosts[:ADDRESSES_MAX])
    return [str(own.ip) for own in _interfaces() if not (own.ip.is_loopback or own.ip.is_link_local)][:ADDRESSES_MAX]


def reachable(way: DirectWay, hosts: Sequence[str]) -> DirectWay:
    """The way, with those addresses only that are worth a try: public ones, and those of a network we are in.

    Others lead to somebody else, or into the void for a second: private addresses mean another machine in each network.
    """
    ours = [own.network for own in _interfaces() if not own.ip.is_loopback]
    loopback = any(ipaddress.ip_address(host).is_loopback for host in hosts)

    def is_worth_it(address: Address) -> bool:
        ip = ipaddress.ip_address(address.host)
        return (ip.is_loopback and loopback) or ip.is_global or any(ip in network for network in ours)

    return DirectWay(way.certificate, tuple(filter(is_worth_it, way.addresses)))


def _interfaces() -> list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
    return [
        ipaddress.ip_interface(f"{own.ip if own.is_IPv4 else own.ip[0]}/{own.network_prefix}")
        for adapter in ifaddr.get_adapters()
        for own in adapter.ips
    ]
