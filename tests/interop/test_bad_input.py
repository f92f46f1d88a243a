"""What users and strangers get wrong: one sentence that says what to do, the documented exit code, and nothing lost."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import wasmtime
from tests.handmade import FAR_S, signed_manifest

from crowdcompute.node import keys
from crowdcompute.node.store.records import RecordStore
from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.bundle import write_bundle
from crowdcompute.protocol.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.interop.conftest import Ended, Place

    from crowdcompute.protocol.records import Signed

REACTOR = """
(module {imports}
  (memory (export "memory") 1 1)
  (func (export "cc_alloc") (param i32) (result i32) (i32.const 64))
  (func (export "cc_run") (param i32 i32) (result i64) (i64.const 1)))
"""
MODULE = bytes(wasmtime.wat2wasm(REACTOR.format(imports="")))
HOSTILE = bytes(wasmtime.wat2wasm(REACTOR.format(imports='(import "env" "system" (func (param i32)))')))
COLLATZ = Path(__file__).parents[2] / "examples" / "collatz"
WITHOUT_ROOTS_RIGHT = ("setpriv", "--bounding-set=-dac_override") if os.geteuid() == 0 else ()
"""Root may write to read-only folders, unless it gives up the right to."""


def sentence(ended: Ended, code: int) -> str:
    """What it said: one line that begins with the command's name."""
    assert ended.code == code, ended
    assert ended.out == ""
    lines = ended.err.splitlines()
    assert len(lines) == 1, ended.err
    assert lines[0].startswith(("cc-node: ", "cc-task: ", "cc-signaling: "))
    return lines[0]


def bundle_of(signed: Signed, module: bytes) -> bytes:
    return write_bundle(signed, {describe(module).sha256: module})


