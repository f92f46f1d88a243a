"""Proofs of credit from the command line: what holds, what does not, and what two of them show together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from crowdcompute.node.cli import main
from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.credit import fields_of, latest_tables, prove, table_of, write_proof
from crowdcompute.protocol.identity import Identity
from crowdcompute.protocol.manifest import Limits, Manifest, Policy, Range, sign_manifest
from crowdcompute.protocol.records import Checkpoint, Signed, sign
from crowdcompute.protocol.storage import MemoryBlobStore

if TYPE_CHECKING:
    from pathlib import Path

CREATOR, ALICE, BOB, CAROL = (Identity(bytes([number]) * 32) for number in (7, 8, 9, 10))
WORKERS = {"alice": ALICE, "bob": BOB, "carol": CAROL}


def credited(*, seq: int = 3, created_s: int = 1_800_000_000, **amounts: int) -> list[Signed]:
    """A task's manifest, and a checkpoint that credits these workers."""
    manifest = Manifest(
        schema=1,
        name="Squares",
        description="",
        link="",
        creator=CREATOR.public_key,
        seal_key=CREATOR.seal_key,
        runtime="wasm",
        code=describe(b"\0asm\1\0\0\0"),
        split=Range(0, 3, 1),
        chunks=3,
        inputs=None,
        limits=Limits(1 << 20, 64, 1.0),
        policy=Policy(2, 1e-3, 0.2, 0),
        reward=1,
        epochs=None,
        onward=False,
        permissions=(),
        vouches=(),
        created_s=created_s,
        expires_s=created_s + 86_400,
    )
    task = sign_manifest(CREATOR, manifest)
    table = table_of({WORKERS[name].public_key: amount for name, amount in amounts.items() if amount})
    said = Checkpoint(task.record_id, 0, seq, 3, b"\7", b"\0", bytes(32), *fields_of(table))
    return [task, sign(CREATOR, said)]


def proof(path: Path, worker: Identity, *, seq: int = 3, **amounts: int) -> Path:
    task, checkpoint = credited(seq=seq, **amounts)
    proved = prove(task, worker.public_key, latest_tables([checkpoint], MemoryBlobStore()).values())
    assert proved is not None
    path.write_bytes(write_proof(proved))
    return path


def run(*arguments: object) -> int:
    try:
        return main(["credit", *map(str, arguments)])
    except SystemExit as ended:
        assert isinstance(ended.code, int)
        return ended.code


def test_a_proof_says_who_earned_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = proof(tmp_path / "alice", ALICE, alice=1_500, bob=1_500)
    assert run("--verify", file) == 0
    assert "earned     1.5 credits in Squares" in capsys.readouterr().out
    assert run("--verify", file, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["worker"], said["millicredits"], said["checkpoints"]) == (ALICE.peer_id, 1_500, {"0": 3})


def test_two_proofs_of_one_moment_that_differ_tell_on_their_creator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alice = proof(tmp_path / "alice", ALICE, alice=1_500, bob=1_500)
    later = proof(tmp_path / "later", BOB, seq=4, alice=1_000, bob=2_000)
    double = proof(tmp_path / "double", BOB, alice=1_000, bob=2_000)
    assert run("--verify", alice, "--verify", later, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["proofs"]) == 2
    assert run("--verify", alice, "--verify", double) == 1
    error = capsys.readouterr().err
    assert "two different checkpoints of shard 0 with one number" in error
    assert CREATOR.peer_id in error


def test_what_proves_nothing_is_said_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = proof(tmp_path / "alice", ALICE, alice=1_500, bob=1_500)
    file.write_bytes(file.read_bytes()[:-1])
    assert run("--verify", file) == 1
    assert run("--verify", tmp_path / "nowhere") == 2
    assert run("abc") == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert all(line.startswith("cc-node: ") for line in errors)
