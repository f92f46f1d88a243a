"""Python programs as creators: kernels, jobs and executors, on this machine and on a network of real nodes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import struct
import subprocess
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from crowdcompute.creator import (
    AsyncClient,
    ChunkFailed,
    Executor,
    JobLeft,
    Kernel,
    Network,
    NotPortable,
    Result,
    Task,
    ThisMachine,
    here,
)
from crowdcompute.node.exits import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.interop.conftest import Place, Signaling

JS = """
export default function squared([n, { times }]) {
  if (n === 13) throw new Error("thirteen is unlucky");
  if (n === 17) [].reduce(() => { for (;;); }, n);
  return { n, squared: n * n * times };
}
"""
TOML = (
    'schema = 1\nname = "Squares"\n[code]\nruntime = "js"\nmodule = "kernel.js"\n[split]\nrange = [0, 1, 1]\n'
    "[limits]\nseconds = 20\n[verify]\nreplication = 2\neps = 0.2\npow_bits = 8\n"
)


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    folder = tmp_path / "squares"
    folder.mkdir()
    (folder / "kernel.js").write_text(JS)
    (folder / "task.toml").write_text(TOML)
    return folder


@pytest.fixture
def creator(place: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process is a creator with a folder of its own."""
    monkeypatch.setenv("CC_HOME", str(place.folder / "creator"))
    return place.folder / "creator"


@pytest.fixture(scope="module")
def network(
    desk: Signaling, places: Callable[[Path], Place], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Network]:
    """This process as a creator, and two volunteers that all tests here share."""
    place = places(tmp_path_factory.mktemp("volunteers"))
    join = desk.join("creator-python")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CC_HOME", str(place.folder / "creator"))
        try:
            place.nodes(join, "a", "b")
            with Network(join, hosts=("127.0.0.1",)) as network:
                yield network
        finally:
            place.clean_up()


def echo(place: Place, chunks: int, verify: str = "[verify]\nreplication = 2\neps = 0.2\npow_bits = 8\n") -> Path:
    """Chunk i's result is i as eight bytes; the third chunk is a trap."""
    return place.task(
        "echo",
        """(module (memory (export "memory") 1 1)
        (func (export "cc_alloc") (param i32) (result i32) (i32.const 64))
        (func (export "cc_run") (param i32 i32) (result i64)
            (if (i64.eq (i64.load (i32.const 64)) (i64.const 3)) (then unreachable))
            (i64.const 0x4000000008)))""",
        chunks,
        verify,
    )


# ---- on this machine


def test_a_kernel_is_called_like_a_function_and_says_what_went_wrong(squares: Path) -> None:
    kernel = Kernel(squares)
    assert kernel(3, {"times": 2}) == {"n": 3, "squared": 18}
    with pytest.raises(ChunkFailed, match="task error: thirteen is unlucky"):
        kernel(13, {"times": 1})
    with pytest.raises(NotPortable, match="cannot travel"):
        kernel(object())


