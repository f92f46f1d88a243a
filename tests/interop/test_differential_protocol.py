"""Two implementations of one protocol, asked the same questions: Python against TypeScript on Node.

Records are random; compared are bytes, and what a set of records says. What one side refuses the other must refuse too,
in the same words where they are the protocol's own.
"""

from __future__ import annotations

import math
import random
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any

import msgpack  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec import Meta
from tests.interop.typescript import Typescript, compiled
from tests.protocol.test_provisional import random_set, shuffled
from tests.protocol.test_provisional import said as provisionally_said

from crowdcompute.protocol import merkle, policy, records
from crowdcompute.protocol.batch import CUSTODIANS_MAX, Leaf, custodians_of, open_commit, seal_commit
from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.codec import U32, U53, Body, Bytes32, decode, encode
from crowdcompute.protocol.credit import fields_of
from crowdcompute.protocol.errors import ProtocolError, RemoteProtocolError
from crowdcompute.protocol.events import Status
from crowdcompute.protocol.identity import Identity, content_id, peer_id_of, public_key_of, verify
from crowdcompute.protocol.ledger import Ledger
from crowdcompute.protocol.manifest import (
    BlobRef,
    Blocks,
    Calls,
    Epochs,
    Grid,
    Handed,
    Items,
    Limits,
    Lines,
    Manifest,
    Policy,
    Range,
    Split,
    open_manifest,
)
from crowdcompute.protocol.onward import ResultRef, refs_item
from crowdcompute.protocol.provisional import provisional_tally
from crowdcompute.protocol.records import (
    EVERYTHING,
    SHARD_CHUNKS,
    Admit,
    Assign,
    Beacon,
    CertificateBody,
    Checkpoint,
    Commit,
    Delegate,
    Join,
    Lease,
    Reveal,
    Revoke,
    Run,
    Signed,
    Verdict,
)
from crowdcompute.protocol.split import ChunkReader, check_inputs, pack_items, seed
from crowdcompute.protocol.tally import Ballot, ChunkState, Tally, tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


MANY = settings(max_examples=300, phases=(Phase.explicit, Phase.reuse, Phase.generate))
"""Random record sets of each kind. A difference is found in seconds; making it small took longer than the timeout."""


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Typescript]:
    other = Typescript(compiled("protocol", tmp_path_factory.mktemp("differential")))
    yield other
    other.close()


def outcome(act: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"value": act()}
    except ProtocolError as error:
        return {"kind": type(error).__name__, "refused": str(error)}


