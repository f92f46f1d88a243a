"""Base of liars that publish other records than their peer signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crowdcompute.protocol.events import Channel, SendFrame
from crowdcompute.protocol.frames import Publish, decode_frame, encode_frame

from .behaviour import Behaviour

if TYPE_CHECKING:
    from crowdcompute.protocol.events import Output
    from crowdcompute.protocol.identity import PeerId
    from crowdcompute.protocol.records import Signed


class Rewriting(Behaviour):
    """Changes the records of each `Publish` frame on its way out."""

    def records(self, to: PeerId, records: tuple[Signed, ...]) -> tuple[Signed, ...]:
        """What the neighbour gets in the place of these."""
        return records

    def outputs(self, outputs: list[Output]) -> list[Output]:
        return [self._output(output) if isinstance(output, SendFrame) else output for output in outputs]

    def _output(self, output: SendFrame) -> SendFrame:
        if output.channel is not Channel.CONTROL:
            return output
        frame = decode_frame(output.frame)
        if not isinstance(frame, Publish):
            return output
        records = self.records(output.peer_id, frame.records)
        return SendFrame(output.peer_id, output.channel, encode_frame(Publish(frame.topic, records)))
