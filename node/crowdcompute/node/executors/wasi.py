"""The WASI preview 1 subset a command sees: one deterministic world per chunk (spec/modules.md, "WASI subset").

Nothing here reaches the outside. The clock moves when it is read, randomness comes from the chunk's seed, and there
are three streams, and a place for one savepoint. Each function checks its descriptor, then its counts, then every
range of memory it will touch, and only then acts; a range outside memory ends the chunk without a result.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Protocol, TypeAlias

import msgspec
import wasmtime

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Keep: TypeAlias = Callable[[int, Callable[[], bytes]], None]
    """Is offered every savepoint: its number, and how to make the state to go on from."""

MODULE = "wasi_snapshot_preview1"

SUCCESS, BADF, INVAL, NOSYS, SPIPE = 0, 8, 28, 52, 70

TICK_NS = 1_000_000
"""What one reading of the clock advances it by; also its resolution."""
RANDOM_BYTES_MAX = 65_536
VECTORS_MAX = 1_024
SUBSCRIPTIONS_MAX = 1_024
CLOCKS = 4
SAVEPOINT = 3
"""The descriptor that savepoints are read from and written to."""
SAVEPOINT_BYTES_MAX = 1024 * 1024
STDERR_BYTES_KEPT = 1_024
"""The end of what a chunk wrote to stderr goes into the detail of a failure; the rest is dropped."""

_U32, _U64 = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF
_RIGHT_READ, _RIGHT_WRITE = 1 << 1, 1 << 6


class EndOfChunk(Exception):
    """Raised in a host function to leave the guest; the reason is kept in `Wasi`."""


class Memory(Protocol):
    """The guest's memory during one chunk. Ranges are checked by the caller of these."""

    def size(self) -> int: ...
    def read(self, start: int, count: int) -> bytes: ...
    def write(self, start: int, data: bytes) -> None: ...


