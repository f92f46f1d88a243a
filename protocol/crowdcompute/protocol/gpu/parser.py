"""From a kernel's source to its tree, or the reason why not (spec/gpu.md, "Grammar" and "Rules").

    source --tokens--> words --Reading, ExpressionParser, StatementParser, parse--> Kernel

One pass: a name is declared before it is used. So no function can come back to itself, and each expression's type is
known when it has been read. Whatever the bytes are, they become a `Kernel` or `ModuleRefused`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .expressions import WEIGHT_MAX
from .flow import returns
from .reading import Builtin, FunctionState, Structure, Uniform
from .statements import StatementParser
from .syntax import Constant, Function, Kernel, Variable
from .tokens import tokens

if TYPE_CHECKING:
    from .tokens import Token

WORKGROUP_SIZE_MAX = 256
WORKGROUP_BYTES_MAX = 16_384
"""Both are what WebGPU promises on every device."""
BINDINGS_MAX = 7
"""Besides the one that the guard takes; WebGPU promises eight storage buffers."""
FIELDS_MAX = 64

_BUILTINS = {
    "global_invocation_id": "vec3",
    "local_invocation_id": "vec3",
    "workgroup_id": "vec3",
    "local_invocation_index": "u32",
}


def parse(source: bytes) -> Kernel:
    """The kernel of a source.

    Raises:
        ModuleRefused: It is not a kernel; the message names the line and the rule.
    """
    return _Parser(tokens(source)).kernel()


@dataclass(slots=True)
class _Attributes:
    group: int | None = None
    binding: int | None = None
    builtin: str | None = None
    workgroup_size: int | None = None
    names: list[str] = field(default_factory=list)

    @property
    def is_compute(self) -> bool:
        return "compute" in self.names


class _Parser(StatementParser):
    def __init__(self, words: list[Token]) -> None:
        super().__init__(words)
        self._workgroup_bytes = 0
        self._functions: list[Function] = []
        self._bindings: dict[int, Variable | Uniform] = {}
        self._uniform: tuple[int, tuple[Variable, ...]] = (0, ())
        self._input: Variable | None = None
        self._workgroup_size = 0
        self._builtins: list[str] = []

    def kernel(self) -> Kernel:
        while self._words[self._at].kind != "end":
            if self._functions and self._workgroup_size:
                raise self._refuse("nothing may follow the entry point")
            self._operators = 0
            attributes = self._attributes()
            match self._word:
                case "struct":
                    self._only(attributes)
                    self._structure()
                case "const":
                    self._only(attributes)
                    self._constant()
                case "var":
                    self._global(attributes)
                case "fn":
                    self._function(attributes)
                case _:
                    raise self._refuse(f"{self._word} cannot stand here: a kernel has struct, const, var and fn")
        if not self._workgroup_size:
            raise self._refuse("there is no @compute entry point")
        if self._workgroup_bytes and not self._has_barrier:
            raise self._refuse("workgroup memory without a barrier holds nothing certain")
        outputs = [each for _, each in sorted(self._bindings.items()) if isinstance(each, Variable)]
        outputs = [each for each in outputs if each.space == "output"]
        if not outputs:
            raise self._refuse("there is no var<storage, read_write>, so nothing could come out")
        binding, uniform = self._uniform
        return Kernel(
            functions=tuple(self._functions),
            workgroup_size=self._workgroup_size,
            uniform_binding=binding,
            uniform=uniform,
            input=self._input,
            outputs=tuple(outputs),
            globals=tuple(self._globals),
            has_barrier=self._has_barrier,
            uses_floats=self._uses_floats,
        )

    def _attributes(self) -> _Attributes:
        found = _Attributes()
        while self._take("@"):
            name = self._next().text
            if name in found.names:
                raise self._refuse(f"@{name} stands twice")
            found.names.append(name)
            if name == "compute":
                continue
            self._expect("(")
            if name == "builtin":
                found.builtin = self._next().text
            elif name in ("group", "binding", "workgroup_size"):
                setattr(found, name, self._size(name))
                while self._take(",") and not self._is(")"):
                    if name != "workgroup_size" or self._size(name) != 1:
                        raise self._refuse("a dispatch has one dimension: the others' size is 1")
            else:
                raise self._refuse(f"@{name} is not an attribute of a kernel")
            self._expect(")")
        return found

    def _only(self, attributes: _Attributes, *allowed: str) -> None:
        for name in attributes.names:
            if name not in allowed:
                raise self._refuse(f"@{name} cannot stand here")

    def _size(self, what: str) -> int:
        """A constant whole number."""
        value = self._expression()
        if not isinstance(value, Constant) or value.type not in ("int", "i32", "u32"):
            raise self._refuse(f"{what} takes a constant whole number")
        return int(value.value)

    def _structure(self) -> None:
        self._expect("struct")
        name = self._name()
        self._expect("{")
        fields: dict[str, Variable] = {}
        while not self._take("}"):
            field_name = self._name()
            if field_name in fields:
                raise self._refuse(f"{field_name} is declared twice")
            self._expect(":")
            type_ = self._scalar()
            if type_ == "bool":
                raise self._refuse("a field is i32, u32 or f32")
            fields[field_name] = self._variable(field_name, "uniform", type_)
            if not self._take(","):
                self._expect("}")
                break
        self._take(";")
        if not 1 <= len(fields) <= FIELDS_MAX:
            raise self._refuse(f"a struct has 1 to {FIELDS_MAX} fields")
        self._declare(name, Structure(fields, tuple(fields.values())))

    def _global(self, attributes: _Attributes) -> None:
        self._expect("var")
        self._expect("<")
        words = [self._next().text]
        if self._take(","):
            words.append(self._next().text)
        self._close_angle()
        name = self._name()
        self._expect(":")
        is_bound = words[0] in ("uniform", "storage")
        self._only(attributes, *(("group", "binding") if is_bound else ()))
        match words:
            case ["uniform"]:
                self._uniform_variable(name, attributes)
            case ["storage"] | ["storage", "read" | "read_write"]:
                self._storage(name, attributes, is_output=words[-1] == "read_write")
            case ["private"]:
                self._private(name)
            case ["workgroup"]:
                self._workgroup(name)
            case _:
                raise self._refuse(f"var<{', '.join(words)}> is not a kernel's")
        self._expect(";")

    def _bind(self, attributes: _Attributes, what: Variable | Uniform) -> int:
        if attributes.group != 0 or attributes.binding is None or not 0 <= attributes.binding < BINDINGS_MAX:
            raise self._refuse(f"a binding has @group(0) and @binding(0) to @binding({BINDINGS_MAX - 1})")
        if attributes.binding in self._bindings:
            raise self._refuse(f"@binding({attributes.binding}) is declared twice")
        self._bindings[attributes.binding] = what
        return attributes.binding

    def _uniform_variable(self, name: str, attributes: _Attributes) -> None:
        structure = self._find(self._name())
        if not isinstance(structure, Structure) or self._uniform[1]:
            raise self._refuse("a kernel has one uniform, and its type is a struct")
        uniform = Uniform(structure.fields)
        self._uniform = (self._bind(attributes, uniform), structure.order)
        self._declare(name, uniform)

    def _storage(self, name: str, attributes: _Attributes, *, is_output: bool) -> None:
        type_, length, is_atomic = self._memory_type(with_length=False)
        if length is None or type_ == "bool" or (is_atomic and not is_output):
            raise self._refuse("storage holds array<i32>, array<u32> or array<f32>, and read_write atomics too")
        variable = self._variable(name, "output" if is_output else "input", type_, 0)
        variable.is_mutable, variable.is_atomic = is_output, is_atomic
        variable.binding = self._bind(attributes, variable)
        if not is_output:
            if self._input is not None:
                raise self._refuse("a kernel has one var<storage, read>")
            self._input = variable
        self._declare(name, variable)

    def _private(self, name: str) -> None:
        type_, length, is_atomic = self._memory_type(with_length=True)
        if is_atomic:
            raise self._refuse("atomics are in storage or workgroup memory")
        variable = self._variable(name, "private", type_, length)
        variable.is_mutable = True
        if length is not None:
            self._add_private(length)
        elif self._take("="):
            value = self._as(self._expression(), type_)
            if not isinstance(value, Constant):
                raise self._refuse(f"{name} is not constant")
            variable.values = (value,)
        self._globals.append(variable)
        self._declare(name, variable)

    def _workgroup(self, name: str) -> None:
        type_, length, is_atomic = self._memory_type(with_length=True)
        if type_ == "bool":
            raise self._refuse("workgroup memory holds i32, u32 or f32")
        variable = self._variable(name, "workgroup", type_, length)
        variable.is_mutable, variable.is_atomic = True, is_atomic
        self._workgroup_bytes += 4 * (length or 1)
        if self._workgroup_bytes > WORKGROUP_BYTES_MAX:
            raise self._refuse(f"workgroup memory has more than {WORKGROUP_BYTES_MAX} bytes")
        self._globals.append(variable)
        self._declare(name, variable)

    def _function(self, attributes: _Attributes) -> None:
        begin = self._at
        self._only(attributes, *(("compute", "workgroup_size") if attributes.is_compute else ()))
        self._expect("fn")
        name = self._name()
        self._count += 1
        printed = f"f{self._count}_{name}"
        self._scopes.append({})
        self._expect("(")
        parameters: list[Variable] = []
        while not self._take(")"):
            parameters.append(self._parameter(attributes.is_compute))
            if not self._take(","):
                self._expect(")")
                break
        type_ = self._scalar() if self._take("->") else None
        function = Function(printed, name, tuple(parameters), type_)
        state = self._state = FunctionState(type_, is_entry=attributes.is_compute)
        if attributes.is_compute:
            if type_ is not None:
                raise self._refuse("the entry point returns nothing")
            size = attributes.workgroup_size
            if size is None or not 1 <= size <= WORKGROUP_SIZE_MAX:
                raise self._refuse(f"the entry point has @workgroup_size(1) to @workgroup_size({WORKGROUP_SIZE_MAX})")
            self._workgroup_size = size
        function.body = self._block(scope=self._scopes[-1])
        if type_ is not None and not returns(function.body):
            raise self._refuse(f"{name} may end without a value: it must end with return")
        if self._has_barrier and state.is_entry and state.has_return:
            raise self._refuse("an entry point with a barrier cannot return early")
        self._scopes.pop()
        function.is_pure = state.is_pure
        function.weight = state.weight + self._at - begin
        if function.weight > WEIGHT_MAX:
            raise self._refuse(f"{name} has more than {WEIGHT_MAX} words with all that it calls")
        self._functions.append(function)
        self._declare(name, function)

    def _parameter(self, is_entry: bool) -> Variable:
        attributes = self._attributes()
        self._only(attributes, "builtin")
        builtin = attributes.builtin
        name = self._name()
        self._expect(":")
        if not is_entry:
            if builtin is not None:
                raise self._refuse("only the entry point has built-in parameters")
            variable = self._variable(name, "local", self._scalar())
            self._declare(name, variable)
            return variable
        if builtin not in _BUILTINS:
            raise self._refuse(f"a parameter of the entry point is one of {', '.join(_BUILTINS)}")
        if builtin in self._builtins:
            raise self._refuse(f"{builtin} is declared twice")
        self._builtins.append(builtin)
        if _BUILTINS[builtin] == "vec3":
            if self._take("vec3"):
                self._expect("<")
                self._expect("u32")
                self._close_angle()
            else:
                self._expect("vec3u")
        else:
            self._expect("u32")
        variable = self._variable(name, "builtin", "u32")
        variable.source_name = builtin
        self._declare(name, variable if _BUILTINS[builtin] == "u32" else Builtin(variable))
        return variable
