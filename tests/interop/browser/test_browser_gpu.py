"""Kernels in Chromium, whose SwiftShader plays the GPU: the same bytes as everywhere, and hostile ones stopped."""

from __future__ import annotations

import base64
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from tests.interop.conftest import EXAMPLES
from tests.node.compilers import tint
from tests.node.damaged_kernels import DamagedKernels
from tests.node.kernel_reference import strayed
from tests.node.random_kernels import FLOAT_FUNCTIONS, FUNCTIONS, NUMBERS, FloatKernels, Kernels
from tests.node.test_gpu_executor import (
    EXPRESSIONS,
    HOSTILE,
    Machine,
    floats,
    is_near,
    kernel,
    many_floats,
    reference,
)

from crowdcompute.creator.task_file import read_task_file
from crowdcompute.creator.work import read_module
from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.bundle import write_bundle
from crowdcompute.protocol.events import Status
from crowdcompute.protocol.gpu import CLASS_BYTES, MODULE, open_package
from crowdcompute.protocol.gpu.compare import Within
from crowdcompute.protocol.identity import Identity
from crowdcompute.protocol.manifest import Limits, Manifest, Policy, Range, sign_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

MORE_FLAGS = ("--enable-unsafe-webgpu",)
CREATOR = Identity(bytes(range(32)))
LIMITS = Limits(memory_bytes=1 << 26, output_bytes=1 << 24, seconds=30)
KERNELS, DAMAGED = 8, 100
"""Random ones. benchmarks/gpu_fuzz.py compares as many as one likes."""
FIRST, CHUNKS, STEP = 10**12, 8, 2_000


def bundled(package: bytes, start: int, count: int) -> bytes:
    """A bundle of one chunk, whose numbers are `start` and `start + count`."""
    now = int(time.time())
    manifest = Manifest(
        schema=1, name="Kernel", description="", link="", creator=CREATOR.public_key, seal_key=CREATOR.seal_key,
        runtime="gpu", code=describe(package), split=Range(start=start, stop=start + count, step=count), chunks=1,
        inputs=None, limits=LIMITS, policy=Policy(replication=1, eps=0.5, liars=0.2, pow_bits=0), reward=0, epochs=None,
        onward=False,
        permissions=(), vouches=(), created_s=now, expires_s=now + 3_600,
    )  # fmt: skip
    return write_bundle(sign_manifest(CREATOR, manifest), {manifest.code.sha256: package})


def trial(tab: Any, package: bytes, start: int, count: int) -> tuple[str, bytes, str]:
    """How the page ends a chunk: its status, bytes and detail."""
    ended = tab.page.evaluate(
        """async (bundle) => {
            const bytes = Uint8Array.from(atob(bundle), (each) => each.charCodeAt(0));
            const { status, bytes: data, detail } = await window.ask("testRun", { bundle: bytes, chunk: 0 });
            return [status, btoa(Array.from(data, (each) => String.fromCharCode(each)).join("")), detail];
        }""",
        base64.b64encode(bundled(package, start, count)).decode(),
    )
    return ended[0], base64.b64decode(ended[1]), ended[2]


@pytest.fixture
def tab(join: str, tabs: Any) -> Any:
    tab = tabs.open(join)
    tab.until("shown.signaling === 'connected'")
    return tab


WHICH = kernel("if (start == 66u) { out[id.x] = 8u; }")
"""On a device its result for 66 is 8, as a module 7."""


def test_kernels_run_on_the_gpu_only_when_the_person_says_so_and_on_one_that_is_played_only_in_tests(tab: Any) -> None:
    assert trial(tab, WHICH, 66, 1) == ("ok", struct.pack("<I", 7), "")
    tab.ask("changeSettings", gpu="on")
    assert trial(tab, WHICH, 66, 1) == ("ok", struct.pack("<I", 7), "")
    tab.ask("changeSettings", gpu="software")
    assert trial(tab, WHICH, 66, 1) == ("ok", struct.pack("<I", 8), "")


def test_a_device_that_gets_a_golden_vector_wrong_leaves_the_kernel_to_the_module(tab: Any) -> None:
    tab.ask("changeSettings", gpu="software")
    assert trial(tab, kernel("out[id.x] = 8u;"), 66, 1) == ("ok", struct.pack("<I", 7), "")


def test_the_example_has_the_same_bytes_as_in_python(tab: Any) -> None:
    package = read_module(read_task_file(EXAMPLES / "gpu_collatz"))
    tab.ask("changeSettings", gpu="software")
    for first, end in ((1, 1_000), (837_799, 837_816), (2**32 - 100, 2**32 + 100), (2**63 - 40, 2**63 - 1)):
        assert trial(tab, package, first, end - first) == ("ok", reference(first, end), "")


def test_floats_are_those_of_python_within_the_tolerance(tab: Any) -> None:
    tab.ask("changeSettings", gpu="software")
    for expression, expected in EXPRESSIONS.items():
        status, data, _ = trial(tab, floats(expression), 5, 10)
        assert (status, len(data)) == ("ok", 40), expression
        assert is_near(data, expected), (expression, struct.unpack("<10f", data))
    assert trial(tab, floats("1.0 / (x - 3.0)"), 5, 10) == ("no result", b"", "a number that is not finite")


