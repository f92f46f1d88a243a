from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.epochs import Epochs
from crowdcompute.protocol.errors import LocalProtocolError, RemoteProtocolError
from crowdcompute.protocol.identity import Identity, content_id, verify
from crowdcompute.protocol.manifest import (
    Blocks,
    Calls,
    Grid,
    Handed,
    Items,
    Limits,
    Lines,
    Manifest,
    Range,
    Stream,
    open_manifest,
    sign_manifest,
    task_id,
    time_refusal,
)
from crowdcompute.protocol.records import Signed
from crowdcompute.protocol.vouching import Vouch, sign_vouch

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeManifest = Callable[..., Manifest]

STRANGER = Identity(b"\7" * 32)
BLOB = describe(b"one\ntwo\nthree")
SMALL = Limits(memory_bytes=65_536, output_bytes=1, seconds=1.0)
BIG_BLOB = msgspec.structs.replace(BLOB, size=2**30)


def signed_body(creator: Identity, body: bytes) -> Signed:
    return Signed("manifest", creator.public_key, body, creator.sign("cc/manifest/1", body))


def test_a_signed_manifest_opens_to_what_was_signed(creator: Identity, make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    signed = sign_manifest(creator, manifest)
    assert open_manifest(signed, verify) == manifest
    assert task_id(signed) == content_id("cc/manifest/1", signed.body)


def test_any_msgpack_tool_reads_the_signed_body(creator: Identity, make_manifest: MakeManifest) -> None:
    body = sign_manifest(creator, make_manifest()).body
    shown = msgpack.unpackb(body)
    assert shown["name"] == "Squares"
    assert shown["split"] == {"kind": "range", "start": 0, "stop": 10, "step": 4}
    assert msgpack.packb(shown) == body


# Both languages refuse these, whoever signed them (protocol/vectors/manifest.json).
PERMISSION = "net:https://data.example.org/pages/"
FETCHING: dict[str, Any] = {
    "runtime": "net",
    "split": Items(),
    "inputs": msgspec.structs.replace(BLOB, size=64),
    "permissions": (PERMISSION, "net:https://data.example.org/index?format=csv"),
}
VOUCH = sign_vouch(STRANGER, Vouch(Identity(bytes(range(32))).public_key, "A lab", (PERMISSION,), 1, 9))
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("another creator", {"creator": STRANGER.public_key}, "another key"),
    ("no chunks", {"chunks": 0}, "chunks"),
    ("a chunk too many", {"chunks": 4}, "4 chunks, but its split makes 3"),
    ("an empty range", {"split": Range(start=5, stop=5, step=1)}, "its split makes 0"),
    ("a backward range", {"split": Range(start=5, stop=-5, step=1)}, "its split makes"),
    ("a step of zero", {"split": Range(start=0, stop=3, step=0)}, "step"),
    ("inputs beside a range", {"inputs": BLOB}, "takes no inputs"),
    ("calls beside a blob", {"split": Calls((b"",) * 3), "inputs": BLOB}, "takes no inputs"),
    ("a call too few", {"split": Calls((b"",) * 2)}, "its split makes 2"),
    ("no calls", {"split": Calls(()), "chunks": 1}, "inputs"),
    ("too many calls", {"split": Calls((b"",) * 1_025), "chunks": 1_025}, "inputs"),
    ("a stream of two shards", {"split": Stream(), "chunks": 4_097}, "at most 4096"),
    ("a stream beside a blob", {"split": Stream(), "inputs": BLOB}, "takes no inputs"),
    ("a stream with epochs", {"split": Stream(), "epochs": Epochs(60, bytes(32))}, "no epochs"),
    ("a stream that goes onward", {"split": Stream(), "onward": True}, "onward"),
    ("a stream that fetches", {**FETCHING, "split": Stream(), "inputs": None}, "fetches nothing"),
    ("a call beyond memory", {"split": Calls((bytes(65_537),)), "chunks": 1, "limits": SMALL}, "memory limit"),
    ("blocks without inputs", {"split": Blocks(size=5)}, "names no inputs"),
    ("blocks that do not cover", {"split": Blocks(size=5), "inputs": BLOB, "chunks": 2}, "its split makes 3"),
    ("blocks beyond memory", {"split": Blocks(size=2**30), "inputs": BIG_BLOB, "chunks": 1}, "memory limit"),
    ("more lines than bytes", {"split": Lines(per_chunk=5), "inputs": BLOB, "chunks": 4}, "cannot hold them"),
    ("results without inputs", {"split": Handed(of=(bytes(32),))}, "names no inputs"),
    ("results of nothing", {"split": Handed(of=()), "inputs": BIG_BLOB}, "of"),
    ("results of nine tasks", {"split": Handed(of=(bytes(32),) * 9), "inputs": BIG_BLOB}, "of"),
    ("results of half a task", {"split": Handed(of=(bytes(16),)), "inputs": BIG_BLOB}, "of"),
    ("more results than offsets", {"split": Handed(of=(bytes(32),)), "inputs": BLOB, "chunks": 2}, "cannot hold them"),
    ("onward as a number", {"onward": 1}, "onward"),
    ("more items than offsets", {"split": Items(), "inputs": BLOB, "chunks": 2}, "cannot hold them"),
    ("a grid with a tile too few", {"split": Grid(width=9, height=4, tile_width=4, tile_height=4), "chunks": 2}, "3"),
    ("an empty name", {"name": ""}, "name"),
    ("a name with an escape sequence", {"name": "\x1b[2Jhello"}, "control characters"),
    ("a name that overrides direction", {"name": "abc\u202ecba"}, "control characters"),
    ("a name in two lines", {"name": "a\nb"}, "control characters"),
    ("a description with a carriage return", {"description": "a\rb"}, "control characters"),
    ("a link that runs a script", {"link": "javascript:alert(1)"}, "http or https"),
    ("a link with a space", {"link": "https://example.org/a b"}, "http or https"),
    ("a module without bytes", {"code": describe(b"")}, "module"),
    ("a module that is too large", {"code": msgspec.structs.replace(BLOB, size=8 * 1024 * 1024 + 1)}, "module"),
    ("expiry before creation", {"expires_s": 1_800_000_000}, "expires before"),
    ("another schema", {"schema": 2}, "schema"),
    ("another runtime", {"runtime": "x86"}, "runtime"),
    ("a permission of a task that computes", {"permissions": (PERMISSION,)}, "permissions"),
    ("fetching without a permission", {**FETCHING, "permissions": ()}, "permissions"),
    ("fetching with epochs", {**FETCHING, "epochs": Epochs(seconds=60, anchor=bytes(32))}, "no epochs"),
    ("a permission that rewrites its line", {**FETCHING, "permissions": (PERMISSION + "\x1b[2J",)}, "permissions"),
    ("a permission of 501 characters", {**FETCHING, "permissions": (PERMISSION.ljust(501, "a"),)}, "permissions"),
    ("seventeen permissions", {**FETCHING, "permissions": (PERMISSION,) * 17}, "permissions"),
    ("five vouches", {"vouches": (VOUCH,) * 5}, "vouches"),
    ("a vouch that is no record", {"vouches": (b"operator",)}, "vouches"),
    ("a short digest", {"code": msgspec.structs.replace(BLOB, sha256=b"short")}, "sha256"),
    ("infinite eps", {"policy": {"replication": 2, "eps": float("inf"), "liars": 0.1, "pow_bits": 0}}, "eps"),
    ("eps that is no number", {"policy": {"replication": 2, "eps": float("nan"), "liars": 0.1, "pow_bits": 0}}, "eps"),
    ("eps of nothing", {"policy": {"replication": 2, "eps": 0.0, "liars": 0.1, "pow_bits": 0}}, "eps"),
    ("eps of everything", {"policy": {"replication": 2, "eps": 1.0, "liars": 0.1, "pow_bits": 0}}, "eps"),
    ("more liars than half", {"policy": {"replication": 2, "eps": 0.1, "liars": 0.51, "pow_bits": 0}}, "liars"),
    ("fewer liars than none", {"policy": {"replication": 2, "eps": 0.1, "liars": -0.1, "pow_bits": 0}}, "liars"),
    ("no replication", {"policy": {"replication": 0, "eps": 0.1, "liars": 0.1, "pow_bits": 0}}, "replication"),
    ("four replications", {"policy": {"replication": 4, "eps": 0.1, "liars": 0.1, "pow_bits": 0}}, "replication"),
    ("work of 33 bits", {"policy": {"replication": 2, "eps": 0.1, "liars": 0.1, "pow_bits": 33}}, "pow_bits"),
    ("a policy without work", {"policy": {"replication": 2, "eps": 0.1, "liars": 0.1}}, "pow_bits"),
    ("no time", {"limits": {"memory_bytes": 65_536, "output_bytes": 1, "seconds": 0.0}}, "seconds"),
    ("more than an hour", {"limits": {"memory_bytes": 65_536, "output_bytes": 1, "seconds": 3_601}}, "seconds"),
    ("no output", {"limits": {"memory_bytes": 65_536, "output_bytes": 0, "seconds": 1.0}}, "output_bytes"),
    ("too much output", {"limits": {"memory_bytes": 65_536, "output_bytes": 2**24 + 1, "seconds": 1}}, "output_bytes"),
    ("too much memory", {"limits": {"memory_bytes": 2**28 + 1, "output_bytes": 1, "seconds": 1.0}}, "memory_bytes"),
    ("memory below a page", {"limits": {"memory_bytes": 65_535, "output_bytes": 1, "seconds": 1.0}}, "memory_bytes"),
    ("an unknown field", {"colour": "red"}, "colour"),
    ("a name of 81 characters", {"name": "n" * 81}, "name"),
    ("a description of 2,001 characters", {"description": "d" * 2_001}, "description"),
    ("a link of 501 characters", {"link": "https://" + "l" * 493}, "link"),
    ("a link to nowhere", {"link": "https://"}, "http or https"),
    ("a link with a line separator", {"link": "https://example.org/\u2028"}, "http or https"),
    ("a name with a delete", {"name": "a\x7fb"}, "control characters"),
    ("a name with a C1 control", {"name": "a\x9bb"}, "control characters"),
    ("a name with a line separator", {"name": "a\u2028b"}, "control characters"),
    ("a description that isolates direction", {"description": "a\u2066b"}, "control characters"),
    (
        "inputs beside a grid",
        {"split": Grid(width=3, height=1, tile_width=1, tile_height=1), "inputs": BLOB},
        "takes no",
    ),
    ("items without inputs", {"split": Items()}, "names no inputs"),
    ("lines without inputs", {"split": Lines(per_chunk=1)}, "names no inputs"),
    ("a split of another kind", {"split": {"kind": "hexagons"}}, "split"),
    ("a split without a kind", {"split": {"start": 0, "stop": 3, "step": 1}}, "split"),
    ("a split with a foreign key", {"split": {"kind": "lines", "per_chunk": 1, "size": 1}, "inputs": BLOB}, "size"),
    ("a tile of no width", {"split": Grid(width=3, height=1, tile_width=0, tile_height=1)}, "tile_width"),
    ("a grid beyond 31 bits", {"split": Grid(width=2**31, height=1, tile_width=2**31 - 1, tile_height=1)}, "width"),
    ("no lines in a chunk", {"split": Lines(per_chunk=0), "inputs": BLOB}, "per_chunk"),
    ("blocks of nothing", {"split": Blocks(size=0), "inputs": BLOB}, "size"),
    ("a start beyond 64 bits", {"split": Range(start=2**63, stop=0, step=1)}, "start"),
    ("a reward of 33 bits", {"reward": 2**32}, "reward"),
    ("expiry beyond 53 bits", {"expires_s": 2**53}, "expires_s"),
    ("a chunk beyond the most", {"chunks": 2**31}, "chunks"),
]


