"""A kernel's words one after another, and what its names mean so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crowdcompute.protocol.errors import ModuleRefused

from .syntax import INTRINSICS, Constant, Function, Variable

if TYPE_CHECKING:
    from .syntax import AtomicFamily, Scalar, Space
    from .tokens import Token

PRIVATE_BYTES_MAX = 16_384
"""Arrays of all functions and private variables together: a compiler keeps them all in registers, or tries to."""

SCALARS = ("bool", "i32", "u32", "f32")
KEYWORDS = {
    "alias", "break", "case", "const", "continue", "continuing", "default", "diagnostic", "discard", "else", "enable",
    "false", "fn", "for", "if", "let", "loop", "override", "requires", "return", "struct", "switch", "true", "var",
    "while", "array", "atomic", "vec2", "vec3", "vec4", "vec3u", "ptr", "bitcast", "arrayLength", "workgroupBarrier",
    "storageBarrier", *SCALARS,
}  # fmt: skip
ATOMICS: dict[str, AtomicFamily] = {
    "atomicAdd": "add", "atomicSub": "add", "atomicMax": "max", "atomicMin": "min",
    "atomicAnd": "and", "atomicOr": "or", "atomicXor": "xor",
}  # fmt: skip
RESERVED = {
    "NULL", "Self", "abstract", "active", "alignas", "alignof", "as", "asm", "asm_fragment", "async", "attribute",
    "auto", "await", "become", "cast", "catch", "class", "co_await", "co_return", "co_yield", "coherent",
    "column_major", "common", "compile", "compile_fragment", "concept", "const_cast", "consteval", "constexpr",
    "constinit", "crate", "debugger", "decltype", "delete", "demote", "demote_to_helper", "do", "dynamic_cast",
    "enum", "explicit", "export", "extends", "extern", "external", "fallthrough", "filter", "final", "finally",
    "friend", "from", "fxgroup", "get", "goto", "groupshared", "highp", "impl", "implements", "import", "inline",
    "instanceof", "interface", "layout", "lowp", "macro", "macro_rules", "match", "mediump", "meta", "mod", "module",
    "move", "mut", "mutable", "namespace", "new", "nil", "noexcept", "noinline", "nointerpolation", "non_coherent",
    "noncoherent", "noperspective", "null", "nullptr", "of", "operator", "package", "packoffset", "partial", "pass",
    "patch", "pixelfragment", "precise", "precision", "premerge", "priv", "protected", "pub", "public", "readonly",
    "ref", "regardless", "register", "reinterpret_cast", "require", "resource", "restrict", "self", "set", "shared",
    "sizeof", "smooth", "snorm", "static", "static_assert", "static_cast", "std", "subroutine", "super", "target",
    "template", "this", "thread_local", "throw", "trait", "try", "type", "typedef", "typeid", "typename", "typeof",
    "union", "unless", "unorm", "unsafe", "unsized", "use", "using", "varying", "virtual", "volatile", "wgsl",
    "where", "with", "writeonly", "yield",
}  # fmt: skip
"""Words that WGSL keeps for later: no compiler takes them as names."""
SPACES = ("function", "private", "read", "read_write", "storage", "uniform", "workgroup", "write")
"""Words that mean something only within `var<…>`, unless the kernel gives them another meaning."""
_TAKEN = KEYWORDS | RESERVED | set(INTRINSICS) | set(ATOMICS) | {"atomicLoad"}


@dataclass(slots=True)
class Builtin:
    """A parameter of the entry that is a vector, of which only x says anything."""

    variable: Variable


@dataclass(slots=True)
class Structure:
    fields: dict[str, Variable]
    order: tuple[Variable, ...]


@dataclass(slots=True)
class Uniform:
    fields: dict[str, Variable]


Meaning = Variable | Constant | Function | Builtin | Structure | Uniform


@dataclass(slots=True)
class FunctionState:
    """What is known about the function being read."""

    type: Scalar | None
    is_entry: bool
    is_pure: bool = True
    weight: int = 0
    loops: int = 0
    breakable: int = 0
    has_return: bool = False
    impure_calls: list[Function] = field(default_factory=list)


class Reading:
    """Where a parser stands."""

    def __init__(self, words: list[Token]) -> None:
        self._words = words
        self._at = 0
        self._scopes: list[dict[str, Meaning]] = [{}]
        self._count = 0
        self._depth = 0
        self._operators = 0
        self._state = FunctionState(None, is_entry=False)
        self._private_bytes = 0
        self._uses_floats = False

    @property
    def _word(self) -> str:
        return self._words[self._at].text

    def _refuse(self, why: str) -> ModuleRefused:
        return ModuleRefused(f"line {self._words[self._at].line}: {why}")

    def _next(self) -> Token:
        token = self._words[self._at]
        if token.kind == "end":
            raise self._refuse("the kernel ends too early")
        self._at += 1
        return token

    def _is(self, text: str) -> bool:
        """Whether the next word is this mark or keyword."""
        return self._word == text and self._words[self._at].kind != "end"

    def _take(self, text: str) -> bool:
        if self._is(text):
            self._at += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._refuse(f"{text} is expected, not {self._word}")

    def _close_angle(self) -> None:
        """The `>` that ends a type, which may be the beginning of a longer mark."""
        token = self._words[self._at]
        if token.text in (">>", ">=", ">>="):
            self._words[self._at] = token._replace(text=token.text[1:])
        else:
            self._expect(">")

    def _name(self) -> str:
        """A name that the kernel gives."""
        token = self._words[self._at]
        if token.kind != "name":
            raise self._refuse(f"a name is expected, not {self._word}")
        if token.text in _TAKEN:
            raise self._refuse(f"{token.text} cannot be a name: it means something already")
        self._at += 1
        return token.text

    def _declare(self, name: str, meaning: Meaning) -> None:
        if name in self._scopes[-1]:
            raise self._refuse(f"{name} is declared twice")
        if len(self._scopes) == 1 and name in SPACES:
            raise self._refuse(f"{name} cannot be a name outside of functions: it means something already")
        self._scopes[-1][name] = meaning

    def _find(self, name: str) -> Meaning | None:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return None

    def _variable(self, name: str, space: Space, type_: Scalar, length: int | None = None) -> Variable:
        self._count += 1
        self._uses_floats |= type_ == "f32"
        return Variable(f"v{self._count}_{name}", name, space, type_, length)
