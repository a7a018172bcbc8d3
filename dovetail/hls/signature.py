"""What the text of a design says about its top function: the parameters, their types and extents, as written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.lazy import require


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter as written: `extents` are the texts between the brackets, outermost first ("" where empty)."""

    name: str
    ctype: str
    pointers: int = 0
    reference: bool = False
    const: bool = False
    extents: tuple[str, ...] = ()

    @property
    def many(self) -> bool:
        """Whether it can hold several elements: an array or a pointer."""
        return bool(self.extents or self.pointers)


@dataclass(frozen=True, slots=True)
class Signature:
    """A function: name, return type, parameters, the line it starts on, and its template parameters."""

    name: str
    returns: str
    parameters: tuple[Parameter, ...]
    line: int
    last: int
    template: tuple[str, ...] = ()
    static: bool = False
    calls: tuple[str, ...] = ()


@cache
def _parser() -> Any:
    library, grammar = require("tree_sitter", "hls", to="read C++"), require("tree_sitter_cpp", "hls", to="read C++")
    return library.Parser(library.Language(grammar.language()))


@lru_cache(maxsize=4)  # a check asks for the same few texts again and again
def parse(source: str) -> Any:
    """The syntax tree of a C++ text (tree-sitter's root node). Raises `DovetailError` without the library."""
    return _parser().parse(source.encode()).root_node


def text(node: Any) -> str:
    """The source text of a node."""
    return str(node.text.decode()) if node is not None else ""


def walk(node: Any) -> Iterator[Any]:
    """A node and all below it, in the order of the text."""
    stack = [node]
    while stack:
        here = stack.pop()
        yield here
        stack.extend(reversed(here.children))


@lru_cache(maxsize=4)
def functions(source: str) -> tuple[Signature, ...]:
    """Every function the text defines, in its order."""
    found = (n for n in walk(parse(source)) if n.type == "function_definition")
    return tuple(made for node in found if (made := _signature(node)) is not None)


def top_function(source: str, top: str = "") -> Signature:
    """The function called `top`; without a name, the last one that no other function of the text calls.

    Raises
    ------
    DovetailError
        There is no such function, or none at all.
    """
    known = [f for f in functions(source) if f.name.split("::")[-1] != "main"]
    if not known:
        raise DovetailError("no function is defined in this text", hint="give an HLS C++ file")
    if not top:
        called = {name for f in functions(source) for name in f.calls if f.name != "main" and name != f.name}
        free = [f for f in known if f.name not in called]
        return (free or known)[-1]
    found = [f for f in known if f.name == top] or [f for f in known if f.name.split("::")[-1] == top.split("::")[-1]]
    if not found:
        raise DovetailError(f"no function '{top}'", hint=did_you_mean(top, sorted({f.name for f in known})))
    return max(found, key=lambda f: len(f.parameters))


def reached(source: str, top: str) -> frozenset[str]:
    """Names of the functions that the top needs: those it names, those that they name, and so on, itself included."""
    lines, known = source.splitlines(), functions(source)
    names = {f.name.split("::")[-1] for f in known}
    uses: dict[str, set[str]] = {}
    for f in known:
        words = set(re.findall(r"[A-Za-z_]\w*", "\n".join(lines[f.line - 1 : f.last])))
        uses.setdefault(f.name.split("::")[-1], set()).update(words & names)
    found, ahead = set[str](), [top.split("::")[-1]]
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += uses.get(name, ())
    return frozenset(found)


def _signature(node: Any) -> Signature | None:
    declarator = node.child_by_field_name("declarator")
    pointers = ""
    while declarator is not None and declarator.type in ("pointer_declarator", "reference_declarator"):
        pointers += "*" if declarator.type[0] == "p" else "&"
        declarator = declarator.child_by_field_name("declarator") or declarator.named_children[-1]
    if declarator is None or declarator.type != "function_declarator":
        return None
    name = text(declarator.child_by_field_name("declarator"))
    parameters = declarator.child_by_field_name("parameters")
    made = tuple(_parameter(p) for p in parameters.named_children if p.type.endswith("parameter_declaration"))
    if len(made) == 1 and made[0].ctype == "void" and not made[0].many:
        made = ()
    template = node.parent if node.parent is not None and node.parent.type == "template_declaration" else None
    listed = template.child_by_field_name("parameters").named_children if template is not None else []
    storage = {text(c) for c in node.children if c.type == "storage_class_specifier"}
    called = {text(c.child_by_field_name("function")).split("<")[0] for c in walk(node) if c.type == "call_expression"}
    returns = text(node.child_by_field_name("type")) + pointers
    return Signature(name, returns, made, node.start_point[0] + 1, node.end_point[0] + 1,
                     tuple(text(n) for n in listed), "static" in storage, tuple(sorted(called)))  # fmt: skip


def _parameter(node: Any) -> Parameter:
    const = any(c.type == "type_qualifier" and text(c) == "const" for c in node.children)
    ctype, inner = text(node.child_by_field_name("type")), node.child_by_field_name("declarator")
    extents: list[str] = []
    pointers, reference = 0, False
    while inner is not None and inner.type != "identifier":
        if "array" in inner.type:
            extents.insert(0, text(inner.child_by_field_name("size")))
        elif "pointer" in inner.type:
            pointers += 1
        elif "reference" in inner.type:
            reference = True
        named = [c for c in inner.named_children if c.type.endswith("declarator") or c.type == "identifier"]
        inner = inner.child_by_field_name("declarator") or (named[-1] if named else None)
    return Parameter(text(inner), ctype, pointers, reference, const, tuple(extents))
