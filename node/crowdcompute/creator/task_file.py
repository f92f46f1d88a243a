"""task.toml: the file a person edits, as the parts of a manifest (docs/task-toml.md).

The struct types are the schema. What they refuse comes out as `TaskFileError` with the key's name; an unknown key with
the one that was probably meant.
"""

from __future__ import annotations

import difflib
import math
import re
import struct
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_origin, get_type_hints

import msgspec

from crowdcompute.node.exits import Exit
from crowdcompute.protocol.codec import decode, encode
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.gpu.compare import Comparator, Exact
from crowdcompute.protocol.gpu.package import Field, Output
from crowdcompute.protocol.manifest import Blocks, Grid, Handed, Items, Limits, Lines, Policy, Range, Runtime, Split
from crowdcompute.protocol.permissions import is_address, is_permission
from crowdcompute.protocol.split import pack_items

from .assurance import EPS_MIN, LIARS_BELOW
from .earlier import NOBODYS, Earlier, of_folder
from .large_inputs import LARGE_BYTES, LargeInputs
from .plan import DEFAULT_FILES, Plan

TASK_FILE = "task.toml"

_SIZE_UNITS = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_DURATION_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)

Part = TypeVar("Part", bound=msgspec.Struct)
Quantity: TypeAlias = int | str
"""A plain number, or one with a unit: "64MiB", "7d"."""


class TaskFileError(Exception):
    """task.toml, or a file it names, cannot be used. The message is one sentence that says where and why."""

    exit_code = Exit.USAGE


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the tables of task.toml."""


class CodeTable(Table, frozen=True):
    module: str | None = None
    runtime: Runtime = "wasm"
    source: str | None = None
    stack: Quantity = "1MiB"


class OutputTable(Table, frozen=True):
    elements: int
    compare: Comparator = Exact()


class GpuTable(Table, frozen=True):
    kernel: str
    fallback: str
    invocations: str
    fuel: int
    golden: tuple[tuple[int, ...] | str, ...]
    outputs: dict[str, OutputTable]
    uniform: dict[str, str] = {}


class GridTable(Table, frozen=True):
    width: int
    height: int
    tile: int | tuple[int, int]


class LinesTable(Table, frozen=True):
    file: str
    per_chunk: int


class BlocksTable(Table, frozen=True):
    file: str
    size: Quantity


class ResultsTable(Table, frozen=True):
    folder: str | None = None
    per_chunk: int = 1


class SplitTable(Table, frozen=True):
    range: tuple[int, int, int] | None = None
    grid: GridTable | None = None
    items: str | None = None
    lines: LinesTable | None = None
    blocks: BlocksTable | None = None
    results: ResultsTable | None = None
    urls: str | None = None


class LimitsTable(Table, frozen=True):
    memory: Quantity = "64MiB"
    output: Quantity = "1MiB"
    seconds: float = 60.0


class VerifyTable(Table, frozen=True):
    replication: int = 2
    eps: float = 1e-4
    liars: float = 0.2
    pow_bits: int = 16
    epoch: Quantity = "1m"


class PublishTable(Table, frozen=True):
    reward: int = 1
    expires: Quantity = "7d"
    stop: Literal["never", "first solution"] = "never"
    onward: bool = False


class AssembleTable(Table, frozen=True, rename={"how": "as"}):
    how: Literal["concat", "ndjson", "png tiles", "reducer"]
    file: str | None = None
    pixels: Literal["grey", "rgb", "rgba"] = "rgb"
    module: str | None = None


class TaskTable(Table, frozen=True):
    schema: Literal[1]
    name: str
    code: CodeTable
    split: SplitTable
    gpu: GpuTable | None = None
    description: str = ""
    link: str = ""
    limits: LimitsTable = LimitsTable()
    verify: VerifyTable = VerifyTable()
    publish: PublishTable = PublishTable()
    assemble: AssembleTable | None = None
    permissions: tuple[str, ...] = ()
    vouches: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KernelFile:
    """The [gpu] table: what the package of a GPU task is made of, but for the results of its golden vectors."""

    source: Path
    fallback: Path
    uniform: tuple[Field, ...]
    invocations: str
    outputs: tuple[Output, ...]
    fuel: int
    golden: tuple[bytes, ...]
    """Inputs of chunks."""


@dataclass(frozen=True, slots=True)
class TaskFile:
    """A parsed task.toml: everything of a manifest that a person decides, and where the rest is found."""

    folder: Path
    name: str
    description: str
    link: str
    runtime: Runtime
    module: Path
    source: Path | None
    stack_bytes: int
    kernel: KernelFile | None
    split: Split
    inputs: bytes | LargeInputs | None
    """The inputs blob, read and, for `items`, packed; a large one is read when it is needed."""
    earlier: Earlier | None
    """The results that a `results` split hands on."""
    per_chunk: int
    """How many of them each chunk takes."""
    limits: Limits
    policy: Policy
    reward: int
    onward: bool
    """Whether results are for a further task."""
    epoch_s: int
    """Length of an epoch; 0 for a task without epochs, whose votes stay sealed to its creator."""
    lifetime_s: int
    plan: Plan
    """What the creator does with results. No volunteer sees it."""
    permissions: tuple[str, ...] = ()
    """What volunteers' nodes may fetch for this task."""
    vouches: tuple[Path, ...] = ()
    """Files of those who answer for its creator."""


