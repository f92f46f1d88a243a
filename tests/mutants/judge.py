"""A process that judges copies of the rules: `judge.py` reads jobs as JSON from stdin and writes what came of them.

It imports what is slow to import and none of our own code, and forks for each job: the child finds the copy first.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path

import pytest
from hypothesis import Phase, settings

ROOT = Path(__file__).parents[2]
SLOW_IMPORTS = (
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "hypothesis.strategies",
    "msgspec",
    "_pytest.pytester",
)
AT_ONCE = 2


class FirstExample:
    """One failing example is enough: it need not be the smallest."""

    def pytest_collection(self) -> None:
        settings.register_profile("first", settings.get_profile("shared"), phases=(Phase.explicit, Phase.generate))
        settings.load_profile("first")


def judge(folder: Path, arguments: list[str], log: Path) -> int:
    """In the child: run tests, or a scenario, against the copy in `folder`."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what failed is said last, on stderr
    sys.path[:0] = [str(folder), str(ROOT)]
    # Otherwise the copy's namespace package would stay behind the installed one.
    importlib.invalidate_caches()
    if arguments[0] == "simulate":
        return int(importlib.import_module("crowdcompute.simulations.__main__").main(arguments[1:]))
    options = ["-x", "-q", "-p", "no:cacheprovider", "--assert=plain", "--tb=line"]
    os.chdir(ROOT)
    return int(pytest.main([*options, *arguments], plugins=[FirstExample()]))


def main() -> None:
    sys.dont_write_bytecode = True
    for name in SLOW_IMPORTS:
        importlib.import_module(name)
    jobs = json.load(sys.stdin)
    running: dict[int, int] = {}
    codes: list[int | None] = [None] * len(jobs)

    def reap() -> None:
        pid, status = os.wait()
        codes[running.pop(pid)] = os.waitstatus_to_exitcode(status)

    for number, job in enumerate(jobs):
        while len(running) == AT_ONCE:
            reap()
        pid = os.fork()
        if not pid:
            code = 70
            try:
                code = judge(Path(job["folder"]), job["arguments"], Path(job["log"]))
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        running[pid] = number
    while running:
        reap()
    json.dump(codes, sys.stdout)


if __name__ == "__main__":
    main()
