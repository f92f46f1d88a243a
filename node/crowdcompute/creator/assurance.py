"""What a task's [verify] asks for, with the task's own numbers: for whoever writes task.toml (docs/task-toml.md).

The numbers are policy.py's. Here they become facts a creator can decide by: what certainty costs, what the certificate
will say, and where volunteers alone cannot give it, so that the creator's own node has to execute chunks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crowdcompute.protocol.manifest import CHUNKS_MAX
from crowdcompute.protocol.policy import (
    CONFIDENCE,
    CONFIDENCE_AFTER_CONVICTION,
    audit_share,
    audits_needed,
    eps_within_reach,
)

if TYPE_CHECKING:
    from crowdcompute.protocol.manifest import Policy

EPS_MIN = 1 / CHUNKS_MAX
"""A smaller share than one result of the largest task there can be."""

LIARS_BELOW = 0.5
"""From half of the work on, liars who agree outvote the honest."""

BULK_CHUNKS = 100
"""Replication 1 is for 50 chunks a volunteer and more (spec/verification.md), and an audit takes a second volunteer."""

_COUNT_MAX = 2.0**53


@dataclass(frozen=True, slots=True)
class Assurance:
    """What a policy means for a task of so many chunks."""

    policy: Policy
    chunks: int

    @property
    def audit_share(self) -> float:
        """Audits per chunk, as expected of an honest task; where audits do not suffice, our own execution."""
        return audit_share(self.policy, self.chunks)

    @property
    def executions(self) -> float:
        """Executions per chunk, as expected of an honest task; at least as many where audits do not suffice."""
        return self.policy.replication + self.audit_share

    @property
    def extra_work(self) -> float:
        """What audits add to the replicated work, as a share of it."""
        return self.audit_share / self.policy.replication

    @property
    def audits_needed(self) -> int:
        """Clean audits by volunteers that certify eps; also the chunks a task must have for one audit each to do."""
        return _count(audits_needed(self.policy, convicted=False))

    @property
    def audits_suffice(self) -> bool:
        """Whether one audit of each chunk is enough, so that the creator's own node is not needed."""
        return self.chunks >= self.audits_needed

    @property
    def volunteers_needed(self) -> int:
        """Volunteers without whom chunks cannot be audited often enough: nobody votes on one chunk twice."""
        return self.policy.replication + math.ceil(self.audits_needed / self.chunks)

    @property
    def eps_within_reach(self) -> float:
        """The smallest eps that one audit of each chunk certifies."""
        return eps_within_reach(self.policy, self.chunks, convicted=False)

    @property
    def own_executions(self) -> int:
        """Chunks that the creator's own node may have to execute although nobody lies."""
        return 0 if self.audits_suffice else self.chunks

    @property
    def audits_after_conviction(self) -> int:
        """Fresh audits, each of another chunk, once somebody was convicted of lying."""
        return _count(audits_needed(self.policy, convicted=True))

    @property
    def own_executions_after_conviction(self) -> int:
        """Chunks that the creator's own node then has to execute: its word counts 1, a volunteer's 1 - liars."""
        liars = self.policy.liars
        trusted = audits_needed(self.policy, convicted=True) * (1 - liars)
        if self.chunks < trusted:
            return self.chunks
        missing = trusted - self.chunks * (1 - liars)
        return 0 if missing <= 0 else min(self.chunks, math.ceil(missing / liars))

    @property
    def promise(self) -> str:
        """What 'certified' will mean."""
        return (
            f"at most {_share(self.policy.eps)} results wrong, at {CONFIDENCE:.0%} confidence, if at most "
            f"{100 * self.policy.liars:.3g}% of the work lies"
        )

    def lines(self) -> list[tuple[str, str]]:
        """The explanation, line by line, each with a word before it."""
        replication = self.policy.replication
        volunteers = "1 volunteer" if replication == 1 else f"{replication} volunteers"
        certified = ("certified", f"will mean {self.promise}; {self.audits_needed:,} clean audits show it")
        if not self.audits_suffice:
            return [("checking", f"each chunk is computed by {volunteers}, then audited: see below"), certified]
        checking = (
            f"each chunk is computed by {volunteers}, and audited {_times(self.audit_share)} on average: "
            f"{self.executions:.2f} executions a chunk, {self.extra_work:.1%} extra work"
        )
        if replication == 1:
            checking += ", and the first results of every new volunteer"
        lied = (
            f"when somebody was convicted of lying, {self.audits_after_conviction:,} fresh audits show it, at "
            f"{CONFIDENCE_AFTER_CONVICTION:.0%} confidence"
        )
        if self.own_executions_after_conviction:
            lied += f"; your own node then executes {self.own_executions_after_conviction:,} chunks"
        return [("checking", checking), certified, ("", lied)]

    def warnings(self) -> list[str]:
        """What the creator should know before it signs."""
        found = []
        if not self.audits_suffice:
            found.append(self._too_few_chunks())
        if self.policy.replication == 1 and self.chunks < BULK_CHUNKS:
            found.append(
                f"replication 1 is for tasks of 50 chunks a volunteer and more: of {self.chunks:,} chunks one wrong "
                "result may well stay; take 2"
            )
        return found

    def _too_few_chunks(self) -> str:
        words = (
            f"one audit of each of the {self.chunks:,} chunks cannot show {_share(self.policy.eps)} wrong: "
            f"your own node will execute all {self.chunks:,} chunks"
        )
        if self.policy.eps * self.chunks >= 1:
            often = _times(self.audits_needed / self.chunks)
            words += f", unless {self.volunteers_needed:,} volunteers or more audit each {often}"
        choices = []
        if self.eps_within_reach < 1:
            choices.append(f"eps >= {_rounded_up(self.eps_within_reach)}")
        if self.audits_needed <= CHUNKS_MAX:
            choices.append(f"cut the work into >= {self.audits_needed:,} chunks")
        return f"{words}; to spare it choose {' or '.join(choices)}" if choices else words

    def report(self) -> dict[str, Any]:
        """The same numbers for programs."""
        return {
            "replication": self.policy.replication,
            "eps": self.policy.eps,
            "liars": self.policy.liars,
            "pow_bits": self.policy.pow_bits,
            "certified_means": self.promise,
            "confidence": CONFIDENCE,
            "audits_per_chunk": self.audit_share,
            "executions_per_chunk": self.executions,
            "extra_work": self.extra_work,
            "audits_needed": self.audits_needed,
            "audits_suffice": self.audits_suffice,
            "own_executions_at_most": self.own_executions,
            "volunteers_needed": self.volunteers_needed,
            "chunks_for_audits_alone": self.audits_needed,
            "eps_for_audits_alone": self.eps_within_reach,
            "after_conviction": {
                "confidence": CONFIDENCE_AFTER_CONVICTION,
                "audits_needed": self.audits_after_conviction,
                "own_executions": self.own_executions_after_conviction,
            },
        }


def _count(audits: float) -> int:
    # A stranger's bundle may ask for what no number of audits shows.
    return math.ceil(min(audits, _COUNT_MAX))


def _share(share: float) -> str:
    if share < EPS_MIN:
        return f"{share:g} of the"
    one_in = round(1 / share)
    return f"1 in {one_in:,}" if math.isclose(one_in * share, 1, rel_tol=1e-9) else f"{100 * share:.3g}% of the"


def _times(audits: float) -> str:
    return f"{audits:.3f} times" if audits < 1 else f"{audits:,.1f} times"


def _rounded_up(share: float) -> str:
    """Three digits that are not below `share`: a person who types them must get what was promised."""
    digits = 2 - math.floor(math.log10(share))
    return f"{math.ceil(share * 10**digits) / 10**digits:.3g}"
