"""Who vouches for a creator, and for what (spec/permissions.md, "Vouches").

    voucher --vouch--> creator --in its manifest--> volunteers that trust the voucher: VERIFIED
       '--a later vouch, or one that ends it, by gossip--------------'

A vouch says nothing about a task's results. It says that somebody whom a volunteer chose to trust in this answers for
a creator: only then may the creator's task ask a node to fetch something for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

from msgspec import Meta

from .codec import U53, Body, Bytes32, decode, encode
from .errors import LocalProtocolError, RemoteProtocolError
from .identity import peer_id_of
from .manifest import is_printable
from .permissions import PERMISSION_CHARACTERS_MAX, PERMISSIONS_MAX, all_covered, is_permission
from .records import Signed, verify_signature

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from .identity import Signer, Verifier
    from .manifest import Manifest

MAGIC = b"CCVOUCH1"
"""The first bytes of a vouch's file. What follows is the encoded record."""
NAME_CHARACTERS_MAX = 40
VOUCH_S_MAX = 400 * 86_400
"""How long a vouch may last: a little over a year."""
EARLY_S = 600
"""A voucher's clock may run ahead of ours by this much."""
HELD_MAX = 1_000
"""Vouches that a peer holds beyond those in manifests."""


class Vouch(Body, frozen=True):
    """Its author answers for a creator until a moment. The one with the greatest `since_s` counts.

    `name` is who the author says the creator is. `scope` lists permissions; none means whatever the creator asks for.
    """

    creator: Bytes32
    name: Annotated[str, Meta(min_length=1, max_length=NAME_CHARACTERS_MAX)]
    scope: Annotated[
        tuple[Annotated[str, Meta(max_length=PERMISSION_CHARACTERS_MAX)], ...], Meta(max_length=PERMISSIONS_MAX)
    ]
    since_s: U53
    until_s: U53


def sign_vouch(signer: Signer, vouch: Vouch) -> Signed:
    """The record of a vouch.

    Raises:
        LocalProtocolError: Nobody would take it. The message says why.
    """
    refusal = _refusal(signer.public_key, vouch)
    if refusal is not None:
        raise LocalProtocolError(refusal)
    body = encode(vouch)
    return Signed("vouch", signer.public_key, body, signer.sign("cc/vouch/1", body))


def open_vouch(signed: Signed, verifier: Verifier) -> Vouch:
    """What a voucher says.

    Raises:
        RemoteProtocolError: It is no vouch, breaks a rule, or somebody else signed it.
    """
    if signed.kind != "vouch":
        raise RemoteProtocolError(f"a {signed.kind} is not a vouch")
    vouch = decode(signed.body, Vouch)
    refusal = _refusal(signed.author, vouch)
    if refusal is not None:
        raise RemoteProtocolError(refusal)
    verify_signature(verifier, signed)
    return vouch


def write_vouch(signed: Signed) -> bytes:
    """The file of a vouch, which its creator names in task.toml."""
    return MAGIC + encode(signed)


def read_vouch(data: bytes, verifier: Verifier) -> tuple[Signed, Vouch]:
    """A vouch from its file.

    Raises:
        RemoteProtocolError: It is none.
    """
    if not data.startswith(MAGIC):
        raise RemoteProtocolError("this is no vouch")
    signed = decode(data[len(MAGIC) :], Signed)
    return signed, open_vouch(signed, verifier)


def _refusal(author: bytes, vouch: Vouch) -> str | None:
    if author == vouch.creator:
        return "nobody vouches for itself"
    if not is_printable(vouch.name):
        return "a vouch's name contains control characters"
    if not all(map(is_permission, vouch.scope)):
        return "a vouch's scope is not written as net:https://host/path"
    if vouch.until_s > vouch.since_s + VOUCH_S_MAX:
        return "a vouch lasts longer than any may"
    return None


class Verified(NamedTuple):
    """Why a creator counts as verified."""

    voucher: bytes
    """Who answers for it: itself, where the volunteer trusts its very key."""
    name: str
    until_s: int | None
    """None: as long as the volunteer says so."""


class Vouches:
    """What one peer knows of who answers for whom: of each voucher and creator what was said last."""

    def __init__(self, verifier: Verifier, trusted: Collection[bytes]) -> None:
        self._verifier = verifier
        self._trusted = frozenset(trusted)
        self._held: dict[tuple[bytes, bytes], tuple[Signed, Vouch]] = {}
        self._by_id: dict[bytes, tuple[bytes, bytes]] = {}

    def add(self, signed: Signed, manifests: Iterable[Manifest]) -> bool:
        """Hold a vouch that came by itself; False where it says nothing new, or nothing that concerns us.

        It concerns us when a task of this creator names the voucher, or we trust it: so a stranger who signs vouches
        without end costs nobody anything.

        Raises:
            RemoteProtocolError: It is no vouch.
        """
        vouch = decode(signed.body, Vouch)
        key = (signed.author, vouch.creator)
        known = self._held.get(key)
        if known is not None and _newness(*known) >= _newness(signed, vouch):
            return False
        if signed.author not in self._trusted and not any(
            manifest.creator == vouch.creator and any(each.author == signed.author for each in manifest.vouches)
            for manifest in manifests
        ):
            return False
        open_vouch(signed, self._verifier)
        if known is not None:
            del self._by_id[known[0].record_id]
        elif len(self._held) >= HELD_MAX:
            oldest, _ = self._held.pop(next(iter(self._held)))
            del self._by_id[oldest.record_id]
        self._held[key] = signed, vouch
        self._by_id[signed.record_id] = key
        return True

    def verified(self, manifest: Manifest, now_s: float) -> Verified | None:
        """Who answers for a task's creator, and for all that the task asks for; None: nobody whom we trust."""
        if manifest.creator in self._trusted:
            return Verified(manifest.creator, "", None)
        said: dict[bytes, tuple[Signed, Vouch]] = {}
        for signed, vouch in (*self._carried(manifest), *self._held.values()):
            if vouch.creator == manifest.creator and signed.author in self._trusted:
                last = said.get(signed.author)
                if last is None or _newness(signed, vouch) > _newness(*last):
                    said[signed.author] = signed, vouch
        for voucher in sorted(said):
            vouch = said[voucher][1]
            holds = vouch.since_s <= now_s + EARLY_S and now_s < vouch.until_s
            if holds and (not vouch.scope or all_covered(manifest.permissions, vouch.scope)):
                return Verified(voucher, vouch.name, vouch.until_s)
        return None

    def words(self, signed: Signed, now_s: float) -> str:
        """What a vouch that is held says, for people."""
        vouch = self._held[self._by_id[signed.record_id]][1]
        creator = peer_id_of(vouch.creator)
        return f"{creator}, {vouch.name}" if now_s < vouch.until_s else f"{creator} no more"

    def ids(self) -> list[bytes]:
        """Names of the records held."""
        return list(self._by_id)

    def record(self, record_id: bytes) -> Signed | None:
        key = self._by_id.get(record_id)
        return None if key is None else self._held[key][0]

    def _carried(self, manifest: Manifest) -> Iterator[tuple[Signed, Vouch]]:
        """What a manifest brings along. What is none is the creator's loss."""
        for signed in manifest.vouches:
            if signed.author in self._trusted:
                try:
                    yield signed, open_vouch(signed, self._verifier)
                except RemoteProtocolError:
                    continue


def _newness(signed: Signed, vouch: Vouch) -> tuple[int, bytes]:
    # Of two of one second everybody takes the same.
    return vouch.since_s, signed.record_id
