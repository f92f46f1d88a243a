"""cc-task end to end: every command, and every mistake as one sentence with its exit code."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import wasmtime
from tests.handmade import FAR_S, signed_manifest

from crowdcompute.creator.cli import main
from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.bundle import write_bundle
from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.identity import Identity
from crowdcompute.protocol.records import Signed
from crowdcompute.protocol.wasm import rewrite

if TYPE_CHECKING:
    from collections.abc import Callable

    CcTask = Callable[..., "Ended"]

START = "from crowdcompute.creator.cli import main; raise SystemExit(main())"
COLLATZ = Path(__file__).parents[2] / "examples" / "collatz"

REACTOR = """
(module {imports}
  (memory (export "memory") 1)
  (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "cc_run") (param i32 i32) (result i64) {body}))
"""


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cc_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CcTask:
    """Run cc-task in this process, with its keys in a folder of this test."""
    monkeypatch.setenv("CC_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CC_CREATOR_KEY", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Ended:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            code = ended.code
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Ended(code, printed.out, printed.err)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small task: the first 350 Collatz numbers in two chunks."""
    copy = tmp_path / "collatz"
    shutil.copytree(COLLATZ, copy)
    task = copy / "task.toml"
    task.write_text(task.read_text().replace("700_000", "350"))
    return copy


@pytest.fixture
def bundle(cc_task: CcTask, folder: Path, tmp_path: Path) -> Path:
    assert cc_task("pack", folder, "-o", tmp_path / "task.ccb").code == 0
    return tmp_path / "task.ccb"


def set_module(folder: Path, body: str, imports: str = "") -> None:
    module = wasmtime.wat2wasm(REACTOR.format(imports=imports, body=body))
    (folder / "collatz.wasm").write_bytes(bytes(module))


def one_sentence(ended: Ended) -> str:
    assert ended.err.startswith("cc-task: ")
    assert ended.err.count("\n") == 1
    return ended.err


# ---- from an empty folder to a bundle


def test_a_new_task_can_be_built_checked_run_packed_and_verified(cc_task: CcTask, tmp_path: Path) -> None:
    assert cc_task("init", "my squares").code == 0
    assert cc_task("build", "my squares").code == 0
    checked = cc_task("check", "my squares")
    assert checked.code == 0
    assert "my squares, 100 chunks" in checked.out
    assert "no imports" in checked.out
    assert "the same results" in checked.out
    packed = cc_task("pack", "my squares")
    assert packed.code == 0
    assert "made a new creator key" in packed.err
    assert cc_task("verify", "my squares.ccb").code == 0
    assert "made a new" not in cc_task("pack", "my squares").err
    ran = cc_task("run", "--local", "my squares.ccb", "-o", "results")
    assert ran.code == 0
    assert "100 of 100 chunks" in ran.out
    squares = sum(n * n for n in range(99_000_000, 100_000_000)) % 2**64
    assert (tmp_path / "results" / "000099.bin").read_bytes() == squares.to_bytes(8, "little")


def test_run_writes_a_file_for_each_chunk_and_a_line_for_each(cc_task: CcTask, folder: Path, tmp_path: Path) -> None:
    assert cc_task("run", "--local", folder, "-o", tmp_path / "out", "--jobs", 1).code == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.ndjson").read_text().splitlines()]
    assert sorted(line["index"] for line in lines) == [0, 1]
    for line in lines:
        result = (tmp_path / "out" / line["file"]).read_bytes()
        assert (line["status"], line["size"], line["sha256"]) == ("ok", 16, sha256(result).hexdigest())
    assert (tmp_path / "out" / "000000.bin").read_bytes() == (0).to_bytes(8, "little") + (2_760).to_bytes(8, "little")