class _Saved(msgspec.Struct, frozen=True, array_like=True):
    """All that a program needs to go on as if it had never stopped: its own words, and what it has observed."""

    savepoint: bytes
    output: bytes
    stdin_position: int
    clock_ns: int
    random_state: int
    number: int
    """Of the savepoint: how many the program has written, this one included, and none that repeats the one before."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Saved)


class Wasi:
    """The host's side of one program's imports; `begin` makes it new for every chunk."""

    def __init__(self, output_bytes_max: int) -> None:
        self._output_bytes_max = output_bytes_max
        self.begin((), b"", 0)

    def begin(
        self, arguments: Sequence[bytes], stdin: bytes, seed: int, state: bytes = b"", keep: Keep | None = None
    ) -> None:
        """Forget the last chunk. Until `memory` is set, calls end the chunk: no export exists yet.

        With `state`, which `keep` was offered in an earlier execution, go on from there; whenever the program writes a
        savepoint, `keep` is offered the state by which it could go on.
        """
        self.memory: Memory | None = None
        self.exit_code: int | None = None
        self.failure = ""
        self.stderr = b""
        self._arguments = [argument + b"\0" for argument in arguments]
        self._stdin, self._stdin_position = stdin, 0
        self._stdout: list[bytes] = []
        self._stdout_bytes = 0
        self._clock_ns = 0
        self._random_state = seed & _U64
        self._savepoint, self._savepoint_position, self._number = b"", 0, 0
        self._saved_at: tuple[bytes, int, int, int, int] | None = None
        self._keep = keep
        if state:
            saved = _decoder.decode(state)
            self._savepoint = saved.savepoint
            self._stdout, self._stdout_bytes = [saved.output], len(saved.output)
            self._stdin_position, self._clock_ns = saved.stdin_position, saved.clock_ns
            self._random_state, self._number = saved.random_state, saved.number
            observed = self._stdin_position, self._clock_ns, self._random_state
            self._saved_at = (self._savepoint, self._stdout_bytes, *observed)

    def output(self) -> bytes:
        return b"".join(self._stdout)

    def define(self, linker: wasmtime.Linker, module: wasmtime.Module) -> None:
        """Give `linker` what `module` imports. Functions we do not know answer `nosys`."""
        linker.allow_shadowing = True  # a module may import one function twice
        for item in module.imports:
            if item.module != MODULE or not isinstance(item.type, wasmtime.FuncType) or item.name is None:
                raise ValueError(f"the module imports {item.module!r} {item.name!r}")
            linker.define_func(item.module, item.name, item.type, _FUNCTIONS.get(item.name, Wasi._nosys).__get__(self))

    # ---- memory

    def _check(self, *ranges: tuple[int, int]) -> Memory:
        if self.memory is None:
            raise self._end("a system call before the module was ready")
        size = self.memory.size()
        if any(start + count > size for start, count in ranges):
            raise self._end("a system call outside memory")
        return self.memory

    def _end(self, failure: str) -> EndOfChunk:
        self.failure = failure
        return EndOfChunk()

    def _vectors(self, vectors: int, count: int, done: int) -> tuple[Memory, list[tuple[int, int]]]:
        """The (start, length) pairs of a scatter or gather list, all of them inside memory."""
        memory = self._check((vectors, 8 * count), (done, 4))
        flat = struct.unpack(f"<{2 * count}I", memory.read(vectors, 8 * count))
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        self._check(*pairs)
        return memory, pairs

    # ---- arguments and environment

    def _args_sizes_get(self, count: int, size: int) -> int:
        count, size = count & _U32, size & _U32
        memory = self._check((count, 4), (size, 4))
        memory.write(count, struct.pack("<I", len(self._arguments)))
        memory.write(size, struct.pack("<I", sum(map(len, self._arguments))))
        return SUCCESS

    def _args_get(self, pointers: int, buffer: int) -> int:
        pointers, buffer = pointers & _U32, buffer & _U32
        text = b"".join(self._arguments)
        memory = self._check((pointers, 4 * len(self._arguments)), (buffer, len(text)))
        starts = []
        for argument in self._arguments:
            starts.append(buffer)
            buffer += len(argument)
        memory.write(pointers, struct.pack(f"<{len(starts)}I", *starts))
        memory.write(buffer - len(text), text)
        return SUCCESS

    def _environ_sizes_get(self, count: int, size: int) -> int:
        count, size = count & _U32, size & _U32
        memory = self._check((count, 4), (size, 4))
        memory.write(count, bytes(4))
        memory.write(size, bytes(4))
        return SUCCESS

    def _environ_get(self, _pointers: int, _buffer: int) -> int:
        return SUCCESS

    # ---- time and chance

    def _clock_res_get(self, clock: int, result: int) -> int:
        if not 0 <= clock < CLOCKS:
            return INVAL
        result &= _U32
        self._check((result, 8)).write(result, struct.pack("<Q", TICK_NS))
        return SUCCESS

    def _clock_time_get(self, clock: int, _precision: int, result: int) -> int:
        if not 0 <= clock < CLOCKS:
            return INVAL
        result &= _U32
        memory = self._check((result, 8))
        self._clock_ns = min(self._clock_ns + TICK_NS, _U64)
        memory.write(result, struct.pack("<Q", self._clock_ns))
        return SUCCESS

    def _random_get(self, start: int, count: int) -> int:
        start, count = start & _U32, count & _U32
        if count > RANDOM_BYTES_MAX:
            return INVAL
        memory = self._check((start, count))
        words = [self._random_word() for _ in range(-(-count // 8))]
        memory.write(start, struct.pack(f"<{len(words)}Q", *words)[:count])
        return SUCCESS

    def _random_word(self) -> int:
        """splitmix64: what is left of a word at the end of a call is thrown away."""
        self._random_state = (self._random_state + 0x9E37_79B9_7F4A_7C15) & _U64
        word = self._random_state
        word = ((word ^ (word >> 30)) * 0xBF58_476D_1CE4_E5B9) & _U64
        word = ((word ^ (word >> 27)) * 0x94D0_49BB_1331_11EB) & _U64
        return word ^ (word >> 31)

    def _poll_oneoff(self, subscriptions: int, events: int, count: int, done: int) -> int:
        """Everything waited for has happened at once; only the clock moves, by what was waited for in turn."""
        subscriptions, events, count, done = subscriptions & _U32, events & _U32, count & _U32, done & _U32
        if not 0 < count <= SUBSCRIPTIONS_MAX:
            return INVAL
        memory = self._check((subscriptions, 48 * count), (events, 32 * count), (done, 4))
        asked = memory.read(subscriptions, 48 * count)
        answers, clock_ns = [], self._clock_ns
        for position in range(0, len(asked), 48):
            kind = asked[position + 8]
            if kind > 2:
                return INVAL
            if kind == 0:
                timeout_ns, flags = struct.unpack_from("<Q8xH", asked, position + 24)
                clock_ns = max(clock_ns, timeout_ns) if flags & 1 else min(clock_ns + timeout_ns, _U64)
            answers.append(asked[position : position + 8] + struct.pack("<HB21x", SUCCESS, kind))
        self._clock_ns = clock_ns
        memory.write(events, b"".join(answers))
        memory.write(done, struct.pack("<I", count))
        return SUCCESS

    # ---- streams

    def _fd_read(self, descriptor: int, vectors: int, count: int, done: int) -> int:
        vectors, count, done = vectors & _U32, count & _U32, done & _U32
        if descriptor not in (0, SAVEPOINT):
            return BADF
        if count > VECTORS_MAX:
            return INVAL
        memory, pairs = self._vectors(vectors, count, done)
        if descriptor == 0:
            source, position = self._stdin, self._stdin_position
        else:
            source, position = self._savepoint, self._savepoint_position
        begin = position
        for start, length in pairs:
            piece = source[position : position + length]
            memory.write(start, piece)
            position += len(piece)
        if descriptor == 0:
            self._stdin_position = position
        else:
            self._savepoint_position = position
        memory.write(done, struct.pack("<I", position - begin))
        return SUCCESS

    def _fd_write(self, descriptor: int, vectors: int, count: int, done: int) -> int:
        vectors, count, done = vectors & _U32, count & _U32, done & _U32
        if descriptor not in (1, 2, SAVEPOINT):
            return BADF
        if count > VECTORS_MAX:
            return INVAL
        memory, pairs = self._vectors(vectors, count, done)
        total = sum(length for _, length in pairs)
        if total > (SAVEPOINT_BYTES_MAX if descriptor == SAVEPOINT else _U32):
            return INVAL
        if descriptor == 1:
            self._stdout_bytes += total
            if self._stdout_bytes > self._output_bytes_max:
                raise self._end("output limit")
            self._stdout.extend(memory.read(start, length) for start, length in pairs)
        elif descriptor == SAVEPOINT:
            self._offer(memory, pairs)
        else:
            for start, length in pairs:
                kept = min(length, STDERR_BYTES_KEPT)
                self.stderr = (self.stderr + memory.read(start + length - kept, kept))[-STDERR_BYTES_KEPT:]
        memory.write(done, struct.pack("<I", total))
        return SUCCESS

    def _offer(self, memory: Memory, pairs: list[tuple[int, int]]) -> None:
        """One write is one savepoint. Whether anybody keeps it, the program does not learn."""

        if self._keep is None:
            return
        savepoint = b"".join(memory.read(start, length) for start, length in pairs)
        observed = self._stdin_position, self._clock_ns, self._random_state
        # Who goes on from a savepoint often writes it again first: that is the same one, with the same number.
        at = (savepoint, self._stdout_bytes, *observed)
        if at != self._saved_at:
            self._saved_at = at
            self._number += 1
        self._keep(self._number, lambda: _encoder.encode(_Saved(savepoint, self.output(), *observed, self._number)))

    def _fd_close(self, descriptor: int) -> int:
        return SUCCESS if 0 <= descriptor <= SAVEPOINT else BADF

    def _fd_seek(self, descriptor: int, _offset: int, _whence: int, _result: int) -> int:
        return SPIPE if 0 <= descriptor <= SAVEPOINT else BADF

    def _fd_tell(self, descriptor: int, _result: int) -> int:
        return SPIPE if 0 <= descriptor <= SAVEPOINT else BADF

    def _fd_fdstat_get(self, descriptor: int, result: int) -> int:
        if not 0 <= descriptor <= SAVEPOINT:
            return BADF
        result &= _U32
        # Of unknown type, like a pipe: a C library then buffers instead of writing line by line.
        rights = (_RIGHT_READ, _RIGHT_WRITE, _RIGHT_WRITE, _RIGHT_READ | _RIGHT_WRITE)[descriptor]
        self._check((result, 24)).write(result, struct.pack("<8xQ8x", rights))
        return SUCCESS

    def _fd_fdstat_set_flags(self, descriptor: int, _flags: int) -> int:
        return SUCCESS if 0 <= descriptor <= SAVEPOINT else BADF

    def _fd_prestat_get(self, _descriptor: int, _result: int) -> int:
        return BADF

    def _fd_prestat_dir_name(self, _descriptor: int, _path: int, _length: int) -> int:
        return BADF

    # ---- the rest

    def _sched_yield(self) -> int:
        return SUCCESS

    def _proc_exit(self, code: int) -> None:
        self.exit_code = code & _U32
        raise EndOfChunk

    def _nosys(self, *_arguments: int) -> int:
        return NOSYS


_FUNCTIONS: dict[str, Callable[..., int | None]] = {
    name: getattr(Wasi, f"_{name}")
    for name in (
        "args_sizes_get",
        "args_get",
        "environ_sizes_get",
        "environ_get",
        "clock_res_get",
        "clock_time_get",
        "random_get",
        "poll_oneoff",
        "fd_read",
        "fd_write",
        "fd_close",
        "fd_seek",
        "fd_tell",
        "fd_fdstat_get",
        "fd_fdstat_set_flags",
        "fd_prestat_get",
        "fd_prestat_dir_name",
        "sched_yield",
        "proc_exit",
    )
}
