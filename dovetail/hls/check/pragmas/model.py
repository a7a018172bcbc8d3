"""The parts of a kernel that pragmas speak of: functions, loops with their trip counts, arrays, and every access."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dovetail.hls.signature import parse, reached, text, walk

LOOPS = ("for_statement", "while_statement", "do_statement")
LONGEST = 1 << 16  # iterations that are ever enumerated


@dataclass(frozen=True, slots=True)
class Pragma:
    """``#pragma HLS name option=value flag``, in lower case but for values; `scope` is the loop or function around."""

    name: str
    options: Mapping[str, str]
    flags: frozenset[str]
    line: int
    scope: Any = field(repr=False, default=None)
    node: Any = field(repr=False, default=None)

    def number(self, name: str, values: Mapping[str, int]) -> int | None:
        """An option as a number: a literal, or a constant of the text."""
        word = self.options.get(name, "")
        return int(word, 0) if re.fullmatch(r"\d+|0[xX][0-9a-fA-F]+", word) else evaluated(word, values)


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop: its counter with start, bound and step where they are constants, and what stands inside."""

    node: Any = field(repr=False)
    line: int
    counter: str = ""
    start: Any = field(repr=False, default=None)
    condition: Any = field(repr=False, default=None)
    update: Any = field(repr=False, default=None)

    def values(self, known: Mapping[str, int]) -> list[int] | None:
        """The counter's values in order, or None when they depend on something that is not known."""
        if not self.counter or self.condition is None:
            return None
        at = value_of(self.start, known)
        step = _step(self.update, self.counter, known)
        if at is None or not step:
            return None
        out: list[int] = []
        while len(out) <= LONGEST:
            holds = value_of(self.condition, {**known, self.counter: at})
            if holds is None:
                return None
            if not holds:
                return out
            out.append(at)
            at += step
        return None


