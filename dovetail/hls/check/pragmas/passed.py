"""Where a port goes: the functions it is handed to, and its name there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dovetail.hls.check.pragmas.model import Function
from dovetail.hls.signature import text, walk


def passed(function: Function, port: str, every: Sequence[Function], depth: int = 0) -> Iterator[tuple[Function, str]]:
    """Where a port is accessed: here under its name, and in the functions it is handed to under theirs."""
    yield function, port
    if depth > 4:
        return
    for node in walk(function.node):
        if node.type != "call_expression":
            continue
        name = text(node.child_by_field_name("function")).split("<")[0].split("::")[-1]
        callee = next((f for f in every if f.name == name and f is not function), None)
        if callee is None:
            continue
        given = [text(a) for a in node.child_by_field_name("arguments").named_children]
        taken = _taken(callee)
        for argument, parameter in zip(given, taken):
            if argument == port and parameter in callee.arrays:
                yield from passed(callee, parameter, every, depth + 1)


def _taken(function: Function) -> list[str]:
    listed = next((n for n in walk(function.node) if n.type == "parameter_list"), None)
    items = [n for n in listed.named_children if n.type.endswith("parameter_declaration")] if listed is not None else []
    return [next((text(n) for n in walk(i.child_by_field_name("declarator")) if n.type == "identifier"), "")
            if i.child_by_field_name("declarator") is not None else "" for i in items]  # fmt: skip
