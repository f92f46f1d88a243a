from __future__ import annotations

import io
import zipfile
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.bundle import Bundle, own_bundle, read_bundle, write_bundle
from crowdcompute.protocol.codec import decode, encode
from crowdcompute.protocol.errors import BundleError, LocalProtocolError
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.manifest import Lines, Manifest, sign_manifest
from crowdcompute.protocol.split import pack_items

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.protocol.manifest import BlobRef
    from crowdcompute.protocol.records import Signed

    MakeManifest = Callable[..., Manifest]

MODULE = b"\0asm\1\0\0\0" + bytes(300)
INPUTS = pack_items([b"one", b"two", b"three"])
BLOBS = {describe(data).sha256: data for data in (MODULE, INPUTS)}
CODE_ENTRY = f"blobs/{sha256(MODULE).hexdigest()}"
INPUTS_ENTRY = f"blobs/{sha256(INPUTS).hexdigest()}"


@pytest.fixture(scope="module")
def signed(creator: Identity, make_manifest: MakeManifest) -> Signed:
    return sign_manifest(creator, make_manifest(code=describe(MODULE), data=INPUTS, chunks=3))


@pytest.fixture(scope="module")
def bundle(signed: Signed) -> bytes:
    return write_bundle(signed, BLOBS)


def rezipped(bundle: bytes, change: dict[str, bytes | None], compression: int = zipfile.ZIP_STORED) -> bytes:
    """The bundle as another zip tool would write it, with some entries replaced, added, or (None) left out."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        entries: dict[str, bytes | None] = {name: archive.read(name) for name in archive.namelist()}
    entries.update(change)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            if data is not None:
                archive.writestr(zipfile.ZipInfo(name), data, compression)
    return buffer.getvalue()


def refusal(data: bytes) -> str:
    with pytest.raises(BundleError) as error:
        read_bundle(data, verify)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_bundle_opens_to_what_was_signed(bundle: bytes, signed: Signed) -> None:
    opened = read_bundle(bundle, verify)
    assert opened.signed == signed
    assert opened.task_id == signed.record_id
    assert opened.module == MODULE
    assert opened.inputs == INPUTS


def test_ones_own_bundle_is_what_its_file_would_open_to(
    bundle: bytes, signed: Signed, creator: Identity, make_manifest: MakeManifest
) -> None:
    opened = read_bundle(bundle, verify)
    assert own_bundle(signed, opened.manifest, opened.blobs) == opened
    four = sign_manifest(creator, make_manifest(code=describe(MODULE), data=INPUTS, chunks=4))
    with pytest.raises(BundleError, match=r"the bundle is refused: .*3"):
        own_bundle(four, decode(four.body, Manifest), BLOBS)


def test_the_same_task_is_the_same_file(bundle: bytes, signed: Signed) -> None:
    assert write_bundle(signed, dict(reversed(BLOBS.items()))) == bundle


def test_any_zip_tool_lists_a_bundle_and_may_write_one(bundle: bytes, signed: Signed) -> None:
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.msgpack", "manifest.sig", *sorted((CODE_ENTRY, INPUTS_ENTRY))]
    assert read_bundle(rezipped(bundle, {}), verify).signed == signed


def test_a_task_without_inputs_has_one_blob(creator: Identity, make_manifest: MakeManifest) -> None:
    signed = sign_manifest(creator, make_manifest(code=describe(MODULE)))
    opened = read_bundle(write_bundle(signed, BLOBS), verify)
    assert opened.inputs is None
    assert set(opened.blobs) == {sha256(MODULE).digest()}


def test_a_bundle_is_not_written_without_its_blobs(signed: Signed) -> None:
    with pytest.raises(LocalProtocolError, match="missing or altered"):
        write_bundle(signed, {})
    with pytest.raises(LocalProtocolError, match="missing or altered"):
        write_bundle(signed, {**BLOBS, sha256(MODULE).digest(): b"else"})


def test_what_is_no_zip_is_no_bundle() -> None:
    assert "not a bundle" in refusal(b"")
    assert "not a bundle" in refusal(b"hello" * 100)
    assert "damaged or cut short" in refusal(b"PK\x03\x04")


def test_an_altered_blob_is_refused(bundle: bytes) -> None:
    altered = MODULE[:-1] + b"\1"
    assert "it was altered" in refusal(rezipped(bundle, {CODE_ENTRY: altered}))
    assert "303 bytes where the manifest says 308" in refusal(rezipped(bundle, {CODE_ENTRY: MODULE[:-5]}))


def test_an_altered_manifest_or_signature_is_refused(bundle: bytes, signed: Signed) -> None:
    altered = signed.body.replace(b"Squares", b"Sqvares")
    assert "wrong signature" in refusal(rezipped(bundle, {"manifest.msgpack": altered}))
    assert "wrong signature" in refusal(rezipped(bundle, {"manifest.sig": bytes(64)}))
    assert "a signature has 64" in refusal(rezipped(bundle, {"manifest.sig": bytes(63)}))
    assert "65 bytes, 64 may be" in refusal(rezipped(bundle, {"manifest.sig": bytes(65)}))
    assert "not a valid Manifest" in refusal(rezipped(bundle, {"manifest.msgpack": b"\x80"}))


def test_another_creators_signature_is_refused(bundle: bytes, signed: Signed) -> None:
    forged = Identity(b"\7" * 32).sign("cc/manifest/1", signed.body)
    assert "wrong signature" in refusal(rezipped(bundle, {"manifest.sig": forged}))


@pytest.mark.parametrize("name", ["manifest.msgpack", "manifest.sig", CODE_ENTRY, INPUTS_ENTRY])
def test_a_missing_entry_is_named(bundle: bytes, name: str) -> None:
    assert name in refusal(rezipped(bundle, {name: None}))


def test_entries_nobody_signed_are_refused(bundle: bytes) -> None:
    assert "holds 5 entries, 4 may be" in refusal(rezipped(bundle, {"README": b"hello"}))
    swapped = rezipped(bundle, {INPUTS_ENTRY: None, "../../etc/passwd": b"root"})
    assert "'../../etc/passwd', which its manifest does not name" in refusal(swapped)


def test_an_entry_twice_is_refused(bundle: bytes, signed: Signed) -> None:
    buffer = io.BytesIO(rezipped(bundle, {INPUTS_ENTRY: None}))
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("manifest.msgpack", signed.body)
    assert "one entry twice" in refusal(buffer.getvalue())


def test_bytes_before_after_or_beside_the_entries_are_refused(bundle: bytes) -> None:
    assert "not a bundle" in refusal(b"#!/bin/sh\n" + bundle)
    assert "outside its entries" in refusal(b"PK\x03\x04" + bundle)
    commented = io.BytesIO(bundle)
    with zipfile.ZipFile(commented, "a") as archive:
        archive.comment = b"hello"
    assert "outside its entries" in refusal(commented.getvalue())


def test_a_zip_bomb_is_refused_before_it_is_unpacked(bundle: bytes) -> None:
    assert "is compressed" in refusal(rezipped(bundle, {}, zipfile.ZIP_DEFLATED))
    bomb = rezipped(bundle, {"manifest.msgpack": bytes(100_000_000)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 200_000
    assert "is compressed" in refusal(bomb)
    assert "100000 bytes, 49152 may be" in refusal(rezipped(bundle, {"manifest.msgpack": bytes(100_000)}))


def patched(bundle: bytes, local_offset: int, directory_offset: int, value: int) -> bytes:
    """One u16 of every entry's local header and directory record replaced."""
    changed = bytearray(bundle)
    for mark, offset in ((b"PK\x03\x04", local_offset), (b"PK\x01\x02", directory_offset)):
        position = changed.find(mark)
        while position >= 0:
            changed[position + offset : position + offset + 2] = value.to_bytes(2, "little")
            position = changed.find(mark, position + 4)
    return bytes(changed)


