"""What can be said about a task's code without running it, whatever its runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
            words=f"{len(code):,} bytes, {lines:,} lines of JavaScript",
            report={"module_bytes": len(code), "shape": "javascript", "imports": [], "lines": lines},
            warnings=tuple(lint(source)),
        )
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
