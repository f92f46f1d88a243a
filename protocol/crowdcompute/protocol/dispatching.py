"""Who is asked for what the creator wants executed (spec/ledger.md, "Assign").

    a chunk:  --wanted--> HUNGRY --asked of a worker--> outstanding (assigning.py) --commit--> votes
                 ^           '--nobody is eligible--> the creator executes it (executing.py)
                 '-- no lease, too slow, silent or void --'

What is wanted are second votes and audits, copies of what others have been on for long, and open chunks where too few
are left for workers to pick from. Which of them it is, nobody who is asked can tell. What a suspected worker leaves
behind, or lets run out, is urgent and goes first, to whoever can begin it soonest: others have waited for it already.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from .assigning import Assignments
from .picking import is_open, pick_endgame
from .records import COMMIT_CHUNKS_MAX
from .tally import ChunkState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Set
    from random import Random

    from .closing import Closing
    from .config import ProtocolConfig
    from .executing import Executing
    from .ledger import Ledger
    from .records import Commit, Lease
    from .referee import Referee


DISPATCH_SPARE = 256
"""Hungry chunks looked at beyond the room there is: those whose eligible workers are all full must not block others."""

SCAN_CHUNKS = 4_096
"""Chunks looked at in one review for open ones to deal out: some milliseconds."""

DEALT_PER_WORKER = 16
"""Open chunks dealt out at a time for each idle worker. A guess; simulations/scenarios/liars.toml."""

DEALT_S = 0.1
"""Or as many as take it this long: the last thousands of chunks that take no time went out in hundreds of rounds."""

GATHER_S = 0.1
"""What is wanted while everybody is busy shares its assignments with what is wanted this much later: each costs a seal,
a signature and a record, and its worker has something to do."""

GATHERED_MIN = 8
"""Who answers fewer chunks in that time is asked at once: assignments are few then."""

HEDGED_AFTER = 1.5
"""Somebody else is asked for a chunk whose answer takes so many times as long as answers usually do: sooner hedges
nearly half of all, later waits (twelve peers, tests/simulations/test_policy_validation.py)."""

NEARLY_DONE = 0.25
"""Who has so little of its usual time left may just have begun what comes next: an answer is on its way for a while,
and what is urgent for as long (tests/simulations/test_liveness.py)."""

LET_GO_MAX = 2
"""A worker that let a chunk go so often is not asked for it again: it may be busy once, but stallers do so for ever."""


class _Answer(NamedTuple):
    """What a worker's last answer tells of its pace."""

    at: float
    chunks: int
    every_s: float
    """How long its answers take, of late."""