def test_an_encrypted_or_too_modern_zip_is_refused(bundle: bytes) -> None:
    assert "damaged" in refusal(patched(bundle, 6, 8, 1))
    assert "damaged" in refusal(patched(bundle, 4, 6, 99))


def test_an_unknown_compression_is_refused(bundle: bytes) -> None:
    assert "is compressed" in refusal(patched(bundle, 8, 10, 93))


def test_inputs_that_do_not_give_the_promised_chunks_are_refused(
    creator: Identity, make_manifest: MakeManifest
) -> None:
    lines = b"a\nb\nc\n"
    manifest = make_manifest(code=describe(MODULE), split=Lines(per_chunk=1), inputs=describe(lines), chunks=4)
    signed = sign_manifest(creator, manifest)
    bundle = write_bundle(signed, {**BLOBS, describe(lines).sha256: lines})
    assert "4 chunks, but its split makes 3" in refusal(bundle)


def test_a_bundle_cut_short_anywhere_is_refused(bundle: bytes) -> None:
    for length in range(0, len(bundle), 7):
        refusal(bundle[:length])


@given(data=st.data())
def test_damage_anywhere_gives_a_sentence_or_nothing(bundle: bytes, signed: Signed, data: st.DataObject) -> None:
    damaged = bytearray(bundle)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        opened = read_bundle(bytes(damaged), verify)
    except BundleError as error:
        assert "\n" not in str(error)
    else:
        assert opened == Bundle(signed, opened.manifest, BLOBS)


@given(st.binary(max_size=300))
def test_any_bytes_after_a_zip_header_are_refused_politely(data: bytes) -> None:
    refusal(b"PK\x03\x04" + data)


