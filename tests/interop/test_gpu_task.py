"""A GPU task on a real network: one node computes it on an OpenCL device, the other as a module, and they agree."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from tests.interop.conftest import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.interop.conftest import Place, Running

FIRST, CHUNKS, STEP = 10**12, 12, 2_000


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
    # A device compiles first, and a creator has a module, too: so that both nodes are needed, one begins with the job
    # and the other is there to confirm it when the creator returns.
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
    assert {peer for row in rows for peer in row["agreed"]} >= {device.peer_id, module.peer_id}
