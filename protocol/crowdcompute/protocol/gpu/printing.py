"""A tree as text again: what all languages have in common (`wgsl.py`, `opencl.py`).

Brackets stand around everything, so nothing depends on precedences. A loop burns fuel at its head, an index goes
through a function that sees to it that it is one. Neither branches for what goes wrong, for devices that compute many
invocations in step would go both ways: what did is looked at once, when the entry point has returned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, assert_never

from .syntax import (
    Assign,
    Atomic,
    Barrier,
    Binary,
    Bitcast,
    Block,
    Break,
    Call,
    Constant,
    Continue,
    Convert,
    Declare,
    Element,
    If,
    Intrinsic,
    Length,
    Loaded,
    Loop,
    Perform,
    Read,
    Return,
    Switch,
    Unary,
)

if TYPE_CHECKING:
    from .syntax import Expression, Kernel, Statement, Variable

OUT_OF_FUEL, OUT_OF_BOUNDS = 1, 2
"""Bits of the status word. One that is set makes the chunk end without a result."""


class Printer(ABC):
    """One printing of one kernel; `lines` is the text so far.

    Args:
        fuel: Turns of loops that one invocation may take.
        shares: For each output, how many elements belong to each invocation; for atomics, all there are.
    """

    def __init__(self, kernel: Kernel, fuel: int, shares: tuple[int, ...]) -> None:
        self.kernel = kernel
        self.fuel = fuel
        self.shares = dict(zip((output.name for output in kernel.outputs), shares, strict=True))
        self.lines: list[str] = []
        self._indent = 0

    def line(self, text: str) -> None:
        self.lines.append("    " * self._indent + text)

    # ---- what differs

    @abstractmethod
    def constant(self, constant: Constant) -> str: ...

    @abstractmethod
    def place(self, variable: Variable) -> str:
        """How a variable is reached from inside a function."""

    @abstractmethod
    def index(self, index: str, last: str) -> str:
        """`index`, or the last one there is."""

    @abstractmethod
    def slot(self, index: str, last: str) -> str:
        """The same of the elements that belong to the invocation; `last` counts from the first of them."""

    @abstractmethod
    def input_length(self) -> str: ...

    @abstractmethod
    def input_last(self) -> str:
        """The last element of the input that there is; an empty input has one, for whoever reads it."""

    @abstractmethod
    def unsigned(self, text: str) -> str:
        """The bits of an i32 as u32."""

    @abstractmethod
    def unary(self, unary: Unary, operand: str) -> str: ...

    @abstractmethod
    def binary(self, binary: Binary, left: str, right: str) -> str: ...

    @abstractmethod
    def convert(self, convert: Convert, operand: str) -> str: ...

    @abstractmethod
    def bitcast(self, bitcast: Bitcast, operand: str) -> str: ...

    @abstractmethod
    def intrinsic(self, intrinsic: Intrinsic, arguments: list[str]) -> str: ...

    @abstractmethod
    def call(self, call: Call, arguments: list[str]) -> str: ...

    @abstractmethod
    def loaded(self, place: str) -> str: ...

    @abstractmethod
    def atomic(self, atomic: Atomic, place: str, value: str) -> str: ...

    @abstractmethod
    def declaration(self, variable: Variable, value: str | None) -> str:
        """Without the semicolon."""

    @abstractmethod
    def barrier(self) -> str: ...

    @abstractmethod
    def burn(self) -> str:
        """One unit of fuel; leaves the loop when there is none."""

    @abstractmethod
    def case(self, selectors: list[str]) -> str:
        """What stands before the block of a case; of the default without selectors."""

    @abstractmethod
    def end_of_case(self) -> str | None: ...

    # ---- expressions

    def expression(self, node: Expression) -> str:
        match node:
            case Constant():
                return self.constant(node)
            case Read(variable):
                return self.place(variable)
            case Element():
                return self.element(node)
            case Length():
                return self.input_length()
            case Unary():
                return self.unary(node, self.expression(node.operand))
            case Binary():
                return self.binary(node, self.expression(node.left), self.expression(node.right))
            case Convert():
                return self.convert(node, self.expression(node.operand))
            case Bitcast():
                return self.bitcast(node, self.expression(node.operand))
            case Intrinsic():
                return self.intrinsic(node, [self.expression(each) for each in node.arguments])
            case Call():
                return self.call(node, [self.expression(each) for each in node.arguments])
            case Loaded(element):
                return self.loaded(self.element(element))
            case _:
                assert_never(node)

    def element(self, element: Element) -> str:
        variable, index = element.variable, self.expression(element.index)
        if element.index.type == "i32":
            index = self.unsigned(index)
        if variable.space == "input":
            index = self.index(index, self.input_last())
        elif variable.space == "output":
            last = f"{self.shares[variable.name] - 1}u"
            index = self.index(index, last) if variable.is_atomic else self.slot(index, last)
        elif not isinstance(element.index, Constant):
            assert variable.length, "an array in memory has a length"
            index = self.index(index, f"{variable.length - 1}u")
        return f"{self.place(variable)}[{index}]"

    # ---- statements

    def block(self, block: Block, head: str, *, first: str | None = None, last: str | None = None) -> None:
        """`head {` … `}`, with a line before and after the block's own."""
        self.line(f"{head} {{" if head else "{")
        self._indent += 1
        if first is not None:
            self.line(first)
        for statement in block.statements:
            self.statement(statement)
        if last is not None:
            self.line(last)
        self._indent -= 1
        self.line("}")

    def statement(self, node: Statement) -> None:
        match node:
            case Block():
                if node.statements:
                    self.block(node, "")
            case If():
                self.block(node.then, f"if ({self.expression(node.condition)})")
                if node.otherwise is not None:
                    self.block(node.otherwise, "else")
            case Loop():
                condition = "" if node.condition is None else self.expression(node.condition)
                first, after = ("" if each is None else self.simple(each) for each in (node.first, node.after))
                self.block(node.body, f"for ({first}; {condition}; {after})", first=self.burn())
            case Switch():
                self.line(f"switch ({self.expression(node.value)}) {{")
                self._indent += 1
                for selectors, body in node.cases:
                    self.block(body, self.case([self.constant(each) for each in selectors]), last=self.end_of_case())
                self.block(node.otherwise, self.case([]), last=self.end_of_case())
                self._indent -= 1
                self.line("}")
            case _:
                self.line(f"{self.simple(node)};")

    def simple(self, node: Declare | Assign | Perform | Atomic | Barrier | Break | Continue | Return) -> str:
        match node:
            case Declare(variable, value):
                return self.declaration(variable, None if value is None else self.expression(value))
            case Assign(target, value):
                place = self.place(target.variable) if isinstance(target, Read) else self.element(target)
                return f"{place} = {self.expression(value)}"
            case Perform(call):
                return self.expression(call)
            case Atomic():
                return self.atomic(node, self.element(node.element), self.expression(node.value))
            case Barrier():
                return self.barrier()
            case Break():
                return "break"
            case Continue():
                return "continue"
            case Return(None):
                return "return"
            case Return(value):
                assert value is not None
                return f"return {self.expression(value)}"
            case _:
                assert_never(node)
