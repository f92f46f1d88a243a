"""Two peers without a path between them: their link goes through a real coturn, with credentials made for each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from crowdcompute.protocol.join_link import JoinLink

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tests.interop.conftest import Blocked, Place, Running


@pytest.mark.parametrize("stack", ["aiortc", "wrtc"])
def test_a_job_is_done_over_a_relay_where_the_direct_path_is_blocked(
    place: Place,
    blocked: Blocked,
    cc_node: Callable[..., Running],
    cc_task: Callable[..., Running],
    task_id: Callable[[Running], str],
    stack: str,
) -> None:
    url = blocked.signaling("--turn", f"turn:{blocked.ADDRESS}", "--turn-secret", blocked.SECRET)
    join = str(JoinLink(url, "main"))
    folder, expected = place.slow_task(20, 100_000)
    node = cc_node("run", join, "--yes", "--jobs", "1", "--stack", stack, home="left", on=blocked.left)
    node.says("joined network")
    publishing = cc_task(
        "publish", folder, "--link", join, "--wait", "--stack", stack, home="creator", on=blocked.right
    )
    ended = publishing.ended()
    assert ended.code == 0, ended.err
    files, rows = place.results(task_id(publishing), "results")
    assert files == expected
    worker = cc_node("id", home="left").ended().out.strip()
    assert any(worker in row["agreed"] for row in rows)
    assert worker in blocked.relayed()


def test_the_doctor_finds_the_relay_and_what_is_wrong_with_it(
    blocked: Blocked, cc_node: Callable[..., Running]
) -> None:
    stun, turn = f"stun:{blocked.ADDRESS}", f"turn:{blocked.ADDRESS}"

    def rows(secret: str) -> dict[str, dict[str, Any]]:
        join = str(JoinLink(blocked.signaling("--stun", stun, "--turn", turn, "--turn-secret", secret), "main"))
        ended = cc_node("doctor", join, "--json", home="left", on=blocked.left).ended()
        return {row["name"]: row for row in json.loads(ended.out)["rows"]}

    found = rows(blocked.SECRET)
    assert {found[name]["state"] for name in ("WebSocket", "UDP", "STUN", "TURN", "NAT")} == {"ok"}, found
    assert found["NAT"]["sentence"].startswith("None")
    found = rows("another secret")
    assert found["TURN"]["state"] == "failed"
    assert "static-auth-secret" in found["TURN"]["sentence"]
