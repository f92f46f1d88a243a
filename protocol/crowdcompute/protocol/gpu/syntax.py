"""A kernel as a tree, in which every name is resolved and every expression has a type (spec/gpu.md).

There is no node for a pointer, an address, inline assembly or a call to anything but a function of the same kernel or
one of `INTRINSICS`: what cannot be written down here cannot be printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Scalar: TypeAlias = Literal["bool", "i32", "u32", "f32"]
Type: TypeAlias = Literal["bool", "i32", "u32", "f32", "int", "float"]
"""`int` and `float` are constants that take the type of what they meet."""

Space: TypeAlias = Literal["local", "private", "workgroup", "uniform", "input", "output", "table", "builtin"]

AtomicFamily: TypeAlias = Literal["add", "max", "min", "and", "or", "xor"]
"""Operations of one family commute: so their result does not depend on who came first."""

INTEGER_INTRINSICS = {"countOneBits": 1, "countLeadingZeros": 1, "countTrailingZeros": 1, "reverseBits": 1}
NUMBER_INTRINSICS = {"abs": 1, "min": 2, "max": 2, "clamp": 3}
FLOAT_INTRINSICS = {
    "floor": 1, "ceil": 1, "trunc": 1, "round": 1, "sqrt": 1, "inverseSqrt": 1, "fract": 1, "sign": 1,
    "exp": 1, "exp2": 1, "log": 1, "log2": 1, "pow": 2, "fma": 3,
    "sin": 1, "cos": 1, "tan": 1, "asin": 1, "acos": 1, "atan": 1, "atan2": 2, "sinh": 1, "cosh": 1, "tanh": 1,
}  # fmt: skip
INTRINSICS = {**INTEGER_INTRINSICS, **NUMBER_INTRINSICS, **FLOAT_INTRINSICS, "select": 3}
"""Built-in functions and their number of arguments."""


@dataclass(slots=True, eq=False)
class Variable:
    """Something with a name that holds one scalar, or an array of them."""

    name: str
    """As it is printed: unique in the kernel, and no word of any language."""
    source_name: str
    space: Space
    type: Scalar
    length: int | None = None
    """Elements of an array; 0 where only the run knows; None for one scalar."""
    is_mutable: bool = False
    is_atomic: bool = False
    family: AtomicFamily | None = None
    binding: int = 0
    values: tuple[Constant, ...] = ()
    """A table's, or the first value of a private variable."""


@dataclass(frozen=True, slots=True)
class Constant:
    type: Type
    value: bool | int | float


@dataclass(frozen=True, slots=True)
class Read:
    """The value of a scalar variable."""

    variable: Variable

    @property
    def type(self) -> Type:
        return self.variable.type


@dataclass(frozen=True, slots=True)
class Element:
    """The value of an array's element; whoever prints it sees to it that there is one."""

    variable: Variable
    index: Expression

    @property
    def type(self) -> Type:
        return self.variable.type


@dataclass(frozen=True, slots=True)
class Length:
    """How many elements the chunk's input has."""

    variable: Variable
    type: Type = "u32"


@dataclass(frozen=True, slots=True)
class Unary:
    operator: str
    operand: Expression
    type: Type


@dataclass(frozen=True, slots=True)
class Binary:
    operator: str
    left: Expression
    right: Expression
    type: Type


@dataclass(frozen=True, slots=True)
class Convert:
    """A value as another type: `u32(x)`."""

    operand: Expression
    type: Type


@dataclass(frozen=True, slots=True)
class Bitcast:
    """The same 32 bits as another type."""

    operand: Expression
    type: Type


@dataclass(frozen=True, slots=True)
class Intrinsic:
    name: str
    arguments: tuple[Expression, ...]
    type: Type


@dataclass(frozen=True, slots=True)
class Call:
    function: Function
    arguments: tuple[Expression, ...]
    type: Type


@dataclass(frozen=True, slots=True)
class Loaded:
    """The value of an atomic in workgroup memory."""

    element: Element

    @property
    def type(self) -> Type:
        return self.element.type


Expression: TypeAlias = (
    Constant | Read | Element | Length | Unary | Binary | Convert | Bitcast | Intrinsic | Call | Loaded
)


@dataclass(frozen=True, slots=True)
class Declare:
    """`let` and `var`; without a value it is zero."""

    variable: Variable
    value: Expression | None


@dataclass(frozen=True, slots=True)
class Assign:
    target: Read | Element
    value: Expression


@dataclass(frozen=True, slots=True)
class Perform:
    """Call a function for what it does."""

    call: Call


@dataclass(frozen=True, slots=True)
class Atomic:
    function: str
    family: AtomicFamily
    element: Element
    value: Expression


@dataclass(frozen=True, slots=True)
class Barrier:
    pass


@dataclass(frozen=True, slots=True)
class If:
    condition: Expression
    then: Block
    otherwise: Block | None


@dataclass(frozen=True, slots=True)
class Loop:
    """`loop`, `while` and `for`. One turn costs one unit of fuel."""

    first: Declare | Assign | None
    condition: Expression | None
    after: Assign | None
    body: Block


@dataclass(frozen=True, slots=True)
class Switch:
    value: Expression
    cases: tuple[tuple[tuple[Constant, ...], Block], ...]
    otherwise: Block


@dataclass(frozen=True, slots=True)
class Break:
    pass


@dataclass(frozen=True, slots=True)
class Continue:
    pass


@dataclass(frozen=True, slots=True)
class Return:
    value: Expression | None


@dataclass(frozen=True, slots=True)
class Block:
    statements: tuple[Statement, ...]


Statement: TypeAlias = (
    Declare | Assign | Perform | Atomic | Barrier | If | Loop | Switch | Break | Continue | Return | Block
)


@dataclass(slots=True, eq=False)
class Function:
    name: str
    source_name: str
    parameters: tuple[Variable, ...]
    type: Scalar | None
    body: Block = Block(())
    is_pure: bool = True
    """It writes nothing but its own variables: so it does not matter when in an expression it is called."""
    weight: int = 0
    """Words, those of the functions it calls included at each call."""


@dataclass(frozen=True, slots=True)
class Kernel:
    functions: tuple[Function, ...]
    """In the order of the source; the entry is the last."""
    workgroup_size: int
    uniform_binding: int
    uniform: tuple[Variable, ...]
    """The fields of the uniform structure; empty when there is none."""
    input: Variable | None
    outputs: tuple[Variable, ...]
    """By binding."""
    globals: tuple[Variable, ...]
    """Tables, private and workgroup variables, in the order of the source."""
    has_barrier: bool
    uses_floats: bool

    @property
    def entry(self) -> Function:
        return self.functions[-1]
