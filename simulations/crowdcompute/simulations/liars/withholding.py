"""Peers that promise and do not deliver. None is convicted: a slow honest machine looks the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crowdcompute.protocol.events import Channel, SendFrame

from .behaviour import Behaviour

if TYPE_CHECKING:
    from crowdcompute.protocol.events import Output


class Withholder(Behaviour):
    """Votes for its large results, rightly, and never sends one."""

    def outputs(self, outputs: list[Output]) -> list[Output]:
        return [output for output in outputs if not (isinstance(output, SendFrame) and output.channel is Channel.BULK)]


class Staller(Behaviour):
    """Leases and never finishes."""

    def finishes(self) -> bool:
        return False
