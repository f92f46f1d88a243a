"""Whole simulated networks: every scenario's checks hold, equal seeds give equal runs, and broken code is noticed."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from crowdcompute.protocol.neighbours import Neighbours
from crowdcompute.protocol.tally import ChunkState, ChunkTally
from crowdcompute.simulations.__main__ import main
from crowdcompute.simulations.run import run
from crowdcompute.simulations.scenario import Scenario, ScenarioError, load_scenario, parse_scenario

if TYPE_CHECKING:
    from collections.abc import Iterable

SCENARIOS = Path(__file__).parents[2] / "simulations" / "scenarios"

SMALL = """
name = "small"
[network]
peers = 8
[task]
chunks = 60
eps = 0.05
chunk_s = 1.0
replication = 2
[checks]
stop_s = 900
"""


def scenario(extra: str = "", **replaced: str) -> Scenario:
    text = SMALL
    for key, value in replaced.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"{key} = ")]
        text = text.replace(line, f"{key} = {value}")
    return parse_scenario(text + extra)


def test_the_smoke_scenario_passes_all_its_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(SCENARIOS / "smoke.toml"), "--seed", "3", "--story", "17"]) == 0
    printed = capsys.readouterr().out
    assert "executes it" in printed
    assert "trace " in printed


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_liars_scenario_passes_all_its_checks() -> None:
    outcome = run(load_scenario(SCENARIOS / "liars.toml"), 1)
    assert outcome.failures == []
    assert outcome.figures["convicted"] == outcome.figures["liars who sign lies"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_churn_scenario_passes_all_its_checks() -> None:
    assert run(load_scenario(SCENARIOS / "churn.toml"), 1).failures == []


@pytest.mark.slow
def test_the_restart_scenario_passes_all_its_checks() -> None:
    assert run(load_scenario(SCENARIOS / "restart.toml"), 1).failures == []


def test_machines_that_are_replaced_every_few_seconds_do_nine_tenths_of_what_they_could() -> None:
    """Half of them cut off from the creator for 20 s, and counted all the same."""
    outcome = run(load_scenario(SCENARIOS / "replaced.toml"), 1)
    assert outcome.failures == []
    assert outcome.figures["share of ideal"] > 0.9
    # What the two halves did apart counts when the network is one again.
    assert outcome.figures["of it: executed in vain"] < 0.02


def test_what_audits_cannot_show_is_not_asked_of_volunteers() -> None:
    # 37,447 audits would be needed: the creator has to execute these 60 chunks itself, whatever the others do.
    outcome = run(scenario(chunks="60", eps="1e-4"), 1)
    assert outcome.failures == []
    assert outcome.figures["certified bound"] == 0
    assert outcome.figures["votes per chunk"] < 5


@pytest.mark.slow
def test_a_creator_that_comes_back_after_an_hour_finds_its_job_computed() -> None:
    outcome = run(load_scenario(SCENARIOS / "away.toml"), 1)
    assert outcome.failures == []
    # What was sealed in its absence only had to be opened and confirmed.
    assert outcome.figures["closed after, s"] < 3_603 + 600


def test_no_result_is_executed_again_because_its_makers_are_gone_while_a_custodian_lives() -> None:
    text = (SCENARIOS / "custody.toml").read_text(encoding="utf-8")
    kept = run(parse_scenario(text), 1)
    assert kept.failures == []
    assert kept.figures["executions by the creator"] == kept.figures["audits by the creator"]
    lost = run(parse_scenario(text.replace("[protocol]", "[protocol]\ncustodians = 0")), 1)
    assert lost.failures == []
    assert lost.figures["executions by the creator"] > lost.figures["audits by the creator"] + 20
    # Three copies of each 20 kB, and the one that the creator fetches.
    assert kept.figures["bulk kB sent per peer, mean"] < 1.1 * 4 * 200 * 20.1 / 6


def test_equal_seeds_give_equal_traces_whatever_the_hash_seed(tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    # Everything at once: lies, blobs, crashes; whatever iterates over a set in the wrong place shows here.
    small = SMALL.replace("peers = 8", "peers = 12").replace("replication = 2", "replication = 2\nresult_bytes = 6_000")
    liars = '[[liars]]\nkind = "colluding"\ncount = 1\n[[liars]]\nkind = "equivocator"\ncount = 1\n'
    path.write_text(small + liars + '[[faults]]\nkind = "churn"\nat_s = 5\nfor_s = 20\nevery_s = 5\ndown_s = 5\n')
    traces = set()
    for hash_seed in ("1", "2"):
        printed = subprocess.run(
            [sys.executable, "-m", "crowdcompute.simulations", str(path), "--seed", "5"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        traces.add(printed.splitlines()[-1])
    (trace,) = traces
    assert trace.startswith("trace ")


def test_other_seeds_give_other_traces() -> None:
    assert run(scenario(), 1).trace != run(scenario(), 2).trace


@pytest.mark.parametrize(
    ("kind", "replication"),
    [
        ("alone", "1"),
        ("alone", "2"),
        ("colluding", "1"),
        ("colluding", "2"),
        ("rate", "2"),
        ("sleeper", "2"),
        ("equivocator", "2"),
    ],
)
def test_liars_are_convicted_and_none_of_their_results_accepted(kind: str, replication: str) -> None:
    liars = f'\n[[liars]]\nkind = "{kind}"\ncount = 2\nafter = 3\nrate = 0.5\n'
    outcome = run(scenario(liars, replication=replication), 1)
    assert outcome.failures == []
    assert outcome.figures["convicted"] == 2


@pytest.mark.parametrize(
    ("kind", "results"),
    [
        ("withholder", "result_bytes = 6_000"),
        ("withholder", "result_bytes = 1_500\ntolerance = 0.5"),  # Each byte is a number there.
        ("staller", ""),
    ],
)
def test_the_job_ends_without_those_who_do_not_deliver(kind: str, results: str) -> None:
    text = SMALL.replace("replication = 2", f"replication = 2\n{results}")
    outcome = run(parse_scenario(text + f'[[liars]]\nkind = "{kind}"\ncount = 2\n'), 1)
    assert outcome.failures == []
    assert outcome.figures["convicted"] == 0


def test_chunks_without_a_result_are_marked_failed_and_nobody_is_convicted() -> None:
    text = SMALL.replace("replication = 2", "replication = 2\nfailing = [3, 40]")
    outcome = run(parse_scenario(text), 1)
    assert outcome.failures == []
    assert outcome.figures["chunks failed"] == 2
    assert outcome.figures["convicted"] == 0


@pytest.mark.parametrize("keep_state", ["true", "false"])
def test_crashed_peers_come_back_and_the_records_converge(keep_state: str) -> None:
    crash = f'[[faults]]\nkind = "crash"\nat_s = 5\nfor_s = 6\ncount = 4\nkeep_state = {keep_state}\n'
    assert run(scenario(crash), 1).failures == []


def test_a_partition_heals_and_the_records_converge() -> None:
    cut = '[[faults]]\nkind = "partition"\nat_s = 5\nfor_s = 20\nshare = 0.5\n'
    assert run(scenario(cut), 1).failures == []


def test_silent_peers_come_back_and_the_records_converge() -> None:
    silence = '[[faults]]\nkind = "silence"\nat_s = 5\nfor_s = 30\ncount = 3\n'
    assert run(scenario(silence), 1).failures == []


def test_a_tally_that_accepts_lies_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def believes_anybody(votes: Iterable[Any], replication: int, *, tainted: bool, **_: object) -> ChunkTally:
        values = sorted(vote.value for vote in votes if vote.value)
        if values:
            return ChunkTally(ChunkState.AGREED, values[0], 0, (), len(values) - 1)
        return ChunkTally(ChunkState.OPEN, None, replication, (), 0)

    monkeypatch.setattr("crowdcompute.protocol.referee.tally_chunk", believes_anybody)
    outcome = run(scenario('[[liars]]\nkind = "colluding"\ncount = 3\n'), 1)
    assert any("wrong results are accepted" in failure for failure in outcome.failures)
    assert any("the tally says" in failure for failure in outcome.failures)


def test_a_peer_that_wants_to_be_woken_at_once_again_and_again_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounded_down(neighbours: Neighbours) -> float:
        return float(math.floor(neighbours._visit_at))

    monkeypatch.setattr(Neighbours, "wake_at", rounded_down)
    outcome = run(scenario("[protocol]\nvisit_every_s = 3.0\nneighbours_target = 3\n"), 1)
    assert any("wanted it again at once" in failure for failure in outcome.failures)


def test_a_failed_check_prints_the_seed_and_the_commit_and_exits_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text(SMALL.replace("stop_s = 900", "stop_s = 3"))
    assert main([str(path), "--seed", "11"]) == 1
    printed = capsys.readouterr().err
    assert "not closed" in printed
    assert "seed 11, commit " in printed


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (SMALL + "[network2]\n", "unknown field `network2`"),
        (SMALL.replace("peers = 8", "peers = 8\npeeers = 9"), "unknown field `peeers`"),
        (SMALL.replace("peers = 8", "peers = 0"), "Expected `int` >= 1"),
        (SMALL + "[protocol]\nheartbeet_s = 2.0\n", "ProtocolConfig has no field `heartbeet_s`"),
        (SMALL + '[protocol]\nheartbeat_s = "soon"\n', "must be like 1.0"),
        ("name = ", "correct the scenario"),
    ],
)
def test_a_wrong_scenario_is_refused_with_a_sentence(text: str, complaint: str) -> None:
    with pytest.raises(ScenarioError, match=".*".join(complaint.split("`"))):
        parse_scenario(text)


def test_a_scenario_that_is_not_there_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.toml")]) == 2
    assert "cannot read" in capsys.readouterr().err
