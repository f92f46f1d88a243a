"""From a source to a module fit for voting, by a compiler from PyPI, npm or Debian, then the publish-time rewriter.

    .c  .zig    zig, from PyPI            a reactor without imports
    .rs         rustc, from Debian        a reactor without imports; linked by zig's wasm-ld
    .ts         AssemblyScript, from npm  a reactor without imports
    .go         go, from PyPI             a WASI command
    .py         CPython, part of this     a reactor without imports, 5 MB: the interpreter with the kernel loaded

The same source and the same compiler give the same bytes on every machine. Different compilers do not, nor need they:
votes are counted for one module, and its creator compiles it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.protocol.wasm import rewrite

from .data_segments import merge_data_segments
from .python import KernelRefused, make_module

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ZIG = (sys.executable, "-m", "ziglang")
_LINKER = """#!/bin/sh
# Without what only another build of the linker understands; and the metadata in Rust's archives is worth no error.
[ "$1" = -flavor ] && shift 2
for argument do
    shift
    [ "$argument" = --fatal-warnings ] || set -- "$@" "$argument"
done
exec PYTHON -m ziglang wasm-ld "$@"
"""
_C_MAIN = re.compile(r"^\s*int\s+main\s*\(", re.MULTILINE)
GO_VERSION_MIN = (1, 21)
"""The first that compiles for WASI."""


def build(source: Path, stack_bytes: int) -> bytes:
    """Compile `source` by the language its name ends in, and rewrite the outcome.

    Raises:
        CommandError: The compiler is missing, or does not accept the source; its own words are in the message.
        ModuleRefused: The module breaks a rule of admission.
    """
    compiler = _COMPILERS.get(source.suffix)
    if compiler is None:
        raise CommandError(
            f"no compiler for {source.name}: a source ends in {', '.join(_COMPILERS)}; compile it yourself to [code] "
            "module, and leave source out",
            Exit.USAGE,
        )
    if not source.is_file():
        raise CommandError(f"the source {source} of [code] does not exist", Exit.USAGE)
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / "module.wasm"
        compiler(source.absolute(), module, stack_bytes)
        return rewrite(module.read_bytes())


def _c(source: Path, module: Path, stack_bytes: int) -> None:
    # A reactor keeps its functions callable and imports nothing as long as no system call is used. The stack is part of
    # linear memory: with zig's default of 16 MiB a fresh instance takes V8 five times as long (measured).
    # A program with a `main` is a command, which has arguments, streams and savepoints.
    # Contracting a*b+c would round differently from every other compiler.
    model = "command" if _C_MAIN.search(source.read_text(encoding="utf-8", errors="replace")) else "reactor"
    flags = ("-target", "wasm32-wasi", f"-mexec-model={model}", "-O3", "-s", "-ffp-contract=off")
    _need_zig("the C compiler")
    _run(source, [*ZIG, "cc", *flags, f"-Wl,-z,stack-size={stack_bytes}", "-o", module, source])


def _zig(source: Path, module: Path, stack_bytes: int) -> None:
    _need_zig("the Zig compiler")
    flags = ("-target", "wasm32-freestanding", "-fno-entry", "-rdynamic", "-O", "ReleaseFast", "-fstrip")
    # Zig keeps a cache where it is started unless it is told where.
    cache = ("--cache-dir", module.parent / "cache")
    _run(source, [*ZIG, "build-exe", *flags, *cache, "--stack", stack_bytes, f"-femit-bin={module}", source])


def _rust(source: Path, module: Path, stack_bytes: int) -> None:
    rustc = _rustc()
    _need_zig("the linker for Rust")
    linker = module.with_name("wasm-ld")
    # rustc appends its own arguments: the linker has to be one program.
    linker.write_text(_LINKER.replace("PYTHON", shlex.quote(ZIG[0])))
    linker.chmod(0o700)
    options = ("opt-level=3", "panic=abort", "strip=symbols", "lto=fat", f"linker={linker}", "linker-flavor=wasm-ld")
    flags = [*(part for option in options for part in ("-C", option)), "-C", f"link-arg=-zstack-size={stack_bytes}"]
    target = ("--edition", "2021", "--crate-type", "cdylib", "--target", "wasm32-unknown-unknown")
    # Paths of this machine would end up in panics' messages, and so in the module.
    flags += ["--remap-path-prefix", f"{source.parent}=."]
    _run(source, [rustc, *target, *flags, "-o", module, source])


def _assemblyscript(source: Path, module: Path, stack_bytes: int) -> None:
    found = [folder / "node_modules" / "assemblyscript" / "bin" / "asc.js" for folder in source.parents]
    compiler = next((path for path in found if path.is_file()), None)
    if shutil.which("node") is None:
        raise CommandError(
            "AssemblyScript needs Node, and there is no `node`: install it from nodejs.org", Exit.NOT_READY
        )
    if compiler is None:
        raise CommandError(
            f"the AssemblyScript compiler is missing: run `npm install` in {source.parent}; its package.json names it",
            Exit.NOT_READY,
        )
    # `abort` would be an import; without it a broken assertion is a trap. Top-level statements run in _initialize.
    flags = ("--runtime", "stub", "--use", "abort=", "-O3", "--exportStart", "_initialize")
    _run(source, ["node", compiler, source.name, *flags, "-o", module], cwd=source.parent)


def _go(source: Path, module: Path, stack_bytes: int) -> None:
    go = shutil.which("go", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))
    if go is None or _go_version(go) < GO_VERSION_MIN:
        raise CommandError(
            "the Go compiler is missing, or older than 1.21: run `pip install 'crowdcompute[go]'`, which brings one",
            Exit.NOT_READY,
        )
    flags = ("build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w")
    _run(source, [go, *flags, "-o", module, source], GOOS="wasip1", GOARCH="wasm", GOFLAGS="", GO111MODULE="off")
    module.write_bytes(merge_data_segments(module.read_bytes()))


def build_python(source: Path, *, json_arguments: bool = False) -> bytes:
    """The rewritten module of a kernel in Python; with `json_arguments`, chunks hold them as an array of JSON.

    Raises:
        CommandError: Its top level raises something; the message holds the traceback.
        ModuleRefused: With all that it imports it is too large.
    """
    try:
        text = source.read_bytes()
    except OSError as error:
        raise CommandError(f"{source} cannot be read: {error.strerror}", Exit.USAGE) from None
    try:
        return rewrite(make_module(text, json_arguments=json_arguments))
    except KernelRefused as refused:
        raise CommandError(f"{source} cannot be loaded:\n{refused}") from None


def _python(source: Path, module: Path, stack_bytes: int) -> None:
    module.write_bytes(build_python(source))


_COMPILERS: dict[str, Callable[[Path, Path, int], None]] = {
    ".c": _c,
    ".zig": _zig,
    ".rs": _rust,
    ".ts": _assemblyscript,
    ".go": _go,
    ".py": _python,
}


def _need_zig(what: str) -> None:
    if importlib.util.find_spec("ziglang") is None:
        raise CommandError(
            f"{what} is missing: run `pip install 'crowdcompute[build]'`, which brings zig", Exit.NOT_READY
        )


def _rustc() -> str:
    """A Rust compiler that knows WebAssembly: a machine may have one from rustup and one from Debian."""
    named = os.environ.get("RUSTC")
    for candidate in dict.fromkeys((named, shutil.which("rustc"), "/usr/bin/rustc")):
        if candidate is None or not Path(candidate).is_file():
            continue
        asked = [candidate, "--target", "wasm32-unknown-unknown", "--print", "target-libdir"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        if answer and any(Path(answer).glob("libstd-*")):
            return candidate
    raise CommandError(
        "no rustc here compiles to WebAssembly: on Debian `apt-get install rustc libstd-rust-dev-wasm32`, with rustup "
        "`rustup target add wasm32-unknown-unknown`",
        Exit.NOT_READY,
    )


def _go_version(go: str) -> tuple[int, ...]:
    words = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout.split()
    numbers = words[2].removeprefix("go").split(".") if len(words) > 2 else []
    return tuple(int(number) for number in numbers[:2] if number.isdigit())


def _run(source: Path, command: Sequence[object], *, cwd: Path | None = None, **environment: str) -> None:
    compiled = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
    )
    said = compiled.stderr.strip() or compiled.stdout.strip()
    if compiled.returncode != 0:
        raise CommandError(f"{source} does not compile:\n{said}")
    if compiled.stderr.strip():
        print(compiled.stderr.rstrip(), file=sys.stderr)
