"""Credit is what the votes say, and its proof stands alone: no other amount, worker, task or checkpoint fits it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol import credit
from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.credit import (
    INLINE_BYTES_MAX,
    MAGIC,
    CreditProof,
    check_proof,
    fields_of,
    latest_tables,
    prove,
    read_table,
    split,
    table_of,
    write_proof,
)
from crowdcompute.protocol.earning import Earning
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.ledger import Ledger
from crowdcompute.protocol.manifest import open_manifest, sign_manifest
from crowdcompute.protocol.records import Checkpoint, Signed, Verdict, sign
from crowdcompute.protocol.storage import MemoryBlobStore
from crowdcompute.simulations import faults
from crowdcompute.simulations.network import World
from crowdcompute.simulations.scenario import parse_scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.conftest import ExpectVectors

    from crowdcompute.protocol.desk import Desk
    from crowdcompute.protocol.manifest import Manifest

ALICE, BOB, CAROL = (Identity(bytes([number]) * 32) for number in (1, 2, 3))
KEYS = tuple(sorted(worker.public_key for worker in (ALICE, BOB, CAROL)))


def checkpoint(task: bytes, shard: int, seq: int, table: bytes) -> Checkpoint:
    return Checkpoint(task, shard, seq, 1, b"\1", b"\0", bytes(32), *fields_of(table))


@given(st.integers(0, 2**32 - 1), st.lists(st.sets(st.sampled_from(KEYS)), max_size=20))
def test_no_more_is_given_than_was_promised_and_equals_get_the_same(reward: int, chunks: list[set[bytes]]) -> None:
    amounts = split(reward, chunks)
    assert sum(amounts.values()) <= 1_000 * reward * len(chunks)
    for workers in chunks:
        together = split(reward, [workers])
        assert len(set(together.values())) <= 1
        assert sum(together.values()) > 1_000 * reward - len(workers) or not workers or not reward
    rest = [workers - {KEYS[0]} for workers in chunks]
    assert amounts.get(KEYS[0], 0) == 0 or amounts.keys() - {KEYS[0]} <= split(reward, rest).keys()


def test_a_table_travels_in_its_checkpoint_or_is_fetched_by_hash() -> None:
    blobs = MemoryBlobStore()
    for workers in (0, 3, 102, 103, 400):
        table = table_of({sha256(bytes([n % 256, n // 256])).digest(): 7 * n + 1 for n in range(workers)})
        said = checkpoint(bytes(32), 0, 0, table)
        credit.check_credits(said)
        if len(table) > INLINE_BYTES_MAX:
            assert read_table(said, blobs) is None
            blobs.put(said.credits, table)
        assert read_table(said, blobs) == table
    # What is stored under that hash, and is not the table that the root names, is none.
    assert read_table(msgspec.structs.replace(said, credits_root=bytes(32)), blobs) is None
    unordered = KEYS[1] + bytes(8) + KEYS[0] + bytes(8)
    assert read_table(checkpoint(bytes(32), 0, 0, unordered), blobs) is None


@pytest.fixture
def task(make_manifest: Callable[..., Manifest], creator: Identity) -> Signed:
    return sign_manifest(creator, make_manifest(chunks=5_000, split=make_manifest().split))


def two_shards(creator: Identity, task: Signed) -> list[tuple[Signed, bytes]]:
    tables = [table_of(dict.fromkeys(KEYS, 1_500)), table_of({ALICE.public_key: 333, BOB.public_key: 667})]
    return [
        (sign(creator, checkpoint(task.record_id, shard, 4 + shard, table)), table)
        for shard, table in enumerate(tables)
    ]


@pytest.fixture
def signed_task(make_manifest: Callable[..., Manifest], creator: Identity) -> Signed:
    return sign_manifest(creator, make_manifest())


def test_a_proof_says_what_was_earned_in_all_shards(creator: Identity, signed_task: Signed) -> None:
    shown = two_shards(creator, signed_task)
    for worker, expected in ((ALICE, 1_833), (BOB, 2_167), (CAROL, 1_500)):
        proof = prove(signed_task, worker.public_key, shown)
        assert proof is not None
        proved = check_proof(write_proof(proof), verify)
        assert (proved.task, proved.worker) == (signed_task.record_id, worker.public_key)
        assert proved.millicredits == expected
    assert prove(signed_task, creator.public_key, shown) is None


def refused(creator: Identity, task: Signed) -> dict[str, bytes]:
    """Files that prove nothing, by why."""
    shown = two_shards(creator, task)
    proof = prove(task, ALICE.public_key, shown)
    assert proof is not None
    first, second = proof.shards
    change = msgspec.structs.replace
    by_another = sign(BOB, checkpoint(task.record_id, 0, 4, shown[0][1]))
    of_another = sign(creator, checkpoint(bytes(32), 0, 4, shown[0][1]))
    verdict = sign(creator, Verdict(task.record_id, BOB.public_key, "wrong", 0, bytes(32), 5))
    broken = {
        "another amount": change(proof, shards=(change(first, amount=1_501), second)),
        "another worker": change(proof, worker=BOB.public_key),
        "a shard twice": change(proof, shards=(first, first)),
        "another place": change(proof, shards=(change(first, index=(first.index + 1) % 3), second)),
        "a path too long": change(proof, shards=(change(first, path=(*first.path, bytes(32))), second)),
        "a checkpoint by somebody else": change(proof, shards=(change(first, checkpoint=by_another),)),
        "a checkpoint of another task": change(proof, shards=(change(first, checkpoint=of_another),)),
        "a verdict for a checkpoint": change(proof, shards=(change(first, checkpoint=verdict),)),
        "a checkpoint's wrong signature": change(
            proof, shards=(change(first, checkpoint=change(first.checkpoint, signature=bytes(64))), second)
        ),
        "a manifest's wrong signature": change(proof, manifest=change(task, signature=bytes(64))),
    }
    whole = write_proof(proof)
    return {
        **{why: write_proof(each) for why, each in broken.items()},
        "no such file": b"CCRECS1\n" + whole[len(MAGIC) :],
        "half a file": whole[:-1],
    }


def test_what_is_no_proof_is_refused(creator: Identity, signed_task: Signed) -> None:
    for why, data in refused(creator, signed_task).items():
        with pytest.raises(RemoteProtocolError):
            check_proof(data, verify)
            pytest.fail(why)


@given(st.data())
def test_a_changed_byte_proves_nothing_or_the_same(data: st.DataObject) -> None:
    whole = bytearray(bytes.fromhex(PROOF))
    before = check_proof(bytes(whole), verify)
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        after = check_proof(bytes(whole), verify)
    except RemoteProtocolError:
        return
    assert after == before


def small_proof() -> str:
    world = closed("")
    return write_proof(proof_of(world, 1)).hex()


def closed(extra: str, *, peers: int = 6, chunks: int = 30) -> World:
    """A job that is done."""
    world = World(
        parse_scenario(
            f"""
            name = "credit"
            network = {{peers = {peers}, real_keys = true, speed_sigma = 0.0}}
            task = {{chunks = {chunks}, eps = 0.2, replication = 2, chunk_s = 0.5}}
            checks = {{stop_s = 600}}
            {extra}
            """
        ),
        seed=1,
    )
    faults.schedule(world)
    world.run()
    return world


def proof_of(world: World, index: int) -> CreditProof:
    """What a machine can prove from what it holds itself."""
    node = world.nodes[index]
    ledger = node.peer.ledgers[world.task]
    proof = prove(ledger.signed, node.signer.public_key, latest_tables(ledger.records(), node.blobs).values())
    assert proof is not None
    return proof


PROOF = small_proof()


def test_workers_prove_what_they_earned_and_liars_earn_nothing_for_lies() -> None:
    world = closed('liars = [{kind = "alone", count = 1}]')
    total = 0
    for index, node in enumerate(world.nodes[1:], start=1):
        if node.signer.public_key in world.role.ledger.verdicts:
            tables = latest_tables(node.peer.ledgers[world.task].records(), node.blobs).values()
            assert prove(world.role.ledger.signed, node.signer.public_key, tables) is None
            continue
        total += check_proof(write_proof(proof_of(world, index)), verify).millicredits
    # Chunks that the creator had to execute alone earn nobody anything. What three share leaves a fraction over.
    by_workers = [chunk for chunk in range(30) if set(world.role.result(chunk).agreed) != {world.manifest.creator}]
    reward = 1_000 * world.manifest.reward * len(by_workers)
    assert len(by_workers) > 15
    assert reward - 30 < total <= reward


class Asked:
    """The one thing of a desk that is needed here."""

    def __init__(self) -> None:
        self.fetched: list[tuple[bytes, int]] = []

    def fetch(self, digest: bytes, size: int, root: bytes | None, providers: Sequence[bytes]) -> None:
        assert root is None
        assert providers
        self.fetched.append((digest, size))


def test_a_table_too_large_for_a_checkpoint_is_fetched_and_takes_the_place_of_the_one_before(
    creator: Identity, signed_task: Signed
) -> None:
    ledger, desk, blobs = Ledger(signed_task, open_manifest(signed_task, verify)), Asked(), MemoryBlobStore()
    earning = Earning(ProtocolConfig(), ledger, cast("Desk", desk), blobs)
    digests = []
    for seq in range(2):
        amounts = {sha256(bytes([n])).digest(): n + seq + 1 for n in range(200)}
        table = table_of({**amounts, ALICE.public_key: 12})
        record = checkpoint(signed_task.record_id, 0, seq, table)
        assert ledger.add(sign(creator, record), record, 0.0)
        earning.checkpoint(0.0)
        earning.checkpoint(1.0)
        assert earning.wake_at() == ProtocolConfig().credit_every_s
        earning.advance({0})
        assert desk.fetched[-1] == (record.credits, len(table))
        digests.append(record.credits)
        if not seq:
            earning.blob_arrived(record.credits, here=False, now=5.0)
            earning.advance({0})
            assert len(desk.fetched) == 2
        assert not latest_tables([sign(creator, record)], blobs)
        blobs.put(record.credits, table)
        earning.blob_arrived(record.credits, here=True, now=9.0)
        proof = prove(signed_task, ALICE.public_key, latest_tables(ledger.records(), blobs).values())
        assert proof is not None
        assert check_proof(write_proof(proof), verify).millicredits == 12
    assert [blobs.size(digest) is None for digest in digests] == [True, False]


def test_the_vectors_hold(creator: Identity, signed_task: Signed, expect_vectors: ExpectVectors) -> None:
    shown = two_shards(creator, signed_task)
    vectors: list[dict[str, object]] = [
        {
            "name": f"{reward} credits for chunks that {' and '.join(map(str, counts))} workers confirmed",
            "reward": reward,
            "confirmers": [[key.hex() for key in KEYS[:count]] for count in counts],
            "table": (table := table_of(split(reward, [KEYS[:count] for count in counts]))).hex(),
            "root": credit.root_of(table).hex(),
        }
        for reward, counts in ((1, (1, 2, 3)), (0, (2,)), (7, (3, 3, 0)), (2**32 - 1, (2, 2)))
    ]
    for worker in (ALICE, BOB, CAROL):
        proof = prove(signed_task, worker.public_key, shown)
        assert proof is not None
        vectors.append(
            {
                "name": f"a proof of {sum(shard.amount for shard in proof.shards)} millicredits",
                "task": encode(signed_task).hex(),
                "worker": worker.public_key.hex(),
                "checkpoints": [{"signed": encode(signed).hex(), "table": table.hex()} for signed, table in shown],
                "file": write_proof(proof).hex(),
                "millicredits": check_proof(write_proof(proof), verify).millicredits,
            }
        )
    vectors += [
        {"name": f"refused: {why}", "why": why, "refused": data.hex()}
        for why, data in refused(creator, signed_task).items()
    ]
    expect_vectors("credit", vectors)
