"""A function of this process as a kernel: its source, and that of what it uses, never an object.

    @portable                                    the function, still callable here, becomes a Kernel
    def hits(start, stop): ...
    executor.map(hits, range(0, 10**6, 10**4), range(10**4, 10**6 + 1, 10**4))

Its text travels as kernel.py of a task in Python (docs/task-toml.md). What it reads from its module goes along by its
kind: a module and what was imported from one as that import, a function as its source, a plain constant as it is
written. Anything else is refused, with the name of it.
"""

from __future__ import annotations

import ast
import inspect
import math
import sys
import tempfile
import textwrap
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from .kernel import Kernel, NotPortable

if TYPE_CHECKING:
    from collections.abc import Callable

_PLAIN = (bool, int, float, str, bytes, type(None))
_TASK = """schema = 1
name = "{name}"
[code]
module = "kernel.wasm"
source = "kernel.py"
[split]
range = [0, 1, 1]
[limits]
memory = "{memory}"
output = "{output}"
seconds = {seconds}
[verify]
replication = {replication}
eps = {eps}
"""


def portable(
    function: Callable[..., Any],
    *,
    memory: str = "64MiB",
    output: str = "1MiB",
    seconds: float = 60,
    replication: int = 2,
    eps: float = 0.05,
) -> Kernel[Any]:
    """`function` as a kernel that strangers can execute: arguments and result are what JSON can say.

    The rest is as in task.toml's [limits] and [verify].

    Raises:
        NotPortable: It uses something that cannot travel; the sentence names it.
        CommandError: It uses a module that kernels do not have.
    """
    source = source_of(function)
    with tempfile.TemporaryDirectory(prefix="cc-kernel-") as folder:
        (Path(folder) / "kernel.py").write_text(source, encoding="utf-8")
        (Path(folder) / "task.toml").write_text(
            _TASK.format(
                name=function.__name__[:80],
                memory=memory,
                output=output,
                seconds=seconds,
                replication=replication,
                eps=eps,
            )
        )
        return Kernel(folder)


def source_of(function: Callable[..., Any]) -> str:
    """The kernel.py of `function`.

    Raises:
        NotPortable: There is none.
    """
    parts: dict[str, tuple[object, str]] = {}
    _add_function(function, parts)
    lines = [text for _, text in parts.values()]
    if function.__name__ != "main":
        lines.append(f"main = {function.__name__}")
    return "\n".join(lines) + "\n"


def _add_function(function: object, parts: dict[str, tuple[object, str]]) -> None:
    """Append what `function` uses to `parts`, then itself."""
    if not isinstance(function, FunctionType):
        raise NotPortable(f"{function!r} is no function made with `def`")
    name = function.__name__
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        raise NotPortable(f"the source of {name} is nowhere to be found: write it to a file") from None
    definition = tree.body[0]
    if not isinstance(definition, ast.FunctionDef):
        raise NotPortable(f"{name} is no function made with `def`")
    if function.__closure__:
        raise NotPortable(
            f"{name} uses {', '.join(function.__code__.co_freevars)} of the function around it: make them arguments"
        )
    definition.decorator_list = []
    definition = _WithoutAnnotations().visit(definition)
    if name in parts and parts[name][0] is not function:
        raise NotPortable(f"two things are called {name}: rename one")
    parts[name] = function, ""  # so that a function may call itself
    for used in sorted({node.id for node in ast.walk(definition) if isinstance(node, ast.Name)}):
        if used in function.__globals__ and used != name:
            _add(used, function.__globals__[used], function, parts)
    del parts[name]
    parts[name] = function, ast.unparse(definition)


def _add(name: str, value: Any, user: FunctionType, parts: dict[str, tuple[object, str]]) -> None:
    if name in parts:
        if parts[name][0] is not value:
            raise NotPortable(f"two things are called {name}: rename one")
        return
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    if home and home.partition(".")[0] in sys.stdlib_module_names and home != "__main__":
        if isinstance(value, ModuleType):
            parts[name] = value, f"import {home} as {name}"
        elif _is_in(home, value):
            parts[name] = value, f"from {home} import {value.__name__} as {name}"
        else:
            raise _cannot_travel(name, value, user)
    elif isinstance(value, ModuleType):
        raise NotPortable(f"{user.__name__} uses the package {home}, and kernels have the standard library alone")
    elif isinstance(value, FunctionType):
        if value.__name__ != name:
            raise NotPortable(f"{user.__name__} uses {value.__name__} by the name {name}: use its own")
        _add_function(value, parts)
    elif _is_plain(value):
        parts[name] = value, f"{name} = {value!r}"
    else:
        raise _cannot_travel(name, value, user)


def _cannot_travel(name: str, value: object, user: FunctionType) -> NotPortable:
    kind = type(value).__name__
    return NotPortable(f"{user.__name__} uses {name}, a {kind}, which cannot travel: make it in the function")


def _is_in(home: str, value: Any) -> bool:
    """Whether `value` is what a module has by the name it calls itself."""
    return getattr(sys.modules.get(home), getattr(value, "__name__", ""), None) is value


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(item) for item in value)
    return isinstance(value, _PLAIN) and (not isinstance(value, float) or math.isfinite(value))


class _WithoutAnnotations(ast.NodeTransformer):
    """They name types that need not travel."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)
