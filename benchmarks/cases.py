"""Cases of a benchmark: each a process of its own with a time limit. What fails or hangs costs its own row only.

    python -m benchmarks.NAME [--quick] [--output FILE]      Linux; exit code 1 when a case failed

    def main() -> int:
        options = parser("links", __doc__).parse_args()
        if options.case:
            return answer(options, measure)
        with Report("links", options) as report:
            row = report.case("webrtc", limit_s=60, kind="webrtc")      # measure(kind="webrtc") elsewhere, or None
        return report.code

What a case says goes to a log that is named when it fails. When it ends, however that is, every process that descends
from it is killed, those of its own making that it has left behind included: the next one has the machine to itself.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SMALL_RESULTS = ROOT / "out" / "bench"
"""A quick look does not overwrite what full sizes have found."""
LOGS = SMALL_RESULTS / "logs"
MARK = "BENCH_CASE"
"""In the environment of all processes of a case, who can thus be found (contenders.py)."""
PR_SET_CHILD_SUBREAPER = 36


def parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """What every benchmark takes."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=(doc or "").partition("\n")[0])
    made.add_argument("--quick", action="store_true", help="small sizes, and results in out/bench/")
    made.add_argument("--output", type=Path, help=f"default: benchmarks/results/{name}.json")
    made.add_argument("--case", help=argparse.SUPPRESS)
    made.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    return made


def answer(options: argparse.Namespace, measure: Callable[..., Any]) -> NoReturn:
    """Be a case: write down what it gives, or each thing it yields in place of the one before, and go at once."""
    code = 0
    try:
        found = measure(**json.loads(options.case))
        for value in found if isinstance(found, Iterator) else [found]:
            write_json(options.answer, value)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # What waits for a worker that was stopped would wait for ever.


class Report:
    """What a benchmark has found so far, written down after every case."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name = name
        self.path: Path = options.output or (SMALL_RESULTS if options.quick else RESULTS) / f"{name}.json"
        self.failed: dict[str, str] = {}
        self.found: dict[str, Any] = {
            "machine": machine(),
            "made": datetime.now(UTC).strftime("%Y-%m-%d"),
            "size": "quick" if options.quick else "full",
            "load_average": round(os.getloadavg()[0], 1),
            "failed": self.failed,
        }

    @property
    def code(self) -> int:
        return 1 if self.failed else 0

    def case(self, case: str, *, limit_s: float, **arguments: Any) -> Any | None:
        """What it gave; the last thing that it yielded, if it failed after that; None if it gave nothing."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        LOGS.mkdir(parents=True, exist_ok=True)
        to = self.path.with_suffix(".case")
        to.unlink(missing_ok=True)
        log = LOGS / f"{self.name}-{case.replace(', ', '-').replace(' ', '-').replace('/', '-')}.log"
        command: list[str | Path] = [
            sys.executable,
            "-m",
            f"benchmarks.{self.name}",
            "--case",
            json.dumps(arguments),
            "--answer",
            to,
        ]
        if why := run_within(command, limit_s, log):
            self.failed[case] = why
            print(f"{case}: FAILED, {why} ({log.relative_to(ROOT)})", flush=True)
        self.write()
        with contextlib.suppress(FileNotFoundError):
            found = json.loads(to.read_text())
            to.unlink()
            return found
        return None

    def write(self) -> None:
        write_json(self.path, self.found)

    def __enter__(self) -> Report:
        self._began = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.found["seconds"] = round(time.monotonic() - self._began, 1)
        self.write()


def run_within(command: Sequence[str | Path], limit_s: float, log: Path | None = None) -> str:
    """Run a program, its descendants killed when it ends; why it failed, or nothing.

    It says what it says into a log, and its temporary files go with it; or here, where there is no log. A relative path
    is one of the checkout.
    """
    adopt()
    here = ROOT.as_posix()
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), MARK: f"{os.getpid()}-{time.monotonic_ns()}"}
    with contextlib.ExitStack() as stack:
        out = None
        if log is not None:
            out = stack.enter_context(log.open("w"))
            # A short name: Ray has sockets below it, whose names may be 107 bytes long.
            temporary = tempfile.TemporaryDirectory(prefix="cc-", ignore_cleanup_errors=True)
            environment["TMPDIR"] = stack.enter_context(temporary)
        stack.callback(kill_descendants)
        process = subprocess.Popen(
            command, cwd=here, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return f"not done in {limit_s:.0f} s"
    if not code:
        return ""
    said = [] if log is None else log.read_text(errors="replace").strip().splitlines()
    return (said or [f"exit code {code}"])[-1][:200]


def adopt() -> None:
    """Orphans among our descendants become our children, and a request to end unwinds, so that none stays behind."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def kill_descendants() -> None:
    """Also who is stopped, or makes new ones meanwhile."""
    while pids := descendants(os.getpid()):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def descendants(pid: int) -> list[int]:
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:  # It has ended meanwhile.
        return []
    return [*children, *(each for child in children for each in descendants(child))]


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def write_json(path: Path, value: Any) -> None:
    """At once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(value, indent=2) + "\n")
    part.replace(path)
