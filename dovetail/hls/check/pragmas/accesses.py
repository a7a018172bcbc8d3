"""Every subscript of a function: of which array, at which indices, inside which loops."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dovetail.hls.check.pragmas.model import Access, Array, Loop, inside
from dovetail.hls.signature import text, walk


def accesses_of(body: Any, loops: tuple[Loop, ...], arrays: Mapping[str, Array]) -> Iterator[Access]:
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
