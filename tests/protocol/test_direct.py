"""The direct way in an SDP is what its sender signed, and whoever takes it proves who it is."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.direct import (
    Address,
    DirectWay,
    Meeting,
    direct_way_of,
    is_proof_of,
    prove_meeting,
    with_direct_way,
)
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.signals import check_sdp

ALICE, BOB, MALLORY = (Identity(bytes([seed]) * 32) for seed in (1, 2, 3))
DTLS, TLS = bytes(range(32)), bytes(range(32, 64))
SDP = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
    f"a=fingerprint:sha-256 {DTLS.hex(':').upper()}\r\n"
)
WAY = DirectWay(TLS, (Address("192.0.2.7", 40_000), Address("2001:db8::7", 65_535)))
LINE = f"a=cc-direct:{TLS.hex()} 192.0.2.7/40000 2001:db8::7/65535"
MEETING = Meeting("main", bytes(range(16)), ALICE.public_key, BOB.public_key, TLS)

REFUSED = {
    "two ways": f"{LINE}\r\n{LINE}",
    "no address": f"a=cc-direct:{TLS.hex()}",
    "a short certificate": f"a=cc-direct:{TLS.hex()[2:]} 192.0.2.7/40000",
    "an upper-case certificate": f"a=cc-direct:{TLS.hex().upper()} 192.0.2.7/40000",
    "a name": f"a=cc-direct:{TLS.hex()} example.org/40000",
    "no IP address": f"a=cc-direct:{TLS.hex()} 192.0.2.700/40000",
    "an address with a zone": f"a=cc-direct:{TLS.hex()} fe80::1%eth0/40000",
    "a port of a service": f"a=cc-direct:{TLS.hex()} 192.0.2.7/1023",
    "a port beyond": f"a=cc-direct:{TLS.hex()} 192.0.2.7/65536",
    "two spaces": f"a=cc-direct:{TLS.hex()}  192.0.2.7/40000",
    "nine addresses": f"a=cc-direct:{TLS.hex()}" + " 192.0.2.7/40000" * 9,
}


def test_an_sdp_carries_a_way_and_stays_one_that_everybody_takes() -> None:
    sdp = with_direct_way(SDP, WAY)
    assert sdp == f"{SDP}{LINE}\r\n"
    check_sdp(sdp, DTLS)
    assert direct_way_of(sdp) == WAY
    assert direct_way_of(SDP) is None


@pytest.mark.parametrize("name", REFUSED)
def test_any_other_way_is_refused(name: str) -> None:
    with pytest.raises(RemoteProtocolError, match="direct way"):
        direct_way_of(f"{SDP}{REFUSED[name]}\r\n")


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=120))
def test_no_way_raises_anything_else(text: str) -> None:
    with suppress(RemoteProtocolError):
        direct_way_of(f"{SDP}a=cc-direct:{text}\r\n")


@given(
    st.lists(
        st.builds(lambda ip, port: Address(str(ip), port), st.ip_addresses(), st.integers(1_024, 65_535)),
        min_size=1,
        max_size=8,
    )
)
def test_addresses_come_out_as_they_went_in(addresses: list[Address]) -> None:
    way = DirectWay(TLS, tuple(addresses))
    assert direct_way_of(with_direct_way(SDP, way)) == way


def test_a_proof_is_good_for_one_connection_and_one_certificate_only() -> None:
    proof = prove_meeting(BOB, MEETING)
    assert is_proof_of(verify, MEETING, BOB.public_key, proof)
    assert not is_proof_of(verify, MEETING, MALLORY.public_key, proof)
    others = {"network": "other", "connection": bytes(16), "offerer": MALLORY.public_key, "answerer": bytes(32)}
    for name, other in {**others, "certificate": bytes(32)}.items():
        assert not is_proof_of(verify, msgspec.structs.replace(MEETING, **{name: other}), BOB.public_key, proof), name
    assert {*others, "certificate"} == set(Meeting.__struct_fields__)


def test_the_vectors_hold(expect_vectors: Any) -> None:
    expect_vectors(
        "direct",
        {
            "about": "The direct way of an SDP, and the proof of who takes it; see protocol/spec/direct.md. Bytes are "
            "hexadecimal. Bob, whose seed is 32 times 02, connects.",
            "certificate": TLS.hex(),
            "addresses": [f"{host}/{port}" for host, port in WAY.addresses],
            "line": LINE,
            "meeting": {
                "network": MEETING.network,
                "connection": MEETING.connection.hex(),
                "offerer": MEETING.offerer.hex(),
                "answerer": MEETING.answerer.hex(),
                "certificate": MEETING.certificate.hex(),
            },
            "proof": prove_meeting(BOB, MEETING).hex(),
            "refused": REFUSED,
        },
    )
