"""What in a JavaScript source may make two engines disagree, although the prelude does what it can.

Heuristics over text, for a creator's eyes: nobody is refused for one, and none finds everything. Running samples in
both engines (`cc-task check`) is the test; this says where to look.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_CODE = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`""", re.DOTALL)
"""Comments and texts. Code inside a template's ${} is lost with it."""

_LINTS = (
    (
        re.compile(r"\*\*=?"),
        "`**` is computed by each engine in its own way, and only whole numbers are safe: use Math.pow",
    ),
    (
        re.compile(r"\.localeCompare\b"),
        "localeCompare compares by code unit here, not by any language: sort with < to say so",
    ),
    (re.compile(r"\.toLocale\w*"), "toLocale… knows no language here: it is the same as the method without Locale"),
    (re.compile(r"\.toString\(\s*[^)\s]"), "toString(radix) prints at most 52 bits of a fraction here"),
    (
        re.compile(r"\.(?:sort|toSorted)\(\s*\([\w$]+,\s*[\w$]+\)\s*=>\s*[\w$.\[\]]+\s*[<>]=?\s*[\w$.\[\]]+\s*\)"),
        "a comparator that returns true or false contradicts itself: return a negative number, 0 or a positive one",
    ),
    (
        re.compile(r"\.(?:sort|toSorted)\([^;]*Math\.random"),
        "a random comparator does not shuffle: swap elements instead",
    ),
    (re.compile(r"\bDate\b"), "the clock stands still at 1970-01-01T00:00:00Z, in UTC"),
    (
        re.compile(r"\b(?:Intl|WeakRef|FinalizationRegistry|Atomics|SharedArrayBuffer|WebAssembly|Promise)\b"),
        "there is no {}",
    ),
    (
        re.compile(
            r"\b(?:fetch|XMLHttpRequest|WebSocket|Worker|document|window|process|require|setTimeout|setInterval)\b"
        ),
        "there is no {}: a task computes, and reaches nothing",
    ),
    (
        re.compile(r"\bnew\s+Float(?:32|64)Array\b[^;]*\.buffer\b"),
        "the bits of a NaN differ between engines: return the Float64Array itself, whose NaNs are made equal",
    ),
    (
        re.compile(r"\bcatch\b"),
        "what the engine itself throws (its words, and when memory or stack end) differs between engines: "
        "let nothing of a caught error get into the result",
    ),
    (
        re.compile(r"\.normalize\(|\\p\{"),
        "which characters are letters or equal depends on an engine's Unicode version",
    ),
)


def lint(source: str) -> Iterator[str]:
    """Warnings with line numbers, in the order of the lines."""
    code = _NO_CODE.sub(lambda hidden: re.sub(r"[^\n]", " ", hidden[0]), source)
    found = sorted(
        (code.count("\n", 0, match.start()) + 1, advice.format(match[0]))
        for pattern, advice in _LINTS
        for match in pattern.finditer(code)
    )
    for line, advice in found:
        yield f"line {line}: {advice}"
