"""All probes at once, and their rows as soon as it is their turn."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, NamedTuple

from crowdcompute.node.control import SCHEMA
from crowdcompute.node.exits import Exit
from crowdcompute.node.paths import paths
from crowdcompute.protocol.join_link import JoinLink

from . import machine
from .dht import dht
from .findings import Finding, Mark, bad
from .traversal import Mappings, Server, mappings, nat_found, stun_found, turn_found
from .visit import clock, visit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crowdcompute.node.config import NodeConfig

PROBE_WITHIN_S = 20.0
"""A probe that hangs is a finding too."""

SIGNS = {Mark.GOOD: ("✓", "\x1b[32m"), Mark.BAD: ("✗", "\x1b[31m"), Mark.NOTE: ("–", "\x1b[2m")}

INDENT = 13
"""Sign, name and two spaces stand before a sentence."""


class Row(NamedTuple):
    name: str
    finding: Finding


def examine(config: NodeConfig, *, as_json: bool) -> int:
    """Run every probe and print what it found; 0, or 1 if something is in the way."""
    link = JoinLink.parse(config.link) if config.link else None
    rows = asyncio.run(_rows(config, link, (lambda row: None) if as_json else _print))
    failed = [row.name for row in rows if row.finding.mark is Mark.BAD]
    if as_json:
        document = {
            "schema": SCHEMA,
            "ok": not failed,
            "rows": [
                {"name": name, "state": finding.mark.value, "sentence": finding.sentence} for name, finding in rows
            ],
        }
        print(json.dumps(document, indent=2))
    else:
        print(f"\n{', '.join(failed)}: something to repair." if failed else "\nNothing stands in the way.")
    return Exit.FAILED if failed else Exit.OK


async def _rows(config: NodeConfig, link: JoinLink | None, told: Callable[[Row], None]) -> list[Row]:
    seen = asyncio.create_task(visit(link))

    async def servers() -> list[Server] | None:
        known = (await seen).ice_servers
        return None if known is None else [Server.of(server) for server in known]

    async def asked() -> tuple[list[Server] | None, Mappings]:
        known = await servers()
        return known, await mappings(known or (), machine.host_for(config.host))

    traversal = asyncio.create_task(asked())

    async def websocket() -> Finding:
        return (await seen).websocket

    async def clocks() -> Finding:
        return clock(await seen)

    async def stun() -> Finding:
        return stun_found(*await traversal)

    async def nat() -> Finding:
        return nat_found(*await traversal)

    async def turn() -> Finding:
        return await turn_found(await servers())

    probes: list[tuple[str, Awaitable[Finding]]] = [
        ("WebSocket", websocket()),
        ("Clock", clocks()),
        ("UDP", machine.udp(config.host, config.stack)),
        ("TCP", machine.tcp(config.host, config.stack)),
        ("STUN", stun()),
        ("TURN", turn()),
        ("NAT", nat()),
        ("mDNS", machine.mdns()),
        ("DHT", dht()),
        ("Disk", machine.disk(paths().data, config.disk)),
        ("Sandbox", machine.sandbox()),
        ("GPU", machine.gpu(config.gpu)),
    ]
    running = [(name, asyncio.create_task(_bounded(probe))) for name, probe in probes]
    rows = []
    for name, task in running:
        row = Row(name, await task)
        told(row)
        rows.append(row)
    return rows


async def _bounded(probe: Awaitable[Finding]) -> Finding:
    try:
        async with asyncio.timeout(PROBE_WITHIN_S):
            return await probe
    except TimeoutError:
        return bad(f"No answer within {PROBE_WITHIN_S:g} s.")


def _print(row: Row) -> None:
    sign, colour = SIGNS[row.finding.mark]
    columns = max(40, shutil.get_terminal_size((200, 24)).columns)
    text = textwrap.fill(
        row.finding.sentence,
        columns,
        initial_indent=f"{row.name:<10} ".rjust(INDENT),
        subsequent_indent=" " * INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    if sys.stdout.isatty():
        sign = f"{colour}{sign}\x1b[0m"
    print(sign + text[1:], flush=True)
