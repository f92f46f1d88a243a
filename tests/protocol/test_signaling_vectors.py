"""Bytes of every message and signal that both languages must produce and refuse (spec/signaling.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.signaling import (
    Ask,
    Entered,
    FromClient,
    FromServer,
    Ice,
    IceServer,
    Peers,
    Refused,
    Relay,
    Relayed,
    Undeliverable,
    Welcome,
    enter,
    parse_from_client,
    parse_from_server,
)
from crowdcompute.protocol.signals import Answer, Candidate, Offer, Signal, open_signal, parse_signal, sign_signal
from crowdcompute.protocol.turn import turn_server

if TYPE_CHECKING:
    from collections.abc import Callable

OFFERER, ANSWERER = Identity(bytes([1]) * 32), Identity(bytes([2]) * 32)
NONCE = bytes(range(32))
CONNECTION = bytes(range(16))


def sdp_of(certificate: int, setup: str, *lines: str) -> tuple[bytes, str]:
    fingerprint = bytes([certificate]) * 32
    text = (
        "v=0",
        "o=- 4004361164 4004361164 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=application 50000 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 192.0.2.7",
        "a=mid:0",
        "a=sctp-port:5000",
        "a=max-message-size:262144",
        "a=candidate:1 1 udp 2130706431 192.0.2.7 50000 typ host",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:0123456789abcdef012345",
        f"a=fingerprint:sha-256 {fingerprint.hex(':').upper()}",
        f"a=setup:{setup}",
        *lines,
    )
    return fingerprint, "".join(f"{line}\r\n" for line in text)


OFFER = Offer("main", CONNECTION, OFFERER.public_key, ANSWERER.public_key, *sdp_of(0xA1, "actpass"))
OFFER_ID = sign_signal(OFFERER, OFFER).signal_id
ANSWER = Answer("main", CONNECTION, OFFERER.public_key, ANSWERER.public_key, OFFER_ID, *sdp_of(0xB2, "active"))
CANDIDATE = Candidate(
    "main",
    CONNECTION,
    OFFERER.public_key,
    ANSWERER.public_key,
    "0",
    "candidate:2 1 udp 1677729535 203.0.113.9 46154 typ srflx raddr 192.0.2.7 rport 50000",
)
SIGNALS = {
    "offer": (sign_signal(OFFERER, OFFER), ANSWERER),
    "answer": (sign_signal(ANSWERER, ANSWER), OFFERER),
    "candidate of the offerer": (sign_signal(OFFERER, CANDIDATE), ANSWERER),
    "candidate of the answerer": (sign_signal(ANSWERER, CANDIDATE), OFFERER),
    "end of candidates": (sign_signal(OFFERER, msgspec.structs.replace(CANDIDATE, candidate="")), ANSWERER),
}

FROM_CLIENT: dict[str, FromClient] = {
    "enter": enter(OFFERER, "main", NONCE),
    "enter invited": enter(OFFERER, "lab", NONCE, "correct-horse_1"),
    "ask": Ask(32),
    "relay": Relay(ANSWERER.public_key, b"\x01\x02"),
}
FROM_SERVER: dict[str, FromServer] = {
    "welcome": Welcome(NONCE, 1_795_000_000.5),
    "ice": Ice(
        (
            IceServer("stun:192.0.2.1:3478", "", ""),
            turn_server("turn:turn.example.org?transport=udp", "secret", OFFERER.peer_id, 1_795_086_400),
        )
    ),
    "ice without servers": Ice(()),
    "entered alone": Entered(()),
    "entered": Entered((OFFERER.public_key, ANSWERER.public_key)),
    "peers": Peers((ANSWERER.public_key,)),
    "relayed": Relayed(OFFERER.public_key, b"\x01\x02"),
    "undeliverable": Undeliverable(ANSWERER.public_key),
    "refused": Refused("replaced", "the same key entered from another connection"),
}

REFUSED_FROM_CLIENT: dict[str, bytes] = {
    "nothing": b"",
    "not an array": encode("enter"),
    "unknown tag": encode(["leave"]),
    "a message of the server": encode(Peers(())),
    "one field too many": encode(["ask", 1, 1]),
    "one field too few": encode(["relay", bytes(32)]),
    "trailing byte": encode(Ask(1)) + b"\0",
    "truncated": encode(FROM_CLIENT["relay"])[:-1],
    "count 0": encode(["ask", 0]),
    "count 33": encode(["ask", 33]),
    "count as float": encode(["ask", 1.5]),
    "short key": encode(["relay", bytes(31), b""]),
    "long signal": encode(["relay", bytes(32), bytes(24 * 1024 + 1)]),
    "network in capitals": encode(["enter", bytes(32), "Main", b"", bytes(64)]),
    "network with a line feed": encode(["enter", bytes(32), "main\n", b"", bytes(64)]),
    "network without a name": encode(["enter", bytes(32), "", b"", bytes(64)]),
    "invitation of 33 bytes": encode(["enter", bytes(32), "main", bytes(33), bytes(64)]),
    "no invitation, not even an empty one": encode(["enter", bytes(32), "main", bytes(64)]),
    "network of 65 characters": encode(["enter", bytes(32), "a" * 65, b"", bytes(64)]),
}
REFUSED_FROM_SERVER: dict[str, bytes] = {
    "a message of a client": encode(Ask(1)),
    "33 peers": encode(["entered", [bytes(32)] * 33]),
    "nine ICE servers": encode(["ice", [["stun:a", "", ""]] * 9]),
    "ICE server that is a page": encode(["ice", [["http://a", "", ""]]]),
    "unknown refusal": encode(["refused", "whim", ""]),
}


def forged(**changes: Any) -> Signal:
    return msgspec.structs.replace(SIGNALS["offer"][0], **changes)


def signed_offer(**changes: Any) -> Signal:
    return sign_signal(OFFERER, msgspec.structs.replace(OFFER, **changes))


_, two_sections = sdp_of(0xA1, "actpass", "m=audio 9 UDP/TLS/RTP/SAVPF 0")
_, two_fingerprints = sdp_of(0xA1, "actpass", "a=fingerprint:sha-256 " + bytes(32).hex(":"))
_, other_algorithm = sdp_of(0xA1, "actpass", "a=fingerprint:sha-384 " + bytes(48).hex(":"))
_, odd_line_end = sdp_of(0xA1, "actpass", "a=x\u2028a=y")

REFUSED_SIGNALS: dict[str, tuple[Signal, Identity]] = {
    "signature of another body": (forged(signature=signed_offer(connection=bytes(16)).signature), ANSWERER),
    "author who did not sign": (forged(author=ANSWERER.public_key), ANSWERER),
    "offer called an answer": (forged(kind="answer"), ANSWERER),
    "offer to somebody else": (SIGNALS["offer"][0], Identity(bytes([3]) * 32)),
    "offer sent back to its author": (SIGNALS["offer"][0], OFFERER),
    "offer signed by the answerer": (sign_signal(ANSWERER, OFFER), OFFERER),
    "answer signed by the offerer": (sign_signal(OFFERER, ANSWER), ANSWERER),
    "another network": (signed_offer(network="other"), ANSWERER),
    "fingerprint that is not in the SDP": (signed_offer(fingerprint=bytes(32)), ANSWERER),
    "two fingerprints": (signed_offer(sdp=two_fingerprints), ANSWERER),
    "fingerprint of another algorithm": (signed_offer(sdp=other_algorithm), ANSWERER),
    "audio": (signed_offer(sdp=two_sections), ANSWERER),
    "line separator U+2028": (signed_offer(sdp=odd_line_end), ANSWERER),
    "no candidate": (sign_signal(OFFERER, msgspec.structs.replace(CANDIDATE, candidate="candidate:")), ANSWERER),
}

PEER = OFFERER.peer_id

JOIN_LINKS = [
    "http://127.0.0.1:8765/j#n=main",
    "https://example.org/cc/j#n=a.b_c-1",
    f"http://[::1]:8765/j#n=main&t={'0a' * 32}",
    "https://example.org/j#n=lab&i=correct-horse_1",
    "http://10.0.0.1:8765/j#n=main&s=http://%5B::1%5D:8766&s=https://example.org/cc",
    f"http://10.0.0.1:8765/j#n=main&t={'0a' * 32}&s=http://10.0.0.2:8765&b=/ip4/10.0.0.3/tcp/4001/p2p/{PEER}",
    f"n=main&b=/dns/node.example.org/tcp/4001/p2p/{PEER}&b=/ip6/::1/tcp/4001/p2p/{PEER}",
    "n=main",
    f"http://10.0.0.1:8765/j#n=main&v={PEER}",
    f"n=main&b=/dns/node.example.org/tcp/4001/p2p/{PEER}&v={PEER}&v={PEER}",
]


def vectors() -> dict[str, Any]:
    return {
        "about": "Messages, signals and join links; see protocol/spec/signaling.md. Bytes are hexadecimal. Who opens a "
        "signal is in network main.",
        "seeds": {"offerer": "01" * 32, "answerer": "02" * 32},
        "nonce": NONCE.hex(),
        "from_client": {name: encode(message).hex() for name, message in FROM_CLIENT.items()},
        "from_server": {name: encode(message).hex() for name, message in FROM_SERVER.items()},
        "signals": {
            name: {"bytes": encode(signal).hex(), "receiver": receiver.public_key.hex(), "id": signal.signal_id.hex()}
            for name, (signal, receiver) in SIGNALS.items()
        },
        "sdp": {"offer": OFFER.sdp, "answer": ANSWER.sdp},
        "join_links": [
            {
                "link": text,
                "websocket_urls": list(JoinLink.parse(text).websocket_urls),
                "network": JoinLink.parse(text).network,
                "task": None if (task := JoinLink.parse(text).task_id) is None else task.hex(),
                "invite": JoinLink.parse(text).invite,
                "bootstrap": list(JoinLink.parse(text).bootstrap),
                "vouchers": list(JoinLink.parse(text).vouchers),
            }
            for text in JOIN_LINKS
        ],
        "refused": {
            "from_client": {name: data.hex() for name, data in REFUSED_FROM_CLIENT.items() if len(data) < 1_000},
            "from_server": {name: data.hex() for name, data in REFUSED_FROM_SERVER.items() if len(data) < 2_000},
            "signals": {
                name: {"bytes": encode(signal).hex(), "receiver": receiver.public_key.hex()}
                for name, (signal, receiver) in REFUSED_SIGNALS.items()
            },
        },
    }


def test_the_committed_vectors_are_what_we_produce(expect_vectors: Callable[[str, object], None]) -> None:
    expect_vectors("signaling", vectors())


@pytest.mark.parametrize("name", FROM_CLIENT)
def test_a_clients_message_survives_the_wire(name: str) -> None:
    assert parse_from_client(encode(FROM_CLIENT[name])) == FROM_CLIENT[name]


@pytest.mark.parametrize("name", FROM_SERVER)
def test_a_servers_message_survives_the_wire(name: str) -> None:
    assert parse_from_server(encode(FROM_SERVER[name])) == FROM_SERVER[name]


@pytest.mark.parametrize("name", SIGNALS)
def test_a_genuine_signal_opens(name: str) -> None:
    signal, receiver = SIGNALS[name]
    open_signal(verify, parse_signal(encode(signal)), network="main", receiver=receiver.public_key)


@pytest.mark.parametrize("name", REFUSED_FROM_CLIENT)
def test_a_wrong_message_of_a_client_is_refused(name: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_from_client(REFUSED_FROM_CLIENT[name])


@pytest.mark.parametrize("name", REFUSED_FROM_SERVER)
def test_a_wrong_message_of_a_server_is_refused(name: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_from_server(REFUSED_FROM_SERVER[name])


@pytest.mark.parametrize("name", REFUSED_SIGNALS)
def test_a_forged_signal_is_refused(name: str) -> None:
    signal, receiver = REFUSED_SIGNALS[name]
    with pytest.raises(RemoteProtocolError):
        open_signal(verify, parse_signal(encode(signal)), network="main", receiver=receiver.public_key)
