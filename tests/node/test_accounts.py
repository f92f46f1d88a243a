"""`cc-node account` and what follows from it: two devices, one sum in `cc-node credit`, one line of a leaderboard."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from PIL import Image

from crowdcompute.creator import cli as creator_cli
from crowdcompute.node import cli as node_cli
from crowdcompute.node.account_files import own_statement
from crowdcompute.node.store.records import RecordStore
from crowdcompute.protocol.accounts import AVATAR_BYTES_MAX
from crowdcompute.protocol.identity import Identity, public_key_of

from .test_earned import ALICE, BOB, credited

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., "Ended"]


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


class Machine:
    """A home of its own, with a node's key."""

    def __init__(self, home: Path, run: Callable[[Path, tuple[object, ...]], Ended]) -> None:
        self.home = home
        self._run = run

    def __call__(self, *arguments: object) -> Ended:
        return self._run(self.home, arguments)

    def account(self, *arguments: object) -> Ended:
        return self("cc-node", "account", *arguments)


@pytest.fixture
def machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str, Identity], Machine]:
    monkeypatch.delenv("CC_STORE", raising=False)

    def run(home: Path, arguments: tuple[object, ...]) -> Ended:
        monkeypatch.setenv("CC_HOME", str(home))
        capsys.readouterr()
        program, *rest = map(str, arguments)
        try:
            code = (node_cli if program == "cc-node" else creator_cli).main(rest)
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            code = ended.code
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Ended(code, printed.out, printed.err)

    def make(name: str, key: Identity) -> Machine:
        home = tmp_path / name
        home.mkdir()
        file = home / "identity.key"
        file.write_text((bytes([{ALICE: 8, BOB: 9}[key]]) * 32).hex())
        file.chmod(0o600)
        return Machine(home, run)

    return make


def linked(machine: Callable[[str, Identity], Machine], tmp_path: Path) -> tuple[Machine, Machine]:
    """Two machines of one account."""
    desk, laptop = machine("desk", ALICE), machine("laptop", BOB)
    assert desk.account("create", "The lab").code == 0
    account = desk.account("show", "--json").document["account"]
    consent = laptop.account("join", account, "--name", "laptop").out.strip()
    assert desk.account("link", consent, "-o", tmp_path / "lab.cca").code == 0
    assert laptop.account("join", tmp_path / "lab.cca").code == 0
    return desk, laptop


def test_credit_is_summed_over_the_accounts_devices(
    machine: Callable[[str, Identity], Machine], tmp_path: Path
) -> None:
    desk, laptop = linked(machine, tmp_path)
    for each in (desk, laptop):
        keep(each.home / "node", alice=1_500, bob=700)
        (entry,) = each("cc-node", "credit", "--json").document["credit"]
        assert entry["account_millicredits"] == 2_200
        assert entry["devices"] == {ALICE.peer_id: 1_500, BOB.peer_id: 700}
    own = {ALICE: 1_500, BOB: 700}
    assert entry["millicredits"] == own[BOB]
    said = desk("cc-node", "credit").out
    assert "2.2 (1.5 by this node)" in said
    assert said.endswith("2.2 credits\n")
    assert desk.account("show", "--json").document["millicredits"] == 2_200
    # Without the account each has its own.
    (desk.home / "account.cca").unlink()
    (entry,) = desk("cc-node", "credit", "--json").document["credit"]
    assert entry["account_millicredits"] == entry["millicredits"] == 1_500


def test_a_history_is_checked_by_anybody(machine: Callable[[str, Identity], Machine], tmp_path: Path) -> None:
    desk, laptop = linked(machine, tmp_path)
    keep(desk.home / "node", alice=1_500, bob=700, carol=9_000)
    file = tmp_path / "lab.history"
    written = desk.account("history", "-o", file)
    assert "2.2 credits in 1 tasks" in written.out, written.err
    proofs = laptop("cc-node", "credit", "--verify", file, "--json").document["proofs"]
    assert [(each["worker"], each["millicredits"], each["account_name"]) for each in proofs] == sorted(
        [(ALICE.peer_id, 1_500, "The lab"), (BOB.peer_id, 700, "The lab")], key=lambda each: public_key_of(each[0])
    )
    assert "which has signed that the worker is its" in laptop("cc-node", "credit", "--verify", file).out
    assert laptop.account("history", "--verify", file).out.endswith("2.2 credits: every signature is right\n")
    file.write_bytes(file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1]))
    assert laptop("cc-node", "credit", "--verify", file).code == 1
    assert laptop.account("history", "--verify", file).code == 1
    assert laptop.account("history", "--verify", tmp_path / "none").code == 2
    assert laptop.account("history", "-o", file).code == 3


def test_a_leaderboard_names_accounts_and_workers_without_one(
    machine: Callable[[str, Identity], Machine], tmp_path: Path
) -> None:
    desk, _ = linked(machine, tmp_path)
    other = desk.home.parent / "creator"
    shutil.copytree(desk.home, other)
    (other / "account.cca").unlink()
    creator = Machine(other, desk._run)
    keep(other / "creator", alice=1_500, bob=700, carol=2_000)
    (other / "creator" / f"{credited(alice=1)[0].record_id.hex()}.link").write_text("http://127.0.0.1:1/j#n=main")
    alone = creator("cc-task", "leaderboard", "--json").document["leaderboard"]
    assert [line["millicredits"] for line in alone] == [2_000, 1_500, 700]
    together = creator("cc-task", "leaderboard", "Squares", "--account", tmp_path / "lab.cca")
    assert together.out.splitlines()[0].split() == ["1", "2.2", "The", "lab", "(2", "devices)"]
    assert len(together.out.splitlines()) == 2
    assert creator("cc-task", "leaderboard", "--network", "main", "--json").document["tasks"] == 1
    assert creator("cc-task", "leaderboard", "--network", "lab", "--json").document["tasks"] == 0


