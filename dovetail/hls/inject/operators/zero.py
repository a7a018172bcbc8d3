"""ZERO: zero where the design starts from another value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dovetail.hls.inject.mutant import Mutant, change, operator
from dovetail.hls.inject.syntax import Source, inside, text


@operator("zero-initialiser")
def initialiser(source: Source) -> Iterator[Mutant]:
    """A declaration's value, or one entry of its list, becomes zero."""
    for node in source.of("init_declarator"):
        value, name = node.child_by_field_name("value"), text(node.child_by_field_name("declarator"))
        if value is None or not inside(node, "function_definition") or "stream" in text(node.parent):
            continue
        if value.type == "initializer_list":
            for entry in _entries(value)[:10]:
                yield change(
                    "ZERO", "zero-initialiser", source, entry, "0", f"an entry of {name} is zero", name.split("[")[0]
                )
        elif _number(value) and node.parent.parent.type == "compound_statement":
            yield change("ZERO", "zero-initialiser", source, value, _zero(value), f"{name} starts from zero", name)


@operator("zero-assignment")
def assignment(source: Source) -> Iterator[Mutant]:
    """A resetting assignment of a constant becomes one of zero; a loop starts from zero."""
    for node in source.of("assignment_expression"):
        right = node.child_by_field_name("right")
        if text(node.child_by_field_name("operator")) == "=" and _number(right):
            left = text(node.child_by_field_name("left"))
            yield change(
                "ZERO", "zero-assignment", source, right, _zero(right), f"{left} is set to zero", left.split("[")[0]
            )
    for loop in source.loops:
        if loop.start not in (None, 0):
            for node in source.of("init_declarator"):
                if node.parent == loop.node.child_by_field_name("initializer"):
                    yield change(
                        "ZERO",
                        "zero-assignment",
                        source,
                        node.child_by_field_name("value"),
                        "0",
                        f"the loop over {loop.variable} starts from zero",
                        loop.variable,
                    )


def _entries(node: Any) -> list[Any]:
    out: list[Any] = []
    for child in node.named_children:
        out += _entries(child) if child.type == "initializer_list" else [child] if _number(child) else []
    return out


def _number(node: Any) -> bool:
    plain = text(node).lstrip("-+").rstrip("fFuUlL")
    literal = plain[:1].isdigit() and not all(ch in "0.xXeE" for ch in plain)
    named = node.type == "identifier" and plain.isupper() and len(plain) > 1
    return literal or named or text(node) == "true"


def _zero(node: Any) -> str:
    return "0.0f" if "." in text(node) else "false" if text(node) == "true" else "0"
