"""Results whose makers are gone, from those that kept them sealed (spec/ledger.md, "Custody").

    a result:  its copies, one by one:  ASKED FOR --here, opens, is it--> RECLAIMED
                                            '--nobody has it, or it is something else--> the next; none is left: LOST

What is lost the creator executes itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from .errors import RemoteProtocolError
from .identity import SEAL_BYTES
from .voting import RESULT_CONTEXT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .batch import Leaf
    from .desk import Desk
    from .identity import Signer
    from .ledger import Ledger
    from .storage import BlobStore

TRIED_MAX = 8
"""Copies that are looked for before the creator executes the chunk itself: liars may name what nobody has."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A sealed result: who made it, the vote that names it, and who was asked to keep it."""

    maker: bytes
    leaf: Leaf
    custodians: tuple[bytes, ...]


class Reclaiming:
    """The search for results of one task of ours that their makers do not deliver."""

    def __init__(self, signer: Signer, ledger: Ledger, desk: Desk, blobs: BlobStore) -> None:
        self._signer = signer
        self._ledger = ledger
        self._desk = desk
        self._blobs = blobs
        self._copies: dict[bytes, list[Copy]] = {}  # digest -> copies to look for, the present one first
        self._wanted: dict[bytes, set[bytes]] = {}  # sealed -> digests it is looked for as

    def begin(self, digest: bytes, copies: Sequence[Copy], now: float) -> bool:
        """Look for a result; False when there is nothing to look for."""
        if digest in self._copies:
            return True
        if not copies:
            return False
        self._copies[digest] = list(copies[:TRIED_MAX])
        self._ask(digest, now)
        return True

    def arrived(self, sealed: bytes, now: float, *, here: bool) -> list[tuple[bytes, bool]]:
        """A sealed result came, or nobody we reach has it: results that are found now, or lost."""
        over = []
        digests = sorted(self._wanted.pop(sealed, ()))
        for digest in digests:
            copies = self._copies[digest]
            copy = copies.pop(0)
            if here and self._open(digest, copy):
                found = True
            elif copies:
                self._ask(digest, now)
                continue
            else:
                found = False
            del self._copies[digest]
            over.append((digest, found))
        if here and digests and sealed not in self._wanted:
            self._desk.custody.kept.discard(sealed)
        return over

    def _ask(self, digest: bytes, now: float) -> None:
        copy = self._copies[digest][0]
        sealed = copy.leaf.sealed
        self._wanted.setdefault(sealed, set()).add(digest)
        providers = [worker for worker in (copy.maker, *copy.custodians) if worker in self._ledger.joins]
        self._desk.custody.fetch(sealed, copy.leaf.size + SEAL_BYTES, providers, now)

    def _open(self, digest: bytes, copy: Copy) -> bool:
        """Store the result, if this is it. Whoever named something else gave a wrong name: its vote stays as it is."""
        kept, sealed = self._desk.custody.kept, copy.leaf.sealed
        try:
            data = self._signer.unseal(
                self._ledger.joins[copy.maker].seal_key,
                RESULT_CONTEXT + self._ledger.task,
                kept.read(sealed, 0, kept.size(sealed) or 0),
            )
        except RemoteProtocolError:
            return False
        if sha256(data).digest() != digest:
            return False
        self._blobs.put(digest, data)
        return True
