"""The lockdown, seen from inside: what is left to code that took a worker over."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from crowdcompute.node.executors import lockdown

PROBE = """
import ctypes, json, os, socket, sys, threading, time

from crowdcompute.node.executors import lockdown

libc = ctypes.CDLL(None, use_errno=True)

def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")

def thread():
    threading.Thread(target=int).start()

attempts = {
    "open": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "create": lambda: os.open("/tmp/never", os.O_CREAT | os.O_WRONLY),
    "list": lambda: os.listdir("/"),
    "unlink": lambda: os.unlink("/tmp/never"),
    "tcp": lambda: socket.socket(socket.AF_INET),
    "unix socket": lambda: socket.socket(socket.AF_UNIX),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "fork": os.fork,
    "thread": thread,
    "kill the parent": lambda: os.kill(os.getppid(), 0),
    "kill the parent by thread": lambda: checked(libc.tgkill(os.getppid(), os.getppid(), 0)),
    "ptrace": lambda: checked(libc.ptrace(16, os.getppid(), 0, 0)),
    "memfd": lambda: os.memfd_create("x"),
    "pipe": os.pipe,
    "chdir": lambda: os.chdir("/"),
    "setuid": lambda: os.setuid(0),
    "allocate 4 GB": lambda: bytearray(4 << 30),
}
threads = []
layers = lockdown.apply(parent_pid=os.getppid(), start_threads=lambda: threads.append(
    threading.Thread(target=time.sleep, args=(0.01,)).start()))
if "seccomp" not in layers:
    attempts = {}  # it would really do all that
got_through = []
for name, attempt in attempts.items():
    try:
        attempt()
        got_through.append(name)
    except (OSError, RuntimeError, MemoryError):
        pass
checked(libc.tgkill(os.getpid(), os.getpid(), 0))
print(json.dumps({"layers": layers, "got_through": got_through}))
"""


def probe(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, timeout=60)


def test_nothing_outside_the_process_can_be_reached() -> None:
    done = probe()
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    if "seccomp" not in report["layers"]:
        pytest.skip(f"this machine confines only by {report['layers']}")
    assert report["got_through"] == []


def test_a_process_whose_parent_is_gone_does_not_go_on() -> None:
    source = "from crowdcompute.node.executors import lockdown; lockdown.apply(parent_pid=1 << 22, start_threads=list)"
    done = subprocess.run([sys.executable, "-c", source + "; print('still here')"], capture_output=True, timeout=60)
    if sys.platform == "linux":
        assert (done.returncode, done.stdout) == (1, b"")


POOL = """
import asyncio, hashlib, sys, wasmtime
from crowdcompute.node.executors.pool import WorkerPool
from crowdcompute.protocol.events import ChunkInput
from crowdcompute.protocol.manifest import Limits
from crowdcompute.protocol.wasm import rewrite

module = rewrite(bytes(wasmtime.wat2wasm('''(module (memory (export "memory") 1)
    (func (export "cc_alloc") (param i32) (result i32) (i32.const 0))
    (func (export "cc_run") (param i32 i32) (result i64) (loop $l (br_if $l (local.get 1))) (i64.const 0)))''')))

async def main():
    pool = WorkerPool(1)
    await pool.start()
    def execute(data):
        code, limits = hashlib.sha256(module).digest(), Limits(65536, 1, 600.0)
        return asyncio.create_task(pool.execute(code, module, limits, False, [ChunkInput(0, data, 0)]))
    await execute(b"")
    # The worker holds the module now, so a batch that runs is on its way through the pipe.
    running = execute(b"endless")
    while not pool.describe().running:
        await asyncio.sleep(0)
    print(pool.describe().pids[0], flush=True)
    await running

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker ends when it next reads its pipe")
def test_a_worker_in_the_middle_of_a_chunk_dies_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", POOL], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = os.pidfd_open(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        # Readable once the process has ended.
        assert select.select([worker], [], [], 30)[0]
        os.close(worker)


