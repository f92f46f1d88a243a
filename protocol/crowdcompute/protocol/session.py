"""One link's life: hello, then liveness (spec/session.md).

    GREETING --hello--> OPEN --silent 3 s--> SUSPECTED --silent 10 s--> GONE
       |                  ^                      |
       |                  '------- a frame ------'
       '--no hello in time, or a foreign one--> GONE       (`bye` and `part` lead there, too)

Any frame counts as life. While the other side is silent we ping, so that an idle but healthy peer answers before it
is suspected. A channel's own state proves nothing: libwebrtc's stay 'open' after the peer has died.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from .config import PROTOCOL_VERSION
from .errors import RemoteProtocolError
from .frames import Bye, Frame, Hello, Part, Ping, Pong

if TYPE_CHECKING:
    from .config import ProtocolConfig


class SessionState(Enum):
    GREETING = "greeting"
    OPEN = "open"
    SUSPECTED = "suspected"
    GONE = "gone"


class Session:
    """Liveness of one link. `replies` of each call are frames for the caller to send to this peer."""

    def __init__(self, config: ProtocolConfig, now: float) -> None:
        self._config = config
        self.state = SessionState.GREETING
        self.agent = ""
        self.reason = ""
        self.parted = False
        """It is GONE because the peer has other neighbours: no reason to think that the peer itself is gone."""
        self._opened_at = now
        self._heard_at = now
        self._pinged_at: float | None = None
        self._nonce = 0

    def greeting(self) -> Hello:
        """What we say first."""
        return Hello((PROTOCOL_VERSION,), self._config.network, self._config.agent)

    def received(self, frame: Frame, now: float) -> list[Frame]:
        """Account for one frame and answer it if it concerns the session.

        Raises:
            RemoteProtocolError: Another version or network, or a frame before hello or a second hello.
        """
        self._heard_at, self._pinged_at = now, None
        if self.state is SessionState.SUSPECTED:
            self.state = SessionState.OPEN
        match frame:
            case Hello(versions=versions, network=network, agent=agent):
                if self.state is not SessionState.GREETING:
                    raise RemoteProtocolError("a second hello")
                if PROTOCOL_VERSION not in versions:
                    raise RemoteProtocolError(f"the peer speaks versions {versions}, we speak {PROTOCOL_VERSION}")
                if network != self._config.network:
                    raise RemoteProtocolError(f"the peer is of network {network!r}, we are of {self._config.network!r}")
                self.state, self.agent = SessionState.OPEN, agent
            case _ if self.state is SessionState.GREETING:
                raise RemoteProtocolError("a frame before hello")
            case Ping(nonce=nonce):
                return [Pong(nonce)]
            case Bye(reason=reason):
                self._end(f"the peer left: {reason}")
            case Part():
                self.parted = True
                self._end("the peer has other neighbours")
            case _:
                pass
        return []

    def advance(self, now: float) -> list[Frame]:
        """Let time pass: ping, suspect, give up. Look at `state` afterwards."""
        # Every moment is computed by the same sum here and in `wake_at`: a driver that wakes us exactly then must
        # not find that rounding says a little later.
        if now < self.wake_at() or self.state is SessionState.GONE:
            return []
        if self.state is SessionState.GREETING:
            self._end("no hello in time")
            return []
        if now >= self._heard_at + self._config.gone_after_s:
            self._end(f"silent for {self._config.gone_after_s:g} s")
            return []
        if now >= self._heard_at + self._config.suspect_after_s:
            self.state = SessionState.SUSPECTED
        if now >= self._ping_at():
            self._pinged_at = now
            self._nonce += 1
            return [Ping(self._nonce)]
        return []

    def wake_at(self) -> float:
        """When `advance` has something to do next, if no frame comes before."""
        config = self._config
        if self.state is SessionState.GREETING:
            return self._opened_at + config.hello_within_s
        due = [self._heard_at + config.gone_after_s, self._ping_at()]
        if self.state is SessionState.OPEN:
            due.append(self._heard_at + config.suspect_after_s)
        return min(due)

    def _ping_at(self) -> float:
        return (self._heard_at if self._pinged_at is None else self._pinged_at) + self._config.ping_after_s

    def _end(self, reason: str) -> None:
        self.state, self.reason = SessionState.GONE, reason
