"""Which tasks a peer works for: what its volunteer allows, and what the task asks of it.

a task:  SEEN --acceptable--> worked for --not any more--> rests --again--> goes on      (peer.py, worker.py)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .permissions import is_fetched

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .config import ProtocolConfig
    from .ledger import Ledger
    from .vouching import Vouches
    from .worker import WorkerRole


class Accepting:
    """The choice of one peer.

    Args:
        us: Our key: nobody works for a task of its own.
        workers: The tasks that are worked for, or were.
        stewarded: The tasks that we are steward of: whoever judges votes casts none.
    """

    def __init__(
        self,
        config: ProtocolConfig,
        us: bytes,
        vouches: Vouches,
        workers: Mapping[bytes, WorkerRole],
        stewarded: Mapping[bytes, object],
    ) -> None:
        self.chosen: frozenset[bytes] | None = None
        """The only tasks that the volunteer wants, if it chose any."""
        self.finishing = False
        """Nothing is begun any more."""
        self._config = config
        self._us = us
        self._vouches = vouches
        self._workers = workers
        self._stewarded = stewarded

    def accepts(self, ledger: Ledger, slots: int, now: float) -> bool:
        """Whether to work for a task with so many slots."""
        config, manifest = self._config, ledger.manifest
        return (
            config.work
            and slots > 0
            and ledger.task not in self._stewarded
            and (self.chosen is None or ledger.task in self.chosen)
            and not self.finishing
            and manifest.creator != self._us
            and manifest.runtime in config.runtimes
            and (not is_fetched(manifest) or self._vouches.verified(manifest, now + config.epoch_offset_s) is not None)
            and (config.accept_creators is None or manifest.creator in config.accept_creators)
            and manifest.limits.memory_bytes <= config.memory_bytes_max
            and manifest.limits.seconds <= config.seconds_max
            and (manifest.inputs is None or manifest.inputs.size <= config.blob_bytes_max)
            and manifest.policy.pow_bits <= config.pow_bits_max
            and self._bytes_for(ledger) <= config.creator_bytes_max
        )

    @property
    def fetches(self) -> bool:
        """Whether tasks that have addresses fetched are worked for at all, so that it matters who answers for them."""
        return "net" in self._config.runtimes and not self.finishing

    def _bytes_for(self, ledger: Ledger) -> int:
        """Code and inputs of this task and of the others we work on for the same creator."""
        creator = ledger.manifest.creator
        tasks = {role.ledger.task: role.ledger for role in self._workers.values() if not role.done}
        tasks[ledger.task] = ledger
        blobs = {
            ref.sha256: ref.size
            for each in tasks.values()
            if each.manifest.creator == creator
            for ref in (each.manifest.code, each.manifest.inputs)
            if ref is not None
        }
        return sum(blobs.values())