def in_hex(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: in_hex(each) for key, each in value.items()}
    if isinstance(value, list):
        return [in_hex(each) for each in value]
    return value.hex() if isinstance(value, bytes) else value


def refused_body(make_manifest: MakeManifest, change: dict[str, Any]) -> bytes:
    fields = {**msgspec.structs.asdict(make_manifest()), **change}
    return encode(fields)


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_manifest_that_breaks_a_rule_is_refused_with_a_sentence(
    creator: Identity, make_manifest: MakeManifest, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(RemoteProtocolError, match=message) as refusal:
        open_manifest(signed_body(creator, refused_body(make_manifest, change)), verify)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "change",
    [
        {"split": Range(start=-(2**63), stop=2**63 - 1, step=2**62), "chunks": 4},
        {"split": Blocks(size=5), "inputs": BLOB, "chunks": 3},
        {"split": Lines(per_chunk=2), "inputs": BLOB, "chunks": 2},
        {"split": Grid(width=9, height=4, tile_width=4, tile_height=4), "chunks": 3},
        {"link": ""},
        {"name": "Größe × 2 – 日本"},
    ],
)
def test_a_manifest_within_the_rules_opens(
    creator: Identity, make_manifest: MakeManifest, change: dict[str, Any]
) -> None:
    manifest = make_manifest(**change)
    assert open_manifest(sign_manifest(creator, manifest), verify) == manifest


