"""The parts of a design that operators and performance models look at: edits, loops, arrays, pragmas, constants."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from dovetail.hls.signature import parse, text, walk

__all__ = ["Array", "Edit", "Loop", "Pragma", "Source", "apply", "inside", "parse", "text", "value_of", "walk"]


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Bytes `start` to `end` of a source become `new`."""

    start: int
    end: int
    new: str


def apply(source: str, edits: Sequence[Edit]) -> str:
    """The edited source. Raises `ValueError` when edits overlap."""
    raw, out, at = source.encode(), bytearray(), 0
    for edit in sorted(edits, key=lambda e: (e.start, e.end)):
        if edit.start < at:
            raise ValueError("edits overlap")
        out += raw[at : edit.start] + edit.new.encode()
        at = edit.end
    return (out + raw[at:]).decode()


def inside(node: Any, *kinds: str) -> Any | None:
    """The nearest enclosing node of one of these types."""
    node = node.parent
    while node is not None and node.type not in kinds:
        node = node.parent
    return node


_SUFFIX = re.compile(r"\b(0[xX][0-9a-fA-F]+|\d+)[uUlL]+\b")


def value_of(expression: str, names: Mapping[str, int]) -> int | None:
    """An integer expression of C++ with known names; None when it is anything else."""
    plain = _SUFFIX.sub(r"\1", expression)
    plain = plain.replace("/", "//")
    plain = re.sub(r"!(?!=)", " not ", plain).strip()
    try:
        return _evaluate(ast.parse(plain, mode="eval").body, names)
    except (SyntaxError, ValueError, KeyError, ZeroDivisionError, OverflowError, TypeError):
        return None


def _evaluate(node: ast.AST, names: Mapping[str, int]) -> int:
    match node:
        case ast.Constant(value=bool() | int() as number):
            return int(number)
        case ast.Name(id=name):
            return names[name]
        case ast.UnaryOp(op=op, operand=operand):
            return int(_UNARY[type(op)](_evaluate(operand, names)))
        case ast.BinOp(left=left, op=op, right=right):
            return int(_BINARY[type(op)](_evaluate(left, names), _evaluate(right, names)))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return int(_COMPARE[type(op)](_evaluate(left, names), _evaluate(right, names)))
    raise ValueError


def _shift(a: int, b: int) -> int:
    if not 0 <= b < 64:
        raise ValueError
    return a << b


_UNARY: dict[type, Any] = {
    ast.USub: lambda a: -a,
    ast.UAdd: lambda a: a,
    ast.Invert: lambda a: ~a,
    ast.Not: lambda a: int(not a),
}
_BINARY: dict[type, Any] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b if a * b >= 0 else -(-a // b),
    ast.Mod: lambda a, b: a - b * int(a / b),
    ast.LShift: _shift,
    ast.RShift: lambda a, b: a >> b,
    ast.BitAnd: lambda a, b: a & b,
    ast.BitOr: lambda a, b: a | b,
    ast.BitXor: lambda a, b: a ^ b,
}
_COMPARE: dict[type, Any] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
}


@dataclass(frozen=True, slots=True)
class Array:
    """A declared array: where, of what, how large; `function` is empty for a global one."""

    name: str
    ctype: str
    shape: tuple[int, ...]
    function: str
    parameter: bool
    node: Any = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Pragma:
    """``#pragma HLS directive key=value flag``; keys and flags in lower case."""

    directive: str
    options: tuple[tuple[str, str], ...]
    node: Any = field(repr=False, compare=False)
    function: str = ""

    def get(self, key: str, default: str = "") -> str:
        """The value of an option; a flag's value is its own name."""
        return next((value for name, value in self.options if name == key), default)

    def has(self, key: str) -> bool:
        """Whether an option or flag is there."""
        return any(name == key for name, _ in self.options)

    @property
    def kind(self) -> str:
        """For array_partition: complete, cyclic or block."""
        if self.get("type"):
            return self.get("type").lower()
        return next((k for k in ("complete", "cyclic", "block") if self.has(k)), "complete")


@dataclass(frozen=True, slots=True)
class Loop:
    """A counted loop; `trip` is None when the bounds are not constants."""

    node: Any = field(repr=False)
    variable: str
    function: str
    start: int | None
    bound: int | None
    compare: str
    step: int | None
    trip: int | None

    @property
    def body(self) -> Any:
        """The node of its body."""
        return self.node.child_by_field_name("body")

    def values(self) -> list[int]:
        """The values its variable takes, when they are constants."""
        if self.trip is None or self.start is None or self.step is None:
            return []
        return [self.start + i * self.step for i in range(self.trip)]


