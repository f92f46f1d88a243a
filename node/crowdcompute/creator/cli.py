"""cc-task: the command line of a creator.

Commands are plain functions in modules by what they touch: commands.py stays on this machine, network.py does not. They
are registered here, those that load much by name, so that `cc-task verify` does not wait for a network stack.
"""

from __future__ import annotations

import sys
from importlib import metadata
from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError

from crowdcompute.node.exits import Exit, speaking

from . import commands

if TYPE_CHECKING:
    from collections.abc import Sequence

app = App(
    name="cc-task",
    help="Make, try out, sign and publish tasks for CrowdCompute.",
    version=lambda: metadata.version("crowdcompute"),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app.command(commands.keygen)
app.command(commands.init)
app.command(commands.build)
app.command(commands.check)
app.command(commands.run)
app.command(commands.pack, alias="bundle")
app.command(commands.verify)
app.command("crowdcompute.creator.audit:audit", name="audit")
app.command("crowdcompute.creator.network:publish", name="publish")
app.command("crowdcompute.creator.network:watch", name="watch")
app.command("crowdcompute.creator.network:list_tasks", name="list")
app.command("crowdcompute.creator.network:results", name="results")
app.command("crowdcompute.creator.export:export", name="export")
app.command("crowdcompute.creator.leaderboard:show_leaderboard", name="leaderboard")
app.command("crowdcompute.creator.stewards:delegate", name="delegate")
app.command("crowdcompute.creator.stewards:revoke", name="revoke")
app.command("crowdcompute.creator.vouching:vouch", name="vouch")
app.command("crowdcompute.creator.vouching:unvouch", name="unvouch")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors that users can cause end the process with theirs."""
    with speaking("cc-task"):
        try:
            given = sys.argv[1:] if arguments is None else arguments
            if not given or given[0] in app.help_flags:
                app.resolved_commands()  # What is loaded only when it is called can say then what it is for.
            result = app(given, exit_on_error=False)
        except CycloptsError:
            # It has printed its sentence already.
            return Exit.USAGE
        # Here and not at the process's end, where a closed pipe would be a traceback.
        sys.stdout.flush()
        return result if isinstance(result, int) else Exit.OK
    raise AssertionError  # `speaking` swallows nothing.
