"""Errors say whose fault it is.

What we *expect* to happen (a timeout, two results that disagree, a lost peer) is an output value, never an exception.
"""


class ProtocolError(Exception):
    """Base of everything this package raises on purpose."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something the protocol forbids. Drop it and lower that peer's score.

    Whatever bytes a stranger sends, nothing but this may be raised while they are read.
    """


class LocalProtocolError(ProtocolError):
    """Our own side asked for something the protocol forbids. The message says what to do instead."""


class BundleError(ProtocolError):
    """A bundle or a manifest is refused. The message is one sentence for the person who offered it."""


class ModuleRefused(ProtocolError):
    """Code breaks an admission rule (spec/modules.md, spec/javascript.md). The message names the rule."""
