"""Addresses have one form, permissions include what they say and no more, and a vouch counts for whoever trusts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.errors import LocalProtocolError, RemoteProtocolError
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.manifest import Blocks, Calls, Lines, Manifest
from crowdcompute.protocol.permissions import (
    ADDRESS_BYTES_MAX,
    SCHEME,
    covers,
    is_address,
    is_permission,
    open_address,
)
from crowdcompute.protocol.records import Signed
from crowdcompute.protocol.split import check_inputs, chunk_input, pack_items
from crowdcompute.protocol.vouching import (
    MAGIC,
    VOUCH_S_MAX,
    Vouch,
    Vouches,
    open_vouch,
    read_vouch,
    sign_vouch,
    write_vouch,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import ExpectVectors

    MakeManifest = Callable[..., Manifest]

OPERATOR, OTHER, STRANGER = (Identity(bytes([number]) * 32) for number in (50, 51, 52))
CREATOR = Identity(bytes(range(32)))
NOW_S = 1_800_000_100
DAY_S = 86_400
PAGES = "net:https://data.example.org/pages/"

ADDRESSES = [
    "https://data.example.org/",
    "https://data.example.org/pages/1",
    "https://data.example.org:8443/pages/1.json",
    "https://data.example.org/a%20b/~c/(d);e=f,g",
    "https://data.example.org/search?q=a&format=csv",
    "https://data.example.org/a?",
    "https://xn--bcher-kva.example/",
    "https://a.b.c.d.e/..hidden/...",
    "http://127.0.0.1/a",
    "http://127.0.0.1:8080/a/b",
    "https://data.example.org/" + "a" * (ADDRESS_BYTES_MAX - 25),
]
NO_ADDRESSES = [
    "",
    "data.example.org/a",
    "http://data.example.org/",
    "https://data.example.org",
    "https://data.example.org?q=1",
    "https://DATA.example.org/",
    "HTTPS://data.example.org/",
    "https://user@data.example.org/",
    "https://user:secret@data.example.org/",
    "https://data.example.org@evil.example/",
    "https://data.example.org/#part",
    "https://data.example.org/a b",
    "https://data.example.org/a\nb",
    "https://data.example.org/a\n",
    "https://data.example.org\\@evil.example/",
    "https://data.example.org/a\\b",
    "https://data.example.org/../a",
    "https://data.example.org/a/..",
    "https://data.example.org/a/./b",
    "https://data.example.org/a/..?q=1",
    "https://data.example.org/%2e%2e/a",
    "https://data.example.org/%2E%2E/a",
    "https://data.example.org/a%2Fb",
    "https://data.example.org/a%5Cb",
    "https://data.example.org/a%2",
    "https://data.example.org/a%zz",
    "https://data.example.org/ä",
    "https://dätä.example.org/",
    "https://data.example.org./",
    "https://.example.org/",
    "https://data..example.org/",
    "https://-data.example.org/",
    "https://data-.example.org/",
    "https://data_1.example.org/",
    "https://localhost/",
    "https://127.0.0.1/",
    "https://2130706433/",
    "https://0x7f.0.0.1/",
    "https://127.1/",
    "https://[::1]/",
    "http://127.0.0.1.evil.example/",
    "http://127.0.0.2/",
    "http://localhost/",
    "https://data.example.org:443/",
    "https://data.example.org:25/",
    "https://data.example.org:1023/",
    "https://data.example.org:0443/",
    "https://data.example.org:65536/",
    "https://data.example.org:99999/",
    "https://data.example.org:/",
    "file:///etc/passwd",
    "https:/data.example.org/",
    "https://data.example.org/" + "a" * (ADDRESS_BYTES_MAX - 24),
]

COVERED = [
    (PAGES, PAGES + "1"),
    (PAGES, PAGES),
    (PAGES, PAGES + "a/b"),
    (PAGES, PAGES + "a/"),
    ("net:https://data.example.org/one", "net:https://data.example.org/one"),
    ("net:https://data.example.org/s?q=1", "net:https://data.example.org/s?q=1"),
]
NOT_COVERED = [
    (PAGES, "net:https://data.example.org/pagesx"),
    (PAGES, "net:https://data.example.org/pages"),
    (PAGES, PAGES + "1?q=2"),
    (PAGES, "net:https://other.example.org/pages/1"),
    (PAGES, "net:https://data.example.org:8443/pages/1"),
    ("net:https://data.example.org/one", "net:https://data.example.org/one/two"),
    ("net:https://data.example.org/one", "net:https://data.example.org/one?q=1"),
    ("net:https://data.example.org/s?q=1", "net:https://data.example.org/s?q=12"),
    ("net:https://data.example.org/s?q=/", "net:https://data.example.org/s?q=/a"),
    ("net:https:/", PAGES + "1"),
    ("net:https://", PAGES + "1"),
    ("net:", PAGES + "1"),
    ("/", PAGES + "1"),
    ("", ""),
    ("net:https://data.example.org/pages/../", "net:https://data.example.org/pages/../1"),
    (PAGES, PAGES + "../secret"),
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_has_one_form(address: str) -> None:
    assert is_address(address)


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_no_other_form_is_an_address(address: str) -> None:
    assert not is_address(address)
    assert not is_permission(SCHEME + address)


def test_a_permission_includes_itself_and_all_below_a_slash() -> None:
    for permission, wanted in COVERED:
        assert covers(permission, wanted), wanted
    for permission, wanted in NOT_COVERED:
        assert not covers(permission, wanted), wanted


@given(st.text(alphabet="abz019.-/:@%2EF?#\\&= \n", max_size=30))
def test_what_is_an_address_cannot_leave_its_host_or_folder(rest: str) -> None:
    address = "https://data.example.org/pages/" + rest
    if is_address(address):
        assert not {"..", "."} & set(address.partition("?")[0].split("/"))
        assert not set(address) & set("@#\\ \n") - set("@")
        if covers(PAGES, SCHEME + address):
            assert "?" not in address


def fetching(make_manifest: MakeManifest, **fields: Any) -> Manifest:
    return make_manifest(**{"runtime": "net", "permissions": (PAGES,), "data": pack_items([b"x"] * 3), **fields})


def test_a_chunk_is_an_address_that_the_permissions_name(make_manifest: MakeManifest) -> None:
    good, bad = b"https://data.example.org/pages/1", b"https://data.example.org/secret"
    inputs = pack_items([good, bad, b"\xff"])
    manifest = fetching(make_manifest, data=inputs)
    assert chunk_input(manifest, 0, inputs) == good
    for chunk in (1, 2):
        with pytest.raises(RemoteProtocolError, match="address"):
            chunk_input(manifest, chunk, inputs)
    with pytest.raises(RemoteProtocolError, match="permissions do not name"):
        check_inputs(manifest, inputs)
    assert open_address(good, (PAGES,)) == good.decode()


def test_no_way_to_cut_a_task_leads_around_its_permissions(make_manifest: MakeManifest) -> None:
    bad = b"https://data.example.org/secret"
    fetched = make_manifest(runtime="net", permissions=(PAGES,), chunks=1)
    calls = msgspec.structs.replace(fetched, split=Calls(inputs=(bad,)))
    lines = msgspec.structs.replace(fetched, split=Lines(per_chunk=1), inputs=describe(bad))
    blocks = msgspec.structs.replace(lines, split=Blocks(size=len(bad)))
    for manifest, inputs in ((calls, None), (lines, bad), (blocks, bad)):
        with pytest.raises(RemoteProtocolError, match="permissions do not name"):
            chunk_input(manifest, 0, inputs)
        with pytest.raises(RemoteProtocolError, match="permissions do not name"):
            check_inputs(manifest, inputs)
    with pytest.raises(RemoteProtocolError, match="no address"):
        chunk_input(fetched, 0)


# ---- vouches


def said(**fields: Any) -> Vouch:
    given = {"name": "A lab", "scope": (), "since_s": NOW_S - DAY_S, "until_s": NOW_S + DAY_S, **fields}
    return Vouch(creator=CREATOR.public_key, **given)


def signed_anyhow(author: Identity, vouch: Any) -> Signed:
    """As a program would that breaks the rules."""
    body = encode(vouch)
    return Signed("vouch", author.public_key, body, author.sign("cc/vouch/1", body))


def refused_vouches() -> dict[str, Signed]:
    good = sign_vouch(OPERATOR, said())
    return {
        "of another kind": msgspec.structs.replace(good, kind="join"),
        "signed by another": msgspec.structs.replace(good, author=OTHER.public_key),
        "changed after signing": msgspec.structs.replace(good, body=good.body.replace(b"A lab", b"A LAB")),
        "for itself": signed_anyhow(CREATOR, said()),
        "with a name that rewrites its line": signed_anyhow(OPERATOR, said(name="a\x1b[2J")),
        "without a name": signed_anyhow(OPERATOR, said(name="")),
        "with a scope that climbs": signed_anyhow(OPERATOR, said(scope=(PAGES + "../",))),
        "for longer than any may last": signed_anyhow(OPERATOR, said(until_s=NOW_S - DAY_S + VOUCH_S_MAX + 1)),
        "with seventeen permissions": signed_anyhow(OPERATOR, said(scope=(PAGES,) * 17)),
        "cut short": msgspec.structs.replace(good, body=good.body[:-1]),
    }


def test_what_is_no_vouch_is_refused() -> None:
    assert open_vouch(sign_vouch(OPERATOR, said()), verify) == said()
    for why, signed in refused_vouches().items():
        with pytest.raises(RemoteProtocolError):
            open_vouch(signed, verify)
            pytest.fail(why)
    with pytest.raises(LocalProtocolError, match="vouches for itself"):
        sign_vouch(CREATOR, said())


def test_a_vouch_is_a_file_that_its_creator_keeps() -> None:
    signed = sign_vouch(OPERATOR, said())
    assert read_vouch(write_vouch(signed), verify) == (signed, said())
    for damaged in (b"", write_vouch(signed)[len(MAGIC) :], write_vouch(signed)[:-1]):
        with pytest.raises(RemoteProtocolError):
            read_vouch(damaged, verify)


CASES: dict[str, tuple[dict[str, Any], tuple[Vouch, ...], bool]] = {
    # What the manifest's vouch says, what came of the same voucher by gossip, and whether the creator is verified.
    "a vouch that holds": ({}, (), True),
    "one that has run out": ({"until_s": NOW_S}, (), False),
    "one of tomorrow": ({"since_s": NOW_S + DAY_S, "until_s": NOW_S + 2 * DAY_S}, (), False),
    "one for these addresses": ({"scope": (PAGES,)}, (), True),
    "one for more": ({"scope": ("net:https://data.example.org/",)}, (), True),
    "one for other addresses": ({"scope": ("net:https://other.example.org/",)}, (), False),
    "one for fewer": ({"scope": (PAGES + "a/",)}, (), False),
    "one that was taken back": ({}, (said(since_s=NOW_S, until_s=0),), False),
    "one taken back before it was given": ({}, (said(since_s=NOW_S - 2 * DAY_S, until_s=0),), True),
    "one that was renewed": ({"until_s": NOW_S}, (said(since_s=NOW_S),), True),
    "one taken back and given again": ({}, (said(since_s=NOW_S - 2, until_s=0), said(since_s=NOW_S - 1)), True),
}


@pytest.mark.parametrize("why", CASES)
def test_a_creator_is_verified_by_the_last_word_of_somebody_trusted(why: str, make_manifest: MakeManifest) -> None:
    carried, heard, is_verified = CASES[why]
    manifest = fetching(make_manifest, vouches=(sign_vouch(OPERATOR, said(**carried)),))
    for order in (heard, heard[::-1]):
        vouches = Vouches(verify, [OPERATOR.public_key])
        for vouch in order:
            vouches.add(sign_vouch(OPERATOR, vouch), [manifest])
        found = vouches.verified(manifest, NOW_S)
        assert (found is not None) is is_verified
        assert found is None or (found.voucher, found.name) == (OPERATOR.public_key, "A lab")


def test_whom_nobody_trusts_verifies_nobody(make_manifest: MakeManifest) -> None:
    manifest = fetching(make_manifest, vouches=(sign_vouch(OTHER, said()),))
    assert Vouches(verify, [OPERATOR.public_key]).verified(manifest, NOW_S) is None
    assert Vouches(verify, []).verified(manifest, NOW_S) is None
    forged = msgspec.structs.replace(sign_vouch(OTHER, said()), author=OPERATOR.public_key)
    assert Vouches(verify, [OPERATOR.public_key]).verified(fetching(make_manifest, vouches=(forged,)), NOW_S) is None
    # What a stranger said is held, to be passed on, and counts no more than in the manifest.
    held = Vouches(verify, [OPERATOR.public_key])
    assert held.add(sign_vouch(OTHER, said(since_s=NOW_S)), [manifest])
    assert held.verified(manifest, NOW_S) is None
    # For another creator.
    other = msgspec.structs.replace(manifest, creator=STRANGER.public_key)
    assert Vouches(verify, [OTHER.public_key]).verified(other, NOW_S) is None


def test_a_creator_whose_own_key_is_trusted_needs_no_vouch(make_manifest: MakeManifest) -> None:
    found = Vouches(verify, [CREATOR.public_key]).verified(fetching(make_manifest), NOW_S)
    assert found is not None
    assert found.voucher == CREATOR.public_key


def test_vouches_that_concern_nobody_are_not_held(make_manifest: MakeManifest) -> None:
    named = fetching(make_manifest, vouches=(sign_vouch(OTHER, said()),))
    vouches = Vouches(verify, [OPERATOR.public_key])
    later = sign_vouch(OTHER, said(since_s=NOW_S))
    assert not vouches.add(later, [])
    assert not vouches.add(sign_vouch(STRANGER, said()), [named])
    assert vouches.add(later, [named])
    assert not vouches.add(later, [named])
    assert vouches.add(sign_vouch(OPERATOR, said()), [])
    assert len(vouches.ids()) == 2
    assert vouches.record(later.record_id) == later
    with pytest.raises(RemoteProtocolError):
        vouches.add(signed_anyhow(OPERATOR, said(since_s=NOW_S + 1, name="a\nb")), [])


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(body: bytes) -> None:
    signed = Signed("vouch", OPERATOR.public_key, body, bytes(64))
    with pytest.raises(RemoteProtocolError):
        Vouches(verify, [OPERATOR.public_key]).add(signed, [])


def test_the_vectors_hold(make_manifest: MakeManifest, expect_vectors: ExpectVectors) -> None:
    def case(why: str) -> dict[str, Any]:
        carried, heard, is_verified = CASES[why]
        manifest = fetching(make_manifest, vouches=(sign_vouch(OPERATOR, said(**carried)),))
        return {
            "name": why,
            "manifest": encode(manifest).hex(),
            "heard": [encode(sign_vouch(OPERATOR, vouch)).hex() for vouch in heard],
            "verified": is_verified,
        }

    expect_vectors(
        "permissions",
        {
            "addresses": ADDRESSES,
            "no_addresses": NO_ADDRESSES,
            "covered": [list(pair) for pair in COVERED],
            "not_covered": [list(pair) for pair in NOT_COVERED],
            "trusted": OPERATOR.public_key.hex(),
            "now_s": NOW_S,
            "vouches": [
                {"record": encode(sign_vouch(OPERATOR, vouch)).hex(), "body": encode(vouch).hex()}
                for vouch in (said(), said(scope=(PAGES, "net:https://data.example.org/s?q=1")), said(until_s=0))
            ],
            "refused": [{"why": why, "record": encode(signed).hex()} for why, signed in refused_vouches().items()],
            "cases": [case(why) for why in CASES],
        },
    )
