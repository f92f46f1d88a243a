"""What every engine evaluates before a task's JavaScript (spec/javascript.md), as data: this module runs none of it."""

from __future__ import annotations

from importlib import resources

from crowdcompute.protocol.errors import ModuleRefused

__all__ = ["SOURCE_BYTES_MAX", "decode_source", "libm", "prelude"]

SOURCE_BYTES_MAX = 1024 * 1024
"""The largest source. A task with more of it is data: an inputs blob."""


def prelude() -> str:
    """prelude.js: an expression whose value takes the functions of libm and returns `{load}`."""
    return (resources.files(__package__) / "prelude.js").read_text(encoding="utf-8")


def libm() -> bytes:
    """libm.wasm: the functions of Math that engines compute differently, without imports."""
    return (resources.files(__package__) / "libm.wasm").read_bytes()


def decode_source(code: bytes) -> str:
    """The text of a task's code blob.

    Raises:
        ModuleRefused: It is too large or no UTF-8. What the text may say is for the prelude's `load` to judge.
    """
    if len(code) > SOURCE_BYTES_MAX:
        raise ModuleRefused(f"source-bytes: the source has {len(code)} bytes; at most {SOURCE_BYTES_MAX} are allowed")
    try:
        return code.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModuleRefused(f"source-utf8: the source is no UTF-8 at byte {error.start}") from None
