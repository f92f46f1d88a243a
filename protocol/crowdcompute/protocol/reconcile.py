"""Set reconciliation: two neighbours learn which record ids of a topic the other lacks (spec/reconcile.md).

    the asking side:  ASKING --cells that decode, or all ids--> DONE
                        ^  |
                        '--' cells that do not: again with a fresh salt and twice the cells; the third time all ids

The asking side sends a sketch of its set, from which the other reads how many ids differ, and answers with a table of
about twice so many cells: an invertible Bloom lookup table of its set (Goodrich and Mitzenmacher, 2011). Taking our
own set out of it leaves the difference. Where that would cost more than all ids, all ids are the answer. The answering
side keeps nothing; the asking side keeps one salt and what has come of the answer.

Where an id falls follows from a salt drawn for each request: whoever ground its record ids before ground in vain.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING, Annotated, TypeAlias

from msgspec import Meta

from .codec import U32, Body
from .errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

SET_MAX = 262_144
"""Ids of a topic that are compared. Of a larger set the first so many: the rest spreads as news, or not at all."""

ATTEMPTS = 3
"""Requests of one reconciliation. The last is answered with all ids, which cannot fail."""

SALT_BYTES = 8
ID_BYTES = 32
FINGERPRINT_BYTES = 8

SKETCH_BYTES = 128
"""Counters of a sketch, a byte each. They tell the size of a difference to one part in eight (deviation
sqrt(2 / 128)); twice as many would cost each comparison 128 bytes and save 5 bytes an id in large ones, half as many
would save 64 bytes and make one large comparison in six cost more than 150 bytes an id."""

SMALL_SET = 16
"""A set of up to so many ids goes without a sketch: it differs from any other by nearly all of that."""

CELL_BYTES = 36
"""A check of four bytes and an id."""

HASHES = 4
"""Cells of an id, one in each quarter of the table."""

CELLS_MAX = 131_072
CELLS_PER_FRAME = 1_800
IDS_PER_FRAME = 2_048

ALLOWED_IDS = 400_000
"""Ids that one neighbour's requests may have us hash at once: a set of the largest size and a second attempt at half of
it; 0.6 s of one core in Python."""
ALLOWED_IDS_PER_S = 5_000.0
"""And in the long run: one per cent of one core."""
ALLOWED_IDS_LEAST = 100
"""What a request costs at least: small sets must not make requests free."""

_ID_MASK = (1 << 8 * ID_BYTES) - 1
_words = Struct(">8I").unpack
_sketched = Struct(">3xB20xQ").unpack
"""Of a digest: the lowest byte of its first word, and its last two words as one."""


class Reconcile(Body, frozen=True, tag="reconcile"):
    """Which ids of a topic do you hold that I do not, and the other way round?"""

    topic: Annotated[bytes, Meta(max_length=36)]
    salt: Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
    attempt: Annotated[int, Meta(ge=0, lt=ATTEMPTS)]
    count: U32
    """Ids that the sender holds."""
    fingerprint: Annotated[bytes, Meta(min_length=FINGERPRINT_BYTES, max_length=FINGERPRINT_BYTES)]
    sketch: Annotated[bytes, Meta(max_length=SKETCH_BYTES)]
    """`SKETCH_BYTES`, or none for a small set."""


class ReconcileCells(Body, frozen=True, tag="reconcile-cells"):
    """The next cells of the table of the sender's set."""

    salt: Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
    cells: Annotated[int, Meta(ge=0, le=CELLS_MAX)]
    """Cells of the whole table; 0 says that the two sets are equal."""
    data: Annotated[bytes, Meta(max_length=CELLS_PER_FRAME * CELL_BYTES)]


class ReconcileIds(Body, frozen=True, tag="reconcile-ids"):
    """The next of all ids that the sender holds, one after the other."""

    salt: Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
    count: Annotated[int, Meta(ge=0, le=SET_MAX)]
    """Ids of the whole set."""
    data: Annotated[bytes, Meta(max_length=IDS_PER_FRAME * ID_BYTES)]


Answer: TypeAlias = ReconcileCells | ReconcileIds


@dataclass(frozen=True, slots=True)
class Difference:
    """What two sets do not share, ascending."""

    missing: tuple[bytes, ...]
    """The neighbour holds these and we do not: ask for them."""
    surplus: tuple[bytes, ...]
    """We hold these and the neighbour does not: offer them."""


