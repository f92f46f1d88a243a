"""Peers introduce peers: to its neighbours, a peer is a small signaling server (spec/session.md, "Introductions").

    newcomer --ask----------> neighbour                           whom are you linked with?
    newcomer <--peers-------- neighbour
    newcomer --relay(offer)-> neighbour --relayed--> stranger     only to its own neighbours: one hop, so no loops
    newcomer <--relayed------ neighbour <--relay(answer)-- stranger

The messages are those of signaling.py. Unlike a server, a neighbour is answerable for what it passes on: it lets
through only what its sender signed for the peer named, so whoever receives anything else knows whom to blame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from .errors import RemoteProtocolError
from .events import SeekPeers, SignalArrived, SignalUndelivered
from .identity import peer_id_of, public_key_of
from .signaling import PEERS_MAX, Ask, Peers, Relay, Relayed, Undeliverable
from .signals import open_signal, parse_signal

if TYPE_CHECKING:
    from random import Random

    from .config import ProtocolConfig
    from .identity import PeerId, Verifier
    from .neighbours import Neighbours

IntroductionFrame: TypeAlias = Ask | Peers | Relay | Relayed | Undeliverable

_PACE = 0.8
"""Share of a neighbour's bucket we use: the two clocks differ, and more than the whole is a breach."""


@dataclass(slots=True)
class _Bucket:
    """Tokens for requests and signals in one direction of a link."""

    per_s: float
    burst: float
    tokens: float
    filled_at: float

    def spend(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * self.per_s)
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(slots=True)
class _Acquaintance:
    theirs: _Bucket
    ours: _Bucket
    asked: bool = False
    """We wait for its `peers`."""


class Introductions:
    """What one peer does to introduce and to be introduced. Raises `RemoteProtocolError` for breaches of neighbours."""

    def __init__(
        self,
        config: ProtocolConfig,
        public_key: bytes,
        verifier: Verifier,
        rng: Random,
        neighbours: Neighbours,
        now: float,
    ) -> None:
        self._config = config
        self._public_key = public_key
        self._verifier = verifier
        self._rng = rng
        self._neighbours = neighbours
        self._acquaintances: dict[PeerId, _Acquaintance] = {}
        self._seek_at = now + config.seek_every_s
        self._strangers_at = self._next_strangers(now)
        self._fruitless = False
        """The last neighbour we asked named nobody new."""
        self._frames: list[tuple[PeerId, IntroductionFrame]] = []
        self._outputs: list[SignalArrived | SignalUndelivered | SeekPeers] = []

    # ---- links

    def link_opened(self, peer_id: PeerId, now: float) -> None:
        """A neighbour has said hello."""
        config = self._config
        rate, burst = config.introductions_per_s, config.introductions_burst
        self._acquaintances[peer_id] = _Acquaintance(
            _Bucket(rate, burst, burst, now), _Bucket(_PACE * rate, _PACE * burst, _PACE * burst, now)
        )
        if self._neighbours.lacking or self._neighbours.is_visited(peer_id):
            self._ask(peer_id, now)

    def link_closed(self, peer_id: PeerId) -> None:
        self._acquaintances.pop(peer_id, None)

    # ---- our own wishes

    def relay(self, to: PeerId, through: PeerId, signal: bytes, now: float) -> None:
        """Have a neighbour pass a signal of ours on."""
        acquaintance = self._acquaintances.get(through)
        if acquaintance is None or not acquaintance.ours.spend(now):
            self._outputs.append(SignalUndelivered(to, through))
        else:
            self._frames.append((through, Relay(public_key_of(to), signal)))

    def seek(self, now: float) -> None:
        """If it is time and we lack links: ask a neighbour for its own, or, where none can help, whoever else can.

        Who lacks none asks the signaling server, rarely: our neighbours may be half of a network and know no more.
        """
        if now >= self._strangers_at:
            self._strangers_at = self._next_strangers(now)
            if not self._neighbours.lacking:
                self._outputs.append(SeekPeers())
        if now < self._seek_at or not self._neighbours.lacking:
            return
        self._seek_at = now + self._config.seek_every_s
        willing = [
            peer_id
            for peer_id, acquaintance in self._acquaintances.items()
            if not acquaintance.asked and self._neighbours.introduces(peer_id)
        ]
        if willing and not self._fruitless:
            self._ask(self._rng.choice(willing), now)
        else:
            self._fruitless = False
            self._outputs.append(SeekPeers())

    def wake_at(self) -> float:
        """When `seek` has something to do, if nothing happens before."""
        return min(self._seek_at, self._strangers_at) if self._neighbours.lacking else self._strangers_at

    def _next_strangers(self, now: float) -> float:
        return now + self._config.strangers_every_s * (0.5 + self._rng.random())

    def _ask(self, peer_id: PeerId, now: float) -> None:
        acquaintance = self._acquaintances[peer_id]
        if acquaintance.ours.spend(now):
            acquaintance.asked = True
            self._frames.append((peer_id, Ask(PEERS_MAX)))

    # ---- what neighbours say

    def received(self, peer_id: PeerId, frame: IntroductionFrame, now: float) -> None:
        """Serve a neighbour, or take what it passes on.

        Raises:
            RemoteProtocolError: Too much, unasked for, or a signal that is not its author's to its receiver.
        """
        acquaintance = self._acquaintances[peer_id]
        if isinstance(frame, Ask | Relay | Relayed) and not acquaintance.theirs.spend(now):
            raise RemoteProtocolError("more introductions than the link's share")
        match frame:
            case Ask(count=count):
                others = [other for other in self._acquaintances if other != peer_id]
                named = others if len(others) <= count else self._rng.sample(others, count)
                self._frames.append((peer_id, Peers(tuple(public_key_of(other) for other in named))))
            case Peers(peers=peers):
                if not acquaintance.asked:
                    raise RemoteProtocolError("peers nobody asked for")
                acquaintance.asked = False
                named = [peer_id_of(key) for key in peers if key != self._public_key]
                self._fruitless = not self._neighbours.introduced(named, peer_id, now)
            case Relay(to=to, signal=data):
                if self._checked(data, receiver=to) != public_key_of(peer_id):
                    raise RemoteProtocolError("a signal to pass on is not the sender's own")
                self._pass_on(peer_id, to, data, now)
            case Relayed(sender=sender, signal=data):
                if self._checked(data, receiver=self._public_key) != sender:
                    raise RemoteProtocolError("a signal that was passed on is not its sender's")
                self._outputs.append(SignalArrived(peer_id, data))
            case Undeliverable(to=to):
                self._outputs.append(SignalUndelivered(peer_id_of(to), peer_id))

    def _checked(self, data: bytes, *, receiver: bytes) -> bytes:
        """Whose signal this is."""
        signal = parse_signal(data)
        open_signal(self._verifier, signal, network=self._config.network, receiver=receiver)
        return signal.author

    def _pass_on(self, sender: PeerId, to: bytes, data: bytes, now: float) -> None:
        receiver = peer_id_of(to)
        acquaintance = self._acquaintances.get(receiver)
        if acquaintance is None or not acquaintance.ours.spend(now):
            self._frames.append((sender, Undeliverable(to)))
        else:
            self._frames.append((receiver, Relayed(public_key_of(sender), data)))

    # ---- outputs

    def drain(
        self,
    ) -> tuple[list[tuple[PeerId, IntroductionFrame]], list[SignalArrived | SignalUndelivered | SeekPeers]]:
        """Frames to send and outputs for the driver, once each."""
        frames, outputs = self._frames, self._outputs
        self._frames, self._outputs = [], []
        return frames, outputs
