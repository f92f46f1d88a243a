"""An account on a real network: a node works, and the creator's leaderboard knows whose it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crowdcompute.protocol.join_link import JoinLink

if TYPE_CHECKING:
    from tests.interop.conftest import Place
    from tests.postgres_server import PostgresServer


def test_a_node_is_on_the_leaderboard_under_its_accounts_name(
    place: Place, join: str, postgres: PostgresServer
) -> None:
    place.cc_node("account", "create", "The lab", home="desk")
    account = place.cc_node("account", "show", "--json", home="desk").document["account"]
    place.nodes(join, "desk")

    # The creator's records are on a Postgres server; everything else is as ever.
    store = {"CC_STORE": postgres.database().render_as_string()}
    folder = place.example("collatz", ("700_000", "7_000"))
    published = place.start_cc_task(
        "publish", folder, "--link", join, "--wait", "--host", "127.0.0.1", "--upload", "5MB", settings=store
    ).ended()
    assert published.code == 0, published.err
    assert not (place.folder / "creator" / "creator" / "records.db").exists()

    board = place.cc_task("leaderboard", "--link", join, "--json", settings=store).document["leaderboard"]
    assert [(line["id"], line["name"]) for line in board] == [(account, "The lab")]
    assert board[0]["millicredits"] > 0
    # A running node answers with what it knows; how much that is, depends on when its creator left.
    assert place.cc_node("leaderboard", "--link", join, "--json", home="desk").document["tasks"] == 1
    # `cc-node run` has logged in by itself; whoever does so again is told for how long.
    logged_in = place.cc_node("account", "login", join, home="desk")
    assert logged_in.out == f"logged in to {JoinLink.parse(join).base_url} for The lab, for 15 minutes\n"
