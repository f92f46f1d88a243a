"""Consent before the first cycle: a volunteer says yes once per network, and it is remembered for 30 days."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from crowdcompute.protocol.join_link import JoinLink

from .exits import CommandError, Exit
from .paths import paths

if TYPE_CHECKING:
    from .config import NodeConfig

REMEMBERED_S = 30 * 24 * 3_600


def ask_consent(config: NodeConfig, *, yes: bool) -> None:
    """Return when the volunteer agrees, or agreed within the last 30 days.

    Raises:
        LocalProtocolError: The link is no join link.
        CommandError: The answer was no, or there is nobody to ask.
    """
    if not config.link:
        raise CommandError("which network? Give its join link: `cc-node run 'http://host/j#n=NETWORK'`", Exit.USAGE)
    link = JoinLink.parse(config.link)
    where = f"{link.base_url} {link.network}"
    if config.allow:
        vouchers = whose_vouch_counts(config, link)
        if not vouchers:
            raise CommandError(
                "--allow net needs somebody whose vouch counts: --trust PEERID, or a join link that names one (&v=…)",
                Exit.USAGE,
            )
        where = f"{where} net {' '.join(vouchers)}"  # Another question than whether to compute.
    file = paths().data / "consent.json"
    try:
        given = json.loads(file.read_text())
    except (OSError, ValueError):
        given = {}
    if time.time() - given.get(where, 0) < REMEMBERED_S:
        return
    if not yes:
        _ask(config, link)
    given[where] = int(time.time())
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(json.dumps(given))
    except OSError as error:
        raise CommandError(
            f"{file.parent} cannot be written ({error.strerror}): make it writable, or set CC_HOME to another folder",
            Exit.NOT_READY,
        ) from None


def whose_vouch_counts(config: NodeConfig, link: JoinLink) -> tuple[str, ...]:
    """Peer ids of those who make a creator a verified one for this node."""
    return tuple(sorted({*config.trust, *link.vouchers}))


def _ask(config: NodeConfig, link: JoinLink) -> None:
    if not sys.stdin.isatty():
        raise CommandError(
            "nobody is here to agree that this machine computes for others: add --yes if you do", Exit.REFUSED
        )
    whom = f"{len(config.accept)} creator(s) you named" if config.accept else "any creator of this network"
    at = f"at {' and '.join(link.servers)}" if link.servers else "without a server, among the peers that it finds"
    print(
        f"This machine will compute for {whom}: network {link.network} {at}.\n"
        f"  up to {config.jobs} chunk(s) at a time, at low priority, each with at most {config.memory / 2**20:.0f} MiB"
        f" of memory; {config.disk / 2**30:.1f} GiB of disk\n"
        "  the code runs in a sandbox without access to your files or network\n"
        "  other peers see this machine's IP address\n"
        f"{_fetching(config, link)}"
        "Ctrl+C stops it at any time. Go ahead? [y/N] ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was started", Exit.REFUSED)


def _fetching(config: NodeConfig, link: JoinLink) -> str:
    if not config.allow:
        return ""
    return (
        "  this node itself fetches addresses that tasks list, for creators that one of these vouches for:\n"
        + "".join(f"    {voucher}\n" for voucher in whose_vouch_counts(config, link))
        + "  the servers see this machine's IP address, and do not see whom it is for\n"
    )
