"""Who may act for an absent creator in one of its tasks, and the keys for it (spec/stewards.md).

    a peer:  NOBODY --delegate--> STEWARD --time over, revoke--> NOBODY      (what a steward does: office.py)

Votes are sealed to a key that belongs to one task. Its secret opens that task's votes and nothing else: a steward
that has it can neither read the creator's other tasks nor sign in its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import LocalProtocolError, RemoteProtocolError
from .identity import NONCE_BYTES
from .manifest import task_seals, task_secret
from .records import Delegate

if TYPE_CHECKING:
    from random import Random

    from .identity import PeerId, Sealing, Signer
    from .ledger import Ledger
    from .manifest import Manifest

CONTEXT = b"delegate"
"""Before the task id it is the context under which a task's secret is sealed to a steward."""


class TaskSigner:
    """Signs as one peer, and opens and seals with a task's own key."""

    def __init__(self, signer: Signer, seals: Sealing) -> None:
        self.public_key: bytes = signer.public_key
        self.peer_id: PeerId = signer.peer_id
        self.seal_key: bytes = seals.seal_key
        self.sign = signer.sign
        self.derive = signer.derive
        self.sealing = signer.sealing
        self.seal = seals.seal
        self.unseal = seals.unseal


def creators_signer(signer: Signer, manifest: Manifest) -> Signer:
    """What the creator of a task signs and seals with: in old tasks its own keys, else the task's."""
    seals = task_seals(signer, manifest)
    return TaskSigner(signer, seals) if seals.seal_key == manifest.seal_key else signer


def delegate(signer: Signer, ledger: Ledger, steward: bytes, until_s: int, rng: Random, *, trusted: bool) -> Delegate:
    """The record that lets `steward` act in a task until a moment.

    Raises:
        LocalProtocolError: It cannot be; the sentence says why.
    """
    manifest = ledger.manifest
    join = ledger.joins.get(steward)
    seals = task_seals(signer, manifest)
    if steward == manifest.creator:
        raise LocalProtocolError("you are the creator of this task: a steward is another peer")
    if steward in ledger.revoked:
        raise LocalProtocolError("this peer was revoked, which is for good: choose another one for this task")
    if ledger.is_void(steward):
        raise LocalProtocolError("this peer was convicted in this task: choose another one")
    if manifest.epochs is None:
        raise LocalProtocolError("this task has no epochs, so nobody could see that you are away: publish it with them")
    if seals.seal_key != manifest.seal_key:
        raise LocalProtocolError("this task was published by an older version, with votes that only your own key opens")
    if join is None:
        raise LocalProtocolError("this peer has not joined the task: start `cc-node steward` there, and try again")
    if until_s > manifest.expires_s:
        raise LocalProtocolError("the task expires before that: choose a shorter time")
    current = ledger.delegations.get(steward)
    if current is not None and until_s <= current.until_s:
        raise LocalProtocolError("this peer may act for that long already: choose a longer time, or revoke it")
    try:
        sealed = task_seals(signer, manifest).seal(
            join.seal_key, CONTEXT + ledger.task, task_secret(signer, manifest), rng.randbytes(NONCE_BYTES)
        )
    except RemoteProtocolError:
        raise LocalProtocolError("nothing can be sealed to this peer: its seal key is no usable one") from None
    return Delegate(ledger.task, steward, until_s, trusted, sealed)


def stewards_signer(signer: Signer, manifest: Manifest, delegation: Delegate) -> Signer:
    """What the steward of a task signs and opens with.

    Raises:
        RemoteProtocolError: The delegation does not carry the task's secret.
    """
    secret = signer.unseal(manifest.seal_key, CONTEXT + delegation.task, delegation.sealed)
    seals = signer.sealing(secret)
    if seals.seal_key != manifest.seal_key:
        raise RemoteProtocolError("a delegation carries another secret than its task's")
    return TaskSigner(signer, seals)