def test_a_manifest_changed_after_signing_is_refused(creator: Identity, make_manifest: MakeManifest) -> None:
    signed = sign_manifest(creator, make_manifest())
    changed = msgspec.structs.replace(signed, body=signed.body.replace(b"Squares", b"Sqvares"))
    with pytest.raises(RemoteProtocolError, match="wrong signature"):
        open_manifest(changed, verify)


def test_a_stranger_cannot_sign_in_the_creators_name(creator: Identity, make_manifest: MakeManifest) -> None:
    body = sign_manifest(creator, make_manifest()).body
    with pytest.raises(RemoteProtocolError, match="another key"):
        open_manifest(signed_body(STRANGER, body), verify)
    with pytest.raises(LocalProtocolError, match="another creator"):
        sign_manifest(STRANGER, make_manifest())


def test_a_record_of_another_kind_is_no_manifest(creator: Identity) -> None:
    with pytest.raises(RemoteProtocolError, match="a join is not a manifest"):
        open_manifest(Signed("join", creator.public_key, b"", bytes(64)), verify)


def test_a_creator_is_told_before_signing_what_peers_would_refuse(
    creator: Identity, make_manifest: MakeManifest
) -> None:
    with pytest.raises(LocalProtocolError, match="its split makes 3"):
        sign_manifest(creator, make_manifest(chunks=7))
    with pytest.raises(LocalProtocolError, match="name"):
        sign_manifest(creator, make_manifest(name="n" * 81))


