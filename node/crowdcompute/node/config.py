"""How one node is set up: flags > `CC_*` environment variables > config.toml > these defaults."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from crowdcompute.protocol.errors import LocalProtocolError, RemoteProtocolError
from crowdcompute.protocol.identity import public_key_of
from crowdcompute.protocol.join_link import check_bootstrap

from .exits import CommandError, Exit
from .paths import paths
from .transports.link import StackName

_ENV_PREFIX = "CC_"
_NOT_SETTINGS = {"CC_HOME", "CC_STORE", "CC_CREATOR_KEY"}
"""Read elsewhere: they are no settings of a node."""
_UNITS = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9, "b": 1}


def half_the_cores() -> int:
    """Half of the cores this process may use, at least one: the default of every volunteer system we know."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, cores // 2)


def _size(value: Any) -> Any:
    return size_of(value) if isinstance(value, str) else value


def size_of(text: str) -> int:
    """Bytes from '2GiB', '500 MB' or '500000'.

    Raises:
        ValueError: It is no size.
    """
    text = text.strip().lower()
    digits = text.rstrip("kmgib ")
    unit = text[len(digits) :].strip() or "b"
    try:
        return int(float(digits) * _UNITS[unit])
    except (KeyError, ValueError):
        raise ValueError("a size looks like 2GiB or 500MB") from None


def _peer_ids(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            public_key_of(value)
        except RemoteProtocolError as error:
            raise ValueError(str(error)) from None
    return values


def _multiaddrs(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            check_bootstrap(value)
        except LocalProtocolError as error:
            raise ValueError(str(error)) from None
    return values


def _addresses(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            ip_address(value)
        except ValueError:
            raise ValueError("an address of this machine looks like 192.168.0.5") from None
    return values


Size = Annotated[int, BeforeValidator(_size), Field(ge=1)]


class NodeConfig(BaseSettings):
    """Read once at start; passed down, never changed."""

    model_config = SettingsConfigDict(env_prefix=_ENV_PREFIX, extra="forbid", frozen=True)

    link: str = ""
    """The join link of the network to work for."""
    jobs: Annotated[int, Field(ge=1, le=256)] = Field(default_factory=half_the_cores)
    """Worker processes: batches executed at the same time."""
    memory: Size = 2**30
    """Tasks that ask for more memory per chunk are not taken."""
    seconds: Annotated[float, Field(gt=0)] = 3_600.0
    """Tasks that ask for more seconds per chunk are not taken."""
    disk: Size = 2 * 2**30
    """Blobs kept on disk: code, inputs and results until the creator has them."""
    upload: Size | None = None
    """Bytes a second of blobs given to other peers, at most; nothing said means no cap."""
    accept: Annotated[tuple[str, ...], AfterValidator(_peer_ids)] = ()
    """Peer ids of the creators to work for; nobody named means everybody."""
    allow: tuple[Literal["net"], ...] = ()
    """What tasks of verified creators may have done outside of the sandbox: `net`, fetch addresses that they list."""
    trust: Annotated[tuple[str, ...], AfterValidator(_peer_ids)] = ()
    """Peer ids of those whose vouch makes a creator a verified one, besides those of the join link; or a creator."""
    fetches: Annotated[float, Field(gt=0)] = 120
    """Addresses fetched a minute, at most."""
    fetch_loopback: bool = False
    """Fetch from this machine, too. For tests."""
    steward: bool = False
    """Whether to act for absent creators that ask for it, in tasks this node has joined."""
    javascript: Literal["fast", "strict", "off"] = "fast"
    """What executes JavaScript tasks: V8, QuickJS inside WebAssembly (slower by far), or nothing."""
    gpu: Literal["on", "off", "software"] = "on"
    """What executes kernels: a GPU where there is one; never one; or, for tests, a processor that plays one."""
    nice: Annotated[int, Field(ge=0, le=19)] = 19
    """How much the worker processes give way to everything else on this machine."""
    savepoint: Annotated[float, Field(ge=0)] = 5.0
    """Seconds between two savepoints of a running chunk that are kept on disk, at least."""
    handover: Annotated[float, Field(ge=0)] = 30.0
    """Seconds between two of them that other peers keep as well, so that they can go on should this machine be gone."""
    grace: Annotated[float, Field(ge=0)] = 15.0
    """Seconds that running chunks get to finish after the first Ctrl+C."""
    stack: StackName = "auto"
    """What makes links: `auto` is a direct one by TCP where the other node can be reached so, else WebRTC by `wrtc`
    (Chrome's engine) where it is installed, else by `aiortc`. Either name means WebRTC only, by that engine."""
    host: Annotated[tuple[str, ...], AfterValidator(_addresses)] = ()
    """Local addresses to offer to other peers; none named means all."""
    listen: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """TCP port on which other native nodes reach this one without a signaling server; 0 is any free one, kept across
    restarts. None: the node listens only where its link needs it."""
    bootstrap: Annotated[tuple[str, ...], AfterValidator(_multiaddrs)] = ()
    """Addresses of native nodes to begin with, besides those of the link."""
    mdns: bool = True
    """Whether nodes that listen find each other on a LAN by multicast DNS."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = paths().config
        toml = TomlConfigSettingsSource(settings_cls, toml_file=file if file.is_file() else None)
        return init_settings, env_settings, toml


def load(**flags: Any) -> NodeConfig:
    """Put flags that were given (not None) before environment, file and defaults.

    Raises:
        CommandError: A value is not usable, or the environment or the file names a setting that does not exist.
    """
    known = {_ENV_PREFIX + name.upper() for name in NodeConfig.model_fields} | _NOT_SETTINGS
    for name in os.environ:
        if name.startswith(_ENV_PREFIX) and not name.startswith("CC_SIGNALING_") and name not in known:
            raise CommandError(
                f"the environment variable {name} is no setting; there are {', '.join(sorted(known))}", Exit.NOT_READY
            )
    try:
        return NodeConfig(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        setting = str(first["loc"][0]) if first["loc"] else "settings"
        if first["type"] == "extra_forbidden":
            raise CommandError(
                f"{paths().config} names {setting!r}, which is no setting; there are "
                f"{', '.join(sorted(NodeConfig.model_fields))}",
                Exit.NOT_READY,
            ) from None
        message = first["msg"].removeprefix("Value error, ")
        raise CommandError(f"the setting {setting} = {first['input']!r} is not usable: {message}", Exit.USAGE) from None
    except ValueError as error:  # tomllib's
        raise CommandError(f"{Path(paths().config)} is not TOML: {error}", Exit.NOT_READY) from None
