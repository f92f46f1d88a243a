"""What it costs two neighbours to learn what the other lacks: ours, beside sending all ids and beside theory.

    python -m benchmarks.reconcile [--quick]

Bytes are of encoded frames in both directions until everything missing has been asked for: requests and answers of the
reconciliation, then `iwant` and `ihave`; all but the records. *All ids* is what the network did before: both sides
announce all they hold. *Theory* is an invertible Bloom lookup table of four hashes as large as its threshold asks for
(1.295 cells an id), whose maker knew the difference beforehand, with the same asking after it. CPU times are the best
of several rounds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks import cases
from benchmarks.cases import ROOT, Report, parser

from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.frames import IDS_MAX, IHave, IWant
from crowdcompute.protocol.reconcile import CELL_BYTES, Difference, Reconcile, Reconciliation, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from crowdcompute.protocol.reconcile import Answer

T = TypeVar("T")

WEB_PEER = ROOT / "web_peer"
TOPIC = bytes(36)
THRESHOLD = 1.295
"""Cells an id below which a table of four hashes does not decode, however large it is."""


@dataclass
class Row:
    """One pair of sets."""

    set_size: int
    missing: int
    surplus: int
    requests: int
    answer: str
    reconcile_bytes: int
    total_bytes: int
    bytes_per_missing_record: float | None
    all_ids_bytes: int
    theory_bytes: int
    python_ms: dict[str, float]
    node_ms: dict[str, float]


@dataclass
class Luck:
    """How often a difference of this size needs another request, and what it costs on average."""

    difference: int
    comparisons: int
    second_requests: float
    third_requests: float
    mean_total_bytes_per_record: float


def main() -> int:
    arguments = parser("reconcile", __doc__)
    arguments.add_argument("--rounds", type=int, help="default: 3, --quick 1")
    arguments.add_argument("--comparisons", type=int, help="default: 400, --quick 50")
    options = arguments.parse_args()
    if options.case:
        cases.answer(options, case)
    rounds = options.rounds or (1 if options.quick else 3)
    comparisons = options.comparisons or (50 if options.quick else 400)
    with Report("reconcile", options) as report:
        report.found.update(rows=[], luck=[])
        print(
            f"{'ids':>7} {'missing':>7} {'surplus':>7} {'trips':>5} {'answer':>6} {'reconcile':>10} {'total':>10} "
            f"{'B/record':>8} {'all ids':>10} {'theory':>10} {'Python ms':>20} {'Node ms':>20}"
        )
        for size in (1_000, 10_000) if options.quick else (1_000, 10_000, 100_000):
            pairs = report.case(f"{size} ids", limit_s=60 + size * rounds / 200, kind="pairs", size=size, count=rounds)
            for row in (Row(**each) for each in pairs or []):
                report.found["rows"].append(asdict(row))
                each = "-" if row.bytes_per_missing_record is None else f"{row.bytes_per_missing_record:.0f}"
                print(
                    f"{row.set_size:7,} {row.missing:7,} {row.surplus:7,} {row.requests:5} {row.answer:>6} "
                    f"{row.reconcile_bytes:10,} {row.total_bytes:10,} {each:>8} {row.all_ids_bytes:10,} "
                    f"{row.theory_bytes:10,} {shown(row.python_ms):>20} {shown(row.node_ms):>20}",
                    flush=True,
                )
        print("milliseconds: the request, its answer, the difference from it\n")
        print(f"{'difference':>10} {'second':>8} {'third':>8} {'mean B/record':>14}")
        for differing in (1, 2, 5, 10, 20, 50, 100, 200, 1_000):
            name = f"luck with {differing}"
            found = report.case(name, limit_s=60 + comparisons / 4, kind="luck", size=differing, count=comparisons)
            if found is not None:
                report.found["luck"].append(found)
                luck = Luck(**found)
                print(
                    f"{luck.difference:10,} {luck.second_requests:8.2%} {luck.third_requests:8.2%} "
                    f"{luck.mean_total_bytes_per_record:14.0f}",
                    flush=True,
                )
    return report.code


def case(kind: str, size: int, count: int) -> Any:
    if kind == "luck":
        return asdict(try_luck(size, count))
    pairs = []
    # Half of what differs is missing on either side.
    for differing in (0, 1, 10, 100, 1_000, 10_000):
        if differing <= size:
            missing = differing - differing // 2
            pairs.append((size - missing, missing, differing // 2))
    pairs += [(0, size, 0), (0, 0, size), (0, size, size)]
    on_node = node_times(pairs, count)
    return [asdict(measure(*each, count, node)) for each, node in zip(pairs, on_node, strict=True)]


def shown(times_ms: dict[str, float]) -> str:
    return " ".join(f"{value:6.1f}" for value in times_ms.values())


def record_ids(first: int, end: int) -> list[bytes]:
    return [sha256(number.to_bytes(4)).digest() for number in range(first, end)]


class Conversation:
    """Two honest ends: the frames they sent, and the milliseconds of CPU that each step took."""

    def __init__(self, ours: Sequence[bytes], theirs: Sequence[bytes], rng: Random) -> None:
        self.requests: list[Reconcile] = []
        self.answers: list[Answer] = []
        self.times_ms = {"begin": 0.0, "answer": 0.0, "received": 0.0}
        asking = Reconciliation(TOPIC, rng)
        outcome: Reconcile | Difference | None = self._timed("begin", lambda: asking.begin(ours))
        while isinstance(outcome, Reconcile):
            request = outcome
            self.requests.append(request)
            for frame in self._timed("answer", lambda request=request: answer(request, theirs)):  # type: ignore[misc]
                self.answers.append(frame)
                outcome = self._timed("received", lambda frame=frame: asking.received(frame, ours))  # type: ignore[misc]
        assert isinstance(outcome, Difference)
        self.difference = outcome

    def _timed(self, step: str, act: Callable[[], T]) -> T:
        start = time.process_time()
        value = act()
        self.times_ms[step] += 1_000 * (time.process_time() - start)
        return value

    @property
    def reconcile_bytes(self) -> int:
        return sum(len(encode(frame)) for frame in chain(self.requests, self.answers))


def parts(ids: Sequence[bytes]) -> Iterator[tuple[bytes, ...]]:
    return (tuple(ids[at : at + IDS_MAX]) for at in range(0, len(ids), IDS_MAX))


def wants_bytes(ids: Sequence[bytes]) -> int:
    return sum(len(encode(IWant(TOPIC, part))) for part in parts(ids))


def offers_bytes(ids: Sequence[bytes]) -> int:
    return sum(len(encode(IHave(TOPIC, part))) for part in parts(ids))


def asking_bytes(difference: Difference) -> int:
    """What follows a reconciliation, until everything has been asked for."""
    return wants_bytes(difference.missing) + offers_bytes(difference.surplus) + wants_bytes(difference.surplus)


def measure(common: int, missing: int, surplus: int, rounds: int, node: dict[str, float]) -> Row:
    ours, theirs = record_ids(missing, missing + common + surplus), record_ids(0, missing + common)
    talks = [Conversation(ours, theirs, Random(seed)) for seed in range(rounds)]
    talk = talks[0]
    difference = talk.difference
    differing = missing + surplus
    asking = asking_bytes(difference)
    return Row(
        set_size=common + max(missing, surplus),
        missing=missing,
        surplus=surplus,
        requests=len(talk.requests),
        answer=type(talk.answers[-1]).__name__.removeprefix("Reconcile").lower(),
        reconcile_bytes=talk.reconcile_bytes,
        total_bytes=talk.reconcile_bytes + asking,
        bytes_per_missing_record=(talk.reconcile_bytes + asking) / differing if differing else None,
        all_ids_bytes=offers_bytes(ours)
        + offers_bytes(theirs)
        + wants_bytes(difference.missing)
        + wants_bytes(difference.surplus),
        theory_bytes=round(THRESHOLD * differing) * CELL_BYTES + asking,
        python_ms={step: min(each.times_ms[step] for each in talks) for step in talk.times_ms},
        node_ms=node,
    )


def try_luck(differing: int, comparisons: int) -> Luck:
    missing, surplus = differing - differing // 2, differing // 2
    common = max(300, 10 * differing)
    ours, theirs = record_ids(missing, missing + common + surplus), record_ids(0, missing + common)
    comparisons = min(comparisons, 1_000_000 // common)
    talks = [Conversation(ours, theirs, Random(seed)) for seed in range(comparisons)]
    return Luck(
        difference=differing,
        comparisons=comparisons,
        second_requests=sum(len(talk.requests) >= 2 for talk in talks) / comparisons,
        third_requests=sum(len(talk.requests) == 3 for talk in talks) / comparisons,
        mean_total_bytes_per_record=sum(talk.reconcile_bytes + asking_bytes(talk.difference) for talk in talks)
        / comparisons
        / differing,
    )


def node_times(cases: list[tuple[int, int, int]], rounds: int) -> list[dict[str, float]]:
    """Milliseconds of each step by the TypeScript implementation."""
    with tempfile.TemporaryDirectory(prefix="cc-bench-") as folder:
        program = Path(folder) / "timing.mjs"
        bundler = WEB_PEER / "node_modules" / "rolldown" / "bin" / "cli.mjs"
        bundle: list[str | Path] = [
            "node",
            bundler,
            "test/reconcile_timing.ts",
            "-f",
            "esm",
            "-p",
            "node",
            "-o",
            program,
        ]
        subprocess.run(bundle, cwd=WEB_PEER, check=True, capture_output=True)
        lines = [
            {"common": common, "missing": missing, "surplus": surplus, "rounds": rounds}
            for common, missing, surplus in cases
        ]
        run = subprocess.run(
            ["node", program],
            input="".join(json.dumps(line) + "\n" for line in lines),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return [json.loads(line) for line in run.stdout.splitlines()]


if __name__ == "__main__":
    sys.exit(main())
