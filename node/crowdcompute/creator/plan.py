"""What a creator does with a task's results besides keeping them: put them together, and stop at the first solution.

It is nobody else's business and no part of what is signed: it is kept beside the task, in the creator's own folder.
"""

from __future__ import annotations

import io
from hashlib import sha256
from typing import TYPE_CHECKING, Literal

import msgspec

from crowdcompute.node.exits import CommandError
from crowdcompute.protocol.errors import ModuleRefused
from crowdcompute.protocol.events import ChunkInput, Status
from crowdcompute.protocol.manifest import Limits, Runtime
from crowdcompute.protocol.split import Grid, pack_items
from crowdcompute.protocol.wasm import rewrite

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from crowdcompute.protocol.manifest import Split

How = Literal["none", "concat", "ndjson", "png tiles", "reducer"]

DEFAULT_FILES = {"concat": "result", "ndjson": "result.ndjson", "png tiles": "picture.png", "reducer": "result"}
_MODES = {"grey": ("L", 1), "rgb": ("RGB", 3), "rgba": ("RGBA", 4)}
_MISSING_GREY = 40
REDUCER_LIMITS = Limits(memory_bytes=4_096 * 65_536, output_bytes=16 * 1024 * 1024, seconds=3_600)
"""A reducer runs on its own creator's machine, in the same sandbox with the widest limits there are."""


class Plan(msgspec.Struct, frozen=True):
    """A creator's plan for one task."""

    stops_at_first_solution: bool = False
    how: How = "none"
    file: str = ""
    pixels: Literal["grey", "rgb", "rgba"] = "rgb"
    runtime: Runtime = "wasm"
    code: bytes = b""

    def is_solution(self, result: bytes) -> bool:
        """Whether this result ends the task: it is something, and not JSON's null."""
        return self.stops_at_first_solution and result not in (b"", b"null")


async def assemble(plan: Plan, split: Split, results: Mapping[int, bytes], folder: Path) -> Path | None:
    """Put the results there are together in one file of `folder`; chunks without one are left out.

    Raises:
        CommandError: They do not fit together, or the reducer gave no result.
    """
    ordered = [results[chunk] for chunk in sorted(results)]
    match plan.how:
        case "none":
            return None
        case "concat":
            data = b"".join(ordered)
        case "ndjson":
            data = _ndjson(results)
        case "png tiles":
            assert isinstance(split, Grid)
            data = _picture(plan, split, results)
        case "reducer":
            data = await _reduced(plan, ordered)
    path = folder / plan.file
    path.write_bytes(data)
    return path


def _ndjson(results: Mapping[int, bytes]) -> bytes:
    lines = []
    for chunk, result in sorted(results.items()):
        try:
            msgspec.json.decode(result)
        except msgspec.DecodeError as error:
            raise CommandError(f"assemble: the result of chunk {chunk} is no JSON ({error})") from None
        lines.append(result.replace(b"\n", b" ") + b"\n")
    return b"".join(lines)


def _picture(plan: Plan, split: Grid, results: Mapping[int, bytes]) -> bytes:
    from PIL import Image

    mode, channels = _MODES[plan.pixels]
    picture = Image.new(
        mode, (split.width, split.height), (_MISSING_GREY,) * channels if channels > 1 else _MISSING_GREY
    )
    columns = -(-split.width // split.tile_width)
    for chunk, result in results.items():
        row, column = divmod(chunk, columns)
        x, y = column * split.tile_width, row * split.tile_height
        size = min(split.tile_width, split.width - x), min(split.tile_height, split.height - y)
        if len(result) != size[0] * size[1] * channels:
            raise CommandError(
                f"assemble: the result of chunk {chunk} has {len(result)} bytes, and a tile of {size[0]} x {size[1]} "
                f"{plan.pixels} pixels has {size[0] * size[1] * channels}"
            )
        picture.paste(Image.frombytes(mode, size, result), (x, y))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


async def _reduced(plan: Plan, results: list[bytes]) -> bytes:
    """The reducer's one result: JavaScript gets a JSON array of the results, a module gets them packed like `items`."""
    from .local import describe_outcome, open_pool

    try:
        code = plan.code if plan.runtime == "js" else rewrite(plan.code)
    except ModuleRefused as error:
        raise CommandError(f"assemble: the reducer is refused: {error}") from None
    data = b"[" + b",".join(results) + b"]" if plan.runtime == "js" else pack_items(results)
    async with open_pool(1) as pool:
        chunks, digest = [ChunkInput(0, data, 0)], sha256(code).digest()
        (outcome,) = await pool.execute(
            digest, code, REDUCER_LIMITS, numbers=False, chunks=chunks, runtime=plan.runtime
        )
    if outcome.status != Status.OK:
        raise CommandError(f"assemble: the reducer gave {describe_outcome(outcome)}")
    return outcome.data
