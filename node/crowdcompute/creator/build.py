"""From C to a module fit for voting, with nothing but PyPI: zig's C compiler, then the publish-time rewriter."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from crowdcompute.node.exits import CommandError, Exit
from crowdcompute.protocol.wasm import rewrite

# A reactor keeps its functions callable and imports nothing as long as no system call is used. The stack is part of
# linear memory: with zig's default of 16 MiB a fresh instance takes V8 five times as long (measured).
# Contracting a*b+c would round differently from every other compiler.
_FLAGS = ("-target", "wasm32-wasi", "-mexec-model=reactor", "-O3", "-s", "-ffp-contract=off")


def build(source: Path, stack_bytes: int) -> bytes:
    """Compile `source` and rewrite the outcome. The same source gives the same bytes on every machine.

    Raises:
        CommandError: The compiler is missing, or does not accept the source; its own words are in the message.
        ModuleRefused: The module breaks a rule of admission.
    """
    if importlib.util.find_spec("ziglang") is None:
        raise CommandError(
            "the C compiler is missing: run `pip install 'crowdcompute[build]'`, which brings zig", Exit.NOT_READY
        )
    if not source.is_file():
        raise CommandError(f"the source {source} of [code] does not exist", Exit.USAGE)
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / "module.wasm"
        command = [sys.executable, "-m", "ziglang", "cc", *_FLAGS, f"-Wl,-z,stack-size={stack_bytes}"]
        compiled = subprocess.run(
            [*command, "-o", str(module), str(source.absolute())], capture_output=True, text=True, check=False
        )
        if compiled.returncode != 0:
            raise CommandError(f"{source} does not compile:\n{compiled.stderr.strip()}")
        if compiled.stderr:
            print(compiled.stderr.rstrip(), file=sys.stderr)
        return rewrite(module.read_bytes())
