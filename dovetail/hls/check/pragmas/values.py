"""Integer expressions of a text: what they are when some names have values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from dovetail.hls.signature import parse, text, walk


def constants(tree: Any) -> dict[str, int]:
    """Macros, enumerators and constant integers of a text, by name."""
    known: dict[str, int] = {}
    for node in walk(tree):
        if node.type == "preproc_def":
            note(
                known, text(node.child_by_field_name("name")), evaluated(text(node.child_by_field_name("value")), known)
            )
        elif node.type == "init_declarator" and "const" in text(node.parent).split("=")[0]:
            name = node.child_by_field_name("declarator")
            if name is not None and name.type == "identifier":
                note(known, text(name), value_of(node.child_by_field_name("value"), known))
        elif node.type == "enumerator" and node.child_by_field_name("value") is not None:
            note(known, text(node.child_by_field_name("name")), value_of(node.child_by_field_name("value"), known))
        elif node.type == "optional_parameter_declaration" and node.child_by_field_name("default_value") is not None:
            note(known, text(node.child_by_field_name("declarator")),
                  value_of(node.child_by_field_name("default_value"), known))  # fmt: skip
    return known


def note(known: dict[str, int], name: str, value: int | None) -> None:
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
