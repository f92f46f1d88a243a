"""`cc-node account`: one person or lab, many devices (protocol: accounts.py).

here:   create NAME                      the account's key is made, and this machine is its first device
there:  join ACCOUNT                     prints the device's consent, as text and QR code
here:   link CONSENT -o account.cca      the account names the device
there:  join account.cca                 the device knows that it belongs to the account

Through a signaling server it takes one step on each side: `link --link LINK` here, or the page's code, and there what
that shows: `join 'http://…/me#…&a=…'`.
"""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import parse_qs

import msgspec
from cyclopts import App, Parameter

from crowdcompute.protocol.accounts import (
    AVATAR_BYTES_MAX,
    NAME_CHARACTERS_MAX,
    Consent,
    Device,
    Statement,
    consent_to,
    newness,
    open_backup,
    open_consent,
    open_history,
    sign_history,
    sign_statement,
    write_backup,
)
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import peer_id_of, public_key_of, verify
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.login import CONSENT_S

from . import keys
from .account_files import consent_text, keep, own_statement, own_statement_file, read_consent, read_statement
from .control import SCHEMA
from .exits import CommandError, Exit
from .paths import paths

if TYPE_CHECKING:
    from typing import Any

    from crowdcompute.protocol.credit import Credit
    from crowdcompute.protocol.identity import Identity

app = App(
    name="account",
    help="One person or lab with many devices: create, join, link, devices, revoke, profile, history, login, show, "
    "backup, restore.",
)

DAYS = 365
"""For how long, at most, a device may act for its account before it is linked again. A guess."""
POLL_S = 1.0
"""How often a device that asks to join is looked for: as soon as a person expects it."""
_DAY_S = 86_400
_AVATAR_PIXELS = (64, 48, 32, 16)
"""Edges to try: the largest whose PNG is small enough counts."""

Json = Annotated[bool, Parameter(name="--json", negative="")]
Output = Annotated[Path | None, Parameter(name=["--output", "-o"], help="Write the account's statement to this file")]
Days = Annotated[float, Parameter(help="For how long the device may act for the account")]
NameOf = Annotated[str | None, Parameter(name="--name")]
Link = Annotated[str | None, Parameter(name="--link", env_var="CC_LINK")]


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
    _belongs_to_none()
    key = keys.load_or_create(paths().account_key)
    picture = _picture(avatar) if avatar is not None else b""
    _say_and_keep(key, Statement(key.public_key, 0, name, picture, (_this_machine(key, _here(), days),)))
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
    _ours()
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
    _belongs_to_none()
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
    device = _this_machine(key, (name or _here())[:NAME_CHARACTERS_MAX], days)
    others = [each for each in statement.devices if each.key != device.key]
    _say_and_keep(key, msgspec.structs.replace(statement, devices=_in_order([*others, device])))
    print(f"account    {key.peer_id}  {statement.name}, with {len(others)} other devices")


@app.command
def join(account: str, /, *, name: NameOf = None) -> None:
    """Have this machine join an account: print its consent for `cc-node account link` there.

    Parameters
    ----------
    account
        The account's id; or the address that its QR code leads to, which needs no more than a yes there; or, once
        the account has linked this machine, the file that `link -o` has written.
    name
        What the account calls this machine (default: the machine's name).
    """
    node = keys.load_or_create(paths().identity)
    if Path(account).is_file():
        data, statement = read_statement(Path(account))
        if statement.device(node.public_key) is None:
            raise CommandError(
                f"{statement.name} has not linked this machine: `cc-node account join {peer_id_of(statement.account)}` "
                "prints what it needs",
                Exit.REFUSED,
            )
        keep(data)
        print(f"this machine belongs to {statement.name}, {peer_id_of(statement.account)}")
        return
    server, _, fields = account.partition("/me#")
    try:
        key = public_key_of(parse_qs(fields).get("a", [""])[0] if fields else account)
    except RemoteProtocolError:
        raise CommandError(
            f"{account!r} is neither an account's id nor the address of its code, nor a file", Exit.USAGE
        ) from None
    consent = consent_to(node, key, (name or _here())[:NAME_CHARACTERS_MAX], int(time.time()))
    if fields:
        _join_through(server, key, node.public_key, consent)
        return
    text = consent_text(consent)
    _show_code(text)
    print(text)


