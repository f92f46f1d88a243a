"""What a module may be: every limit and every rule, by the name the specification gives it (spec/modules.md).

The browser peer holds the same table. A number changed here changes there and in the specification, in one commit.
"""

from __future__ import annotations

from enum import StrEnum

from crowdcompute.protocol.errors import ModuleRefused

PAGE_BYTES = 65_536

# Sources: spec/modules.md, "Limits". Unchecked, a single 5.5 MB function cost 40 s and 3.1 GB to compile; the largest
# body among the real modules we built was QuickJS's, with 53.7 KB.
MODULE_BYTES_MAX = 8 * 1024 * 1024
BODY_BYTES_MAX = 256 * 1024
INSTRUCTIONS_MAX = 120_000
FUNCTIONS_MAX = 20_000
TYPES_MAX = 10_000
PARAMETERS_MAX = 255
RESULTS_MAX = 16
IMPORTS_MAX = 64
EXPORTS_MAX = 256
GLOBALS_MAX = 10_000
SEGMENTS_MAX = 10_000
ELEMENTS_MAX = 100_000
LOCALS_MAX = 2_000
BRANCH_TARGETS_MAX = 8_192
NESTING_MAX = 512
MEMORY_PAGES_MAX = 4_096


class Rule(StrEnum):
    """The rule a refused module breaks. Values are stable: the vectors and the browser peer name them too."""

    MALFORMED = "malformed"
    MODULE_BYTES = "module-bytes"
    BODY_BYTES = "body-bytes"
    INSTRUCTIONS = "instructions"
    FUNCTIONS = "functions"
    TYPES = "types"
    PARAMETERS = "parameters"
    RESULTS = "results"
    IMPORTS = "imports"
    EXPORTS = "exports"
    GLOBALS = "globals"
    SEGMENTS = "segments"
    ELEMENTS = "elements"
    LOCALS = "locals"
    BRANCH_TARGETS = "branch-targets"
    NESTING = "nesting"
    MEMORY = "memory"
    MEMORY_PAGES = "memory-pages"
    MEMORY_MAXIMUM = "memory-maximum"
    TABLE = "table"
    TABLE_MAXIMUM = "table-maximum"
    FEATURE = "feature"
    IMPORT = "import"
    SHAPE = "shape"
    CUSTOM_SECTION = "custom-section"
    NAN = "nan"


class RuleBroken(ModuleRefused):
    """A module breaks `rule`. The message is one sentence that ends with the rule's name."""

    def __init__(self, rule: Rule, sentence: str) -> None:
        super().__init__(f"{sentence} (rule {rule})")
        self.rule = rule


def check_count(rule: Rule, count: int, maximum: int, what: str) -> None:
    """Raise `RuleBroken` when there are more than `maximum` of something."""
    if count > maximum:
        raise RuleBroken(rule, f"the module has {count} {what}; at most {maximum} are allowed")
