"""Build python.wasm.xz and library.xz from CPython's sources: python -m crowdcompute.creator.python.build SOURCES.

SOURCES is the archive that Debian's source package python3.11 has (`apt-get source --download-only python3.11`). It
takes zig (the extra [build]), make, and a Python 3.11 to freeze the first modules with: some five minutes of a core.
Not part of the tests: they hold that python.wasm is the file this made, by its hash.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import marshal
import os
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path

SOURCES_SHA256 = "2411c74bda5bbcfcddaf4531f66d1adc73f247f529aee981b029513aefdbf849"
HERE = Path(__file__).parent
FLAGS = "-O2 -DNDEBUG -fwrapv -ffp-contract=off"
WITHOUT = """
*disabled*
_asyncio _lsprof _opcode _pickle _queue _zoneinfo audioop _decimal _lzma zlib pyexpat _elementtree _codecs_cn
_codecs_hk _codecs_iso2022 _codecs_jp _codecs_kr _codecs_tw _multibytecodec unicodedata _crypt select _socket _uuid
_posixsubprocess fcntl mmap pwd grp resource termios syslog _ctypes _sqlite3 _dbm _gdbm readline _curses _curses_panel
nis ossaudiodev _bz2 _ssl _hashlib _scproxy _tkinter spwd xxlimited xxlimited_35 xxsubtype
"""
"""What asks for a system, or is larger than it is useful."""
CONFIGURE = (
    "--host=wasm32-unknown-wasi",
    "--build=x86_64-pc-linux-gnu",
    f"--with-build-python={sys.executable}",
    "--disable-ipv6",
    "--disable-test-modules",
    "--with-ensurepip=no",
    "--without-doc-strings",
    "--without-pymalloc",  # its arenas would be carried whole
    "ac_cv_prog_READELF=true",
    "ac_cv_header_libintl_h=no",
    "ac_cv_func_setgroups=no",
    "ac_cv_func_shutdown=no",
)
FROZEN = ("encodings", "encodings.aliases", "encodings.ascii", "encodings.latin_1", "encodings.utf_8")
"""What the interpreter needs to start."""
LIBRARY = """
__future__ _collections_abc _compat_pickle _pydecimal _strptime _weakrefset abc argparse ast base64 bisect calendar
cmd codecs collections collections.abc colorsys contextlib contextvars copy copyreg csv dataclasses datetime decimal
difflib dis enum fractions functools gettext graphlib hashlib heapq hmac html html.entities html.parser importlib
importlib._abc importlib.abc inspect io json json.decoder json.encoder json.scanner keyword linecache locale numbers
opcode operator pprint queue quopri random re re._casefix re._compiler re._constants re._parser reprlib sched secrets
shlex statistics string stringprep struct textwrap threading token tokenize traceback types typing uuid warnings weakref
"""
"""The modules of the standard library that a kernel may import, beside those in C. None needs a system."""
ANSWERED = ("environ_sizes_get", "random_get")
"""WASI calls that shell.c answers itself."""


def main() -> None:
    if sys.version_info[:2] != (3, 11):
        raise SystemExit("this takes a Python 3.11, whose bytecode is that of the interpreter to be")
    archive = Path(sys.argv[1]).read_bytes()
    if hashlib.sha256(archive).hexdigest() != SOURCES_SHA256:
        raise SystemExit(f"{sys.argv[1]} is not the archive with the SHA-256 {SOURCES_SHA256}")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as sources:
            sources.extractall(folder, filter="data")
        (sources_folder,) = Path(folder).glob("Python-*")
        sources_folder = sources_folder.rename(sources_folder.with_name("cpython"))
        module = compile_module(sources_folder)
        library = pack_library(sources_folder / "Lib")
    for name, data in (("python.wasm", module), ("library", library)):
        (HERE / f"{name}.xz").write_bytes(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))
        print(f"{name} {len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


def compile_module(sources: Path) -> bytes:
    zig = zig_folder()
    build = sources.with_name("build")
    (build / "Modules").mkdir(parents=True)
    (build / "Modules" / "Setup.local").write_text(WITHOUT)
    environment = {**os.environ, "CFLAGS": "-g0 -Wno-everything", "LDFLAGS": "-s", "SOURCE_DATE_EPOCH": "0"}
    environment["CONFIG_SITE"] = str(sources / "Tools" / "wasm" / "config.site-wasm32-wasi")
    for name, command in (("CC", "cc -target wasm32-wasi"), ("AR", "ar"), ("RANLIB", "ranlib")):
        tool = build.with_name(name)
        tool.write_text(f'#!/bin/sh\nexec {zig / "zig"} {command} "$@"\n')
        tool.chmod(0o700)
        environment[name] = str(tool)

    def run(*command: str | Path) -> None:
        subprocess.run([str(word) for word in command], cwd=build, env=environment, check=True)

    run(Path("..", sources.name, "configure"), *CONFIGURE)
    options = (f"OPT={FLAGS} -include {HERE / 'compat.h'}", f"PYTHON_FOR_FREEZE={sys.executable}")
    run("make", f"-j{os.cpu_count()}", *options, "MODULE_BINASCII_CFLAGS=", "libpython3.11.a")
    (build / "frozen_encodings.h").write_text("".join(frozen(name, sources / "Lib") for name in FROZEN))
    (build / "absent.h").write_text(absent_calls(zig))
    headers = [f"-I{place}" for place in (".", Path("..", sources.name, "Include"))]
    emulated = [f"-lwasi-emulated-{what}" for what in ("signal", "getpid", "process-clocks")]
    flags = (*FLAGS.split(), "-Wno-everything", "-mexec-model=reactor", "-s", "-Wl,-z,stack-size=1048576")
    run(build.with_name("CC"), *flags, *headers, HERE / "shell.c", "libpython3.11.a", *emulated, "-o", "python.wasm")
    return (build / "python.wasm").read_bytes()


def zig_folder() -> Path:
    found = find_spec("ziglang")
    if found is None or found.origin is None:
        raise SystemExit("zig is missing: pip install 'crowdcompute[build]'")
    return Path(found.origin).parent


def frozen(name: str, library: Path) -> str:
    """A module as an array of C: its code, marshalled."""
    path = library / name.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    code = marshal.dumps(compile(path.read_text(), f"<frozen {name}>", "exec", dont_inherit=True))
    return f"static const unsigned char frozen_{name.replace('.', '_')}[] = {{{','.join(map(str, code))}}};\n"


def absent_calls(zig: Path) -> str:
    """Every call of WASI that nobody answers, as a function that says so, instead of an import."""
    declared = (zig / "lib/libc/wasi/libc-bottom-half/sources/__wasilibc_real.c").read_text()
    calls = re.findall(r"^int32_t __imported_wasi_snapshot_preview1_(\w+)\(([^)]*)\)", declared, re.MULTILINE)
    assert len(calls) > 40, "zig declares them otherwise now"
    return "".join(
        f"int32_t __imported_wasi_snapshot_preview1_{name}({parameters}) {{ return 8; }}\n"
        for name, parameters in calls
        if name not in ANSWERED
    )


def pack_library(library: Path) -> bytes:
    """What a kernel may import, as entry.py reads it: name, whether it is a package, marshalled code."""
    packed = b""
    for name in sorted(LIBRARY.split()):
        path = library / name.replace(".", "/")
        is_package = path.is_dir()
        path = path / "__init__.py" if is_package else path.with_suffix(".py")
        # Without docstrings: nobody reads them, and every volunteer would fetch them.
        code = marshal.dumps(compile(path.read_text("utf-8"), f"{name}.py", "exec", dont_inherit=True, optimize=2))
        packed += struct.pack("<IIB", len(name), len(code), is_package) + name.encode() + code
    return packed


if __name__ == "__main__":
    main()
