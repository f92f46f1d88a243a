"""Which chunks the creator has re-executed, and when that is enough (spec/verification.md, "Certificate").

Two phases. While the task runs, every chunk that comes to agree draws a Poisson number of audits by the creator's own
secret dice: uniform, and unknown to whoever voted. When all chunks are closed:

a) nobody was convicted: all audits so far count; if they do not suffice, more chunks are drawn.
b) somebody was: whatever was audited while liars were at work proves little, so a fresh uniform sample over *all*
   chunks is drawn, without replacement. A sampled chunk that the creator has executed itself counts at once.

An accepted result that turns out wrong discards the sample; a conviction alone does not, or whoever accuses the honest
under ever new keys would keep a task open (docs/verification.md). A worker's audit counts (1 - liars), the creator's
own fully, and a task all of whose chunks the creator executed has nothing left to be wrong.

    phase b:  SAMPLE --no mistake, enough strength--> certified
               |  ^
        many mistakes, and much audited before: a further sample would mostly look where somebody has looked
               v  |
              SEARCH: as many audits, of the chunks that had fewest. They find, and prove nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .policy import (
    CONFIDENCE,
    CONFIDENCE_AFTER_CONVICTION,
    SEARCH_ABOVE,
    audit_share,
    audit_strength,
    error_bound,
    poisson_upper_limit,
    probation_share,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Set
    from random import Random

    from .manifest import Policy


PASSES_MAX = 2
"""How often, on average, each chunk of an honest task may be audited for its certificate. A guess: a task so small that
this does not suffice takes its creator less time than everybody else."""


class Auditor:
    """Draws audits and adds up what they prove. It asks `audits_of` for what has been done on a chunk so far."""

    def __init__(self, policy: Policy, chunks: int, rng: Random) -> None:
        self.chunks = chunks
        """From which more are drawn. A stream may end with fewer than it was begun for."""
        self._policy = policy
        self._share = audit_share(policy, chunks)
        self._planned = chunks
        self._rng = rng
        self._drawn: dict[int, int] = {}
        self._sample: dict[int, int] | None = None  # chunk -> worker audits it had when drawn
        self._unsampled: list[int] = []
        self._sampled_before = False
        self._mistakes = 0  # since the last drawing of phase b

    def agreed(self, chunk: int, vetted: int) -> int:
        """A chunk's votes agree: draw its audits, if that was not done before, and return how many.

        `vetted` counts the audits drawn so far on its least known voter. RLBA counts confirmed votes instead; but here
        confirmations come a batch later, and a whole first batch would be audited chunk by chunk meanwhile.
        """
        if chunk in self._drawn:
            return 0
        count = self._poisson(self._share)
        if self._rng.random() < probation_share(self._policy, self._planned, vetted):
            count += 1
        self._drawn[chunk] = count
        return count

    def due(self, chunk: int, done: int) -> int:
        """Audits this chunk still needs, given how many it has had."""
        return max(0, self._drawn.get(chunk, 0) - done)

    def mistaken(self) -> None:
        """An accepted result turned out wrong: a sample drawn before says nothing any more."""
        self._sample = None
        self._mistakes += 1

    @property
    def sampling(self) -> bool:
        """Whether a fresh sample has been drawn (phase b)."""
        return self._sample is not None

    def confidence(self, *, convicted: bool) -> float:
        """The confidence a certificate states."""
        return CONFIDENCE_AFTER_CONVICTION if convicted else CONFIDENCE

    def strength(self, worker_audits: int, creator_audits: int, audits_of: Callable[[int], tuple[int, bool]]) -> float:
        """What the audits that count in the current phase add up to."""
        if self._sample is None:
            return audit_strength(self._policy, worker_audits, creator_audits)
        by_workers = by_creator = 0
        for chunk, before in self._sample.items():
            done, trusted = audits_of(chunk)
            if trusted:
                by_creator += 1
            else:
                by_workers += min(1, max(0, done - before))
        return audit_strength(self._policy, by_workers, by_creator)

    def gain(self, chunk: int, audits_of: Callable[[int], tuple[int, bool]]) -> float:
        """What the creator's own execution of a chunk adds to the strength: in the sample it replaces an audit."""
        if self._sample is None:
            return 1.0
        audited = min(1, max(0, audits_of(chunk)[0] - self._sample.get(chunk, 0)))
        return 1.0 - audit_strength(self._policy, audited, 0)

    def required(self, *, convicted: bool) -> float:
        """The strength that certifies the task's eps."""
        alpha = 1 - (CONFIDENCE_AFTER_CONVICTION if convicted else CONFIDENCE)
        return poisson_upper_limit(0, alpha) / self._policy.eps

    def bound(self, strength: float, *, convicted: bool, all_trusted: bool) -> float:
        """Upper confidence limit on the share of wrong results."""
        return 0.0 if all_trusted else error_bound(strength, 0, convicted=convicted)

    def draw_more(
        self,
        strength: float,
        *,
        convicted: bool,
        by_workers: bool,
        audits_of: Callable[[int], tuple[int, bool]],
        failed: Set[int] = frozenset(),
    ) -> set[int]:
        """All chunks are closed and the strength does not suffice: draw further chunks, uniformly or to search.

        `by_workers` says whether anybody but the creator can audit; `failed` chunks have nothing to audit. Returns the
        chunks that now have audits due; an empty set means that audits cannot suffice, and only the creator's own
        executions can add strength. Then none is asked for: volunteers' time is not wasted on what the creator has to
        do anyway.
        """
        weight = (1 - self._policy.liars) if by_workers else 1.0
        if convicted and self._sample is None:
            count = math.ceil(self.required(convicted=True) / weight - 1e-9)
            if self._is_search_due(audits_of) and by_workers and count <= self.chunks - len(failed):
                searched = self._search(count, audits_of, failed)
                if searched:
                    return searched
            self._sample, strength = {}, 0.0
            self._unsampled = self._rng.sample(range(self.chunks), self.chunks)
        self._unsampled = [chunk for chunk in self._unsampled if chunk not in failed]
        missing = math.ceil((self.required(convicted=convicted) - strength) / weight - 1e-9)
        if self._sample is not None and missing > len(self._unsampled):
            self._sample.update((chunk, audits_of(chunk)[0]) for chunk in self._unsampled)
            self._unsampled = []
        elif self._sample is None and missing > PASSES_MAX * (self.chunks - len(failed)):
            return set()
        elif self._sample is None and not self._unsampled:
            everything = self._rng.sample(range(self.chunks), self.chunks)
            self._unsampled = [chunk for chunk in everything if chunk not in failed]
        drawn: set[int] = set()
        while missing > 0 and self._unsampled:
            chunk = self._unsampled.pop()
            done, trusted = audits_of(chunk)
            if self._sample is not None:
                self._sample[chunk] = done
            elif trusted:
                continue
            missing -= 1
            if not trusted:
                self._drawn[chunk] = done + 1
                drawn.add(chunk)
        return drawn

    def _is_search_due(self, audits_of: Callable[[int], tuple[int, bool]]) -> bool:
        """Whether another sample would hardly be clean, and mostly look where somebody has looked before."""
        mistakes, self._mistakes = self._mistakes, 0
        first, self._sampled_before = not self._sampled_before, True
        audited = sum(done > 0 or trusted for done, trusted in map(audits_of, range(self.chunks)))
        return not first and mistakes * audited > SEARCH_ABOVE * self.chunks

    def _search(self, count: int, audits_of: Callable[[int], tuple[int, bool]], failed: Set[int]) -> set[int]:
        """Ask for one more audit each of the chunks that had fewest: among them the lies are that nobody has found."""
        had = {
            chunk: done
            for chunk in self._rng.sample(range(self.chunks), self.chunks)
            for done, trusted in (audits_of(chunk),)
            if not trusted and chunk not in failed
        }
        searched = set(sorted(had, key=had.__getitem__)[:count])  # Sorting is stable: equals stay in random order.
        self._drawn.update((chunk, had[chunk] + 1) for chunk in searched)
        return searched

    def _poisson(self, mean: float) -> int:
        # Knuth's product of uniforms; means here are at most 1.
        limit, count, product = math.exp(-mean), 0, self._rng.random()
        while product > limit:
            count += 1
            product *= self._rng.random()
        return count
