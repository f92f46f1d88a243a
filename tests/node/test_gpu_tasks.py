"""GPU tasks for creators: what `cc-task` builds, and what it finds when a device and the fallback disagree."""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING

import pytest
from tests.node.test_gpu_executor import returning

from crowdcompute.creator.cli import main
from crowdcompute.creator.task_file import read_task_file
from crowdcompute.creator.work import read_module, sign_task
from crowdcompute.node.exits import Exit
from crowdcompute.protocol.identity import Identity

if TYPE_CHECKING:
    from pathlib import Path

TASK = """schema = 1
name = "Sevens"
[code]
runtime = "gpu"
module = "sevens.kernel"
[gpu]
kernel = "kernel.wgsl"
fallback = "sevens.wasm"
invocations = "count"
fuel = 10
golden = [[0, 1]]
[gpu.uniform]
start = "start"
[gpu.outputs]
out = { elements = 1 }
[split]
range = [0, 2, 1]
"""
KERNEL = """
struct Chunk { start: u32 }
@group(0) @binding(0) var<uniform> chunk: Chunk;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@compute @workgroup_size(1) fn main(@builtin(global_invocation_id) id: vec3<u32>) { out[id.x] = RESULT; }
"""


def failed(*arguments: str) -> int | str | None:
    """The exit code of a command that fails."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CC_HOME", str(tmp_path / "home"))
    folder = tmp_path / "sevens"
    folder.mkdir()
    (folder / "task.toml").write_text(TASK)
    (folder / "sevens.wasm").write_bytes(returning(7))
    return folder


def test_a_kernel_that_agrees_with_its_fallback_on_every_device_passes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "kernel.wgsl").write_text(KERNEL.replace("RESULT", "7u"))
    assert main(["build", str(folder)]) == 0
    capsys.readouterr()
    assert main(["check", str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["runtime"], report["shape"], report["deterministic"]) == ("gpu", "kernel", True)
    assert any("Portable Computing Language" in device for device in report["devices"])
    assert all(device.endswith(": the same results as the fallback") for device in report["devices"])


def test_a_kernel_that_disagrees_where_no_golden_vector_looks_is_found(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "kernel.wgsl").write_text(KERNEL.replace("RESULT", "7u + chunk.start"))
    assert main(["build", str(folder)]) == 0
    assert failed("check", str(folder)) == Exit.FAILED
    said = capsys.readouterr()
    assert "ends chunk 1 OTHERWISE than the fallback" in said.out
    assert "volunteers with and without a GPU would vote against each other" in said.err


def test_a_device_that_gets_a_golden_vector_wrong_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "kernel.wgsl").write_text(KERNEL.replace("RESULT", "8u"))
    assert main(["build", str(folder)]) == 0
    assert main(["check", str(folder)]) == 0
    assert "not used (module refused: this device computes something else than golden vector 0)" in (
        capsys.readouterr().out.replace("\n", " ")
    )


def test_a_package_older_than_its_kernel_is_not_signed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "kernel.wgsl").write_text(KERNEL.replace("RESULT", "7u"))
    assert main(["build", str(folder)]) == 0
    (folder / "kernel.wgsl").write_text(KERNEL.replace("RESULT", "9u"))
    assert failed("pack", str(folder)) == Exit.USAGE
    assert "is older than what it is made of: run `cc-task build`" in capsys.readouterr().err


FLOATS = KERNEL.replace("array<u32>", "array<f32>")
NEAR = 'compare = { kind = "tol", absolute = 0.001, relative = 0, outliers = 0 }'


@pytest.fixture
def floats(folder: Path) -> Path:
    """The fallback's result is 7 as an f32."""
    (folder / "task.toml").write_text(TASK.replace("elements = 1", f"elements = 1, {NEAR}"))
    (folder / "sevens.wasm").write_bytes(returning(int.from_bytes(struct.pack("<f", 7.0), "little")))
    return folder


def test_a_kernel_of_floats_near_its_fallback_passes_and_a_tolerance_is_proposed(
    floats: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (floats / "kernel.wgsl").write_text(FLOATS.replace("RESULT", "7.0 + 0.0001 * f32(chunk.start + 1u)"))
    assert main(["build", str(floats)]) == 0
    capsys.readouterr()
    assert main(["check", str(floats), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["deterministic"]
    (device,) = (device for device in report["devices"] if "Portable Computing Language" in device)
    assert device.endswith(
        "agrees with the fallback: out is up to 0.0002 off where the largest is 7, 20 % of the tolerance"
    )
    (proposal,) = report["tolerances"]
    assert proposal.startswith('out: compare = { kind = "tol", absolute = 0.001, relative = 0, outliers = 0 }')


def test_a_check_says_of_what_class_each_device_is(floats: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (floats / "task.toml").write_text((floats / "task.toml").read_text().replace('"tol"', '"class"'))
    (floats / "kernel.wgsl").write_text(FLOATS.replace("RESULT", "7.0 + 0.0001 * f32(chunk.start + 1u)"))
    assert main(["build", str(floats)]) == 0
    capsys.readouterr()
    assert main(["check", str(floats), "--json"]) == 0
    (device,) = (each for each in json.loads(capsys.readouterr().out)["devices"] if "Portable Computing" in each)
    assert re.search(r"\(class [0-9a-f]{8}\): agrees with the fallback: out is up to 0.0002 off", device)


def test_a_kernel_beyond_the_tolerance_where_no_golden_vector_looks_is_found(
    floats: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (floats / "kernel.wgsl").write_text(FLOATS.replace("RESULT", "7.0 + 0.0011 * f32(chunk.start)"))
    assert main(["build", str(floats)]) == 0
    assert failed("check", str(floats)) == Exit.FAILED
    assert "ends chunk 1 OTHERWISE than the fallback" in capsys.readouterr().out


def test_a_device_beyond_half_of_the_tolerance_does_not_prove_itself(
    floats: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (floats / "kernel.wgsl").write_text(FLOATS.replace("RESULT", "7.0006"))
    assert main(["build", str(floats)]) == 0
    assert main(["check", str(floats)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "up to 0.0006 beside, which is not half of the tolerance: golden vector 0" in said


def test_a_number_that_is_not_finite_is_no_result(floats: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (floats / "kernel.wgsl").write_text(FLOATS.replace("RESULT", "7.0 / (1.0 - f32(chunk.start))"))
    assert main(["build", str(floats)]) == 0
    assert failed("check", str(floats)) == Exit.FAILED
    said = " ".join(capsys.readouterr().out.split())
    assert "ends chunk 1 OTHERWISE than the fallback (a number that is not finite)" in said


def test_a_task_of_floats_has_no_epochs(floats: Path) -> None:
    (floats / "kernel.wgsl").write_text(FLOATS.replace("RESULT", "7.0"))
    assert main(["build", str(floats)]) == 0
    task = read_task_file(floats)
    creator = Identity(bytes(32))
    assert task.epoch_s
    assert sign_task(task, read_module(task), creator).manifest.epochs is None


def test_a_kernel_that_makes_integers_of_floats_is_refused_with_the_reason(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "kernel.wgsl").write_text(KERNEL.replace("RESULT", "u32(f32(chunk.start) * 0.5)"))
    assert failed("build", str(folder)) != 0
    assert "devices do not agree to the bit: put the floats out" in capsys.readouterr().err
