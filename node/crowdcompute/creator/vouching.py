"""`cc-task vouch` and `cc-task unvouch`: answering for another creator (protocol/spec/permissions.md)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.protocol.errors import LocalProtocolError, RemoteProtocolError
from crowdcompute.protocol.events import VouchMade
from crowdcompute.protocol.identity import PeerId, public_key_of
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.peer import NETWORK_TOPIC
from crowdcompute.protocol.permissions import SCHEME
from crowdcompute.protocol.vouching import VOUCH_S_MAX, Vouch, sign_vouch, write_vouch

from .commands import Key
from .network import Host, Link, Stack
from .session import online, open_creator

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.node.runtime import Runtime
    from crowdcompute.node.transports.link import StackName
    from crowdcompute.protocol.records import Signed

    from .session import Creator

DAYS = 90
MEET_S = 30.0
"""How long a command waits to meet somebody on the network."""
HEARD_S = 5.0
"""How long it waits for a task of the creator, which those who fetch for it hold."""


def vouch(
    creator: str,
    /,
    *,
    name: str,
    days: float = DAYS,
    for_: Annotated[list[str] | None, Parameter(name="--for")] = None,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("creator.ccv"),
    link: Link = None,
    key: Key = None,
    host: Host = (),
    stack: Stack = "auto",
) -> int:
    """Answer for a creator: nodes whose people trust you then fetch what its tasks list. You answer for no result.

    The creator puts the file beside its task.toml and names it there: vouches = ["creator.ccv"].

    Parameters
    ----------
    creator
        The creator's peer id, as `cc-task keygen` printed it there.
    name
        Who that is, in up to 40 characters: people are shown it.
    days
        How long you answer for it, at most 400 days. A later vouch takes the place of this one.
    for_
        Answer for fetching below this address only, like https://example.org/data/; may be given again.
    output
        The file to write.
    link
        Make it known on this network as well, so that tasks already published are renewed.
    """
    scope = tuple(each if each.startswith(SCHEME) else SCHEME + each for each in for_ or ())
    if not 0 < days * 86_400 <= VOUCH_S_MAX:
        raise CommandError(f"--days {days:g} is not between 0 and {VOUCH_S_MAX // 86_400}", Exit.USAGE)
    with open_creator(key) as voucher:
        since_s = int(time.time())
        signed = _signed(voucher, Vouch(_key_of(creator), name, scope, since_s, since_s + round(days * 86_400)))
        try:
            output.write_bytes(write_vouch(signed))
        except OSError as error:
            raise CommandError(f"{output} cannot be written ({error.strerror})", Exit.USAGE) from None
        if link:
            _make_known(voucher, _key_of(creator), signed, link, host, stack)
        until = time.strftime("%Y-%m-%d", time.localtime(since_s + days * 86_400))
        print(f"{output}  {voucher.identity.peer_id} answers for {name} until {until}")
        print(f'the creator names it in task.toml: vouches = ["{output.name}"]')
    return Exit.OK


def unvouch(
    creator: str,
    /,
    *,
    link: Link = None,
    key: Key = None,
    host: Host = (),
    stack: Stack = "auto",
) -> int:
    """Answer for a creator no more: nodes that hear of it stop fetching for it.

    Parameters
    ----------
    creator
        The creator's peer id.
    link
        The network on which to say so.
    """
    if not link:
        raise CommandError("say it where? Give the network's join link with --link or CC_LINK", Exit.USAGE)
    with open_creator(key) as voucher:
        signed = _signed(voucher, Vouch(_key_of(creator), "nobody any more", (), int(time.time()), 0))
        _make_known(voucher, _key_of(creator), signed, link, host, stack)
        print(f"{voucher.identity.peer_id} answers for {creator} no more")
    return Exit.OK


# ---- inside


def _key_of(creator: str) -> bytes:
    try:
        return public_key_of(PeerId(creator))
    except RemoteProtocolError as error:
        raise CommandError(f"{error}: `cc-task keygen` prints it", Exit.USAGE) from None


def _signed(voucher: Creator, said: Vouch) -> Signed:
    try:
        return sign_vouch(voucher.identity, said)
    except LocalProtocolError as error:
        raise CommandError(str(error), Exit.USAGE) from None


def _make_known(
    voucher: Creator, creator: bytes, signed: Signed, link: str, hosts: tuple[str, ...], stack: StackName
) -> None:
    async def say() -> None:
        async with online(voucher, JoinLink.parse(link), hosts=hosts, stack=stack) as runtime:
            try:
                await _until(runtime, lambda: bool(runtime.peer.followers(NETWORK_TOPIC)), MEET_S)
            except TimeoutError:
                raise CommandError("nobody is on this network: try again when somebody is", Exit.UNREACHABLE) from None
            with contextlib.suppress(TimeoutError):
                await _until(runtime, lambda: _knows_of(runtime, creator), HEARD_S)
            runtime.feed(VouchMade(signed))

    asyncio.run(say())


def _knows_of(runtime: Runtime, creator: bytes) -> bool:
    return any(ledger.manifest.creator == creator for ledger in runtime.peer.ledgers.values())


async def _until(runtime: Runtime, is_so: Callable[[], bool], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not is_so():
            await runtime.changed()
