"""Three tasks, each of which takes the results of the one before, through real nodes and Chromium (spec/onward.md)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from crowdcompute.creator import Network, Task

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CHUNKS, BYTES = 8, 100_000

FIRST = f"export default ([start]) => new Uint8Array({BYTES}).map((_, index) => index * (start + 1));"
NEXT = "export default (_, bytes) => bytes.map((byte) => byte + 1);"
LAST = "export default (_, bytes) => bytes.reduce((sum, byte) => sum + byte, 0);"
TOML = (
    'schema = 1\nname = "NAME"\n[code]\nruntime = "js"\nmodule = "kernel.js"\n[split]\nSPLIT\n'
    "[limits]\nseconds = SECONDS\n[verify]\nreplication = 1\neps = 0.2\npow_bits = 8\n[publish]\nonward = true\n"
)


def folder(place: Any, name: str, kernel: str, split: str, seconds: int = 20) -> Path:
    made: Path = place.folder / name
    made.mkdir()
    (made / "kernel.js").write_text(kernel)
    (made / "task.toml").write_text(TOML.replace("NAME", name).replace("SPLIT", split).replace("SECONDS", str(seconds)))
    return made


def test_results_go_on_between_nodes_and_browsers_and_not_through_the_creator(
    place: Any, join: str, tabs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = folder(place, "first", FIRST, f"range = [0, {CHUNKS}, 1]")
    later = folder(place, "later", NEXT, "results = { per_chunk = 1 }")
    last = folder(place, "last", LAST, "results = { per_chunk = 2 }", seconds=30)
    monkeypatch.setenv("CC_HOME", str(place.folder / "creator"))
    with Network(join, hosts=("127.0.0.1",)) as network:
        # Each task has one volunteer, so it is known who must fetch from whom: the tab is not asked about the second
        # task, and bob takes no chunks as long as the third one's.
        begun = network.publish(Task(first))
        tab = tabs.open(f"{join}&t={begun.id}")
        tab.works_for(begun.id)
        begun.wait(60)
        bob = place.node(join, "bob", "--seconds", "20").joined()
        bob.is_connected_to(2)
        gone_on = network.publish(Task(later, inputs=begun))
        gone_on.wait(60)
        other = tabs.open(f"{join}&t={gone_on.id}")
        other.until("shown.peers.length >= 3")
        ended = network.publish(Task(last, inputs=gone_on, decode=json.loads))
        other.works_for(ended.id)
        ended.wait(60)
        sums = [result.value for result in ended.results(ordered=True)]
        voters = [
            {worker for row in _rows(network, job) for worker in row["agreed"]} for job in (begun, gone_on, ended)
        ]
        given = network.given_bytes
    made = [[(index * (chunk + 1) + 1) % 256 for index in range(BYTES)] for chunk in range(CHUNKS)]
    assert sums == [sum(made[chunk]) + sum(made[chunk + 1]) for chunk in range(0, CHUNKS, 2)]
    assert [peer in voted for peer, voted in zip((tab.peer_id, bob.peer_id, other.peer_id), voters, strict=True)] == [
        True
    ] * 3
    # Kernels and tables are all that it gave: not even one of the results, of which bob fetched eight from the browser,
    # and the next browser eight from bob.
    assert given < BYTES


def _rows(network: Network, job: Any) -> list[dict[str, Any]]:
    from crowdcompute.creator.results import rows

    return network._call(lambda: list(rows(network._role(job))))
