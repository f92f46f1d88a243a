"""Keys for large simulations: keyed hashes in the place of curves.

Ed25519 would be nine tenths of a large run (research: verification section 5). Anybody could forge these signatures
and read what is sealed; nobody in a simulation does, and the tests with real keys cover what depends on it.
"""

from __future__ import annotations

from hashlib import blake2b, sha256
from typing import TYPE_CHECKING

from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import NONCE_BYTES, peer_id_of

if TYPE_CHECKING:
    from crowdcompute.protocol.identity import PeerId

_TAG_BYTES = 16


class HashedSealKeys:
    """What is sealed between two of them only these two open, as far as nobody cheats."""

    def __init__(self, secret: bytes) -> None:
        self.seal_key = sha256(b"seal" + secret).digest()

    def seal(self, seal_key: bytes, context: bytes, plaintext: bytes, nonce: bytes) -> bytes:
        return nonce + self._tag(seal_key, context, nonce, plaintext) + plaintext

    def unseal(self, seal_key: bytes, context: bytes, sealed: bytes) -> bytes:
        nonce, tag = sealed[:NONCE_BYTES], sealed[NONCE_BYTES : NONCE_BYTES + _TAG_BYTES]
        plaintext = sealed[NONCE_BYTES + _TAG_BYTES :]
        if self._tag(seal_key, context, nonce, plaintext) != tag:
            raise RemoteProtocolError("sealed bytes do not open with this pair of keys")
        return plaintext

    def _tag(self, seal_key: bytes, context: bytes, nonce: bytes, plaintext: bytes) -> bytes:
        low, high = sorted((self.seal_key, seal_key))
        return blake2b(low + high + context + b"\0" + nonce + plaintext, digest_size=_TAG_BYTES).digest()


class HashedIdentity(HashedSealKeys):
    """A `Signer` whose signatures are keyed hashes. Like `Identity`, made from 32 bytes."""

    def __init__(self, seed: bytes) -> None:
        super().__init__(seed)
        self.public_key = sha256(b"public" + seed).digest()
        self.peer_id: PeerId = peer_id_of(self.public_key)
        self._seed = seed

    def sign(self, domain: str, body: bytes) -> bytes:
        return _signature(self.public_key, domain, body)

    def derive(self, purpose: bytes) -> bytes:
        return sha256(b"secret" + self._seed + purpose).digest()

    def sealing(self, secret: bytes) -> HashedSealKeys:
        return HashedSealKeys(secret)


def verify_hashed(public_key: bytes, domain: str, body: bytes, signature: bytes) -> bool:
    """The `Verifier` that belongs to `HashedIdentity`."""
    return signature == _signature(public_key, domain, body)


def _signature(public_key: bytes, domain: str, body: bytes) -> bytes:
    return blake2b(domain.encode() + b"\0" + body, key=public_key, digest_size=64).digest()
