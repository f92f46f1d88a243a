"""What the feeds of a stream say: which chunks there are, with which inputs, and whether more come (spec/streams.md).

    a stream:  OPEN --feed--> OPEN --the feed that ends it--> ENDED
                 '---- two inputs of one chunk, or two ends ----'--> FORKED

A function of the set of feeds, like all that a ledger says: it does not matter in which order they come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .records import Feed

FED_BYTES_MAX = 1_024
"""The longest input of a stream's chunk. Everybody who follows the task holds the inputs of all its chunks: 4 MiB."""


FEED_BYTES_MAX = 40 * 1024
"""Inputs of one feed, together: with what stands beside each they fit a record."""

FEED_CALLS_MAX = 1_024


def parts_of(inputs: Sequence[bytes]) -> list[tuple[bytes, ...]]:
    """The same inputs, cut so that each part fits a feed."""
    parts: list[list[bytes]] = []
    size = 0
    for data in inputs:
        if not parts or size + len(data) > FEED_BYTES_MAX or len(parts[-1]) == FEED_CALLS_MAX:
            parts.append([])
            size = 0
        parts[-1].append(data)
        size += len(data)
    return list(map(tuple, parts))


class Fed:
    """The chunks of one stream."""

    def __init__(self) -> None:
        self.inputs: dict[int, bytes] = {}
        self.end: int | None = None
        """How many chunks it has, once its creator has said so."""
        self.count = 0
        """Chunks from the first on without a gap: all of them, but for feeds that are still on their way."""
        self.is_forked = False
        """Its creator has signed two things that exclude each other: no verdict of its counts, and nobody computes."""

        self._last = -1

    @property
    def is_ended(self) -> bool:
        """Whether all its chunks are here, and no more will come."""
        return self.end is not None and self.count >= self.end

    def add(self, feed: Feed) -> bool:
        """Add one feed. False when it says nothing new; of what is forked one proof is enough."""
        if self.is_forked:
            return False
        is_new = False
        for chunk, data in enumerate(feed.inputs, feed.first):
            known = self.inputs.get(chunk)
            if known is None:
                self.inputs[chunk] = data
                is_new = True
            elif known != data:
                self.is_forked = True
        while self.count in self.inputs:
            self.count += 1
        after = feed.first + len(feed.inputs)
        if feed.inputs:
            self._last = max(self._last, after - 1)
        if feed.ends:
            is_new |= self.end is None
            self.is_forked |= self.end is not None and self.end != after
            self.end = after if self.end is None else self.end
        self.is_forked |= self.end is not None and self._last >= self.end
        return is_new or self.is_forked
