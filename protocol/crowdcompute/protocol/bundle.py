"""A bundle: a task in one file (spec/bundle.md).

`.ccb` is a zip that any tool can list: `manifest.msgpack`, `manifest.sig`, and every blob the manifest names as
`blobs/<sha256>`. Entries are stored, never compressed: so the same task is the same file on every machine, no reader
needs an inflater, and nothing can unpack to more than its own size.
"""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .blobs import describe
from .codec import decode
from .errors import BundleError, LocalProtocolError, RemoteProtocolError
from .identity import SIGNATURE_BYTES
from .manifest import Manifest, open_manifest
from .records import RECORD_BYTES_MAX, Signed
from .split import check_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .identity import Verifier
    from .manifest import BlobRef
    from .split import FedInputs, Inputs, Reader, Results

BUNDLE_BYTES_MAX = 512 * 1024 * 1024
"""A bundle is read into memory, on phones too. A guess; larger inputs belong to blobs fetched in pieces."""

_MANIFEST = "manifest.msgpack"
_SIGNATURE = "manifest.sig"
_ENTRIES_MAX = 4
_UNIX = 3
_REGULAR_FILE = 0o100644 << 16
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,  # NotImplementedError is one: odd versions, encryption, other methods.
    ValueError,
    KeyError,
    IndexError,
    OverflowError,
)
"""Whatever `zipfile` was seen or documented to raise on hostile bytes (tests/protocol/test_bundle.py)."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle: everything in it was checked against the creator's signature."""

    signed: Signed
    manifest: Manifest
    blobs: Mapping[bytes, bytes]
    inputs_apart: Reader | None = None
    """The inputs, where they are too large to be in `blobs`: of a task signed here, never of a file."""
    results: Results | None = None
    """The results of earlier tasks that this one takes, where its creator has them; a file holds none."""
    fed: FedInputs = field(default_factory=dict)
    """Of a stream the inputs that its creator has fed; a file holds none."""

    @property
    def task_id(self) -> bytes:
        return self.signed.record_id

    @property
    def module(self) -> bytes:
        return self.blobs[self.manifest.code.sha256]

    @property
    def inputs(self) -> Inputs:
        if self.inputs_apart is not None:
            return self.inputs_apart
        return None if self.manifest.inputs is None else self.blobs[self.manifest.inputs.sha256]


def own_bundle(signed: Signed, manifest: Manifest, blobs: Mapping[bytes, bytes]) -> Bundle:
    """A task just signed, whose manifest was made from these very blobs: they need not become a file to be believed.

    Raises:
        BundleError: It does not fit a bundle, or its inputs are not as its split says.
    """
    size = sum(map(len, blobs.values()))
    if size > BUNDLE_BYTES_MAX:
        raise BundleError(f"the bundle has {size} bytes, {BUNDLE_BYTES_MAX} are allowed")
    try:
        check_inputs(manifest, None if manifest.inputs is None else blobs[manifest.inputs.sha256])
    except RemoteProtocolError as error:
        raise BundleError(f"the bundle is refused: {error}") from None
    return Bundle(signed, manifest, blobs)


def write_bundle(signed: Signed, blobs: Mapping[bytes, bytes]) -> bytes:
    """The bundle's bytes; the same for the same task, always and everywhere.

    Raises:
        LocalProtocolError: A blob the manifest names is missing or is not what it names, or the bundle is too large.
    """
    manifest = decode(signed.body, Manifest)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_entry(_MANIFEST), signed.body)
        archive.writestr(_entry(_SIGNATURE), signed.signature)
        for name, ref in sorted(_blob_entries(manifest).items()):
            data = blobs.get(ref.sha256)
            if data is None or describe(data) != ref:
                raise LocalProtocolError(f"the blob {ref.sha256.hex()} of the manifest is missing or altered")
            archive.writestr(_entry(name), data)
    bundle = buffer.getvalue()
    if len(bundle) > BUNDLE_BYTES_MAX:
        raise LocalProtocolError(f"the bundle has {len(bundle)} bytes, {BUNDLE_BYTES_MAX} are allowed")
    return bundle


