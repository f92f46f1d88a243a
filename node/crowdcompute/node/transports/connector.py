"""Turns peer ids into links: dials, accepts, and proves who is at the other end.

One attempt per peer at a time:

    offering --answer--> dialling directly --not within 1 s--> connecting --open, certificate is the signed one--> link
    offered -----------> dialling directly --not within 1 s--> answering -----------'
         |                       '--- met by TCP (direct.py), also where the other side dials us ---> link
         '---- 15 s, refused, peer absent, superseded ---> failed

Two native peers that reach each other by TCP get a direct link, and no WebRTC connection is made then. When both sides
offer at once (glare), the offer of the smaller peer id wins: the other side drops its own and answers.
Whom to connect to is not decided here. Nothing a signaling server does can put anybody but the holder of the dialled
key at the other end: signals are signed for one network, one pair of peers and one certificate (protocol.signals),
and that certificate is compared with the one in use before a link is handed out.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from asyncio import FIRST_COMPLETED
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crowdcompute.node.signaling_client import PeerAbsent, PeersNamed, SignalReceived, StateChanged
from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.direct import Meeting, direct_way_of, is_proof_of, prove_meeting, with_direct_way
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.identity import peer_id_of, public_key_of, verify
from crowdcompute.protocol.signaling import IceServer
from crowdcompute.protocol.signals import (
    CANDIDATES_MAX,
    Answer,
    Candidate,
    Offer,
    SignalBody,
    fingerprint_of,
    open_signal,
    parse_signal,
    sign_signal,
)

from . import direct

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from crowdcompute.node.signaling_client import Signaling, SignalingEvent, SignalingState
    from crowdcompute.protocol.identity import PeerId, Signer

    from .link import Link, StackName
    from .webrtc import WebRtcLink

log = logging.getLogger(__name__)

CONNECT_WITHIN_S = 15.0
"""From dial to open link. Without end-of-candidates ICE itself never gives up (research/webrtc.md section 6)."""

ANSWERING_MAX = 64
"""Offers answered at the same time; more are ignored. Each costs sockets and about 5 ms of CPU (m)."""

REMEMBERED_OFFERS = 1_024
"""Connection ids of offers seen, so that a replayed one costs nothing."""


@dataclass(eq=False)
class _Attempt:
    """One try to connect to one peer."""

    peer_id: PeerId
    connection: bytes
    dialled: bool
    """Whether the offer is ours."""
    link: WebRtcLink
    """What is tried when there is no direct way."""
    asked: bool
    """Whether our side wants to hear of a failure."""
    through: PeerId | None
    """The neighbour that passes the signals on; None: the signaling server."""
    offer_id: bytes = b""
    answer: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    early_candidates: list[Candidate] = field(default_factory=list)
    """Those that came before the description they belong to."""
    candidates_left: int = CANDIDATES_MAX
    described: bool = False
    listener: direct.Listener | None = None
    """Where the other side may come to us directly, once we have told it."""

    def fail(self, reason: str) -> None:
        """End the attempt now; its task reports why."""
        self.link.close(reason)
        self.stop_listening()
        if self.dialled and not self.answer.done():
            self.answer.set_exception(ConnectionError(reason))
            self.answer.exception()  # Marks it as seen: nobody may be waiting yet.

    def stop_listening(self) -> None:
        if self.listener is not None:
            self.listener.close()
            self.listener = None


class Connector:
    """Makes links for one identity in one network.

    Callbacks run on the event loop, never from within a call of ours. `on_link(link, dialled)`: a link is open, and
    `dialled` tells whether the offer was ours; attach to it at once. If there was a link to that peer before, its
    `on_closed` comes too. `on_dial_failed(peer_id, reason)`: answers a `dial` that made no link.
    `on_signal(to, through, data)`: a signal for the neighbour `through` to pass on. `on_peers(peer_ids)`: peers the
    server named. `on_signaling(state, detail)`: every change of the connection to the server.
    """

    def __init__(
        self,
        identity: Signer,
        network: str,
        signaling: Signaling,
        *,
        on_link: Callable[[Link, bool], None],
        on_dial_failed: Callable[[PeerId, str], None],
        on_signal: Callable[[PeerId, PeerId, bytes], None],
        on_peers: Callable[[tuple[PeerId, ...]], None],
        on_signaling: Callable[[SignalingState, str], None],
        hosts: Sequence[str] = (),
        ice_servers: Sequence[IceServer] | None = None,
        stack: StackName = "auto",
        meet_within_s: float = direct.CONNECT_WITHIN_S,
        addresses: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        """`hosts` limits which local addresses are offered (`("127.0.0.1",)` for peers of one machine; empty: all but
        loopback). `ice_servers` overrides what the signaling server recommends; `()` means none.
        `stack` names what makes our links. Within `meet_within_s` a direct way leads to a link, or is given up.
        `addresses`: where we can be dialled by libp2p, which native peers are told.
        """
        # An engine takes up to 0.4 s and 64 MB to import (m): only who connects pays that.
        from .webrtc import link_class

        self._link_class = link_class(stack)
        self._certificate = direct.Certificate() if stack == "auto" else None
        self._meet_within_s = meet_within_s
        self._addresses = addresses
        self._identity = identity
        self._network = network
        self._signaling = signaling
        self._on_link = on_link
        self._on_dial_failed = on_dial_failed
        self._on_signal = on_signal
        self._on_peers = on_peers
        self._on_signaling = on_signaling
        self._hosts = tuple(hosts)
        self._ice_servers = ice_servers
        self._attempts: dict[PeerId, _Attempt] = {}
        self._attempts_made = 0
        self._links: dict[PeerId, Link] = {}
        self._seen_offers: deque[bytes] = deque(maxlen=REMEMBERED_OFFERS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._reception: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Connect to the signaling server and stay connected."""
        self._reception = self._spawn(self._signaling.run(self._signaled))

    def dial(self, peer_id: PeerId, through: PeerId | None = None) -> None:
        """Try to connect, by way of a neighbour or of the signaling server.

        Answered by `on_link` or `on_dial_failed` for this peer, within about 15 s.
        """
        if self._closed:
            return
        attempt = self._attempts.get(peer_id)
        if attempt is not None:
            attempt.asked = True
        elif peer_id == self._identity.peer_id:
            self._fail_soon(peer_id, "this is our own peer id")
        elif peer_id in self._links:
            self._fail_soon(peer_id, "there is a link already")
        else:
            attempt = self._begin(peer_id, secrets.token_bytes(16), dialled=True, asked=True, through=through)
            self._spawn(self._run(attempt, None))

    def ask_peers(self) -> None:
        """Ask the signaling server for other peers, to be told by `on_peers`."""
        self._signaling.ask()

    async def close(self) -> None:
        """Close every link and attempt and leave the signaling server. Returns when nothing is left running."""
        self._closed = True
        for attempt in list(self._attempts.values()):
            self._abandon(attempt, "we are stopping")
        for link in self._links.values():
            link.close("we are stopping")
        if self._reception is not None:
            self._reception.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- what neighbours and the signaling server bring

    def signal_arrived(self, through: PeerId, data: bytes) -> None:
        """A neighbour passed a signal on to us."""
        self._take_signal(data, through)

    def signal_undelivered(self, to: PeerId, through: PeerId) -> None:
        """A neighbour cannot pass a signal on."""
        attempt = self._attempts.get(to)
        if attempt is not None and attempt.through == through:
            attempt.fail("the peer is no longer a neighbour of who named it")

    def _signaled(self, event: SignalingEvent) -> None:
        match event:
            case StateChanged(state, detail):
                self._on_signaling(state, detail)
            case PeersNamed(peer_ids):
                self._on_peers(peer_ids)
            case PeerAbsent(peer_id):
                attempt = self._attempts.get(peer_id)
                if attempt is not None and attempt.through is None:
                    attempt.fail("the peer is not connected to the signaling server")
            case SignalReceived(data):
                self._take_signal(data, None)

    def _take_signal(self, data: bytes, through: PeerId | None) -> None:
        try:
            self._signal_received(data, through)
        except RemoteProtocolError as error:
            # Of what came from the server we cannot know whether it or the peer is lying; what a neighbour passed on
            # was checked before, and is now only too late. So nobody is blamed.
            log.info("a signal is ignored: %s", error)

    def _signal_received(self, data: bytes, through: PeerId | None) -> None:
        signal = parse_signal(data)
        body = open_signal(verify, signal, network=self._network, receiver=self._identity.public_key)
        author = peer_id_of(signal.author)
        match body:
            case Offer():
                self._offered(author, body, signal.signal_id, through)
            case Answer():
                attempt = self._attempt_for(author, body.connection)
                if not attempt.dialled or body.offer != attempt.offer_id or attempt.answer.done():
                    raise RemoteProtocolError("an answer is not to the offer we made")
                attempt.answer.set_result(body)
            case Candidate():
                attempt = self._attempt_for(author, body.connection)
                attempt.candidates_left -= 1
                if attempt.candidates_left < 0:
                    raise RemoteProtocolError(f"a peer sent more than {CANDIDATES_MAX} candidates")
                if attempt.described:
                    self._spawn(self._add_candidates(attempt, [body]))
                else:
                    attempt.early_candidates.append(body)

    def _attempt_for(self, peer_id: PeerId, connection: bytes) -> _Attempt:
        attempt = self._attempts.get(peer_id)
        if attempt is None or attempt.connection != connection:
            raise RemoteProtocolError("a signal belongs to no connection that is being made")
        return attempt

    def _offered(self, peer_id: PeerId, offer: Offer, offer_id: bytes, through: PeerId | None) -> None:
        if self._closed or offer.connection in self._seen_offers:
            return
        self._seen_offers.append(offer.connection)
        attempt = self._attempts.get(peer_id)
        asked = attempt is not None and attempt.asked
        if attempt is not None:
            if attempt.dialled and self._identity.peer_id < peer_id:
                return  # Glare: our offer wins, and the other side will answer it.
            self._abandon(attempt, "another offer takes its place")
        elif sum(not other.dialled for other in self._attempts.values()) >= ANSWERING_MAX:
            log.info("an offer is ignored: %d are being answered", ANSWERING_MAX)
            return
        attempt = self._begin(peer_id, offer.connection, dialled=False, asked=asked, through=through)
        attempt.offer_id = offer_id
        self._spawn(self._run(attempt, offer))

    # ---- one attempt

    def _begin(
        self, peer_id: PeerId, connection: bytes, *, dialled: bool, asked: bool, through: PeerId | None
    ) -> _Attempt:
        servers = self._signaling.ice_servers if self._ice_servers is None else self._ice_servers
        if servers:
            # aiortc asks the first of each kind only: were it dead, no other would ever be asked.
            start = self._attempts_made % len(servers)
            servers = (*servers[start:], *servers[:start])
        self._attempts_made += 1
        link = self._link_class(
            peer_id,
            ice_servers=servers,
            hosts=self._hosts,
            on_candidate=lambda mid, candidate: self._candidate_found(attempt, mid, candidate),
        )
        attempt = self._attempts[peer_id] = _Attempt(peer_id, connection, dialled, link, asked, through)
        return attempt

    def _abandon(self, attempt: _Attempt, reason: str) -> None:
        """End an attempt that nobody waits for any more, without reporting it."""
        del self._attempts[attempt.peer_id]
        attempt.asked = False
        attempt.fail(reason)

    async def _run(self, attempt: _Attempt, offer: Offer | None) -> None:
        """Carry one attempt through, answering `offer` or making our own; then stay until the link is closed."""
        peer_id = attempt.peer_id
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                link = await (self._offer(attempt) if offer is None else self._answer(attempt, offer))
        except (RemoteProtocolError, ConnectionError, TimeoutError) as error:
            reason = str(error) or f"no connection within {CONNECT_WITHIN_S:g} s"
            log.info("no link to %s: %s", peer_id, reason)
            if self._attempts.get(peer_id) is attempt:
                del self._attempts[peer_id]
            attempt.link.close(reason)
            if attempt.asked:
                self._on_dial_failed(peer_id, reason)
            await attempt.link.wait_closed()
            return
        finally:
            attempt.stop_listening()
        if link is not attempt.link:
            attempt.link.close("there is a direct link")
        if self._attempts.get(peer_id) is not attempt:
            link.close("another offer took its place")
            await asyncio.gather(link.wait_closed(), attempt.link.wait_closed())
            return
        del self._attempts[peer_id]
        older = self._links.get(peer_id)
        if older is not None:
            older.close("replaced by a newer connection")
        self._links[peer_id] = link
        self._on_link(link, attempt.dialled)
        await link.wait_closed()
        if self._links.get(peer_id) is link:
            del self._links[peer_id]
        await attempt.link.wait_closed()

    async def _offer(self, attempt: _Attempt) -> Link:
        """Offer; the link that comes of it."""
        ours, theirs = self._identity.public_key, public_key_of(attempt.peer_id)
        sdp = await self._with_our_way(attempt, await attempt.link.make_offer(), offerer=ours, answerer=theirs)
        offer = Offer(self._network, attempt.connection, ours, theirs, fingerprint_of(sdp), sdp)
        attempt.offer_id = self._send(attempt, offer)
        met = await self._met_before(attempt, attempt.answer)
        if met is not None:
            return met
        answer = attempt.answer.result()
        attempt.stop_listening()  # Who has answered comes no more.
        met = await self._meet(attempt, answer.sdp, offerer=ours, answerer=theirs)
        if met is not None:
            return met
        await attempt.link.accept_answer(answer.sdp)
        await self._described(attempt)
        await attempt.link.opened(answer.fingerprint)
        return attempt.link

    async def _answer(self, attempt: _Attempt, offer: Offer) -> Link:
        """Take an offer's direct way, or answer it; the link that comes of it."""
        met = await self._meet(attempt, offer.sdp, offerer=offer.offerer, answerer=offer.answerer)
        if met is not None:
            return met
        sdp = await attempt.link.accept_offer(offer.sdp)
        if direct_way_of(offer.sdp) is not None:
            sdp = await self._with_our_way(attempt, sdp, offerer=offer.offerer, answerer=offer.answerer)
        self._send(
            attempt,
            Answer(
                self._network,
                attempt.connection,
                offer.offerer,
                offer.answerer,
                attempt.offer_id,
                fingerprint_of(sdp),
                sdp,
            ),
        )
        await self._described(attempt)
        opening = asyncio.ensure_future(attempt.link.opened(offer.fingerprint))
        try:
            met = await self._met_before(attempt, opening)
            if met is not None:
                return met
            await opening
        finally:
            opening.cancel()
        return attempt.link

    # ---- the direct way

    async def _with_our_way(self, attempt: _Attempt, sdp: str, *, offerer: bytes, answerer: bytes) -> str:
        """Our description, which tells where we listen for this peer from now on."""
        if self._certificate is None:
            return sdp
        certificate, theirs = self._certificate, public_key_of(attempt.peer_id)
        meeting = Meeting(self._network, attempt.connection, offerer, answerer, certificate.fingerprint)
        attempt.listener = direct.Listener(
            certificate, self._ends(attempt), lambda proof: is_proof_of(verify, meeting, theirs, proof)
        )
        way = await attempt.listener.start(direct.own_addresses(self._hosts))
        return sdp if way is None else with_direct_way(sdp, way)

    async def _met_before(self, attempt: _Attempt, other: asyncio.Future[Any]) -> Link | None:
        """The direct link by which the other side has come; None when something else has happened first."""
        if attempt.listener is None:
            await asyncio.wait({other})
            return None
        listener = attempt.listener
        await asyncio.wait({listener.came, other}, return_when=FIRST_COMPLETED)
        return listener.take()

    async def _meet(self, attempt: _Attempt, sdp: str, *, offerer: bytes, answerer: bytes) -> Link | None:
        """Go the direct way that the other side's description offers; None when there is none, or it leads nowhere."""
        way = direct_way_of(sdp)
        if way is None or self._certificate is None:
            return None
        way = direct.reachable(way, self._hosts)
        if not way.addresses:
            return None
        meeting = Meeting(self._network, attempt.connection, offerer, answerer, way.certificate)
        proof = prove_meeting(self._identity, meeting)
        try:
            return await direct.dial(self._certificate, self._ends(attempt), way, proof, within_s=self._meet_within_s)
        except ConnectionError as error:
            log.info("no direct way to %s: %s", attempt.peer_id, error)
            return None

    def _ends(self, attempt: _Attempt) -> direct.Ends:
        return direct.Ends(self._network, attempt.peer_id, self._addresses())

    def _send(self, attempt: _Attempt, body: SignalBody) -> bytes:
        """Sign and send one signal; returns its id."""
        signal = sign_signal(self._identity, body)
        if attempt.through is not None:
            self._on_signal(attempt.peer_id, attempt.through, encode(signal))
        elif not self._signaling.relay(public_key_of(attempt.peer_id), encode(signal)):
            raise ConnectionError("there is no connection to the signaling server")
        return signal.signal_id

    def _candidate_found(self, attempt: _Attempt, mid: str, candidate: str) -> None:
        """Tell the other side of an address that was found after our description had left."""
        if self._attempts.get(attempt.peer_id) is not attempt:
            return
        ours, theirs = self._identity.public_key, public_key_of(attempt.peer_id)
        offerer, answerer = (ours, theirs) if attempt.dialled else (theirs, ours)
        # Without the server it is lost, and the connection is made over another or not at all.
        with suppress(ConnectionError):
            self._send(attempt, Candidate(self._network, attempt.connection, offerer, answerer, mid, candidate))

    async def _described(self, attempt: _Attempt) -> None:
        attempt.described = True
        early, attempt.early_candidates = attempt.early_candidates, []
        await self._add_candidates(attempt, early)

    async def _add_candidates(self, attempt: _Attempt, candidates: Sequence[Candidate]) -> None:
        for candidate in candidates:
            try:
                await attempt.link.add_candidate(candidate.mid, candidate.candidate)
            except RemoteProtocolError as error:
                log.info("a candidate is ignored: %s", error)

    # ---- tasks

    def _fail_soon(self, peer_id: PeerId, reason: str) -> None:
        asyncio.get_running_loop().call_soon(self._on_dial_failed, peer_id, reason)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