def test_a_result_ends_with_the_class_that_was_measured_of_the_gpu(tab: Any) -> None:
    package = floats("x / 3.0", comparator=Within)
    tab.ask("changeSettings", gpu="software")
    ended = [trial(tab, package, 5, 10) for _ in range(2)]
    assert ended[0] == ended[1]
    status, data, _ = ended[0]
    assert (status, len(data)) == ("ok", 40 + CLASS_BYTES)
    assert data[-CLASS_BYTES:] != MODULE
    assert is_near(data[:-CLASS_BYTES], lambda x: x / 3)


def test_a_chunk_whose_gpu_is_taken_away_ends_all_the_same_and_so_does_the_next(tab: Any) -> None:
    package = read_module(read_task_file(EXAMPLES / "gpu_collatz"))
    tab.ask("changeSettings", gpu="software")
    assert trial(tab, WHICH, 66, 1) == ("ok", struct.pack("<I", 8), "")
    count = 2**17
    tab.page.evaluate(
        """(bundle) => {
            const bytes = Uint8Array.from(atob(bundle), (each) => each.charCodeAt(0));
            window.underWay = window.ask("testRun", { bundle: bytes, chunk: 0 }).then((ended) => {
                window.isOver = true;
                return [ended.status, btoa(Array.from(ended.bytes, (each) => String.fromCharCode(each)).join(""))];
            });
        }""",
        base64.b64encode(bundled(package, FIRST, count)).decode(),
    )
    devtools = tab.page.context.browser.new_browser_cdp_session()
    devtools.send("Browser.crashGpuProcess")
    assert not tab.page.evaluate("window.isOver ?? false"), "the chunk was over before its GPU was gone"
    status, data = tab.page.evaluate("window.underWay")
    assert (status, base64.b64decode(data)) == ("ok", reference(FIRST, FIRST + count))
    assert trial(tab, WHICH, 66, 1)[0] == "ok"


def test_hostile_kernels_end_without_a_result_and_the_page_goes_on(tab: Any) -> None:
    tab.ask("changeSettings", gpu="software")
    for name, (package, detail) in HOSTILE.items():
        assert (name, *trial(tab, package, 66, 4)) == (name, "no result", b"", detail)
    assert trial(tab, WHICH, 66, 1) == ("ok", struct.pack("<I", 8), "")


def test_a_tab_with_a_gpu_and_a_creator_without_one_agree_and_the_task_is_certified(
    place: Any, join: str, tabs: Any, task_id: Callable[[Any], str]
) -> None:
    folder: Path = place.example(
        "gpu_collatz",
        ("[1_000_000_000_000, 1_000_008_388_608, 262_144]", f"[{FIRST}, {FIRST + CHUNKS * STEP}, {STEP}]"),
        ("eps = 1e-2", "eps = 0.3"),
    )
    publishing = place.start_publish(folder, join)
    task = task_id(publishing)
    tab = tabs.open(f"{join}&t={task}")
    tab.has_task(task)
    tab.ask("changeSettings", gpu="software")
    tab.works_for(task)
    assert publishing.ended().code == 0
    files, rows = place.results(task, "results")
    begins = {chunk: FIRST + chunk * STEP for chunk in range(CHUNKS)}
    assert files == {chunk: reference(begin, begin + STEP) for chunk, begin in begins.items()}
    # The creator, as referee, has only the module.
    assert all(tab.peer_id in row["agreed"] and len(row["agreed"]) >= 2 and not row["disagreed"] for row in rows)


def test_random_kernels_end_alike_on_opencl_and_on_webgpu(tab: Any) -> None:
    tab.ask("changeSettings", gpu="software")
    rng = Random(7)
    packages = [
        kernel(f"if (start != 0u) {{ {Kernels(rng).statements()} }}", before=FUNCTIONS, fuel=300)
        for _ in range(KERNELS)
    ]
    # Playwright has an event loop in this thread.
    with ThreadPoolExecutor(1) as thread:
        machine = thread.submit(Machine, "software").result()
        try:
            natively = [thread.submit(machine.compute, package, (5, 69)).result()[0] for package in packages]
            assert all(machine.pool.gpu.takes(sha256(package).digest()) for package in packages)
        finally:
            thread.submit(machine.close).result()
    for package, native in zip(packages, natively, strict=True):
        status = {Status.OK: "ok", Status.NO_RESULT: "no result"}[native.status]
        assert trial(tab, package, 5, 64) == (status, native.data, native.detail), open_package(package).wgsl()


def test_random_kernels_of_floats_compute_what_webgpu_allows(tab: Any) -> None:
    tab.ask("changeSettings", gpu="software")
    rng = Random(13)
    for number in range(KERNELS):
        statements = FloatKernels(rng, is_opaque=number % 2 == 0).statements()
        package = many_floats(statements, FLOAT_FUNCTIONS, NUMBERS)
        status, data, _ = trial(tab, package, 5, 32)
        assert status == "ok"
        assert not strayed(open_package(package), struct.pack("<2q", 5, 37), data), statements


def test_tint_takes_what_is_a_kernel_and_what_the_guard_makes_of_it(tab: Any) -> None:
    texts = [text for pair in DamagedKernels(Random(6)).accepted(DAMAGED) for text in pair]
    assert [(text, why) for text, why in zip(texts, tint(tab.page, texts), strict=True) if why] == []