def read_bundle(data: bytes, verifier: Verifier) -> Bundle:
    """Open a bundle from anywhere. Whether the task is still current is a question of time (`time_refusal`).

    Raises:
        BundleError: It is not exactly what its creator signed. One sentence says what is wrong.
    """
    if len(data) > BUNDLE_BYTES_MAX:
        raise BundleError(f"the bundle has {len(data)} bytes, {BUNDLE_BYTES_MAX} are allowed")
    if not data.startswith(b"PK\x03\x04"):
        raise BundleError("this is not a bundle: it does not begin like a zip file")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _open(archive, verifier)
    except RemoteProtocolError as error:
        raise BundleError(f"the bundle is refused: {error}") from None
    except _ZIP_ERRORS as error:
        raise BundleError(f"the bundle is damaged or cut short: {error}") from None


def _open(archive: zipfile.ZipFile, verifier: Verifier) -> Bundle:
    entries = _entries(archive)
    for name in (_MANIFEST, _SIGNATURE):
        if name not in entries:
            raise BundleError(f"the bundle has no {name}")
    body = _read(archive, entries[_MANIFEST], size_max=RECORD_BYTES_MAX)
    signature = _read(archive, entries[_SIGNATURE], size_max=SIGNATURE_BYTES)
    if len(signature) != SIGNATURE_BYTES:
        raise BundleError(f"{_SIGNATURE} has {len(signature)} bytes, a signature has {SIGNATURE_BYTES}")
    # The signature's key stands in the manifest, so the body is decoded once before it can be checked.
    signed = Signed("manifest", decode(body, Manifest).creator, body, signature)
    manifest = open_manifest(signed, verifier)

    named = _blob_entries(manifest)
    for name in sorted(entries.keys() - named.keys() - {_MANIFEST, _SIGNATURE}):
        raise BundleError(f"the bundle holds {name!r}, which its manifest does not name")
    blobs = {}
    for name, ref in named.items():
        if name not in entries:
            raise BundleError(f"the bundle lacks {name}, which its manifest names")
        if entries[name].file_size != ref.size:
            raise BundleError(f"{name} has {entries[name].file_size} bytes where the manifest says {ref.size}")
        blob = _read(archive, entries[name], size_max=ref.size)
        if describe(blob) != ref:
            raise BundleError(f"{name} is not the blob its manifest names: it was altered")
        blobs[ref.sha256] = blob
    check_inputs(manifest, None if manifest.inputs is None else blobs[manifest.inputs.sha256])
    return Bundle(signed, manifest, blobs)


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The archive's entries by name, after every check that needs no entry's bytes."""
    listed = archive.infolist()
    if len(listed) > _ENTRIES_MAX:
        raise BundleError(f"the bundle holds {len(listed)} entries, {_ENTRIES_MAX} may be")
    entries = {entry.filename: entry for entry in listed}
    if len(entries) != len(listed):
        raise BundleError("the bundle holds one entry twice")
    if archive.comment or (listed and min(entry.header_offset for entry in listed) != 0):
        raise BundleError("the bundle holds bytes outside its entries")
    for entry in listed:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise BundleError(f"{entry.filename!r} is compressed: the entries of a bundle are stored as they are")
    return entries


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, *, size_max: int) -> bytes:
    if entry.file_size > size_max:
        raise BundleError(f"{entry.filename!r} has {entry.file_size} bytes, {size_max} may be")
    return archive.read(entry)


def _entry(name: str) -> zipfile.ZipInfo:
    """An entry without date, machine or permissions of its own."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = _UNIX
    entry.external_attr = _REGULAR_FILE
    return entry


def _blob_entries(manifest: Manifest) -> dict[str, BlobRef]:
    refs = [manifest.code] if manifest.inputs is None else [manifest.code, manifest.inputs]
    return {f"blobs/{ref.sha256.hex()}": ref for ref in refs}