ARCHITECTURE = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
ALLOW, EPERM, KILL = 0x7FFF_0000, 0x0005_0001, 0x8000_0000
PID = 1_234


def judge(program: bytes, architecture: int, number: int, first_argument: int = 0) -> int:
    """What the kernel makes of a system call: classic BPF, as much as filters use."""
    data = struct.pack("<IIQQ", number, architecture, 0, first_argument)
    accumulator = position = 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("<HBBI", program, 8 * position)
        position += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x15:
                position += if_true if accumulator == value else if_false
            case 0x35:
                position += if_true if accumulator >= value else if_false
            case 0x06:
                return int(value)


@pytest.mark.parametrize("machine", ARCHITECTURE)
def test_the_filter_lets_pass_what_is_listed_and_nothing_else(machine: str) -> None:
    program, architecture = lockdown.filter_program(machine, PID), ARCHITECTURE[machine]
    listed = set(lockdown.ALLOWED[machine].values())
    tgkill = lockdown.TGKILL[machine]
    for number in {*range(600)} - {tgkill}:
        assert judge(program, architecture, number) == (ALLOW if number in listed else EPERM)
    assert judge(program, architecture, tgkill, PID) == ALLOW
    assert judge(program, architecture, tgkill, PID + 1) == EPERM
    assert judge(program, architecture, 0x4000_0000) == KILL
    assert judge(program, 0x4000_0003, 1) == KILL


HEADERS = {"x86_64": "x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "asm-generic/unistd.h"}


@pytest.mark.parametrize("machine", HEADERS)
def test_system_call_numbers_are_those_of_the_kernel_headers(machine: str) -> None:
    header = Path("/usr/include") / HEADERS[machine]
    if not header.exists():
        pytest.skip("no kernel headers here")
    numbers = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text()))
    allowed = {**lockdown.ALLOWED[machine], "tgkill": lockdown.TGKILL[machine], "seccomp": lockdown.SECCOMP[machine]}
    assert {name: int(numbers[name]) for name in allowed} == allowed


DRIVER_PROBE = """
import json, os, socket, subprocess, sys, threading

from crowdcompute.node.executors import lockdown

scratch = sys.argv[1]
layers = lockdown.apply(parent_pid=os.getppid(), start_threads=lambda: None, driver=lockdown.Driver(scratch))
attempts = {
    "write to the scratch folder": lambda: open(scratch + "/x", "w").close(),
    "run the linker": lambda: subprocess.run(["/usr/bin/ld", "--version"], check=True, stdout=subprocess.DEVNULL),
    "start a thread": lambda: threading.Thread(target=int).start(),
    "read a secret": lambda: open(sys.argv[2]).close(),
    "write beside it": lambda: open(sys.argv[2] + "2", "w").close(),
    "read accounts": lambda: open("/etc/passwd").close(),
    "read the parent's environment": lambda: open(f"/proc/{os.getppid()}/environ").close(),
    "open a socket": lambda: socket.socket(socket.AF_INET),
    "open a unix socket": lambda: socket.socket(socket.AF_UNIX),
    "kill the parent": lambda: os.kill(os.getppid(), 0),
}
got_through = []
for name, attempt in attempts.items() if {"landlock", "seccomp"} <= set(layers) else []:
    try:
        attempt()
    except OSError:
        continue
    got_through.append(name)
print(json.dumps([layers, got_through]))
"""


def test_a_worker_with_a_driver_inside_reaches_the_system_s_libraries_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "secret").write_text("a key")
    arguments = [sys.executable, "-c", DRIVER_PROBE, str(tmp_path / "scratch"), str(tmp_path / "secret")]
    layers, got_through = json.loads(subprocess.run(arguments, capture_output=True, check=True, text=True).stdout)
    assert {"landlock", "seccomp"} <= set(layers)
    assert got_through == ["write to the scratch folder", "run the linker", "start a thread"]
