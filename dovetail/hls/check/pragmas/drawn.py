"""Whether data decide an index: an array, a stream or a call somewhere behind it."""

from __future__ import annotations

from typing import Any

from dovetail.hls.check.pragmas.model import Access, Function
from dovetail.hls.check.pragmas.schedule import (
    order_of,
    resolved,
)
from dovetail.hls.signature import text, walk


def resolved_by_data(function: Function, access: Access) -> bool:
    """Whether an index depends on an array, a stream or a call, not on counters and constants alone."""
    nodes = [*access.indices, *(node for _, node in resolved(function, access))]
    kinds = {n.type for node in nodes for n in walk(node)}
    return (
        bool(kinds & {"subscript_expression", "call_expression", "field_expression"})
        or order_of(function, access) is None
    )


def by_data(function: Function, access: Access) -> bool:
    """Whether data decide the address of every element; a base that data decide is fine when a row follows it."""
    inner = access.loops[-1]
    if not any(_drawn(function, name, inner.node) for name in _index_names(function, access)):
        indices = [n for index in access.indices for n in walk(index)]
        if not any(n.type in ("subscript_expression", "call_expression") for n in indices):
            values = [n for n in indices if n.type == "identifier" and text(n) == inner.counter]
            if values and text(access.indices[-1]).count("*") == 0:
                return False
    nodes = [*access.indices, *(node for _, node in resolved(function, access))]
    if any(n.type in ("subscript_expression", "call_expression") for node in nodes for n in walk(node)):
        return True
    counters = {loop.counter for loop in access.loops}
    names = {text(n) for index in access.indices for n in walk(index) if n.type == "identifier"}
    free = names - counters - set(function.known) - set(function.scalars) - set(function.locals)
    return any(_drawn(function, name) for name in free)


def _index_names(function: Function, access: Access) -> set[str]:
    """Variables an index depends on, through local ones too."""
    nodes = [*access.indices, *(node for _, node in resolved(function, access))]
    return {text(n) for node in nodes for n in walk(node) if n.type == "identifier"} | {
        name for name, _ in resolved(function, access)
    }


def _drawn(function: Function, name: str, scope: Any = None) -> bool:
    """Whether a variable is assigned from an array or a stream, within a scope."""
    for node in walk(scope if scope is not None else function.node):
        if node.type in ("assignment_expression", "init_declarator"):
            target = node.child_by_field_name("left") or node.child_by_field_name("declarator")
            value = node.child_by_field_name("right") or node.child_by_field_name("value")
            if text(target) == name and value is not None:
                return any(n.type in ("subscript_expression", "call_expression") for n in walk(value))
    return False
