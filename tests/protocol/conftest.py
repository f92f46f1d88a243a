"""A creator and small tasks, for every test of the task files; and how the vectors describe typed values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.identity import Identity
from crowdcompute.protocol.manifest import Items, Limits, Manifest, Policy, Range

if TYPE_CHECKING:
    from collections.abc import Callable

MODULE = b"\0asm\1\0\0\0" + bytes(100)


@pytest.fixture(scope="session")
def creator() -> Identity:
    return Identity(bytes(range(32)))


@pytest.fixture(scope="session")
def make_manifest(creator: Identity) -> Callable[..., Manifest]:
    """A valid manifest with some fields replaced. Given `data`, it becomes the inputs blob."""

    def make(*, data: bytes | None = None, **fields: Any) -> Manifest:
        if data is not None:
            fields = {"split": Items(), "inputs": describe(data), **fields}
        return Manifest(
            **{
                "schema": 1,
                "name": "Squares",
                "description": "Squares of small numbers.\nNothing else.",
                "link": "https://example.org/squares",
                "creator": creator.public_key,
                "seal_key": creator.seal_key,
                "runtime": "wasm",
                "code": describe(MODULE),
                "split": Range(start=0, stop=10, step=4),
                "chunks": 3,
                "inputs": None,
                "limits": Limits(memory_bytes=1 << 20, output_bytes=64, seconds=1.5),
                "policy": Policy(replication=2, eps=1e-4, liars=0.2, pow_bits=8),
                "reward": 1,
                "epochs": None,
                "onward": False,
                "permissions": (),
                "vouches": (),
                "created_s": 1_800_000_000,
                "expires_s": 1_800_086_400,
                **fields,
            }
        )

    return make


@pytest.fixture(scope="session")
def plain_json() -> Callable[[Any], Any]:
    """A typed value as the vectors write it: an object of its fields, bytes in hexadecimal, tuples as arrays."""

    def plain(value: Any) -> Any:
        if isinstance(value, msgspec.Struct):
            return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        if isinstance(value, bytes):
            return value.hex()
        if isinstance(value, tuple | list):
            return [plain(item) for item in value]
        return value

    return plain
