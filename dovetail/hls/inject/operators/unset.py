"""INIT: initialisers and resetting assignments left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dovetail.hls.inject.mutant import Mutant, change, drop, operator
from dovetail.hls.inject.syntax import Source, inside, text


@operator("unset-declaration")
def declaration(source: Source) -> Iterator[Mutant]:
    """``int sum = 0;`` becomes ``int sum;`` inside functions, static and constant ones excepted."""
    for node in source.of("init_declarator"):
        parent = node.parent
        if parent.type != "declaration" or parent.parent.type != "compound_statement":
            continue
        if any(word in text(parent).split("=")[0] for word in ("static", "const ", "constexpr", "auto", "stream")):
            continue
        name = node.child_by_field_name("declarator")
        if name.type in ("identifier", "array_declarator"):
            yield change(
                "INIT", "unset-declaration", source, node, text(name), f"{text(name)} is not initialised", text(name)
            )


@operator("unset-assignment")
def assignment(source: Source) -> Iterator[Mutant]:
    """A statement that sets a variable or element to a constant is left out."""
    for node in source.of("expression_statement"):
        found = node.named_children[0] if node.named_children else None
        if found is None or found.type != "assignment_expression" or text(found.child_by_field_name("operator")) != "=":
            continue
        if _constant(found.child_by_field_name("right")) and inside(node, "function_definition"):
            left = text(found.child_by_field_name("left"))
            yield drop("INIT", "unset-assignment", source, node, f"{left} is not reset", left.split("[")[0])


def _constant(node: Any) -> bool:
    plain = text(node).lstrip("-")
    return (
        node.type in ("number_literal", "true", "false")
        or plain.replace(".", "").rstrip("f").isdigit()
        or plain.isupper()
    )
