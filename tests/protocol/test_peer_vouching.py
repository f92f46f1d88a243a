"""A peer fetches for a creator as long as somebody it trusts answers for it, and hears of it when that ends."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.config import PROTOCOL_VERSION, ProtocolConfig
from crowdcompute.protocol.errors import LocalProtocolError
from crowdcompute.protocol.events import (
    FinishRequested,
    FrameReceived,
    LinkOpened,
    RecordsRestored,
    SaveRecords,
    SendFrame,
    VouchMade,
    Woke,
)
from crowdcompute.protocol.frames import Hello, Publish, encode_frame
from crowdcompute.protocol.identity import Identity, verify
from crowdcompute.protocol.manifest import Manifest, sign_manifest
from crowdcompute.protocol.peer import NETWORK_TOPIC, Peer
from crowdcompute.protocol.permissions import FETCH_RULES
from crowdcompute.protocol.split import pack_items
from crowdcompute.protocol.storage import MemoryBlobStore
from crowdcompute.protocol.vouching import Vouch, sign_vouch

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.protocol.events import Output
    from crowdcompute.protocol.records import Signed

    MakeManifest = Callable[..., Manifest]

CREATOR = Identity(bytes(range(32)))
OPERATOR, STRANGER, NEIGHBOUR, NODE = (Identity(bytes([number]) * 32) for number in (50, 51, 52, 53))
NOW_S = 1_800_000_100
HOUR_S = 3_600


def vouch(author: Identity = OPERATOR, *, since_s: int = NOW_S - 10, until_s: int = NOW_S + HOUR_S) -> Signed:
    return sign_vouch(author, Vouch(CREATOR.public_key, "A lab", (), since_s, until_s))


class Node:
    """A peer with one neighbour, which tells it records."""

    def __init__(self, *, allows: bool = True, trusts: tuple[Identity, ...] = (OPERATOR,)) -> None:
        runtimes = {"wasm", "net"} if allows else {"wasm"}
        config = ProtocolConfig(
            epoch_offset_s=NOW_S,
            runtimes=frozenset(runtimes),  # type: ignore[arg-type]
            vouchers=frozenset(each.public_key for each in trusts),
        )
        self.peer = Peer(config, NODE, verify, Random(1), MemoryBlobStore(), 0.0)
        self.saved: list[Signed] = []
        self.handle(LinkOpened(NEIGHBOUR.peer_id, dialled=False))
        self.handle(FrameReceived(NEIGHBOUR.peer_id, encode_frame(Hello((PROTOCOL_VERSION,), config.network, "test"))))

    def handle(self, event: Any, now: float = 0.0) -> list[Output]:
        outputs = self.peer.handle(event, now=now)
        for output in outputs:
            if isinstance(output, SaveRecords):
                self.saved += output.records
        return outputs

    def hears(self, *records: Signed, now: float = 0.0) -> list[Output]:
        return self.handle(FrameReceived(NEIGHBOUR.peer_id, encode_frame(Publish(NETWORK_TOPIC, records))), now)

    def works(self) -> bool:
        """Whether it works, or would go on working, on a task."""
        return any(not role._resting for role in self.peer.workers.values())


@pytest.fixture
def task(make_manifest: MakeManifest) -> Callable[..., Signed]:
    def make(*vouches: Signed, **fields: Any) -> Signed:
        inputs = pack_items([b"https://data.example.org/pages/1"])
        given = {"permissions": ("net:https://data.example.org/pages/",), "runtime": "net", "chunks": 1, **fields}
        return sign_manifest(CREATOR, make_manifest(data=inputs, code=describe(FETCH_RULES), vouches=vouches, **given))

    return make


def test_a_task_is_fetched_for_by_who_allows_it_if_its_creator_is_verified(task: Callable[..., Signed]) -> None:
    for why, node, vouches, works in (
        ("verified", Node(), (vouch(),), True),
        ("one of several", Node(), (vouch(STRANGER), vouch()), True),
        ("not vouched for", Node(), (), False),
        ("vouched for by a stranger", Node(), (vouch(STRANGER),), False),
        ("vouched for until now", Node(), (vouch(until_s=NOW_S),), False),
        ("forged", Node(), (msgspec.structs.replace(vouch(STRANGER), author=OPERATOR.public_key),), False),
        ("not allowed", Node(allows=False), (vouch(),), False),
        ("trusting nobody", Node(trusts=()), (vouch(),), False),
        ("trusting the creator itself", Node(trusts=(CREATOR,)), (), True),
    ):
        node.hears(task(*vouches))
        assert node.works() is works, why
        assert len(node.peer.ledgers) == 1, "it is passed on all the same"


def test_who_computes_asks_for_no_vouch(task: Callable[..., Signed]) -> None:
    node = Node()
    node.hears(task(runtime="wasm", permissions=()))
    assert node.works()


def test_a_node_stops_when_a_vouch_is_taken_back_and_goes_on_when_it_is_given_again(
    task: Callable[..., Signed],
) -> None:
    node = Node()
    node.hears(task(vouch()))
    node.hears(vouch(since_s=NOW_S, until_s=0))
    assert not node.works()
    node.hears(vouch(since_s=NOW_S - 5))
    assert not node.works(), "an older word changes nothing"
    node.hears(vouch(since_s=NOW_S + 1))
    assert node.works()


def test_a_node_stops_when_a_vouch_runs_out(task: Callable[..., Signed]) -> None:
    node = Node()
    node.hears(task(vouch(until_s=NOW_S + 60)))
    node.handle(Woke(), now=59.0)
    assert node.works()
    node.handle(Woke(), now=70.0)
    assert not node.works()


def test_a_vouch_that_was_taken_back_stays_so_after_a_restart(task: Callable[..., Signed]) -> None:
    node = Node()
    taken_back = vouch(since_s=NOW_S, until_s=0)
    node.hears(taken_back)
    node.hears(task(vouch()))
    node.handle(Woke(), now=6.0)
    assert taken_back in node.saved
    again = Node()
    again.handle(RecordsRestored(tuple(node.saved)))
    again.hears(task(vouch(), name="Another"))
    assert not again.works()
    assert taken_back.record_id in again.peer.record_ids(NETWORK_TOPIC)


def test_a_vouch_is_passed_on_by_whoever_holds_a_task_that_names_its_voucher(task: Callable[..., Signed]) -> None:
    news = vouch(STRANGER, since_s=NOW_S)
    node = Node(allows=False, trusts=())
    node.hears(news)
    assert news.record_id not in node.peer.record_ids(NETWORK_TOPIC)
    node.hears(task(vouch(STRANGER)), news)
    assert list(node.peer.record_ids(NETWORK_TOPIC))[-1] == news.record_id
    assert node.peer.record(news.record_id) == news


def test_a_vouch_of_ones_own_is_told_to_others_once() -> None:
    node = Node(trusts=())
    own = sign_vouch(NODE, Vouch(CREATOR.public_key, "A lab", (), NOW_S, NOW_S + HOUR_S))
    outputs = node.handle(VouchMade(own))
    assert node.peer.record(own.record_id) == own
    assert not [each for each in outputs if isinstance(each, SendFrame) and each.peer_id == NODE.peer_id]
    with pytest.raises(LocalProtocolError, match="newer"):
        node.handle(VouchMade(sign_vouch(NODE, Vouch(CREATOR.public_key, "A lab", (), NOW_S - 1, NOW_S + HOUR_S))))
    with pytest.raises(LocalProtocolError, match="that key"):
        node.handle(VouchMade(vouch()))


def test_a_forged_vouch_costs_its_sender_and_changes_nothing(task: Callable[..., Signed]) -> None:
    node = Node()
    node.hears(task(vouch()))
    forged = msgspec.structs.replace(vouch(since_s=NOW_S, until_s=0), signature=bytes(64))
    for _ in range(4):
        node.hears(forged)
    assert node.works()
    assert NEIGHBOUR.peer_id not in node.peer.neighbours


def test_a_node_that_finishes_takes_no_task_up_again_for_a_vouch(task: Callable[..., Signed]) -> None:
    node = Node()
    node.hears(task())
    node.handle(FinishRequested())
    node.hears(vouch())
    assert not node.works()
