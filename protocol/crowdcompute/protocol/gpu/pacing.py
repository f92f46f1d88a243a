"""How much of a chunk goes to a device at once (spec/gpu.md, "Dispatches").

A device that is busy longer than 0.2 s makes a desktop stutter, and some systems reset it. So a chunk is many
dispatches: a small one first, and from each one's time the next one's size.
"""

from __future__ import annotations

DISPATCH_S_AIM = 0.1
GROUPS_FIRST = 16
GROUPS_MAX = 65_535
"""What WebGPU promises."""
GROWTH_MAX = 4


def next_groups(groups: int, seconds: float) -> int:
    """How many workgroups to send after `groups` of them took `seconds`."""
    fitting = groups * DISPATCH_S_AIM / seconds if seconds > 0 else GROUPS_MAX
    return max(1, min(int(fitting), GROWTH_MAX * groups, GROUPS_MAX))