def read_task_file(folder: Path) -> TaskFile:
    """Parse `folder`/task.toml and read the inputs it names.

    Raises:
        TaskFileError: Something in it cannot be used, or a file it names cannot be read.
    """
    path = folder / TASK_FILE
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TaskFileError(f"{path} cannot be read ({error.strerror}): `cc-task init NAME` makes a task") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TaskFileError(f"{path} is not valid TOML: {error}") from None
    try:
        _refuse_unknown(table, TaskTable, "")
        if isinstance(code := table.get("code"), dict) and code.get("runtime") == "python":
            raise TaskFileError("code.runtime: Python is compiled to a module: leave this out, and name code.source")
        task = msgspec.convert(table, TaskTable)
        if task.code.runtime == "js" and task.code.source is not None:
            raise TaskFileError("code.source: JavaScript is signed as it is written; name it in code.module alone")
        if (task.code.runtime == "gpu") != (task.gpu is not None):
            raise TaskFileError('the table [gpu] belongs to code.runtime = "gpu", and the other way round')
        _check_fetching(task)
        split, inputs, earlier = _split(task.split, folder)
        return TaskFile(
            folder=folder,
            name=task.name,
            description=task.description,
            link=task.link,
            runtime=task.code.runtime,
            module=folder / (task.code.module or ""),
            source=None if task.code.source is None else folder / task.code.source,
            stack_bytes=_size("code.stack", task.code.stack),
            kernel=None if task.gpu is None else _kernel(task.gpu, split, folder),
            split=split,
            inputs=inputs,
            earlier=earlier,
            per_chunk=1 if task.split.results is None else task.split.results.per_chunk,
            limits=_checked(
                "limits",
                Limits(
                    memory_bytes=_size("limits.memory", task.limits.memory),
                    output_bytes=_size("limits.output", task.limits.output),
                    seconds=task.limits.seconds,
                ),
            ),
            policy=_policy(task.verify),
            reward=task.publish.reward,
            onward=task.publish.onward,
            epoch_s=0 if task.code.runtime == "net" else _epoch_s(task.verify.epoch, task.limits.seconds),
            lifetime_s=_quantity("publish.expires", task.publish.expires, _DURATION_UNITS, '"7d" or "12h"'),
            plan=_plan(task, split, folder),
            permissions=task.permissions,
            vouches=tuple(folder / each for each in task.vouches),
        )
    except (msgspec.ValidationError, TaskFileError) as error:
        raise TaskFileError(f"{path}: {_in_toml_words(str(error))}") from None


def _refuse_unknown(table: dict[str, Any], kind: type[Table], place: str) -> None:
    for key, value in table.items():
        if key not in kind.__struct_encode_fields__:
            where = f" in [{place}]" if place else ""
            close = difflib.get_close_matches(key, kind.__struct_encode_fields__, n=1)
            meant = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(kind.__struct_encode_fields__)}"
            raise TaskFileError(f"there is no key {key!r}{where}: {meant}")
        inner = _table_type(kind, key)
        if inner is not None and isinstance(value, dict):
            _refuse_unknown(value, inner, f"{place}.{key}" if place else key)


def _table_type(kind: type[Table], key: str) -> type[Table] | None:
    """The table type behind a key, also where the key may be left out."""
    hint = get_type_hints(kind)[dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))[key]]
    if get_origin(hint) is dict:
        return None  # its keys are the task's own
    for option in (hint, *getattr(hint, "__args__", ())):
        if isinstance(option, type) and issubclass(option, Table):
            return option
    return None


def _split(table: SplitTable, folder: Path) -> tuple[Split, bytes | LargeInputs | None, Earlier | None]:
    if table.results is not None and table.results.per_chunk < 1:
        raise TaskFileError("split.results.per_chunk: a chunk takes at least 1 result")
    split, inputs = _plain_split(table, folder)
    if table.results is None or table.results.folder is None:
        return split, inputs, None
    earlier = of_folder(folder / table.results.folder)
    return *earlier.split(table.results.per_chunk), earlier


