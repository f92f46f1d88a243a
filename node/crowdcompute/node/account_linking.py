"""How a device comes to belong to an account: by what it prints, or through a signaling server.

there:  join ACCOUNT --consent--> here: link CONSENT --statement--> there: join FILE
there:  join ADDRESS --consent, left at the server--> here: link --link LINK, a person says yes --statement--> there
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import parse_qs

from cyclopts import Parameter

from crowdcompute.protocol.accounts import NAME_CHARACTERS_MAX, Consent, Device, Statement, consent_to, open_consent
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import peer_id_of, public_key_of, verify
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.login import CONSENT_S

from . import keys
from .account_files import consent_text, keep, own_statement_file, read_consent, read_statement
from .account_signing import DAYS, date_of, machine_name, our_account, say_of, until_of
from .exits import CommandError, Exit
from .paths import paths

if TYPE_CHECKING:
    from crowdcompute.protocol.identity import Identity

POLL_S = 1.0
"""How often a device that asks to join is looked for: as soon as a person expects it."""

Output = Annotated[Path | None, Parameter(name=["--output", "-o"], help="Write the account's statement to this file")]
Days = Annotated[float, Parameter(help="For how long the device may act for the account")]
NameOf = Annotated[str | None, Parameter(name="--name")]
Link = Annotated[str | None, Parameter(name="--link", env_var="CC_LINK")]


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
    consent = consent_to(node, key, (name or machine_name())[:NAME_CHARACTERS_MAX], int(time.time()))
    if fields:
        _join_through(server, key, node.public_key, consent)
        return
    text = consent_text(consent)
    show_code(text)
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
    key, statement = our_account()
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
    show_code(page)
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
    until_s = until_of(int(time.time()), days)
    device = Device(joining.device, name or joining.name, joining.since_s, until_s, joining.signature)
    say_of(device, key, statement, output)
    print(f"{device.name}  {peer_id_of(device.key)}  may act for {statement.name} until {date_of(until_s)}")


def show_code(text: str) -> None:
    """A QR code, where somebody can see it."""
    if sys.stdout.isatty():
        import segno

        segno.make(text).terminal(compact=True)
