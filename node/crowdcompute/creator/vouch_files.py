"""Files of those who answer for a creator, which its task.toml names (protocol/spec/permissions.md)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import peer_id_of, verify
from crowdcompute.protocol.vouching import read_vouch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crowdcompute.protocol.records import Signed


def read_vouches(paths: Sequence[Path], creator: bytes) -> tuple[Signed, ...]:
    """The vouches that task.toml names, for this creator.

    Raises:
        CommandError: One is none, or somebody else's.
    """
    found = []
    for path in paths:
        try:
            signed, said = read_vouch(path.read_bytes(), verify)
        except OSError as error:
            raise CommandError(f"vouches: {path} cannot be read ({error.strerror})", Exit.USAGE) from None
        except RemoteProtocolError as error:
            raise CommandError(f"vouches: {path} is of no use: {error}", Exit.USAGE) from None
        if said.creator != creator:
            raise CommandError(
                f"vouches: {path} is for {peer_id_of(said.creator)}, and you sign as {peer_id_of(creator)}", Exit.USAGE
            )
        if said.until_s <= time.time():
            raise CommandError(f"vouches: {path} has run out: ask {peer_id_of(signed.author)} for another", Exit.USAGE)
        found.append(signed)
    return tuple(found)
