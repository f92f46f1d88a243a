"""`cc-node credit`: what this node earned, task by task, and files that prove it to anybody (protocol: credit.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crowdcompute.protocol.accounts import HISTORY_MAGIC, open_history
from crowdcompute.protocol.codec import decode
from crowdcompute.protocol.credit import check_proof, latest_tables, prove, rows, write_proof
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import peer_id_of, verify
from crowdcompute.protocol.manifest import Manifest

from .account_files import own_statement
from .control import NotRunning, ask
from .exits import CommandError, Exit
from .home import control_socket, open_home
from .keys import load_or_create
from .paths import paths

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from crowdcompute.protocol.accounts import Statement
    from crowdcompute.protocol.credit import Credit
    from crowdcompute.protocol.identity import PeerId
    from crowdcompute.protocol.records import Signed
    from crowdcompute.protocol.storage import BlobStore

    from .store.records import RecordStore, StoredTask


def created_s(task: StoredTask) -> int:
    """When a task was made, as its creator says: by that it is counted for an account or not."""
    return decode(task.manifest.body, Manifest).created_s


def worker_amounts(records: Iterable[Signed], blobs: BlobStore) -> dict[bytes, int]:
    """Millicredits by worker that the checkpoints of one task say, as far as they are here."""
    amounts: dict[bytes, int] = {}
    for _, table in latest_tables(records, blobs).values():
        for worker, millicredits in rows(table):
            amounts[worker] = amounts.get(worker, 0) + millicredits
    return amounts


def earned(
    records: RecordStore, blobs: BlobStore, worker: bytes, account: Statement | None = None
) -> list[dict[str, Any]]:
    """One entry for each task whose checkpoints credit the worker, or another of its account's devices, for JSON."""
    entries = []
    for stored in records.tasks():
        signed = records.load_task(stored.task_id)
        amounts = worker_amounts(signed, blobs)
        ours = {worker} if account is None else account.earners(created_s(stored))
        counted = {key: amounts[key] for key in sorted(ours & amounts.keys())}
        own = amounts.get(worker, 0)
        if counted or own:
            tables = latest_tables(signed, blobs)
            proofs = {key: prove(stored.manifest, key, tables.values()) for key in sorted({*counted, worker})}
            entries.append(
                {
                    "task": stored.task_id.hex(),
                    "name": stored.name,
                    "creator": peer_id_of(stored.creator),
                    "state": stored.state,
                    "millicredits": own,
                    "account_millicredits": sum(counted.values()),
                    "devices": {peer_id_of(key): amount for key, amount in counted.items()},
                    "proofs": {peer_id_of(key): write_proof(proof).hex() for key, proof in proofs.items() if proof},
                }
            )
    return entries


def all_earned() -> list[dict[str, Any]]:
    """The same of the node on this machine, whether it runs or not."""
    folder = paths().data / "node"
    try:
        answer: list[dict[str, Any]] = ask(control_socket(folder), "credit")["credit"]
    except NotRunning:
        with open_home(folder, disk_bytes=0, store=paths().store) as home:
            return earned(home.records, home.blobs, load_or_create(paths().identity).public_key, own_statement())
    return answer


def export(entries: list[dict[str, Any]], prefix: str, worker: PeerId, output: Path) -> dict[str, Any]:
    """Write the worker's proof of the one task whose id begins so; its entry.

    Raises:
        CommandError: There is none, or more than one, or the file cannot be written.
    """
    found = [entry for entry in entries if worker in entry["proofs"] and entry["task"].startswith(prefix.lower())]
    if len(found) != 1:
        many = f"{len(found)} tasks that credit this node begin with {prefix!r}: give more digits"
        none = f"no task that credits this node begins with {prefix!r}: `cc-node credit` lists them"
        raise CommandError(many if found else none, Exit.USAGE)
    try:
        output.write_bytes(bytes.fromhex(found[0]["proofs"][worker]))
    except OSError as error:
        raise CommandError(f"{output} cannot be written ({error.strerror})", Exit.USAGE) from None
    return found[0]


def verified(files: list[Path]) -> list[dict[str, Any]]:
    """What files of somebody's prove, one by one and together.

    Raises:
        CommandError: One cannot be read, or proves nothing; or two show that their creator plays double.
    """
    proofs = [(file, account, proof) for file in files for account, proof in _proved(file)]
    signed: dict[tuple[bytes, int, int], tuple[bytes, Path]] = {}
    for file, _, proof in proofs:
        for shard, (seq, record) in proof.checkpoints.items():
            before, shown_by = signed.setdefault((proof.task, shard, seq), (record, file))
            if before != record:
                raise CommandError(
                    f"{shown_by} and {file} show two different checkpoints of shard {shard} with one number: their "
                    f"creator {peer_id_of(proof.manifest.creator)} says one thing here and another there"
                )
    return [
        {
            "task": proof.task.hex(),
            "name": proof.manifest.name,
            "creator": peer_id_of(proof.manifest.creator),
            "worker": peer_id_of(proof.worker),
            "millicredits": proof.millicredits,
            "checkpoints": {str(shard): seq for shard, (seq, _) in sorted(proof.checkpoints.items())},
            **({} if account is None else {"account": peer_id_of(account.account), "account_name": account.name}),
        }
        for _, account, proof in proofs
    ]


def _proved(file: Path) -> list[tuple[Statement | None, Credit]]:
    """What one file proves; an account's history proves what several devices have earned in several tasks."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file} cannot be read ({error.strerror})", Exit.USAGE) from None
    try:
        if data.startswith(HISTORY_MAGIC):
            history = open_history(data, verify)
            return [(history.statement, credit) for credit in history.credits]
        return [(None, check_proof(data, verify))]
    except RemoteProtocolError as error:
        raise CommandError(f"{file} proves nothing: {error}") from None


def amount(millicredits: int) -> str:
    """Credits for a person: `12.5`."""
    return f"{millicredits / 1_000:,.3f}".rstrip("0").rstrip(".")