class Reconciliation:
    """Our side of one comparison with one neighbour, from `begin` until `received` returns a difference.

    Sets may change meanwhile: each call is given what we hold at that moment, and what came since is at most offered to
    somebody who has it.
    """

    def __init__(self, topic: bytes, rng: Random) -> None:
        self._topic = topic
        self._rng = rng
        self._attempt = 0
        self.salt = b""
        """Names the request that is under way; empty when none is."""
        self._total = 0
        self._came: type[Answer] | None = None  # the kind of answer that began to come
        self._data = bytearray()

    def begin(self, ids: Iterable[bytes]) -> Reconcile:
        """The request to send first."""
        self.salt = self._rng.randbytes(SALT_BYTES)
        self._came, self._data = None, bytearray()
        held = list(islice(ids, SET_MAX))
        fingerprint, sketch = _summary(_digests(self.salt, held))
        return Reconcile(
            self._topic, self.salt, self._attempt, len(held), fingerprint, sketch if len(held) > SMALL_SET else b""
        )

    def received(self, answer: Answer, ids: Iterable[bytes]) -> Reconcile | Difference | None:
        """Take one frame of the answer; `ids` is what we hold now.

        Returns the difference when it is known, a request to send when the table was too small for it, and None while
        frames are still to come, as well as for a frame of another request: it was given up, or is not ours.

        Raises:
            RemoteProtocolError: The frames do not make up one answer. Nothing more will come of this reconciliation.
        """
        salt = self.salt
        if not salt or answer.salt != salt:
            return None
        self.salt = b""  # Whatever is refused below ends it.
        if not self._take(answer):
            self.salt = salt
            return None
        data, self._data = bytes(self._data), bytearray()
        held = list(islice(ids, SET_MAX))
        if isinstance(answer, ReconcileIds):
            theirs = {data[at : at + ID_BYTES] for at in range(0, len(data), ID_BYTES)}
            differing: Iterable[bytes] | None = theirs.symmetric_difference(held)
        else:
            differing = _decode(salt, data, held) if data else ()
        if differing is not None:
            ours = set(held)
            ascending = sorted(differing)
            return Difference(
                tuple(record_id for record_id in ascending if record_id not in ours),
                tuple(record_id for record_id in ascending if record_id in ours),
            )
        self._attempt += 1
        if self._attempt == ATTEMPTS:
            raise RemoteProtocolError("a neighbour answers the last request to reconcile with cells")
        return self.begin(held)

    def _take(self, answer: Answer) -> bool:
        """Add a frame to what came before; whether the answer is complete."""
        total, item_bytes = (
            (answer.cells, CELL_BYTES) if isinstance(answer, ReconcileCells) else (answer.count, ID_BYTES)
        )
        if self._came is None:
            self._came, self._total = type(answer), total
            if isinstance(answer, ReconcileCells) and total % HASHES:
                raise RemoteProtocolError(f"a table of {total} cells has no equal quarters")
        elif self._came is not type(answer) or self._total != total:
            raise RemoteProtocolError("two answers to one request to reconcile")
        if len(answer.data) % item_bytes or (total and not answer.data):
            raise RemoteProtocolError(f"an answer of {len(answer.data)} bytes to a request to reconcile")
        self._data += answer.data
        if len(self._data) > total * item_bytes:
            raise RemoteProtocolError("an answer to a request to reconcile is longer than it said")
        return len(self._data) == total * item_bytes


def answer(request: Reconcile, ids: Iterable[bytes]) -> list[Answer]:
    """What to send back for a neighbour's request, given the ids that we hold in its topic.

    It is never longer than all of our ids, and costs a hash and a few additions for each of them, whatever the request
    says. Whoever serves strangers asks an `Allowance` first.

    Raises:
        RemoteProtocolError: The sketch is not one.
    """
    if len(request.sketch) not in (0, SKETCH_BYTES):
        raise RemoteProtocolError(f"a sketch of {len(request.sketch)} bytes")
    held = list(islice(ids, SET_MAX))
    least = abs(request.count - len(held))
    if request.attempt == ATTEMPTS - 1 or (least and not _is_cheaper(_width(least), len(held))):
        return _all_ids(request.salt, held)
    digests = _digests(request.salt, held)
    fingerprint, sketch = _summary(digests)
    if fingerprint == request.fingerprint:
        return [ReconcileCells(request.salt, 0, b"")]
    differing = max(least, _estimate(sketch, request.sketch)) if request.sketch else request.count + len(held)
    width = _width(differing) << request.attempt
    if not _is_cheaper(width, len(held)):
        return _all_ids(request.salt, held)
    cells = _Cells(width)
    for record_id, digest in zip(held, digests, strict=True):
        cells.toggle(record_id, digest)
    data = cells.to_bytes()
    return [ReconcileCells(request.salt, HASHES * width, part) for part in _parts(data, CELLS_PER_FRAME * CELL_BYTES)]


class Allowance:
    """How much comparing one neighbour may ask of us: a token bucket of ids to hash."""

    def __init__(self, now: float) -> None:
        self._left = float(ALLOWED_IDS)
        self._at = now

    def spend(self, ids: int, now: float) -> bool:
        """Whether a request over a set of so many ids may be answered now. If not, it stays without an answer."""
        self._left = min(ALLOWED_IDS, self._left + (now - self._at) * ALLOWED_IDS_PER_S)
        self._at = now
        cost = max(ALLOWED_IDS_LEAST, min(ids, SET_MAX))
        if self._left < cost:
            return False
        self._left -= cost
        return True