@given(data=st.data())
def test_a_hostile_central_directory_is_refused_politely(bundle: bytes, data: st.DataObject) -> None:
    """Damage only where zip readers parse most: the directory and the end record."""
    start = bundle.index(b"PK\x01\x02")
    damaged = bytearray(bundle)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(start, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_bundle(bytes(damaged), verify)
    except BundleError as error:
        assert "\n" not in str(error)


BROKEN = (9).to_bytes(4, "little") + bytes(20)
BROKEN_ENTRY = f"blobs/{sha256(BROKEN).hexdigest()}"


def signed_with(seed: bytes, manifest: Manifest) -> bytes:
    return Identity(seed).sign("cc/manifest/1", encode(manifest))


def wrong_root(data: bytes) -> BlobRef:
    return msgspec.structs.replace(describe(data), root=bytes(32))


def write_unchecked(manifest: Manifest, blobs: dict[str, bytes | None] | None = None) -> bytes:
    """A bundle that is signed as it should be, of a task that no honest creator signs."""
    creator = Identity(bytes(range(32)))
    body = encode(manifest)
    entries = {CODE_ENTRY: MODULE, INPUTS_ENTRY: INPUTS, **(blobs or {})}
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    signature = creator.sign("cc/manifest/1", body)
    return rezipped(empty.getvalue(), {"manifest.msgpack": body, "manifest.sig": signature, **entries})


def test_the_bundle_vectors_hold(bundle: bytes, signed: Signed, expect_vectors: Callable[[str, object], None]) -> None:
    manifest = read_bundle(bundle, verify).manifest
    other = signed_with(b"\7" * 32, manifest)
    commented = io.BytesIO(bundle)
    with zipfile.ZipFile(commented, "a") as archive:
        archive.comment = b"hello"
    doubled = io.BytesIO(rezipped(bundle, {INPUTS_ENTRY: None}))
    with zipfile.ZipFile(doubled, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(zipfile.ZipInfo("manifest.msgpack"), signed.body)
    refused = {
        "nothing": b"",
        "no zip": b"hello, world",
        "a first header and nothing more": b"PK\x03\x04",
        "a comment": commented.getvalue(),
        "five entries": rezipped(bundle, {"README": b"hello"}),
        "one entry twice": doubled.getvalue(),
        "compressed entries": rezipped(bundle, {}, zipfile.ZIP_DEFLATED),
        "an unknown compression": patched(bundle, 8, 10, 93),
        "encrypted entries": patched(bundle, 6, 8, 1),
        "a zip of the future": patched(bundle, 4, 6, 99),
        "no manifest": rezipped(bundle, {"manifest.msgpack": None}),
        "no signature": rezipped(bundle, {"manifest.sig": None}),
        "no module": rezipped(bundle, {CODE_ENTRY: None}),
        "a signature of 63 bytes": rezipped(bundle, {"manifest.sig": bytes(63)}),
        "a signature of 65 bytes": rezipped(bundle, {"manifest.sig": bytes(65)}),
        "a manifest of 49,153 bytes": rezipped(bundle, {"manifest.msgpack": bytes(49_153)}),
        "a manifest that is none": rezipped(bundle, {"manifest.msgpack": b"\x80"}),
        "an altered manifest": rezipped(bundle, {"manifest.msgpack": signed.body.replace(b"Squares", b"Sqvares")}),
        "another creator's signature": rezipped(bundle, {"manifest.sig": other}),
        "a path that escapes": rezipped(bundle, {INPUTS_ENTRY: None, "../../etc/passwd": b"root"}),
        "a blob of another size": rezipped(bundle, {CODE_ENTRY: MODULE[:-5]}),
        "a wrong checksum": bundle.replace(MODULE, MODULE[:-1] + b"\1"),
        "a blob with another root": write_unchecked(msgspec.structs.replace(manifest, code=wrong_root(MODULE))),
        "inputs of another number of chunks": write_unchecked(msgspec.structs.replace(manifest, chunks=2)),
        "inputs whose table does not fit": write_unchecked(
            msgspec.structs.replace(manifest, inputs=describe(BROKEN), chunks=1),
            {INPUTS_ENTRY: None, BROKEN_ENTRY: BROKEN},
        ),
        "a directory cut in the middle": bundle[:-60] + bundle[-22:],
        "an altered blob": rezipped(bundle, {CODE_ENTRY: MODULE[:-1] + b"\1"}),
        "a wrong signature": rezipped(bundle, {"manifest.sig": bytes(64)}),
        "a missing blob": rezipped(bundle, {INPUTS_ENTRY: None}),
        "an extra entry": rezipped(bundle, {INPUTS_ENTRY: None, "README": b"hello"}),
        "bytes before the zip": b"PK\x03\x04" + bundle,
        "a cut-off end": bundle[:-10],
    }
    for name, data in refused.items():
        assert refusal(data), name
    expect_vectors(
        "bundle",
        {
            "about": "Bundle files in hexadecimal; see protocol/spec/bundle.md.",
            "accepted": {
                "bundle": bundle.hex(),
                "task_id": signed.record_id.hex(),
                "blobs": [digest.hex() for digest in sorted(BLOBS)],
            },
            "refused": [{"name": name, "bundle": data.hex()} for name, data in refused.items()],
        },
    )
