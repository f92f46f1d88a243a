"""What a creator shows of a closed task, so that anybody can count its votes again (spec/verification.md, "Evidence").

Votes travel sealed between worker and creator. Their Merkle root is public and signed by the worker: whoever is shown
the salt and the hashes of a batch can recompute it, and so knows what the worker voted, without seeing any result.
What the creator asked of whom is shown as well, and is the creator's word: no root binds it.

Where results are compared as numbers (gpu/compare.py), hashes do not say which votes agree. There the results are
shown, too, and beside the manifest the package that says how they are compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Protocol

from msgspec import Meta

from .assigning import open_assignment
from .batch import Leaf, open_batch, root_of
from .codec import U32, Body, Bytes32, decode, encode
from .errors import RemoteProtocolError
from .events import Status
from .records import COMMIT_CHUNKS_MAX, Assign, Commit, Reveal, Run, Signed, chunks_of, parse, runs_of, shard_of
from .tally import NO_RESULT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .gpu import Comparison
    from .identity import Signer
    from .ledger import Ledger

MAGIC = b"CCRECS1\n"
"""The first bytes of a file of shown records. What follows is entries, each behind its length as a u32, big-endian."""

_LENGTH_BYTES = 4


class Bytes(Protocol):
    """What `bytes` and a mapped file have in common."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> bytes: ...


class Shown(Body, frozen=True):
    """One record, and what was sealed in it: an opening of its kind, encoded, or nothing."""

    signed: Signed
    opened: bytes


class CommitOpening(Body, frozen=True):
    """A batch's salt, and the status and SHA-256 of every vote in the order of its chunks."""

    salt: Annotated[bytes, Meta(min_length=16, max_length=16)]
    votes: Annotated[
        tuple[tuple[Annotated[int, Meta(ge=0, le=2)], Bytes32], ...], Meta(min_length=1, max_length=COMMIT_CHUNKS_MAX)
    ]


class ComparedOpening(Body, frozen=True):
    """The same, where results are compared as numbers, with every result itself; nothing of what is no result."""

    salt: Annotated[bytes, Meta(min_length=16, max_length=16)]
    votes: Annotated[
        tuple[tuple[Annotated[int, Meta(ge=0, le=2)], Bytes32], ...], Meta(min_length=1, max_length=COMMIT_CHUNKS_MAX)
    ]
    results: Annotated[tuple[bytes, ...], Meta(min_length=1, max_length=COMMIT_CHUNKS_MAX)]


class AssignOpening(Body, frozen=True):
    """The chunks that were asked for."""

    shard: U32
    runs: Annotated[tuple[Run, ...], Meta(min_length=1, max_length=COMMIT_CHUNKS_MAX)]


def counted_value(leaf: Leaf, comparison: Comparison | None) -> bytes:
    """A leaf's value as it counts: where results are compared as numbers, what holds none is no result."""
    if comparison is not None and leaf.status is Status.OK and not comparison.is_result(leaf.data):
        return NO_RESULT
    return leaf.value


def check_inline(leaves: Sequence[Leaf]) -> None:
    """What every commit of a task obeys whose results are compared as numbers.

    Raises:
        RemoteProtocolError: A leaf only names its result. No honest worker signs that: convict it as malformed.
    """
    if not all(leaf.inline for leaf in leaves):
        raise RemoteProtocolError("a leaf names a result that should be inside of it")


def shown_records(signer: Signer, ledger: Ledger, package: bytes = b"") -> Iterator[Shown]:
    """The creator's records of a task up to its certificate, in the order they came; leases are hints and left out.

    `package` is the task's code, where that says that results are compared as numbers.
    """
    for signed in ledger.records():
        if signed.kind == "lease":
            continue
        opened = package if signed.kind == "manifest" else _open(signer, ledger, signed, compared=bool(package))
        yield Shown(signed, opened)
        if signed.kind == "certificate":
            return


def opened_votes(author: bytes, commit: Commit, opened: bytes, comparison: Comparison | None = None) -> list[Leaf]:
    """The votes that a commit's author signed. Their leaves name results by hash, where no comparison needs them.

    Raises:
        RemoteProtocolError: The opening is not that of this commit.
    """
    if comparison is not None:
        return _compared_votes(author, commit, decode(opened, ComparedOpening))
    return shown_votes(author, commit, decode(opened, CommitOpening))


