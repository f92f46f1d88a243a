"""What can be said about a task's code without running it, whatever its runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crowdcompute.protocol.gpu import open_package
from crowdcompute.protocol.javascript import decode_source
from crowdcompute.protocol.wasm import admit

from .javascript_lints import lint

if TYPE_CHECKING:
    from crowdcompute.protocol.manifest import Runtime


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """A task's code as admission sees it."""

    words: str
    """For people, on one line."""
    report: dict[str, Any]
    """For programs."""
    warnings: tuple[str, ...] = ()
    """What may make two engines disagree, a sentence each."""


def examine(runtime: Runtime, code: bytes) -> CodeFacts:
    """Look at code that may be anything.

    Raises:
        ModuleRefused: No volunteer would execute it.
    """
    if runtime == "js":
        source = decode_source(code)
        lines = source.count("\n") + (not source.endswith("\n"))
        return CodeFacts(
            words=f"{len(code):,} bytes, {lines:,} line{'s' if lines != 1 else ''} of JavaScript",
            report={"module_bytes": len(code), "shape": "javascript", "imports": [], "lines": lines},
            warnings=tuple(lint(source)),
        )
    if runtime == "gpu":
        task = open_package(code)
        module = task.package.fallback
        return CodeFacts(
            words=(
                f"{len(code):,} bytes, a kernel of {task.kernel.entry.weight:,} words in workgroups of "
                f"{task.kernel.workgroup_size}, {len(task.package.golden)} golden vectors, a fallback of "
                f"{len(module):,} bytes"
            ),
            report={
                "module_bytes": len(code),
                "shape": "kernel",
                "imports": [],
                "workgroup_size": task.kernel.workgroup_size,
                "fuel": task.package.fuel,
                "golden": len(task.package.golden),
                "fallback_bytes": len(module),
            },
        )
    if runtime == "net":
        return CodeFacts(words="none: nodes fetch what its chunks name", report={"module_bytes": len(code)})
    facts = admit(code)
    imports = f"imports {', '.join(facts.imports)}" if facts.imports else "no imports"
    shape = facts.shape.name.lower()
    return CodeFacts(
        words=f"{len(code):,} bytes, {facts.functions} functions, {shape}, {imports}",
        report={
            "module_bytes": len(code),
            "shape": shape,
            "imports": list(facts.imports),
            "functions": facts.functions,
        },
    )
