"""A task as its creator signed it (spec/manifest.md).

The struct types say which shapes a manifest can have; `open_manifest` adds the rules that tie fields together. Both
run on the bytes that were signed, and what was signed is never encoded again.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from .codec import U32, U53, Bytes32, decode, encode
from .epochs import EPOCHS_MAX, Epochs, last_epoch
from .errors import LocalProtocolError, RemoteProtocolError
from .permissions import PERMISSION_CHARACTERS_MAX, PERMISSIONS_MAX, is_fetched
from .records import RECORD_BYTES_MAX, Signed, verify_signature
from .split import CHUNKS_MAX, Blocks, Calls, Grid, Handed, Items, Lines, Part, Range, Split, Stream, check_chunk_count

if TYPE_CHECKING:
    from .identity import Sealing, Signer, Verifier

__all__ = [
    "CHUNKS_MAX",
    "CLOCK_SKEW_S",
    "CODE_BYTES_MAX",
    "VOUCHES_MAX",
    "BlobRef",
    "Blocks",
    "Calls",
    "Epochs",
    "Grid",
    "Handed",
    "Items",
    "Limits",
    "Lines",
    "Manifest",
    "Policy",
    "Range",
    "Runtime",
    "Split",
    "Stream",
    "is_printable",
    "open_manifest",
    "sign_manifest",
    "task_id",
    "task_seals",
    "task_secret",
    "time_refusal",
    "with_task_key",
]

CODE_BYTES_MAX = 8 * 1024 * 1024
"""The largest module admission lets through (DESIGN section 7)."""
CLOCK_SKEW_S = 600
"""How far a creator's clock may run ahead of ours. Ten minutes covers machines without NTP; a guess."""

# Listed by range, because what counts as "printable" changes with the Unicode version a language ships. Besides the
# control characters these are the line separators and the bidirectional overrides, which would let a name rewrite the
# line of a terminal or a log it is shown on.
_UNPRINTABLE = "\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_NAME_REFUSED = re.compile(f"[{_UNPRINTABLE}]")
_LINK = re.compile(f"https?://[^ {_UNPRINTABLE}]+")

Runtime = Literal["wasm", "js", "gpu", "net"]
"""What executes the code blob: a WebAssembly module (modules.md), JavaScript source (javascript.md), or a kernel with
all it needs (gpu.md). `net` executes nothing: the node fetches what the chunks name (permissions.md)."""

VOUCHES_MAX = 4
"""Vouches that one manifest brings along."""


class BlobRef(Part, frozen=True):
    """A blob by name: SHA-256 of its bytes, its size, and the Merkle root over its 64 KiB pieces (blobs.py)."""

    sha256: Bytes32
    size: U53
    root: Bytes32


class Limits(Part, frozen=True):
    """What one chunk may use. Beyond them it ends as 'no result', never as a vote."""

    memory_bytes: Annotated[int, Meta(ge=65_536, le=4_096 * 65_536)]
    output_bytes: Annotated[int, Meta(ge=1, le=16 * 1024 * 1024)]
    seconds: Annotated[float, Meta(gt=0, le=3_600)]


class Policy(Part, frozen=True):
    """How sure the creator wants to be (policy.py): at most `eps` wrong results if at most `liars` of the work lies."""

    replication: Annotated[int, Meta(ge=1, le=3)]
    eps: Annotated[float, Meta(gt=0, lt=1)]
    liars: Annotated[float, Meta(ge=0, le=0.5)]
    pow_bits: Annotated[int, Meta(ge=0, le=32)]


class Manifest(Part, frozen=True):
    """Everything a volunteer needs to decide about a task and to compute it."""

    schema: Literal[1]
    name: Annotated[str, Meta(min_length=1, max_length=80)]
    description: Annotated[str, Meta(max_length=2_000)]
    link: Annotated[str, Meta(max_length=500)]
    creator: Bytes32
    seal_key: Bytes32
    runtime: Runtime
    code: BlobRef
    split: Split
    chunks: Annotated[int, Meta(ge=1, le=CHUNKS_MAX)]
    inputs: BlobRef | None
    limits: Limits
    policy: Policy
    reward: U32
    epochs: Epochs | None
    onward: bool
    permissions: Annotated[
        tuple[Annotated[str, Meta(max_length=PERMISSION_CHARACTERS_MAX)], ...], Meta(max_length=PERMISSIONS_MAX)
    ]
    vouches: Annotated[tuple[Signed, ...], Meta(max_length=VOUCHES_MAX)]
    created_s: U53
    expires_s: U53


