"""Signals are proof against whoever carries them, and join links against whoever types them."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.errors import LocalProtocolError, RemoteProtocolError
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.signaling import (
    MESSAGE_BYTES_MAX,
    Ice,
    IceServer,
    check_enter,
    enter,
    parse_from_client,
    parse_from_server,
)
from crowdcompute.protocol.signals import (
    SIGNAL_BYTES_MAX,
    Answer,
    Candidate,
    Offer,
    Signal,
    SignalBody,
    SignalKind,
    check_candidate,
    check_sdp,
    fingerprint_of,
    open_signal,
    parse_signal,
    sign_signal,
)

ALICE, BOB, MALLORY = (Identity(bytes([seed]) * 32) for seed in (1, 2, 3))
FINGERPRINT = bytes(range(32))
FINGERPRINT_LINE = "a=fingerprint:sha-256 " + FINGERPRINT.hex(":").upper()
OTHER_LINE = "a=fingerprint:sha-256 " + bytes(32).hex(":").upper()
HOST = "candidate:1 1 udp 2130706431 192.0.2.7 50000 typ host"


def sdp_with(*lines: str) -> str:
    head = ("v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "m=application 9 UDP/DTLS/SCTP webrtc-datachannel")
    return "".join(f"{line}\r\n" for line in (*head, *lines))


SDP = sdp_with("c=IN IP4 0.0.0.0", "a=mid:0", f"a={HOST}", "a=setup:actpass", FINGERPRINT_LINE)
OFFER = Offer("main", bytes(16), ALICE.public_key, BOB.public_key, FINGERPRINT, SDP)
ANSWER = Answer("main", bytes(16), ALICE.public_key, BOB.public_key, bytes(32), FINGERPRINT, SDP)
CANDIDATE = Candidate("main", bytes(16), ALICE.public_key, BOB.public_key, "0", HOST)


def open_as(receiver: Identity, signal: Signal) -> SignalBody:
    return open_signal(verify, signal, network="main", receiver=receiver.public_key)


@pytest.mark.parametrize(
    ("author", "receiver", "body"),
    [(ALICE, BOB, OFFER), (BOB, ALICE, ANSWER), (ALICE, BOB, CANDIDATE), (BOB, ALICE, CANDIDATE)],
)
def test_a_signal_arrives_as_it_was_signed(author: Identity, receiver: Identity, body: SignalBody) -> None:
    signal = sign_signal(author, body)
    assert open_as(receiver, parse_signal(encode(signal))) == body


@pytest.mark.parametrize(
    ("author", "receiver", "body", "reason"),
    [
        (BOB, ALICE, OFFER, "not signed by its offerer"),
        (ALICE, BOB, ANSWER, "not signed by its answerer"),
        (MALLORY, BOB, OFFER, "not between its author and us"),
        (ALICE, MALLORY, OFFER, "not between its author and us"),
        (ALICE, ALICE, CANDIDATE, "not between its author and us"),
        (MALLORY, BOB, CANDIDATE, "not between its author and us"),
        (ALICE, BOB, msgspec.structs.replace(OFFER, network="other"), "for network 'other'"),
        (ALICE, BOB, msgspec.structs.replace(OFFER, answerer=ALICE.public_key), "not between its author and us"),
        (ALICE, BOB, msgspec.structs.replace(OFFER, fingerprint=bytes(32)), "not the signed one"),
        (BOB, ALICE, msgspec.structs.replace(ANSWER, fingerprint=bytes(32)), "not the signed one"),
        (ALICE, BOB, msgspec.structs.replace(CANDIDATE, candidate="x"), "RFC 8839"),
    ],
)
def test_a_signal_its_author_may_not_send_is_refused(
    author: Identity, receiver: Identity, body: SignalBody, reason: str
) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        open_as(receiver, sign_signal(author, body))


@given(position=st.integers(0), bit=st.integers(0, 7), body=st.sampled_from([OFFER, CANDIDATE]))
def test_no_bit_of_a_signal_can_be_changed_on_the_way(position: int, bit: int, body: SignalBody) -> None:
    data = bytearray(encode(sign_signal(ALICE, body)))
    data[position % len(data)] ^= 1 << bit
    with pytest.raises(RemoteProtocolError):
        open_as(BOB, parse_signal(bytes(data)))


def test_a_signature_of_one_kind_does_not_serve_another() -> None:
    signal = sign_signal(ALICE, CANDIDATE)
    relabelled = msgspec.structs.replace(signal, kind="offer", body=encode(OFFER))
    with pytest.raises(RemoteProtocolError, match="signature"):
        open_as(BOB, relabelled)


def test_an_answer_names_one_exact_offer() -> None:
    other = msgspec.structs.replace(OFFER, connection=b"another connecti")
    assert sign_signal(ALICE, OFFER).signal_id != sign_signal(ALICE, other).signal_id
    assert sign_signal(ALICE, OFFER).signal_id == sign_signal(ALICE, OFFER).signal_id


@pytest.mark.parametrize(
    "lines",
    [
        (FINGERPRINT_LINE,),
        (FINGERPRINT_LINE, FINGERPRINT_LINE),
        (FINGERPRINT_LINE.lower(), FINGERPRINT_LINE),
    ],
)
def test_one_fingerprint_may_stand_in_an_sdp_more_than_once(lines: tuple[str, ...]) -> None:
    assert fingerprint_of(sdp_with(*lines)) == FINGERPRINT


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (OTHER_LINE,),
        (FINGERPRINT_LINE, OTHER_LINE),
        (FINGERPRINT_LINE, OTHER_LINE.lower()),
        (FINGERPRINT_LINE, OTHER_LINE.replace("sha-256", "sha-1")),
        (FINGERPRINT_LINE, " " + OTHER_LINE),
        (FINGERPRINT_LINE, OTHER_LINE + " "),
        (FINGERPRINT_LINE, OTHER_LINE.replace("a=", "A=")),
        (FINGERPRINT_LINE, "a=x\x0b" + OTHER_LINE),
        (FINGERPRINT_LINE, "a=x\u2028" + OTHER_LINE),
        (FINGERPRINT_LINE, "a=x\0"),
        (FINGERPRINT_LINE + ":00",),
        (FINGERPRINT_LINE, "m=audio 9 UDP/TLS/RTP/SAVPF 0"),
        (FINGERPRINT_LINE, "m=application 9 UDP/DTLS/SCTP webrtc-datachannel"),
        (FINGERPRINT_LINE, "a=candidate:nonsense"),
        (FINGERPRINT_LINE, f"a={HOST}\u00e9"),
        (FINGERPRINT_LINE, *[f"a={HOST}"] * 65),
    ],
)
def test_an_sdp_with_anything_but_the_signed_fingerprint_and_data_channels_is_refused(lines: tuple[str, ...]) -> None:
    with pytest.raises(RemoteProtocolError):
        check_sdp(sdp_with(*lines), FINGERPRINT)


def test_an_sdp_without_any_section_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="one section"):
        check_sdp(f"v=0\r\n{FINGERPRINT_LINE}\r\n", FINGERPRINT)


@pytest.mark.parametrize(
    "candidate",
    [
        "",
        HOST,
        "candidate:842163049 1 UDP 1677729535 203.0.113.9 46154 typ srflx raddr 10.0.0.5 rport 46154 generation 0",
        "candidate:1 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active",
        "candidate:1 1 udp 2122260223 fd00::7 56032 typ host",
        "candidate:0 1 UDP 2122187007 0a1b2c3d-0000-4000-8000-0123456789ab.local 50000 typ host",
    ],
)
def test_candidates_of_browsers_and_aiortc_pass(candidate: str) -> None:
    check_candidate(candidate)


@pytest.mark.parametrize(
    "candidate",
    ["x", "candidate:", HOST.replace("50000", "65536"), HOST + " odd", HOST.replace(" typ", "\ntyp"), HOST + "\r\na=x"],
)
def test_what_is_no_candidate_is_refused(candidate: str) -> None:
    with pytest.raises(RemoteProtocolError, match="RFC 8839"):
        check_candidate(candidate)


@given(st.binary(max_size=400))
def test_random_bytes_raise_nothing_but_a_protocol_error(data: bytes) -> None:
    for parse in (parse_from_client, parse_from_server, parse_signal):
        with pytest.raises(RemoteProtocolError):
            parse(data)


@given(st.text(max_size=300), st.sampled_from(["", SDP]))
def test_random_text_raises_nothing_but_a_protocol_error(text: str, prefix: str) -> None:
    for check in (check_candidate, fingerprint_of, lambda sdp: check_sdp(sdp, FINGERPRINT)):
        try:
            check(prefix + text)
        except RemoteProtocolError:
            continue


@given(st.integers(0, 2**32))
def test_a_mutated_signed_body_raises_nothing_but_a_protocol_error(seed: int) -> None:
    rng = Random(seed)
    body = bytearray(encode(rng.choice([OFFER, ANSWER, CANDIDATE])))
    for _ in range(rng.randint(1, 8)):
        body[rng.randrange(len(body))] = rng.randrange(256)
    kinds: list[SignalKind] = ["offer", "answer", "candidate"]
    kind = rng.choice(kinds)
    signed = Signal(kind, ALICE.public_key, bytes(body), ALICE.sign(f"cc/{kind}/1", bytes(body)))
    try:
        open_as(BOB, signed)
    except RemoteProtocolError:
        return


def test_what_is_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(RemoteProtocolError, match="over the limit"):
        parse_from_client(bytes(MESSAGE_BYTES_MAX + 1))
    with pytest.raises(RemoteProtocolError, match="over the limit"):
        parse_from_server(bytes(MESSAGE_BYTES_MAX + 1))
    with pytest.raises(RemoteProtocolError, match="over the limit"):
        parse_signal(bytes(SIGNAL_BYTES_MAX + 1))


def test_enter_proves_the_key_for_one_nonce_and_one_network() -> None:
    message = enter(ALICE, "main", bytes(32))
    check_enter(verify, message, bytes(32))
    for wrong, nonce in [
        (message, b"1" * 32),
        (msgspec.structs.replace(message, network="other"), bytes(32)),
        (msgspec.structs.replace(message, public_key=BOB.public_key), bytes(32)),
    ]:
        with pytest.raises(RemoteProtocolError, match="signature"):
            check_enter(verify, wrong, nonce)


@pytest.mark.parametrize(
    ("url", "is_known"),
    [
        ("stun:stun.example.org:3478", True),
        ("turn:turn.example.org", True),
        ("turns:turn.example.org:443?transport=tcp", True),
        ("http://example.org", False),
        ("stun:stun.example.org?transport=udp", False),
        ("stun:", False),
        ("turn:a b", False),
        ("stun:host:99999999", False),
    ],
)
def test_ice_servers_are_those_every_stack_understands(url: str, is_known: bool) -> None:
    data = encode(Ice((IceServer(url, "", ""),)))
    if is_known:
        parse_from_server(data)
    else:
        with pytest.raises(RemoteProtocolError):
            parse_from_server(data)


ADDRESS = f"/ip4/127.0.0.1/tcp/4001/p2p/{Identity(bytes(32)).peer_id}"


@pytest.mark.parametrize(
    ("text", "link", "websocket_urls"),
    [
        ("http://127.0.0.1:8765/j#n=main", JoinLink("http://127.0.0.1:8765", "main"), ["ws://127.0.0.1:8765/ws"]),
        (
            "https://cc.example.org/j#n=a.b_c-1",
            JoinLink("https://cc.example.org", "a.b_c-1"),
            ["wss://cc.example.org/ws"],
        ),
        ("https://example.org/cc/j/#n=main", JoinLink("https://example.org/cc", "main"), ["wss://example.org/cc/ws"]),
        (
            f"  http://[::1]:80/j#t={'0a' * 32}&n=main\n",
            JoinLink("http://[::1]:80", "main", b"\x0a" * 32),
            ["ws://[::1]:80/ws"],
        ),
        (
            "https://example.org/j#n=lab&i=correct-horse_1",
            JoinLink("https://example.org", "lab", invite="correct-horse_1"),
            ["wss://example.org/ws"],
        ),
        (
            "http://a:1/j#n=main&s=http://b:2/&s=https://c",
            JoinLink("http://a:1", "main", others=("http://b:2", "https://c")),
            ["ws://a:1/ws", "ws://b:2/ws", "wss://c/ws"],
        ),
        (
            f"n=main&b={ADDRESS}",
            JoinLink("", "main", bootstrap=(ADDRESS,)),
            [],
        ),
    ],
)
def test_a_join_link_says_where_and_which_network(text: str, link: JoinLink, websocket_urls: list[str]) -> None:
    assert JoinLink.parse(text) == link
    assert JoinLink.parse(str(link)) == link
    assert list(link.websocket_urls) == websocket_urls


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a join link"),
        ("main", "not a join link"),
        ("ftp://host/j#n=main", "not a join link"),
        ("http:///j#n=main", "not a join link"),
        ("http://host:port/j#n=main", "not a URL"),
        ("http://[::1/j#n=main", "not a URL"),
        ("http://host/#n=main", "/j page"),
        ("http://host/j", "names no network"),
        ("http://host/j#", "names no network"),
        ("http://host/j#n=", "names no network"),
        ("http://host/j#n=Main", "not a network name"),
        (f"http://host/j#n={'a' * 65}", "not a network name"),
        ("http://host/j#n=main&t=12", "64 hex digits"),
        ("http://host/j#n=main&t=zz", "64 hex digits"),
        ("http://host/j#n=main&t=", "64 hex digits"),
        ("http://host/j#n=main&i=", "invite"),
        ("http://host/j#n=main&i=short", "invite"),
        ("http://host/j#n=main&i=correct%20horse", "invite"),
        ("http://host/j#n=main&s=", "not a signaling server"),
        ("http://host/j#n=main&s=ftp://other", "not a signaling server"),
        ("http://host/j#n=main&s=http://other:port", "not a URL"),
        ("http://host/j#n=main" + 9 * "&s=http://other", "at most 8"),
        ("http://host/j#n=main&b=10.0.0.1:4001", "not a peer's address"),
        (f"http://host/j#n=main&b=/ip4/10.0.0.1/tcp/4001/p2p/{'1' * 45}", "names no peer"),
        ("http://host/j#n=main&v=operator", "nobody who could vouch"),
        ("n=", "names no network"),
        ("n=main&s=http://other", "begins without a server"),
    ],
)
def test_a_wrong_join_link_gets_one_sentence(text: str, reason: str) -> None:
    with pytest.raises(LocalProtocolError, match=reason):
        JoinLink.parse(text)


@given(st.text(max_size=80))
def test_any_other_text_is_a_wrong_join_link_and_nothing_worse(text: str) -> None:
    for candidate in (text, "http://" + text, "http://host/j#" + text, "n=main" + text):
        try:
            link: Any = JoinLink.parse(candidate)
        except LocalProtocolError:
            continue
        assert JoinLink.parse(str(link)) == link
        assert replace(link, task_id=bytes(32)).task_id == bytes(32)
