"""Take from this process everything that running a chunk does not need, for good.

Called by a worker after its imports and before it touches a task's bytes: resource limits, no_new_privs, landlock (no
files, no network), and a seccomp filter over all threads that leaves memory management, clocks and the pipes already
open. Pure ctypes: no dependency, and about a third of a millisecond.

Linux on x86-64 and aarch64 get every layer the kernel offers. Elsewhere there is a process of its own with resource
limits (POSIX), or only the process; `apply` says which layers hold, and `cc-node status` repeats it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

DATA_BYTES_MAX = 2 * 1024 * 1024 * 1024
"""Writable memory of a worker. 256 MiB of guest memory, an input as large twice over, and what compiling leaves behind
(real modules: 300 MB) fit in half of it: a `memory.grow` that failed for want of memory would be visible to the guest.
"""

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_SYS_LANDLOCK_CREATE_RULESET, _SYS_LANDLOCK_ADD_RULE, _SYS_LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_EXECUTE, _LANDLOCK_WRITE, _LANDLOCK_READ, _LANDLOCK_LIST, _LANDLOCK_TRUNCATE = (
    1 << 0,
    1 << 1,
    1 << 2,
    1 << 3,
    1 << 14,
)
_LANDLOCK_IOCTL = 1 << 15
_LANDLOCK_OF_FILES = _LANDLOCK_EXECUTE | _LANDLOCK_WRITE | _LANDLOCK_READ | _LANDLOCK_TRUNCATE | _LANDLOCK_IOCTL

_BPF_LOAD_WORD, _BPF_JUMP_EQUAL, _BPF_JUMP_GREATER_EQUAL, _BPF_RETURN = 0x20, 0x15, 0x35, 0x06
_ACTION_KILL, _ACTION_ALLOW, _ACTION_EPERM = 0x8000_0000, 0x7FFF_0000, 0x0005_0000 | errno.EPERM
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE, _OFFSET_FIRST_ARGUMENT = 0, 4, 16
_X32_BIT = 0x4000_0000

# What Python, wasmtime and glibc need to compute and to use open pipes. No open, no socket, no exec, no clone, no kill;
# tgkill, which abort() uses, is allowed towards this process alone.
ALLOWED = {
    "x86_64": {
        "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11,
        "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "readv": 19, "writev": 20,
        "sched_yield": 24, "mremap": 25, "madvise": 28, "nanosleep": 35, "getpid": 39, "exit": 60, "gettimeofday": 96,
        "getrusage": 98, "getppid": 110, "sigaltstack": 131, "gettid": 186, "time": 201, "futex": 202,
        "sched_getaffinity": 204, "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229,
        "clock_nanosleep": 230, "exit_group": 231, "set_robust_list": 273, "getrandom": 318, "membarrier": 324,
        "rseq": 334,
    },
    "aarch64": {
        "close": 57, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66, "ppoll": 73, "fstat": 80,
        "exit": 93, "exit_group": 94, "futex": 98, "set_robust_list": 99, "nanosleep": 101, "clock_gettime": 113,
        "clock_getres": 114, "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124,
        "restart_syscall": 128, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139,
        "getrusage": 165, "gettimeofday": 169, "getpid": 172, "getppid": 173, "gettid": 178, "brk": 214, "munmap": 215,
        "mremap": 216, "mmap": 222, "mprotect": 226, "madvise": 233, "getrandom": 278, "membarrier": 283, "rseq": 293,
    },
}  # fmt: skip
# What a driver gets on top of these is everything but this: it maps devices, starts threads, and pocl runs the linker.
# None of it can leave the machine, look into another process, or change the system.
DENIED_TO_DRIVERS = {
    "x86_64": (
        41, 42, 43, 44, 46, 49, 50, 288, 307,  # sockets: to make, connect, bind and use them
        62, 101, 200, 310, 311, 424, 434, 438, 440,  # other processes
        155, 161, 165, 166, 272, 308, 428, 429, 430, 431, 432, 433,  # mounts, roots and namespaces
        103, 105, 106, 164, 167, 168, 169, 170, 171, 172, 173, 175, 176, 227, 246, 313, 320,  # its settings
        248, 249, 250, 298, 304, 321, 323, 425, 426, 427,  # keys, perf, open_by_handle_at, bpf, userfaultfd, io_uring
    ),
    "aarch64": (
        198, 200, 201, 202, 203, 206, 211, 242, 269,
        117, 129, 130, 270, 271, 424, 434, 438, 440,
        39, 40, 41, 51, 97, 268, 428, 429, 430, 431, 432, 433,
        89, 104, 105, 106, 112, 116, 142, 143, 144, 146, 161, 162, 170, 224, 225, 273, 294,
        217, 218, 219, 241, 265, 280, 282, 425, 426, 427,
    ),
}  # fmt: skip
DRIVER_FILES = (
    "/usr", "/lib", "/lib64", "/bin", "/sys", "/etc/OpenCL", "/etc/vulkan", "/etc/ld.so.cache", "/etc/nvidia",
    "/opt/rocm", "/proc/cpuinfo", "/proc/meminfo", "/proc/driver",
)  # fmt: skip
DRIVER_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/dri", "/dev/kfd")
FILE_BYTES_MAX = 256 * 1024 * 1024
"""Of one file in a driver's scratch folder: a compiled kernel."""
TGKILL = {"x86_64": 234, "aarch64": 131}
SECCOMP = {"x86_64": 317, "aarch64": 277}
_AUDIT_ARCHITECTURE = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}