def _plain_split(table: SplitTable, folder: Path) -> tuple[Split, bytes | LargeInputs | None]:
    given = [key for key in table.__struct_fields__ if getattr(table, key) is not None]
    if len(given) != 1:
        raise TaskFileError(f"[split] needs exactly one of {', '.join(table.__struct_fields__)}")
    if table.range is not None:
        start, stop, step = table.range
        return _checked("split.range", Range(start=start, stop=stop, step=step)), None
    if table.grid is not None:
        tile = table.grid.tile
        width, height = (tile, tile) if isinstance(tile, int) else tile
        split = Grid(width=table.grid.width, height=table.grid.height, tile_width=width, tile_height=height)
        return _checked("split.grid", split), None
    if table.lines is not None:
        lines = _checked("split.lines", Lines(per_chunk=table.lines.per_chunk))
        return lines, _read_inputs("split.lines.file", folder / table.lines.file)
    if table.blocks is not None:
        blocks = _checked("split.blocks", Blocks(size=_size("split.blocks.size", table.blocks.size)))
        return blocks, _read_inputs("split.blocks.file", folder / table.blocks.file)
    if table.results is not None:
        return Handed(of=(NOBODYS,)), None
    if table.urls is not None:
        return Items(), _addresses(folder / table.urls)
    assert table.items is not None
    return Items(), _pack_folder(folder / table.items)


def _check_fetching(task: TaskTable) -> None:
    """What belongs together in a task whose chunks are addresses to fetch."""
    is_fetched = task.code.runtime == "net"
    if not is_fetched and task.code.module is None:
        raise TaskFileError("code.module: name the file with the task's code")
    if is_fetched and task.code.module is not None:
        raise TaskFileError("code.module: a task that fetches has no code; a second one computes with what it fetched")
    if is_fetched != (task.split.urls is not None) or is_fetched != bool(task.permissions):
        raise TaskFileError(
            'permissions, split.urls and code.runtime = "net" belong together: the node fetches, no code is executed'
        )
    for permission in task.permissions:
        if not is_permission(permission):
            raise TaskFileError(
                f"permissions: {permission!r} is not understood: write it like net:https://example.org/data/, in lower "
                "case, with a name and not a number, and without dots that climb"
            )


