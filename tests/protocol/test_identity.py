from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import (
    Identity,
    content_id,
    peer_id_of,
    public_key_of,
    signed_bytes,
    verify,
)

if TYPE_CHECKING:
    from collections.abc import Callable

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
OF_AN_RSA_KEY = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
ALICE = Identity(b"\1" * 32)
BOB = Identity(b"\2" * 32)
EVE = Identity(b"\3" * 32)


def test_the_seed_of_rfc_8032_gives_its_key() -> None:
    """Section 7.1, TEST 1."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    assert Identity(seed).public_key.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def test_a_peer_id_is_the_one_libp2p_gives_the_key() -> None:
    """The vector of libp2p's peer-ids specification: base58btc of the identity multihash of the protobuf key."""
    public_key = bytes.fromhex("1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e")
    assert peer_id_of(public_key) == "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"


@given(st.binary(min_size=32, max_size=32))
def test_a_peer_id_names_one_key(public_key: bytes) -> None:
    peer_id = peer_id_of(public_key)
    assert peer_id.startswith("12D3KooW")
    assert public_key_of(peer_id) == public_key


@given(st.one_of(st.text(max_size=70), st.text(BASE58, max_size=70)))
def test_any_text_is_a_peer_id_or_refused(text: str) -> None:
    try:
        key = public_key_of(text)
    except RemoteProtocolError:
        return
    assert peer_id_of(key) == text


def test_a_peer_id_of_another_kind_of_key_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="Ed25519"):
        public_key_of(OF_AN_RSA_KEY)


@given(domain=st.sampled_from(["cc/join/1", "cc/lease/1"]), body=st.binary(max_size=100))
def test_a_signature_holds_for_its_own_domain_body_and_key_only(domain: str, body: bytes) -> None:
    signature = ALICE.sign(domain, body)
    assert verify(ALICE.public_key, domain, body, signature)
    assert not verify(ALICE.public_key, "cc/verdict/1", body, signature)
    assert not verify(ALICE.public_key, domain, body + b"\0", signature)
    assert not verify(BOB.public_key, domain, body, signature)


@given(st.binary(max_size=40), st.binary(max_size=70))
def test_any_key_and_signature_are_simply_not_valid(public_key: bytes, signature: bytes) -> None:
    assert not verify(public_key, "cc/join/1", b"body", signature)


@given(plaintext=st.binary(max_size=200), context=st.binary(max_size=40), nonce=st.binary(min_size=12, max_size=12))
def test_what_is_sealed_opens_for_the_two_ends_only(plaintext: bytes, context: bytes, nonce: bytes) -> None:
    sealed = ALICE.seal(BOB.seal_key, context, plaintext, nonce)
    assert BOB.unseal(ALICE.seal_key, context, sealed) == plaintext
    assert ALICE.unseal(BOB.seal_key, context, sealed) == plaintext
    for stranger, seal_key, other in ((EVE, ALICE.seal_key, context), (BOB, ALICE.seal_key, context + b"!")):
        with pytest.raises(RemoteProtocolError, match="do not open"):
            stranger.unseal(seal_key, other, sealed)


@given(st.binary(max_size=80), st.binary(max_size=40))
def test_any_sealed_bytes_from_any_key_are_refused(sealed: bytes, seal_key: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        ALICE.unseal(seal_key, b"context", sealed)


def test_a_seal_key_that_agrees_to_nothing_is_refused() -> None:
    """The all-zero point: every exchange with it gives zero, so anybody could open the result."""
    with pytest.raises(RemoteProtocolError, match="X25519"):
        ALICE.unseal(bytes(32), b"context", bytes(40))


def test_the_identity_vectors_hold(expect_vectors: Callable[[str, object], None]) -> None:
    body, context, nonce = b"a body", b"a context", bytes(range(12))
    sealed = ALICE.seal(BOB.seal_key, context, b"a secret", nonce)
    expect_vectors(
        "identity",
        {
            "about": "Keys, peer ids, signatures and seals; see protocol/spec/identity.md. Bytes are hexadecimal.",
            "peers": [
                {
                    "seed": (bytes([number]) * 32).hex(),
                    "public_key": peer.public_key.hex(),
                    "seal_key": peer.seal_key.hex(),
                    "peer_id": peer.peer_id,
                }
                for number, peer in ((1, ALICE), (2, BOB), (3, EVE))
            ],
            "refused_peer_ids": [
                "",
                "0OIl",
                OF_AN_RSA_KEY,
                ALICE.peer_id[:-1],
                "1" * 65,
            ],
            "signature": {
                "domain": "cc/join/1",
                "body": body.hex(),
                "signed_bytes": signed_bytes("cc/join/1", body).hex(),
                "content_id": content_id("cc/join/1", body).hex(),
                "signer": ALICE.public_key.hex(),
                "signature": ALICE.sign("cc/join/1", body).hex(),
            },
            "seal": {
                "from": ALICE.seal_key.hex(),
                "to": BOB.seal_key.hex(),
                "context": context.hex(),
                "nonce": nonce.hex(),
                "plaintext": b"a secret".hex(),
                "sealed": sealed.hex(),
            },
        },
    )
