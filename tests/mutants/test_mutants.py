"""Deliberate bugs in a copy of the rules: the tests, vectors and checkers notice every one of them.

Each bug is a line of the protocol replaced by another one, in a copy that a process of its own (judge.py)
imports before ours. The
copy without a bug passes the same tests, so what is noticed is the bug and nothing else.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RULES = Path("crowdcompute") / "protocol"

JUDGE = Path(__file__).with_name("judge.py")

LIARS = """
name = "mutants"
network = {peers = 7}
task = {chunks = 40, eps = 0.3, chunk_s = 1.0, replication = 2}
checks = {stop_s = 900}
liars = [{kind = "colluding", count = 3}]
"""
CHECKERS = "the checkers of a simulated network with three colluding liars"


@dataclass(frozen=True)
class Mutant:
    bug: str
    module: str
    line: str
    instead: str
    noticed_by: str
    """A file of tests, perhaps with `-k` and what it selects; or `CHECKERS`."""


TALLY, REFEREE, POLICY = "test_tally.py", "test_referee.py", "test_policy.py"
AUDITING, CLOSING, PICKING, ASSIGNING = "test_auditing.py", "test_closing.py", "test_picking.py", "test_assigning.py"
RECOUNT, BATCH, LEDGER, MERKLE = "test_recount.py", "test_batch.py", "test_ledger.py", "test_merkle.py"
STEWARDS, NAMED, FEEDING = "test_stewards.py", "test_named.py", "test_feeding.py"
PERMISSIONS, VOUCHING = "test_permissions.py", "test_peer_vouching.py"
EVIDENCE = "test_evidence_vectors.py -k vectors"

MUTANTS = (
    Mutant(
        "two friends who choose the same chunk are a quorum",
        "tally",
        "return min(len(apart), chosen + 1)",
        "return len(apart)",
        TALLY,
    ),
    Mutant(
        "two who went on from one savepoint are a quorum",
        "lineage",
        "if parties.isdisjoint(others[0]):",
        "if True:",
        TALLY,
    ),
    Mutant(
        "who was asked confirms whoever has prepared its work",
        "lineage",
        "return vote._replace(assigned=False, drawn=everybody)",
        "return vote._replace(assigned=False, drawn=chosen(vote.worker))",
        TALLY,
    ),
    Mutant(
        "going on from a friend's savepoint is an audit",
        "lineage",
        "return vote._replace(assigned=False, drawn=everybody)",
        "return vote._replace(assigned=everybody, drawn=everybody)",
        TALLY,
    ),
    Mutant(
        "a savepoint of who is convicted goes on counting",
        "lineage",
        " or any(rest.seq <= void.get(rest.maker, -1) for rest in rests)",
        "",
        TALLY,
    ),
    Mutant(
        "who went on honestly is convicted for a false savepoint",
        "lineage",
        "return None if true is None else (rest.maker, rest)",
        "return None if true is None else (vote.worker, None)",
        TALLY,
    ),
    Mutant(
        "votes rest on savepoints of whoever makes up a key",
        "tally",
        "if not trusted and not {ballot.worker, *(rest.maker for rest in ballot.rests)} <= admitted:",
        "if not trusted and ballot.worker not in admitted:",
        TALLY,
    ),
    Mutant(
        "one vote settles a chunk that a liar voted on",
        "tally",
        "return max(replication, 2) if tainted else replication",
        "return replication",
        TALLY,
    ),
    Mutant(
        "two values for one chunk are no equivocation",
        "tally",
        "if not all(same(chunk, value, other) for other in said):",
        "if False:",
        TALLY,
    ),
    Mutant(
        "who votes twice is near itself if it is near one of its votes",
        "tally",
        "if not all(same(chunk, value, other) for other in said):",
        "if not any(same(chunk, value, other) for other in said):",
        TALLY,
    ),
    Mutant(
        "of votes that are near each other in a chain the first one stands for all",
        "tally",
        "if all(value == pivot or same(chunk, pivot, value) for value in values):",
        "if any(value != pivot and same(chunk, pivot, value) for value in values):",
        TALLY,
    ),
    Mutant(
        "of one worker's results that are near each other the one that came first counts",
        "tally",
        "    if value and than:\n        return value < than\n",
        "",
        TALLY,
    ),
    Mutant(
        "where results are compared as numbers nobody has to be near the creator's own",
        "tally",
        "others = (value for value in by_value if value != trusted and not same(chunk, value, trusted))",
        "others = (value for value in by_value if value != trusted and same is differ)",
        TALLY,
    ),
    Mutant(
        "what holds no numbers is a vote",
        "opening",
        "if comparison is not None and leaf.status is Status.OK and (data is None or not comparison.is_result(data)):",
        "if False:",
        REFEREE,
    ),
    Mutant(
        "a result of floats that nobody delivers is a vote all the same",
        "named",
        "if is_named(leaf) and self._blobs.size(leaf.digest) is None:\n                self._lacking",
        "if False:\n                self._lacking",
        NAMED,
    ),
    Mutant(
        "what nobody delivered never counts, whoever brings it later",
        "named",
        "counted = self._lacking.pop(digest, []) if here else []",
        "counted: list[Held] = []",
        NAMED,
    ),
    Mutant(
        "what is near in another class confirms",
        "tally",
        "weights = {value: _weight(by_value[value]) for value in values}",
        "weights = dict.fromkeys(values, _weight([vote for cast in by_value.values() for vote in cast]))",
        TALLY,
    ),
    Mutant(
        "two results of one class may differ",
        "tally",
        "if len(classes) < len(values) or not all(",
        "if not all(",
        TALLY,
    ),
    Mutant(
        "classes may be as far apart as they like",
        "tally",
        "    if len(classes) < len(values) or not all(\n        same(chunk, one, other) for",
        "    if len(classes) < len(values) or not all(\n        one for",
        TALLY,
    ),
    Mutant(
        "modules that differ are near enough",
        "gpu/compare",
        "if left != right and left[-CLASS_BYTES:] == right[-CLASS_BYTES:] == bytes(CLASS_BYTES):",
        "if False:",
        "test_gpu_vectors.py -k vectors_say",
    ),
    Mutant(
        "a worker's last vote counts, whichever came last",
        "tally",
        "if previous is None or counts_before(vote, previous):",
        "if True:",
        TALLY,
    ),
    Mutant(
        "a strike voids everything",
        "tally",
        "if is_void(ballot.worker, ballot.seq, ballot.rests, void):",
        "if ballot.worker in void:",
        TALLY,
    ),
    Mutant(
        "a strike voids what it likes",
        "recount",
        "if not any((worker, strike.void_to) in _signed_by(ballot) for ballot in self.ballots):",
        "if False:",
        f"{RECOUNT} -k strike_voids",
    ),
    Mutant(
        "votes of workers that were not admitted count",
        "tally",
        "if not trusted and not {ballot.worker, *(rest.maker for rest in ballot.rests)} <= admitted:",
        "if False:",
        TALLY,
    ),
    Mutant(
        "the creator's own execution is one vote among others",
        "tally",
        "trusted = vote.value\n",
        'by_value.setdefault(vote.value or b"", []).append(vote)\n',
        TALLY,
    ),
    Mutant(
        "of two results the one with more votes is right",
        "tally",
        "        value = _pivot(chunk, by_value, same)\n",
        "        by_value = dict(sorted(by_value.items(), key=lambda item: -len(item[1]))[:1])\n"
        "        value = _pivot(chunk, by_value, same)\n",
        CHECKERS,
    ),
    Mutant(
        "a chunk's state is not counted again when a vote comes",
        "referee",
        "self._cache.pop(chunk, None)",
        "pass",
        REFEREE,
    ),
    Mutant(
        "votes of the convicted count",
        "referee",
        "return self._is_admitted(vote) and not self._is_void(vote)",
        "return self._is_admitted(vote)",
        CHECKERS,
    ),
    Mutant(
        "everybody is drawn for everything at once",
        "drawing",
        "_LOTS << min(age, AGE_MAX)",
        "_LOTS << AGE_MAX",
        "test_drawing.py",
    ),
    Mutant(
        "a vote that was copied from what others showed counts as blind",
        "drawing",
        "_Valid(drawn.author, drawn.epoch, self._is_blind(drawn, chunk))",
        "_Valid(drawn.author, drawn.epoch, blind=True)",
        "test_drawing.py",
    ),
    Mutant(
        "whom a jury finds to lie goes on voting",
        "provisional",
        "found.update(worker for worker, value in shown.items() if value != verdict.value)",
        "found.update(())",
        "test_provisional.py",
    ),
    Mutant(
        "who was asked after its vote came counts as a volunteer",
        "referee",
        "self._assigned.setdefault(chunk, set()).add(worker)",
        "worker in self._votes.get(chunk, {}) or self._assigned.setdefault(chunk, set()).add(worker)",
        REFEREE,
    ),
    Mutant(
        "the confidence limit forgets the last event",
        "policy",
        "for k in range(1, events + 1):",
        "for k in range(1, events):",
        POLICY,
    ),
    Mutant(
        "audits by workers count as if none of them lied",
        "policy",
        "return by_workers * (1 - policy.liars) + by_creator",
        "return by_workers + by_creator",
        POLICY,
    ),
    Mutant(
        "a stranger's first result is not always checked",
        "policy",
        "return max(0.0, (1.0 + vetted) ** -2 - audit_share(policy, chunks))",
        "return 0.0",
        POLICY,
    ),
    Mutant(
        "what was audited before a lie was found counts after it",
        "auditing",
        'says nothing any more."""\n        self._sample = None',
        'says nothing any more."""',
        AUDITING,
    ),
    Mutant(
        "the fresh sample begins with the first chunks",
        "auditing",
        "self._unsampled = self._rng.sample(range(self.chunks), self.chunks)\n        self",
        "self._unsampled = list(range(self.chunks))\n        self",
        AUDITING,
    ),
    Mutant(
        "what a search confirmed counts as a sample",
        "auditing",
        "searched = self._search(count, audits_of, failed)",
        "searched = self._search(count, audits_of, failed)\n                self._sample = dict.fromkeys(searched, 0)",
        AUDITING,
    ),
    Mutant(
        "a chunk whose votes agree again is audited again",
        "auditing",
        "if chunk in self._drawn:",
        "if False:",
        AUDITING,
    ),
    Mutant(
        "a task in which somebody lied is certified without a fresh sample",
        "closing",
        "fresh = not convicted or self._auditor.sampling",
        "fresh = True",
        CLOSING,
    ),
    Mutant(
        "settling a dispute is counted as an audit",
        "closing",
        "trusted and len(voters) > 1 and not self._referee.is_disowned(chunk)",
        "trusted",
        f"{RECOUNT} -k follows_from_its_records and alone",
    ),
    Mutant("everybody starts with the first chunk", "picking", "else rng.randrange(middle)", "else 0", PICKING),
    Mutant(
        "who is cut off from the creator begins what those begin that are not",
        "picking",
        "rng.randrange(middle, count) if alone and middle < count",
        "rng.randrange(middle) if alone",
        PICKING,
    ),
    Mutant(
        "a closed chunk is computed again",
        "ledger",
        'settled = int.from_bytes(self.settled_bitmap(shard), "little")',
        "settled = 0",
        PICKING,
    ),
    Mutant(
        "who voted on a chunk is asked to confirm it",
        "assigning",
        "if len(portion) < limit and worker not in barred[chunk] else rest",
        "if len(portion) < limit else rest",
        ASSIGNING,
    ),
    Mutant(
        "the first two workers confirm everything",
        "assigning",
        "self._rng.sample(eligible, min(2, len(eligible)))",
        "eligible[:2]",
        ASSIGNING,
    ),
    Mutant(
        "a certificate's numbers are believed",
        "recount",
        "if certified != value:",
        "if False:",
        f"{RECOUNT} -k another_number",
    ),
    Mutant(
        "votes that are not shown are not missed",
        "recount",
        "for author in sorted(set(self.unopened.values())):",
        "for author in ():",
        f"{RECOUNT} -k not_shown",
    ),
    Mutant(
        "whoever is accused is guilty",
        "recount",
        "if not shows:",
        "if False:",
        f"{RECOUNT} -k did_nothing_wrong",
    ),
    Mutant(
        "a task's own error is taken for a result",
        "voting",
        "return Leaf(outcome.chunk, outcome.status, inline=True, size=len(data), data=data)\n    digest",
        "return Leaf(outcome.chunk, Status.OK, inline=True, size=len(data), data=data)\n    digest",
        BATCH,
    ),
    Mutant(
        "a commit's root is the same for whoever copies it",
        "batch",
        'prefix = b"cc/leaf/1\\0" + task + worker',
        'prefix = b"cc/leaf/1\\0" + task',
        BATCH,
    ),
    Mutant(
        "a node of the tree may be shown as a leaf", "merkle", '_LEAF = sha256(b"\\x00")', "_LEAF = sha256()", MERKLE
    ),
    Mutant(
        "two commits with one number are no equivocation",
        "ledger",
        "if self._seqs.setdefault((author, commit.seq), commit_id) != commit_id:",
        "if False:",
        LEDGER,
    ),
    Mutant(
        "two inputs of one chunk are no fork",
        "feeding",
        "elif known != data:\n                self.is_forked = True",
        "elif known != data:\n                self.inputs[chunk] = data",
        f"{FEEDING} -k no_order",
    ),
    Mutant(
        "a stream may go on after its end",
        "feeding",
        "self.is_forked |= self.end is not None and self._last >= self.end",
        "pass",
        f"{FEEDING} -k no_order",
    ),
    Mutant(
        "whom a forked creator convicted before is void",
        "ledger",
        "if self.fed.is_forked and not was_forked:",
        "if False:",
        f"{FEEDING} -k convicts_nobody",
    ),
    Mutant(
        "whom a forked creator convicts after is void",
        "ledger",
        "if not self.is_forked:\n            self._void_to[worker]",
        "if True:\n            self._void_to[worker]",
        f"{FEEDING} -k convicts_nobody",
    ),
    Mutant(
        "what was fed twice is certified",
        "recount",
        "if self.ledger.is_forked:",
        "if False:",
        EVIDENCE,
    ),
    Mutant(
        "what was fed and is not shown is not missed",
        "recount",
        "if not self.ledger.is_whole:",
        "if False:",
        EVIDENCE,
    ),
    Mutant(
        "anybody admits",
        "ledger",
        "if isinstance(record, _BY_CREATOR) and not self._speaks_for_creator(signed.author, record):",
        "if False:",
        LEDGER,
    ),
    Mutant(
        "a steward pays",
        "stewards",
        "if record.credits_size and signed.author != self._ledger.manifest.creator:",
        "if False:",
        f"{STEWARDS} -k admits_asks",
    ),
    Mutant(
        "whom a revoked steward admitted stays admitted",
        "stewards",
        "if admits.pop(steward, None) is not None:",
        "if False:",
        f"{STEWARDS} -k nothing_a_revoked",
    ),
    Mutant(
        "an address leads up and out of its folder",
        "permissions",
        'rf"(?:/(?!\\.{{1,2}}(?:[/?]|\\Z)){_CHARACTER}*)+"',
        'rf"(?:/{_CHARACTER}*)+"',
        PERMISSIONS,
    ),
    Mutant(
        "a number is the name of a host",
        "permissions",
        '_HOST = rf"(?:{_LABEL}\\.)+(?=[a-z]){_LABEL}"',
        '_HOST = rf"(?:{_LABEL}\\.)+{_LABEL}"',
        PERMISSIONS,
    ),
    Mutant(
        "a port of the system's own services may be asked",
        "permissions",
        "found[1] is None or PORT_MIN <= int(found[1]) <= 65_535",
        "found[1] is None or int(found[1]) <= 65_535",
        PERMISSIONS,
    ),
    Mutant(
        "a permission includes what only begins like it",
        "permissions",
        'names_all = permission.endswith("/") and "?" not in permission',
        "names_all = True",
        PERMISSIONS,
    ),
    Mutant(
        "a chunk is fetched from where no permission leads",
        "permissions",
        "if not all_covered((SCHEME + address,), permissions):",
        "if False:",
        PERMISSIONS,
    ),
    Mutant(
        "everybody's vouch counts",
        "vouching",
        "if vouch.creator == manifest.creator and signed.author in self._trusted:",
        "if vouch.creator == manifest.creator:",
        PERMISSIONS,
    ),
    Mutant(
        "a vouch for one creator counts for another",
        "vouching",
        "if vouch.creator == manifest.creator and signed.author in self._trusted:",
        "if signed.author in self._trusted:",
        PERMISSIONS,
    ),
    Mutant(
        "a vouch that was taken back counts",
        "vouching",
        "if last is None or _newness(signed, vouch) > _newness(*last):",
        "if last is None or _newness(signed, vouch) < _newness(*last):",
        PERMISSIONS,
    ),
    Mutant(
        "a vouch never ends",
        "vouching",
        "now_s < vouch.until_s\n            if holds",
        "True\n            if holds",
        PERMISSIONS,
    ),
    Mutant(
        "a vouch for one server is one for all",
        "vouching",
        "not vouch.scope or all_covered(manifest.permissions, vouch.scope)",
        "True",
        PERMISSIONS,
    ),
    Mutant(
        "a creator answers for itself",
        "vouching",
        "if author == vouch.creator:",
        "if False:",
        PERMISSIONS,
    ),
    Mutant(
        "a vouch is believed unsigned",
        "vouching",
        "    verify_signature(verifier, signed)\n    return vouch",
        "    return vouch",
        PERMISSIONS,
    ),
    Mutant(
        "whoever allows it fetches for anybody",
        "accepting",
        "and (not is_fetched(manifest) or self._vouches.verified(manifest, now + config.epoch_offset_s) is not None)",
        "and True",
        VOUCHING,
    ),
    Mutant(
        "strangers' vouches are held and passed on",
        "vouching",
        "if signed.author not in self._trusted and not any(",
        "if False and not any(",
        PERMISSIONS,
    ),
)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_deliberate_bug_is_noticed_and_nothing_else_is(tmp_path: Path) -> None:
    plain = tmp_path / "rules"
    copy_of_the_rules(plain)
    jobs = [(plain, noticed_by) for noticed_by in sorted({mutant.noticed_by for mutant in MUTANTS})]
    selections = len(jobs)
    for number, mutant in enumerate(MUTANTS):
        folder = tmp_path / str(number)
        copy_of_the_rules(folder)
        source = folder / RULES / f"{mutant.module}.py"
        text = source.read_text(encoding="utf-8")
        assert text.count(mutant.line) == 1, f"{mutant.bug}: {mutant.module}.py says `{mutant.line}` no more, or twice"
        source.write_text(text.replace(mutant.line, mutant.instead), encoding="utf-8")
        jobs.append((folder, mutant.noticed_by))
    judged = judge(tmp_path, jobs)
    for (_, noticed_by), (code, said) in zip(jobs[:selections], judged[:selections], strict=True):
        assert code == 0, f"the copy without a bug does not pass {noticed_by}:\n{said}"
    survivors = [
        f"{mutant.bug} ({code}):\n{said}"
        for mutant, (code, said) in zip(MUTANTS, judged[selections:], strict=True)
        if code != 1 or not is_complaint(said)
    ]
    assert not survivors, "nobody notices that " + "\nor that ".join(survivors)