@dataclass(frozen=True, slots=True)
class Driver:
    """What a worker needs besides, whose engine is a driver of the system's."""

    scratch: str
    """The one folder it may write to."""


def apply(*, parent_pid: int, start_threads: Callable[[], None], driver: Driver | None = None) -> tuple[str, ...]:
    """Lock this process down and return the names of the layers that hold from now on.

    With a `driver` inside it keeps the system's libraries and devices, and loses the rest. Must run in the process's
    only thread. Landlock covers the calling thread and those it starts later, and the system call filter lets no
    thread start: so `start_threads` is called between the two. When `parent_pid` is not
    our parent any more, the process ends here.
    """
    layers = ["process"]
    if resource is not None:
        _limit_resources(is_driver=driver is not None)
        layers.append("rlimits")
    if sys.platform != "linux":
        start_threads()
        return tuple(layers)
    libc = ctypes.CDLL(None, use_errno=True)
    # A worker in the middle of a chunk does not read its pipe, so its parent's death must end it.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    unprivileged = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    if unprivileged:
        layers.append("no_new_privs")
    if unprivileged and _restrict_with_landlock(libc, driver):
        layers.append("landlock")
    start_threads()
    if unprivileged and _filter_system_calls(libc, platform.machine(), is_driver=driver is not None):
        layers.append("seccomp")
    return tuple(layers)