def test_an_expired_task_and_one_from_the_future_are_told_apart(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    assert time_refusal(manifest, 1_800_000_000) is None
    assert time_refusal(manifest, 1_800_086_399) is None
    assert time_refusal(manifest, 1_800_086_400) == "the task expired less than a minute ago"
    assert time_refusal(manifest, 1_800_086_400 + 7_200) == "the task expired 2 hours ago"
    assert time_refusal(manifest, 1_800_000_000 - 600) is None
    early = time_refusal(manifest, 1_800_000_000 - 86_400)
    assert early is not None
    assert "clock" in early
    assert "1 day" in early


@given(st.binary(max_size=200))
def test_any_bytes_in_a_manifest_record_are_refused_politely(body: bytes) -> None:
    creator = Identity(bytes(range(32)))
    with pytest.raises(RemoteProtocolError):
        open_manifest(signed_body(creator, body), verify)


@given(st.data())
def test_any_damage_to_a_signed_body_gives_a_manifest_or_a_refusal(data: st.DataObject) -> None:
    """The signature is made over the damaged bytes: only the rules stand between them and us."""
    creator = Identity(bytes(range(32)))
    body = bytearray(DAMAGEABLE)
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        manifest = open_manifest(signed_body(creator, bytes(body)), verify)
    except RemoteProtocolError:
        return
    assert isinstance(manifest, Manifest)


DAMAGEABLE = encode(
    {
        "schema": 1,
        "name": "n",
        "description": "",
        "link": "",
        "creator": Identity(bytes(range(32))).public_key,
        "seal_key": bytes(32),
        "runtime": "wasm",
        "code": BLOB,
        "split": Grid(width=9, height=4, tile_width=4, tile_height=4),
        "chunks": 3,
        "inputs": None,
        "limits": {"memory_bytes": 65_536, "output_bytes": 1, "seconds": 1.0},
        "policy": {"replication": 2, "eps": 1e-4, "liars": 0.2, "pow_bits": 8},
        "reward": 1,
        "onward": False,
        "permissions": [],
        "vouches": [],
        "created_s": 1,
        "expires_s": 2,
    }
)


def test_the_manifest_vectors_hold(
    creator: Identity, make_manifest: MakeManifest, expect_vectors: Callable[[str, object], None]
) -> None:
    accepted = []
    changes: dict[str, dict[str, Any]] = {
        "range": {},
        "grid": {"split": Grid(width=9, height=4, tile_width=4, tile_height=4)},
        "calls": {"split": Calls((b"one", b"", b"three"))},
        "stream": {"split": Stream(), "chunks": 4_096},
        "items": {"split": Items(), "inputs": msgspec.structs.replace(BLOB, size=64)},
        "lines": {"split": Lines(per_chunk=1), "inputs": BLOB},
        "blocks": {"split": Blocks(size=5), "inputs": BLOB},
        "results": {
            "split": Handed(of=(bytes(32), bytes(range(32)))),
            "inputs": msgspec.structs.replace(BLOB, size=64),
            "onward": True,
        },
        "net": {**FETCHING, "vouches": (VOUCH,)},
    }
    for name, change in changes.items():
        signed = sign_manifest(creator, make_manifest(**change))
        accepted.append(
            {
                "name": name,
                "body": signed.body.hex(),
                "signature": signed.signature.hex(),
                "record": encode(signed).hex(),
                "task_id": task_id(signed).hex(),
                "fields": in_hex(msgpack.unpackb(signed.body)),
            }
        )
    refused = []
    for name, change, _ in REFUSED:
        signed = signed_body(creator, refused_body(make_manifest, change))
        refused.append({"name": name, "record": encode(signed).hex()})
    signed = sign_manifest(creator, make_manifest())
    for name, record in {
        "changed after signing": msgspec.structs.replace(signed, body=signed.body.replace(b"Squares", b"Sqvares")),
        "signed by a stranger": signed_body(STRANGER, signed.body),
        "a record of another kind": msgspec.structs.replace(signed, kind="join"),
        "no map": signed_body(creator, b"\x90"),
        "no split": signed_body(creator, msgpack.packb({**msgpack.unpackb(signed.body), "split": None})),
        "trailing bytes": signed_body(creator, signed.body + b"\0"),
    }.items():
        with pytest.raises(RemoteProtocolError):
            open_manifest(record, verify)
        refused.append({"name": name, "record": encode(record).hex()})
    twice = encode(make_manifest())
    twice = b"\xde\x00\x15" + twice[3:] + msgpack.packb("reward") + msgpack.packb(9)
    assert open_manifest(signed_body(creator, twice), verify).reward == 9
    expect_vectors(
        "manifest",
        {
            "about": "Signed manifests; see protocol/spec/manifest.md. Bytes are hexadecimal.",
            "creator": creator.public_key.hex(),
            "accepted": accepted,
            "refused": refused,
            "key_twice": {"record": encode(signed_body(creator, twice)).hex(), "reward": 9},
            "times": [
                {"created_s": 1_000, "expires_s": 5_000, "now_s": now, "may_start": ok}
                for now, ok in [(399, False), (400, True), (4_999, True), (5_000, False)]
            ],
        },
    )
