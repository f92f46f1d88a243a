"""What is compared, by name: ours, and what others do."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from .adaptive import adaptive_replication
from .blind_audits import blind_audits
from .credibility import credibility_voting
from .majority import first_two, two_of_three

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .adversaries import Adversary
    from .sizes import Result, Size


class Scheme(Protocol):
    def __call__(self, size: Size, adversary: Adversary, liars: float, seed: int) -> Result: ...


OURS = ("ours, 1 vote", "ours, 2 votes")
BASELINES = ("first 2 equal", "2 of 3", "BOINC adaptive", "credibility")

SCHEMES: Mapping[str, Scheme] = {
    "ours, 1 vote": partial(blind_audits, replication=1),
    "ours, 2 votes": partial(blind_audits, replication=2),
    "first 2 equal": first_two,
    "2 of 3": two_of_three,
    "BOINC adaptive": adaptive_replication,
    "credibility": credibility_voting,
}