def _join_through(server: str, account: bytes, device: bytes, consent: bytes) -> None:
    """Leave our consent at the account's server, and wait until the account has named us."""
    from .account_login import leave_consent, statements_of

    since_s = open_consent(consent, account, verify).since_s
    leave_consent(server, account, consent)
    print(f"asked {peer_id_of(account)}: its person has to say yes there", flush=True)
    end_s = time.monotonic() + CONSENT_S
    while time.monotonic() < end_s:
        for data, statement in statements_of(server, [device]):
            listed = statement.device(device)
            if statement.account == account and listed is not None and listed.since_s >= since_s:
                keep(data)
                print(f"this machine belongs to {statement.name}, {peer_id_of(account)}")
                return
        time.sleep(POLL_S)
    raise CommandError(f"the account has not answered within {CONSENT_S // 60} minutes", Exit.TIMEOUT)


@app.command
def link(
    consent: str | None = None,
    /,
    *,
    through: Link = None,
    days: Days = DAYS,
    name: NameOf = None,
    yes: Annotated[bool, Parameter(negative="")] = False,
    output: Output = None,
) -> None:
    """Make a device the account's, or renew it; on the machine that has the account's key.

    Without CONSENT, shows a QR code and waits until a device that has opened it asks to join.

    Parameters
    ----------
    consent
        What `cc-node account join` printed there.
    through
        Join link of a network whose signaling server brings the device's consent here.
    name
        What to call the device (default: what it calls itself).
    yes
        Take the first device that asks, without asking you.
    """
    key, statement = _ours()
    if consent is not None:
        _link(key, statement, open_consent(read_consent(consent), key.public_key, verify), days, name, output)
        return
    where = JoinLink.parse(through) if through else None
    if where is None or not where.servers:
        raise CommandError(
            "which device? Give its consent, or --link with a signaling server that brings it here", Exit.USAGE
        )
    from .account_login import log_in, store

    server, node = where.servers[0], keys.load_or_create(paths().identity)
    data = own_statement_file()
    assert data is not None
    token = log_in(server, node, data)["token"]
    page = f"{server}/me#n={where.network}&a={key.peer_id}" + (f"&i={where.invite}" if where.invite else "")
    _show_code(page)
    print(f"open this on the device that is to join {statement.name}: {page}", flush=True)
    joining = _asking(server, token, key.public_key, yes=yes)
    _link(key, statement, joining, days, name, output)
    linked = own_statement_file()
    assert linked is not None
    store(server, token, linked)


def _asking(server: str, token: str, account: bytes, *, yes: bool) -> Consent:
    """The first device that asks to join and is welcome."""
    from .account_login import consents

    asked: set[bytes] = set()
    end_s = time.monotonic() + CONSENT_S
    while time.monotonic() < end_s:
        for data in consents(server, token):
            joining = open_consent(data, account, verify)
            if joining.device in asked:
                continue
            asked.add(joining.device)
            if yes or _is_welcome(joining):
                return joining
        time.sleep(POLL_S)
    raise CommandError(f"no device has asked to join within {CONSENT_S // 60} minutes", Exit.TIMEOUT)


def _is_welcome(joining: Consent) -> bool:
    try:
        said = input(f"{joining.name}, {peer_id_of(joining.device)}, wants to join. Is it yours? [y/N] ")
    except EOFError:
        raise CommandError("nobody is here to say whether the device is welcome: use --yes", Exit.USAGE) from None
    return said.strip().lower() in ("y", "yes")


def _link(
    key: Identity, statement: Statement, joining: Consent, days: float, name: str | None, output: Path | None
) -> None:
    until_s = _until(int(time.time()), days)
    device = Device(joining.device, name or joining.name, joining.since_s, until_s, joining.signature)
    _say_of(device, key, statement, output)
    print(f"{device.name}  {peer_id_of(device.key)}  may act for {statement.name} until {_date(until_s)}")


def _say_of(device: Device, key: Identity, statement: Statement, output: Path | None) -> None:
    """Say from now on of one device what is said here."""
    others = [each for each in statement.devices if each.key != device.key]
    data = _say_and_keep(key, msgspec.structs.replace(statement, devices=_in_order([*others, device])))
    _write(output, data)


