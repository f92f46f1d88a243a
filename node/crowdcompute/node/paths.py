"""Where this machine keeps what: the platform's own folders, or one folder given by CC_HOME.

CC_STORE names a Postgres database that keeps records in the place of files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Paths:
    """Folders and files of one installation. Nothing here is created by asking for its name."""

    config: Path
    """The settings file."""
    data: Path
    """What must survive: keys, the store, and beside it the lock and the control socket."""
    cache: Path
    """What can be had again."""
    store: str | None = None
    """URL of the Postgres server that keeps records instead of files in `data`."""

    @property
    def identity(self) -> Path:
        """The node's key."""
        return self.data / "identity.key"

    @property
    def account(self) -> Path:
        """What the account that this machine belongs to says of itself."""
        return self.data / "account.cca"

    @property
    def account_key(self) -> Path:
        """The account's key, on the machine that speaks for it."""
        return self.data / "account.key"

    @property
    def creator(self) -> Path:
        """The key that signs this person's tasks: another one than the node's, so that it can be kept elsewhere."""
        return self.data / "creator.key"


def paths(environment: Mapping[str, str] = os.environ) -> Paths:
    """The paths of this user, all below CC_HOME if that is set."""
    home = environment.get("CC_HOME")
    if home:
        folder = Path(home).expanduser().absolute()
        return Paths(folder / "config.toml", folder, folder / "cache", environment.get("CC_STORE"))
    # No runtime folder: without XDG_RUNTIME_DIR it would be a predictable name that others could take first.
    user = platformdirs.PlatformDirs("crowdcompute", appauthor=False)
    return Paths(
        user.user_config_path / "config.toml", user.user_data_path, user.user_cache_path, environment.get("CC_STORE")
    )
