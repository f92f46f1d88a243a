"""Expressions of a kernel: read, typed, and computed where they are constant."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from . import constants
from .constants import Unusable
from .reading import PRIVATE_BYTES_MAX, SCALARS, Builtin, Reading, Uniform
from .syntax import (
    FLOAT_INTRINSICS,
    INTEGER_INTRINSICS,
    INTRINSICS,
    Binary,
    Bitcast,
    Call,
    Constant,
    Convert,
    Element,
    Function,
    Intrinsic,
    Length,
    Loaded,
    Read,
    Unary,
    Variable,
)

if TYPE_CHECKING:
    from .syntax import Expression, Scalar, Type

OPERATORS_MAX = 64
"""In one statement: engines parse and fold them recursively."""
WEIGHT_MAX = 65_536
"""Words after every call has been replaced by what it calls, which is what engines compile."""

COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


class ExpressionParser(Reading):
    """Reads expressions, and the types that stand beside them."""

    def _scalar(self) -> Scalar:
        token = self._words[self._at]
        if token.text not in SCALARS:
            raise self._refuse(f"bool, i32, u32 or f32 is expected, not {token.text}")
        self._at += 1
        self._uses_floats |= token.text == "f32"
        return cast("Scalar", token.text)

    def _memory_type(self, *, with_length: bool) -> tuple[Scalar, int | None, bool]:
        """A scalar or an array: its scalar, its length (None for a scalar), and whether it is atomic."""
        if not self._take("array"):
            return self._scalar(), None, False
        self._expect("<")
        is_atomic = self._take("atomic")
        if is_atomic:
            self._expect("<")
        type_ = self._scalar()
        if is_atomic:
            if type_ not in ("i32", "u32"):
                raise self._refuse("an atomic is i32 or u32")
            self._close_angle()
        length = 0
        if self._take(","):
            length = self._array_length()
        self._close_angle()
        if (length > 0) != with_length:
            raise self._refuse("an array needs a length, but in storage it has none")
        return type_, length, is_atomic

    def _array_length(self) -> int:
        """The length in an array's type. A sum would need brackets, since `>` ends the type."""
        value = self._primary()
        if not isinstance(value, Constant) or value.type not in ("int", "i32", "u32"):
            raise self._refuse("the length of an array is a constant whole number")
        if not 1 <= value.value <= PRIVATE_BYTES_MAX // 4:
            raise self._refuse(f"an array has 1 to {PRIVATE_BYTES_MAX // 4} elements")
        return int(value.value)

    def _expression(self, *, may_be_impure: bool = False) -> Expression:
        """A whole expression. Where a function that writes is called, it is all there is."""
        outer, self._state.impure_calls = self._state.impure_calls, []
        value = self._logical()
        calls, self._state.impure_calls = self._state.impure_calls, outer
        if calls and not (may_be_impure and len(calls) == 1 and isinstance(value, Call) and value.function is calls[0]):
            raise self._refuse(f"{calls[0].source_name} writes: call it alone, as in let x = {calls[0].source_name}()")
        return value

    def _logical(self) -> Expression:
        value, is_unary = self._relation()
        for operator in ("&&", "||"):
            if self._is(operator):
                while self._take(operator):
                    value = self._binary(operator, value, self._relation()[0])
                return value
        for operator in ("&", "|", "^"):
            if self._is(operator):
                if not is_unary:
                    raise self._refuse(f"what stands beside {operator} needs brackets")
                while self._take(operator):
                    value = self._binary(operator, value, self._unary())
                return value
        return value

    def _relation(self) -> tuple[Expression, bool]:
        value, is_unary = self._shift()
        if self._word in COMPARISONS and self._words[self._at].kind == "mark":
            operator = self._next().text
            return self._binary(operator, value, self._shift()[0]), False
        return value, is_unary

    def _shift(self) -> tuple[Expression, bool]:
        value, is_unary = self._sum()
        if self._word in ("<<", ">>"):
            operator = self._next().text
            if not is_unary:
                raise self._refuse(f"what stands beside {operator} needs brackets")
            return self._binary(operator, value, self._unary()), False
        return value, is_unary

    def _sum(self) -> tuple[Expression, bool]:
        value, is_unary = self._product()
        while self._word in ("+", "-"):
            operator = self._next().text
            value, is_unary = self._binary(operator, value, self._product()[0]), False
        return value, is_unary

    def _product(self) -> tuple[Expression, bool]:
        value, is_unary = self._unary(), True
        while self._word in ("*", "/", "%"):
            operator = self._next().text
            value, is_unary = self._binary(operator, value, self._unary()), False
        return value, is_unary

    def _count_operator(self) -> None:
        self._operators += 1
        if self._operators > OPERATORS_MAX:
            raise self._refuse(f"an expression has more than {OPERATORS_MAX} operators")

    def _unary(self) -> Expression:
        operator = self._word
        if operator not in ("-", "!", "~"):
            operand = self._operand()
            if isinstance(operand, Element) and operand.variable.is_atomic:
                raise self._refuse("an atomic is used by atomic functions alone")
            return operand
        self._at += 1
        self._count_operator()
        operand = self._unary()
        allowed: dict[str, tuple[Type, ...]] = {
            "-": ("i32", "f32", "int", "float"),
            "!": ("bool",),
            "~": ("i32", "u32", "int"),
        }
        if operand.type not in allowed[operator]:
            raise self._refuse(f"{operator} does not take {operand.type}")
        if isinstance(operand, Constant):
            try:
                match operator:
                    case "-":
                        return constants.negated(operand)
                    case "~":
                        return constants.complement(operand)
                    case _:
                        return Constant("bool", not operand.value)
            except Unusable as why:
                raise self._refuse(str(why)) from None
        return Unary(operator, operand, operand.type)

    def _binary(self, operator: str, left: Expression, right: Expression) -> Expression:
        self._count_operator()
        if operator in ("<<", ">>"):
            return self._shifted(operator, left, right)
        if left.type != right.type:
            left, right = self._met(left, right)
        type_ = left.type
        if type_ != right.type:
            raise self._refuse(f"{operator} stands between {left.type} and {right.type}: convert one of them")
        if type_ not in _operand_types(operator):
            raise self._refuse(f"{operator} does not take {type_}")
        if isinstance(left, Constant) and isinstance(right, Constant):
            try:
                return constants.combined(operator, left, right)
            except Unusable as why:
                raise self._refuse(str(why)) from None
        if operator in ("/", "%") and isinstance(right, Constant) and right.value == 0:
            raise self._refuse("a division by zero")
        is_bool = operator in COMPARISONS or operator in ("&&", "||")
        return Binary(operator, left, right, "bool" if is_bool else type_)

    def _shifted(self, operator: str, left: Expression, right: Expression) -> Expression:
        right = self._as(right, "u32")
        if isinstance(right, Constant) and right.value >= 32:
            raise self._refuse("a shift by 32 or more")
        if left.type not in ("i32", "u32", "int"):
            raise self._refuse(f"{operator} does not take {left.type}")
        if isinstance(left, Constant) and isinstance(right, Constant):
            try:
                return constants.combined(operator, left, right)
            except Unusable as why:
                raise self._refuse(str(why)) from None
        left = self._concrete(left)
        return Binary(operator, left, right, left.type)

    def _met(self, left: Expression, right: Expression) -> tuple[Expression, Expression]:
        """Two operands, of which a constant without a type takes the other's."""
        for one, other in ((left, right), (right, left)):
            if isinstance(one, Constant) and one.type in ("int", "float"):
                if other.type == "float":
                    one = Constant("float", float(one.value))
                elif other.type in SCALARS and other.type != "bool":
                    one = cast("Constant", self._as(one, cast("Scalar", other.type)))
                else:
                    continue
                return (one, right) if other is right else (left, one)
        return left, right

    def _as(self, value: Expression, type_: Type) -> Expression:
        """`value` where a `type_` is wanted."""
        if value.type == type_:
            return value
        if (
            isinstance(value, Constant)
            and (value.type == "int" or (value.type == "float" and type_ == "f32"))
            and type_ in ("i32", "u32", "f32")
        ):
            self._uses_floats |= type_ == "f32"
            try:
                return constants.checked(type_, value.value)
            except Unusable as why:
                raise self._refuse(str(why)) from None
        raise self._refuse(f"{type_} is expected, not {value.type}")

    def _concrete(self, value: Expression) -> Expression:
        """`value` with the type it takes when nothing else decides."""
        if value.type == "int":
            return self._as(value, "i32")
        return self._as(value, "f32") if value.type == "float" else value

    def _operand(self) -> Expression:
        """A primary expression, and the index or field behind it."""
        token = self._words[self._at]
        if token.kind == "name":
            meaning = self._find(token.text)
            if isinstance(meaning, Variable):
                self._at += 1
                return self._variable_value(meaning)
            if isinstance(meaning, Builtin):
                self._at += 1
                self._expect(".")
                if not self._take("x"):
                    raise self._refuse("only .x says anything: a dispatch has one dimension")
                return Read(meaning.variable)
            if isinstance(meaning, Uniform):
                self._at += 1
                self._expect(".")
                name = self._next().text
                if name not in meaning.fields:
                    raise self._refuse(f"the uniform has no field {name}")
                return Read(meaning.fields[name])
        return self._primary()

    def _variable_value(self, variable: Variable) -> Expression:
        if variable.length is None:
            return Read(variable)
        self._expect("[")
        self._count_operator()
        index = self._expression()
        self._expect("]")
        if index.type == "int":
            index = self._as(index, "u32")
        if index.type not in ("i32", "u32"):
            raise self._refuse("an index is i32 or u32")
        if isinstance(index, Constant) and variable.length and not 0 <= index.value < variable.length:
            raise self._refuse(f"{variable.source_name} has {variable.length} elements")
        return Element(variable, index)

    def _primary(self) -> Expression:
        token = self._next()
        if token.kind == "number":
            try:
                constant = constants.literal(token.text)
            except Unusable as why:
                raise self._refuse(str(why)) from None
            self._uses_floats |= constant.type in ("f32", "float")
            return constant
        if token.text == "(":
            value = self._logical()
            self._expect(")")
            return value
        if token.kind != "name":
            raise self._refuse(f"a value is expected, not {token.text}")
        if token.text in ("true", "false"):
            return Constant("bool", token.text == "true")
        if token.text in SCALARS:
            return self._conversion(cast("Scalar", token.text))
        if token.text == "bitcast":
            return self._bitcast()
        if token.text == "arrayLength":
            return self._length()
        if token.text == "atomicLoad":
            return self._loaded()
        if token.text in INTRINSICS:
            return self._intrinsic(token.text)
        meaning = self._find(token.text)
        if isinstance(meaning, Constant):
            return meaning
        if isinstance(meaning, Function):
            if meaning.type is None:
                raise self._refuse(f"{token.text} returns nothing")
            return self._call(meaning)
        raise self._refuse(f"{token.text} is not known here")

    def _arguments(self, name: str, count: int) -> list[Expression]:
        self._count_operator()
        self._expect("(")
        found: list[Expression] = []
        while not self._take(")"):
            found.append(self._logical())
            if not self._take(","):
                self._expect(")")
                break
        if len(found) != count:
            raise self._refuse(f"{name} takes {count} arguments, not {len(found)}")
        return found

    def _conversion(self, type_: Scalar) -> Expression:
        self._uses_floats |= type_ == "f32"
        (value,) = self._arguments(type_, 1)
        if isinstance(value, Constant):
            try:
                return constants.converted(value, type_)
            except Unusable as why:
                raise self._refuse(str(why)) from None
        return value if value.type == type_ else Convert(value, type_)

    def _bitcast(self) -> Expression:
        self._expect("<")
        type_ = self._scalar()
        self._close_angle()
        value = self._concrete(self._arguments("bitcast", 1)[0])
        if "bool" in (type_, value.type):
            raise self._refuse("bitcast does not take bool")
        if isinstance(value, Constant):
            try:
                return constants.from_bits(constants.bits(value), type_)
            except Unusable as why:
                raise self._refuse(str(why)) from None
        return Bitcast(value, type_)

    def _length(self) -> Length:
        self._expect("(")
        self._expect("&")
        variable = self._find(self._next().text)
        if not isinstance(variable, Variable) or variable.space != "input":
            raise self._refuse("arrayLength takes the address of the var<storage, read>")
        self._expect(")")
        return Length(variable)

    def _address(self) -> Element:
        self._expect("&")
        target = self._operand()
        if not isinstance(target, Element) or not target.variable.is_atomic:
            raise self._refuse("an atomic function takes the address of an element of an atomic array")
        return target

    def _loaded(self) -> Loaded:
        self._expect("(")
        element = self._address()
        self._expect(")")
        if element.variable.space != "workgroup":
            raise self._refuse("atomicLoad is for workgroup memory: what others have written so far is no result")
        return Loaded(element)

    def _intrinsic(self, name: str) -> Intrinsic:
        arguments = self._arguments(name, INTRINSICS[name])
        if all(isinstance(each, Constant) for each in arguments):
            raise self._refuse(f"{name} of constants: write its value")
        last: Expression | None = None
        if name == "select":
            last = self._as(arguments.pop(), "bool")
        types = [each.type for each in arguments if each.type not in ("int", "float")]
        is_float = name in FLOAT_INTRINSICS or any(each.type == "float" for each in arguments)
        type_ = types[0] if types else "f32" if is_float else "i32"
        arguments = [self._as(each, type_) for each in arguments]
        if name in FLOAT_INTRINSICS:
            is_right = type_ == "f32"
        elif name in INTEGER_INTRINSICS:
            is_right = type_ in ("i32", "u32")
        else:
            is_right = type_ != "bool" or name == "select"
        if not is_right:
            raise self._refuse(f"{name} does not take {type_}")
        if name == "clamp":
            _, low, high = arguments
            if isinstance(low, Constant) and isinstance(high, Constant) and low.value > high.value:
                raise self._refuse("clamp has a low above its high")
        return Intrinsic(name, (*arguments, last) if last is not None else tuple(arguments), type_)

    def _call(self, function: Function) -> Call:
        arguments = self._arguments(function.source_name, len(function.parameters))
        values = tuple(
            self._as(value, parameter.type) for value, parameter in zip(arguments, function.parameters, strict=True)
        )
        self._state.weight += function.weight
        if self._state.weight > WEIGHT_MAX:
            raise self._refuse(f"a function has more than {WEIGHT_MAX} words with all that it calls")
        if not function.is_pure:
            self._state.is_pure = False
            self._state.impure_calls.append(function)
        # Of a function without a value, nothing looks at the type: it is called as a statement alone.
        return Call(function, values, function.type or "bool")


def _operand_types(operator: str) -> tuple[Type, ...]:
    match operator:
        case "&&" | "||":
            return ("bool",)
        case "==" | "!=":
            return ("bool", "i32", "u32", "f32", "int", "float")
        case "&" | "|" | "^" | "%":
            return ("i32", "u32", "int")
        case _:
            return ("i32", "u32", "f32", "int", "float")