def copy_of_the_rules(folder: Path) -> None:
    shutil.copytree(ROOT / "protocol" / RULES, folder / RULES, ignore=shutil.ignore_patterns("__pycache__"))


def is_complaint(said: str) -> bool:
    """Whether a check failed. A copy that cannot even be imported ends with an error as well: that proves nothing."""
    return " failed" in said or "checks failed: seed" in said


def judge(tmp_path: Path, jobs: list[tuple[Path, str]]) -> list[tuple[int, str]]:
    """The exit code and the last words of each selection of tests, or of the checkers, about the rules in a folder."""
    scenario = tmp_path / "liars.toml"
    scenario.write_text(LIARS)
    questions: list[dict[str, Any]] = []
    for number, (folder, noticed_by) in enumerate(jobs):
        name, _, selected = noticed_by.partition(" -k ")
        test = str(ROOT / "tests" / "protocol" / name)
        choice = ["-k", selected] if selected else []
        arguments = ["simulate", str(scenario)] if noticed_by == CHECKERS else [test, *choice]
        questions.append({"folder": str(folder), "arguments": arguments, "log": str(tmp_path / f"{number}.log")})
    done = subprocess.run(
        [sys.executable, JUDGE], input=json.dumps(questions), capture_output=True, text=True, check=True, timeout=280
    )
    codes = json.loads(done.stdout)
    return [(code, Path(each["log"]).read_text()[-1_000:]) for code, each in zip(codes, questions, strict=True)]
