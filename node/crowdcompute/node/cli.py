"""cc-node: the command line of a volunteer."""

from __future__ import annotations

import json
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from .exits import CommandError, Exit, speaking
from .transports.link import StackName  # cyclopts reads the annotation

if TYPE_CHECKING:
    from collections.abc import Sequence

app = App(
    name="cc-node",
    help="Give idle computing time to science you choose.",
    help_epilogue="Every option of `run` can also be set as CC_NAME in the environment or in config.toml.\n\n"
    "Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 not running or not usable, 4 unreachable, 5 disputed, 6 refused, "
    "130 stopped by a second Ctrl+C.",
    version=lambda: metadata.version("crowdcompute"),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
# The demo plays a creator too, which is a layer above a node; only its name is known here.
app.command("crowdcompute.creator.demo:demo", name="demo")
app.command("crowdcompute.node.account:app", name="account")
app.command("crowdcompute.node.leaderboard:show_leaderboard", name="leaderboard")

Flag = Annotated[bool, Parameter(negative="")]

# What `steward` asks as `run` does.
Link = Annotated[
    str | None,
    Parameter(
        help="Join link, http://host/j#n=NETWORK; or n=NETWORK for one without a server, found by mDNS and --bootstrap."
    ),
]
Jobs = Annotated[int | None, Parameter(help="Chunks computed at the same time (default: half of the cores).")]
Memory = Annotated[str | None, Parameter(help="Do not take tasks that want more memory per chunk (default 1GiB).")]
Hosts = Annotated[list[str] | None, Parameter(help="Offer only this local address to other peers; may be given again.")]
Listen = Annotated[
    int | None,
    Parameter(
        help="TCP port on which other native nodes reach this one without a server (extra [libp2p]); 0 is any free one."
    ),
]
Bootstrap = Annotated[
    list[str] | None,
    Parameter(help="Address of such a node, /ip4/HOST/tcp/PORT/p2p/PEERID, as it prints; may be given again."),
]
NoMdns = Annotated[bool, Parameter(negative="", help="Do not look for native nodes on the local network.")]
Stack = Annotated[
    StackName | None,
    Parameter(
        help="What makes links: auto is direct ones by TCP where that leads to the other node, else WebRTC by the "
        "faster engine that is installed; aiortc or wrtc (Chrome's, the extra [fast]) is WebRTC only."
    ),
]
Yes = Annotated[bool, Parameter(negative="", help="Agree to compute for this network without being asked.")]
Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", help="Print errors only.")]


@app.command
def run(
    link: Link = None,
    /,
    *,
    jobs: Jobs = None,
    memory: Memory = None,
    seconds: float | None = None,
    disk: str | None = None,
    upload: str | None = None,
    accept: list[str] | None = None,
    allow: list[Literal["net"]] | None = None,
    trust: list[str] | None = None,
    no_js: Flag = False,
    strict_js: Flag = False,
    no_gpu: Flag = False,
    steward: Flag = False,
    nice: int | None = None,
    grace: float | None = None,
    host: Hosts = None,
    listen: Listen = None,
    bootstrap: Bootstrap = None,
    no_mdns: NoMdns = False,
    stack: Stack = None,
    yes: Yes = False,
    quiet: Quiet = False,
    lie: Annotated[bool, Parameter(negative="", show=False)] = False,
    fetch_loopback: Annotated[bool, Parameter(negative="", show=False)] = False,
) -> int:
    """Volunteer: join the network of LINK and compute chunks until Ctrl+C.

    The first Ctrl+C finishes what runs, the second stops at once. Nothing is lost either way.

    Parameters
    ----------
    seconds
        Do not take tasks that want more seconds per chunk (default 3600).
    disk
        Disk space for code, inputs and results (default 2GiB).
    upload
        Bytes a second given to other peers at most, like 500kB (default: no cap).
    accept
        Work only for this creator, by peer id; may be given again.
    allow
        net: fetch addresses that a task lists, in this node and never in the sandbox, for creators that somebody you
        trust vouches for. They see this machine's IP address.
    trust
        Whose vouch counts, by peer id, besides those of the join link; may be given again.
    no_js
        Take no JavaScript tasks (the setting javascript = "off").
    strict_js
        Execute JavaScript in an interpreter inside WebAssembly: slower, with less to break out of ("strict").
    no_gpu
        Leave the GPU alone: kernels run on the processor (the setting gpu = "off").
    steward
        Act for absent creators that ask for it (`cc-task delegate`), in tasks this node has joined.
    nice
        How much the work gives way to your own, 0 to 19 (default 19).
    grace
        Seconds running chunks get to finish after Ctrl+C (default 15).
    """
    from . import config as settings
    from .consent import ask_consent
    from .service import run as serve

    config = settings.load(
        link=link,
        jobs=jobs,
        memory=memory,
        seconds=seconds,
        disk=disk,
        upload=upload,
        accept=tuple(accept) if accept else None,
        allow=tuple(allow) if allow else None,
        trust=tuple(trust) if trust else None,
        fetch_loopback=True if fetch_loopback else None,
        javascript="off" if no_js else "strict" if strict_js else None,
        gpu="off" if no_gpu else None,
        steward=True if steward else None,
        nice=nice,
        grace=grace,
        host=tuple(host) if host else None,
        listen=listen,
        bootstrap=tuple(bootstrap) if bootstrap else None,
        mdns=False if no_mdns else None,
        stack=stack,
    )
    ask_consent(config, yes=yes)
    return serve(config, lie=lie, quiet=quiet)


@app.command
def steward(
    link: Link = None,
    /,
    *,
    jobs: Jobs = None,
    memory: Memory = None,
    disk: str | None = None,
    accept: list[str] | None = None,
    host: Hosts = None,
    listen: Listen = None,
    bootstrap: Bootstrap = None,
    no_mdns: NoMdns = False,
    stack: Stack = None,
    yes: Yes = False,
    quiet: Quiet = False,
) -> int:
    """Volunteer as `run` does, and act for a creator that is away where it asks for it: `run --steward`.

    For a machine that is always on. The creator names it with `cc-task delegate TASK --to PEER`, PEER being what
    `cc-node id` prints here, once this node has joined the task. From then on it does not work on that task itself: it
    opens votes, has chunks confirmed and audited, and settles disputes while the creator is away.

    Parameters
    ----------
    disk
        Disk space for code, inputs and results (default 2GiB): results of a task that it is steward of are kept here.
    accept
        Work and act only for this creator, by peer id; may be given again.
    """
    return run(
        link,
        steward=True,
        jobs=jobs,
        memory=memory,
        disk=disk,
        accept=accept,
        host=host,
        listen=listen,
        bootstrap=bootstrap,
        no_mdns=no_mdns,
        stack=stack,
        yes=yes,
        quiet=quiet,
    )


@app.command
def status(*, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False) -> int:
    """What the node on this machine is doing.

    Parameters
    ----------
    as_json
        Print one JSON document.
    """
    from .control import SCHEMA, ask
    from .home import control_socket
    from .paths import paths

    answer = ask(control_socket(paths().data / "node"), "status")
    if as_json:
        print(json.dumps({"schema": SCHEMA, **answer}, indent=2))
    else:
        print(_words(answer))
    return Exit.OK


@app.command
def doctor(
    link: str | None = None,
    /,
    *,
    host: list[str] | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Find out what keeps this machine from taking part: a row each, and what to do.

    Exit code 1 if a row says ✗. The report names no address and no key.

    Parameters
    ----------
    link
        Join link of the network to try (default: the configured one).
    host
        Offer only this local address to other peers; may be given again.
    as_json
        Print one JSON document.
    """
    from . import config as settings
    from .doctor.report import examine

    return examine(settings.load(link=link, host=tuple(host) if host else None), as_json=as_json)


@app.command
def credit(
    task: str | None = None,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    verify: list[Path] | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """What this node earned, task by task: a share of the reward of every accepted chunk that it computed rightly.

    A node that belongs to an account shows what all devices of the account earned, as far as it knows.

    Parameters
    ----------
    task
        With --output: the task's id, or its first digits.
    output
        Write a proof of what TASK credits this node, which anybody can check.
    verify
        Check somebody's proof, or an account's history, instead, without the network: exit 0, or 1 if it proves
        nothing. Given again, the proofs are held against each other as well: a creator that signed two states of one
        moment is told on.
    as_json
        Print one JSON document.
    """
    from .control import SCHEMA
    from .earned import all_earned, amount, export, verified

    if verify:
        proofs = verified(verify)
        if as_json:
            print(json.dumps({"schema": SCHEMA, **(proofs[0] if len(proofs) == 1 else {"proofs": proofs})}, indent=2))
        for proved in proofs if not as_json else ():
            print(f"worker     {proved['worker']}")
            print(f"earned     {amount(proved['millicredits'])} credits in {proved['name']}, task {proved['task']}")
            print(f"creator    {proved['creator']}  has signed the task and the checkpoints that say so")
            if "account" in proved:
                print(
                    f"account    {proved['account']}  {proved['account_name']}, which has signed that the worker is its"
                )
        return Exit.OK
    if (task is None) != (output is None):
        raise CommandError("a proof needs both: `cc-node credit TASK -o FILE`", Exit.USAGE)
    entries = all_earned()
    if task is not None and output is not None:
        from .keys import load_or_create
        from .paths import paths

        entry = export(entries, task, load_or_create(paths().identity).peer_id, output)
        print(f"{output}  {amount(entry['millicredits'])} credits in {entry['name']}; anybody checks it: ", end="")
        print(f"cc-node credit --verify {output}")
    elif as_json:
        print(json.dumps({"schema": SCHEMA, "credit": entries}, indent=2))
    else:
        for entry in entries:
            own, together = amount(entry["millicredits"]), amount(entry["account_millicredits"])
            earned = f"{own:>12}" if own == together else f"{together:>12} ({own} by this node)"
            print(f"{entry['task'][:12]}  {earned}  {entry['state']:6}  {entry['name']}")
        print(f"{amount(sum(entry['account_millicredits'] for entry in entries))} credits")
    return Exit.OK


@app.command(name="id")
def identity() -> int:
    """This node's peer id; makes its key if there is none yet."""
    from .keys import load_or_create
    from .paths import paths

    print(load_or_create(paths().identity).peer_id)
    return Exit.OK


def _words(answer: dict[str, Any]) -> str:
    signaling, totals = answer["signaling"], answer["totals"]
    lines = [
        f"peer       {answer['peer_id']}",
        f"network    {answer['network']}, "
        + (
            f"signaling {signaling['state']} at {signaling['url']}"
            if signaling["url"]
            else "without a signaling server"
        )
        + (f" ({signaling['detail']})" if signaling["detail"] else ""),
        *(f"listening  {address}" for address in answer["listening"]),
        f"sandbox    {', '.join(answer['worker']['layers'])}",
        f"computed   {totals['chunks']} chunks in {totals['busy_s']} s of work, up {totals['seconds']} s",
        f"peers      {len(answer['neighbours'])} connected",
    ]
    lines += [f"           {peer['peer_id']}  {peer['state']} over {peer['over']}" for peer in answer["neighbours"]]
    for task in answer["tasks"]:
        lines.append(f"task       {task['task'][:16]}  {task['name']}: {task['state']}, {task['votes']} votes")
        if away := task["creator_away"]:
            lines.append(f"           {absence_words(away)}")
    for task in answer["steward_of"]:
        until = time.strftime("%Y-%m-%d %H:%M", time.localtime(task["until_s"]))
        lines.append(
            f"steward    {task['task'][:16]}  {task['name']}: {task['state']} until {until}, {task['accepted']:,} of "
            f"{task['chunks']:,} accepted, {task['audits']:,} audits, {task['liars_found']} liars found"
        )
    return "\n".join(lines)


def absence_words(away: dict[str, Any]) -> str:
    """What is known of a task whose creator is away, in one line."""
    parts = [f"{away['provisional']:,} results provisional"]
    if away["credibility"] is not None:
        parts[0] += f" (each right with probability {away['credibility']:.4f} at least)"
    parts += [f"{away['steward']:,} settled by a steward"] if away["steward"] else []
    parts += [f"{away['sealed']:,} sealed", f"{away['final']:,} final"]
    parts += [f"{away['disputed']:,} disputed"] if away["disputed"] else []
    parts += [f"{away['liars_found']} liars found"] if away["liars_found"] else []
    return "creator away: " + ", ".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors that users can cause end the process with theirs."""
    with speaking("cc-node"):
        try:
            given = sys.argv[1:] if arguments is None else arguments
            if not given or given[0] in app.help_flags:
                app.resolved_commands()  # What is loaded only when it is called can say then what it is for.
            result = app(given, exit_on_error=False)
        except CycloptsError:
            return Exit.USAGE  # It has printed its sentence already.
        sys.stdout.flush()
        return result if isinstance(result, int) else Exit.OK
    raise AssertionError  # `speaking` swallows nothing.