def test_a_folder_and_its_bundle_give_the_same_results(
    cc_task: CcTask, folder: Path, bundle: Path, tmp_path: Path
) -> None:
    for path, out in ((folder, "a"), (bundle, "b")):
        assert cc_task("run", "--local", path, "-o", tmp_path / out).code == 0
    for file in ("000000.bin", "000001.bin"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_check_tells_a_program_everything_in_one_document(cc_task: CcTask, bundle: Path) -> None:
    ended = cc_task("check", bundle, "--json")
    assert ended.code == 0
    report = json.loads(ended.out)
    assert report["schema"] == 1
    assert report["deterministic"] is True
    assert report["imports"] == []
    assert [sample["chunk"] for sample in report["samples"]] == [0, 1]
    assert report["cpu_seconds"] > 0
    # Two chunks cannot show 1 in 100 by audits.
    assert report["verification"]["audits_needed"] == 375
    assert report["verification"]["own_executions_at_most"] == 2
    (warning,) = report["warnings"]
    assert "your own node will execute all 2 chunks" in warning
    told = cc_task("check", bundle).out
    assert warning in told
    assert report["verification"]["certified_means"] in told


def test_verify_shows_who_signed_what(cc_task: CcTask, bundle: Path) -> None:
    ended = cc_task("verify", bundle)
    assert ended.code == 0
    assert "signature ok" in ended.out
    report = json.loads(cc_task("verify", bundle, "--json").out)
    assert report["task_id"] in ended.out
    assert report["creator_key"] in ended.out
    assert report["creator"].startswith("12D3KooW")
    assert report["chunks"] == 2


def test_keygen_makes_a_key_once(cc_task: CcTask, tmp_path: Path) -> None:
    made = cc_task("keygen")
    assert made.code == 0
    assert "12D3KooW" in made.out
    again = cc_task("keygen")
    assert again.code == 1
    assert "there is a key in" in one_sentence(again)
    other = cc_task("keygen", "--key", tmp_path / "other.key")
    assert other.code == 0
    assert other.out != made.out


def test_the_key_that_signs_can_be_chosen(
    cc_task: CcTask, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cc_task("keygen", "--key", tmp_path / "other.key")
    monkeypatch.setenv("CC_CREATOR_KEY", str(tmp_path / "other.key"))
    assert cc_task("bundle", folder, "-o", "x.ccb").code == 0
    assert json.loads(cc_task("verify", "x.ccb", "--json").out)["creator"] in made.out


# ---- refused bundles: exit code 6


def rezip(bundle: Path, change: dict[str, bytes | None]) -> Path:
    with zipfile.ZipFile(bundle) as archive:
        entries: dict[str, bytes | None] = {name: archive.read(name) for name in archive.namelist()}
    entries.update(change)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            if data is not None:
                archive.writestr(name, data)
    bundle.write_bytes(buffer.getvalue())
    return bundle


def code_entry(bundle: Path) -> str:
    with zipfile.ZipFile(bundle) as archive:
        return next(name for name in archive.namelist() if name.startswith("blobs/"))


def write_signed(path: Path, module: bytes, *, created_s: int = 1, expires_s: int = FAR_S) -> Path:
    signed = signed_manifest(Identity(b"\5" * 32), module, created_s=created_s, expires_s=expires_s)
    path.write_bytes(write_bundle(signed, {describe(module).sha256: module}))
    return path


@pytest.mark.parametrize("command", ["verify", "check", "run"])
def test_a_tampered_module_is_refused(cc_task: CcTask, bundle: Path, command: str) -> None:
    name = code_entry(bundle)
    with zipfile.ZipFile(bundle) as archive:
        module = archive.read(name)
    altered = module[:-1] + bytes([module[-1] ^ 1])
    ended = cc_task(command, rezip(bundle, {name: altered}), *(["--local"] if command == "run" else []))
    assert ended.code == 6
    assert "it was altered" in one_sentence(ended)


def test_a_wrong_signature_is_refused(cc_task: CcTask, bundle: Path) -> None:
    ended = cc_task("verify", rezip(bundle, {"manifest.sig": bytes(64)}))
    assert ended.code == 6
    assert "wrong signature" in one_sentence(ended)


def test_a_missing_blob_and_an_extra_file_are_refused(cc_task: CcTask, bundle: Path) -> None:
    ended = cc_task("verify", rezip(bundle, {"virus.exe": b"MZ"}))
    assert ended.code == 6
    assert "'virus.exe', which its manifest does not name" in one_sentence(ended)
    ended = cc_task("verify", rezip(bundle, {"virus.exe": None, code_entry(bundle): None}))
    assert ended.code == 6
    assert "lacks blobs/" in one_sentence(ended)


def test_a_truncated_bundle_and_any_other_file_are_refused(cc_task: CcTask, bundle: Path) -> None:
    whole = bundle.read_bytes()
    for data in (whole[:-1], whole[: len(whole) // 2], b"", b"hello", COLLATZ.joinpath("kernel.c").read_bytes()):
        bundle.write_bytes(data)
        ended = cc_task("verify", bundle)
        assert ended.code == 6
        one_sentence(ended)


def test_an_expired_task_is_refused_and_one_from_the_future_blames_the_clock(cc_task: CcTask, tmp_path: Path) -> None:
    module = (COLLATZ / "collatz.wasm").read_bytes()
    ended = cc_task("verify", write_signed(tmp_path / "x.ccb", module, expires_s=2))
    assert ended.code == 6
    assert "expired" in one_sentence(ended)
    ended = cc_task("verify", write_signed(tmp_path / "x.ccb", module, created_s=3_900_000_000))
    assert ended.code == 6
    assert "clock" in one_sentence(ended)


def test_a_signed_but_hostile_module_is_refused(cc_task: CcTask, tmp_path: Path) -> None:
    imports = '(import "env" "system" (func (param i32)))'
    module = bytes(wasmtime.wat2wasm(REACTOR.format(imports=imports, body="(i64.const 0)")))
    path = write_signed(tmp_path / "x.ccb", module)
    for arguments in (("verify", path), ("check", path), ("run", "--local", path)):
        ended = cc_task(*arguments)
        assert ended.code == 6
        assert "system" in one_sentence(ended)


def test_a_manifest_with_an_unknown_field_is_refused(cc_task: CcTask, bundle: Path) -> None:
    creator = Identity(b"\5" * 32)
    body = encode({"schema": 1, "colour": "red"})
    signed = Signed("manifest", creator.public_key, body, creator.sign("cc/manifest/1", body))
    ended = cc_task("verify", rezip(bundle, {"manifest.msgpack": signed.body, "manifest.sig": signed.signature}))
    assert ended.code == 6
    assert "colour" in one_sentence(ended)


# ---- mistakes in a task's folder


def test_an_unknown_key_in_the_task_file_is_named_with_its_cure(cc_task: CcTask, folder: Path) -> None:
    task = folder / "task.toml"
    task.write_text(task.read_text().replace("[limits]", "[limit]"))
    for command in ("build", "check", "pack"):
        ended = cc_task(command, folder)
        assert ended.code == 2
        assert "no key 'limit': did you mean 'limits'?" in one_sentence(ended)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[0, 350, 175]", "[350, 0, 175]", "the split makes 0 chunks"),
        ("[0, 350, 175]", f"[0, {2**62}, 1]", "a task has 1 to 2147483647"),
        ('name = "Collatz"', 'name = ""', "name"),
        ('link = "https:', 'link = "ftp:', "link is not an http or https address"),
        ('expires = "7d"', 'expires = "0s"', "expires before it was created"),
    ],
)
def test_what_peers_would_refuse_is_not_signed(cc_task: CcTask, folder: Path, old: str, new: str, message: str) -> None:
    task = folder / "task.toml"
    assert old in task.read_text()
    task.write_text(task.read_text().replace(old, new))
    ended = cc_task("pack", folder)
    assert ended.code == 2
    assert message in one_sentence(Ended(ended.code, "", ended.err.split("keep a copy\n")[-1]))
    assert not list(folder.parent.glob("*.ccb"))


def test_a_missing_module_says_how_to_get_it(cc_task: CcTask, folder: Path) -> None:
    (folder / "collatz.wasm").unlink()
    ended = cc_task("check", folder)
    assert ended.code == 2
    assert "run `cc-task build`" in one_sentence(ended)


def test_a_forbidden_import_is_named(cc_task: CcTask, folder: Path) -> None:
    set_module(folder, "(i64.const 0)", '(import "env" "system" (func (param i32)))')
    for command in ("check", "pack"):
        ended = cc_task(command, folder)
        assert ended.code == 6
        assert "system" in one_sentence(ended)


def test_a_module_that_is_no_module_is_refused(cc_task: CcTask, folder: Path) -> None:
    (folder / "collatz.wasm").write_bytes(b"hello")
    ended = cc_task("check", folder)
    assert ended.code == 6
    one_sentence(ended)


def test_a_chunk_that_traps_fails_the_check_and_the_run_but_not_the_other_chunks(
    cc_task: CcTask, folder: Path, tmp_path: Path
) -> None:
    # The second chunk begins at 175, the first at 0.
    set_module(folder, "(if (i64.ne (i64.load (local.get 0)) (i64.const 0)) (then unreachable)) (i64.const 1)")
    checked = cc_task("check", folder)
    assert checked.code == 1
    assert "no result: " in checked.out
    assert "a chunk has no result" in one_sentence(checked)
    ran = cc_task("run", "--local", folder, "-o", tmp_path / "out")
    assert ran.code == 1
    assert "1 of 2 chunks" in ran.out
    assert "1 chunk without a result" in ran.err
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.ndjson").read_text().splitlines()]
    assert {line["index"]: line["status"] for line in lines} == {0: "ok", 1: "no_result"}


def test_a_chunk_between_the_edges_that_traps_fails_the_check(cc_task: CcTask, folder: Path) -> None:
    task = folder / "task.toml"
    task.write_text(task.read_text().replace("350", "7_000"))
    # Of 40 chunks the eighth.
    set_module(folder, "(if (i64.eq (i64.load (local.get 0)) (i64.const 1225)) (then unreachable)) (i64.const 1)")
    ended = cc_task("check", folder)
    assert ended.code == 1
    assert [line.split()[:2] for line in ended.out.splitlines() if line.startswith("chunk ")] == [
        ["chunk", "0"],
        ["chunk", "39"],
        ["chunk", "7"],
    ]
    assert "a chunk has no result" in one_sentence(ended)


def test_a_chunk_over_its_time_limit_is_told(cc_task: CcTask, folder: Path) -> None:
    set_module(folder, "(loop (br 0)) (i64.const 0)")
    task = folder / "task.toml"
    task.write_text(task.read_text().replace("seconds = 20", "seconds = 0.2"))
    ended = cc_task("check", folder)
    assert ended.code == 1
    assert "no result: " in ended.out


def test_a_task_errors_text_cannot_touch_the_terminal(cc_task: CcTask, folder: Path) -> None:
    module = """
      (module (memory (export "memory") 1) (data (i32.const 0) "\\1b[2Jpwned")
        (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
        (func (export "cc_error") (result i64) (i64.const 9))
        (func (export "cc_run") (param i32 i32) (result i64) (i64.const -1)))"""
    (folder / "collatz.wasm").write_bytes(bytes(wasmtime.wat2wasm(module)))
    ended = cc_task("check", folder)
    assert ended.code == 1
    assert "task error: �[2Jpwned" in ended.out


def test_a_source_that_does_not_compile_shows_the_compilers_words(cc_task: CcTask, folder: Path) -> None:
    (folder / "kernel.c").write_text("int cc_run(void) { return undefined_thing; }\n")
    before = (folder / "collatz.wasm").read_bytes()
    ended = cc_task("build", folder)
    assert ended.code == 1
    assert "does not compile" in ended.err
    assert "undefined_thing" in ended.err
    assert (folder / "collatz.wasm").read_bytes() == before


def test_without_the_compiler_build_says_what_to_install(
    cc_task: CcTask, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What an installation without the extra looks like to importlib.
    monkeypatch.setitem(sys.modules, "ziglang", None)
    ended = cc_task("build", folder)
    assert ended.code == 3
    assert "pip install 'crowdcompute[build]'" in one_sentence(ended)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("verify", "nowhere.ccb"), 2, "nowhere.ccb cannot be read (No such file or directory): name a task's folder"),
        (("check", "nowhere.ccb"), 2, "nowhere.ccb cannot be read (No such file or directory): name a task's folder"),
        (("check",), 2, "task.toml cannot be read"),
        (("run", "collatz"), 2, "say `--local`"),
        (("run", "collatz", "--local", "--jobs", "0"), 2, "at least 1 process"),
        (("init", "collatz"), 2, "exists already"),
        (("run", "collatz", "--local", "-o", "collatz/task.toml"), 1, "File exists"),
        (("pack", "collatz", "-o", "collatz"), 1, "Is a directory"),
    ],
)
def test_other_mistakes_are_one_sentence_too(
    cc_task: CcTask, folder: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    cc_task("keygen")
    ended = cc_task(*arguments)
    assert ended.code == code
    assert message in one_sentence(ended)


def test_a_full_disk_is_told(cc_task: CcTask, folder: Path) -> None:
    ended = cc_task("pack", folder, "-o", "/dev/full")
    assert ended.code == 1
    assert "the disk is full: free some space" in ended.err.splitlines()[-1]


@pytest.mark.parametrize("program", ["crowdcompute.creator.cli", "crowdcompute.node.cli"])
def test_the_list_of_commands_says_what_each_is_for(program: str) -> None:
    # In a process of its own: here other tests may have loaded some already.
    start = f"from {program} import main; raise SystemExit(main())"
    shown = subprocess.run([sys.executable, "-c", start, "--help"], capture_output=True, text=True, check=True).stdout
    rows = [line.strip("│ ").split(maxsplit=1) for line in shown.splitlines() if re.match("│ [a-z]", line)]
    assert len(rows) >= 8
    assert [row for row in rows if len(row) < 2] == []


def test_unknown_commands_and_options_are_usage_errors(cc_task: CcTask) -> None:
    assert cc_task("verfy", "x").code == 2
    assert cc_task("verify").code == 2
    assert cc_task("verify", "--jsn", "x").code == 2


def test_a_damaged_or_readable_key_ends_with_code_3(cc_task: CcTask, folder: Path, tmp_path: Path) -> None:
    key = tmp_path / "home" / "creator.key"
    key.parent.mkdir()
    key.write_text("hello")
    key.chmod(0o600)
    ended = cc_task("pack", folder)
    assert ended.code == 3
    assert "is not a key file" in one_sentence(ended)
    key.chmod(0o644)
    assert cc_task("pack", folder).code == 3


# ---- as a person starts it


def cc_task_process(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START, *arguments],
        env={**os.environ, "CC_HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_process_ends_with_the_code_and_keeps_stdout_for_results(folder: Path, tmp_path: Path) -> None:
    packed = cc_task_process(tmp_path, "pack", "collatz")
    assert packed.returncode == 0
    assert packed.stderr.count("\n") == 1  # the new key
    verified = cc_task_process(tmp_path, "verify", "collatz.ccb", "--json")
    assert verified.returncode == 0
    assert json.loads(verified.stdout)["signature"] == "ok"
    bundle = tmp_path / "collatz.ccb"
    bundle.write_bytes(bundle.read_bytes()[:-30])
    refused = cc_task_process(tmp_path, "verify", "collatz.ccb")
    assert refused.returncode == 6
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1


def test_a_reader_who_has_enough_is_no_error_worth_a_traceback(bundle: Path, tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as pipe:
        ended = subprocess.run(
            [
                sys.executable,
                "-c",
                "from crowdcompute.creator.cli import main; raise SystemExit(main())",
                "verify",
                bundle,
            ],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.stderr == ""
    assert ended.returncode == 1


def test_a_module_is_signed_in_its_rewritten_form(cc_task: CcTask, folder: Path, tmp_path: Path) -> None:
    set_module(folder, "(i64.reinterpret_f64 (f64.add (f64.const 1) (f64.const 2)))")
    raw = (folder / "collatz.wasm").read_bytes()
    assert rewrite(raw) != raw
    assert cc_task("pack", folder, "-o", "x.ccb").code == 0
    with zipfile.ZipFile(tmp_path / "x.ccb") as archive:
        assert archive.read(code_entry(tmp_path / "x.ccb")) == rewrite(raw)