def shown_votes(author: bytes, commit: Commit, opening: CommitOpening | Reveal) -> list[Leaf]:
    """As `opened_votes`, of what was decoded: by the creator when the task is closed, by the author before.

    Raises:
        RemoteProtocolError: The opening is not that of this commit.
    """
    leaves = _leaves(commit, opening)
    _check_root(author, commit, opening.salt, leaves)
    return leaves


def _compared_votes(author: bytes, commit: Commit, opening: ComparedOpening) -> list[Leaf]:
    leaves = _leaves(commit, opening)
    if len(opening.results) != len(leaves):
        raise RemoteProtocolError("another number of results is shown than of votes")
    shown = [
        leaf._replace(inline=True, size=len(data), data=data) if leaf.status is Status.OK else leaf
        for leaf, data in zip(leaves, opening.results, strict=True)
    ]
    _check_root(author, commit, opening.salt, shown)
    return shown


def _leaves(commit: Commit, opening: CommitOpening | ComparedOpening | Reveal) -> list[Leaf]:
    chunks = chunks_of(commit.shard, commit.runs)
    if len(chunks) != len(opening.votes):
        raise RemoteProtocolError("another number of votes is shown than the commit names chunks")
    return [
        Leaf(chunk, Status(status), inline=False, size=0, data=digest)
        for chunk, (status, digest) in zip(chunks, opening.votes, strict=True)
    ]


def _check_root(author: bytes, commit: Commit, salt: bytes, leaves: list[Leaf]) -> None:
    if root_of(commit.task, author, salt, leaves) != commit.root:
        raise RemoteProtocolError("the votes shown are not those that the commit's author signed")


def opened_chunks(opened: bytes) -> list[int]:
    """The chunks that an assignment asked for, as its creator says.

    Raises:
        RemoteProtocolError: This shows no chunks of a shard.
    """
    opening = decode(opened, AssignOpening)
    return chunks_of(opening.shard, opening.runs)


def write_shown(shown: Iterable[Shown]) -> Iterator[bytes]:
    """A file of shown records, in pieces."""
    yield MAGIC
    for entry in shown:
        data = encode(entry)
        yield len(data).to_bytes(_LENGTH_BYTES) + data


def read_shown(data: Bytes) -> Iterator[Shown]:
    """The entries of such a file, one at a time.

    Raises:
        RemoteProtocolError: It is no such file, or damaged.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise RemoteProtocolError("this is no file of a task's records")
    position = len(MAGIC)
    while position < len(data):
        begin = position + _LENGTH_BYTES
        position = begin + int.from_bytes(data[begin - _LENGTH_BYTES : begin])
        if position > len(data):
            raise RemoteProtocolError("the file of records ends in the middle of one")
        yield decode(data[begin:position], Shown)


def _open(signer: Signer, ledger: Ledger, signed: Signed, *, compared: bool) -> bytes:
    """What a record seals, encoded; nothing where nothing is sealed, or where it does not open."""
    if signed.kind not in ("commit", "assign"):
        return b""
    record = parse(signed)
    try:
        match record:
            case Assign(worker=worker) if worker in ledger.joins:
                chunks = open_assignment(signer, ledger.joins[worker].seal_key, record).chunks
                return encode(AssignOpening(shard_of(chunks[0]), runs_of(chunks)))
            case Commit() if signed.author == signer.public_key or signed.author in ledger.joins:
                own = signed.author == signer.public_key
                seal_key = signer.seal_key if own else ledger.joins[signed.author].seal_key
                salt, leaves = open_batch(signer, seal_key, signed.author, record)
                votes = tuple((int(leaf.status), leaf.digest) for leaf in leaves)
                if not compared:
                    return encode(CommitOpening(salt, votes))
                check_inline(leaves)
                results = tuple(leaf.data if leaf.status is Status.OK else b"" for leaf in leaves)
                return encode(ComparedOpening(salt, votes, results))
            case _:
                return b""
    except RemoteProtocolError:
        return b""