def same_outcome(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Equal, but for the words in which a library refuses a message it cannot read."""
    if "refused" in ours and ours["refused"].startswith("not a valid"):
        return str(theirs.get("refused", "")).startswith("not a valid")
    return ours == theirs


# ---- random values

digests = st.binary(min_size=32, max_size=32)
u32s = st.integers(0, 2**32 - 1) | st.sampled_from([0, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1])
u53s = u32s | st.integers(0, 2**53 - 1)
floats = st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0, 1e-4, math.inf])
runs = st.lists(st.tuples(u32s, u32s), max_size=5).map(tuple)


class Sample(Body, frozen=True):
    """One field of every sort that records are made of; web_peer/test/sample.ts defines the same."""

    digest: Bytes32
    count: U32
    size: U53
    share: float
    text: Annotated[str, Meta(max_length=20)]
    maybe: bytes | None
    runs: tuple[tuple[U32, U32], ...]


results = st.builds(
    ResultRef, sha256=digests, size=st.integers(0, 1 << 24), makers=st.lists(digests, max_size=4).map(tuple)
)
splits = st.one_of(
    st.builds(Range, start=st.integers(-(2**63), 2**63 - 1), stop=st.integers(-50, 50), step=st.integers(1, 2**63 - 1)),
    st.builds(Range, start=st.integers(-50, 50), stop=st.integers(-50, 100), step=st.integers(1, 40)),
    st.builds(
        Grid,
        width=st.integers(1, 30),
        height=st.integers(1, 30),
        tile_width=st.integers(1, 2**31 - 1) | st.integers(1, 20),
        tile_height=st.integers(1, 20),
    ),
    st.builds(Items),
    st.builds(Calls, inputs=st.lists(st.binary(max_size=9), min_size=1, max_size=5).map(tuple)),
    st.builds(Lines, per_chunk=st.integers(1, 5)),
    st.builds(Blocks, size=st.integers(1, 50)),
    st.builds(Handed, of=st.lists(digests, min_size=1, max_size=8).map(tuple)),
)
blob_refs = st.builds(BlobRef, sha256=digests, size=st.integers(0, 200) | u53s, root=digests)
manifests = st.builds(
    Manifest,
    schema=st.just(1),
    name=st.text(min_size=1, max_size=10),
    description=st.text(max_size=10),
    link=st.sampled_from(["", "https://example.org", "http://", "ftp://example.org", "https://e x", "https://\u2028"]),
    creator=digests,
    seal_key=digests,
    runtime=st.sampled_from(["wasm", "js"]),
    code=blob_refs,
    split=splits,
    chunks=st.integers(1, 10) | st.integers(1, 2**31 - 1),
    inputs=st.none() | blob_refs,
    limits=st.builds(
        Limits,
        memory_bytes=st.integers(65_536, 1 << 28),
        output_bytes=st.integers(1, 1 << 24),
        seconds=st.floats(0.1, 3_600),
    ),
    policy=st.builds(
        Policy,
        replication=st.integers(1, 3),
        eps=st.floats(1e-9, 0.9),
        liars=st.floats(0, 0.5),
        pow_bits=st.integers(0, 32),
    ),
    reward=u32s,
    epochs=st.none() | st.builds(Epochs, seconds=st.integers(1, 86_400), anchor=digests),
    onward=st.booleans(),
    permissions=st.just(()),
    vouches=st.just(()),
    created_s=u53s,
    expires_s=u53s,
)
bodies: dict[type[msgspec.Struct], st.SearchStrategy[Any]] = {
    Sample: st.builds(
        Sample,
        digest=digests,
        count=u32s,
        size=u53s,
        share=floats,
        text=st.text(max_size=20),
        maybe=st.none() | st.binary(max_size=300),
        runs=runs,
    ),
    Manifest: manifests,
    Join: st.builds(Join, task=digests, seal_key=digests, anchor=digests, epoch=u32s, beacon=digests, work=u53s),
    Delegate: st.builds(
        Delegate,
        task=digests,
        steward=digests,
        until_s=u53s,
        trusted=st.booleans(),
        sealed=st.binary(min_size=60, max_size=60),
    ),
    Revoke: st.builds(Revoke, task=digests, steward=digests),
    Beacon: st.builds(Beacon, task=digests, epoch=u32s, since=u32s, value=digests, workers=u32s),
    Reveal: st.builds(
        Reveal,
        task=digests,
        shard=u32s,
        commit=digests,
        salt=st.binary(min_size=16, max_size=16),
        votes=st.lists(st.tuples(st.integers(0, 2), digests), min_size=1, max_size=4).map(tuple),
        seen=st.lists(st.binary(min_size=16, max_size=16), max_size=4).map(tuple),
    ),
    Admit: st.builds(Admit, task=digests, worker=digests, anchor=digests, nonce=st.binary(min_size=16, max_size=16)),
    Lease: st.builds(Lease, task=digests, shard=u32s, home=u32s, seq=u53s, ttl_s=st.integers(1, 3_600), runs=runs),
    Commit: st.builds(
        Commit,
        task=digests,
        shard=u32s,
        seq=u53s,
        epoch=u32s,
        link=st.just(b"") | digests,
        runs=runs,
        root=digests,
        sealed=st.binary(max_size=300),
    ),
    Assign: st.builds(Assign, task=digests, shard=u32s, seq=u53s, worker=digests, sealed=st.binary(max_size=70)),
    Verdict: st.builds(
        Verdict,
        task=digests,
        worker=digests,
        reason=st.sampled_from(["wrong", "malformed", "equivocated"]),
        chunk=u32s,
        commit=digests,
        void_to=u53s,
    ),
    Checkpoint: st.builds(
        Checkpoint,
        credits_root=digests,
        credits_size=u32s,
        credits=st.binary(max_size=100),
        task=digests,
        shard=u32s,
        seq=u32s,
        begun=u32s,
        accepted=st.binary(max_size=512),
        failed=st.binary(max_size=512),
        root=digests,
    ),
    CertificateBody: st.builds(
        CertificateBody,
        task=digests,
        chunks=u32s,
        accepted=u32s,
        failed=u32s,
        root=digests,
        executions=u53s,
        worker_audits=u32s,
        creator_audits=u32s,
        mismatches=u32s,
        convicted=u32s,
        eps=floats,
        bound=floats,
        confidence=floats,
    ),
}
signed_records = st.builds(
    Signed,
    kind=st.sampled_from(["manifest", "join", "admit", "lease", "commit", "assign", "verdict", "checkpoint"]),
    author=digests,
    body=st.binary(max_size=100),
    signature=st.binary(min_size=64, max_size=64),
)
typed = st.one_of(*bodies.values(), signed_records)
KINDS: dict[str, type[msgspec.Struct]] = {**{kind.__name__: kind for kind in bodies}, "Signed": Signed}

TELLING_BYTES = bytes(range(256)) + 8 * bytes.fromhex("7f8090a0bfc0c1c2c3c4c6c7cacbcccfd0d3d9dcdddf")
"""What begins another type or another length is tried more often."""
junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | floats
    | st.text(max_size=5)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=6,
)


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, bytes]:
    """A value's bytes; some of them changed, put in, taken out or cut off; or an element of it replaced by junk."""
    value = draw(typed)
    data = bytearray(encode(value))
    if draw(st.booleans()):
        parts = msgpack.unpackb(data, strict_map_key=False)
        keys = list(parts) if isinstance(parts, dict) else range(len(parts))
        parts[draw(st.sampled_from(keys))] = draw(junk)
        data = bytearray(msgpack.packb(parts))
    # Where and how is drawn outside of hypothesis: that much faster, and a failing message is short anyway.
    chance = random.Random(draw(st.integers(0, 2**32 - 1)))
    for _ in range(chance.choice((0, 0, 1, 1, 2, 3))):
        position = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0 | 1 | 2:
                data[position : position + 1] = bytes((chance.choice(TELLING_BYTES),))
            case 3:
                data[position:position] = chance.randbytes(chance.randint(1, 9))
            case 4:
                del data[position : position + chance.randint(1, 9)]
            case _:
                del data[position:]
    return type(value).__name__, bytes(data)


@given(st.lists(messages(), min_size=1, max_size=4), st.sampled_from(list(KINDS)), st.binary(max_size=60))
@MANY
def test_both_read_and_write_the_same_bytes_and_refuse_the_same(
    typescript: Typescript, items: list[tuple[str, bytes]], kind: str, noise: bytes
) -> None:
    items.append((kind, noise))
    theirs = typescript("decodes", items=[(name, data.hex()) for name, data in items])
    for (name, data), said in zip(items, theirs, strict=True):
        try:
            value = decode(data, KINDS[name])
        except RemoteProtocolError:
            assert said is None, (name, data.hex())
            continue
        assert said is not None, (name, data.hex())
        if not holds_nan(value):
            assert said == encode(value).hex(), (name, data.hex())


def holds_nan(value: msgspec.Struct) -> bool:
    """There are many NaN, and languages do not promise which one they hand on."""
    fields = [getattr(value, name) for name in value.__struct_fields__]
    return any(isinstance(field, float) and math.isnan(field) for field in fields)


# ---- names


@given(st.lists(signed_records, max_size=20), st.text(max_size=12), st.binary(max_size=40))
@settings(max_examples=50)
def test_both_name_records_alike(typescript: Typescript, signed: list[Signed], domain: str, body: bytes) -> None:
    assert typescript("ids", items=[encode(each).hex() for each in signed]) == [each.record_id.hex() for each in signed]
    assert typescript("contentId", domain=domain, body=body.hex()) == content_id(domain, body).hex()


@given(st.lists(st.tuples(digests, u32s), max_size=20).map(tuple))
@settings(max_examples=50)
def test_both_draw_the_same_seeds(typescript: Typescript, items: tuple[tuple[bytes, int], ...]) -> None:
    assert typescript("seeds", items=encode(items).hex()) == [str(seed(task, chunk)) for task, chunk in items]


@given(digests, st.binary(max_size=40), st.data())
@settings(max_examples=15)
def test_both_have_the_same_keys_and_believe_the_same_signatures(
    typescript: Typescript, secret: bytes, body: bytes, data: st.DataObject
) -> None:
    peer = Identity(secret)
    signature = peer.sign("cc/join/1", peer.public_key)
    assert typescript("peer", seed=secret.hex()) == [
        peer.public_key.hex(),
        peer.seal_key.hex(),
        peer.peer_id,
        signature.hex(),
    ]
    key, altered = bytearray(peer.public_key), bytearray(peer.sign("cc/join/1", body))
    for target in (key, altered):
        if data.draw(st.booleans()):
            target[data.draw(st.integers(0, len(target) - 1))] = data.draw(st.integers(0, 255))
    for tried in (signature, bytes(altered), data.draw(st.binary(max_size=70))):
        believed = verify(bytes(key), "cc/join/1", body, tried)
        assert typescript("verify", key=key.hex(), body=body.hex(), signature=tried.hex()) == believed


@given(st.lists(digests, max_size=10), st.lists(st.text(max_size=70), max_size=5))
@settings(max_examples=50)
def test_both_name_peers_alike(typescript: Typescript, keys: list[bytes], texts: list[str]) -> None:
    assert typescript("peerIds", items=[key.hex() for key in keys]) == [peer_id_of(key) for key in keys]
    texts += [peer_id_of(key) for key in keys] + [peer_id_of(key)[:-1] for key in keys]
    theirs = typescript("publicKeys", items=texts)
    for text, said in zip(texts, theirs, strict=True):
        ours = outcome(lambda text=text: public_key_of(text).hex())  # type: ignore[misc]  # mypy: a lambda's default
        # How a text is quoted in a sentence is the language's own.
        assert said.get("value") == ours.get("value"), text


# ---- runs, trees, splits


small = st.integers(0, 60)


@given(
    st.lists(small | st.integers(0, 3 * SHARD_CHUNKS), max_size=40),
    st.integers(0, 2),
    st.lists(st.tuples(small | st.integers(0, 2 * SHARD_CHUNKS), st.integers(0, 1_100)), max_size=4),
    st.booleans(),
)
@settings(max_examples=200)
def test_both_cut_chunks_into_the_same_runs(
    typescript: Typescript, chunks: list[int], shard: int, some: list[tuple[int, int]], allow_none: bool
) -> None:
    assert typescript("runs", chunks=chunks) == [list(run) for run in records.runs_of(chunks)]
    theirs = typescript("chunks", shard=shard, runs=some, allowNone=allow_none)
    assert theirs == outcome(lambda: records.chunks_of(shard, some, allow_none=allow_none))


@given(st.lists(st.binary(max_size=8), max_size=20), digests)
@settings(max_examples=60)
def test_both_grow_the_same_trees(typescript: Typescript, leaves: list[bytes], other: bytes) -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    root = merkle.root(hashes)
    proofs = [merkle.proof(hashes, index) for index in range(len(hashes))]
    count = len(hashes)
    assert typescript("tree", leaves=[leaf.hex() for leaf in leaves], other=other.hex()) == {
        "root": root.hex(),
        "proofs": [[step.hex() for step in proof] for proof in proofs],
        "holds": [
            [
                merkle.verifies(leaf, index, count, proof, root),
                merkle.verifies(leaf, index + 1, count, proof, root),
                merkle.verifies(leaf, index, count + 1, proof, root),
                merkle.verifies(leaf, index, count, (*proof, other), root),
                merkle.verifies(leaf, index, count, proof[1:], root),
            ]
            for index, (leaf, proof) in enumerate(zip(hashes, proofs, strict=True))
        ],
    }
    data = b"".join(leaves) * 3_000
    ref = describe(data)
    assert typescript("describe", data=data.hex()) == [ref.sha256.hex(), ref.size, ref.root.hex()]
    assert typescript("packItems", items=[leaf.hex() for leaf in leaves]) == pack_items(leaves).hex()


@st.composite
def split_tasks(draw: st.DrawFn) -> tuple[Manifest, bytes | None]:
    """A task and its inputs, which now and then are not what the manifest says."""
    split: Split = draw(splits)
    data: bytes | None = None
    if not isinstance(split, Range | Grid | Calls):
        lines = draw(st.lists(st.sampled_from([b"", b"a", b"bc\n", b"\n", b"\n\n"]), max_size=20))
        if isinstance(split, Handed):
            items = draw(st.lists(st.lists(results, min_size=1, max_size=3).map(refs_item), max_size=5))
            data = pack_items(items)
        else:
            data = pack_items(lines) if isinstance(split, Items) else b"".join(lines)
        if draw(st.integers(0, 4)) == 0 and data:
            damaged = bytearray(data)
            damaged[draw(st.integers(0, len(damaged) - 1))] = draw(st.integers(0, 255))
            data = bytes(damaged)
    stated = (
        None
        if data is None
        else msgspec.structs.replace(describe(data), size=len(data) + draw(st.integers(-1, 1)) * draw(st.booleans()))
    )
    if stated is not None and stated.size < 0:
        stated = msgspec.structs.replace(stated, size=0)
    manifest = draw(manifests)
    return msgspec.structs.replace(manifest, split=split, inputs=stated, chunks=draw(st.integers(1, 12))), data


@given(split_tasks())
@settings(max_examples=200)
def test_both_cut_a_task_into_the_same_inputs(typescript: Typescript, task: tuple[Manifest, bytes | None]) -> None:
    manifest, data = task
    reader = ChunkReader(manifest, data, encode)
    theirs = typescript("split", manifest=encode(manifest).hex(), data=None if data is None else data.hex())
    assert theirs["checked"] == outcome(lambda: check_inputs(manifest, data))
    in_range = (
        not isinstance(manifest.split, Range) or manifest.split.start + manifest.chunks * manifest.split.step < 2**63
    )
    for index, said in enumerate(theirs["inputs"]):
        if in_range:
            assert said == outcome(lambda index=index: reader.read(index).hex())  # type: ignore[misc]  # a lambda's default


@given(manifests, st.binary(max_size=1))
@settings(max_examples=60)
def test_both_open_the_same_manifests(typescript: Typescript, manifest: Manifest, rest: bytes) -> None:
    creator = Identity(b"\7" * 32)
    body = encode(msgspec.structs.replace(manifest, creator=creator.public_key, seal_key=creator.seal_key)) + rest
    signed = Signed("manifest", creator.public_key, body, creator.sign("cc/manifest/1", body))
    ours = outcome(lambda: encode(open_manifest(signed, verify)).hex())
    assert same_outcome(ours, typescript("opens", record=encode(signed).hex()))


# ---- ledgers

CREATOR, *WORKERS = (bytes([number]) * 32 for number in range(1, 6))
TASK_CHUNKS = SHARD_CHUNKS + 20


def signed_task(pow_bits: int) -> tuple[Signed, Manifest]:
    manifest = Manifest(
        schema=1,
        name="a task",
        description="",
        link="",
        creator=CREATOR,
        seal_key=bytes(32),
        runtime="wasm",
        code=BlobRef(sha256=bytes(32), size=1, root=bytes(32)),
        split=Range(start=0, stop=TASK_CHUNKS, step=1),
        chunks=TASK_CHUNKS,
        inputs=None,
        limits=Limits(memory_bytes=65_536, output_bytes=1, seconds=1.0),
        policy=Policy(replication=2, eps=0.1, liars=0.1, pow_bits=pow_bits),
        reward=0,
        epochs=None,
        onward=False,
        permissions=(),
        vouches=(),
        created_s=0,
        expires_s=1,
    )
    return Signed("manifest", CREATOR, encode(manifest), bytes(64)), manifest


TASKS = [signed_task(0), signed_task(2)]


def ledger_steps(task: bytes, chance: random.Random) -> list[tuple[Any, ...]]:
    """Records as hostile and honest peers would send them, and time passing in between.

    Drawn outside of hypothesis, which would take ten times as long to choose so many small things.
    """

    def bitmap(size: int) -> bytes:
        ones = {chance.randrange(min(size, 14) + chance.randrange(2)) for _ in range(chance.randrange(7))}
        return (sum(1 << index for index in ones) & ((1 << 8 * ((size + 7) // 8)) - 1)).to_bytes(
            (size + 7) // 8, "little"
        )

    def chunk_runs(shard: int) -> tuple[Run, ...]:
        first = shard * SHARD_CHUNKS
        among = chance.choice((range(first, first + 13), range(first + 10, first + 24), range(first - 2, first + 2)))
        chunks = [chance.choice(among) for _ in range(chance.randrange(7))]
        return records.runs_of(max(0, chunk) for chunk in chunks)

    def body(kind: str) -> Any:
        of = task if chance.randrange(20) else bytes(32)
        worker = chance.choice(WORKERS)
        shard = chance.choice((0, 0, 0, 1, 1, 2))
        seq = chance.randrange(5)
        root = chance.choice((bytes(32), b"\1" * 32))
        match kind:
            case "join":
                return Join(of, bytes(32), bytes(32), 0, bytes(32), chance.randrange(20))
            case "admit":
                return Admit(of, worker, bytes(32), bytes(16))
            case "lease":
                return Lease(of, shard, chance.randrange(3), seq, chance.randint(1, 5), chunk_runs(shard))
            case "commit":
                return Commit(of, shard, seq, 0, b"", chunk_runs(shard), root, b"")
            case "assign":
                return Assign(of, shard, seq, worker, b"")
            case "verdict":
                reason: Any = chance.choice(("wrong", "wrong", "malformed"))
                return Verdict(of, worker, reason, 0, bytes(32), chance.choice((1, 3, EVERYTHING)))
            case "checkpoint":
                size = (SHARD_CHUNKS, 20, 20)[shard]
                begun = chance.randrange(30)
                return Checkpoint(of, shard, seq, begun, bitmap(size), bitmap(size), root, *credits(chance))
            case _:
                return CertificateBody(of, 1, 1, 0, bytes(32), 1, 0, 0, 0, 0, 0.1, 0.1, 0.95)

    steps: list[tuple[Any, ...]] = []
    now = 0.0
    often = ["join", "admit", "lease", "lease", "lease", "commit", "commit", "commit", "assign", "checkpoint"]
    for _ in range(chance.randrange(50)):
        now += chance.choice((0.0, 0.0, 1.0)) if chance.randrange(20) else 70.0
        what = chance.choice([*often, *often, "verdict", "certificate", "expire", "release", "again"])
        if what == "expire":
            steps.append(("expire", now))
        elif what == "release":
            steps.append(("release", chance.choice(WORKERS).hex()))
        elif what == "again":
            steps += [("add", step[1], now) for step in chance.sample(steps, min(1, len(steps))) if step[0] == "add"]
        else:
            by_creator = what in {"admit", "assign", "verdict", "checkpoint", "certificate"}
            author = CREATOR if by_creator and chance.randrange(15) else chance.choice(WORKERS)
            signed = Signed(what, author, encode(body(what)), bytes(64))  # type: ignore[arg-type]
            steps.append(("add", encode(signed).hex(), now))
    return steps


def credits(chance: random.Random) -> tuple[bytes, int, bytes]:
    """Mostly a table that fits, of one to three workers."""
    keys = sorted(bytes([chance.randrange(4)]) * 32 for _ in range(chance.randrange(4)))
    said = fields_of(b"".join(key + chance.randrange(9).to_bytes(8) for key in keys))
    return said if chance.randrange(5) else (said[0], said[1] + chance.choice((1, 40)), said[2])


def hexed(keys: Any) -> list[str]:
    return [key.hex() for key in keys]


def ledger_says(signed: Signed, manifest: Manifest, steps: list[tuple[Any, ...]], now: float, *, keep: bool) -> Any:
    ledger = Ledger(signed, manifest, keep_commits=keep)

    def added(data: str, at: float) -> bool:
        record = decode(bytes.fromhex(data), Signed)
        parsed = records.parse(record)
        ledger.check(record, parsed)
        return ledger.add(record, parsed, at)

    went: list[Any] = []
    for step in steps:
        if step[0] == "expire":
            ledger.expire(step[1])
            went.append(None)
        elif step[0] == "release":
            went.append(ledger.leases.release(bytes.fromhex(step[1])))
        else:
            went.append(outcome(lambda step=step: added(step[1], step[2])))  # type: ignore[misc]  # a lambda's default
    shards = range(ledger.shards)
    topics = [ledger.task, *(ledger.shard_topic(shard) for shard in shards)]
    voted = sorted({c for _, commit in ledger.commits.values() for c in records.chunks_of(commit.shard, commit.runs)})
    return {
        "went": went,
        "joins": hexed(ledger.joins),
        "admits": hexed(ledger.admits),
        "verdicts": [[worker.hex(), verdict.reason, verdict.void_to] for worker, verdict in ledger.verdicts.items()],
        "equivocators": sorted(hexed(ledger.equivocators)),
        "creatorEquivocated": ledger.creator_equivocated,
        "certified": ledger.certificate is not None,
        "checkpoints": [[shard, state.seq, state.root.hex()] for shard, state in ledger.checkpoints.items()],
        "commits": [[name.hex(), author.hex()] for name, (author, _) in ledger.commits.items()],
        "held": [hexed(ledger.record_ids(topic)) for topic in topics],
        "records": [record.record_id.hex() for record in ledger.records()],
        "open": [ledger.open_count(shard) for shard in shards],
        "unbegun": [ledger.unbegun_count(shard) for shard in shards],
        "leased": [sorted(ledger.leases.chunks(shard, now)) for shard in shards],
        "atHome": [ledger.leases.workers_at_home(shard) for shard in shards],
        "leases": sorted(
            [
                [
                    worker.hex(),
                    shard,
                    lease.home,
                    lease.seq,
                    lease.record_id.hex(),
                    lease.expires_at,
                    [list(at) for at in lease.since.items()],
                ]
                for (worker, shard), lease in ledger.leases.live.items()
            ]
        ),
        "votes": [
            [
                chunk,
                hexed(ledger.voters(chunk)),
                ledger.is_closed(chunk),
                ledger.is_accepted(chunk),
                len(ledger.leases.on(chunk, now)),
            ]
            for chunk in voted
        ],
    }


@given(st.sampled_from(TASKS), st.integers(0, 2**32 - 1), st.booleans())
@MANY
def test_both_ledgers_take_the_same_records_and_say_the_same(
    typescript: Typescript, task: tuple[Signed, Manifest], seed: int, keep: bool
) -> None:
    signed, manifest = task
    steps = ledger_steps(signed.record_id, random.Random(seed))
    now = steps[-1][2] if steps and steps[-1][0] == "add" else 0.0
    theirs = typescript("ledger", manifest=encode(signed).hex(), keep=keep, steps=steps, now=now)
    ours = ledger_says(signed, manifest, steps, now, keep=keep)
    # Both write a lease's times as JSON does; what is compared is their value.
    for said, expected in zip(theirs.pop("went"), ours.pop("went"), strict=True):
        assert said == expected or same_outcome(expected, said)
    assert theirs == ours


# ---- tallies

values = st.sampled_from([None, b"", b"\0" + b"a" * 32, b"\0" + b"b" * 32, b"\1" + b"a" * 32])
ballots = st.lists(
    st.builds(
        Ballot,
        worker=st.sampled_from([CREATOR, *WORKERS, *WORKERS]),
        seq=st.integers(0, 5),
        commit=st.sampled_from([bytes([n]) * 32 for n in range(6)]),
        values=st.dictionaries(st.integers(0, 6), values, max_size=5),
    ),
    max_size=14,
)


class StateRow(Body, frozen=True):
    """A chunk's state as bytes, so that two tallies can be compared by one hash."""

    chunk: int
    state: str
    value: bytes | None
    missing: int
    offenders: tuple[bytes, ...]
    extra: int


def said_by(counted: Tally) -> dict[str, Any]:
    """A tally as the other implementation answers it."""
    rows = tuple(
        StateRow(chunk, state.state.value, state.value, state.missing, state.offenders, state.extra)
        for chunk, state in counted.chunks.items()
    )
    agreed = [
        merkle.leaf_hash(chunk.to_bytes(4) + (state.value or b""))
        for chunk, state in counted.chunks.items()
        if state.state is ChunkState.AGREED
    ]
    return {
        "void": sorted([worker.hex(), void_to] for worker, void_to in counted.void.items()),
        "states": [[chunk, state.state.value] for chunk, state in counted.chunks.items()],
        "digest": sha256(encode(rows)).hexdigest(),
        "root": merkle.root(agreed).hex(),
    }


@given(
    cast=ballots,
    replication=st.integers(1, 3),
    admitted=st.sets(st.sampled_from(WORKERS)),
    convicted=st.dictionaries(st.sampled_from(WORKERS), st.sampled_from([1, 3, EVERYTHING]), max_size=2),
    assigned=st.sets(st.tuples(st.sampled_from(WORKERS), st.integers(0, 6)), max_size=12),
)
@MANY
def test_both_tally_the_same_votes_to_the_same_digest_and_root(
    typescript: Typescript,
    cast: list[Ballot],
    replication: int,
    admitted: set[bytes],
    convicted: dict[bytes, int],
    assigned: set[tuple[bytes, int]],
) -> None:
    counted = tally(
        cast, replication=replication, creator=CREATOR, admitted=admitted, convicted=convicted, assigned=assigned
    )
    theirs = typescript(
        "states",
        replication=replication,
        creator=CREATOR.hex(),
        admitted=hexed(admitted),
        convicted=[[worker.hex(), void_to] for worker, void_to in convicted.items()],
        assigned=[[worker.hex(), chunk] for worker, chunk in assigned],
        ballots=[
            {
                "worker": ballot.worker.hex(),
                "seq": ballot.seq,
                "commit": ballot.commit.hex(),
                "values": [[chunk, None if value is None else value.hex()] for chunk, value in ballot.values.items()],
            }
            for ballot in cast
        ],
    )
    assert theirs == said_by(counted)


# ---- while the creator is away

ABSENCES = 100


def test_equal_record_sets_give_equal_provisional_tallies_in_both_languages(typescript: Typescript) -> None:
    asked_of_them, ours = [], []
    for number in range(ABSENCES):
        chance = random.Random(number)
        task, epoch = random_set(chance)
        counted = provisional_tally(task.ledger, epoch)
        ours.append(provisionally_said(counted))
        data = [encode(record).hex() for record in shuffled(task, chance)]
        asked_of_them.append({"manifest": encode(task.signed).hex(), "records": data, "epoch": epoch})
    for number, (said, theirs) in enumerate(zip(ours, typescript("absences", items=asked_of_them), strict=True)):
        assert theirs == said, f"seed {number}"


# ---- record sets

ELECTIONS = 1_000


def record_set(task: bytes, chance: random.Random) -> tuple[list[Signed], dict[str, Any], dict[str, Any]]:
    """A set of valid records of one task, and what the creator finds in its sealed votes and assignments."""

    def signed(kind: str, author: bytes, body: Any) -> Signed:
        return Signed(kind, author, encode(body), bytes(64))  # type: ignore[arg-type]

    made = [signed("join", worker, Join(task, bytes(32), bytes(32), 0, bytes(32), 0)) for worker in WORKERS]
    admits = [Admit(task, worker, bytes(32), bytes(16)) for worker in WORKERS if chance.randrange(5)]
    made += [signed("admit", CREATOR, admit) for admit in admits]
    votes: dict[str, list[tuple[int, str | None]]] = {}
    asked: dict[str, list[int]] = {}
    for number in range(chance.randrange(4, 24)):
        chunks = chance.sample(range(7), chance.randint(1, 4))
        # Mostly the truth, or nothing would ever agree.
        said = [(chunk, chance.choice(["00aa", "00aa", "00aa", "00bb", "", None])) for chunk in sorted(chunks)]
        author = chance.choice([CREATOR, *WORKERS, *WORKERS])
        seq = number if chance.randrange(10) else 0
        commit = Commit(task, 0, seq, 0, b"", records.runs_of(chunks), chance.choice((bytes(32), b"\1" * 32)), b"")
        made.append(signed("commit", author, commit))
        votes.setdefault(made[-1].record_id.hex(), said)
    for number in range(chance.randrange(12)):
        made.append(signed("assign", CREATOR, Assign(task, 0, number, chance.choice(WORKERS), b"")))
        asked[made[-1].record_id.hex()] = chance.sample(range(7), chance.randint(1, 4))
    if not chance.randrange(3):
        void_to = chance.choice((3, 9, EVERYTHING))
        made.append(signed("verdict", CREATOR, Verdict(task, chance.choice(WORKERS), "wrong", 0, bytes(32), void_to)))
    return made, votes, asked


def election(signed: Signed, manifest: Manifest, came: list[Signed], votes: Any, asked: Any) -> dict[str, Any]:
    """Take up a set of records as they come, then tally what the ledger holds."""
    ledger = Ledger(signed, manifest, keep_commits=True)
    for record in came:
        parsed = records.parse(record)
        ledger.check(record, parsed)
        ledger.add(record, parsed, 0.0)
    bodies_held = [(record, records.parse(record)) for record in ledger.records() if record.kind == "assign"]
    counted = tally(
        [
            Ballot(
                author,
                commit.seq,
                record_id,
                {c: None if v is None else bytes.fromhex(v) for c, v in votes[record_id.hex()]},
            )
            for record_id, (author, commit) in ledger.commits.items()
        ],
        replication=manifest.policy.replication,
        creator=manifest.creator,
        admitted=ledger.admits.keys(),
        convicted={worker: verdict.void_to for worker, verdict in ledger.verdicts.items()},
        assigned={
            (body.worker, chunk)
            for record, body in bodies_held
            if isinstance(body, Assign)
            for chunk in asked[record.record_id.hex()]
        },
    )
    return said_by(counted)


def test_equal_record_sets_give_equal_tallies_in_both_languages_whatever_order_they_come_in(
    typescript: Typescript,
) -> None:
    signed, manifest = TASKS[0]
    asked_of_them, ours = [], []
    for number in range(ELECTIONS):
        chance = random.Random(number)
        made, votes, asked = record_set(signed.record_id, chance)
        others = made + chance.sample(made, 3)
        chance.shuffle(others)
        ours.append(election(signed, manifest, made, votes, asked))
        assert election(signed, manifest, others, votes, asked) == ours[-1], f"seed {number}"
        chance.shuffle(others)
        data = [encode(record).hex() for record in others]
        asked_of_them.append({"manifest": encode(signed).hex(), "records": data, "votes": votes, "asked": asked})
    for number, (said, theirs) in enumerate(zip(ours, typescript("elections", items=asked_of_them), strict=True)):
        assert theirs == said, f"seed {number}"
    states = {state for said in ours for _, state in said["states"]}
    assert states == {"open", "sealed", "disputed", "agreed", "failed"}, "a state that no seed reaches is not compared"


# ---- batches and policies

leaf_data = st.binary(max_size=40)


@st.composite
def leaves(draw: st.DrawFn) -> list[Leaf]:
    made = []
    for chunk in sorted(draw(st.sets(st.integers(0, 30), min_size=1, max_size=10))):
        status = draw(st.sampled_from(Status))
        if status is not Status.NO_RESULT and draw(st.booleans()):
            size, sealed = draw(st.integers(0, 1 << 24)), draw(digests | st.just(b""))
            made.append(Leaf(chunk, status, inline=False, size=size, data=draw(digests), sealed=sealed))
        else:
            data = draw(leaf_data)
            made.append(Leaf(chunk, status, inline=True, size=len(data), data=data))
    return made


@given(
    batch=leaves(),
    task=digests,
    seq=u53s,
    salt=st.binary(min_size=16, max_size=16),
    nonce=st.binary(min_size=12, max_size=12),
    custodians=st.lists(digests, max_size=CUSTODIANS_MAX),
)
@settings(max_examples=40)
def test_both_seal_and_open_the_same_batches(
    typescript: Typescript,
    batch: list[Leaf],
    task: bytes,
    seq: int,
    salt: bytes,
    nonce: bytes,
    custodians: list[bytes],
) -> None:
    author, creator = b"\1" * 32, b"\2" * 32
    worker = Identity(author)
    commit = seal_commit(
        worker, Identity(creator).seal_key, task, seq, batch, salt=salt, nonce=nonce, custodians=custodians
    )
    assert custodians_of(Identity(creator), worker.seal_key, commit) == tuple(custodians)
    opened = open_commit(Identity(creator), worker.seal_key, worker.public_key, commit)
    theirs = typescript(
        "batch",
        author=author.hex(),
        creator=creator.hex(),
        task=task.hex(),
        seq=seq,
        salt=salt.hex(),
        nonce=nonce.hex(),
        custodians=hexed(custodians),
        leaves=[
            [leaf.chunk, leaf.status, leaf.inline, leaf.size, leaf.data.hex(), leaf.sealed.hex()] for leaf in batch
        ],
    )
    assert theirs == {
        "body": encode(commit).hex(),
        "signed": encode(records.sign(worker, commit)).hex(),
        "values": [leaf.value.hex() for leaf in opened],
        "custodians": hexed(custodians),
    }


@given(
    asked=st.builds(
        Policy,
        replication=st.integers(1, 3),
        eps=st.sampled_from([1e-6, 1e-5, 1.5e-5, 1e-4, 1e-3, 0.025, 0.1, 0.5]),
        liars=st.sampled_from([0.0, 0.1, 0.2, 0.33, 0.5]),
        pow_bits=st.just(0),
    ),
    chunks=st.integers(1, 10**7),
    events=st.integers(0, 50),
    strength=st.floats(0, 1e7),
)
@settings(max_examples=60)
def test_both_ask_for_the_same_verification(
    typescript: Typescript, asked: Policy, chunks: int, events: int, strength: float
) -> None:
    as_json = {"replication": asked.replication, "eps": asked.eps, "liars": asked.liars}
    *numbers, words = typescript("policy", asked=as_json, chunks=chunks, events=events, strength=strength)
    assert numbers == pytest.approx(
        [
            policy.audit_share(asked, chunks),
            policy.probation_share(asked, chunks, events),
            policy.error_bound(strength, events, convicted=True),
            policy.error_bound(strength, events, convicted=False),
        ],
        rel=1e-9,
    )
    assert words == policy.explain(asked, chunks)
