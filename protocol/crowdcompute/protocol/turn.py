"""Credentials for a TURN server that the signaling server makes and never stores (spec/signaling.md, "ICE servers").

The scheme of TURN servers with a static secret (coturn's `use-auth-secret`): the user name says until when it is good,
and for whom, and the password is its authentication code. Whoever has the secret can check it, and nothing is told
about anybody beforehand.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1
from hmac import digest
from typing import TYPE_CHECKING

from .signaling import IceServer

if TYPE_CHECKING:
    from .identity import PeerId


def turn_server(url: str, secret: str, peer_id: PeerId, expires_s: int) -> IceServer:
    """The TURN server at `url` as one peer may use it until `expires_s` (unix seconds)."""
    username = f"{expires_s}:{peer_id}"
    credential = b64encode(digest(secret.encode(), username.encode(), sha1)).decode()
    return IceServer(url, username, credential)
