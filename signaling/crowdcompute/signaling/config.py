"""How one signaling server is set up: flags > `CC_SIGNALING_*` environment variables > these defaults."""

from __future__ import annotations

import os
import socket
from typing import Annotated, Any
from urllib.parse import urlsplit

from msgspec import ValidationError as MsgspecValidationError
from msgspec import convert
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from crowdcompute.protocol.errors import LocalProtocolError
from crowdcompute.protocol.identity import PeerId
from crowdcompute.protocol.join_link import JoinLink, check_invite, check_network_name, check_server, check_voucher
from crowdcompute.protocol.rendezvous import RendezvousConfig
from crowdcompute.protocol.signaling import ICE_SERVERS_MAX, IceServer

_ENV_PREFIX = "CC_SIGNALING_"
_CAPS = RendezvousConfig()


def _network_name(value: str) -> str:
    try:
        check_network_name(value)
    except LocalProtocolError as error:
        raise ValueError(str(error)) from None
    return value


def _invite(value: str) -> str:
    try:
        check_invite(value)
    except LocalProtocolError as error:
        raise ValueError(str(error)) from None
    return value


def _servers(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            check_server(value.rstrip("/"))
        except LocalProtocolError as error:
            raise ValueError(str(error)) from None
    return tuple(value.rstrip("/") for value in values)


def _vouchers(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            check_voucher(value)
        except LocalProtocolError as error:
            raise ValueError(str(error)) from None
    return values


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it must look like https://example.org")
    return value.rstrip("/")


def _urls(value: Any) -> Any:
    """In the environment several are separated by commas."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _ice_url(value: str) -> str:
    try:
        convert([value, "", ""], IceServer)
    except MsgspecValidationError:
        raise ValueError(f"{value!r} does not look like stun:host:port or turn:host:port?transport=tcp") from None
    return value


Urls = Annotated[
    tuple[Annotated[str, AfterValidator(_ice_url)], ...],
    NoDecode,
    BeforeValidator(_urls),
    Field(max_length=ICE_SERVERS_MAX // 2),
]


class SignalingConfig(BaseSettings):
    """Read once at start; passed down, never changed."""

    model_config = SettingsConfigDict(env_prefix=_ENV_PREFIX, extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    """Address to listen on. `0.0.0.0` lets other machines in."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8765
    """TCP port; 0 picks a free one."""
    network: Annotated[str, AfterValidator(_network_name)] = "main"
    """Network named in the join link. The server serves any other one too: networks begin when somebody enters."""
    invite: Annotated[str, AfterValidator(_invite)] | None = None
    """Only who knows it may enter `network`; it is part of the join link. None: the network is open to all."""
    public_url: Annotated[str, AfterValidator(_http_url)] | None = None
    """What others type to reach this server, when a proxy stands before it."""
    also: Annotated[tuple[str, ...], AfterValidator(_servers)] = ()
    """Further signaling servers of the same network, named in the join link: peers are present on all of them."""
    voucher: Annotated[tuple[str, ...], AfterValidator(_vouchers)] = ()
    """Peer ids of those who vouch for creators in this network, named in the join link."""
    stun: Urls = ()
    """STUN servers told to clients, `stun:host:port`. None on a LAN: an unreachable one delays every connection."""
    turn: Urls = ()
    """TURN servers, `turn:host:port`, which relay for peers whose firewalls let nothing else through."""
    turn_secret: Annotated[str, Field(min_length=1)] | None = None
    """The static secret of the TURN servers (coturn's `static-auth-secret`): clients get credentials made with it."""
    turn_lifetime_s: Annotated[float, Field(ge=60)] = _CAPS.turn_lifetime_s
    """How long such credentials are good; clients get fresh ones at half of it."""
    peers_per_network: Annotated[int, Field(ge=1)] = _CAPS.peers_per_network
    networks: Annotated[int, Field(ge=1)] = _CAPS.networks
    clients: Annotated[int, Field(ge=1)] = _CAPS.clients
    clients_per_address: Annotated[int, Field(ge=1)] = _CAPS.clients_per_address
    messages_per_s: Annotated[float, Field(gt=0)] = _CAPS.messages_per_s
    messages_burst: Annotated[float, Field(ge=1)] = _CAPS.messages_burst
    """Caps: see `RendezvousConfig`."""

    @model_validator(mode="after")
    def _turn_has_its_secret(self) -> SignalingConfig:
        if any(not url.startswith("stun") for url in self.stun) or any(not url.startswith("turn") for url in self.turn):
            raise ValueError("--stun takes stun:host:port, and --turn takes turn:host:port")
        if bool(self.turn) != (self.turn_secret is not None):
            raise ValueError(
                "--turn needs --turn-secret, the TURN server's static-auth-secret, and the other way round"
            )
        return self

    def rendezvous(self) -> RendezvousConfig:
        """The part of the settings that the rules need."""
        return RendezvousConfig(
            peers_per_network=self.peers_per_network,
            networks=self.networks,
            clients=self.clients,
            clients_per_address=self.clients_per_address,
            messages_per_s=self.messages_per_s,
            messages_burst=self.messages_burst,
            invites=() if self.invite is None else ((self.network, self.invite),),
            ice_servers=tuple(IceServer(url, "", "") for url in self.stun),
            turn_urls=self.turn,
            turn_secret=self.turn_secret or "",
            turn_lifetime_s=self.turn_lifetime_s,
        )

    def url(self, port: int) -> str:
        """What to type to reach this server, which listens on `port`."""
        if self.public_url is not None:
            return self.public_url
        host = _own_address() if self.host in ("0.0.0.0", "::", "") else self.host
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def join_link(self, port: int) -> JoinLink:
        return JoinLink(
            self.url(port),
            self.network,
            invite=self.invite or "",
            others=self.also,
            vouchers=tuple(map(PeerId, self.voucher)),
        )


def load(**flags: Any) -> SignalingConfig:
    """Put flags that were given (not None) before environment and defaults.

    Raises:
        LocalProtocolError: A value is not usable, or the environment names a setting that does not exist.
    """
    known = {_ENV_PREFIX + name.upper() for name in SignalingConfig.model_fields}
    for name in os.environ:
        if name.upper().startswith(_ENV_PREFIX) and name.upper() not in known:
            raise LocalProtocolError(
                f"the environment variable {name} is no setting; there are {', '.join(sorted(known))}"
            )
    try:
        return SignalingConfig(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        setting = str(first["loc"][0]) if first["loc"] else "settings"
        message = first["msg"].removeprefix("Value error, ")
        # What concerns several settings, such as a secret, is not repeated.
        named = f"the setting {setting} = {first['input']!r} is" if first["loc"] else "the settings are"
        raise LocalProtocolError(f"{named} not usable: {message}") from None


def _own_address() -> str:
    """The address other machines of the LAN know this one by, for a link to print. No packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1: only asks the routing table
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