class Dispatch:
    """The workers of one task of ours, and the chunks they are to be asked for.

    Args:
        ask: Signs an assignment of chunks to a worker that listens in a shard; the last argument says: urgent.
        capacity: How many chunks each worker may be asked for at a time, so far.
        coming: Who has voted on a chunk without its vote being counted yet (named.py).
        picked: Whether workers pick the chunks that are open to us. Those that only a steward knows to be open they
            take for voted on.
    """

    def __init__(
        self,
        config: ProtocolConfig,
        rng: Random,
        ledger: Ledger,
        referee: Referee,
        closing: Closing,
        executing: Executing,
        ask: Callable[[bytes, int, list[int], bool], None],
        capacity: dict[bytes, int],
        coming: Callable[[int], Collection[bytes]] = lambda _: (),
        *,
        picked: bool = True,
    ) -> None:
        self._config = config
        self._rng = rng
        self._ledger = ledger
        self._referee = referee
        self._closing = closing
        self._executing = executing
        self._ask = ask
        self._coming = coming
        self._picked = picked
        self._assignments = Assignments(rng, config.batch_s, capacity)
        self._members: set[bytes] = set()
        """Admitted workers that are not void."""
        self._heard_at: dict[bytes, float] = {}
        self._answers: dict[bytes, _Answer] = {}
        """Each worker's last one."""
        self._home: dict[bytes, int] = {}
        """The shard in which each worker listens."""
        self._idle: set[bytes] = set()
        """Workers that say they have nothing to do."""
        self._hungry: dict[int, float] = {}  # chunk that wants votes -> since when
        self._first: set[int] = set()
        """Those of them that a suspected worker left behind."""
        self._hedged: dict[int, int] = {}
        """How many workers more than votes wanted are asked for a chunk, because others take long."""
        self._let_go: dict[int, tuple[bytes, ...]] = {}
        """Workers that were asked for a chunk and let it go, as often as they did."""
        self._stalling: set[bytes] = set()
        """Workers that leased what they were asked for and did not finish it: asked for nothing until they commit."""
        self._dealt: dict[int, int] = {}
        """Chunks without a vote that somebody was asked for all the same, and how many votes of each we asked for."""
        self._scan_at = 0
        self._asked_at = -math.inf
        self._lease_age_s = 0.0

    @property
    def members(self) -> int:
        """Workers that may be asked."""
        return len(self._members)

    @property
    def is_waiting(self) -> bool:
        """Whether anything is wanted, or asked for and not answered. What others have answered is not waited for."""
        return bool(self._hungry) or any(self._votes_wanted(chunk) for chunk in self._assignments.chunks())

    # ---- workers

    def heard(self, worker: bytes, now: float) -> None:
        """A worker is there."""
        self._heard_at[worker] = now

    def admitted(self, worker: bytes) -> None:
        """A worker may be asked. Where there is but one shard, we know where it listens before it says so."""
        self._members.add(worker)
        if self._ledger.shards == 1 and worker not in self._home:
            self._home[worker] = 0
            self._idle.add(worker)

    def dismiss(self, worker: bytes, now: float) -> None:
        """A worker is void: what it was asked for goes to somebody else."""
        self._members.discard(worker)
        self._starve(self._assignments.withdraw(worker), now)

    def silent(self, worker: bytes, left: Iterable[int], now: float) -> None:
        """A worker is suspected or leaves: what it was on (`left`, in this order) and was asked for goes first.

        To others: everybody may be busy for hours, and nobody know that this is what a result waits for.
        """
        self._heard_at.pop(worker, None)
        self._idle.discard(worker)
        asked = set(self._assignments.withdraw(worker))
        orphans: dict[int, None] = {}
        for chunk in left:
            picked = worker in self._members and chunk not in self._dealt and is_open(self._ledger, chunk, now)
            if picked:
                self._dealt[chunk] = 1
            if picked or chunk in asked:
                orphans[chunk] = None
        orphans.update(dict.fromkeys(sorted(asked)))
        self._first.update(orphans)
        waiting = self._hungry
        self._hungry = {chunk: waiting.get(chunk, now) for chunk in orphans}
        self._hungry.update(waiting)

    def leased(self, worker: bytes, lease: Lease, now: float) -> None:
        """A worker says what it is on, or that it has nothing to do."""
        self._heard_at[worker] = now
        self._home[worker] = lease.home
        if lease.runs:
            self._idle.discard(worker)
        else:
            self._idle.add(worker)

    def committed(self, worker: bytes, commit: Commit, chunks: list[int], now: float) -> None:
        """A worker answers."""
        self._heard_at[worker] = now
        lease = self._ledger.leases.live.get((worker, commit.shard))
        last = self._answers.get(worker)
        # Between two answers it may have been idle, and what it leased may have waited behind other work: the shorter.
        took_s = self._config.batch_s if last is None else now - last.at
        if lease is not None and chunks[0] in lease.since:
            age_s = now - lease.since[chunks[0]]
            self._lease_age_s = 0.8 * self._lease_age_s + 0.2 * age_s
            took_s = min(took_s, age_s)
        every_s = took_s if last is None else (last.every_s + took_s) / 2
        self._answers[worker] = _Answer(now, len(chunks), every_s)
        self._assignments.committed(worker, chunks, now)
        self._stalling.discard(worker)

    # ---- chunks

    def voted(self, chunk: int, now: float) -> None:
        """The votes on a chunk say something else: whether more of them are wanted, and of whom."""
        if self._referee.chunk(chunk).state is ChunkState.OPEN:
            if not self._picked:
                self.deal(chunk, now)
                return
            self._hungry.pop(chunk, None)
            self._dealt.pop(chunk, None)
        elif self._votes_wanted(chunk):
            self.want(chunk, now)
        else:
            self.satisfied(chunk)

    def want(self, chunk: int, now: float) -> None:
        """Have a chunk executed again: by a worker, or by ourselves where every member has voted on it already."""
        if not self._members or self._members - self._unasked(chunk):
            self._hungry.setdefault(chunk, now)
        else:
            self._execute_ourselves(chunk)

    def deal(self, chunk: int, now: float) -> None:
        """Have a chunk executed on which nobody's vote counts, though others think so."""
        self._dealt[chunk] = 1
        self._hungry.setdefault(chunk, now)

    def fed(self, chunks: Iterable[int], now: float) -> None:
        """Have chunks executed that are new: nobody picks them, so all votes are asked for at once."""
        votes = self._ledger.manifest.policy.replication
        for chunk in chunks:
            self._dealt[chunk] = votes
            self._hungry[chunk] = now

    def satisfied(self, chunk: int) -> None:
        """Nothing more is wanted of a chunk."""
        self._hungry.pop(chunk, None)
        self._hedged.pop(chunk, None)

    def forget(self, chunks: Iterable[int]) -> None:
        """Nothing is wanted of these chunks any more, nor of whom was asked for them."""
        unwanted = set(chunks)
        for worker, chunk, _ in list(self._assignments.outstanding()):
            if chunk in unwanted:
                self._assignments.withdraw(worker, [chunk])
        for chunk in unwanted:
            self._hungry.pop(chunk, None)

    def review(self, now: float) -> None:
        """Look for what was asked and not answered."""
        self._withdraw_overdue(now)

    def due_at(self, now: float) -> float:
        """When to ask for what is wanted: at once, unless everybody is busy with many chunks and it is not urgent.

        A task of one shard waits for nothing: somebody may wait for its few calls.
        """
        if self._ledger.shards > 1 and self._hungry and not self._first and all(map(self._is_busy, self._active(now))):
            return self._asked_at + GATHER_S
        return now

    def dispatch(self, now: float, *, auditing: bool, employing: bool) -> None:
        """Ask workers for what is wanted, as far as they have room: what suspected workers left, then the oldest.

        With `employing`, idle workers for whom nothing of it is are given something else.
        """
        self._ask_for_wanted(now, auditing=auditing)
        if employing and self._employ_idle(now):
            self._ask_for_wanted(now, auditing=auditing)

    # ---- inside

    def _ask_for_wanted(self, now: float, *, auditing: bool) -> None:
        if not self._hungry:
            return
        active = [worker for worker in self._active(now) if worker not in self._stalling]
        room = self._assignments.room(active)
        wanted: dict[int, int] = {}
        for chunk in list(islice(self._hungry, room + DISPATCH_SPARE)):
            under_way = len(self._assignments.workers_on(chunk)) + len(self._coming(chunk))
            count = self._votes_wanted(chunk) - under_way + self._hedged.get(chunk, 0)
            if count <= 0 or chunk in self._executing:
                del self._hungry[chunk]
            else:
                wanted[chunk] = count
        if not wanted:
            return
        first = {chunk: count for chunk, count in wanted.items() if chunk in self._first}
        rest = {chunk: count for chunk, count in wanted.items() if chunk not in first}
        soonest = self._assignments.hand_over(first, self._pace(active, now), self._unasked, now) if first else []
        others = self._assignments.distribute(rest, active, self._unasked, now)
        for given, urgent in ((soonest, True), (others, False)):
            for worker, chunks in given:
                self._ask(worker, self._home[worker], chunks, urgent)
                self._asked_at = now
                for chunk in chunks:
                    wanted[chunk] -= 1
                    if not wanted[chunk]:
                        del self._hungry[chunk], wanted[chunk]
        self._first.intersection_update(self._hungry)
        # Between two audits nobody is waited for whom only luck would bring: each round would take as long.
        patience_s = 0.0 if auditing and active else self._config.referee_after_s
        for chunk in wanted:
            # Somebody has been waited for already where a chunk is hedged.
            hedged = chunk in self._hedged
            if now - self._hungry[chunk] < (min(patience_s, self._config.creator_first_s) if hedged else patience_s):
                continue
            if not any(worker not in self._unasked(chunk) for worker in active):
                self._execute_ourselves(chunk)

    def _active(self, now: float) -> list[bytes]:
        return sorted(
            worker
            for worker, at in self._heard_at.items()
            if now - at < self._config.active_s and worker in self._members and worker in self._home
        )

    def _pace(self, active: list[bytes], now: float) -> dict[bytes, tuple[float, float]]:
        """When each worker can begin something else, and how long a chunk takes it, as far as its answers tell.

        Whose answer is overdue, or nearly due, may just have begun what comes next.
        """
        pace = {}
        for worker in active:
            at, chunks, every_s = self._answers.get(worker, _Answer(now, 1, self._config.batch_s))
            left_s = 0.0
            if worker not in self._idle or self._assignments.backlog(worker):
                left_s = at + every_s - now
                left_s = left_s if left_s > NEARLY_DONE * every_s else every_s
            pace[worker] = (now + left_s, every_s / chunks)
        return pace

    def _votes_wanted(self, chunk: int) -> int:
        tally = self._referee.chunk(chunk)
        if tally.state is ChunkState.AGREED:
            return self._closing.due(chunk)
        if tally.state is ChunkState.OPEN:
            return self._dealt.get(chunk, 0)
        return tally.missing if tally.state is ChunkState.SEALED else 0

    def _deal_out(self, idle: list[bytes], now: float) -> int:
        """Have open chunks executed by `idle` workers that found too few to pick from; how many of them have some now.

        None of them is to be busy for long while others have nothing.
        """
        count, found = self._ledger.chunks, 0
        portion = min((self._chunks_in(DEALT_S, worker) for worker in idle), default=0)
        enough = len(idle) * max(DEALT_PER_WORKER, portion)
        # Nobody picks these: all votes are asked for at once, or the second would only begin when the first is there.
        votes = self._ledger.manifest.policy.replication
        for _ in range(min(count, SCAN_CHUNKS)):
            chunk = self._scan_at = (self._scan_at + 1) % count
            if chunk not in self._dealt and is_open(self._ledger, chunk, now):
                self._dealt[chunk] = votes
                self._hungry.setdefault(chunk, now)
                found += 1
                if found == enough:
                    break
        return min(len(idle), found)

    def _chunks_in(self, seconds: float, worker: bytes) -> int:
        """How many chunks a worker answers in so much time, as far as its last answer tells."""
        last = self._answers.get(worker)
        return 0 if last is None else min(COMMIT_CHUNKS_MAX, int(last.chunks * seconds / max(last.every_s, 1e-6)))

    def _is_busy(self, worker: bytes) -> bool:
        return not self._is_idle(worker) and self._chunks_in(GATHER_S, worker) >= GATHERED_MIN

    def _is_idle(self, worker: bytes) -> bool:
        return worker in self._idle and not self._assignments.backlog(worker)

    def _employ_idle(self, now: float) -> bool:
        """While workers are idle: deal out open chunks, then ask for copies of those others have been on for long.

        Whether more is wanted than before.
        """
        wanted = len(self._hungry)
        idlers = [worker for worker in self._active(now) if self._is_idle(worker)]
        if not idlers:
            return False
        confirming = self._ledger.manifest.policy.replication > 1
        if confirming:
            # The copy is the second vote and costs nothing; and a newcomer's first one is confirmed as soon as the
            # first voter commits, not after what that has still to do.
            self._copy(len(idlers), now, leased_for_s=0.0)
        idle = len(idlers) - self._deal_out(idlers, now)
        # Where one vote is enough a copy is worth it for the slow only.
        usual_s = self._lease_age_s * (1 if confirming else 2)
        self._copy(idle, now, leased_for_s=max(self._config.endgame_after_s, usual_s))
        self._hedge(idle, now)
        return len(self._hungry) > wanted

    def _copy(self, count: int, now: float, *, leased_for_s: float) -> None:
        """Have up to `count` chunks executed that others have been on for so long."""
        for shard in range(self._ledger.shards):
            while count > 0:
                chunk = pick_endgame(self._ledger, shard, self._dealt, self._rng, now, leased_for_s=leased_for_s)
                if chunk is None:
                    break
                count -= 1
                self._dealt[chunk] = 1
                self._hungry.setdefault(chunk, now)

    def _hedge(self, count: int, now: float) -> None:
        """Ask somebody else, too, for up to `count` chunks whose answer takes much longer than usual, the oldest first.

        It is a vote as well. A worker that is slow, or says that it is on them and is not, then costs others nothing
        but that time.
        """
        after_s = max(self._config.endgame_after_s, HEDGED_AFTER * self._assignments.answer_s)
        last_asked_at: dict[int, float] = {}
        for _, chunk, at in self._assignments.outstanding():
            last_asked_at[chunk] = max(at, last_asked_at.get(chunk, at))
        for chunk, at in sorted(last_asked_at.items(), key=lambda asked: (asked[1], asked[0])):
            if count <= 0 or now - at < after_s:
                break
            if chunk not in self._hungry and self._votes_wanted(chunk):
                count -= 1
                self._hedged[chunk] = self._hedged.get(chunk, 0) + 1
                self._hungry.setdefault(chunk, now)

    def _withdraw_overdue(self, now: float) -> None:
        patience_s = self._config.assignment_max_s + self._ledger.manifest.limits.seconds
        for worker, chunk, at in self._assignments.outstanding():
            age_s = now - at
            if age_s < self._config.accept_assignment_s:
                continue
            leased = any(lease.worker == worker for lease in self._ledger.leases.on(chunk, now))
            if not leased or age_s >= patience_s:
                self._assignments.withdraw(worker, [chunk])
                # Who says that it is on a chunk, and never finishes, will not do so the next time.
                if leased:
                    self._stalling.add(worker)
                self._let_go[chunk] = (*self._let_go.get(chunk, ()), *[worker] * (LET_GO_MAX if leased else 1))
                if self._votes_wanted(chunk):
                    self._first.add(chunk)
                    self.want(chunk, now)

    def _unasked(self, chunk: int) -> Set[bytes]:
        """Who is not asked for a chunk: who has voted on it, let it go too often, or could not confirm it."""
        voters = self._referee.voters(chunk).keys()
        let_go, coming, strangers = self._let_go.get(chunk, ()), self._coming(chunk), self._referee.strangers(chunk)
        if not let_go and not coming and not strangers:
            return voters
        stallers = {worker for worker in let_go if let_go.count(worker) >= LET_GO_MAX}
        return stallers.union(voters, coming, strangers)

    def _starve(self, chunks: Iterable[int], now: float) -> None:
        for chunk in chunks:
            self._hungry.setdefault(chunk, now)

    def _execute_ourselves(self, chunk: int) -> None:
        if self._config.slots:
            self._executing.want([chunk])
