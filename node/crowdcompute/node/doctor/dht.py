"""Whether nodes can be found without any signaling server: the row that libp2p links fill."""

from __future__ import annotations

import importlib.util

from .findings import Finding, note


async def dht() -> Finding:
    if importlib.util.find_spec("libp2p") is None:
        return note("Not installed: `pip install 'crowdcompute[libp2p]'` finds nodes without a signaling server.")
    return note("Installed, but this version makes no libp2p links.")