def _addresses(path: Path) -> bytes:
    """The lines of a file, each the address that a chunk fetches; empty ones and those after # are left out."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise TaskFileError(f"split.urls: {path} cannot be read: {error}") from None
    addresses = [line for line in lines if line and not line.startswith("#")]
    for address in addresses:
        if not is_address(address):
            raise TaskFileError(
                f"split.urls: {address!r} is not an address that may be fetched: https, a name in lower case, escapes "
                "in upper case, no user, no #"
            )
    return pack_items(address.encode() for address in addresses)


def _plan(task: TaskTable, split: Split, folder: Path) -> Plan:
    table = task.assemble
    stops = task.publish.stop == "first solution"
    if table is None:
        return Plan(stops_at_first_solution=stops)
    if table.how == "png tiles" and not isinstance(split, Grid):
        raise TaskFileError("assemble.as: png tiles are for a `grid` split")
    if (table.how == "reducer") != (table.module is not None):
        raise TaskFileError('assemble.module: names the reducer, a .wasm or .js file, and belongs to as = "reducer"')
    code = b"" if table.module is None else _read("assemble.module", folder / table.module)
    runtime: Runtime = "js" if str(table.module).endswith(".js") else "wasm"
    file = table.file or DEFAULT_FILES[table.how]
    if Path(file).name != file or Path(file).suffix == ".bin":
        raise TaskFileError(
            f"assemble.file: {file!r} must be the name of a file, without a folder and not ending in .bin"
        )
    return Plan(stops, table.how, file, table.pixels, runtime, code)


def _kernel(table: GpuTable, split: Split, folder: Path) -> KernelFile:
    return KernelFile(
        source=folder / table.kernel,
        fallback=folder / table.fallback,
        uniform=tuple(Field(name=name, value=value) for name, value in table.uniform.items()),
        invocations=table.invocations,
        outputs=tuple(
            Output(name=name, elements=each.elements, compare=each.compare) for name, each in table.outputs.items()
        ),
        fuel=table.fuel,
        golden=tuple(_golden(each, split, folder) for each in table.golden),
    )


def _golden(given: tuple[int, ...] | str, split: Split, folder: Path) -> bytes:
    """A golden vector's input: the numbers of a chunk, or a file's bytes."""
    numbers = {Range: 2, Grid: 4}.get(type(split))
    if isinstance(given, str):
        if numbers is not None:
            raise TaskFileError(f"gpu.golden: name the {numbers} numbers of a chunk, not a file")
        return _read("gpu.golden", folder / given)
    if len(given) != numbers:
        raise TaskFileError(
            "gpu.golden: name a file with a chunk's bytes"
            if numbers is None
            else f"gpu.golden: a chunk of this split has {numbers} numbers, not {len(given)}"
        )
    try:
        return struct.pack(f"<{numbers}q", *given)
    except struct.error:
        raise TaskFileError("gpu.golden: a number does not fit 64 bits") from None


def _policy(table: VerifyTable) -> Policy:
    """What peers admit, less what no certificate could ever mean anything by."""
    if table.liars >= LIARS_BELOW:
        raise TaskFileError(
            f"verify.liars: {table.liars:g} of the work cannot be liars', for they would outvote the honest: say less "
            f"than {LIARS_BELOW:g}, or compute the task yourself with `cc-task run --local`"
        )
    policy = Policy(replication=table.replication, eps=table.eps, liars=table.liars, pow_bits=table.pow_bits)
    if 0 < table.eps < EPS_MIN:
        raise TaskFileError(f"verify.eps: {table.eps:g} is less than one result of the largest task: say {EPS_MIN:.1g}")
    return _checked("verify", policy)


def _pack_folder(folder: Path) -> bytes | LargeInputs:
    """Every file of a folder as one item, in the order of their names; hidden files are left out."""
    try:
        files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    except OSError as error:
        raise TaskFileError(f"split.items: {folder} cannot be read: {error.strerror}") from None
    if not files:
        raise TaskFileError(f"split.items: {folder} holds no files")
    if sum(file.stat().st_size for file in files) > LARGE_BYTES:
        return LargeInputs.packed(files)
    return pack_items(_read("split.items", file) for file in files)


def _read_inputs(key: str, path: Path) -> bytes | LargeInputs:
    try:
        if path.stat().st_size > LARGE_BYTES:
            return LargeInputs([path])
    except OSError as error:
        raise TaskFileError(f"{key}: {path} cannot be read: {error.strerror}") from None
    return _read(key, path)


def _read(key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TaskFileError(f"{key}: {path} cannot be read: {error.strerror}") from None


def _checked(key: str, part: Part) -> Part:
    """`part`, once it was decoded like a peer decodes it: only then have its ranges been looked at."""
    try:
        return decode(encode(part), type(part))
    except OverflowError:
        raise TaskFileError(f"{key}: a number does not fit 64 bits") from None
    except RemoteProtocolError as error:
        raise TaskFileError(f"{key}: {str(error).partition(': ')[2]}") from None


def _size(key: str, quantity: Quantity) -> int:
    return _quantity(key, quantity, _SIZE_UNITS, '"64MiB" or "500kB"')


def duration_s(key: str, text: str) -> int:
    """Seconds from "2d" or "12h".

    Raises:
        TaskFileError: It is nothing like that.
    """
    seconds = _quantity(key, text, _DURATION_UNITS, '"2d" or "12h"')
    if seconds < 1:
        raise TaskFileError(f'{key}: {text!r} is no time at all: write it like "2d" or "12h"')
    return seconds


def _quantity(key: str, quantity: Quantity, units: dict[str, int], examples: str) -> int:
    if isinstance(quantity, int):
        return quantity
    match = _QUANTITY.fullmatch(quantity)
    if match is None or match[2].lower() not in units:
        raise TaskFileError(f"{key}: {quantity!r} is not understood: write it like {examples}")
    return round(float(match[1]) * units[match[2].lower()])


def _epoch_s(epoch: Quantity, chunk_s: float) -> int:
    """The length of an epoch: what was asked for, or the limit of one chunk, so that a vote is cast within two."""
    seconds = _quantity("verify.epoch", epoch, _DURATION_UNITS, '"1m" or "30s", or 0')
    if not 0 <= seconds <= 86_400:
        raise TaskFileError(f'verify.epoch: {epoch!r} is not between a second and a day: write it like "1m", or 0')
    return max(seconds, math.ceil(chunk_s)) if seconds else 0


def _in_toml_words(message: str) -> str:
    """msgspec's sentence with the place in TOML's notation: "… - at `$.limits.seconds`" becomes "limits.seconds: …"."""
    found = re.fullmatch(r"(.*) - at `\$\.?(.*)`", message)
    if found is None:
        return message
    return f"{found[2]}: {found[1]}" if found[2] else found[1]
