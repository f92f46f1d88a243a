"""A task that is signed as it is: what `cc-task` would not sign, and strangers may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.manifest import Limits, Manifest, Policy, Range, sign_manifest

if TYPE_CHECKING:
    from crowdcompute.protocol.identity import Identity
    from crowdcompute.protocol.records import Signed

FAR_S = 4_000_000_000


def signed_manifest(creator: Identity, module: bytes, *, created_s: int = 1, expires_s: int = FAR_S) -> Signed:
    """One chunk of a module, for as long as you like."""
    manifest = Manifest(
        schema=1,
        name="Handmade",
        description="",
        link="",
        creator=creator.public_key,
        seal_key=creator.seal_key,
        runtime="wasm",
        code=describe(module),
        split=Range(start=0, stop=1, step=1),
        chunks=1,
        inputs=None,
        limits=Limits(memory_bytes=1 << 20, output_bytes=64, seconds=1.0),
        policy=Policy(replication=2, eps=1e-4, liars=0.2, pow_bits=8),
        reward=1,
        epochs=None,
        onward=False,
        permissions=(),
        vouches=(),
        created_s=created_s,
        expires_s=expires_s,
    )
    return sign_manifest(creator, manifest)
