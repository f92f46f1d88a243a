"""What follows from the votes on one chunk, each time they say something else (spec/ledger.md).

a chunk:  OPEN --votes--> SEALED --enough--> AGREED --result here--> accepted
                             '--two values--> DISPUTED --our own execution--'   (tally.py)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .events import Notable
from .tally import ChunkState

if TYPE_CHECKING:
    from collections.abc import Callable

    from .certifying import Certifying
    from .closing import Closing
    from .collecting import Collecting
    from .dispatching import Dispatch
    from .executing import Executing
    from .referee import Referee
    from .results import Results
    from .tally import ChunkTally


class Settling:
    """The chunks of one task, as the creator or its steward settles them.

    Args:
        referee: Says what the votes say.
        results: Keeps what holds, which only this module changes while the task runs.
        closing: Draws the audits of what agrees, and counts them.
        dispatch: Has others execute what wants votes.
        executing: Has our own node execute what is in dispute.
        collecting: Gets the bytes of a result that counts.
        certifying: Says in the next checkpoint what has changed.
        notice: Tells whoever watches what became of a chunk.
    """

    def __init__(
        self,
        referee: Referee,
        results: Results,
        closing: Closing,
        dispatch: Dispatch,
        executing: Executing,
        collecting: Collecting,
        certifying: Certifying,
        notice: Callable[[Notable, int, str], None],
    ) -> None:
        self.mismatches = 0
        """Accepted results that turned out wrong."""
        self._referee = referee
        self._results = results
        self._closing = closing
        self._dispatch = dispatch
        self._executing = executing
        self._collecting = collecting
        self._certifying = certifying
        self._notice = notice
        self._disputed: set[int] = set()
        """Chunks that we execute for no other reason than that their votes differ."""
        self._retracted: dict[int, bytes] = {}
        """What was accepted of chunks that reopened: should something else be accepted now, it was wrong."""

    def settle(self, chunk: int, now: float) -> None:
        """The votes on a chunk, or what is here of its result, have changed."""
        self._closing.account(chunk)
        tally = self._referee.chunk(chunk)
        self._take_back(chunk, tally, now)
        match tally.state:
            case ChunkState.DISPUTED if chunk not in self._executing:
                self._disputed.add(chunk)
                self._executing.want([chunk])
                self._notice(Notable.DISPUTE, chunk, "")
            case ChunkState.FAILED if chunk not in self._results.failed:
                self._results.fail(chunk)
                self._certifying.changed(chunk, now)
                self._notice(Notable.CHUNK_FAILED, chunk, "; ".join(self._results.reasons(chunk)))
            case ChunkState.AGREED:
                assert tally.value is not None
                self._agreed(chunk, tally.value, now)
            case _:
                pass
        self._dispatch.voted(chunk, now)

    def _take_back(self, chunk: int, tally: ChunkTally, now: float) -> None:
        """Hold no longer to what the votes do not say any more."""
        results = self._results
        value = results.accepted.get(chunk)
        if value is not None and tally.value is not None and self._referee.is_same(chunk, value, tally.value):
            if value != tally.value:
                # Another of the votes that agree stands for them now: its result, inside of it, replaces the other.
                del results.accepted[chunk]
        elif value is not None:
            del results.accepted[chunk]
            self._retracted[chunk] = value
            self._certifying.changed(chunk, now)
            self._notice(Notable.CHUNK_REOPENED, chunk, "")
        if chunk in results.failed and tally.state is not ChunkState.FAILED:
            results.fails_no_more(chunk)
            self._certifying.changed(chunk, now)
        if tally.state is not ChunkState.DISPUTED and chunk in self._disputed:
            # A conviction on another chunk has settled this one.
            self._disputed.discard(chunk)
            self._executing.forget([chunk])

    def _agreed(self, chunk: int, value: bytes, now: float) -> None:
        if not self._referee.is_same(chunk, self._retracted.pop(chunk, value), value):
            self.mismatches += 1
            self._closing.mistaken()
        self._closing.agreed(chunk)
        if chunk in self._results.accepted:
            return
        leaf = self._referee.leaf(chunk, value)
        if not self._collecting.has(leaf):
            self._collecting.fetch(chunk, value, leaf)
            return
        self._results.accepted[chunk] = value
        self._certifying.changed(chunk, now)
        self._notice(Notable.CHUNK_ACCEPTED, chunk, leaf.status.name.lower())
