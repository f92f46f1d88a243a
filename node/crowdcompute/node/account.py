"""`cc-node account`: one person or lab, many devices (protocol: accounts.py).

here:   create NAME                      the account's key is made, and this machine is its first device
there:  join ACCOUNT                     prints the device's consent, as text and QR code
here:   link CONSENT -o account.cca      the account names the device
there:  join account.cca                 the device knows that it belongs to the account

Through a signaling server it takes one step on each side: `link --link LINK` here, or the page's code, and there what
that shows: `join 'http://…/me#…&a=…'`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import App, Parameter

from crowdcompute.protocol.accounts import (
    NAME_CHARACTERS_MAX,
    Statement,
    newness,
    open_backup,
    open_history,
    sign_history,
    write_backup,
)
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import peer_id_of, verify
from crowdcompute.protocol.join_link import JoinLink

from . import keys
from .account_files import own_statement_file
from .account_linking import Days, Link, NameOf, Output, join, link, show_code
from .account_signing import (
    DAYS,
    belongs_to_none,
    date_of,
    in_order,
    known_statement,
    machine_name,
    our_account,
    picture_of,
    say_and_keep,
    say_of,
    this_machine,
    write_statement,
)
from .control import SCHEMA
from .exits import CommandError, Exit
from .paths import paths

if TYPE_CHECKING:
    from typing import Any

    from crowdcompute.protocol.credit import Credit

app = App(
    name="account",
    help="One person or lab with many devices: create, join, link, devices, revoke, profile, history, login, show, "
    "backup, restore.",
)
app.command(join)
app.command(link)

Json = Annotated[bool, Parameter(name="--json", negative="")]


@app.command
def create(name: str, /, *, avatar: Path | None = None, days: Days = DAYS) -> None:
    """Make an account; this machine is its first device, and the one that speaks for it.

    Parameters
    ----------
    name
        What leaderboards call it.
    avatar
        A picture; it is made small.
    """
    belongs_to_none()
    key = keys.load_or_create(paths().account_key)
    picture = picture_of(avatar) if avatar is not None else b""
    say_and_keep(key, Statement(key.public_key, 0, name, picture, (this_machine(key, machine_name(), days),)))
    print(f"account    {key.peer_id}  {name}")
    print(f"its key    {paths().account_key}: whoever has it is the account")
    print("its backup cc-node account backup -o FILE, and keep the file where nobody else comes")


@app.command
def backup(*, output: Annotated[Path, Parameter(name=["--output", "-o"])]) -> None:
    """Write all that makes the account on another machine, or in a browser. Whoever has the file is the account.

    Parameters
    ----------
    output
        The file, which only you can read.
    """
    our_account()
    seed, statement = keys.load_seed(paths().account_key), own_statement_file()
    assert seed is not None
    assert statement is not None
    try:
        # Made anew, so that nobody could open it before it was closed to others.
        output.unlink(missing_ok=True)
        with open(output, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(write_backup(seed, statement))
    except OSError as error:
        raise CommandError(f"{output} cannot be written ({error.strerror})", Exit.USAGE) from None
    print(f"{output}  makes the account again: cc-node account restore {output}, or the page's `Restore`")


@app.command
def restore(file: Path, /, *, link: Link = None, name: NameOf = None, days: Days = DAYS) -> None:
    """Make an account again from its backup; this machine becomes one of its devices.

    Parameters
    ----------
    file
        The backup, by `cc-node account backup` or saved from the page.
    link
        Join link of a network whose signaling servers may know what the account has said since.
    name
        What the account calls this machine (default: the machine's name).
    """
    belongs_to_none()
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file} cannot be read ({error.strerror})", Exit.USAGE) from None
    try:
        saved, statement = open_backup(data, verify)
    except RemoteProtocolError as error:
        raise CommandError(f"{file}: {error}", Exit.REFUSED) from None
    if link is not None:
        from .account_login import statements_of

        listed = [device.key for device in statement.devices]
        known = [said for server in JoinLink.parse(link).servers for _, said in statements_of(server, listed)]
        ours = [said for said in known if said.account == statement.account]
        statement = max([statement, *ours], key=newness)
    key = keys.load(paths().account_key) or keys.create(paths().account_key, saved.seed)
    if key.public_key != statement.account:
        raise CommandError(
            f"another account's key is in {paths().account_key}: move it away, and keep it well", Exit.USAGE
        )
    device = this_machine(key, (name or machine_name())[:NAME_CHARACTERS_MAX], days)
    others = [each for each in statement.devices if each.key != device.key]
    say_and_keep(key, msgspec.structs.replace(statement, devices=in_order([*others, device])))
    print(f"account    {key.peer_id}  {statement.name}, with {len(others)} other devices")


@app.command
def revoke(device: str, /, *, output: Output = None) -> None:
    """Let a device no longer act for the account.

    What it earned in tasks made until now stays the account's; in later ones it earns for itself.

    Parameters
    ----------
    device
        Its peer id, the first characters of it, or its name.
    """
    key, statement = our_account()
    found = [each for each in statement.devices if device in (each.name, peer_id_of(each.key)[: len(device)])]
    if len(found) != 1:
        many = f"{len(found)} devices are called {device!r}: give the peer id"
        raise CommandError(many if found else f"no device is called {device!r}: `cc-node account devices`", Exit.USAGE)
    ended = msgspec.structs.replace(found[0], until_s=min(found[0].until_s, int(time.time())))
    say_of(ended, key, statement, output)
    print(f"{ended.name}  {peer_id_of(ended.key)}  acts for {statement.name} no longer")


@app.command
def profile(*, name: NameOf = None, avatar: Path | None = None, output: Output = None) -> None:
    """Change the account's name or picture.

    Parameters
    ----------
    name
        What leaderboards call it.
    avatar
        A picture; it is made small.
    """
    key, statement = our_account()
    changed = msgspec.structs.replace(
        statement, name=name or statement.name, avatar=picture_of(avatar) if avatar is not None else statement.avatar
    )
    write_statement(output, say_and_keep(key, changed))
    print(f"account    {key.peer_id}  {changed.name}")


@app.command
def history(
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    verify_file: Annotated[Path | None, Parameter(name="--verify")] = None,
    as_json: Json = False,
) -> None:
    """Write what the account's devices have earned, with every creator's proof and signed by the account; or check it.

    This machine knows the tasks that it has worked on.

    Parameters
    ----------
    output
        The file.
    verify_file
        Somebody's file: who has earned what, checked without the network; exit 1 if it proves nothing.
    as_json
        With --verify: print one JSON document.
    """
    from .earned import all_earned, amount

    if (output is None) == (verify_file is None):
        raise CommandError("write a history by -o FILE, or check one by --verify FILE", Exit.USAGE)
    if verify_file is not None:
        _verify_history(verify_file, as_json=as_json)
        return
    assert output is not None
    key, _ = our_account()
    statement = own_statement_file()
    assert statement is not None
    entries = all_earned()
    proofs = [bytes.fromhex(entry["proofs"][device]) for entry in entries for device in entry["devices"]]
    write_statement(output, sign_history(key, statement, int(time.time()), proofs))
    total = sum(entry["account_millicredits"] for entry in entries)
    tasks = len({entry["task"] for entry in entries if entry["devices"]})
    check = f"cc-node account history --verify {output}"
    print(f"{output}  {amount(total)} credits in {tasks} tasks; anybody checks it: {check}")


def _verify_history(file: Path, *, as_json: bool) -> None:
    from .earned import amount

    try:
        proved = open_history(file.read_bytes(), verify)
    except OSError as error:
        raise CommandError(f"{file} cannot be read ({error.strerror})", Exit.USAGE) from None
    except RemoteProtocolError as error:
        raise CommandError(f"{file} proves nothing: {error}") from None
    tasks: dict[bytes, list[Credit]] = {}
    for credit in proved.credits:
        tasks.setdefault(credit.task, []).append(credit)
    total = sum(credit.millicredits for credit in proved.credits)
    account, name = peer_id_of(proved.statement.account), proved.statement.name
    if as_json:
        shown = [
            {
                "task": task.hex(),
                "name": credits[0].manifest.name,
                "creator": peer_id_of(credits[0].manifest.creator),
                "devices": {peer_id_of(each.worker): each.millicredits for each in credits},
            }
            for task, credits in tasks.items()
        ]
        document = {"account": account, "name": name, "made_s": proved.made_s, "millicredits": total, "tasks": shown}
        print(json.dumps({"schema": SCHEMA, **document}, indent=2))
        return
    print(f"account    {account}  {name}")
    print(f"signed     {date_of(proved.made_s)}")
    for task, credits in tasks.items():
        earned, creator = sum(each.millicredits for each in credits), peer_id_of(credits[0].manifest.creator)
        print(f"{task.hex()[:12]}  {amount(earned):>12}  {credits[0].manifest.name}, by {creator}")
    print(f"{amount(total)} credits: every signature is right")


@app.command(name="login")
def log_in_at(link: str, /, *, token: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Log in to the signaling servers of LINK for the account, and leave its statement there, as `run` does.

    Parameters
    ----------
    link
        Join link of the network.
    token
        Print the token of the first server, for another program that acts for the account, and nothing else.
    """
    from .account_login import log_in

    statement, node = known_statement(), keys.load_or_create(paths().identity)
    data = own_statement_file()
    assert data is not None
    servers = JoinLink.parse(link).servers
    if not servers:
        raise CommandError("this network has no signaling server to log in to", Exit.USAGE)
    for server in servers:
        given = log_in(server, node, data)
        if token:
            print(given["token"])
            return
        print(f"logged in to {server} for {statement.name}, for {given['expires_in_s'] // 60} minutes")


@app.command
def devices(*, as_json: Json = False) -> None:
    """The account's devices, and until when each may act for it.

    Parameters
    ----------
    as_json
        Print one JSON document.
    """
    statement, now_s = known_statement(), time.time()
    if as_json:
        print(json.dumps({"schema": SCHEMA, "devices": _report(statement)["devices"]}, indent=2))
        return
    for device in statement.devices:
        until = f"until {date_of(device.until_s)}" if now_s < device.until_s else f"ended {date_of(device.until_s)}"
        print(f"{peer_id_of(device.key)}  {until}  {device.name}")


@app.command
def show(*, output: Output = None, as_json: Json = False) -> None:
    """The account that this machine belongs to, and what its devices have earned as far as this machine knows.

    Parameters
    ----------
    as_json
        Print one JSON document.
    """
    from .earned import all_earned, amount

    statement = known_statement()
    data = own_statement_file()
    assert data is not None
    write_statement(output, data)
    total = sum(entry["account_millicredits"] for entry in all_earned())
    if as_json:
        print(json.dumps({"schema": SCHEMA, **_report(statement), "millicredits": total}, indent=2))
        return
    account = peer_id_of(statement.account)
    show_code(account)
    print(f"account    {account}  {statement.name}")
    print(f"devices    {len(statement.devices)}; another one joins by: cc-node account join {account}")
    print(f"earned     {amount(total)} credits, as far as this machine knows")


def _report(statement: Statement) -> dict[str, Any]:
    now_s = time.time()
    return {
        "account": peer_id_of(statement.account),
        "name": statement.name,
        "avatar_bytes": len(statement.avatar),
        "devices": [
            {
                "peer_id": peer_id_of(device.key),
                "name": device.name,
                "since_s": device.since_s,
                "until_s": device.until_s,
                "may_act": statement.may_act(device.key, now_s),
            }
            for device in statement.devices
        ],
    }
