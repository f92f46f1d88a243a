"""The signed records of a task's ledger, field by field (spec/ledger.md).

A record travels as `Signed`: its kind, its body as the bytes that were signed, its author's key and the signature. Its
id is the content id of domain and body. Every body names its task, so no record can be replayed in another one.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from msgspec import Meta

from .codec import U32, U53, Body, Bytes32, Bytes64, decode, encode
from .errors import RemoteProtocolError
from .feeding import FED_BYTES_MAX
from .identity import SEAL_BYTES, signed_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .identity import Signer, Verifier

SHARD_CHUNKS = 4_096
"""Chunks of one shard at most: the unit of gossip, sync and storage (DESIGN section 6)."""

RECORD_BYTES_MAX = 48 * 1024
"""A record must leave room for its envelope in a frame."""

SEEN_BYTES = 16
"""A reveal names records by the first bytes of their ids: nobody makes another record that begins like one."""

SEEN_MAX = 512
"""Commits that a reveal may name as seen: with 1,024 votes it still fits a record."""

COMMIT_CHUNKS_MAX = 1_024
"""Chunks of one commit: 1,024 hashes of 32 bytes still fit a record."""

MAKERS_MAX = 8
"""Whose savepoints one execution may have gone through: each is as long as a volunteer stays, mostly."""

AFTER_BYTES_MAX = 4_096
"""That many signed savepoints, one inside of the other."""

KEEPERS_MAX = 3
"""Peers that a savepoint names as those who were asked to keep it."""

STATE_BYTES_MAX = 2 * 1024 * 1024
"""The largest state that is handed on; a larger one stays with its maker."""

SECRET_SEALED_BYTES = 32 + SEAL_BYTES
"""A secret key, sealed."""

LEAVING_TTL_S = 1
"""A lease of this length and without chunks says that the worker leaves: it is not asked for anything any more."""

EVERYTHING = 2**53 - 1
"""The greatest seq there can be: a verdict that voids commits up to it is for good."""

Kind = Literal[
    "manifest",
    "join",
    "admit",
    "beacon",
    "lease",
    "commit",
    "reveal",
    "assign",
    "verdict",
    "checkpoint",
    "certificate",
    "delegate",
    "revoke",
    "savepoint",
    "resumed",
    "feed",
    "vouch",
]

Run: TypeAlias = tuple[U32, U32]
"""Consecutive chunks as (first, count). Lists of runs are ascending, disjoint and not adjacent."""
Runs = Annotated[tuple[Run, ...], Meta(max_length=COMMIT_CHUNKS_MAX)]


class _RecordId:
    """The record's name. A manifest's is its task's id.

    The author is part of every other id: two workers may well say the same, and nobody may take another's place in the
    seen caches by signing the same body first. A manifest's body names its creator itself.

    Asked of every copy that a mesh brings: computed at the first time, and without the lock of `cached_property`.
    """

    def __get__(self, signed: Signed, owner: type[Signed]) -> bytes:
        body = signed.body if signed.kind == "manifest" else signed.author + signed.body
        record_id = signed.__dict__["record_id"] = sha256(signed_bytes(signed.domain, body)).digest()
        return record_id


class Signed(Body, frozen=True, dict=True):
    """One record as it travels and as it is stored."""

    kind: Kind
    author: Bytes32
    body: Annotated[bytes, Meta(max_length=RECORD_BYTES_MAX)]
    signature: Bytes64

    @property
    def domain(self) -> str:
        return f"cc/{self.kind}/1"

    record_id = _RecordId()


class Join(Body, frozen=True):
    """A worker asks to be admitted to a task and pays with a proof of work.

    `anchor` is that of the chain it will draw lots from. `epoch` and `beacon` are the latest beacon it knows: the work
    cannot have been done before that was out.
    """

    task: Bytes32
    seal_key: Bytes32
    anchor: Bytes32
    epoch: U32
    beacon: Bytes32
    work: U53


class Admit(Body, frozen=True):
    """The creator admits a worker. `nonce` was drawn after the join, so nobody could grind the lots of this anchor."""

    task: Bytes32
    worker: Bytes32
    anchor: Bytes32
    nonce: Annotated[bytes, Meta(min_length=16, max_length=16)]


class Beacon(Body, frozen=True):
    """The creator was there from epoch `since` to `epoch`, whose value of its chain this is, with so many workers."""

    task: Bytes32
    epoch: U32
    since: U32
    value: Bytes32
    workers: U32


class Lease(Body, frozen=True):
    """A worker says for `ttl_s` seconds, counted from arrival, that it is on these chunks of the shard and no others.

    A hint, never tallied. Without runs it says: admitted, here, and idle; or, for `LEAVING_TTL_S`, gone. `home` is
    the shard in which the worker listens for assignments; it may lease chunks of other shards because it was asked to.
    """

    task: Bytes32
    shard: U32
    home: U32
    seq: U53
    ttl_s: Annotated[int, Meta(ge=1, le=3_600)]
    runs: Runs


class Commit(Body, frozen=True):
    """A batch of one worker's votes: which chunks is public, what they say is sealed to the creator.

    `epoch` is when its author began it, on its own clock. With `link`, the value of its chain for that epoch, it says
    that lots chose these chunks for it (drawing.py).
    """

    task: Bytes32
    shard: U32
    seq: U53
    epoch: U32
    link: Annotated[bytes, Meta(max_length=32)]
    runs: Runs
    root: Bytes32
    sealed: bytes


class Reveal(Body, frozen=True):
    """What a commit's author voted, shown while the creator is away: statuses and hashes, no result.

    `seen` names the commits of others on the same chunks that its author held by then: those were made blindly.
    """

    task: Bytes32
    shard: U32
    commit: Bytes32
    salt: Annotated[bytes, Meta(min_length=16, max_length=16)]
    votes: Annotated[
        tuple[tuple[Annotated[int, Meta(ge=0, le=2)], Bytes32], ...], Meta(min_length=1, max_length=COMMIT_CHUNKS_MAX)
    ]
    seen: Annotated[
        tuple[Annotated[bytes, Meta(min_length=SEEN_BYTES, max_length=SEEN_BYTES)], ...], Meta(max_length=SEEN_MAX)
    ]


class Assign(Body, frozen=True):
    """The creator asks one worker, sealed, to execute chunks. Second votes, audits and repairs look alike.

    `shard` is where the worker listens; which chunks are meant, of whatever shard, only the two of them know.
    """

    task: Bytes32
    shard: U32
    seq: U53
    worker: Bytes32
    sealed: bytes


class Feed(Body, frozen=True):
    """The creator of a stream gives its next chunks their inputs: `first`, and those after it (feeding.py).

    With `ends` it says that these are the last ones, and how many there are: `first` and as many as come here.
    """

    task: Bytes32
    first: U32
    inputs: Annotated[tuple[Annotated[bytes, Meta(max_length=FED_BYTES_MAX)], ...], Meta(max_length=COMMIT_CHUNKS_MAX)]
    ends: bool


class Verdict(Body, frozen=True):
    """The creator convicts one worker: its commits in the task up to a seq are void.

    A first wrong result may be the hardware's: that is a **strike**, which voids what was committed until then. The
    second one, and whatever else there is to convict for, is a **ban**, which voids everything.
    """

    task: Bytes32
    worker: Bytes32
    reason: Literal["wrong", "malformed", "equivocated"]
    chunk: U32
    commit: Bytes32
    void_to: U53

    @property
    def is_ban(self) -> bool:
        """Whether the worker is out for good."""
        return self.void_to == EVERYTHING


class Checkpoint(Body, frozen=True):
    """The creator's signed state of one shard: which chunks are accepted, and with what."""

    task: Bytes32
    shard: U32
    seq: U32
    begun: U32
    """Chunks somebody voted on or has leased: what is left is worth coming for."""
    accepted: Annotated[bytes, Meta(max_length=SHARD_CHUNKS // 8)]
    failed: Annotated[bytes, Meta(max_length=SHARD_CHUNKS // 8)]
    root: Bytes32
    credits_root: Bytes32
    """Merkle root over the rows of the table that says who earned what in the shard (credit.py)."""
    credits_size: U32
    credits: Annotated[bytes, Meta(max_length=4_096)]
    """The table itself, or the SHA-256 of a larger one."""


class CertificateBody(Body, frozen=True):
    """The creator closes the task: what was accepted and how well it was checked (certificate.py)."""

    task: Bytes32
    chunks: U32
    accepted: U32
    failed: U32
    root: Bytes32
    executions: U53
    worker_audits: U32
    creator_audits: U32
    mismatches: U32
    convicted: U32
    eps: float
    bound: float
    confidence: float


class Delegate(Body, frozen=True):
    """The creator lets a worker act for it while it is away, until a moment; the task's seal secret is sealed to it."""

    task: Bytes32
    steward: Bytes32
    until_s: U53
    """Unix time."""
    trusted: bool
    """Whether the creator answers for the steward's dice: what it asks for then counts as an audit, too."""
    sealed: Annotated[bytes, Meta(min_length=SECRET_SEALED_BYTES, max_length=SECRET_SEALED_BYTES)]


class Revoke(Body, frozen=True):
    """The creator takes back a delegation, and with it all that the steward ever said in the task."""

    task: Bytes32
    steward: Bytes32


class Savepoint(Body, frozen=True):
    """How far a worker is with a chunk: who takes it over may go on from there (lineage.py).

    `number` counts the savepoints that the program has written so far, and `sha256` names the state at that one. Where
    the worker itself went on from another's savepoint, `after` is that one as it was signed.
    """

    task: Bytes32
    shard: U32
    seq: U53
    chunk: U32
    number: Annotated[int, Meta(ge=1, lt=2**32)]
    sha256: Bytes32
    size: Annotated[int, Meta(ge=1, le=STATE_BYTES_MAX)]
    keepers: Annotated[tuple[Bytes32, ...], Meta(max_length=KEEPERS_MAX)]
    after: Annotated[bytes, Meta(max_length=AFTER_BYTES_MAX)]


class Resumed(Commit, frozen=True):
    """A commit of one chunk, whose execution went on from the savepoint of another: `after`, as it was signed."""

    after: Annotated[bytes, Meta(max_length=AFTER_BYTES_MAX)]


Record: TypeAlias = (
    Join
    | Admit
    | Beacon
    | Lease
    | Commit
    | Reveal
    | Assign
    | Verdict
    | Checkpoint
    | CertificateBody
    | Delegate
    | Revoke
    | Savepoint
    | Resumed
    | Feed
)

_BODIES: dict[str, type[Record]] = {
    "join": Join,
    "admit": Admit,
    "beacon": Beacon,
    "lease": Lease,
    "commit": Commit,
    "reveal": Reveal,
    "assign": Assign,
    "verdict": Verdict,
    "checkpoint": Checkpoint,
    "certificate": CertificateBody,
    "delegate": Delegate,
    "revoke": Revoke,
    "savepoint": Savepoint,
    "resumed": Resumed,
    "feed": Feed,
}
_KINDS: dict[type, Kind] = {body: kind for kind, body in _BODIES.items()}  # type: ignore[misc]


def sign(signer: Signer, record: Record) -> Signed:
    """Encode and sign one record. From here on only these bytes count."""
    kind, body = _KINDS[type(record)], encode(record)
    return Signed(kind, signer.public_key, body, signer.sign(f"cc/{kind}/1", body))


def parse(signed: Signed) -> Record:
    """The typed body of a record, but not of a manifest or a vouch (manifest.py, vouching.py).

    The signature is not looked at.

    Raises:
        RemoteProtocolError: The body is not what its kind says, or its runs are not in canonical order.
    """
    known: Record | None = signed.__dict__.get("record")
    if known is not None:
        return known
    kind = _BODIES.get(signed.kind)
    if kind is None:
        raise RemoteProtocolError(f"a {signed.kind} is not a ledger record")
    record: Record = decode(signed.body, kind)
    if isinstance(record, Lease | Commit):
        chunks_of(record.shard, record.runs, allow_none=isinstance(record, Lease))
    if isinstance(record, Commit) and len(record.link) not in (0, 32):
        raise RemoteProtocolError("a commit's link is not a value of a chain")
    if isinstance(record, Savepoint):
        if shard_of(record.chunk) != record.shard:
            raise RemoteProtocolError("a savepoint's chunk is not in its shard")
        _check_after(record, record.chunk, record.number)
    elif isinstance(record, Feed):
        if not record.inputs and not record.ends:
            raise RemoteProtocolError("a feed that says nothing")
    elif isinstance(record, Resumed):
        ((chunk, count),) = record.runs if len(record.runs) == 1 else ((0, 0),)
        if count != 1 or record.link or not record.after:
            raise RemoteProtocolError("what goes on from a savepoint is one chunk, that no lot chose")
        _check_after(record, chunk, 2**32)
    signed.__dict__["record"] = record
    return record


def before(record: Record) -> Signed | None:
    """The savepoint of another that this record rests on, as it was signed."""
    if isinstance(record, Savepoint | Resumed) and record.after:
        return decode(record.after, Signed)
    return None


def _check_after(record: Savepoint | Resumed, chunk: int, number: int) -> None:
    """What a record rests on are savepoints of its chunk, each further than the one before.

    Raises:
        RemoteProtocolError: They are not, or too many.
    """
    makers, rest = 0, before(record)
    while rest is not None:
        savepoint = decode(rest.body, Savepoint) if rest.kind == "savepoint" else None
        makers += 1
        if savepoint is None or makers > MAKERS_MAX:
            raise RemoteProtocolError("a record rests on what is no savepoint, or on too many")
        if savepoint.task != record.task or savepoint.chunk != chunk or savepoint.number >= number:
            raise RemoteProtocolError("a record rests on a savepoint of something else, or of a later moment")
        rest, number = before(savepoint), savepoint.number


def verify_signature(verifier: Verifier, signed: Signed) -> None:
    """Check the author's signature over the bytes as they came, and those of the savepoints that the record rests on.

    Raises:
        RemoteProtocolError: A signature does not verify.
    """
    rest: Signed | None = signed
    while rest is not None:
        if not verifier(rest.author, rest.domain, rest.body, rest.signature):
            raise RemoteProtocolError(f"a {rest.kind} has a wrong signature")
        rest = before(parse(rest)) if rest.kind in ("savepoint", "resumed") else None


def shard_of(chunk: int) -> int:
    """The shard a chunk belongs to."""
    return chunk // SHARD_CHUNKS


def runs_of(chunks: Iterable[int]) -> tuple[Run, ...]:
    """Canonical runs over a set of chunk indices."""
    runs: list[tuple[int, int]] = []
    for chunk in sorted(set(chunks)):
        if runs and runs[-1][0] + runs[-1][1] == chunk:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((chunk, 1))
    return tuple(runs)


def mask(shard: int, runs: Iterable[Run]) -> int:
    """Runs of a shard as a number with one bit for each of its chunks, as in a checkpoint's bitmaps."""
    bits = 0
    for start, count in runs:
        bits |= ((1 << count) - 1) << (start - shard * SHARD_CHUNKS)
    return bits


def chunks_of(shard: int, runs: Iterable[Run], *, allow_none: bool = False) -> list[int]:
    """The chunk indices of canonical runs within one shard.

    Raises:
        RemoteProtocolError: Runs are empty, out of order, adjacent, outside the shard, or too many chunks.
    """
    first, end = shard * SHARD_CHUNKS, (shard + 1) * SHARD_CHUNKS
    chunks: list[int] = []
    position = -1
    for start, count in runs:
        if count < 1 or start <= position or start < first or start + count > end:
            raise RemoteProtocolError("runs of chunks must be ascending, disjoint, not adjacent and within the shard")
        if len(chunks) + count > COMMIT_CHUNKS_MAX:
            raise RemoteProtocolError(f"a record names at most {COMMIT_CHUNKS_MAX} chunks")
        chunks.extend(range(start, start + count))
        position = start + count
    if not chunks and not allow_none:
        raise RemoteProtocolError("a record must name at least one chunk")
    return chunks
