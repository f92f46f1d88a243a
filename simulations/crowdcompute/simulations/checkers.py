"""What must be true of the whole network, and no single peer can see.

Each check yields sentences about what is wrong; none means that it holds. `Inspector` looks at every machine while
the world runs; `final_failures` judges the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crowdcompute.protocol.assigning import open_assignment
from crowdcompute.protocol.batch import open_commit
from crowdcompute.protocol.closing import TaskState
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.lineage import rests_of
from crowdcompute.protocol.named import result_of
from crowdcompute.protocol.opening import counted_value
from crowdcompute.protocol.records import EVERYTHING, Assign, Commit, Join, chunks_of, parse
from crowdcompute.protocol.stewarding import creators_signer
from crowdcompute.protocol.tally import Ballot, ChunkState, tally

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crowdcompute.protocol.ledger import Ledger

    from .network import Node, World


class Inspector:
    """Looks at every machine from time to time and remembers what was wrong."""

    def __init__(self, world: World) -> None:
        self.failures: list[str] = []
        self._world = world
        self._every_s = world.scenario.checks.every_s
        world.at(self._every_s, self._look)

    def _look(self) -> None:
        world = self._world
        for node in world.nodes:
            if node.alive:
                self.failures.extend(
                    f"at {world.now:.1f} s {node.name}: {what}" for what in machine_failures(world, node)
                )
        world.at(world.now + self._every_s, self._look)


def machine_failures(world: World, node: Node) -> Iterator[str]:
    """What must hold on one machine at any time."""
    ledger = node.peer.ledgers.get(world.task)
    if ledger is None:
        return
    for shard, checkpoint in ledger.checkpoints.items():
        if int.from_bytes(checkpoint.accepted) & int.from_bytes(checkpoint.failed):
            yield f"the checkpoint of shard {shard} says of a chunk that it is both accepted and failed"
    for worker, shard in ledger.leases.live:
        if ledger.is_void(worker):
            yield f"a void worker has a live lease in shard {shard}"
    if ledger.creator_equivocated:
        yield "the creator signed two checkpoints of one seq"
    role = node.peer.creators.get(world.task)
    if role is not None:
        for chunk in range(ledger.manifest.chunks):
            result = role.result(chunk)
            state = role.referee.chunk(chunk).state
            if result.digest is not None and state is not ChunkState.AGREED:
                yield f"chunk {chunk} is accepted and its votes say {state.value}"


def final_failures(world: World) -> list[str]:
    """Everything that must hold when the task is closed and the network has settled."""
    failures = []
    if world.scenario.checks.must_close and world.role.state is not TaskState.CLOSED:
        progress = world.role.progress()
        failures.append(
            f"the task is {progress.state.value} at {world.now:.0f} s, not closed: {progress.accepted} of "
            f"{progress.chunks} chunks accepted, {progress.failed} failed"
        )
    for check in (
        wrong_results,
        convictions,
        executions,
        convicted_honest,
        uncaught_liars,
        unequal_records,
        unequal_tally,
        restless_peers,
    ):
        failures.extend(check(world))
    return failures


def wrong_chunks(world: World) -> list[int]:
    """Chunks of which the creator accepts a wrong result."""
    return [
        chunk
        for chunk in range(world.manifest.chunks)
        if world.role.result(chunk).digest is not None
        and not world.is_right(chunk, world.role.result_bytes(chunk) or b"")
    ]


def wrong_results(world: World) -> Iterator[str]:
    """No wrong result is accepted, and nothing fails that can be computed."""
    wrong = wrong_chunks(world)
    failed = [
        chunk
        for chunk in range(world.manifest.chunks)
        if world.role.result(chunk).state == "failed" and chunk not in world.scenario.task.failing
    ]
    if len(wrong) > world.scenario.checks.wrong_results_max:
        yield f"{len(wrong)} wrong results are accepted, chunk {wrong[0]} first"
    if len(failed) > world.scenario.checks.failed_chunks_max:
        yield f"{len(failed)} chunks are marked failed that do not fail, chunk {failed[0]} first"


def convictions(world: World) -> Iterator[str]:
    """As many identities are convicted as the scenario says."""
    checks, convicted = world.scenario.checks, len(world.role.ledger.verdicts)
    if convicted < checks.convicted_min:
        yield f"{convicted} are convicted, not {checks.convicted_min} and more"
    if checks.convicted_max is not None and convicted > checks.convicted_max:
        yield f"{convicted} are convicted, more than {checks.convicted_max}"


def executions(world: World) -> Iterator[str]:
    """A chunk costs at most as many executions as the scenario says."""
    most, made = world.scenario.checks.executions_max, world.executions / world.manifest.chunks
    if most is not None and made > most:
        yield f"{made:.2f} executions a chunk were made, more than {most:g}"


def convicted_honest(world: World) -> Iterator[str]:
    """Nobody is void, for anybody, who signed nothing wrong."""
    for node in world.live():
        ledger = node.peer.ledgers.get(world.task)
        if ledger is not None:
            for worker in sorted((ledger.verdicts.keys() | ledger.equivocators) - world.convictable):
                yield f"{node.name} holds the honest {world.names[worker]} for a liar"


def uncaught_liars(world: World) -> Iterator[str]:
    """No vote against an accepted result counts: its worker has a strike that covers it, or is banned."""
    role, counting = world.role, set()
    for chunk in range(role.ledger.manifest.chunks):
        for worker in role.result(chunk).disagreed:
            if role.referee.counts(role.referee.voters(chunk)[worker]):
                counting.add(worker)
    for worker in sorted(counting):
        yield f"{world.names[worker]} voted against an accepted result and is not convicted for it"


def unequal_records(world: World) -> Iterator[str]:
    """Honest peers that follow a topic hold the same of it, up to what a checkpoint lets go.

    Liars need not, and whoever the signaling server still cuts off cannot.
    """
    reference = world.role.ledger
    for node in world.live():
        if not node.is_honest or node.index in world.eclipsed:
            continue
        ledger = node.peer.ledgers.get(world.task)
        if ledger is None:
            yield f"{node.name} has not heard of the task"
            continue
        if ledger is reference:
            continue
        theirs, ours = _task_records(ledger), _task_records(reference)
        if theirs != ours:
            yield f"{node.name} lacks {len(ours - theirs)} of the task's records and has {len(theirs - ours)} more"
        for shard in range(ledger.shards):
            if not node.peer.follows(ledger.shard_topic(shard)):
                continue
            theirs, ours = _open_commits(ledger, shard), _open_commits(reference, shard)
            if theirs != ours:
                yield (
                    f"{node.name} lacks {len(ours - theirs)} commits of shard {shard} and has {len(theirs - ours)} more"
                )


def _task_records(ledger: Ledger) -> set[bytes]:
    # Whether somebody heard a void worker's join before its verdict is chance, and means nothing.
    held = ((record_id, ledger.record(record_id)) for record_id in ledger.record_ids(ledger.task))
    return {
        record_id
        for record_id, signed in held
        if signed is not None
        and signed.kind not in ("lease", "commit", "reveal", "assign")
        and not (signed.kind == "join" and ledger.is_void(signed.author))
    }


def _open_commits(ledger: Ledger, shard: int) -> set[bytes]:
    """Commits that still matter to somebody: of workers that count, with a chunk that no checkpoint closes."""
    return {
        commit_id
        for commit_id, (author, commit) in ledger.commits.items()
        if commit.shard == shard
        and author != ledger.manifest.creator
        and not ledger.is_void(author)
        and not all(ledger.is_closed(chunk) for chunk in chunks_of(shard, commit.runs))
    }


def unequal_tally(world: World) -> Iterator[str]:
    """The creator's incremental referee says what the pure tally of its records says."""
    role, ledger = world.role, world.role.ledger
    signer = creators_signer(world.creator.signer, world.manifest)
    ballots = []
    assigned: set[tuple[bytes, int]] = set()
    results: dict[bytes, bytes] = {}

    def same(chunk: int, one: bytes, other: bytes) -> bool:
        comparison = world.comparison
        return comparison is not None and comparison.is_same(one, results[one], other, results[other])

    def kin(chunk: int, value: bytes) -> bytes:
        assert world.comparison is not None
        return world.comparison.class_of(results[value])

    drawn = {
        (worker, chunk) for chunk in range(world.manifest.chunks) for worker in ledger.lots.workers(chunk, blind=True)
    }
    for signed in ledger.records():
        if signed.kind not in ("commit", "resumed", "assign"):
            continue
        record = parse(signed)
        if isinstance(record, Commit):
            seal_key = signer.seal_key if signed.author == signer.public_key else _seal_key(ledger, signed.author)
            try:
                leaves = open_commit(signer, seal_key, signed.author, record)
            except RemoteProtocolError:
                continue
            data = {leaf.chunk: result_of(leaf, world.creator.blobs) for leaf in leaves} if world.comparison else {}
            values = {leaf.chunk: counted_value(leaf, world.comparison, data.get(leaf.chunk)) for leaf in leaves}
            results.update((leaf.value, data.get(leaf.chunk) or b"") for leaf in leaves)
            ballots.append(Ballot(signed.author, record.seq, signed.record_id, values, rests_of(record)))
        elif isinstance(record, Assign):
            request = open_assignment(signer, _seal_key(ledger, record.worker), record)
            # What a steward asked for counts as if lots had drawn it, unless the creator answers for it.
            delegation = ledger.delegations.get(signed.author)
            asked = assigned if delegation is None or delegation.trusted else drawn
            asked.update((record.worker, chunk) for chunk in request.chunks)
    stewards = ledger.delegations.keys()
    drawn.update((it.worker, chunk) for it in ballots if it.worker in stewards for chunk in it.values)
    pure = tally(
        ballots,
        replication=ledger.manifest.policy.replication,
        creator=signer.public_key,
        admitted=ledger.admits.keys() | stewards,
        convicted={worker: verdict.void_to for worker, verdict in ledger.verdicts.items()}
        | dict.fromkeys(ledger.revoked, EVERYTHING),
        assigned=assigned,
        drawn=drawn,
        same=same,
        kin=kin if world.comparison is not None and world.comparison.has_classes else None,
    )
    if pure.void != role.referee.void:
        yield f"the tally voids {len(pure.void)} workers, the referee {len(role.referee.void)}"
    for chunk, counted in pure.chunks.items():
        if role.referee.chunk(chunk) != counted:
            yield f"chunk {chunk}: the tally says {counted}, the referee {role.referee.chunk(chunk)}"
            return


def restless_peers(world: World) -> Iterator[str]:
    """Nobody who has just been woken twice wants it again at once: a real driver would spin."""
    if world.spins:
        yield f"peers that had just been woken twice wanted it again at once, {world.spins} times"


def _seal_key(ledger: Ledger, worker: bytes) -> bytes:
    join = ledger.joins[worker]
    assert isinstance(join, Join)
    return join.seal_key
