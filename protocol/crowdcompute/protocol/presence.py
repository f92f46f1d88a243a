"""How a creator says that it is there: one beacon an epoch (spec/away.md, "Beacons").

AWAY --starts--> THERE since epoch n --each new epoch--> a beacon --stops, or sleeps through an epoch--> AWAY
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .epochs import beacon_chain, epoch_at, last_epoch
from .records import Beacon

if TYPE_CHECKING:
    from .config import ProtocolConfig
    from .desk import Desk
    from .identity import Signer
    from .ledger import Ledger


class Presence:
    """The beacons of one task of ours."""

    def __init__(self, config: ProtocolConfig, signer: Signer, ledger: Ledger, desk: Desk) -> None:
        self._config = config
        self._ledger = ledger
        self._desk = desk
        self._since: int | None = None
        self._epoch = 0
        manifest = ledger.manifest
        self._chain = None
        if manifest.epochs is not None:
            chain = beacon_chain(signer, manifest.code.sha256, manifest.created_s, last_epoch(manifest))
            # A task whose anchor another program made, in a way of its own, gets no beacons from us.
            self._chain = chain if chain.value(0) == manifest.epochs.anchor else None

    def was_away(self, now: float) -> bool:
        """Whether workers may have done without us until now."""
        return self._ledger.absence(self._epoch_at(now)) is not None

    def _epoch_at(self, now: float) -> int:
        return epoch_at(self._ledger.manifest, now + self._config.epoch_offset_s)

    def advance(self, now: float, workers: int) -> None:
        """Say that we are there, once an epoch."""
        if self._chain is None:
            return
        epoch = self._epoch_at(now)
        if self._since is None or epoch > self._epoch + 1:
            self._since = epoch
        elif epoch <= self._epoch:
            return
        self._epoch = epoch
        if epoch:
            self._desk.publish(
                self._ledger, Beacon(self._ledger.task, epoch, self._since, self._chain.value(epoch), workers)
            )