@dataclass(frozen=True, slots=True)
class Array:
    """An array with its extents, outermost first; 0 where one is not known. `port` for a parameter."""

    name: str
    extents: tuple[int, ...]
    line: int
    port: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """One subscript: the array, its index expressions, whether it is written, and the loops around it, outer first."""

    array: str
    indices: tuple[Any, ...] = field(repr=False)
    written: bool
    read: bool
    line: int
    loops: tuple[Loop, ...] = field(repr=False)
    node: Any = field(repr=False, default=None)

    @property
    def words(self) -> tuple[str, ...]:
        """The index expressions as written."""
        return tuple(text(index) for index in self.indices)


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the text, taken apart."""

    name: str
    node: Any = field(repr=False)
    line: int
    loops: tuple[Loop, ...]
    arrays: Mapping[str, Array]
    scalars: Mapping[str, str]
    streams: frozenset[str]
    accesses: tuple[Access, ...] = field(repr=False)
    pragmas: tuple[Pragma, ...] = field(repr=False)
    known: Mapping[str, int] = field(repr=False)
    locals: Mapping[str, Any] = field(repr=False, default_factory=dict)

    def loop_of(self, node: Any) -> Loop | None:
        """The loop a node is."""
        return next((loop for loop in self.loops if loop.node == node), None)

    def within(self, scope: Any) -> tuple[Loop, ...]:
        """Loops inside a loop or the function, itself not included."""
        return tuple(loop for loop in self.loops if loop.node != scope and inside(loop.node, scope))

    def around(self, node: Any) -> tuple[Loop, ...]:
        """Loops around a node, outer first, itself not included."""
        return tuple(loop for loop in self.loops if loop.node != node and inside(node, loop.node))

    def of(self, scope: Any, name: str) -> tuple[Pragma, ...]:
        """Pragmas of that name standing directly in a scope."""
        return tuple(p for p in self.pragmas if p.name == name and p.scope == scope)


def inside(node: Any, outer: Any) -> bool:
    """Whether a node lies within another."""
    return bool(outer.start_byte <= node.start_byte and node.end_byte <= outer.end_byte)


def functions_of(source: str, top: str = "") -> tuple[Function, ...]:
    """Every function of a text, or those that its top needs, with their loops, arrays, accesses and pragmas."""
    tree = parse(source)
    known = constants(tree)
    nodes = [node for node in walk(tree) if node.type == "function_definition" and node.child_by_field_name("body")]
    if top:
        wanted = reached(source, top)
        nodes = [node for node in nodes if _called(node) in wanted]
    return tuple(_function(node, known) for node in nodes)


def _called(function: Any) -> str:
    declarator = next((n for n in walk(function) if n.type == "function_declarator"), None)
    return text(declarator.child_by_field_name("declarator")).split("::")[-1] if declarator is not None else ""


def constants(tree: Any) -> dict[str, int]:
    """Macros, enumerators and constant integers of a text, by name."""
    known: dict[str, int] = {}
    for node in walk(tree):
        if node.type == "preproc_def":
            _note(
                known, text(node.child_by_field_name("name")), evaluated(text(node.child_by_field_name("value")), known)
            )
        elif node.type == "init_declarator" and "const" in text(node.parent).split("=")[0]:
            name = node.child_by_field_name("declarator")
            if name is not None and name.type == "identifier":
                _note(known, text(name), value_of(node.child_by_field_name("value"), known))
        elif node.type == "enumerator" and node.child_by_field_name("value") is not None:
            _note(known, text(node.child_by_field_name("name")), value_of(node.child_by_field_name("value"), known))
        elif node.type == "optional_parameter_declaration" and node.child_by_field_name("default_value") is not None:
            _note(known, text(node.child_by_field_name("declarator")),
                  value_of(node.child_by_field_name("default_value"), known))  # fmt: skip
    return known


def _note(known: dict[str, int], name: str, value: int | None) -> None:
    if value is not None:
        known[name] = value


def evaluated(expression: str, known: Mapping[str, int]) -> int | None:
    """An integer expression in C, or None."""
    expression = re.sub(r"//.*|/\*.*?\*/", "", expression).strip()
    if not expression or len(expression) > 200:
        return None
    if re.fullmatch(r"\d+", expression):
        return int(expression)
    statements = [n for n in walk(parse(f"int _x = ({expression});")) if n.type == "init_declarator"]
    return value_of(statements[0].child_by_field_name("value"), known) if statements else None


_BINARY: dict[str, Callable[[int, int], int | None]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b,
    "/": lambda a, b: int(a / b) if b else None, "%": lambda a, b: a - b * int(a / b) if b else None,
    "<<": lambda a, b: a << b if 0 <= b < 64 else None, ">>": lambda a, b: a >> b if 0 <= b < 64 else None,
    "&": lambda a, b: a & b, "|": lambda a, b: a | b, "^": lambda a, b: a ^ b,
    "<": lambda a, b: int(a < b), "<=": lambda a, b: int(a <= b), ">": lambda a, b: int(a > b),
    ">=": lambda a, b: int(a >= b), "==": lambda a, b: int(a == b), "!=": lambda a, b: int(a != b),
    "&&": lambda a, b: int(bool(a and b)), "||": lambda a, b: int(bool(a or b)),
}  # fmt: skip


def value_of(node: Any, known: Mapping[str, int]) -> int | None:
    """What an expression is when these names have these values; None when it depends on anything else."""
    if node is None:
        return None
    kind = node.type
    if kind == "number_literal":
        word = text(node).rstrip("uUlL")
        try:
            return int(word, 0) if not re.fullmatch(r"0\d+", word) else int(word, 8)
        except ValueError:
            return None
    if kind in ("true", "false"):
        return int(kind == "true")
    if kind in ("identifier", "qualified_identifier"):
        return known.get(text(node))
    if kind in ("parenthesized_expression", "condition_clause", "subscript_argument_list") and node.named_children:
        return value_of(node.named_children[0], known)
    if kind == "cast_expression":
        return value_of(node.child_by_field_name("value"), known)
    if kind == "unary_expression":
        return _unary(node, known)
    if kind == "binary_expression":
        left = value_of(node.child_by_field_name("left"), known)
        right = value_of(node.child_by_field_name("right"), known)
        done = _BINARY.get(text(node.child_by_field_name("operator")))
        return done(left, right) if done and left is not None and right is not None else None
    return None


def _unary(node: Any, known: Mapping[str, int]) -> int | None:
    inner = value_of(node.child_by_field_name("argument"), known)
    if inner is None:
        return None
    return {"-": -inner, "+": inner, "!": int(not inner), "~": ~inner}.get(text(node.child_by_field_name("operator")))


def _function(node: Any, constants_: Mapping[str, int]) -> Function:
    body = node.child_by_field_name("body")
    known = dict(constants_)
    for item in walk(body):
        if item.type == "init_declarator" and "const" in text(item.parent).split("=")[0]:
            name = item.child_by_field_name("declarator")
            _note(known, text(name), value_of(item.child_by_field_name("value"), known))
    loops = tuple(_loop(n) for n in walk(body) if n.type in LOOPS)
    arrays, scalars, streams = _names(node, known)
    accesses = tuple(_accesses(body, loops, arrays))
    pragmas = tuple(p for p in _pragmas(node))
    return Function(_called(node), node, node.start_point[0] + 1, loops, arrays, scalars, streams, accesses,
                    pragmas, known, _locals(body, {loop.counter for loop in loops}))  # fmt: skip


def _locals(body: Any, counters: set[str]) -> dict[str, Any]:
    """Local variables that get one value, where they are declared, with that value's expression."""
    given: dict[str, Any] = {}
    again: set[str] = set(counters)
    for node in walk(body):
        if node.type == "init_declarator" and node.child_by_field_name("declarator").type == "identifier":
            name = text(node.child_by_field_name("declarator"))
            again |= {name} & set(given)
            given[name] = node.child_by_field_name("value")
        elif node.type == "assignment_expression":
            again.add(text(node.child_by_field_name("left")))
        elif node.type == "update_expression":
            again.add(text(node.child_by_field_name("argument")))
    return {name: value for name, value in given.items() if name not in again}


