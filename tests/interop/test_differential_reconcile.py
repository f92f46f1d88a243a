"""Both implementations reconcile alike: the same requests, answers, differences and refusals, of honest and made-up
frames."""

from __future__ import annotations

import json
import subprocess
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from tests.interop.typescript import compiled

from crowdcompute.protocol.codec import decode, encode
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.reconcile import (
    CELL_BYTES,
    SKETCH_BYTES,
    Answer,
    Difference,
    Reconcile,
    ReconcileCells,
    ReconcileIds,
    Reconciliation,
    answer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

CONVERSATIONS = 600
FRAME = Reconcile | ReconcileCells | ReconcileIds


class Salts(Random):
    """A source of chance that says given salts."""

    def __init__(self, salts: list[bytes]) -> None:
        super().__init__(0)
        self._salts = iter(salts)

    def randbytes(self, n: int) -> bytes:
        return next(self._salts)


def some(rng: Random) -> int:
    return rng.choice((0, 1, 2, rng.randrange(20), rng.randrange(20), rng.randrange(300)))


def conversation(rng: Random) -> dict[str, Any]:
    """Two random sets; a request of the one and the answers to it, as they are or with something wrong."""
    common = [rng.randbytes(32) for _ in range(rng.choice((300, some(rng))))]
    missing = some(rng)
    surplus = rng.choice((missing, some(rng)))
    ours = common + [rng.randbytes(32) for _ in range(surplus)]
    theirs = common + [rng.randbytes(32) for _ in range(missing)]
    topic, salts = rng.randbytes(rng.choice((0, 32, 36))), [rng.randbytes(8) for _ in range(3)]
    frames: list[Answer] = []
    asking = Reconciliation(topic, Salts(salts))
    outcome: Reconcile | Difference | None = asking.begin(ours)
    while isinstance(outcome, Reconcile) and len(frames) < 20:
        # Sometimes the other side means another size of the difference, so that tables are too small.
        sketch = outcome.sketch
        if sketch and rng.random() < 0.3:
            nothing_differs = Reconciliation(topic, Salts([outcome.salt])).begin(theirs).sketch
            sketch = rng.choice((rng.randbytes(SKETCH_BYTES), nothing_differs))
        told = [
            wrong(rng, frame, salts) if rng.random() < 0.35 else frame for frame in answer_to(outcome, sketch, theirs)
        ]
        for frame in told:
            frames.append(frame)
            try:
                outcome = asking.received(frame, ours)
            except RemoteProtocolError:
                outcome = None
    back = Reconciliation(topic, Salts(salts)).begin(theirs)
    if rng.random() < 0.2:
        sketch = rng.randbytes(rng.choice((0, 1, SKETCH_BYTES)))
        back = Reconcile(topic, salts[0], rng.randrange(3), rng.choice((0, 20, 2**32 - 1)), rng.randbytes(8), sketch)
    return {
        "topic": topic.hex(),
        "salts": [salt.hex() for salt in salts],
        "ours": [record_id.hex() for record_id in ours],
        "request": encode(back).hex(),
        "frames": [encode(frame).hex() for frame in frames],
    }


def answer_to(request: Reconcile, sketch: bytes, ids: list[bytes]) -> list[Answer]:
    return answer(
        Reconcile(request.topic, request.salt, request.attempt, request.count, request.fingerprint, sketch), ids
    )


def wrong(rng: Random, frame: Answer, salts: list[bytes]) -> Answer:
    """A frame that no honest neighbour sends."""
    data = bytearray(frame.data)
    for _ in range(rng.randrange(3)):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    if rng.random() < 0.3 and len(data) >= 2 * CELL_BYTES:
        data[:CELL_BYTES] = data[CELL_BYTES : 2 * CELL_BYTES]
    if rng.random() < 0.3:
        data = data[: rng.randrange(len(data) + 1)]
    salt = rng.choice((*salts, frame.salt, frame.salt))
    total = frame.cells if isinstance(frame, ReconcileCells) else frame.count
    if rng.random() < 0.2:
        total += rng.choice((1, 4))
    kind = rng.choice((ReconcileCells, ReconcileIds, type(frame)))
    return kind(salt, total, bytes(data))


def refusable(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except RemoteProtocolError as error:
        return {"refused": str(error)}


def said(line: dict[str, Any]) -> dict[str, Any]:
    ours = [bytes.fromhex(record_id) for record_id in line["ours"]]
    asking = Reconciliation(bytes.fromhex(line["topic"]), Salts([bytes.fromhex(salt) for salt in line["salts"]]))
    request: Any = decode(bytes.fromhex(line["request"]), FRAME)  # type: ignore[arg-type]

    def outcome(data: str) -> Any:
        frame: Any = decode(bytes.fromhex(data), FRAME)  # type: ignore[arg-type]
        outcome = asking.received(frame, ours)
        if isinstance(outcome, Difference):
            return [[record_id.hex() for record_id in ids] for ids in (outcome.missing, outcome.surplus)]
        return None if outcome is None else encode(outcome).hex()

    return {
        "begins": encode(asking.begin(ours)).hex(),
        "answers": refusable(lambda: [encode(frame).hex() for frame in answer(request, ours)]),
        "outcomes": [refusable(partial(outcome, data)) for data in line["frames"]],
    }


def test_both_reconcile_the_same_sets_in_the_same_bytes_and_refuse_the_same(tmp_path: Path) -> None:
    rng = Random(20_261_123)
    lines = [conversation(rng) for _ in range(CONVERSATIONS)]
    run = subprocess.run(
        ["node", compiled("reconcile", tmp_path)],
        input="".join(json.dumps(line) + "\n" for line in lines),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    theirs = [json.loads(line) for line in run.stdout.splitlines()]
    ours = [said(line) for line in lines]
    for line, expected, got in zip(lines, ours, theirs, strict=True):
        assert got == expected, json.dumps(line)[:2_000]
    # What was compared is worth comparing: differences, second requests, and refusals in words of the protocol.
    outcomes = [outcome for expected in ours for outcome in expected["outcomes"]]
    assert sum(isinstance(outcome, list) for outcome in outcomes) > 300
    assert sum(isinstance(outcome, str) for outcome in outcomes) > 20
    assert sum(isinstance(outcome, dict) for outcome in outcomes) > 50
