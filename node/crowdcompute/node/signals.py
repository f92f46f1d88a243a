"""Ctrl+C and SIGTERM: the first one asks to finish, the second one means now."""

from __future__ import annotations

import asyncio
import os
import signal


class Stopping:
    """Set by the first signal; the second ends the process at once with 128 + its number."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: int) -> None:
        if self.asked.is_set():
            # Nothing is lost: what was acknowledged is in the store already.
            os._exit(128 + number)
        self.asked.set()
