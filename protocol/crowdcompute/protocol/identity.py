"""Who a peer is: an Ed25519 key, named by libp2p's peer id (spec/identity.md).

One 32-byte seed gives two key pairs: the Ed25519 pair that signs, and an X25519 pair to which records are sealed.
The seal pair is derived from the seed by HKDF instead of by converting the curve point, because converting ties the
two uses of a key together and `cryptography` does not offer it.

`Identity` is the real thing. The rest of the package only knows `Signer` and `Verifier`, so that a simulation of
thousands of peers may pass in keyed hashes instead: signatures would be nine tenths of its time.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import NewType, Protocol

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .errors import RemoteProtocolError

PeerId = NewType("PeerId", str)
"""libp2p's text form of a peer id, `12D3KooW…`: base58btc of `00 24 08 01 12 20` and the 32-byte public key."""

KEY_BYTES = 32
SIGNATURE_BYTES = 64
NONCE_BYTES = 12
SEAL_BYTES = NONCE_BYTES + 16
"""What a seal adds to what is inside: the nonce and the tag."""

_MULTIHASH_PREFIX = bytes.fromhex("002408011220")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_FIELD = 2**255 - 19
_SMALL_ORDER_Y = frozenset(
    {
        0,
        1,
        _FIELD - 1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        _FIELD - 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    }
)


class Signer(Protocol):
    """The secret half of a peer: what only its owner can compute."""

    @property
    def public_key(self) -> bytes: ...
    @property
    def seal_key(self) -> bytes: ...
    @property
    def peer_id(self) -> PeerId: ...

    def sign(self, domain: str, body: bytes) -> bytes:
        """Sign `body` for one purpose; a signature of one domain never verifies in another."""

    def seal(self, seal_key: bytes, context: bytes, plaintext: bytes, nonce: bytes) -> bytes:
        """Encrypt to the owner of `seal_key`. Both ends, and nobody else, can `unseal` it again."""

    def derive(self, purpose: bytes) -> bytes:
        """32 bytes for one purpose that only we can compute, and always the same."""

    def sealing(self, secret: bytes) -> Sealing:
        """Another pair of seal keys, made from 32 secret bytes."""

    def unseal(self, seal_key: bytes, context: bytes, sealed: bytes) -> bytes:
        """Open what the owner of `seal_key` and we share.

        Raises:
            RemoteProtocolError: The bytes were not sealed between these two keys for this context.
        """


class Sealing(Protocol):
    """The part of a `Signer` that opens what is sealed."""

    @property
    def seal_key(self) -> bytes: ...
    def seal(self, seal_key: bytes, context: bytes, plaintext: bytes, nonce: bytes) -> bytes: ...
    def unseal(self, seal_key: bytes, context: bytes, sealed: bytes) -> bytes: ...


class Verifier(Protocol):
    """The public half: whether the holder of `public_key` signed `body` for `domain`."""

    def __call__(self, public_key: bytes, domain: str, body: bytes, signature: bytes) -> bool: ...


def signed_bytes(domain: str, body: bytes) -> bytes:
    """What a signature covers: the domain, a zero byte, the body as it travels. It is never encoded again."""
    return domain.encode() + b"\0" + body


def content_id(domain: str, body: bytes) -> bytes:
    """The name of a signed thing: SHA-256 of what its signature covers. A task id is a manifest's."""
    return sha256(signed_bytes(domain, body)).digest()


@lru_cache(maxsize=65_536)
def peer_id_of(public_key: bytes) -> PeerId:
    """The peer id of a 32-byte Ed25519 public key."""
    return PeerId(_base58_encode(_MULTIHASH_PREFIX + public_key))


@lru_cache(maxsize=65_536)
def public_key_of(peer_id: str) -> bytes:
    """The 32-byte public key inside a peer id.

    Raises:
        RemoteProtocolError: The text is not the peer id of an Ed25519 key.
    """
    raw = _base58_decode(peer_id)
    if len(raw) != len(_MULTIHASH_PREFIX) + KEY_BYTES or not raw.startswith(_MULTIHASH_PREFIX):
        raise RemoteProtocolError(f"{peer_id[:60]!r} is not the peer id of an Ed25519 key")
    return raw[len(_MULTIHASH_PREFIX) :]


