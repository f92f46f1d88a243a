"""A task's epochs, and chains of hashes whose values come out one an epoch (spec/away.md).

    value 0 <--SHA-256-- value 1 <--SHA-256-- ... <--SHA-256-- value n        n: the task's last epoch

The anchor, value 0, is known to all. Only the chain's owner knows the values after the last that it has shown; whoever
is shown one can tell that it is right, and there is exactly one for each epoch. The creator's chain makes beacons, a
worker's the lots it draws.
"""

from __future__ import annotations

import math
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from .codec import Bytes32
from .split import Part

if TYPE_CHECKING:
    from .identity import Signer
    from .manifest import Manifest

EPOCHS_MAX = 65_536
"""Of one task: a chain takes some 30 ms to make or to check then."""

EPOCH_S = 60
"""An epoch as `cc-task` makes it, while a task has few enough of them: research/verification.md section 3.5."""

NO_VALUE = bytes(32)
"""Stands where a value of a chain would, in tasks without epochs."""

_MARK_EVERY = 256


class Epochs(Part, frozen=True):
    """How long an epoch of a task takes, and the anchor of its creator's beacons."""

    seconds: Annotated[int, Meta(ge=1, le=86_400)]
    anchor: Bytes32


class Chain:
    """A chain that we own, from the secret at its end."""

    def __init__(self, secret: bytes, length: int) -> None:
        self.length = length
        # Every 256th value is kept: then any is at most 256 hashes away, and a long chain costs little memory.
        self._marks = {length: secret}
        value = secret
        for epoch in range(length - 1, -1, -1):
            value = sha256(value).digest()
            if epoch % _MARK_EVERY == 0:
                self._marks[epoch] = value

    def value(self, epoch: int) -> bytes:
        """The value of an epoch, 0 being the anchor."""
        mark = min(-(-epoch // _MARK_EVERY) * _MARK_EVERY, self.length)
        return hashed(self._marks[mark], mark - epoch)


class ChainView:
    """Somebody else's chain, of which we know the anchor and what we were shown."""

    def __init__(self, anchor: bytes, length: int) -> None:
        self.length = length
        self._known = {0: anchor}
        self._newest = 0

    def holds(self, epoch: int, value: bytes) -> bool:
        """Whether this is the chain's value of that epoch."""
        if epoch > self.length:
            return False
        if epoch > self._newest:
            if hashed(value, epoch - self._newest) != self._known[self._newest]:
                return False
            self._newest = epoch
        elif epoch not in self._known:
            above = min(known for known in self._known if known > epoch)
            self._known[epoch] = hashed(self._known[above], above - epoch)
        return self._known.setdefault(epoch, value) == value


def hashed(value: bytes, times: int) -> bytes:
    """SHA-256 over and over."""
    for _ in range(times):
        value = sha256(value).digest()
    return value


def epochs_of(created_s: int, expires_s: int, seconds: int) -> int:
    """How many epochs begin after the first one until a task expires."""
    return -(-(expires_s - created_s) // seconds)


def last_epoch(manifest: Manifest) -> int:
    """The number of a task's last epoch; 0 when it has none."""
    epochs = manifest.epochs
    return epochs_of(manifest.created_s, manifest.expires_s, epochs.seconds) if epochs is not None else 0


def epoch_at(manifest: Manifest, unix_s: float) -> int:
    """Which epoch of a task it is. A clock that is wrong gives another number, and nothing worse."""
    if manifest.epochs is None:
        return 0
    passed = math.floor((unix_s - manifest.created_s) / manifest.epochs.seconds)
    return max(0, min(passed, last_epoch(manifest)))


def begins_at(manifest: Manifest, epoch: int) -> float:
    """Unix time at which an epoch begins."""
    return manifest.created_s + epoch * (manifest.epochs.seconds if manifest.epochs is not None else 0)


def beacon_chain(signer: Signer, code: bytes, created_s: int, length: int) -> Chain:
    """The chain of a creator's beacons. It follows from what is known before the manifest is signed."""
    return Chain(signer.derive(b"beacon" + code + created_s.to_bytes(8)), length)


def make_epochs(signer: Signer, code: bytes, created_s: int, expires_s: int, seconds: int = EPOCH_S) -> Epochs:
    """The epochs of a task that is about to be signed: of `seconds`, or longer where those would be too many."""
    seconds = min(86_400, max(seconds, -(-(expires_s - created_s) // EPOCHS_MAX)))
    chain = beacon_chain(signer, code, created_s, epochs_of(created_s, expires_s, seconds))
    return Epochs(seconds, chain.value(0))
