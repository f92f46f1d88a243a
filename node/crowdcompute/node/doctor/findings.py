"""What a probe finds. A report holds no address, key or credential: people paste it into public places."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Mark(Enum):
    GOOD = "ok"
    BAD = "failed"
    """Something to repair; the sentence says how."""
    NOTE = "note"
    """Not needed to take part, or nothing to try."""


@dataclass(frozen=True, slots=True)
class Finding:
    mark: Mark
    sentence: str


def good(sentence: str) -> Finding:
    return Finding(Mark.GOOD, sentence)


def bad(sentence: str) -> Finding:
    return Finding(Mark.BAD, sentence)


def note(sentence: str) -> Finding:
    return Finding(Mark.NOTE, sentence)
