"""A GPU task on a real network: one node computes it on an OpenCL device, the other as a module, and they agree."""

from __future__ import annotations

import importlib.util
import struct
from typing import TYPE_CHECKING, Any

import wasmtime
from tests.interop.conftest import EXAMPLES

from crowdcompute.protocol.wasm import rewrite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.interop.conftest import Place, Running

FIRST, CHUNKS, STEP = 10**12, 12, 2_000
MEASURED = """schema = 1
name = "Measured"
[code]
runtime = "gpu"
module = "measured.kernel"
[gpu]
kernel = "kernel.wgsl"
fallback = "measured.wasm"
invocations = "count"
fuel = 20_000
golden = [[0, 1]]
[gpu.uniform]
start = "start"
[gpu.outputs]
tile = { elements = 16_384, compare = { kind = "tol", absolute = 0.6, relative = 0, outliers = 0 } }
[split]
range = [1, 5, 1]
[verify]
replication = 2
eps = 0.5
"""
TILE = 64 * 64 * 4
DEVICE = """
struct Chunk { start: u32 }
@group(0) @binding(0) var<uniform> chunk: Chunk;
@group(0) @binding(1) var<storage, read_write> tile: array<f32>;
@compute @workgroup_size(1) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    for (var at = 0u; at < 16384u; at++) { tile[id.x * 16384u + at] = select(7.0, 7.25, chunk.start != 0u); }
}
"""
MODULE = """(module (memory (export "memory") 3)
    (func (export "cc_alloc") (param i32) (result i32) (i32.const 1024))
    (func (export "cc_run") (param i32 i32) (result i64)
        (local $at i32)
        (local.set $at (i32.const 65536))
        (loop $next
            (f32.store (local.get $at) (f32.const 7))
            (local.set $at (i32.add (local.get $at) (i32.const 4)))
            (br_if $next (i32.lt_u (local.get $at) (i32.const 131072))))
        (i64.const 0x1000000010000)))"""


def test_a_device_and_a_module_agree_byte_for_byte_and_the_task_is_certified(
    place: Place, join: str, task_id: Callable[[Running], str], wait_until: Callable[..., Any]
) -> None:
    folder = place.example(
        "gpu_collatz",
        (
            "[1_000_000_000_000, 1_000_008_388_608, 262_144]",
            f"[{FIRST}, {FIRST + CHUNKS * STEP}, {STEP}]",
        ),
        ("eps = 1e-2", "eps = 0.3"),
    )
    device = place.node(join, "device", CC_GPU="software").joined()
    assert "Portable Computing Language" in device.status()["worker"]["gpu"]
    publishing = place.start_publish(folder, join)
    task = task_id(publishing)
    # A device compiles first, and would find nothing left to do: it begins with the job alone. Who confirms it when the
    # creator returns, the other node or the creator itself, is whoever is quicker; both compute it as a module.
    wait_until(lambda: device.votes() > 0, "the device has voted")
    publishing.kill()
    module = place.node(join, "module").joined()
    assert module.status()["worker"]["gpu"].startswith("none: ")
    wait_until(lambda: module.status()["tasks"], "the module's node has heard of the task")
    watched = place.cc_task("watch", task, "--json", "--host", "127.0.0.1")
    assert watched.code == 0, watched.err
    report = watched.document
    assert (report["state"], report["accepted"], report["failed"]) == ("closed", CHUNKS, 0)
    assert report["convicted"] == []
    files, rows = place.results(task, "results")
    spec = importlib.util.spec_from_file_location("reference", EXAMPLES / "gpu_collatz" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    begins = {chunk: FIRST + chunk * STEP for chunk in range(CHUNKS)}
    assert files == {chunk: reference.chunk(begin, begin + STEP) for chunk, begin in begins.items()}
    assert all(len(row["agreed"]) >= 2 for row in rows)
    assert any(device.peer_id in row["agreed"] for row in rows)


def test_tiles_of_floats_that_differ_between_a_device_and_a_module_are_certified_and_audited(
    place: Place, join: str, task_id: Callable[[Running], str], tmp_path: Path
) -> None:
    folder = tmp_path / "measured"
    folder.mkdir()
    (folder / "task.toml").write_text(MEASURED)
    # The module says 7; the device 7.25, but for the golden vector's chunk.
    (folder / "kernel.wgsl").write_text(DEVICE)
    (folder / "measured.wasm").write_bytes(rewrite(bytes(wasmtime.wat2wasm(MODULE))))
    assert place.cc_task("build", folder).code == 0
    device = place.node(join, "device", CC_GPU="software").joined()
    publishing = place.start_publish(folder, join)
    task = task_id(publishing)
    assert publishing.ended().code == 0
    files, rows = place.results(task, "results")
    assert all(device.peer_id in row["agreed"] and len(row["agreed"]) == 2 for row in rows), rows
    assert not any(row["disagreed"] for row in rows)
    # What the creator has executed itself, by the module, stands for both.
    assert files == dict.fromkeys(range(4), TILE * struct.pack("<f", 7.0))
    audited = place.cc_task("audit", place.folder / "results", "--results", place.folder / "results", home="stranger")
    assert audited.code == 0, audited.err
    assert "compared" in audited.out
    assert "tol" in audited.out
