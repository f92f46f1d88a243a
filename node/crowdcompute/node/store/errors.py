"""Why the store cannot do its work."""

from __future__ import annotations

from crowdcompute.protocol.storage import NoRoom


class StoreError(Exception):
    """The disk, the folder or the database is unusable. The message is one sentence that says what to do.

    What was acknowledged before is still there. The node should stop with `exit_code`: it must not tell anybody what
    it could not keep.
    """

    exit_code = 3


class QuotaExceeded(StoreError, NoRoom):
    """One more blob would pass the quota. Nothing was kept; the store goes on working."""
