"""Join links, as a person pastes them (spec/signaling.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit

from .errors import LocalProtocolError, RemoteProtocolError
from .identity import PeerId, public_key_of

MEETING_PLACES_MAX = 8
"""Further servers, and peers to begin with, that one join link names."""

_SERVER = re.compile(r"https?://[A-Za-z0-9.:_/\[\]-]{1,250}")
_BOOTSTRAP = re.compile(
    r"/(?:ip4/[0-9.]{7,15}|ip6/[0-9a-fA-F:.]{2,45}|dns[46]?/[A-Za-z0-9.-]{1,253})/tcp/[0-9]{1,5}"
    r"/p2p/[1-9A-HJ-NP-Za-km-z]{40,60}"
)


@dataclass(frozen=True, slots=True)
class JoinLink:
    """Where to meet: a signaling server's page, and after `#` (which browsers keep to themselves) the network.

    `http://host:port/j#n=NETWORK`, `&t=TASK` (hex) to open one task's page, `&i=INVITE` where the network asks for it,
    `&s=URL` for each further server, `&b=MULTIADDR` for each native peer that can be dialled without any, `&v=PEERID`
    for whoever vouches for creators. What begins with `n=` is a link too: that of a network which needs no server.
    """

    base_url: str
    """`http://host:port` or `https://…`, without a slash at the end; empty where there is no server."""
    network: str
    task_id: bytes | None = None
    invite: str = ""
    """What the server wants to see proof of; empty for a network that is open to all."""
    others: tuple[str, ...] = ()
    """Further signaling servers of the same network, like `base_url`."""
    bootstrap: tuple[str, ...] = ()
    """Multiaddrs of native peers, each with a peer id."""
    vouchers: tuple[PeerId, ...] = ()
    """Who runs the network, or whoever else vouches for creators in it (spec/permissions.md)."""

    @classmethod
    def parse(cls, text: str) -> JoinLink:
        """Read a link a person pasted.

        Raises:
            LocalProtocolError: It is not a join link. The message says which part is missing or wrong.
        """
        text = text.strip()
        has_server = not text.startswith("n=")
        base_url = _base_url(text) if has_server else ""
        fragment = urlsplit(text).fragment if has_server else text
        pairs = parse_qsl(fragment, keep_blank_values=True)
        fields = dict(pairs)
        network = fields.get("n", "")
        if not network:
            raise LocalProtocolError(f"the join link {text[:200]!r} names no network: it must end in #n=NETWORK")
        check_network_name(network)
        try:
            task_id = bytes.fromhex(fields["t"]) if "t" in fields else None
        except ValueError:
            task_id = b""
        if task_id is not None and len(task_id) != 32:
            raise LocalProtocolError(f"the join link {text[:200]!r} names a task that is not 64 hex digits")
        invite = fields.get("i", "")
        if "i" in fields:
            check_invite(invite)
        others = tuple(value.rstrip("/") for name, value in pairs if name == "s")
        bootstrap = tuple(value for name, value in pairs if name == "b")
        vouchers = tuple(PeerId(value) for name, value in pairs if name == "v")
        if max(len(others), len(bootstrap), len(vouchers)) > MEETING_PLACES_MAX:
            raise LocalProtocolError(f"a join link names at most {MEETING_PLACES_MAX} further servers or peers")
        for url in others:
            check_server(url)
        for address in bootstrap:
            check_bootstrap(address)
        for voucher in vouchers:
            check_voucher(voucher)
        if others and not has_server:
            raise LocalProtocolError(
                f"the join link {text[:200]!r} begins without a server and names another: begin with http://host:port/j#"
            )
        return cls(base_url, network, task_id, invite, others, bootstrap, vouchers)

    def __str__(self) -> str:
        task = f"&t={self.task_id.hex()}" if self.task_id is not None else ""
        invite = f"&i={self.invite}" if self.invite else ""
        others = "".join(f"&s={quote(url, safe=':/')}" for url in self.others)
        bootstrap = "".join(f"&b={quote(address, safe=':/')}" for address in self.bootstrap)
        vouchers = "".join(f"&v={voucher}" for voucher in self.vouchers)
        server = f"{self.base_url}/j#" if self.base_url else ""
        return f"{server}n={quote(self.network)}{task}{invite}{others}{bootstrap}{vouchers}"

    @property
    def servers(self) -> tuple[str, ...]:
        """Every signaling server, the first one first."""
        return (self.base_url, *self.others) if self.base_url else ()

    @property
    def websocket_urls(self) -> tuple[str, ...]:
        """Where their WebSockets are: `ws://…/ws`, or `wss://` below https."""
        return tuple("ws" + url.removeprefix("http") + "/ws" for url in self.servers)


def _base_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  # reading it is what checks it
    except ValueError as error:
        raise LocalProtocolError(f"the join link {text[:200]!r} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LocalProtocolError(
            f"{text[:200]!r} is not a join link: it looks like http://host:port/j#n=NETWORK"
            " (in a shell, put it in quotes)"
        )
    path = parts.path.rstrip("/")
    if not path.endswith("/j"):
        raise LocalProtocolError(
            f"the join link {text[:200]!r} does not point to a /j page: it looks like http://host:port/j#n=NETWORK"
        )
    return f"{parts.scheme}://{parts.netloc}{path.removesuffix('/j')}"


def check_server(url: str) -> None:
    """Check the address of a further signaling server.

    Raises:
        LocalProtocolError: It does not look like http://host:port.
    """
    if not _SERVER.fullmatch(url):
        raise LocalProtocolError(f"{url[:200]!r} is not a signaling server: it looks like http://host:port")
    _base_url(f"{url}/j")


def check_bootstrap(address: str) -> None:
    """Check the address of a native peer.

    Raises:
        LocalProtocolError: It does not look like /ip4/203.0.113.7/tcp/4001/p2p/12D3KooW….
    """
    if not _BOOTSTRAP.fullmatch(address):
        raise LocalProtocolError(
            f"{address[:200]!r} is not a peer's address: it looks like /ip4/203.0.113.7/tcp/4001/p2p/12D3KooW…"
        )
    try:
        public_key_of(PeerId(address.rpartition("/")[2]))
    except RemoteProtocolError as error:
        raise LocalProtocolError(f"the address {address[:200]!r} names no peer: {error}") from None


def check_voucher(peer_id: str) -> None:
    """Check the peer id of somebody who vouches for creators.

    Raises:
        LocalProtocolError: It is none.
    """
    try:
        public_key_of(PeerId(peer_id))
    except RemoteProtocolError as error:
        raise LocalProtocolError(f"{peer_id[:80]!r} is nobody who could vouch for creators: {error}") from None


_INVITE = re.compile(r"[A-Za-z0-9_-]{8,64}")


def check_invite(invite: str) -> None:
    """Check an invite a person typed.

    Raises:
        LocalProtocolError: It is too short or long, or has other characters than letters, digits, '_' and '-'.
    """
    if not _INVITE.fullmatch(invite):
        raise LocalProtocolError("an invite has 8 to 64 letters, digits, '_' or '-': is the join link complete?")


_NETWORK_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def check_network_name(network: str) -> None:
    """Check a network name a person typed.

    Raises:
        LocalProtocolError: It has other characters than a-z, 0-9, '.', '_' and '-', or is too long.
    """
    if not _NETWORK_NAME.fullmatch(network):
        raise LocalProtocolError(
            f"{network[:80]!r} is not a network name: use up to 64 of a-z, 0-9, '.', '_' and '-', "
            "beginning with a letter or digit"
        )