def test_a_volunteer_sees_who_earned_most_in_its_tasks(
    machine: Callable[[str, Identity], Machine], tmp_path: Path
) -> None:
    desk, laptop = linked(machine, tmp_path)
    keep(laptop.home / "node", alice=1_500, bob=700, carol=2_000)
    board = laptop("cc-node", "leaderboard", "--json").document["leaderboard"]
    assert [(line["name"], line["millicredits"], line["workers"]) for line in board] == [
        ("The lab", 2_200, 2),
        (None, 2_000, 1),
    ]
    assert laptop("cc-node", "leaderboard", "squares").code == 2
    assert "2.2  The lab  (2 devices)" in laptop("cc-node", "leaderboard", "Squares").out
    assert desk("cc-node", "leaderboard").out == "nobody has earned anything yet\n"


def keep(folder: Path, created_s: int = 1_800_000_000, **amounts: int) -> None:
    folder.mkdir(exist_ok=True)
    store = RecordStore(folder / "records.db")
    store.save(credited(created_s=created_s, **amounts))
    store.close()


def test_a_revoked_device_acts_no_longer_and_earns_for_itself(
    machine: Callable[[str, Identity], Machine], tmp_path: Path
) -> None:
    desk, laptop = linked(machine, tmp_path)
    before_s, after_s = int(time.time()) - 1_000, int(time.time()) + 1_000
    for created_s in (before_s, after_s):
        for each in (desk, laptop):
            keep(each.home / "node", created_s=created_s, alice=1_500, bob=700)
    assert desk.account("show", "--json").document["millicredits"] == 4_400

    assert desk.account("revoke", "laptop", "-o", tmp_path / "lab.cca").code == 0
    acting = {each["name"]: each["may_act"] for each in desk.account("devices", "--json").document["devices"]}
    assert sorted(acting.values()) == [False, True]
    assert acting["laptop"] is False
    assert "ended" in desk.account("devices").out
    assert laptop.account("join", tmp_path / "lab.cca").code == 0
    for each in (desk, laptop):
        assert each.account("show", "--json").document["millicredits"] == 3_700
    # What the laptop earned since is its own.
    entries = laptop("cc-node", "credit", "--json").document["credit"]
    assert sorted((each["millicredits"], each["account_millicredits"]) for each in entries) == [
        (700, 1_500),
        (700, 2_200),
    ]
    assert "3.7 credits in 2 tasks" in desk.account("history", "-o", tmp_path / "history").out
    verified = laptop.account("history", "--verify", tmp_path / "history", "--json").document
    assert verified["millicredits"] == 3_700


def test_a_backup_makes_the_account_on_another_machine(
    machine: Callable[[str, Identity], Machine], tmp_path: Path
) -> None:
    desk, laptop = machine("desk", ALICE), machine("laptop", BOB)
    assert desk.account("create", "The lab").code == 0
    backup = tmp_path / "lab.ccbackup"
    assert desk.account("backup", "-o", backup).code == 0
    assert backup.stat().st_mode & 0o777 == 0o600

    assert laptop.account("restore", backup, "--name", "laptop").code == 0
    names = {each["name"] for each in laptop.account("devices", "--json").document["devices"]}
    assert len(names) == 2
    assert "laptop" in names
    assert laptop.account("profile", "--name", "Our lab").code == 0
    assert desk.account("backup", "-o", tmp_path / "again").code == 0
    refused = [laptop.account("restore", backup), machine("other", BOB).account("restore", tmp_path / "none")]
    backup.write_bytes(backup.read_bytes()[:-1])
    refused.append(Machine(tmp_path / "other", laptop._run).account("restore", backup))
    refused.append(Machine(tmp_path / "other", laptop._run).account("backup", "-o", tmp_path / "mine"))
    assert [each.code for each in refused] == [2, 2, 6, 3]


def test_a_profile_has_a_name_and_a_small_picture(
    machine: Callable[[str, Identity], Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = machine("desk", ALICE)
    Image.effect_noise((900, 700), 90).save(tmp_path / "noise.jpg")
    assert desk.account("create", "The lab", "--avatar", tmp_path / "noise.jpg").code == 0
    assert desk.account("profile", "--name", "Our lab").code == 0
    said = own_statement()
    assert said is not None
    assert said.name == "Our lab"
    assert 500 < len(said.avatar) <= AVATAR_BYTES_MAX


def test_mistakes_are_told_in_one_sentence(machine: Callable[[str, Identity], Machine], tmp_path: Path) -> None:
    desk, laptop = machine("desk", ALICE), machine("laptop", BOB)
    ended = [
        desk.account("show"),
        desk.account("join", "nobody"),
        desk.account("create", "a\x1blab"),
        desk.account("create", "lab", "--days", "400"),
        desk.account("create", "lab", "--avatar", desk.home / "identity.key"),
    ]
    assert desk.account("create", "lab").code == 0
    account = desk.account("show", "--json", "-o", tmp_path / "lab.cca").document["account"]
    consent = laptop.account("join", account).out.strip()
    ended += [
        desk.account("create", "lab"),
        desk.account("link", "ccjoin:!"),
        desk.account("link", consent[:-4] + "AAAA"),
        desk.account("revoke", "laptop"),
        laptop.account("join", tmp_path / "lab.cca"),
        laptop.account("link", consent),
    ]
    for each in ended:
        assert each.code in (1, 2, 3, 6)
        assert each.err.startswith("cc-node: ")
        assert each.err.count("\n") == 1, each.err
    assert not (laptop.home / "account.cca").exists()