class Source:
    """A parsed design, looked at lazily; equal texts share one (see `read`)."""

    def __init__(self, source: str) -> None:
        self.source, self.root = source, parse(source)
        self.nodes = list(walk(self.root))
        self.constants = self._constants()
        self.types = {
            text(n.child_by_field_name("declarator")): text(n.child_by_field_name("type"))
            for n in self.of("type_definition")
        }
        self.arrays = [array for node in self.nodes for array in self._arrays(node)]
        self.pragmas = [p for node in self.of("preproc_call") if (p := self._pragma(node))]
        self.loops = [loop for node in self.of("for_statement") if (loop := self._loop(node))]

    def of(self, *kinds: str) -> Iterator[Any]:
        """Nodes of these types in the order of the text."""
        return (node for node in self.nodes if node.type in kinds)

    def function_of(self, node: Any) -> str:
        """The name of the function a node is in."""
        found = node if node.type == "function_definition" else inside(node, "function_definition")
        if found is None:
            return ""
        declarator = found.child_by_field_name("declarator")
        while declarator is not None and declarator.type != "function_declarator":
            declarator = declarator.child_by_field_name("declarator")
        return text(declarator.child_by_field_name("declarator")) if declarator is not None else ""

    def array(self, name: str, function: str) -> Array | None:
        """The array a name means inside a function."""
        near = [a for a in self.arrays if a.name == name and a.function in (function, "")]
        return near[-1] if near else None

    def type_of(self, name: str, function: str) -> str:
        """The declared type of a variable or array element, typedefs resolved; empty when unknown."""
        for node in self.of("declaration", "parameter_declaration"):
            if self.function_of(node) not in (function, ""):
                continue
            if name in (_declared(d) for d in node.children_by_field_name("declarator")):
                return self.resolved(text(node.child_by_field_name("type")))
        return ""

    def resolved(self, ctype: str) -> str:
        """A type with typedefs replaced."""
        return self.types.get(ctype, ctype)

    def line(self, byte: int) -> int:
        """The line a byte is on, from 1."""
        return self.source.encode()[:byte].count(b"\n") + 1

    def pragmas_of(self, node: Any) -> list[Pragma]:
        """The pragmas directly in the body of a loop or function."""
        body = node.child_by_field_name("body")
        return [p for p in self.pragmas if p.node.parent == body]

    def _constants(self) -> dict[str, int]:
        known: dict[str, int] = {}
        for node in self.of("preproc_def"):
            if (number := value_of(text(node.child_by_field_name("value")), known)) is not None:
                known[text(node.child_by_field_name("name"))] = number
        for node in self.of("declaration"):
            if not any(text(c) in ("const", "constexpr") for c in node.children):
                continue
            for part in node.children_by_field_name("declarator"):
                if part.type == "init_declarator":
                    number = value_of(text(part.child_by_field_name("value")), known)
                    if number is not None:
                        known[text(part.child_by_field_name("declarator"))] = number
        return known

    def _arrays(self, node: Any) -> Iterator[Array]:
        if node.type not in ("declaration", "parameter_declaration"):
            return
        ctype = self.resolved(text(node.child_by_field_name("type")))
        for declarator in node.children_by_field_name("declarator"):
            inner = declarator.child_by_field_name("declarator") if declarator.type == "init_declarator" else declarator
            shape: list[int] = []
            while inner is not None and inner.type == "array_declarator":
                shape.insert(0, value_of(text(inner.child_by_field_name("size")), self.constants) or 0)
                inner = inner.child_by_field_name("declarator")
            if inner is not None and inner.type == "pointer_declarator" and node.type == "parameter_declaration":
                shape, inner = [0], inner.child_by_field_name("declarator")
            if shape and inner is not None and inner.type == "identifier":
                function = self.function_of(node)
                yield Array(
                    text(inner), ctype, tuple(shape), function, node.type == "parameter_declaration", declarator
                )

    def _pragma(self, node: Any) -> Pragma | None:
        words = text(node).split()
        if [w.lower() for w in words[:2]] != ["#pragma", "hls"] or len(words) < 3:
            return None
        joined = re.sub(r"\s*=\s*", "=", " ".join(words[3:])).split()
        options = tuple((key.lower(), value or key.lower()) for key, _, value in (w.partition("=") for w in joined))
        return Pragma(words[2].lower(), options, node, self.function_of(node))

    def _loop(self, node: Any) -> Loop | None:
        first, test, update = (node.child_by_field_name(f) for f in ("initializer", "condition", "update"))
        if first is None or test is None or update is None or test.type != "binary_expression":
            return None
        variable = text(test.child_by_field_name("left"))
        start = re.search(rf"\b{re.escape(variable)}\s*=\s*([^,;]+)", text(first))
        bound = value_of(text(test.child_by_field_name("right")), self.constants)
        begin = value_of(start[1], self.constants) if start else None
        compare, step = text(test.child_by_field_name("operator")), self._step(variable, text(update))
        trip = _trip(begin, bound, compare, step)
        return Loop(node, variable, self.function_of(node), begin, bound, compare, step, trip)

    def _step(self, variable: str, update: str) -> int | None:
        plain = update.replace(" ", "")
        if plain in (f"{variable}++", f"++{variable}"):
            return 1
        if plain in (f"{variable}--", f"--{variable}"):
            return -1
        for sign in (1, -1):
            head = f"{variable}{'+' if sign > 0 else '-'}="
            if plain.startswith(head) and (n := value_of(plain[len(head) :], self.constants)) is not None:
                return sign * n
        return None


def _declared(declarator: Any) -> str:
    while declarator is not None and declarator.type != "identifier":
        declarator = declarator.child_by_field_name("declarator") or (
            declarator.named_children[-1] if declarator.type == "reference_declarator" else None
        )
    return text(declarator) if declarator is not None else ""


def _trip(start: int | None, bound: int | None, compare: str, step: int | None) -> int | None:
    if start is None or bound is None or not step:
        return None
    ends = {"<": bound, "<=": bound + 1, ">": bound, ">=": bound - 1, "!=": bound}
    if compare not in ends or (step > 0) != (compare in ("<", "<=", "!=")):
        return None
    return max(0, -(-(ends[compare] - start) // step))


@lru_cache(maxsize=64)
def read(source: str) -> Source:
    """The parsed source; the last few are kept."""
    return Source(source)
