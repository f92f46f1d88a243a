"""How a sealed commit becomes votes that count (spec/ledger.md, "Sealed batches").

a commit:  SEALED --it opens--> HELD until the results that it only names are here (named.py) --> COUNTED
              '--it does not--> its author is convicted (convicting.py)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .batch import custodians_of, open_commit
from .lineage import rests_of
from .named import Held
from .opening import check_compared

if TYPE_CHECKING:
    from .collecting import Collecting
    from .identity import Signer
    from .ledger import Ledger
    from .named import Named
    from .records import Commit, Signed


class Counting:
    """The commits of one task, as they are opened.

    Args:
        signer: Opens with the task's keys.
        compared: Whether results are compared as numbers: then counting takes their bytes.
    """

    def __init__(self, signer: Signer, ledger: Ledger, named: Named, collecting: Collecting, *, compared: bool) -> None:
        self.votes = 0
        """Executions that somebody told us of, our own among them."""
        self._signer = signer
        self._ledger = ledger
        self._named = named
        self._collecting = collecting
        self._compared = compared

    def seal_key(self, author: bytes) -> bytes | None:
        """What an author's commits are sealed with; None of whom we know no join."""
        if author == self._ledger.manifest.creator:
            return self._ledger.manifest.seal_key
        join = self._ledger.joins.get(author)
        return None if join is None else join.seal_key

    def open(self, signed: Signed, commit: Commit, seal_key: bytes, now: float, *, fetch: bool) -> list[Held]:
        """What can be counted now that a commit came; `fetch` gets what it lacks at once.

        Raises:
            RemoteProtocolError: It does not open, or not to votes of this task.
        """
        author = signed.author
        leaves = open_commit(self._signer, seal_key, author, commit)
        if self._compared:
            check_compared(leaves)
        self.votes += len(leaves)
        if any(leaf.sealed for leaf in leaves):
            self._collecting.kept_by(author, custodians_of(self._signer, seal_key, commit))
        whole = Held(author, commit.seq, signed.record_id, tuple(leaves), rests_of(commit))
        return self._named.take(whole, now, fetch=fetch) if self._compared else [whole]
