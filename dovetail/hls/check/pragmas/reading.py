"""A text taken apart into functions, loops, arrays, accesses and pragmas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dovetail.hls.check.pragmas.accesses import accesses_of
from dovetail.hls.check.pragmas.model import LOOPS, Array, Function, Loop, Pragma
from dovetail.hls.check.pragmas.values import constants, note, value_of
from dovetail.hls.signature import parse, reached, text, walk


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


def _function(node: Any, constants_: Mapping[str, int]) -> Function:
    body = node.child_by_field_name("body")
    known = dict(constants_)
    for item in walk(body):
        if item.type == "init_declarator" and "const" in text(item.parent).split("=")[0]:
            name = item.child_by_field_name("declarator")
            note(known, text(name), value_of(item.child_by_field_name("value"), known))
    loops = tuple(_loop(n) for n in walk(body) if n.type in LOOPS)
    arrays, scalars, streams = _names(node, known)
    accesses = tuple(accesses_of(body, loops, arrays))
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
