"""Small changes to an expression: what a slip of the hand would have made of a right one, undone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dovetail.hls.check.repairs.names import Known, paired, twins
from dovetail.hls.signature import text, walk

SWAPS = {
    "<": ("<=", ">", "!="), "<=": ("<", ">="), ">": (">=", "<", "!="), ">=": (">", "<="), "==": ("!=",),
    "!=": ("==", "<"), "+": ("-",), "-": ("+",), "&&": ("||",), "||": ("&&",), "<<": (">>",), ">>": ("<<",),
    "&": ("|",), "|": ("&",), "*": ("+",), "/": ("*",), "%": ("/",),
}  # fmt: skip
STEPS = {"+=": "-=", "-=": "+=", "=": "+=", "<<=": ">>=", ">>=": "<<="}


@dataclass(frozen=True, slots=True)
class Edit:
    """New text for the bytes from `start` to `end`; `cost` is how unlikely such a slip is, 0 for the likeliest.

    `slip` says what sort of slip it undoes, where that tells a class of bugs: zero, name, half, index, step, sign.
    """

    start: int
    end: int
    new: str
    cost: float
    slip: str = ""

    def of(self, raw: bytes, start: int, end: int) -> str:
        """The text from `start` to `end` with this change in it."""
        return (raw[start : self.start] + self.new.encode() + raw[self.end : end]).decode(errors="replace")


def _put(node: Any, new: str, cost: float, slip: str = "") -> Edit:
    return Edit(node.start_byte, node.end_byte, new, cost, slip)


def edits(expression: Any, known: Mapping[str, Known], literals: tuple[str, ...]) -> Iterator[Edit]:
    """Changes of one place each, anywhere within an expression."""
    for node in walk(expression):
        match node.type:
            case "number_literal":
                yield from _number(node, literals)
            case "identifier":
                yield from _identifier(node, known)
            case "binary_expression":
                yield from _binary(node)
            case "unary_expression" | "cast_expression":
                inner = node.child_by_field_name("argument") or node.child_by_field_name("value")
                yield _put(node, f"({text(inner)})", 0.4)
            case "call_expression" if node.child_by_field_name("function").type == "parenthesized_expression":
                yield _put(node, text(node.child_by_field_name("arguments")), 0.4)  # a cast, however it is read
            case "update_expression":
                yield from _update(node)
            case "assignment_expression":
                yield from _assignment(node)
            case "subscript_argument_list":
                yield from _index(node, known)
            case "conditional_expression":
                yield from _conditional(node)


def _number(node: Any, literals: tuple[str, ...]) -> Iterator[Edit]:
    word = text(node)
    if re.fullmatch(r"\d+[uUlL]*", word):
        value = int(re.match(r"\d+", word)[0])  # type: ignore[index]
        near = [value + 1, *([value - 1] if value else []), *([value // 2] if value > 3 else []), 2 * value]
        near += [value - k for k in (8, 16, 32, 64) if _shifts(node) and value >= k]
        slip = "index" if _indexes(node) else "step" if _steps(node) else ""
        costs = ((v, 0.2 if abs(v - value) == 1 else 0.5) for v in dict.fromkeys(near) if v != value)
        yield from (_put(node, str(v), cost, slip) for v, cost in costs)
    if re.fullmatch(r"[0.]+f?", word):
        fit = [other for other in literals if other != word and not (_indexes(node) and "." in other)]
        fit += [other for other in ("4", "-1", "16") if other not in fit]  # none may be right, yet one brings it nearer
        yield from (_put(node, other, 0.4 + 0.02 * i, "zero") for i, other in enumerate(fit))


def _steps(node: Any) -> bool:
    """Whether a number is what a counter goes on by."""
    up = node.parent
    return up is not None and up.type == "assignment_expression" and text(up.child_by_field_name("operator")) == "+="


def _indexes(node: Any) -> bool:
    while node is not None and node.type.endswith(("expression", "literal")):
        node = node.parent
    return node is not None and node.type == "subscript_argument_list"


def _shifts(node: Any) -> bool:
    while node is not None and node.type.endswith(("expression", "literal")):
        if "<<" in text(node) or ">>" in text(node):
            return True
        node = node.parent
    return False


def _identifier(node: Any, known: Mapping[str, Known]) -> Iterator[Edit]:
    name, up = text(node), node.parent
    if name not in known or (up is not None and up.type in ("call_expression", "field_expression")):
        if name in known and up is not None and up.type == "field_expression":
            yield from _twins(node, known)
        return
    yield from _twins(node, known)
    target = up is not None and up.type in ("assignment_expression", "update_expression", "init_declarator")
    if not known[name].extents and not target and "stream" not in known[name].ctype:
        yield _put(node, f"dovetail::unsign({name})", 0.7, "sign")


def _twins(node: Any, known: Mapping[str, Known]) -> Iterator[Edit]:
    name = text(node)
    for place, other in enumerate(twins(name, known, _written(node))):
        yield _put(node, other, 0.3 + 0.15 * place, "half" if paired(name, other) else "")


def _written(node: Any) -> bool:
    """Whether what a name stands for is assigned to, or counted up."""
    up = node.parent
    while up is not None and up.type in ("subscript_expression", "field_expression") and up.named_children[0] == node:
        node, up = up, up.parent
    left = up.child_by_field_name("left") if up is not None and up.type == "assignment_expression" else None
    return up is not None and (left == node or up.type == "update_expression")


def _binary(node: Any) -> Iterator[Edit]:
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    sign = node.child_by_field_name("operator")
    for place, other in enumerate(SWAPS.get(text(sign), ())):
        yield Edit(sign.start_byte, sign.end_byte, other, 0.1 + 0.2 * place)
    if text(sign) in ("+", "-", "*", "/", "%", "&", "|", "<<", ">>"):
        yield _put(node, text(left), 0.25, "index" if _indexes(node) else "")
        yield _put(node, text(right), 0.5 if text(sign) == "+" else 0.8)
    if text(sign) in ("<<", ">>"):
        yield _put(right, f"(({text(right)}) & 31)", 0.5)
        yield _put(right, f"(({text(right)}) - 32)", 0.4)
        yield _put(right, f"(-({text(right)}))", 0.4)
    if text(sign) in ("<", "<=", ">", ">=", "!="):
        yield _put(right, f"({text(right)}) - 1", 0.2)
        yield _put(right, f"({text(right)}) + 1", 0.2)
        yield _put(right, f"({text(right)}) * 2", 0.6)
        yield _put(right, f"({text(right)}) / 2", 0.6)


def _update(node: Any) -> Iterator[Edit]:
    name, sign = text(node.child_by_field_name("argument")), text(node.child_by_field_name("operator"))
    yield _put(node, f"{name}{'--' if sign == '++' else '++'}", 0.2)
    yield from (_put(node, f"{name} {sign[0]}= {k}", 0.4, "step") for k in (2, 4))


def _assignment(node: Any) -> Iterator[Edit]:
    sign, right = node.child_by_field_name("operator"), node.child_by_field_name("right")
    if text(sign) in STEPS:
        yield Edit(sign.start_byte, sign.end_byte, STEPS[text(sign)], 0.5)
    if text(sign) == "+=":
        yield Edit(sign.start_byte, sign.end_byte, "=", 0.6)
    if right is not None and right.type not in ("number_literal", "initializer_list"):
        yield _put(right, f"dovetail::unsign({text(right)})", 0.6, "sign")


def _index(node: Any, known: Mapping[str, Known]) -> Iterator[Edit]:
    if len(node.named_children) != 1:
        return
    inner = node.named_children[0]
    yield _put(inner, f"({text(inner)}) + 1", 0.2, "index")
    yield _put(inner, f"({text(inner)}) - 1", 0.2, "index")
    if other := re.fullmatch(r"1 - \(?(\w+)\)?", text(inner)):
        yield _put(inner, other[1], 0.1, "half")
    yield _put(inner, f"1 - ({text(inner)})", 0.35, "half")
    array = node.parent.named_children[0] if node.parent is not None else None
    extents = known[text(array)].extents if array is not None and text(array) in known else ()
    if len(extents) == 1 and extents[0]:
        yield _put(inner, f"({text(inner)}) + ({extents[0]}) / 2", 0.4, "half")
        yield _put(inner, f"({text(inner)}) - ({extents[0]}) / 2", 0.4, "half")


def _conditional(node: Any) -> Iterator[Edit]:
    yield _put(node, text(node.child_by_field_name("consequence")), 0.7)
    yield _put(node, text(node.child_by_field_name("alternative")), 0.7)
