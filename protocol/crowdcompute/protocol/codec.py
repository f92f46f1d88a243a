"""Bytes to typed values and back (spec/codec.md).

MessagePack through msgspec: types, lengths and ranges are checked while decoding. Whatever is wrong with a peer's
bytes comes out as `RemoteProtocolError`. Decoding never produces what gets verified: signatures cover the bytes as
they travelled.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec

from .errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Hashable

T = TypeVar("T")

Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
"""A SHA-256 digest, a public key, a task id."""
Bytes64 = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
"""An Ed25519 signature."""
U32 = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
U53 = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""Counts, sizes and times: 53 bits, so that every language, JavaScript included, reads them as a plain exact number."""

_encoder = msgspec.msgpack.Encoder()


class Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of everything on the wire: a MessagePack array in field order, no more and no fewer elements."""


@cache
def _decoder(kind: Hashable) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)


def encode(value: Any) -> bytes:
    """Encode a typed value."""
    return _encoder.encode(value)


def decode(data: bytes, kind: type[T]) -> T:
    """Decode exactly one value of type `kind`.

    Raises:
        RemoteProtocolError: The bytes are truncated, trailing, of another shape, or out of a field's range.
    """
    try:
        value: T = _decoder(kind).decode(data)  # type: ignore[arg-type]  # mypy: a class is not Hashable
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError, MemoryError) as error:
        raise RemoteProtocolError(f"not a valid {getattr(kind, '__name__', 'message')}: {error}") from None
    return value
