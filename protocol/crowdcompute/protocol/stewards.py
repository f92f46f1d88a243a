"""What a ledger takes of its creator's stewards, and of what they say (spec/stewards.md).

    a steward:  --delegate--> its words are heeded --time over--> they are held --revoke--> they are let go

A worker may be admitted by several: the creator and its stewards. Which of them counts is decided here, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import RemoteProtocolError
from .records import Admit, Assign, Checkpoint, Delegate, Revoke

if TYPE_CHECKING:
    from .ledger import Ledger
    from .records import Record, Signed

STEWARDS_MAX = 64
"""Whom one creator may make stewards of one task, and whom it may revoke."""

STEWARD_ASSIGNS_MAX = 16_384
"""Assignments of stewards that are kept for their creator, which counts with them when it is back; older ones go."""

BY_STEWARD = (Admit, Assign, Checkpoint)
"""What only a creator or its stewards may say."""


class Stewards:
    """The stewards of one task.

    Args:
        is_final: For a creator and whoever counts again for it: what a steward said counts whenever it came.
    """

    def __init__(self, ledger: Ledger, *, is_final: bool) -> None:
        self.delegations: dict[bytes, Delegate] = {}
        """Of each steward that is not revoked the delegation that lasts longest."""
        self.revoked: set[bytes] = set()
        self.interim: dict[tuple[bytes, int], Checkpoint] = {}
        """What each steward says of a shard: its creator has the last word."""
        self._ledger = ledger
        self._is_final = is_final
        self._said: dict[bytes, dict[bytes, None]] = {}  # steward -> ids of what it said as one
        self._admits: dict[bytes, dict[bytes, Admit]] = {}  # worker -> who admitted it
        self._delegation_ids: dict[bytes, bytes] = {}
        self._interim_ids: dict[tuple[bytes, int], bytes] = {}
        self._assigns: dict[bytes, None] = {}

    def check(self, signed: Signed, record: Record) -> None:
        """Whether a record about stewards, or by one, may enter.

        Raises:
            RemoteProtocolError: It may not.
        """
        match record:
            case Delegate(steward=steward) | Revoke(steward=steward):
                if steward == self._ledger.manifest.creator:
                    raise RemoteProtocolError("a creator cannot be its own steward")
                known = self.delegations if isinstance(record, Delegate) else self.revoked
                if steward not in known and len(known) >= STEWARDS_MAX:
                    raise RemoteProtocolError("too many stewards of one task")
            case Checkpoint():
                if record.credits_size and signed.author != self._ledger.manifest.creator:
                    raise RemoteProtocolError("a steward cannot pay: its checkpoint credits somebody")
            case _:
                pass

    def add(self, record_id: bytes, author: bytes, record: Record, now: float) -> bool:
        """Take what is about stewards, an admission, or what a steward says; False when it says nothing new."""
        match record:
            case Delegate():
                return self._add_delegation(record_id, record)
            case Revoke():
                return self._add_revocation(record.steward)
            case Admit() if author == self._ledger.manifest.creator:
                return self._add_admission(author, record)
            case _:
                return author in self.delegations and self._add_word(record_id, author, record, now)

    def _add_delegation(self, record_id: bytes, delegation: Delegate) -> bool:
        steward = delegation.steward
        current = self.delegations.get(steward)
        if steward in self.revoked or (current is not None and current.until_s >= delegation.until_s):
            return False
        if current is not None:
            self._ledger.remove(self._delegation_ids[steward])
        self.delegations[steward] = delegation
        self._delegation_ids[steward] = record_id
        self._said.setdefault(steward, {})
        return True

    def _add_revocation(self, steward: bytes) -> bool:
        """Whoever is revoked is out for good: what it said goes, and its own votes are void."""
        if steward in self.revoked:
            return False
        self.revoked.add(steward)
        if self.delegations.pop(steward, None) is not None:
            self._ledger.remove(self._delegation_ids.pop(steward))
        for record_id in self._said.pop(steward, ()):
            self._assigns.pop(record_id, None)
            self._ledger.remove(record_id)
        for worker, admits in self._admits.items():
            if admits.pop(steward, None) is not None:
                self._elect_admission(worker)
        for key in [key for key in self.interim if key[0] == steward]:
            del self.interim[key], self._interim_ids[key]
        self._ledger.make_void(steward)
        return True

    def _add_word(self, record_id: bytes, steward: bytes, record: Record, now: float) -> bool:
        """What a steward says. When its time is over it moves nobody, and is held for the creator all the same."""
        heeded = self._is_final or self._ledger.may_act(steward, now)
        match record:
            case Admit(worker=worker):
                if steward in self._admits.setdefault(worker, {}):
                    return False
                if heeded:
                    self._add_admission(steward, record)
            case Checkpoint(shard=shard):
                key = (steward, shard)
                current = self.interim.get(key)
                if current is not None:
                    if (current.seq, self._interim_ids[key]) >= (record.seq, record_id):
                        return False
                    self._said[steward].pop(self._interim_ids[key], None)
                    self._ledger.remove(self._interim_ids[key])
                if heeded:
                    self.interim[key], self._interim_ids[key] = record, record_id
            case _:
                self._assigns[record_id] = None
                if len(self._assigns) > STEWARD_ASSIGNS_MAX:
                    oldest = next(iter(self._assigns))
                    del self._assigns[oldest]
                    self._ledger.let_go(oldest)
        self._said[steward][record_id] = None
        return True

    def _add_admission(self, author: bytes, admit: Admit) -> bool:
        admits = self._admits.setdefault(admit.worker, {})
        if author in admits:
            return False
        admits[author] = admit
        self._elect_admission(admit.worker)
        return True

    def _elect_admission(self, worker: bytes) -> None:
        """The creator's admission counts before those of stewards, and of these always the same one."""
        creator, admits = self._ledger.manifest.creator, self._admits[worker]
        first = min(admits, key=lambda author: (author != creator, author), default=None)
        self._ledger.set_admission(worker, None if first is None else admits[first])