def rezipped(bundle: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive, zipfile.ZipFile(buffer, "w") as changed:
        for name in archive.namelist():
            changed.writestr(name, change(name, archive.read(name)))
    return buffer.getvalue()


def altered_module(bundle: bytes) -> bytes:
    return rezipped(bundle, lambda name, data: data[:-1] + b"\0" if name.startswith("blobs/") else data)


def wrong_signature(bundle: bytes) -> bytes:
    return rezipped(bundle, lambda name, data: bytes(64) if name == "manifest.sig" else data)


def other_manifest(bundle: bytes) -> bytes:
    return rezipped(bundle, lambda name, data: data.replace(b"Handmade", b"Handsome"))


@pytest.fixture
def creator(place: Place) -> Identity:
    """The key of the creator at this place."""
    return keys.create(place.folder / "creator" / "creator.key")


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """A port that nobody can listen on, because a socket that does not listen holds it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


# ---- bundles and task folders


def test_a_bundle_that_is_not_what_its_creator_signed_is_not_published(
    place: Place, creator: Identity, join: str
) -> None:
    genuine = bundle_of(signed_manifest(creator, MODULE), MODULE)
    bundle = place.folder / "task.ccb"
    for data, words in (
        (altered_module(genuine), "it was altered"),
        (wrong_signature(genuine), "wrong signature"),
        (other_manifest(genuine), "wrong signature"),
        (genuine[:-30], "damaged or cut short"),
        (genuine[: len(genuine) // 2], "damaged or cut short"),
        (b"", "not a bundle"),
    ):
        bundle.write_bytes(data)
        assert words in sentence(place.cc_task("publish", bundle, "--link", join), 6)
    assert place.cc_task("list", "--json").document["tasks"] == []


def test_an_expired_task_is_neither_verified_nor_published_nor_watched(
    place: Place, creator: Identity, join: str
) -> None:
    signed = signed_manifest(creator, MODULE, expires_s=2)
    bundle = place.folder / "task.ccb"
    bundle.write_bytes(bundle_of(signed, MODULE))
    for arguments in (("verify", bundle), ("publish", bundle, "--link", join)):
        assert "expired" in sentence(place.cc_task(*arguments), 6)
    store = place.folder / "creator" / "creator"
    records = RecordStore(store / "records.db")
    records.save([signed])
    records.close()
    assert "publish it again" in sentence(place.cc_task("watch", signed.record_id.hex(), "--link", join), 6)


def test_a_task_from_the_future_blames_the_clock(place: Place, creator: Identity, join: str) -> None:
    bundle = place.folder / "task.ccb"
    bundle.write_bytes(bundle_of(signed_manifest(creator, MODULE, created_s=FAR_S - 1), MODULE))
    assert "clock" in sentence(place.cc_task("publish", bundle, "--link", join), 6)


def test_a_forbidden_import_is_named(place: Place, creator: Identity, join: str) -> None:
    bundle = place.folder / "task.ccb"
    bundle.write_bytes(bundle_of(signed_manifest(creator, HOSTILE), HOSTILE))
    said = sentence(place.cc_task("publish", bundle, "--link", join), 6)
    assert "env" in said
    assert "system" in said


def test_an_unknown_field_of_task_toml_is_named_with_what_was_meant(place: Place, join: str) -> None:
    folder = place.example("collatz", ("[limits]", "[limit]"))
    said = sentence(place.cc_task("publish", folder, "--link", join), 2)
    assert "no key 'limit': did you mean 'limits'?" in said


def test_another_persons_bundle_cannot_be_published(place: Place, join: str) -> None:
    stranger = Identity(b"\5" * 32)
    bundle = place.folder / "task.ccb"
    bundle.write_bytes(bundle_of(signed_manifest(stranger, MODULE), MODULE))
    said = sentence(place.cc_task("publish", bundle, "--link", join), 6)
    assert stranger.peer_id in said
    assert "--key" in said


def test_a_task_published_with_another_key_asks_for_that_key(place: Place, creator: Identity) -> None:
    signed = signed_manifest(creator, MODULE)
    assert place.cc_task("list").code == 0
    records = RecordStore(place.folder / "creator" / "creator" / "records.db")
    records.save([signed])
    records.close()
    other = ("--key", place.folder / "other.key")
    for arguments in (("watch", signed.record_id.hex()), ("results", signed.record_id.hex(), "-o", place.folder / "x")):
        assert "use --key" in sentence(place.cc_task(*arguments, *other), 3)
    listed = place.cc_task("list", *other)
    assert listed.code == 0
    assert "another key" in listed.out


# ---- links and servers


@pytest.mark.parametrize("link", ["http://127.0.0.1:9/", "http://127.0.0.1:9/j#t=00", "main", "ftp://host/j#n=main"])
def test_a_link_that_names_no_network_shows_how_one_looks(place: Place, link: str) -> None:
    for said in (
        sentence(place.cc_node("run", link, "--yes"), 2),
        sentence(place.cc_task("publish", COLLATZ, "--link", link), 2),
    ):
        assert "#n=" in said


def test_a_server_that_nobody_reaches_is_named(place: Place, closed_port: int, creator: Identity) -> None:
    url = f"http://127.0.0.1:{closed_port}"
    folder = place.example("collatz")
    for said in (
        sentence(place.cc_node("run", f"{url}/j#n=main", "--yes"), 4),
        sentence(place.cc_task("publish", folder, "--link", f"{url}/j#n=main"), 4),
    ):
        assert url in said
        assert "nothing listens there" in said


def test_a_port_that_is_taken_is_named(place: Place, closed_port: int) -> None:
    said = sentence(
        place.start(
            (sys.executable, "-m", "crowdcompute.signaling"), "serve", "--port", closed_port, home="signaling"
        ).ended(),
        3,
    )
    assert f"port {closed_port}: Address already in use" in said
    assert "--port" in said


CC_NODE = (sys.executable, "-m", "crowdcompute.node")
CC_TASK = (sys.executable, "-c", "from crowdcompute.creator.cli import main; raise SystemExit(main())")
HOUR_AHEAD = (
    "import time; now = time.time; time.time = lambda: now() + 3600\n"
    "from crowdcompute.signaling.__main__ import main; main()"
)


def test_a_clock_an_hour_off_is_told(place: Place) -> None:
    server = place.start((sys.executable, "-c", HOUR_AHEAD), "serve", "--port", 0, "--ready-json", home="signaling")
    link = server.says(r'"join": "([^"]*)"')[1]
    said = sentence(place.cc_node("run", link, "--yes"), 3)
    assert "60 minutes behind" in said
    assert "timedatectl" in said


# ---- this machine


def test_nobody_computes_without_consent(place: Place, join: str) -> None:
    said = sentence(place.cc_node("run", join), 6)
    assert "--yes" in said
    assert not (place.folder / "node").exists()


def test_a_local_address_that_is_none_is_refused(place: Place, join: str) -> None:
    said = sentence(place.cc_node("run", join, "--yes", "--host", "300.1.1.1"), 2)
    assert "an address of this machine looks like" in said


def test_an_environment_variable_that_is_no_setting_is_named(place: Place, join: str) -> None:
    said = sentence(place.cc_node("run", join, "--yes", settings={"CC_TYPO": "1"}), 3)
    assert "CC_TYPO" in said
    assert "CC_JOBS" in said


def test_a_second_node_with_the_same_folder_is_refused_and_the_first_goes_on(place: Place, join: str) -> None:
    (first,) = place.nodes(join, "node")
    said = sentence(place.cc_node("run", join, "--yes"), 1)
    assert str(first.process.pid) in said
    assert "CC_HOME" in said
    assert first.status()["state"] == "running"
    first.signal(signal.SIGTERM)
    assert first.ended().code == 0


def test_commands_that_find_nothing_say_what_to_do(place: Place) -> None:
    assert "cc-task list" in sentence(place.cc_task("watch", "nosuch"), 2)
    assert "cc-task list" in sentence(place.cc_task("results", "nosuch", "-o", place.folder / "x"), 2)
    assert "cc-task pack" in sentence(place.cc_task("verify", place.folder / "nosuch.ccb"), 2)
    assert "cc-node run" in sentence(place.cc_node("status"), 3)
    assert "--link" in sentence(place.cc_task("publish", place.example("collatz")), 2)
    assert "cc-task init" in sentence(place.cc_task("publish", place.folder, "--link", "http://x/j#n=main"), 2)
    assert "--local" in sentence(place.cc_task("run", place.folder / "collatz"), 2)
    for upload in ("0", "fast"):
        assert "--upload" in sentence(place.cc_task("publish", place.folder / "collatz", "--upload", upload), 2)


@pytest.fixture
def read_only() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cc-read-only-"))
    folder.chmod(0o555)
    try:
        yield folder
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_folder_that_cannot_be_written_is_named(place: Place, join: str, read_only: Path) -> None:
    settings = {"CC_HOME": str(read_only)}
    for command, *arguments in (
        (CC_NODE, "run", join, "--yes"),
        (CC_NODE, "id"),
        (CC_TASK, "list"),
        (CC_TASK, "keygen"),
    ):
        running = place.start((*WITHOUT_ROOTS_RIGHT, *command), *arguments, home="nobody", settings=settings)
        said = sentence(running.ended(), 3)
        assert str(read_only) in said
        assert "CC_HOME" in said
    assert list(read_only.iterdir()) == []


def test_a_damaged_store_is_kept_and_named(place: Place) -> None:
    assert place.cc_task("list").code == 0
    store = place.folder / "creator" / "creator" / "records.db"
    store.write_bytes(b"not a database" * 100)
    assert "is damaged" in sentence(place.cc_task("list"), 3)
    assert store.read_bytes() == b"not a database" * 100