# ---- where an id falls


def _digest(salt: bytes, record_id: bytes) -> bytes:
    """All the chance that an id has in one request: eight words, used as in spec/reconcile.md, "Words"."""
    # Salt and id fit one block of SHA-256. There is no domain because nothing here is signed, stored or a name.
    return sha256(salt + record_id).digest()


def _digests(salt: bytes, record_ids: Iterable[bytes]) -> list[bytes]:
    """`_digest` of each."""
    return [sha256(salt + record_id).digest() for record_id in record_ids]


def _summary(digests: Iterable[bytes]) -> tuple[bytes, bytes]:
    """Fingerprint and sketch of a set."""
    fingerprint = 0
    counters = [0] * SKETCH_BYTES
    for digest in digests:
        place, part = _sketched(digest)
        fingerprint ^= part
        counters[place & 127] += 1 if place < 128 else -1
    return fingerprint.to_bytes(FINGERPRINT_BYTES), bytes(counter & 0xFF for counter in counters)


def _estimate(ours: bytes, theirs: bytes) -> int:
    """About how many ids differ: what both hold cancels out, and what is left adds one to a square on average.

    Counters wrap at 256. That matters from a million ids on, where all ids are sent in any case.
    """
    return sum(((mine - other + 128 & 0xFF) - 128) ** 2 for mine, other in zip(ours, theirs, strict=True))


def _width(differing: int) -> int:
    """Cells of a quarter, for a difference estimated so: 1.85 cells an id and four more; of one id, just its four.

    Four hashes need 1.3; the rest makes up for an estimate that is too small by three deviations, and for some of the
    bad luck of small tables, where a second request costs less than larger tables would (spec/reconcile.md, "Numbers").
    """
    return 1 if differing <= 1 else 1 + -(-37 * differing // 80)


def _is_cheaper(width: int, count: int) -> bool:
    """Whether a table is worth sending instead of all ids."""
    cells = HASHES * width
    return cells <= CELLS_MAX and cells * CELL_BYTES < count * ID_BYTES


def _all_ids(salt: bytes, held: list[bytes]) -> list[Answer]:
    return [ReconcileIds(salt, len(held), part) for part in _parts(b"".join(held), IDS_PER_FRAME * ID_BYTES)]


def _parts(data: bytes, part_bytes: int) -> Iterator[bytes]:
    """Data cut for frames; one empty part of no data."""
    return (data[start : start + part_bytes] for start in range(0, max(1, len(data)), part_bytes))


class _Cells:
    """A table: each cell is the exclusive or of the ids that fall into it, and of their checks."""

    def __init__(self, width: int, data: bytes | None = None) -> None:
        self.width = width
        count = HASHES * width
        self.cells = (
            [0] * count
            if data is None
            else [int.from_bytes(data[at : at + CELL_BYTES]) for at in range(0, count * CELL_BYTES, CELL_BYTES)]
        )

    def toggle(self, record_id: bytes, digest: bytes) -> tuple[int, ...]:
        """Put an id in, or take it out; the cells it falls into."""
        width = self.width
        _, check, first, second, third, fourth, _, _ = _words(digest)
        places = (
            first * width >> 32,
            width + (second * width >> 32),
            2 * width + (third * width >> 32),
            3 * width + (fourth * width >> 32),
        )
        cell = check << 256 | int.from_bytes(record_id)
        for place in places:
            self.cells[place] ^= cell
        return places

    def to_bytes(self) -> bytes:
        return b"".join(cell.to_bytes(CELL_BYTES) for cell in self.cells)


def _decode(salt: bytes, data: bytes, held: list[bytes]) -> list[bytes] | None:
    """The ids in which our set differs from that of a table; None when the table is too small for them.

    Whatever the table holds, at most one id a cell comes out, and five hashes a cell are computed besides one an id of
    our set.
    """
    table = _Cells(len(data) // CELL_BYTES // HASHES, data)
    for record_id, digest in zip(held, _digests(salt, held), strict=True):
        table.toggle(record_id, digest)
    cells = table.cells
    found: dict[bytes, None] = {}
    pending = list(range(len(cells)))
    while pending:
        index = pending.pop()
        cell = cells[index]
        if not cell:
            continue
        record_id = (cell & _ID_MASK).to_bytes(ID_BYTES)
        digest = _digest(salt, record_id)
        if cell >> 256 != _words(digest)[1]:
            continue  # The sum of several. One in 2^32 of those would pass, and cost us a second request.
        if record_id in found or len(found) == len(cells):
            return None  # No set has such a table: somebody made it up to keep us busy.
        found[record_id] = None
        pending += table.toggle(record_id, digest)
    return None if any(cells) else list(found)
