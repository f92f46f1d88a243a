from __future__ import annotations

from hashlib import sha512
from typing import TYPE_CHECKING

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import (
    Identity,
    content_id,
    is_weak_point,
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


# ---- signatures that implementations of Ed25519 disagree on, made with the curve's own arithmetic

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
CURVE_D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]
IDENTITY: Point = (0, 1)
DOMAIN, BODY = "cc/join/1", b"a body"


def added(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    crossed = CURVE_D * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + crossed, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - crossed, -1, P) % P,
    )


def times(scalar: int, point: Point) -> Point:
    total = IDENTITY
    while scalar:
        if scalar & 1:
            total = added(total, point)
        point, scalar = added(point, point), scalar >> 1
    return total


def point_at(y: int, sign: int) -> Point | None:
    squared = (y * y - 1) * pow(CURVE_D * y * y + 1, -1, P) % P
    x = pow(squared, (P + 3) // 8, P)
    if x * x % P != squared:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != squared:
        return None
    return (P - x if x % 2 != sign else x) % P, y


def encoded(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def challenge(r: bytes, key: bytes) -> int:
    return int.from_bytes(sha512(r + key + signed_bytes(DOMAIN, BODY)).digest(), "little") % ORDER


def base() -> Point:
    found = point_at(4 * pow(5, -1, P) % P, 0)
    assert found is not None
    return found


BASE = base()
SECRET = 0x1234567890ABCDEF << 128
"""Of a key whose scalar we know, so that we can sign against every rule."""


def small_order_points() -> list[Point]:
    """All eight, from one of order eight: a point times the group's order keeps only that part."""
    for y in range(2, 100):
        point = point_at(y, 0)
        torsion = times(ORDER, point) if point is not None else IDENTITY
        if times(4, torsion) != IDENTITY:
            return [times(count, torsion) for count in range(8)]
    raise AssertionError("no point of order eight was found")


TORSION = small_order_points()


def signed_with(key: bytes, scalar: int, r: bytes, nonce: int) -> bytes:
    return r + ((nonce + challenge(r, key) * scalar) % ORDER).to_bytes(32, "little")


def signature_edges() -> dict[str, tuple[bytes, bytes, bool]]:
    """Key, signature, and whether it is valid."""
    key, nonce = times(SECRET, BASE), 987_654_321
    good, r = encoded(key), encoded(times(nonce, BASE))
    plain = signed_with(good, SECRET, r, nonce)
    s = int.from_bytes(plain[32:], "little")
    mixed = encoded(added(key, TORSION[1]))
    # With k a multiple of eight the part of order eight vanishes, and the equation holds without the cofactor too.
    fitting = next(n for n in range(1, 1_000) if challenge(encoded(times(n, BASE)), mixed) % 8 == 0)
    torn = next(n for n in range(1, 1_000) if challenge(encoded(times(n, BASE)), mixed) % 8 != 0)
    edges = {
        "as it should be": (good, plain, True),
        "S plus the order of the group": (good, r + (s + ORDER).to_bytes(32, "little"), False),
        "S with its top bit set": (good, r + (s | 1 << 255).to_bytes(32, "little"), False),
        "nothing but zeros": (bytes(32), bytes(64), False),
        "a key that is no point": ((2).to_bytes(32, "little"), plain, False),
        "a key that is too short": (good[:31], plain, False),
        "a key that is too long": (good + b"\0", plain, False),
        "a signature that is too short": (good, plain[:63], False),
        "a signature that is too long": (good, plain + b"\0", False),
        "R is the neutral point": (good, signed_with(good, SECRET, encoded(IDENTITY), 0), False),
        "R off by a point of order eight": (
            good,
            signed_with(good, SECRET, encoded(added(times(nonce, BASE), TORSION[1])), nonce),
            False,
        ),
        "a key of mixed order, valid without the cofactor": (
            mixed,
            signed_with(mixed, SECRET, encoded(times(fitting, BASE)), fitting),
            True,
        ),
        "a key of mixed order, valid with the cofactor only": (
            mixed,
            signed_with(mixed, SECRET, encoded(times(torn, BASE)), torn),
            False,
        ),
    }
    for number, point in enumerate(TORSION):
        weak = encoded(point)
        # A multiple of eight as challenge makes it valid for whoever does not refuse such keys.
        nonce = next(n for n in range(1, 1_000) if challenge(encoded(times(n, BASE)), weak) % 8 == 0)
        edges[f"a key of small order, {number}"] = (
            weak,
            signed_with(weak, 0, encoded(times(nonce, BASE)), nonce),
            False,
        )
    for name, weak in {
        "a neutral key beyond the field": (P + 1).to_bytes(32, "little"),
        "a neutral key with a sign": (1 | 1 << 255).to_bytes(32, "little"),
        "a neutral key beyond the field, with a sign": (P + 1 | 1 << 255).to_bytes(32, "little"),
        "a key of order two with a sign": (P - 1 | 1 << 255).to_bytes(32, "little"),
        "a key of order four beyond the field": P.to_bytes(32, "little"),
    }.items():
        nonce = next(n for n in range(1, 1_000) if challenge(encoded(times(n, BASE)), weak) % 8 == 0)
        edges[name] = (weak, signed_with(weak, 0, encoded(times(nonce, BASE)), nonce), False)
    return edges


EDGES = signature_edges()


@pytest.mark.parametrize("name", EDGES)
def test_a_signature_on_the_edge_is_judged_as_the_specification_says(name: str) -> None:
    key, signature, valid = EDGES[name]
    assert verify(key, DOMAIN, BODY, signature) == valid


def test_without_the_rule_on_weak_points_openssl_would_accept_them() -> None:
    """Why the rule is there: WebCrypto is specified to refuse these."""
    for name in ("R is the neutral point", "a key of small order, 1", "a neutral key beyond the field"):
        key, signature, _ = EDGES[name]
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, signed_bytes(DOMAIN, BODY))
        except InvalidSignature:
            pytest.fail(name)


def test_the_weak_points_are_those_of_small_order_and_those_beyond_the_field() -> None:
    assert len({encoded(point) for point in TORSION}) == 8
    assert all(is_weak_point(encoded(point)) for point in TORSION)
    assert all(is_weak_point((y | sign << 255).to_bytes(32, "little")) for y in range(P, 2**255) for sign in (0, 1))
    assert not any(is_weak_point(y.to_bytes(32, "little")) for y in (2, P - 2, 2**254))
    assert not any(is_weak_point(peer.public_key) for peer in (ALICE, BOB, EVE))


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


def refused_seals(sealed: bytes, context: bytes) -> dict[str, tuple[bytes, bytes, bytes]]:
    """What Bob cannot open of what Alice sealed to him: whose key he tries, the context, the bytes."""
    return {
        "another sender": (EVE.seal_key, context, sealed),
        "another context": (ALICE.seal_key, context + b"!", sealed),
        "another nonce": (ALICE.seal_key, context, b"\1" + sealed[1:]),
        "an altered byte": (ALICE.seal_key, context, sealed[:-1] + bytes((sealed[-1] ^ 1,))),
        "cut short": (ALICE.seal_key, context, sealed[:-1]),
        "nothing but a nonce": (ALICE.seal_key, context, sealed[:12]),
        "shorter than a nonce": (ALICE.seal_key, context, sealed[:11]),
        "a key of zeros": (bytes(32), context, sealed),
        "a key of small order": ((1).to_bytes(32, "little"), context, sealed),
        "a key of 31 bytes": (ALICE.seal_key[:31], context, sealed),
    }


def test_what_was_not_sealed_so_does_not_open() -> None:
    context = b"a context"
    sealed = ALICE.seal(BOB.seal_key, context, b"a secret", bytes(range(12)))
    for why, (seal_key, tried, data) in refused_seals(sealed, context).items():
        with pytest.raises(RemoteProtocolError):
            BOB.unseal(seal_key, tried, data)
            pytest.fail(why)


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
            "signature_edges": [
                {
                    "name": name,
                    "domain": DOMAIN,
                    "body": BODY.hex(),
                    "public_key": key.hex(),
                    "signature": signature.hex(),
                    "valid": valid,
                }
                for name, (key, signature, valid) in EDGES.items()
            ],
            "seal": {
                "from": ALICE.seal_key.hex(),
                "to": BOB.seal_key.hex(),
                "context": context.hex(),
                "nonce": nonce.hex(),
                "plaintext": b"a secret".hex(),
                "sealed": sealed.hex(),
            },
            "refused_seals": [
                {"why": why, "from": seal_key.hex(), "context": context.hex(), "sealed": data.hex()}
                for why, (seal_key, context, data) in refused_seals(sealed, context).items()
            ],
        },
    )