def _loop(node: Any) -> Loop:
    line = node.start_point[0] + 1
    if node.type != "for_statement":
        return Loop(node, line, condition=node.child_by_field_name("condition"))
    first = node.child_by_field_name("initializer")
    begins = walk(first) if first else iter(())
    declared = next((n for n in begins if n.type in ("init_declarator", "assignment_expression")), None)
    name = start = None
    if declared is not None:
        name = declared.child_by_field_name("declarator") or declared.child_by_field_name("left")
        start = declared.child_by_field_name("value") or declared.child_by_field_name("right")
    update = node.child_by_field_name("update")
    counter = text(name) or next(iter(re.findall(r"[A-Za-z_]\w*", text(update))), "")
    return Loop(node, line, counter, start, node.child_by_field_name("condition"), update)


def _step(update: Any, counter: str, known: Mapping[str, int]) -> int | None:
    words = text(update).replace(" ", "")
    if words in (f"{counter}++", f"++{counter}"):
        return 1
    if words in (f"{counter}--", f"--{counter}"):
        return -1
    if match := re.fullmatch(rf"{re.escape(counter)}([+-])=(.+)", words):
        size = evaluated(match[2], known)
        return None if size is None else size if match[1] == "+" else -size
    if match := re.fullmatch(rf"{re.escape(counter)}={re.escape(counter)}([+-])(.+)", words):
        size = evaluated(match[2], known)
        return None if size is None else size if match[1] == "+" else -size
    return None


def _names(node: Any, known: Mapping[str, int]) -> tuple[dict[str, Array], dict[str, str], frozenset[str]]:
    """Arrays, scalar parameters with their types, and streams that a function declares or takes."""
    arrays: dict[str, Array] = {}
    scalars: dict[str, str] = {}
    streams: set[str] = set()
    for item in walk(node):
        if item.type in ("parameter_declaration", "optional_parameter_declaration"):
            if item.parent is None or item.parent.type != "parameter_list":
                continue
            _parameter(item, known, arrays, scalars, streams)
        elif item.type == "declaration":
            typed = text(item.child_by_field_name("type"))
            for child in item.children_by_field_name("declarator"):
                target = child.child_by_field_name("declarator") if child.type == "init_declarator" else child
                if target is not None and target.type == "array_declarator":
                    name, extents = _extents(target, known)
                    if "stream" not in typed:
                        arrays[name] = Array(name, extents, item.start_point[0] + 1)
                elif "stream" in typed and target is not None:
                    streams.add(text(target).split("(")[0])
    return arrays, scalars, frozenset(streams)