def test_calls_that_come_while_two_tasks_are_on_their_way_share_one(
    squares: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crowdcompute.creator.executor.LINGER_S", 60.0)
    kernel = Kernel(squares)
    with ThisMachine(1) as machine, Executor(machine) as executor:
        endless = []
        for number in range(2):
            endless.append(executor.submit(kernel, 17, {"times": number}))
            while len(executor.jobs) <= number:
                threading.Event().wait(0.001)
        further = []
        for number in range(8):
            further.append(executor.submit(kernel, number, {"times": 1}))
            threading.Event().wait(0.01)  # Long enough for a call that waits for nobody.
        for job in list(executor.jobs):
            job.cancel()
        assert [future.result(60)["squared"] for future in further] == [number**2 for number in range(8)]
        assert all(isinstance(future.exception(60), ChunkFailed) for future in endless)
        assert [job.chunks for job in executor.jobs] == [1, 1, 8]


def test_an_executor_without_a_network_gives_standard_futures(squares: Path) -> None:
    kernel = Kernel(squares)
    with ThisMachine(2) as machine, Executor(machine) as executor:
        futures = {executor.submit(kernel, n, {"times": 1}): n for n in range(12)}
        for future in concurrent.futures.as_completed(futures, timeout=60):
            assert type(future) is concurrent.futures.Future
            assert future.result()["squared"] == futures[future] ** 2
        assert len(executor.jobs) < 12, "calls made together share a task"
        results = executor.map(kernel, range(3), [{"times": 10}] * 3)
        assert [result["squared"] for result in results] == [0, 10, 40]
        with pytest.raises(ChunkFailed, match=r"thirteen is unlucky; to see it here: Kernel\(.*\)\(13, "):
            executor.submit(kernel, 13, {"times": 1}).result(60)
        done, left = concurrent.futures.wait([executor.submit(kernel, 5, {"times": 1})], timeout=60)
        assert (len(done), len(left)) == (1, 0)
        assert executor.submit(here(max), 1, 3, 2).result(60) == 3
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(kernel, 1)


def test_python_is_refused_with_what_to_do_instead(squares: Path) -> None:
    kernel = Kernel(squares)
    with ThisMachine(1) as machine, Executor(machine) as executor:
        with pytest.raises(NotPortable, match=r"<lambda> is Python.*cc-task init NAME.*here\("):
            executor.submit(lambda n: n, 3)
        with pytest.raises(NotPortable, match="by position"):
            executor.submit(kernel, n=3)  # type: ignore[call-arg]
        assert not executor.jobs


def test_a_webassembly_kernel_takes_numbers_or_bytes(place: Place) -> None:
    kernel = Kernel(echo(place, 4), decode=lambda data: struct.unpack("<q", data)[0])
    assert kernel(-5, 6) == -5
    assert kernel(struct.pack("<q", 77)) == 77
    with pytest.raises(NotPortable, match="it takes whole numbers"):
        kernel(1.5)
    with pytest.raises(ChunkFailed, match="unreachable"):
        kernel(3)
    floats = Kernel(echo_folder := kernel.file.folder, encode=struct.Struct("<d").pack)
    assert struct.unpack("<d", floats(1.5)) == (1.5,)
    assert echo_folder.name == "echo"


def test_a_job_here_can_be_cancelled_and_comes_with_the_command_that_repeats_a_chunk(place: Place) -> None:
    folder, _ = place.slow_task(50, 100_000_000)
    with ThisMachine(1) as machine:
        job = machine.publish(Task(folder))
        first = next(job.results())
        assert (first.status, first.arguments) == ("ok", (first.chunk, first.chunk + 1))
        job.cancel()
        assert job.wait(60) is None
        results = list(job.results(ordered=True))
        cancelled = [result for result in results if result.status == "failed"]
        assert len(results) == 50 and cancelled
        assert {result.why for result in cancelled} == {"cancelled by its creator"}
        assert cancelled[0].reproduce == f"cc-task run --local --chunk {cancelled[0].chunk} {folder}"
        left = machine.publish(Task(folder))
    with pytest.raises(JobLeft):
        left.wait(60)
    with pytest.raises(JobLeft):
        machine.publish(Task(folder))


# ---- on a network


def test_futures_settle_by_the_votes_of_volunteers(network: Network, squares: Path) -> None:
    kernel = Kernel(squares)
    with Executor(network) as executor:
        futures = [executor.submit(kernel, n, {"times": 1}) for n in range(12)]
        assert [future.result(60)["n"] for future in futures] == list(range(12))
        unlucky = executor.submit(kernel, 13, {"times": 1})
        with pytest.raises(ChunkFailed) as failed:
            unlucky.result(60)
    assert str(failed.value.arguments) == "(13, {'times': 1})"
    (stream,) = executor.jobs
    assert failed.value.reproduce == f"cc-task run --local --chunk 12 {stream.id}"
    certificate = stream.certificate
    assert certificate is not None
    assert (certificate.chunks, certificate.accepted, certificate.failed) == (13, 13, 0)
    assert certificate.executions >= 26, "two votes for each"
    assert [result.status for result in stream.results(ordered=True)] == ["ok"] * 12 + ["task error"]


def test_streams_of_one_second_are_apart_and_one_of_nothing_is_certified_too(network: Network, squares: Path) -> None:
    kernel, streams = Kernel(squares), []
    for _ in range(3):
        network.on_loop(lambda: streams.append(network.open_stream(kernel)))
    assert len({stream.id for stream in streams}) == 3
    for stream in streams:
        network.on_loop(partial(network.feed, stream, (), ends=True))
    for stream in streams:
        certificate = stream.wait(60)
        assert certificate is not None
        assert (certificate.chunks, certificate.accepted) == (0, 0)


def test_a_stream_is_shown_audited_and_computed_again_as_any_task(
    place: Place, join: str, creator: Path, squares: Path, tmp_path: Path
) -> None:
    place.nodes(join, "a", "b")
    kernel = Kernel(squares)
    with Network(join, hosts=("127.0.0.1",)) as network, Executor(network) as executor:
        assert executor.submit(kernel, 5, {"times": 1}).result(60)["n"] == 5
        (stream,) = executor.jobs
        assert stream.is_open
        assert not stream.done
        # Nobody calls for a while: what was fed is certified, and the next call opens another stream.
        statement = stream.wait(60)
        assert statement is not None
        assert (statement.chunks, stream.progress().chunks) == (1, 1)
        assert executor.submit(kernel, 6, {"times": 1}).result(60)["n"] == 6
        assert len(executor.jobs) == 2
    assert executor.jobs[1].done
    again = place.cc_task("run", "--local", "--chunk", "0", stream.id, "-o", tmp_path / "again", home="creator")
    assert again.code == 0, again.err
    results = place.cc_task("results", stream.id, "-o", tmp_path / "out", home="creator")
    assert results.code == 0, results.err
    assert (tmp_path / "out" / "000000.bin").read_bytes() == (tmp_path / "again" / "000000.bin").read_bytes()
    audited = place.cc_task("audit", tmp_path / "out", "--results", tmp_path / "out", "--json", home="stranger")
    assert audited.code == 0, audited.err
    assert audited.document["statement"] == statement.statement


DYING = """
import os, sys
from crowdcompute.creator import Executor, Kernel, Network
with Network(sys.argv[1], hosts=("127.0.0.1",)) as network:
    executor, kernel = Executor(network), Kernel(sys.argv[2])
    for future in [executor.submit(kernel, number, {"times": 1}) for number in range(3)]:
        future.result(60)
    (stream,) = executor.jobs
    print(stream.id, flush=True)
    os._exit(9)
"""


def test_a_stream_whose_program_died_is_closed_on_what_was_fed(
    place: Place, join: str, creator: Path, squares: Path
) -> None:
    place.nodes(join, "a", "b")
    script = subprocess.run(
        [sys.executable, "-c", DYING, join, squares], capture_output=True, text=True, check=False, timeout=100
    )
    assert script.returncode == 9, script.stderr
    stream = script.stdout.strip()
    (listed,) = place.cc_task("list", "--json").document["tasks"]
    # Volunteers have what it had not yet written down of their votes.
    assert (listed["task"], listed["state"], listed["chunks"]) == (stream, "running", 3)
    watched = place.cc_task("watch", stream, "--json", "--host", "127.0.0.1")
    assert watched.code == 0, watched.err
    certificate = watched.document["certificate"]
    assert (certificate["chunks"], certificate["accepted"]) == (3, 3)


def test_a_job_tells_results_progress_and_its_certificate(network: Network, place: Place, tmp_path: Path) -> None:
    job = Task(echo(place, 6), decode=lambda data: struct.unpack("<q", data)[0]).publish(network)
    heard: list[Result[int]] = []
    job.on_result(heard.append)
    certificate = job.wait(60)
    assert certificate is not None
    assert certificate is job.certificate
    assert (certificate.accepted, certificate.failed) == (5, 1)
    assert "1 of 6 chunks have no result" in certificate.statement
    results = list(job.results(ordered=True))
    assert [result.value for result in results if result.chunk != 3] == [0, 1, 2, 4, 5]
    assert (results[3].status, results[3].arguments) == ("failed", (3, 4))
    assert "trap: unreachable" in results[3].why
    with pytest.raises(ChunkFailed, match=rf"chunk 3 \(arguments 3 4\).*cc-task run --local --chunk 3 {job.id}"):
        _ = results[3].value
    assert {result.chunk for result in heard} == set(range(6))
    assert job.progress().state == "closed"
    assert job.export(tmp_path / "out") == 5
    assert json.loads((tmp_path / "out" / "certificate.json").read_text())["statement"] == certificate.statement
    assert job in network.jobs()


def test_a_cancelled_job_is_certified_for_what_it_has_and_says_so(
    network: Network, place: Place, tmp_path: Path
) -> None:
    folder, expected = place.slow_task(40, 100_000_000, "[verify]\nreplication = 2\neps = 0.2\npow_bits = 8\n")
    job = Task(folder).publish(network)
    first = next(job.results(timeout=60))
    assert first.data == expected[first.chunk]
    job.cancel()
    certificate = job.wait(60)
    assert certificate is not None
    assert certificate.accepted + certificate.failed == 40
    assert 0 < certificate.accepted < 40
    assert f"{certificate.failed} of 40 chunks have no result" in certificate.statement
    assert certificate.statement.endswith("chunks have no result, because the creator cancelled them")
    assert certificate.document["cancelled"] == certificate.failed
    for result in job.results(ordered=True):
        assert result.data == expected[result.chunk] if result.status == "ok" else result.why.startswith("cancelled")
    # Anybody can check it, and counts the same.
    job.export(tmp_path / "out")
    audited = place.cc_task("audit", tmp_path / "out", "--results", tmp_path / "out", "--json", home="stranger")
    assert audited.code == 0, audited.err
    assert audited.document["statement"] == certificate.statement


def test_the_first_solution_ends_a_task_once_the_creator_has_confirmed_it(
    network: Network, place: Place, tmp_path: Path
) -> None:
    folder, _ = place.slow_task(2_000, 5_000_000, "[verify]\nreplication = 2\neps = 0.2\npow_bits = 8\n")
    text = (folder / "task.toml").read_text()
    (folder / "task.toml").write_text(text + '[publish]\nstop = "first solution"\n[assemble]\nas = "concat"\n')
    job = Task(folder).publish(network)
    certificate = job.wait(60)
    assert certificate is not None
    assert certificate.document["cancelled"] == certificate.failed > 0
    solved = [result for result in job.results(ordered=True) if result.status == "ok"]
    assert len(solved) == certificate.accepted > 0
    job.export(tmp_path)
    assert (tmp_path / "result").read_bytes() == b"".join(result.data for result in solved)
    rows = [json.loads(line) for line in (tmp_path / "results.ndjson").read_text().splitlines()]
    confirmed = [row for row in rows if certificate.document["creator"] in row["agreed"]]
    assert confirmed, "the creator's own vote is among those for a solution"


SCRIPT = """
import sys
from crowdcompute.creator import Network, Task
with Network(sys.argv[1], hosts=("127.0.0.1",)) as network:
    job = network.publish(Task(sys.argv[2]))
    job.wait_until_held(60)
    print(job.id)
"""


def test_a_job_outlives_its_script_and_is_picked_up_by_its_id(
    place: Place, join: str, creator: Path, wait_until: Callable[..., Any]
) -> None:
    nodes = place.nodes(join, "a", "b")
    folder, expected = place.slow_task(20, 50_000_000, "[verify]\nreplication = 1\neps = 0.2\npow_bits = 8\n")
    script = subprocess.run(
        [sys.executable, "-c", SCRIPT, join, folder], capture_output=True, text=True, check=False, timeout=100
    )
    assert script.returncode == 0, script.stderr
    wait_until(lambda: any(node.votes() > 0 for node in nodes), "somebody has gone on without the script")
    with Network(join, hosts=("127.0.0.1",)) as network:
        job = network.job(script.stdout.strip()[:12])
        assert {result.chunk: result.data for result in job.results(certified=True, timeout=60)} == expected
        assert network.job(job.id, decode=len) is job
        assert {result.value for result in job.results()} == {8}
        with pytest.raises(CommandError, match="no task here has an id that begins"):
            network.job("ffffffffffff")


def test_a_job_goes_on_while_the_signaling_server_is_gone(place: Place, creator: Path) -> None:
    desk = place.signaling()
    join = desk.join("lonely")
    place.nodes(join, "a", "b")
    folder, expected = place.slow_task(20, 50_000_000, "[verify]\nreplication = 2\neps = 0.2\npow_bits = 8\n")
    with Network(join, hosts=("127.0.0.1",)) as network:
        job = network.publish(Task(folder))
        next(job.results(timeout=60))
        desk.kill()
        assert {result.chunk: result.data for result in job.results(timeout=60)} == expected
    with pytest.raises(CommandError, match="cannot be reached"):
        Network(join)
    with pytest.raises(CommandError, match="which network"):
        Network()


def test_asyncio_programs_await_calls_and_iterate_jobs(network: Network, squares: Path, place: Place) -> None:
    kernel = Kernel(squares)

    async def program() -> None:
        async with AsyncClient(network) as client:
            assert (await client.submit(kernel, 4, {"times": 1}))["squared"] == 16
            seen = [value["n"] async for value in client.map(kernel, range(4), [{"times": 1}] * 4)]
            assert seen == [0, 1, 2, 3]
            job = await client.publish(Task(echo(place, 3)))
            assert {result.chunk async for result in job.results()} == {0, 1, 2}
            certificate = await job.wait()
            assert certificate is not None and certificate.accepted == 3

    asyncio.run(program())


def test_a_callback_may_submit_and_one_that_raises_stops_nobody(squares: Path) -> None:
    kernel = Kernel(squares)
    with ThisMachine(1) as machine, Executor(machine) as executor:
        chained: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def submit_next(done: concurrent.futures.Future[Any]) -> None:
            following = executor.submit(kernel, done.result()["squared"], {"times": 1})
            following.add_done_callback(lambda last: chained.set_result(last.result()))

        executor.submit(kernel, 3, {"times": 1}).add_done_callback(submit_next)
        assert chained.result(60) == {"n": 9, "squared": 81}
        heard = threading.Event()
        job = machine.publish(kernel.task([kernel.encode(1, {"times": 1})]))
        job.on_result(lambda result: 1 / 0)  # type: ignore[arg-type]
        job.on_result(lambda result: heard.set())
        assert heard.wait(60)
