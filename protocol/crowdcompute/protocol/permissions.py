"""Which addresses a task may have fetched (spec/permissions.md).

A permission names one address, or, ending in "/", all below it. Both are written in one form only, so that whoever
compares them need not know what a server makes of another form: no user, no fragment, no dots that climb, no escapes
of what separates, no port where other services listen.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .manifest import Manifest

SCHEME = "net:"
"""Before an address it is the permission to fetch it."""
PERMISSIONS_MAX = 16
PERMISSION_CHARACTERS_MAX = 500
ADDRESS_BYTES_MAX = 2_000
"""Longer ones many servers refuse."""
PORT_MIN = 1_024
"""Below it only the scheme's own port: mail, printers and databases must not hear what a creator writes."""
LOOPBACK = "127.0.0.1"
"""The one host that may be named by number, and without TLS. For tests: a node fetches from it only when told to."""

FETCH_RULES = b"cc/fetch/1\n"
"""The code of a task whose chunks are fetched: it names the rules, for which spec/permissions.md stands."""

_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
# The last label begins with a letter, so no form of an IP address is a name.
_HOST = rf"(?:{_LABEL}\.)+(?=[a-z]){_LABEL}"
_PLACE = rf"(?:https://{_HOST}|http://127\.0\.0\.1)(?::([1-9][0-9]{{3,4}}))?"
# Escapes of "/", "\" and "." would be read by some servers as what they escape.
_CHARACTER = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%(?!2E|2F|5C)[0-9A-F]{2})"
_PATH = rf"(?:/(?!\.{{1,2}}(?:[/?]|\Z)){_CHARACTER}*)+"
_QUERY = rf"(?:\?(?:{_CHARACTER}|[/?])*)?"
_ADDRESS = re.compile(rf"{_PLACE}{_PATH}{_QUERY}\Z")


def is_address(text: str) -> bool:
    """Whether this is an address that may be fetched at all, in the one form it has."""
    if len(text) > ADDRESS_BYTES_MAX:
        return False
    found = _ADDRESS.match(text)
    return found is not None and (found[1] is None or PORT_MIN <= int(found[1]) <= 65_535)


def is_permission(text: str) -> bool:
    """Whether this names addresses to fetch."""
    return len(text) <= PERMISSION_CHARACTERS_MAX and text.startswith(SCHEME) and is_address(text.removeprefix(SCHEME))


def covers(permission: str, wanted: str) -> bool:
    """Whether one permission includes another: it is the same, or names all below it. No address below has a query.

    What is not written as a permission includes nothing, and nothing includes it.
    """
    if not (is_permission(permission) and is_permission(wanted)):
        return False
    if permission == wanted:
        return True
    names_all = permission.endswith("/") and "?" not in permission
    return names_all and "?" not in wanted and wanted.startswith(permission)


def all_covered(wanted: Iterable[str], permissions: Iterable[str]) -> bool:
    """Whether each of these is included in one of the others."""
    given = tuple(permissions)
    return all(any(covers(permission, each) for permission in given) for each in wanted)


def is_fetched(manifest: Manifest) -> bool:
    """Whether a task's chunks are addresses to fetch, instead of inputs to compute with."""
    return manifest.runtime == "net"


def open_address(data: bytes, permissions: Iterable[str]) -> str:
    """The address that is a chunk's input.

    Raises:
        RemoteProtocolError: It is none, or not among those that the task names.
    """
    try:
        address = data.decode("ascii")
    except UnicodeDecodeError:
        raise RemoteProtocolError("an item is no address") from None
    if not is_address(address):
        raise RemoteProtocolError("an item is no address that may be fetched")
    if not all_covered((SCHEME + address,), permissions):
        raise RemoteProtocolError("an item is an address that the task's permissions do not name")
    return address
