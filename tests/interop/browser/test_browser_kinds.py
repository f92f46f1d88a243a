"""Browsers and pages of other kinds: on plain http, without transferable channels, with several tabs of one person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

CHANNELS_STAY = """
(() => {
  const post = Worker.prototype.postMessage;
  Worker.prototype.postMessage = function (message, transfer) {
    if (message?.to === "links" && message.event.kind === "channels") throw new DOMException("no", "DataCloneError");
    return post.call(this, message, transfer);
  };
})();
"""
"""What browsers do that cannot transfer data channels to a Worker."""


WITH_A_DRAFT = """
async () => {
  const source = new TextEncoder().encode("export default () => 'here'");
  const split = { kind: "range", start: "0", stop: "1", step: "1" };
  const limits = { seconds: 5, memoryBytes: 16777216, outputBytes: 100 };
  const policy = { replication: 1, eps: 0.5 };
  const draft = { name: "x", description: "", link: "", runtime: "js", source, split, ...limits, ...policy };
  return (await %s).status;
}
"""
TRIAL = WITH_A_DRAFT % 'window.ask("testRun", { chunk: 0, draft })'
PUBLISH = WITH_A_DRAFT % 'window.ask("publishDraft", { draft })'

FIRST_BYTES = """
(module
  (memory (export "memory") 2 2)
  (func (export "cc_alloc") (param i32) (result i32) (i32.const 0))
  (func (export "cc_run") (param i32 i32) (result i64) (local $left i32)
    (local.set $left (i32.const 300000000))
    (loop $on (br_if $on (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (i64.const 8)))
"""
"""Gives back the first eight bytes of its input, after some tenths of a second: nobody is done before others come."""


def _blocks_task(place: Any, inputs: bytes) -> Any:
    """A task that cuts its inputs, which every worker fetches whole, into blocks of 64 KiB."""
    folder = place.task("blocks", FIRST_BYTES, 1)
    (folder / "inputs.bin").write_bytes(inputs)
    text = (folder / "task.toml").read_text()
    split = 'blocks = { file = "inputs.bin", size = 65536 }'
    text = text.replace("range = [0, 1, 1]", split)
    (folder / "task.toml").write_text(text.replace('memory = "1MiB"', 'memory = "128KiB"'))
    return folder


def test_a_page_on_plain_http_computes_with_a_key_in_software(
    place: Any, join: str, tabs: Any, task_id: Callable[[Any], str]
) -> None:
    folder, expected = place.slow_task(40, 500_000)
    publishing = place.start_publish(folder, join)
    task = task_id(publishing)
    tab = tabs.open(f"{join}&t={task}".replace("127.0.0.1", "lan.test"))
    assert tab.page.evaluate("[isSecureContext, typeof crypto.subtle]") == [False, "undefined"]
    tab.works_for(task)
    assert tab.until("shown.total.done >= 1")["keyKind"] == "software key"
    place.nodes(join, "alice")
    assert publishing.ended().code == 0
    files, rows = place.results(task, "results")
    assert files == expected
    assert any(tab.peer_id in row["agreed"] for row in rows)
    before = tab.shown
    tab.page.reload()
    after = tab.until(f"shown.total.done >= {before['total']['done']}")
    assert after["peerId"] == before["peerId"]


def test_frames_pass_through_the_page_where_channels_cannot_be_transferred(
    place: Any, join: str, tabs: Any, task_id: Callable[[Any], str]
) -> None:
    # Four MiB to fetch: more than the channels' queues hold. The second tab may have them from the first.
    inputs = bytes(range(256)) * 16_384
    task = task_id(place.start_publish(_blocks_task(place, inputs), join))
    for _ in range(2):
        tab = tabs.open(f"{join}&t={task}", script=CHANNELS_STAY)
        tab.works_for(task)
        tab.until(f"shown.storedBytes > {len(inputs)}")


def test_each_tab_of_one_browser_is_a_peer_of_its_own(join: str, tabs: Any) -> None:
    first = tabs.open(join)
    first.until("shown.signaling === 'connected'")
    second = tabs.in_context(first.context, join)
    shown = second.until("shown.signaling === 'connected'")
    assert shown["peerId"] != first.peer_id
    first.until(f"shown.peers.some(({{ peerId, state }}) => peerId === '{shown['peerId']}' && state === 'open')")
    # The place of a closed tab is the next one's: its key and its votes are not lost.
    key = first.peer_id
    first.page.close()
    third = tabs.in_context(second.context, join)
    assert third.until("shown.signaling === 'connected'")["peerId"] == key


def test_the_others_hear_of_a_closed_tab_at_once(join: str, tabs: Any) -> None:
    first, second = tabs.open(join), tabs.open(join)
    first.until("shown.peers.some(({ state }) => state === 'open')")
    gone = second.peer_id
    second.close()
    shown = first.until("shown.peers.length === 0")
    # Not by its silence, of which the first sign would be a suspicion: its connection was closed.
    reasons = [happening["detail"] for happening in shown["happenings"] if happening["peerId"] == gone]
    assert "silent" not in reasons


def test_a_page_loaded_before_starts_and_computes_without_the_server(place: Any, tabs: Any) -> None:
    desk = place.signaling()
    join = desk.join("twice")
    tab = tabs.open(join)
    tab.until("shown.signaling === 'connected'")
    # With a task of its own, or its first chunk, a page is one to keep: not before, or that would delay the chunk.
    tab.page.evaluate(PUBLISH)
    tab.page.evaluate("navigator.serviceWorker.ready.then(() => undefined)")
    assert tab.page.evaluate(TRIAL) == "ok"
    key = tab.peer_id
    desk.kill()
    tab.page.reload()
    assert tab.until("shown.signaling === 'unreachable'")["peerId"] == key
    assert tab.page.evaluate(TRIAL) == "ok"
