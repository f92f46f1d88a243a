"""Waiting until a runtime is on its network, and saying plainly why it is not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .exits import CommandError, Exit
from .signaling_client import SignalingState

if TYPE_CHECKING:
    from .runtime import Runtime

REACH_WITHIN_S = 10.0
"""A signaling server that does not answer in this time is called unreachable."""

CLOCK_SKEW_MAX_S = 300.0
"""Beyond five minutes, tasks would seem expired or not yet made."""


async def join(runtime: Runtime) -> None:
    """Return once the signaling server has let us in.

    Raises:
        CommandError: It cannot be reached or refuses us, or our clock and its clock are far apart.
    """
    where = " and ".join(runtime.link.servers)
    deadline = asyncio.get_running_loop().time() + REACH_WITHIN_S
    while runtime.signaling.state is not SignalingState.ENTERED:
        detail = runtime.signaling_detail
        if runtime.signaling.state is SignalingState.REFUSED:
            raise CommandError(f"{where} refuses us: {detail}", Exit.REFUSED)
        remaining_s = deadline - asyncio.get_running_loop().time()
        if remaining_s <= 0 or runtime.signaling.state is SignalingState.UNREACHABLE:
            raise CommandError(
                f"the signaling server {where} cannot be reached ({detail or 'no answer'}): "
                "check the link, and that `cc-signaling serve` runs there",
                Exit.UNREACHABLE,
            )
        try:
            await asyncio.wait_for(runtime.changed(), remaining_s)
        except TimeoutError:
            continue
    skew_s = runtime.signaling.clock_skew_s
    if skew_s is not None and abs(skew_s) > CLOCK_SKEW_MAX_S:
        raise CommandError(
            f"the clock of this machine is {abs(skew_s) / 60:.0f} minutes {'behind' if skew_s > 0 else 'ahead of'} "
            f"the clock of {where}: set one of them right (`timedatectl set-ntp true`), or tasks will "
            "seem expired",
            Exit.NOT_READY,
        )
