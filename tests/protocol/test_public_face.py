"""The package's docstring lists its public modules; this keeps the list true."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import crowdcompute.protocol

ROOT = Path(__file__).parent.parent.parent
MODULES = Path(crowdcompute.protocol.__path__[0])
PUBLIC = dict(re.findall(r"^    ([a-z_]+)  +(\S.*)$", crowdcompute.protocol.__doc__ or "", re.MULTILINE))


def imported(path: Path) -> set[str]:
    """Modules of the protocol that a source file imports, type checking included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = (
                [node.module]
                if node.module != "crowdcompute.protocol"
                else [f"{node.module}.{alias.name}" for alias in node.names]
            )
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found.update(name.split(".")[2] for name in names if name.startswith("crowdcompute.protocol."))
    return found


@pytest.mark.parametrize("name", PUBLIC)
def test_a_listed_module_exists_and_says_what_it_is(name: str) -> None:
    module = importlib.import_module(f"crowdcompute.protocol.{name}")
    assert module.__doc__


def test_the_names_the_list_promises_are_there() -> None:
    for name, what in PUBLIC.items():
        module = importlib.import_module(f"crowdcompute.protocol.{name}")
        for promised in re.findall(r"\b[A-Z][a-z]+[A-Za-z]*\b", what):
            assert hasattr(module, promised) or promised == "MessagePack", f"{name} has no {promised}"


def test_other_packages_use_only_what_is_listed() -> None:
    for package in ("node", "signaling", "simulations"):
        for path in (ROOT / package).rglob("*.py"):
            assert imported(path) <= PUBLIC.keys(), path


def test_every_module_says_what_it_is() -> None:
    for path in MODULES.rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_one_module_does_not_bring_all_others_with_it() -> None:
    code = "import sys, crowdcompute.protocol.errors; print('crowdcompute.protocol.peer' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