def is_weak_point(point: bytes) -> bool:
    """Whether implementations of Ed25519 disagree on this encoded point (spec/identity.md, "Signatures").

    Its y is not below the field's prime, or its order is at most eight.
    """
    y = int.from_bytes(point, "little") & (2**255 - 1)
    return y >= _FIELD or y in _SMALL_ORDER_Y


@lru_cache(maxsize=4_096)
def _loaded(public_key: bytes) -> Ed25519PublicKey:
    if is_weak_point(public_key):
        raise ValueError("not a key that every implementation reads alike")
    return Ed25519PublicKey.from_public_bytes(public_key)


def verify(public_key: bytes, domain: str, body: bytes, signature: bytes) -> bool:
    """The real `Verifier`. Malformed keys and signatures are simply not valid."""
    if is_weak_point(signature[:32]):
        return False
    try:
        _loaded(public_key).verify(signature, signed_bytes(domain, body))
    except (InvalidSignature, ValueError):
        return False
    return True


class SealKeys:
    """An X25519 pair, made from its 32 secret bytes: what is sealed between it and another pair only these two open."""

    def __init__(self, secret: bytes) -> None:
        self._sealing = X25519PrivateKey.from_private_bytes(secret)
        self.seal_key: bytes = self._sealing.public_key().public_bytes_raw()
        self._boxes: dict[tuple[bytes, bytes], ChaCha20Poly1305] = {}

    def seal(self, seal_key: bytes, context: bytes, plaintext: bytes, nonce: bytes) -> bytes:
        return nonce + self._box(seal_key, context).encrypt(nonce, plaintext, context)

    def unseal(self, seal_key: bytes, context: bytes, sealed: bytes) -> bytes:
        if len(sealed) < NONCE_BYTES:
            raise RemoteProtocolError("sealed bytes are shorter than their nonce")
        try:
            return self._box(seal_key, context).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
        except InvalidTag:
            raise RemoteProtocolError("sealed bytes do not open with this pair of keys") from None

    def _box(self, seal_key: bytes, context: bytes) -> ChaCha20Poly1305:
        """One agreement per pair and context, kept: a creator opens thousands of batches of one worker."""
        box = self._boxes.get((seal_key, context))
        if box is None:
            try:
                shared = self._sealing.exchange(X25519PublicKey.from_public_bytes(seal_key))
            except ValueError:
                raise RemoteProtocolError("a seal key is not a usable X25519 public key") from None
            # Both public keys enter in sorted order, so the two ends derive one key without knowing who sealed first.
            low, high = sorted((self.seal_key, seal_key))
            key = HKDF(algorithm=SHA256(), length=32, salt=low + high, info=b"cc/seal/1\0" + context).derive(shared)
            if len(self._boxes) >= 4_096:
                self._boxes.clear()
            box = self._boxes[(seal_key, context)] = ChaCha20Poly1305(key)
        return box


class Identity:
    """A peer's key pair, made from 32 secret bytes that the caller drew and keeps."""

    def __init__(self, seed: bytes) -> None:
        self._signing = Ed25519PrivateKey.from_private_bytes(seed)
        self._seal_seed = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"cc/seal-key/1").derive(seed)
        self._seals = SealKeys(self._seal_seed)
        self.public_key: bytes = self._signing.public_key().public_bytes_raw()
        self.seal_key: bytes = self._seals.seal_key
        self.peer_id: PeerId = peer_id_of(self.public_key)
        self.seal = self._seals.seal
        self.unseal = self._seals.unseal

    def sign(self, domain: str, body: bytes) -> bytes:
        return self._signing.sign(signed_bytes(domain, body))

    def secret(self) -> bytes:
        """The 32 bytes it was made from: for a transport that proves the same key in a handshake of its own."""
        return self._signing.private_bytes_raw()

    def derive(self, purpose: bytes) -> bytes:
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"cc/secret/1\0" + purpose).derive(self._seal_seed)

    def sealing(self, secret: bytes) -> SealKeys:
        return SealKeys(secret)


def _base58_encode(raw: bytes) -> str:
    number, text = int.from_bytes(raw), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + text


def _base58_decode(text: str) -> bytes:
    # A peer id of an Ed25519 key has 52 characters; the cap keeps a stranger's text from costing quadratic time.
    if not isinstance(text, str) or len(text) > 64:
        raise RemoteProtocolError("a peer id has at most 64 characters")
    number = 0
    for character in text:
        digit = _BASE58.find(character)
        if digit < 0:
            raise RemoteProtocolError(f"{character!r} does not occur in a peer id")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8)