def sign_manifest(signer: Signer, manifest: Manifest) -> Signed:
    """Check, encode and sign a manifest. From here on only these bytes count.

    Raises:
        LocalProtocolError: The manifest names another creator, breaks a rule of `open_manifest`, or is too large.
    """
    if manifest.creator != signer.public_key or manifest.seal_key not in (
        signer.seal_key,
        task_seals(signer, manifest).seal_key,
    ):
        raise LocalProtocolError("the manifest names another creator than the key that should sign it")
    body = encode(manifest)
    if len(body) > RECORD_BYTES_MAX:
        raise LocalProtocolError(f"the manifest takes {len(body)} bytes, {RECORD_BYTES_MAX} are allowed")
    try:
        # Decoding once checks the ranges, which a struct made in Python has not seen yet.
        _check_fields(decode(body, Manifest))
    except RemoteProtocolError as error:
        raise LocalProtocolError(str(error)) from None
    return Signed("manifest", signer.public_key, body, signer.sign("cc/manifest/1", body))


def task_seals(signer: Signer, manifest: Manifest) -> Sealing:
    """The task's own seal keys, which its creator can make again from its seed and the manifest."""
    return signer.sealing(task_secret(signer, manifest))


def task_secret(signer: Signer, manifest: Manifest) -> bytes:
    """What the task's seal keys are made from. It opens the task's votes and nothing else."""
    unsealed = msgspec.structs.replace(manifest, seal_key=bytes(32))
    return signer.derive(b"task seal" + sha256(encode(unsealed)).digest())


def with_task_key(signer: Signer, manifest: Manifest) -> Manifest:
    """The manifest, its votes sealed to a key of its own: so that the creator can hand the task to a steward."""
    return msgspec.structs.replace(manifest, seal_key=task_seals(signer, manifest).seal_key)


def open_manifest(signed: Signed, verifier: Verifier) -> Manifest:
    """The manifest inside a signed record, once everything that can be checked without its blobs holds.

    Raises:
        RemoteProtocolError: The record is not a manifest, its signature is wrong, its author is not the creator it
            names, or a field breaks a rule. The message is one sentence.
    """
    if signed.kind != "manifest":
        raise RemoteProtocolError(f"a {signed.kind} is not a manifest")
    verify_signature(verifier, signed)
    manifest = decode(signed.body, Manifest)
    if manifest.creator != signed.author:
        raise RemoteProtocolError("the manifest was signed by another key than the creator it names")
    _check_fields(manifest)
    return manifest


def task_id(signed: Signed) -> bytes:
    """The name of a task: the record id of its signed manifest."""
    return signed.record_id


def time_refusal(manifest: Manifest, unix_s: float) -> str | None:
    """Why no work on this task may start at `unix_s`, as one sentence; None when it may."""
    if unix_s >= manifest.expires_s:
        return f"the task expired {_duration(unix_s - manifest.expires_s)} ago"
    if manifest.created_s > unix_s + CLOCK_SKEW_S:
        ahead = _duration(manifest.created_s - unix_s)
        return f"the task was created {ahead} in the future: the clock of this machine or of its creator is wrong"
    return None


def is_printable(text: str) -> bool:
    """Whether a name can be shown on one line of a terminal, a log or a page without rewriting it."""
    return _NAME_REFUSED.search(text) is None


def _check_fields(manifest: Manifest) -> None:
    """The rules that tie fields together (spec/manifest.md, "Rules")."""
    if not is_printable(manifest.name) or not is_printable(manifest.description.replace("\n", "")):
        raise RemoteProtocolError("the task's name or description contains control characters")
    if manifest.link and not _LINK.fullmatch(manifest.link):
        raise RemoteProtocolError("the task's link is not an http or https address")
    if not 1 <= manifest.code.size <= CODE_BYTES_MAX:
        raise RemoteProtocolError(f"the task's module has {manifest.code.size} bytes, 1 to {CODE_BYTES_MAX} may be")
    if manifest.expires_s <= manifest.created_s:
        raise RemoteProtocolError("the task expires before it was created")
    if last_epoch(manifest) > EPOCHS_MAX:
        raise RemoteProtocolError(f"the task has more than {EPOCHS_MAX} epochs: make them longer")
    check_chunk_count(manifest)
    permissions, fetched = manifest.permissions, is_fetched(manifest)
    # While a creator is away whoever differs counts as a liar; and a server may tell two peers two things.
    if not all(map(is_printable, permissions)) or fetched != bool(permissions) or (fetched and manifest.epochs):
        raise RemoteProtocolError("the task's permissions are not what they may be: it fetches, and then has no epochs")


def _duration(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a minute"
