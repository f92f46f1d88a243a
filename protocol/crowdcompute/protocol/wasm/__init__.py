"""WebAssembly modules as bytes: which may be compiled, and how a compiler's output becomes one of them."""

from .admission import ModuleFacts, admit
from .rewriter import rewrite
from .rules import Rule, RuleBroken
from .survey import Shape

__all__ = ["ModuleFacts", "Rule", "RuleBroken", "Shape", "admit", "rewrite"]
