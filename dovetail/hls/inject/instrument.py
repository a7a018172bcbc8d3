"""What is added to a design before it runs as a witness: a count in every loop, garbage in every empty variable.

Nothing moves to another line, so a sanitizer's line is a line of the design.
"""

from __future__ import annotations

from typing import Any

from dovetail.hls.inject.syntax import Edit, apply, inside, walk
from dovetail.hls.signature import parse, text

LOOPS = ("for_statement", "while_statement", "do_statement", "for_range_loop")
_NOT_FILLED = ("static", "const", "constexpr", "extern", "stream", "auto", "thread_local")


def instrumented(source: str) -> str:
    """The source with `dt::tick()` in every loop body and `dt::poison` after declarations that leave garbage."""
    root = parse(source)
    edits: list[Edit] = []
    for node in walk(root):
        if node.type in LOOPS:
            edits += _counted(node)
        elif node.type == "declaration" and node.parent.type == "compound_statement":
            edits += _filled(node)
    return apply(source, edits)


def _counted(node: Any) -> list[Edit]:
    body = node.child_by_field_name("body")
    if body is None:
        return []
    if body.type == "compound_statement":
        return [Edit(body.start_byte + 1, body.start_byte + 1, "::dt::tick();")]
    return [Edit(body.start_byte, body.start_byte, "{::dt::tick();"), Edit(body.end_byte, body.end_byte, "}")]


def _filled(node: Any) -> list[Edit]:
    if any(part in text(node).split("=")[0] for part in _NOT_FILLED) or not inside(node, "function_definition"):
        return []
    names = [_name(part) for part in node.children_by_field_name("declarator")]
    calls = "".join(f"::dt::poison({name});" for name in names if name)
    return [Edit(node.end_byte, node.end_byte, calls)] if calls else []


def _name(declarator: Any) -> str:
    """The declared name, empty when there is an initialiser, a pointer, a reference or a function."""
    while declarator is not None and declarator.type == "array_declarator":
        declarator = declarator.child_by_field_name("declarator")
    return text(declarator) if declarator is not None and declarator.type == "identifier" else ""