@app.command
def revoke(device: str, /, *, output: Output = None) -> None:
    """Let a device no longer act for the account.

    What it earned in tasks made until now stays the account's; in later ones it earns for itself.

    Parameters
    ----------
    device
        Its peer id, the first characters of it, or its name.
    """
    key, statement = _ours()
    found = [each for each in statement.devices if device in (each.name, peer_id_of(each.key)[: len(device)])]
    if len(found) != 1:
        many = f"{len(found)} devices are called {device!r}: give the peer id"
        raise CommandError(many if found else f"no device is called {device!r}: `cc-node account devices`", Exit.USAGE)
    ended = msgspec.structs.replace(found[0], until_s=min(found[0].until_s, int(time.time())))
    _say_of(ended, key, statement, output)
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
    key, statement = _ours()
    changed = msgspec.structs.replace(
        statement, name=name or statement.name, avatar=_picture(avatar) if avatar is not None else statement.avatar
    )
    _write(output, _say_and_keep(key, changed))
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
    key, _ = _ours()
    statement = own_statement_file()
    assert statement is not None
    entries = all_earned()
    proofs = [bytes.fromhex(entry["proofs"][device]) for entry in entries for device in entry["devices"]]
    _write(output, sign_history(key, statement, int(time.time()), proofs))
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
    print(f"signed     {_date(proved.made_s)}")
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

    statement, node = _known(), keys.load_or_create(paths().identity)
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
    statement, now_s = _known(), time.time()
    if as_json:
        print(json.dumps({"schema": SCHEMA, "devices": _report(statement)["devices"]}, indent=2))
        return
    for device in statement.devices:
        until = f"until {_date(device.until_s)}" if now_s < device.until_s else f"ended {_date(device.until_s)}"
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

    statement = _known()
    data = own_statement_file()
    assert data is not None
    _write(output, data)
    total = sum(entry["account_millicredits"] for entry in all_earned())
    if as_json:
        print(json.dumps({"schema": SCHEMA, **_report(statement), "millicredits": total}, indent=2))
        return
    account = peer_id_of(statement.account)
    _show_code(account)
    print(f"account    {account}  {statement.name}")
    print(f"devices    {len(statement.devices)}; another one joins by: cc-node account join {account}")
    print(f"earned     {amount(total)} credits, as far as this machine knows")


def _belongs_to_none() -> None:
    if own_statement() is not None:
        raise CommandError(
            f"this machine belongs to an account already: `cc-node account show`, or move {paths().account} away",
            Exit.USAGE,
        )


def _this_machine(key: Identity, name: str, days: float) -> Device:
    """This machine as a device of the account with this key."""
    node, now_s = keys.load_or_create(paths().identity), int(time.time())
    consent = open_consent(consent_to(node, key.public_key, name, now_s), key.public_key, verify)
    return Device(consent.device, consent.name, now_s, _until(now_s, days), consent.signature)


def _known() -> Statement:
    statement = own_statement()
    if statement is None:
        raise CommandError(
            "this machine belongs to no account: `cc-node account create NAME`, or `join` one", Exit.NOT_READY
        )
    return statement


def _ours() -> tuple[Identity, Statement]:
    statement, key = _known(), keys.load(paths().account_key)
    if key is None or key.public_key != statement.account:
        raise CommandError(
            f"the key of {statement.name} is not on this machine: say this where `cc-node account create` was",
            Exit.NOT_READY,
        )
    return key, statement


def _say_and_keep(key: Identity, statement: Statement) -> bytes:
    # Above the one before, also if the clock was set back.
    seq = max(statement.seq + 1, time.time_ns() // 1_000_000)
    data = sign_statement(key, msgspec.structs.replace(statement, seq=seq))
    keep(data)
    return data


def _write(output: Path | None, data: bytes) -> None:
    if output is None:
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise CommandError(f"{output} cannot be written ({error.strerror})", Exit.USAGE) from None


def _in_order(devices: list[Device]) -> tuple[Device, ...]:
    return tuple(sorted(devices, key=lambda device: device.key))


def _here() -> str:
    return socket.gethostname()[:NAME_CHARACTERS_MAX] or "this machine"


def _until(now_s: int, days: float) -> int:
    if not 0 < days <= DAYS:
        raise CommandError(f"--days {days:g}: a device is linked for more than 0 and at most {DAYS} days", Exit.USAGE)
    return now_s + int(days * _DAY_S)


def _date(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _picture(path: Path) -> bytes:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            whole = opened.convert("RGBA")
    except (OSError, UnidentifiedImageError) as error:
        raise CommandError(f"{path} is no picture that can be read ({error})", Exit.USAGE) from None
    for edge in _AVATAR_PIXELS:
        small = whole.copy()
        small.thumbnail((edge, edge))
        file = io.BytesIO()
        small.quantize(64).save(file, "PNG", optimize=True)
        if file.tell() <= AVATAR_BYTES_MAX:
            return file.getvalue()
    raise AssertionError("a PNG of 16 x 16 pixels in 64 colours takes 1.5 kB at most")


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


def _show_code(text: str) -> None:
    """A QR code, where somebody can see it."""
    if sys.stdout.isatty():
        import segno

        segno.make(text).terminal(compact=True)
