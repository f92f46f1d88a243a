"""In whose name the creator's part is played: in one's own, or as a steward of whoever is away (spec/stewards.md).

    a steward:  WATCHING <--creator away / creator back--> ACTING

Both count the same votes by the same rules (creator.py). What they say of it differs: a creator's word is final. A
steward convicts nobody, pays nobody and closes no task. What it decides hurries the work and is provisional: the
creator counts the votes itself when it is back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .epochs import epoch_at
from .presence import Presence

if TYPE_CHECKING:
    from .config import ProtocolConfig
    from .custody import Custodial
    from .desk import Desk
    from .identity import Signer
    from .ledger import Ledger
    from .records import Checkpoint, Delegate, Verdict
    from .storage import BlobStore


class Office(Protocol):
    """What differs between a creator and its steward."""

    is_final: bool
    """Whether what we settle is settled."""
    acts: bool
    """Whether what we decide is said: a steward only looks on while its creator is there."""
    voter: Signer
    """Signs and seals our own votes."""
    stewards: dict[bytes, Delegate]
    """Who acts for us while we are away."""
    verdicts: dict[bytes, Verdict]
    strikes: dict[bytes, Verdict]

    def take_up(self, role: Custodial) -> None:
        """Begin."""

    def first_seq(self, now: float) -> int:
        """What was used of our numbers, as far as no record tells."""

    def look(self, now: float) -> None:
        """See whether it is on us to act."""

    def be_there(self, now: float, workers: int) -> None:
        """Let others see that the creator is there, if we are it."""

    def was_away(self, now: float) -> bool:
        """Whether others may have done without us until now."""

    def asks_for_us(self, author: bytes) -> bool:
        """Whether what this author asks of workers is as if we had asked it."""

    def has_inputs(self) -> bool:
        """Whether we can execute any chunk."""

    def convict(self, verdict: Verdict) -> None:
        """From now on this is our verdict."""

    def last_checkpoint(self, shard: int) -> Checkpoint | None:
        """Ours."""


class CreatorsOffice:
    """A task of ours."""

    is_final = True
    acts = True

    def __init__(self, config: ProtocolConfig, signer: Signer, ledger: Ledger, desk: Desk) -> None:
        self.voter = signer
        self.stewards = ledger.delegations
        self.verdicts = ledger.verdicts
        self.strikes = ledger.strikes
        self._ledger = ledger
        self._desk = desk
        self._presence = Presence(config, signer, ledger, desk)

    def take_up(self, role: Custodial) -> None:
        self._desk.custody.take_part(self._ledger.task, role)

    def first_seq(self, now: float) -> int:
        return 0

    def look(self, now: float) -> None:
        """It always is."""

    def be_there(self, now: float, workers: int) -> None:
        self._presence.advance(now, workers)

    def was_away(self, now: float) -> bool:
        return self._presence.was_away(now)

    def asks_for_us(self, author: bytes) -> bool:
        return author == self.voter.public_key

    def has_inputs(self) -> bool:
        return True

    def convict(self, verdict: Verdict) -> None:
        self._desk.publish(self._ledger, verdict)

    def last_checkpoint(self, shard: int) -> Checkpoint | None:
        return self._ledger.checkpoints.get(shard)


class StewardsOffice:
    """A task that we are steward of.

    Args:
        signer: Ours. Our own votes are signed and sealed as every worker's.
    """

    is_final = False

    def __init__(self, config: ProtocolConfig, signer: Signer, ledger: Ledger, desk: Desk, blobs: BlobStore) -> None:
        self.acts = False
        self.voter = signer
        self.stewards: dict[bytes, Delegate] = {}
        # Of whom it finds to lie a steward says nothing: nobody is silenced but by the creator.
        self.verdicts: dict[bytes, Verdict] = {}
        self.strikes: dict[bytes, Verdict] = {}
        self._config = config
        self._ledger = ledger
        self._desk = desk
        self._blobs = blobs

    def take_up(self, role: Custodial) -> None:
        """Get what executing any chunk takes; a worker may have parts of it only."""
        inputs = self._ledger.manifest.inputs
        if inputs is not None and not self.has_inputs():
            self._desk.fetch(inputs.sha256, inputs.size, inputs.root, ())

    def first_seq(self, now: float) -> int:
        return int((self._config.epoch_offset_s + now) * 1_000)  # A steward that lost its store uses no seq again.

    def look(self, now: float) -> None:
        """While its time lasts and the creator is away."""
        if not self._ledger.may_begin(self.voter.public_key, now):
            self.acts = False
            return
        epoch = epoch_at(self._ledger.manifest, now + self._config.epoch_offset_s)
        self.acts = self._ledger.absence(max(epoch, self._ledger.newest_beacon()[0])) is not None

    def be_there(self, now: float, workers: int) -> None:
        """Only the creator can say so."""

    def was_away(self, now: float) -> bool:
        return False

    def asks_for_us(self, author: bytes) -> bool:
        return True

    def has_inputs(self) -> bool:
        inputs = self._ledger.manifest.inputs
        return inputs is None or self._blobs.size(inputs.sha256) is not None

    def convict(self, verdict: Verdict) -> None:
        (self.verdicts if verdict.is_ban else self.strikes)[verdict.worker] = verdict
        self.verdicts.setdefault(verdict.worker, verdict)

    def last_checkpoint(self, shard: int) -> Checkpoint | None:
        return self._ledger.interim.get((self.voter.public_key, shard))
