"""The main job: strangers compute a task, one of them lies, and the creator gets right results and a certificate."""

from __future__ import annotations

import json
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from crowdcompute.protocol.codec import decode
from crowdcompute.protocol.identity import peer_id_of, verify
from crowdcompute.protocol.manifest import open_manifest
from crowdcompute.protocol.records import CertificateBody, Signed, parse, verify_signature

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from tests.interop.conftest import Place, Running, Signaling

TILES = 64
SIGNAL_BYTES_MAX = 4_096
"""An offer or answer with one host candidate takes about 1.2 kB; this leaves room for other addresses."""


def test_a_lying_node_changes_nothing_and_is_convicted(
    place: Place,
    desk: Signaling,
    task_id: Callable[[Running], str],
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    join = desk.join("main-job")
    folder = place.example("deep_zoom", ("width = 1024, height = 1024", "width = 512, height = 512"))
    before = desk.health()
    nodes = [place.node(join, name, *flags) for name, flags in (("a", ()), ("b", ()), ("liar", ("--lie",)))]
    for node in nodes:
        node.joined().is_connected_to(2)
    publishing = place.start_publish(folder, join, "--json")
    ended = publishing.ended()
    assert ended.code == 0, ended.err
    after = desk.health()

    liar = nodes[2].peer_id
    honest = {node.peer_id for node in nodes[:2]}
    report = ended.document
    assert (report["state"], report["accepted"], report["failed"], report["chunks"]) == ("closed", TILES, 0, TILES)
    assert report["convicted"] == [liar]
    assert set(report["wrong_votes"]) <= {liar}
    for node in nodes[:2]:
        node.says(f"strikes out votes of {liar}: wrong")
        node.says(f"'Deep zoom' is complete: its creator has certified {TILES} results")

    # The signaling server carried introductions and nothing else: their number and size leave no room for a job.
    pairs = 4 * 3 // 2
    messages = after["relayed_messages"] - before["relayed_messages"]
    relayed = after["relayed_bytes"] - before["relayed_bytes"]
    assert 2 * (pairs - 3) <= messages <= 4 * pairs, "an offer and an answer a pair, twice where both dialled"
    assert relayed <= messages * SIGNAL_BYTES_MAX

    task = task_id(publishing)
    files, rows = place.results(task, "results")
    local = place.folder / "local"
    computed = place.cc_task("run", folder, "--local", "-o", local, home="elsewhere")
    assert computed.code == 0, computed.err
    assert files == {chunk: (local / f"{chunk:06}.bin").read_bytes() for chunk in range(TILES)}
    record_property("signaling_bytes", relayed)
    record_property("result_bytes", sum(map(len, files.values())))
    with capsys.disabled():
        total = sum(map(len, files.values()))
        print(f"\n{relayed:,} bytes in {messages} messages through signaling, {total:,} bytes of results directly")

    assert [row["index"] for row in rows] == list(range(TILES))
    for row in rows:
        data = files[row["index"]]
        assert (row["status"], row["sha256"], row["size"]) == ("ok", sha256(data).hexdigest(), len(data))
        assert row["votes"] == len(row["agreed"]) + len(row["disagreed"])
        assert set(row["disagreed"]) <= {liar}
        assert set(row["agreed"]) <= honest | {report["certificate"]["creator"]}
        assert len(row["agreed"]) >= 2 or row["agreed"] == [report["certificate"]["creator"]]
    assert sum(len(row["disagreed"]) for row in rows) == report["wrong_votes"].get(liar, 0) >= 1

    certificate = json.loads((place.folder / "results" / "certificate.json").read_text())
    assert certificate == report["certificate"]
    assert (certificate["chunks"], certificate["accepted"], certificate["failed"]) == (TILES, TILES, 0)
    assert certificate["executions"] == sum(row["votes"] for row in rows)
    assert certificate["bound"] <= certificate["eps"]
    assert [each["worker"] for each in certificate["convicted"]] == [liar]
    signed = decode(bytes.fromhex(certificate["record"]), Signed)
    verify_signature(verify, signed)
    body = parse(signed)
    assert isinstance(body, CertificateBody)
    assert (body.executions, body.worker_audits, body.creator_audits, body.bound) == (
        certificate["executions"],
        certificate["audits"]["by_workers"],
        certificate["audits"]["by_creator"],
        certificate["bound"],
    )
    signed_manifest = decode(bytes.fromhex(certificate["manifest"]), Signed)
    manifest = open_manifest(signed_manifest, verify)
    assert signed_manifest.record_id == body.task == bytes.fromhex(task)
    assert manifest.creator == signed.author
    assert peer_id_of(manifest.creator) == certificate["creator"]

    # A stranger, who has nothing but the folder, comes to the same numbers.
    exported = place.folder / "results"
    audited = place.cc_task("audit", exported, "--results", exported, home="stranger")
    assert audited.code == 0, audited.err
    assert f"{TILES} files, each the certified one" in audited.out
    assert certificate["statement"] in audited.out


def test_the_first_7000_collatz_numbers_peak_at_2760_steps(
    place: Place, join: str, task_id: Callable[[Running], str]
) -> None:
    folder = place.example("collatz", ("700_000", "7_000"))
    publishing = place.start_publish(folder, join)
    nodes = place.nodes(join, "a", "b")
    ended = publishing.ended()
    assert ended.code == 0, ended.err
    files, _ = place.results(task_id(publishing), "results")
    found = {
        int.from_bytes(data[8:], "little"): int.from_bytes(data[:8], "little", signed=True) for data in files.values()
    }
    assert len(files) == 40
    assert (max(found), found[max(found)]) == (2760, 0)
    assert all(node.process.poll() is None for node in nodes)


def test_workers_show_and_prove_what_they_earned_while_they_run_and_afterwards(
    place: Place, desk: Signaling, task_id: Callable[[Running], str], wait_until: Callable[..., Any]
) -> None:
    join = desk.join("credit")
    nodes = {name: place.node(join, name, *flags) for name, flags in (("a", ()), ("b", ()), ("liar", ("--lie",)))}
    for node in nodes.values():
        node.joined()
    folder = place.example("deep_zoom", ("width = 1024, height = 1024", "width = 256, height = 256"))
    publishing = place.start_publish(folder, join, "--json")
    ended = publishing.ended()
    assert ended.code == 0, ended.err
    task, chunks = task_id(publishing), ended.document["chunks"]
    audited = place.results(task, "results") and place.cc_task("audit", place.folder / "results", "--json")
    said = audited.document["millicredits"]
    earned = {name: said.get(node.peer_id, 0) for name, node in nodes.items()}

    def credit(name: str) -> list[dict[str, Any]]:
        shown: list[dict[str, Any]] = place.cc_node("credit", "--json", home=name).document["credit"]
        return shown

    def has_heard(name: str) -> bool:
        return bool(sum(entry["millicredits"] for entry in credit(name)) == earned[name])

    total = 0
    for name, node in nodes.items():
        # The creator told some of them, who tell the others.
        wait_until(partial(has_heard, name), f"{name} has heard what it earned")
        shown = credit(name)
        if name == "a":
            node.kill()
            assert place.cc_node("credit", "--json", home=name).document["credit"] == shown
        if name == "liar" or not earned[name]:
            continue  # On a busy machine the others may have done all.
        file = place.folder / f"{name}.cccredit"
        assert place.cc_node("credit", task[:8], "-o", file, home=name).code == 0
        checked = place.cc_node("credit", "--verify", file, "--json", home="elsewhere")
        assert checked.code == 0, checked.err
        assert (checked.document["task"], checked.document["millicredits"]) == (task, said[checked.document["worker"]])
        total += checked.document["millicredits"]
        file.write_bytes(file.read_bytes()[:-1] + b"\0")
        assert place.cc_node("credit", "--verify", file, home="elsewhere").code == 1
    assert 0 < total <= 1_000 * chunks
