"""One link's life: whatever comes in whatever order, and a driver that wakes it at the very moment it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.config import PROTOCOL_VERSION, ProtocolConfig
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.frames import Bye, Frame, Graft, Hello, Part, Ping, Pong, encode_frame
from crowdcompute.protocol.session import Session, SessionState

if TYPE_CHECKING:
    from tests.conftest import ExpectVectors

CONFIG = ProtocolConfig()
HELLO = Hello((PROTOCOL_VERSION,), "main", "test")


def opened(now: float = 0.0) -> Session:
    session = Session(CONFIG, now)
    assert session.received(HELLO, now) == []
    assert session.state is SessionState.OPEN
    return session


def test_two_sessions_that_greet_each_other_are_open() -> None:
    one, other = Session(CONFIG, 0.0), Session(CONFIG, 0.0)
    one.received(other.greeting(), 0.1)
    other.received(one.greeting(), 0.1)
    assert one.state is other.state is SessionState.OPEN
    assert one.agent == CONFIG.agent


@pytest.mark.parametrize(
    "hello",
    [
        Hello((PROTOCOL_VERSION + 1,), "main", ""),
        Hello((PROTOCOL_VERSION,), "another", ""),
    ],
)
def test_a_peer_of_another_version_or_network_is_refused(hello: Hello) -> None:
    with pytest.raises(RemoteProtocolError):
        Session(CONFIG, 0.0).received(hello, 0.0)


def test_versions_we_do_not_know_do_no_harm_beside_ours() -> None:
    session = Session(CONFIG, 0.0)
    session.received(Hello((PROTOCOL_VERSION, 77), "main", ""), 0.0)
    assert session.state is SessionState.OPEN


def test_nothing_may_come_before_hello_and_no_second_hello_after() -> None:
    with pytest.raises(RemoteProtocolError):
        Session(CONFIG, 0.0).received(Ping(1), 0.0)
    with pytest.raises(RemoteProtocolError):
        opened().received(HELLO, 1.0)


def test_a_ping_is_answered_with_its_own_nonce() -> None:
    assert opened().received(Ping(77), 1.0) == [Pong(77)]


def test_a_peer_that_leaves_is_gone_at_once() -> None:
    session = opened()
    session.received(Bye("bed time"), 1.0)
    assert session.state is SessionState.GONE
    assert session.reason == "the peer left: bed time"


def test_a_peer_that_parts_ends_the_link_and_is_not_thought_gone() -> None:
    session = opened()
    session.received(Part(), 1.0)
    assert session.state is SessionState.GONE
    assert session.parted


def test_a_silent_peer_is_pinged_then_suspected_then_gone() -> None:
    session = opened()
    history = [(0.0, session.state, 0)]
    while session.state is not SessionState.GONE:
        now = session.wake_at()
        frames = session.advance(now)
        history.append((now, session.state, len(frames)))
    assert history == [
        (0.0, SessionState.OPEN, 0),
        (1.0, SessionState.OPEN, 1),
        (2.0, SessionState.OPEN, 1),
        *((float(at), SessionState.SUSPECTED, 1) for at in range(3, 10)),
        (10.0, SessionState.GONE, 0),
    ]
    assert session.reason == "silent for 10 s"


def test_any_frame_clears_the_suspicion() -> None:
    session = opened()
    states = []
    session.advance(5.0)
    states.append(session.state)
    session.received(Graft(b""), 6.0)
    states.append(session.state)
    assert states == [SessionState.SUSPECTED, SessionState.OPEN]
    assert session.wake_at() == 7.0


def test_a_link_without_hello_is_given_up() -> None:
    session = Session(CONFIG, 5.0)
    assert session.wake_at() == 15.0
    assert session.advance(14.9) == []
    session.advance(15.0)
    assert session.state is SessionState.GONE


frames: st.SearchStrategy[Frame] = st.one_of(
    st.just(HELLO),
    st.just(Hello((9,), "main", "")),
    st.builds(Ping, st.integers(0, 3)),
    st.builds(Pong, st.integers(0, 3)),
    st.builds(Bye, st.just("")),
    st.just(Part()),
    st.just(Graft(b"")),
)
NEXT = {
    SessionState.GREETING: {SessionState.GREETING, SessionState.OPEN, SessionState.GONE},
    SessionState.OPEN: {SessionState.OPEN, SessionState.SUSPECTED, SessionState.GONE},
    SessionState.SUSPECTED: {SessionState.SUSPECTED, SessionState.OPEN, SessionState.GONE},
}


@given(
    start=st.floats(0, 1e9),
    inputs=st.lists(st.tuples(st.floats(0, 6), st.none() | frames), max_size=40),
    greeted=st.booleans(),
)
def test_no_sequence_of_inputs_breaks_a_session(
    start: float, inputs: list[tuple[float, Frame | None]], *, greeted: bool
) -> None:
    now = start
    session = opened(now) if greeted else Session(CONFIG, now)
    heard_at = now
    for pause_s, frame in inputs:
        now += pause_s
        before = session.state
        if frame is None:
            answers = session.advance(now)
            assert all(isinstance(answer, Ping) for answer in answers)
            if session.state is SessionState.OPEN:
                assert now < heard_at + CONFIG.suspect_after_s
        else:
            try:
                answers = session.received(frame, now)
            except RemoteProtocolError:
                assert before is SessionState.GREETING or isinstance(frame, Hello)
                return  # The peer closes the link in the first case and lowers the score in the second.
            heard_at = now
            assert all(isinstance(answer, Pong) for answer in answers)
            assert session.state is not SessionState.SUSPECTED
        assert session.state in NEXT[before]
        if session.state is SessionState.GONE:
            assert session.reason
            return


@given(
    start=st.floats(0, 1e9),
    heard=st.lists(st.floats(0.001, 12), max_size=20),
    ping=st.floats(0.01, 20),
    suspect=st.floats(0.01, 20),
    gone=st.floats(0.01, 20),
    greeted=st.booleans(),
)
def test_a_driver_that_wakes_it_exactly_when_asked_always_gets_on(
    start: float, heard: list[float], ping: float, suspect: float, gone: float, *, greeted: bool
) -> None:
    config = ProtocolConfig(ping_after_s=ping, suspect_after_s=suspect, gone_after_s=gone)
    session = Session(config, start)
    if greeted:
        session.received(HELLO, start)
    frame_at = start
    for pause_s in [*heard, 1e12]:
        frame_at += pause_s
        for _ in range(10_000):
            if session.state is SessionState.GONE:
                return
            at = session.wake_at()
            if at > frame_at:
                break
            before = session.state
            pings = session.advance(at)
            assert pings or session.state is not before or session.wake_at() > at, "woken for nothing"
        else:
            pytest.fail("it never stops asking to be woken")
        session.received(Pong(0) if greeted else HELLO, frame_at)
        greeted = True
    pytest.fail("a session outlived a silence of 30,000 years")


SCRIPTS: dict[str, list[tuple[float, str, Frame | None]]] = {
    "a healthy link": [
        (0.2, "received", HELLO),
        (1.7, "advance", None),
        (1.8, "received", Pong(1)),
        (3.3, "advance", None),
        (3.4, "received", Ping(9)),
        (4.0, "received", Bye("done")),
    ],
    "a peer that has other neighbours": [(0.2, "received", HELLO), (0.3, "received", Part())],
    "silence": [
        (0.5, "received", HELLO),
        (2.0, "advance", None),
        (3.5, "advance", None),
        (4.5, "advance", None),
        (5.0, "advance", None),
        (6.0, "received", Graft(b"")),
        (16.0, "advance", None),
    ],
    "no hello": [(9.0, "advance", None), (10.0, "advance", None)],
    "a foreign network": [(0.1, "received", Hello((1,), "elsewhere", ""))],
    "a foreign version": [(0.1, "received", Hello((2, 3), "main", ""))],
    "a frame before hello": [(0.1, "received", Ping(1))],
    "a second hello": [(0.1, "received", HELLO), (0.2, "received", HELLO)],
}


def test_the_vectors_hold(expect_vectors: ExpectVectors) -> None:
    """Each script begins with a link opened at 0; times are chosen away from the exact sums of floats."""
    vectors: list[dict[str, Any]] = []
    for name, script in SCRIPTS.items():
        session = Session(CONFIG, 0.0)
        steps: list[dict[str, Any]] = []
        for now, what, frame in script:
            step: dict[str, Any] = {"at": now, "do": what}
            if frame is not None:
                step["frame"] = encode_frame(frame).hex()
            try:
                answers = session.advance(now) if frame is None else session.received(frame, now)
                step["sends"] = [encode_frame(answer).hex() for answer in answers]
                step["state"] = session.state.value
                if session.state is not SessionState.GONE:
                    step["wake_at"] = round(session.wake_at(), 6)
            except RemoteProtocolError:
                step["refused"] = True
            steps.append(step)
        vectors.append({"name": name, "steps": steps})
    expect_vectors(
        "session",
        {
            "greeting": encode_frame(Session(CONFIG, 0.0).greeting()).hex(),
            "ping_after_s": CONFIG.ping_after_s,
            "suspect_after_s": CONFIG.suspect_after_s,
            "gone_after_s": CONFIG.gone_after_s,
            "hello_within_s": CONFIG.hello_within_s,
            "scripts": vectors,
        },
    )
