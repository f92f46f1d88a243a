"""Statements of a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from .expressions import ExpressionParser
from .flow import ways
from .reading import ATOMICS, PRIVATE_BYTES_MAX
from .syntax import (
    Assign,
    Atomic,
    Barrier,
    Block,
    Break,
    Constant,
    Continue,
    Declare,
    Element,
    Function,
    If,
    Loop,
    Perform,
    Read,
    Return,
    Switch,
)

if TYPE_CHECKING:
    from .reading import Meaning
    from .syntax import Expression, Scalar, Statement, Variable
    from .tokens import Token

STATEMENT_NESTING_MAX = 24
TABLE_BYTES_MAX = 16_384

_ASSIGNMENTS = {f"{operator}=": operator for operator in ("+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>")}


class StatementParser(ExpressionParser):
    """Reads blocks, and what may stand in them."""

    def __init__(self, words: list[Token]) -> None:
        super().__init__(words)
        self._globals: list[Variable] = []
        self._table_bytes = 0
        self._has_barrier = False

    def _block(self, scope: dict[str, Meaning] | None = None) -> Block:
        self._expect("{")
        self._depth += 1
        if self._depth > STATEMENT_NESTING_MAX:
            raise self._refuse(f"blocks go deeper than {STATEMENT_NESTING_MAX}")
        if scope is None:
            self._scopes.append({})
        statements: list[Statement] = []
        while not self._take("}"):
            if self._take(";"):
                continue
            if statements and isinstance(statements[-1], Break | Continue | Return):
                raise self._refuse("a statement follows what leaves the block")
            statements.append(self._statement())
        if scope is None:
            self._scopes.pop()
        self._depth -= 1
        return Block(tuple(statements))

    def _statement(self) -> Statement:
        self._operators = 0
        match self._word:
            case "{":
                return self._block()
            case "if":
                return self._if()
            case "loop":
                self._at += 1
                return self._ending(Loop(None, None, None, self._loop_body()))
            case "while":
                self._at += 1
                condition = self._condition()
                return Loop(None, condition, None, self._loop_body())
            case "for":
                return self._for()
            case "switch":
                return self._switch()
            case "const":
                self._constant()
                return Block(())
            case _:
                statement = self._simple()
                self._expect(";")
                return statement

    def _simple(self) -> Statement:
        """A statement that ends with a semicolon."""
        match self._word:
            case "let" | "var":
                return self._declaration()
            case "break":
                self._at += 1
                if not self._state.breakable:
                    raise self._refuse("break stands in a loop or a switch")
                return Break()
            case "continue":
                self._at += 1
                if not self._state.loops:
                    raise self._refuse("continue stands in a loop")
                return Continue()
            case "return":
                return self._return()
            case "workgroupBarrier":
                return self._barrier()
            case word if word in ATOMICS:
                return self._atomic()
            case _:
                function = self._find(self._word)
                return self._perform(function) if isinstance(function, Function) else self._assignment()

    def _declaration(self) -> Declare:
        is_mutable = self._next().text == "var"
        name = self._name()
        type_: Scalar | None = None
        length: int | None = None
        if self._take(":"):
            type_, length, is_atomic = self._memory_type(with_length=True)
            if is_atomic or (length is not None and not is_mutable):
                raise self._refuse("a function's array is var, and not atomic")
        if length is not None:
            assert type_ is not None
            self._add_private(length)
            variable = self._variable(name, "local", type_, length)
            variable.is_mutable = True
            self._declare(name, variable)
            return Declare(variable, None)
        value: Expression | None = None
        if self._take("="):
            value = self._expression(may_be_impure=True)
            value = self._concrete(value) if type_ is None else self._as(value, type_)
        elif not is_mutable or type_ is None:
            raise self._refuse(f"{name} needs a value, or as var a type")
        variable = self._variable(name, "local", type_ or cast("Scalar", cast("Expression", value).type))
        variable.is_mutable = is_mutable
        self._declare(name, variable)
        return Declare(variable, value)

    def _assignment(self) -> Assign:
        target = self._operand()
        if not isinstance(target, Read | Element) or not target.variable.is_mutable or target.variable.is_atomic:
            raise self._refuse("only a var can be assigned to")
        if target.variable.space != "local":
            self._state.is_pure = False
        token = self._next()
        if token.text in ("++", "--"):
            if target.type not in ("i32", "u32"):
                raise self._refuse(f"{token.text} does not take {target.type}")
            one = self._as(Constant("int", 1), target.type)
            return Assign(target, self._binary(token.text[0], target, one))
        value = self._expression()
        if token.text == "=":
            return Assign(target, self._as(value, target.type))
        if token.text not in _ASSIGNMENTS:
            raise self._refuse(f"= is expected, not {token.text}")
        return Assign(target, self._as(self._binary(_ASSIGNMENTS[token.text], target, value), target.type))

    def _perform(self, function: Function) -> Perform:
        self._at += 1
        call = self._call(function)
        if self._state.impure_calls[:-1] or (function.is_pure and self._state.impure_calls):
            raise self._refuse(f"{self._state.impure_calls[0].source_name} writes: call it alone")
        self._state.impure_calls.clear()
        return Perform(call)

    def _atomic(self) -> Atomic:
        function = self._next().text
        self._expect("(")
        element = self._address()
        self._expect(",")
        value = self._as(self._expression(), element.type)
        self._take(",")
        self._expect(")")
        family, variable = ATOMICS[function], element.variable
        if variable.family not in (None, family):
            raise self._refuse(f"{variable.source_name} is used with atomics that do not commute")
        variable.family = family
        self._state.is_pure = False
        return Atomic(function, family, element, value)

    def _barrier(self) -> Barrier:
        self._at += 1
        self._expect("(")
        self._expect(")")
        if not self._state.is_entry or self._depth != 1:
            raise self._refuse("a barrier stands in the entry point and in no inner block")
        self._has_barrier = True
        return Barrier()

    def _return(self) -> Return:
        self._at += 1
        self._state.has_return = True
        if self._is(";"):
            if self._state.type is not None:
                raise self._refuse("return needs a value here")
            return Return(None)
        value = self._expression()
        if self._state.type is None:
            raise self._refuse("this function returns nothing")
        return Return(self._as(value, self._state.type))

    def _condition(self) -> Expression:
        return self._as(self._expression(), "bool")

    def _if(self) -> If:
        self._expect("if")
        condition = self._condition()
        then = self._block()
        if not self._take("else"):
            return If(condition, then, None)
        if not self._is("if"):
            return If(condition, then, self._block())
        self._depth += 1
        if self._depth > STATEMENT_NESTING_MAX:
            raise self._refuse(f"blocks go deeper than {STATEMENT_NESTING_MAX}")
        otherwise = Block((self._if(),))
        self._depth -= 1
        return If(condition, then, otherwise)

    def _loop_body(self) -> Block:
        self._state.loops += 1
        self._state.breakable += 1
        body = self._block()
        self._state.loops -= 1
        self._state.breakable -= 1
        return body

    def _for(self) -> Loop:
        self._expect("for")
        self._scopes.append({})
        self._expect("(")
        first = condition = after = None
        if not self._is(";"):
            first = self._declaration() if self._word in ("let", "var") else self._assignment()
        self._expect(";")
        if not self._is(";"):
            condition = self._condition()
        self._expect(";")
        if not self._is(")"):
            after = self._assignment()
        self._expect(")")
        body = self._loop_body()
        self._scopes.pop()
        return self._ending(Loop(first, condition, after, body))

    def _ending(self, loop: Loop) -> Loop:
        if not ways(loop):
            raise self._refuse("a loop without a condition needs a break or a return")
        return loop

    def _switch(self) -> Switch:
        self._expect("switch")
        value = self._concrete(self._expression())
        if value.type not in ("i32", "u32"):
            raise self._refuse("a switch decides by i32 or u32")
        self._expect("{")
        cases: list[tuple[tuple[Constant, ...], Block]] = []
        seen: set[float] = set()
        otherwise: Block | None = None
        while not self._take("}"):
            if self._take("default"):
                self._take(":")
                if otherwise is not None:
                    raise self._refuse("a switch has one default")
                otherwise = self._case_body()
                continue
            self._expect("case")
            self._operators = 0
            selectors: list[Constant] = []
            while True:
                selector = self._as(self._expression(), cast("Scalar", value.type))
                if not isinstance(selector, Constant) or selector.value in seen:
                    raise self._refuse("a case is a constant, and none stands twice")
                seen.add(selector.value)
                selectors.append(selector)
                if not self._take(",") or self._is("{") or self._is(":"):
                    break
            self._take(":")
            cases.append((tuple(selectors), self._case_body()))
        if otherwise is None:
            raise self._refuse("a switch has a default")
        return Switch(value, tuple(cases), otherwise)

    def _case_body(self) -> Block:
        self._state.breakable += 1
        body = self._block()
        self._state.breakable -= 1
        return body

    def _constant(self) -> None:
        self._expect("const")
        name = self._name()
        type_ = self._scalar() if self._take(":") else None
        self._expect("=")
        if type_ is None and self._is("array"):
            self._table(name)
        else:
            value = self._expression()
            if not isinstance(value, Constant):
                raise self._refuse(f"{name} is not constant")
            self._declare(name, value if type_ is None else cast("Constant", self._as(value, type_)))
        self._expect(";")

    def _table(self, name: str) -> None:
        type_, length, is_atomic = self._memory_type(with_length=True)
        if is_atomic or length is None or len(self._scopes) > 1:
            raise self._refuse("a constant array stands outside of functions and holds plain values")
        self._expect("(")
        values: list[Constant] = []
        while not self._take(")"):
            self._operators = 0
            value = self._as(self._expression(), type_)
            if not isinstance(value, Constant):
                raise self._refuse(f"{name} is not constant")
            values.append(value)
            if not self._take(","):
                self._expect(")")
                break
        if len(values) != length:
            raise self._refuse(f"{name} has {length} elements, not {len(values)}")
        self._table_bytes += 4 * length
        if self._table_bytes > TABLE_BYTES_MAX:
            raise self._refuse(f"constant arrays have more than {TABLE_BYTES_MAX} bytes")
        table = self._variable(name, "table", type_, length)
        table.values = tuple(values)
        self._globals.append(table)
        self._declare(name, table)

    def _add_private(self, length: int) -> None:
        self._private_bytes += 4 * length
        if self._private_bytes > PRIVATE_BYTES_MAX:
            raise self._refuse(f"private arrays have more than {PRIVATE_BYTES_MAX} bytes")