def _limit_resources(*, is_driver: bool) -> None:
    limits = {"RLIMIT_DATA": DATA_BYTES_MAX, "RLIMIT_NOFILE": 16, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    if is_driver:  # Drivers map far more than they use, and open what they find.
        limits = {"RLIMIT_NOFILE": 512, "RLIMIT_FSIZE": FILE_BYTES_MAX, "RLIMIT_CORE": 0}
    for name, wanted in limits.items():
        limit = getattr(resource, name, None)  # not every system has every limit
        if limit is None:
            continue
        _, hard = resource.getrlimit(limit)
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(limit, (allowed, allowed))


def _restrict_with_landlock(libc: ctypes.CDLL, driver: Driver | None) -> bool:
    """Deny every file and network access landlock knows of in this kernel, and signals to other processes.

    A driver keeps what `_driver_rights` lists.
    """
    version = libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, None, 0, 1)
    if version <= 0:
        return False
    file_rights = (1 << 13) - 1
    for since, bit in ((2, 13), (3, 14), (5, 15)):
        if version >= since:
            file_rights |= 1 << bit
    # Later kernels take a longer structure: + TCP bind and connect, + abstract sockets and signals.
    words = [file_rights]
    if version >= 4:
        words.append(0b11)
    if version >= 6:
        words.append(0b11)
    attributes = struct.pack(f"<{len(words)}Q", *words)
    ruleset = libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    if driver is not None:
        for path, rights in _driver_rights(driver):
            _allow_beneath(libc, ruleset, path, rights & file_rights)
    restricted: bool = libc.syscall(_SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return restricted


def _driver_rights(driver: Driver) -> list[tuple[str, int]]:
    """Paths with what landlock allows beneath them. Nothing of the person's, and no other process's files in /proc."""
    read = _LANDLOCK_EXECUTE | _LANDLOCK_READ | _LANDLOCK_LIST
    device = _LANDLOCK_READ | _LANDLOCK_LIST | _LANDLOCK_WRITE | _LANDLOCK_IOCTL
    code = {sys.prefix, sys.base_prefix, *(path for path in sys.path if path)}
    devices = [*DRIVER_DEVICES, *map(str, Path("/dev").glob("nvidia*"))]
    return [
        *((path, read) for path in (*DRIVER_FILES, *sorted(code))),
        *((path, device) for path in devices),
        (driver.scratch, ~0),
        # pocl's hwloc goes down from here. It sees names, not what is in files.
        ("/", _LANDLOCK_LIST),
    ]


def _allow_beneath(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    """Allow `rights` on a path and below it, if it exists."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not Path(path).is_dir():
        rights &= _LANDLOCK_OF_FILES
    attributes = struct.pack("<Qi", rights, place)
    path_beneath = 1
    libc.syscall(_SYS_LANDLOCK_ADD_RULE, ruleset, path_beneath, attributes, 0)
    os.close(place)


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def _filter_system_calls(libc: ctypes.CDLL, machine: str, *, is_driver: bool) -> bool:
    """Answer every system call but the allowed ones with EPERM, in all threads; false when that is not possible here.

    EPERM rather than death: which optional calls a C library tries differs from system to system.
    """
    if machine not in ALLOWED or struct.calcsize("P") != 8:
        return False
    program = driver_filter_program(machine) if is_driver else filter_program(machine, os.getpid())
    buffer = ctypes.create_string_buffer(program, len(program))
    head = _FilterProgram(len(program) // 8, ctypes.addressof(buffer))
    set_mode_filter, all_threads = 1, 1
    # prctl() would filter the calling thread only.
    installed: bool = libc.syscall(SECCOMP[machine], set_mode_filter, all_threads, ctypes.byref(head)) == 0
    return installed


def filter_program(machine: str, pid: int) -> bytes:
    """The seccomp filter for `machine` as BPF instructions of eight bytes each."""
    program = _filter_head(machine)
    for number in ALLOWED[machine].values():
        program.append(_instruction(_BPF_JUMP_EQUAL, 0, 1, number))
        program.append(_instruction(_BPF_RETURN, 0, 0, _ACTION_ALLOW))
    program += [
        _instruction(_BPF_JUMP_EQUAL, 0, 3, TGKILL[machine]),
        _instruction(_BPF_LOAD_WORD, 0, 0, _OFFSET_FIRST_ARGUMENT),
        _instruction(_BPF_JUMP_EQUAL, 0, 1, pid),
        _instruction(_BPF_RETURN, 0, 0, _ACTION_ALLOW),
        _instruction(_BPF_RETURN, 0, 0, _ACTION_EPERM),
    ]
    return b"".join(program)


def driver_filter_program(machine: str) -> bytes:
    """The seccomp filter of a worker with a driver inside."""
    program = _filter_head(machine)
    for number in DENIED_TO_DRIVERS[machine]:
        program.append(_instruction(_BPF_JUMP_EQUAL, 0, 1, number))
        program.append(_instruction(_BPF_RETURN, 0, 0, _ACTION_EPERM))
    program.append(_instruction(_BPF_RETURN, 0, 0, _ACTION_ALLOW))
    return b"".join(program)


def _instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _filter_head(machine: str) -> list[bytes]:
    """Load the call's number; whatever belongs to another architecture's numbering ends the process."""
    return [
        _instruction(_BPF_LOAD_WORD, 0, 0, _OFFSET_ARCHITECTURE),
        _instruction(_BPF_JUMP_EQUAL, 1, 0, _AUDIT_ARCHITECTURE[machine]),
        _instruction(_BPF_RETURN, 0, 0, _ACTION_KILL),
        _instruction(_BPF_LOAD_WORD, 0, 0, _OFFSET_NUMBER),
        # x86-64's second numbering of the same calls. No aarch64 call has a number that high either.
        _instruction(_BPF_JUMP_GREATER_EQUAL, 0, 1, _X32_BIT),
        _instruction(_BPF_RETURN, 0, 0, _ACTION_KILL),
    ]
