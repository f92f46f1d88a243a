"""What a creator shows of a closed task, so that anybody can count its votes again (spec/verification.md, "Evidence").

Votes travel sealed between worker and creator. Their Merkle root is public and signed by the worker: whoever is shown
the salt and the hashes of a batch can recompute it, and so knows what the worker voted, without seeing any result.
What the creator asked of whom is shown as well, and is the creator's word: no root binds it.

Where results are compared as numbers (gpu/compare.py), hashes do not say which votes agree. There the results are
shown, too, each large one once, and beside the manifest the package that says how they are compared.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Protocol

from msgspec import Meta

from .assigning import open_assignment
from .batch import Leaf, open_batch, root_of
from .codec import U32, Body, Bytes32, decode, encode
from .errors import RemoteProtocolError
from .events import Status
from .gpu import CLASS_BYTES, COMPARED_BYTES_MAX
from .records import COMMIT_CHUNKS_MAX, Assign, Commit, Reveal, Run, Signed, chunks_of, parse, runs_of, shard_of
from .tally import NO_RESULT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .gpu import Comparison
    from .identity import Signer
    from .ledger import Ledger

MAGIC = b"CCRECS1\n"
"""The first bytes of a file of shown records. What follows is entries, each behind its length as a u32, big-endian."""

_LENGTH_BYTES = 4

INLINE_BYTES_MAX = 4_096
"""Where results are compared as numbers, those up to this size are inside of their votes: nobody can withhold them."""


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
    """The same, where results are compared as numbers, with the results themselves.

    Nothing stands for what is no result, for a large one that was shown before, and for one that nobody delivered.
    """

    salt: Annotated[bytes, Meta(min_length=16, max_length=16)]
    votes: Annotated[
        tuple[tuple[Annotated[int, Meta(ge=0, le=2)], Bytes32], ...], Meta(min_length=1, max_length=COMMIT_CHUNKS_MAX)
    ]
    results: Annotated[tuple[bytes, ...], Meta(min_length=1, max_length=COMMIT_CHUNKS_MAX)]


class AssignOpening(Body, frozen=True):
    """The chunks that were asked for."""

    shard: U32
    runs: Annotated[tuple[Run, ...], Meta(min_length=1, max_length=COMMIT_CHUNKS_MAX)]


def is_named(leaf: Leaf) -> bool:
    """Whether a vote names a result that has to be here before the vote can be compared."""
    return leaf.status is Status.OK and not leaf.inline


def counted_value(leaf: Leaf, comparison: Comparison | None, data: bytes | None) -> bytes:
    """A leaf's value as it counts: where results are compared as numbers, what holds none is no result.

    `data` is the result; None is one that nobody delivered, which is none either.
    """
    if comparison is not None and leaf.status is Status.OK and (data is None or not comparison.is_result(data)):
        return NO_RESULT
    return leaf.value


def check_compared(leaves: Sequence[Leaf]) -> None:
    """What every commit of a task obeys whose results are compared as numbers.

    Raises:
        RemoteProtocolError: A result is larger than any of the task, or could be inside of its leaf and is not. No
            honest worker signs that: convict it as malformed.
    """
    for leaf in leaves:
        if is_named(leaf) and not INLINE_BYTES_MAX < leaf.size <= COMPARED_BYTES_MAX + CLASS_BYTES:
            raise RemoteProtocolError("a leaf names a result that should be inside of it, or is too large")


def shown_records(
    signer: Signer, ledger: Ledger, package: bytes = b"", read: Callable[[Leaf], bytes | None] = lambda leaf: leaf.data
) -> Iterator[Shown]:
    """The creator's records of a task up to its certificate, in the order they came, without what is but a hint.

    `package` is the task's code, where that says that results are compared as numbers, and `read` has the result of
    a vote, if it is here.
    """
    show = _Showing(read).result if package else None
    for signed in ledger.records():
        if signed.kind in ("lease", "savepoint"):
            continue
        yield Shown(signed, package if signed.kind == "manifest" else _open(signer, ledger, signed, show))
        if signed.kind == "certificate":
            return


class _Showing:
    """Which result stands beside each vote: a large one once, at the first of the votes for it."""

    def __init__(self, read: Callable[[Leaf], bytes | None]) -> None:
        self._read = read
        self._shown: set[bytes] = set()

    def result(self, leaf: Leaf) -> bytes:
        if leaf.status is not Status.OK or leaf.digest in self._shown:
            return b""
        if not leaf.inline:
            self._shown.add(leaf.digest)
        return self._read(leaf) or b""


def opened_votes(author: bytes, commit: Commit, opened: bytes, results: dict[bytes, bytes] | None = None) -> list[Leaf]:
    """The votes that a commit's author signed. Their leaves name results by hash.

    Args:
        results: Where results are compared as numbers, those that were shown before, by their SHA-256; what is shown
            with this commit is added. A vote whose result is not among them then has none: nobody delivered it.

    Raises:
        RemoteProtocolError: The opening is not that of this commit.
    """
    if results is None:
        return shown_votes(author, commit, decode(opened, CommitOpening))
    opening = decode(opened, ComparedOpening)
    leaves = _leaves(commit, opening)
    if len(opening.results) != len(leaves):
        raise RemoteProtocolError("another number of results is shown than of votes")
    _check_root(author, commit, opening.salt, leaves)
    for leaf, data in zip(leaves, opening.results, strict=True):
        if not data:
            continue
        if leaf.status is not Status.OK or sha256(data).digest() != leaf.data:
            raise RemoteProtocolError("a result is shown that is not the one voted for")
        results[leaf.data] = data
    return leaves


def shown_votes(author: bytes, commit: Commit, opening: CommitOpening | Reveal) -> list[Leaf]:
    """As `opened_votes`, of what was decoded: by the creator when the task is closed, by the author before.

    Raises:
        RemoteProtocolError: The opening is not that of this commit.
    """
    leaves = _leaves(commit, opening)
    _check_root(author, commit, opening.salt, leaves)
    return leaves


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


def _open(signer: Signer, ledger: Ledger, signed: Signed, show: Callable[[Leaf], bytes] | None) -> bytes:
    """What a record seals, encoded; nothing where nothing is sealed, or where it does not open.

    `show` has what stands beside a vote where results are compared as numbers.
    """
    if signed.kind not in ("commit", "resumed", "assign"):
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
                if show is None:
                    return encode(CommitOpening(salt, votes))
                check_compared(leaves)
                return encode(ComparedOpening(salt, votes, tuple(map(show, leaves))))
            case _:
                return b""
    except RemoteProtocolError:
        return b""
