"""Results of one task as inputs of the next (spec/onward.md).

    a result:  WANTED --> asked of its MAKERS --none has it--> asked of ANYBODY linked --> HERE
                                                                  '--> UNREACHABLE (asked for again later)

The inputs blob of the next task is a table of references, signed with its manifest. The bytes come from whoever made
them; the creator, who knows them as its own results, is asked only when no maker has them any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from .codec import Bytes32, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

    from .desk import Desk
    from .storage import BlobStore

MAKERS_MAX = 4
"""Makers named for one result: as many as a quorum of three and its audit have. More would only be more to dial."""

REFS_MAX = 4_096
"""Results that one chunk takes at most."""


class ResultRef(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A result by name, and the keys of some who made it: a hint, whom to ask first."""

    sha256: Bytes32
    size: Annotated[int, Meta(ge=0, le=16 * 1024 * 1024)]
    makers: Annotated[tuple[Bytes32, ...], Meta(max_length=MAKERS_MAX)]


_Refs = Annotated[tuple[ResultRef, ...], Meta(min_length=1, max_length=REFS_MAX)]


def refs_item(refs: Iterable[ResultRef]) -> bytes:
    """The item of an inputs blob that gives a chunk these results."""
    return encode(tuple(refs))


def open_refs(item: bytes) -> tuple[ResultRef, ...]:
    """The results that a chunk takes.

    Raises:
        RemoteProtocolError: The item is no list of references.
    """
    refs: tuple[ResultRef, ...] = decode(item, _Refs)
    return refs


class ResultsLacking(Exception):  # No error: they come.
    """Not all of these results are here yet."""

    def __init__(self, refs: Sequence[ResultRef]) -> None:
        super().__init__(refs)
        self.refs = tuple(refs)


class Gathering:
    """The results of other tasks that one role needs as inputs: what is here of them, and what is on its way."""

    def __init__(self, desk: Desk, blobs: BlobStore) -> None:
        self._desk = desk
        self._blobs = blobs
        self._coming: dict[bytes, ResultRef] = {}
        """What is asked of its makers, and of anybody once they have failed."""
        self._widely: set[bytes] = set()
        self._fetched: set[bytes] = set()
        """What is here for the sake of this task only."""

    def read(self, refs: Sequence[ResultRef]) -> bytes:
        """These results, one after another.

        Raises:
            ResultsLacking: Some are not here.
        """
        if any(map(self._is_lacking, refs)):
            raise ResultsLacking(refs)
        return b"".join(self._blobs.read(ref.sha256, 0, ref.size) if ref.size else b"" for ref in refs)

    def fetch(self, refs: Iterable[ResultRef]) -> None:
        """Get those of these results that are not here; `arrived` is told of each."""
        for ref in refs:
            if self._is_lacking(ref) and ref.sha256 not in self._coming:
                self._coming[ref.sha256] = ref
                self._desk.fetch(ref.sha256, ref.size, None, ref.makers)

    def arrived(self, digest: bytes, *, here: bool) -> bool | None:
        """A blob is here or cannot be had: whether what we want is here now; None while that is not known."""
        ref = self._coming.get(digest)
        if ref is None:
            return None
        if not here and ref.makers and digest not in self._widely:
            self._widely.add(digest)
            self._desk.fetch(digest, ref.size, None, ())
            return None
        del self._coming[digest]
        self._widely.discard(digest)
        if here:
            self._fetched.add(digest)
        return here

    def needs(self, digest: bytes) -> bool:
        """Whether a blob may not go from the store."""
        return digest in self._fetched

    def let_go(self, needed: Container[bytes], is_ours: Callable[[bytes], bool]) -> None:
        """Keep of what was fetched only what is `needed` still: its makers have the rest.

        What `is_ours` as well, because a chunk gave back what it got, stays in the store.
        """
        for digest in [digest for digest in self._fetched if digest not in needed]:
            self._fetched.discard(digest)
            if not is_ours(digest):
                self._blobs.discard(digest)

    def _is_lacking(self, ref: ResultRef) -> bool:
        return ref.size > 0 and self._blobs.size(ref.sha256) != ref.size
