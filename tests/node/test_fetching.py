"""What a node fetches, from real servers of this machine, and what it refuses to (protocol/spec/permissions.md)."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from crowdcompute.node.executors.fetching import FetchingExecutor, is_public
from crowdcompute.protocol.events import ChunkInput, ChunkOutcome, Status
from crowdcompute.protocol.manifest import Limits
from crowdcompute.protocol.permissions import FETCH_RULES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio
LIMITS = Limits(memory_bytes=1 << 20, output_bytes=1_000, seconds=10.0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class NoSandbox:
    """Stands where chunks that are computed would go; none may come."""

    async def execute(self, *_: Any) -> tuple[ChunkOutcome, ...]:
        raise AssertionError("an address went to the sandbox")


async def fetched(
    answer: bytes | None, *, address: str = "http://127.0.0.1:PORT/a", limits: Limits = LIMITS, **options: Any
) -> tuple[ChunkOutcome, list[bytes]]:
    """What comes of fetching from a server that gives this answer, or none; and what the server was asked."""
    asked: list[bytes] = []
    held = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if answer is None:
            await held.wait()
        else:
            writer.write(answer)
            await writer.drain()
        writer.close()

    tls = options.pop("server_tls", None)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        executor = FetchingExecutor(NoSandbox(), per_minute=60_000, **{"loopback": True, **options})
        chunk = ChunkInput(7, address.replace("PORT", str(port)).encode(), 0)
        (outcome,) = await executor.execute(b"", FETCH_RULES, limits, chunks=[chunk], numbers=False, runtime="net")
        held.set()
    return outcome, asked


def plain(body: bytes, status: bytes = b"200 OK", head: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), head, body)


async def test_a_result_is_the_bytes_of_the_answer_and_the_request_says_nothing_of_the_volunteer() -> None:
    outcome, (request,) = await fetched(plain(b"data"), address="http://127.0.0.1:PORT/a/b?c=d")
    assert outcome == ChunkOutcome(7, Status.OK, b"data")
    first, *headers = request.decode().strip().split("\r\n")
    assert first == "GET /a/b?c=d HTTP/1.1"
    assert {header.partition(":")[0].lower() for header in headers} == {
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "connection",
    }


async def test_an_answer_in_pieces_is_put_together() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nda\r\n2\r\nta\r\n0\r\n\r\n"
    assert (await fetched(answer))[0].data == b"data"


HOSTILE: dict[str, tuple[bytes | None, str]] = {
    "a page that is not there": (plain(b"", b"404 Not Found"), "answers 404"),
    "a redirect to this machine": (plain(b"", b"302 Found", b"Location: http://127.0.0.1/\r\n"), "sends elsewhere"),
    "an answer that says it is too large": (plain(b"x" * 1_001), "larger than 1000 bytes"),
    "an answer that turns out too large": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"200\r\n"
        + b"x" * 512
        + b"\r\n200\r\n"
        + b"x" * 514,
        "larger than 1000 bytes",
    ),
    "a server that says nothing": (None, "takes longer than 0.2 s"),
    "half an answer": (plain(b"data")[:-1], "breaks off"),
    "an answer without an end": (b"HTTP/1.1 200 OK\r\n\r\ndata", "how long its answer is"),
    "headers without end": (b"HTTP/1.1 200 OK\r\n" + b"a: " + b"x" * 40_000, "does not speak HTTP"),
    "another protocol": (b"220 mail.example.org ESMTP\r\n", "does not speak HTTP"),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "does not speak HTTP"),
}


@pytest.mark.parametrize("answer", HOSTILE)
async def test_a_hostile_server_gives_no_result(answer: str) -> None:
    given, why = HOSTILE[answer]
    limits = Limits(memory_bytes=1 << 20, output_bytes=1_000, seconds=0.2 if given is None else 10.0)
    outcome, _ = await fetched(given, limits=limits)
    assert outcome.status is Status.NO_RESULT
    assert why in outcome.detail, outcome.detail


PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "192.168.0.1",
    "172.16.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fd00::1",
    "ff02::1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "::127.0.0.1",
]


@pytest.mark.parametrize("ip", PRIVATE)
async def test_a_name_that_means_a_private_address_is_not_connected_to(ip: str) -> None:
    assert not is_public(ipaddress.ip_address(ip))

    async def resolve(host: str, port: int) -> Sequence[str]:
        return [ip]

    outcome, asked = await fetched(
        plain(b"secret"), address="https://rebound.example.org:PORT/", loopback=False, resolve=resolve
    )
    assert (outcome.status, asked) == (Status.NO_RESULT, [])
    assert "private network" in outcome.detail


@pytest.mark.parametrize("ip", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_an_address_of_the_whole_internet_is_public(ip: str) -> None:
    assert is_public(ipaddress.ip_address(ip))


async def test_what_is_no_address_in_the_one_form_is_not_asked_for() -> None:
    for address in (
        "http://127.0.0.1:PORT/../a",
        "http://user@127.0.0.1:PORT/a",
        "file:///etc/passwd",
        "http://[::1]/",
    ):
        outcome, asked = await fetched(plain(b"secret"), address=address)
        assert (outcome.status, asked) == (Status.NO_RESULT, [])


async def test_this_machine_is_fetched_from_only_when_told_to() -> None:
    outcome, asked = await fetched(plain(b"secret"), loopback=False)
    assert (outcome.status, asked) == (Status.NO_RESULT, [])


async def test_rules_of_another_version_are_nobodys_here() -> None:
    executor = FetchingExecutor(NoSandbox(), loopback=True)
    (outcome,) = await executor.execute(
        b"", b"cc/fetch/2\n", LIMITS, chunks=[ChunkInput(0, b"", 0)], numbers=False, runtime="net"
    )
    assert outcome.status is Status.NO_RESULT


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for data.example.org, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "data.example.org")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("data.example.org")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + secret)
    return path


@pytest.mark.parametrize(
    ("host", "is_known", "status"),
    [
        ("data.example.org", True, Status.OK),
        ("other.example.org", True, Status.NO_RESULT),
        ("data.example.org", False, Status.NO_RESULT),
    ],
)
async def test_over_tls_a_server_must_be_who_it_says(
    certificate: Path, host: str, is_known: bool, status: Status
) -> None:
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_tls.load_cert_chain(certificate)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    tls = ssl.create_default_context(cafile=str(certificate)) if is_known else None
    outcome, _ = await fetched(
        plain(b"data"), address=f"https://{host}:PORT/a", resolve=resolve, server_tls=server_tls, tls=tls
    )
    assert outcome.status is status