def _parameter(
    item: Any, known: Mapping[str, int], arrays: dict[str, Array], scalars: dict[str, str], streams: set[str]
) -> None:
    typed, declarator = text(item.child_by_field_name("type")), item.child_by_field_name("declarator")
    if declarator is None:
        return
    bare = next((text(n) for n in walk(declarator) if n.type == "identifier"), "")
    line = item.start_point[0] + 1
    if "stream" in typed or "burst_maxi" in typed:
        streams.add(bare)
    elif declarator.type == "array_declarator":
        name, extents = _extents(declarator, known)
        arrays[name] = Array(name, extents, line, True)
    elif declarator.type == "pointer_declarator":
        arrays[bare] = Array(bare, (0,), line, True)
    else:
        scalars[bare] = typed + ("&" if declarator.type == "reference_declarator" else "")


def _extents(declarator: Any, known: Mapping[str, int]) -> tuple[str, tuple[int, ...]]:
    extents: list[int] = []
    while declarator.type == "array_declarator":
        extents.insert(0, value_of(declarator.child_by_field_name("size"), known) or 0)
        declarator = declarator.child_by_field_name("declarator")
    return next((text(n) for n in walk(declarator) if n.type == "identifier"), ""), tuple(extents)


def _accesses(body: Any, loops: tuple[Loop, ...], arrays: Mapping[str, Array]) -> Iterator[Access]:
    for node in walk(body):
        if node.type == "subscript_expression" and (node.parent is None or node.parent.type != "subscript_expression"):
            made = _access(node, loops)
            if made is not None and made.array in arrays:
                yield made
        elif node.type == "pointer_expression" and text(node).startswith("*"):
            yield from _dereference(node, loops, arrays)


def _dereference(node: Any, loops: tuple[Loop, ...], arrays: Mapping[str, Array]) -> Iterator[Access]:
    inner = node.child_by_field_name("argument")
    words = re.fullmatch(r"\(?\s*(\w+)\s*(?:\+\s*(.+?))?\s*\)?", text(inner))
    if words and words[1] in arrays and words[2]:
        plus = next((n for n in walk(inner) if n.type == "binary_expression"), None)
        around = tuple(loop for loop in loops if inside(node, loop.node))
        written, read = _use(node)
        if plus is not None:
            index = plus.child_by_field_name("right")
            yield Access(words[1], (index,), written, read, node.start_point[0] + 1, around, node)


def _access(node: Any, loops: tuple[Loop, ...]) -> Access | None:
    indices: list[Any] = []
    here = node
    while here.type == "subscript_expression":
        index = here.child_by_field_name("indices") or here.child_by_field_name("index") or here.named_children[-1]
        indices.insert(0, index)
        here = here.child_by_field_name("argument") or here.named_children[0]
    if here.type != "identifier":
        return None
    written, read = _use(node)
    around = tuple(loop for loop in loops if inside(node, loop.node) and not _header(node, loop.node))
    return Access(text(here), tuple(indices), written, read, node.start_point[0] + 1, around, node)


def _header(node: Any, loop: Any) -> bool:
    first = loop.child_by_field_name("initializer")
    return first is not None and inside(node, first)


def _use(node: Any) -> tuple[bool, bool]:
    """Whether an access is written, and whether it is read."""
    child = node
    while child.parent is not None and child.parent.type == "field_expression":
        child = child.parent
    up = child.parent
    if up is not None and up.type == "assignment_expression" and up.child_by_field_name("left") == child:
        return True, text(up.child_by_field_name("operator")) != "="
    if up is not None and up.type == "update_expression":
        return True, True
    return False, True


def _pragmas(function: Any) -> Iterator[Pragma]:
    for node in walk(function):
        if node.type != "preproc_call":
            continue
        match = re.match(r"#\s*pragma\s+HLS\s+(\w+)(.*)", text(node).strip().replace("\\\n", " "), re.IGNORECASE)
        if match:
            words = re.sub(r"\s*=\s*", "=", match[2]).split()
            options = {k.lower(): v for k, _, v in (w.partition("=") for w in words if "=" in w)}
            flags = frozenset(w.lower() for w in words if "=" not in w)
            yield Pragma(match[1].lower(), options, flags, node.start_point[0] + 1, _scope(node), node)


def _scope(node: Any) -> Any:
    while node.parent is not None:
        node = node.parent
        if node.type in LOOPS or node.type == "function_definition":
            return node
    return node
