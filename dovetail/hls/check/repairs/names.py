"""What a function's names are: their types, extents and where they hold, for changes that put one for another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from dovetail.hls.signature import text, walk

_OPPOSITE = (
    ("ping", "pong"), ("lo", "hi"), ("low", "high"), ("even", "odd"), ("left", "right"), ("first", "second"),
    ("top", "bottom"), ("front", "back"), ("upper", "lower"), ("a", "b"), ("x", "y"), ("0", "1"), ("1", "2"),
)  # fmt: skip
_WORDS = {"const", "static", "constexpr", "register", "volatile"}


@dataclass(frozen=True, slots=True)
class Known:
    """One name: its type without qualifiers, its extents as written, whether it may be written, and where it holds."""

    name: str
    ctype: str
    extents: tuple[str, ...] = ()
    fixed: bool = False
    first: int = 0
    last: int = 1 << 62

    @property
    def shape(self) -> tuple[str, int]:
        """What two names that can stand for each other share."""
        return self.ctype, len(self.extents)


def names_of(function: Any, tree: Any) -> dict[str, Known]:
    """Parameters, local variables, and variables of the file, by name."""
    found: dict[str, Known] = {}
    for node in tree.children:
        if node.type == "declaration":
            found |= _declared(node, 1 << 62)
    for node in walk(function):
        if node.type in ("declaration", "parameter_declaration"):
            found |= _declared(node, _ends(node))
    return found


def held(known: Mapping[str, Known], node: Any) -> dict[str, Known]:
    """The names that hold where a node stands."""
    return {name: one for name, one in known.items() if one.first < node.start_byte < one.last}


def _ends(node: Any) -> int:
    while node.parent is not None and node.type not in ("compound_statement", "for_statement", "function_definition"):
        node = node.parent
    return int(node.end_byte)


def _declared(node: Any, last: int) -> dict[str, Known]:
    kind = text(node.child_by_field_name("type"))
    fixed = bool({"const", "constexpr"} & {text(c) for c in node.children if c.type == "type_qualifier"})
    out = {}
    for child in node.children_by_field_name("declarator"):
        inner = child.child_by_field_name("declarator") if child.type == "init_declarator" else child
        extents: list[str] = []
        while inner is not None and inner.type != "identifier":
            if inner.type == "function_declarator":
                break
            if inner.type == "array_declarator":
                extents.insert(0, text(inner.child_by_field_name("size")))
            elif inner.type == "pointer_declarator":
                extents.insert(0, "")
            inner = inner.child_by_field_name("declarator") or next(iter(inner.named_children), None)
        if inner is not None and inner.type == "identifier":
            bare = " ".join(word for word in kind.split() if word not in _WORDS)
            out[text(inner)] = Known(text(inner), bare, tuple(extents), fixed, node.end_byte - 1, last)
    return out


def twins(name: str, known: Mapping[str, Known], written: bool, most: int = 4) -> list[str]:
    """Other names of the same type and rank, those that look most like this one first."""
    if name not in known:
        return []
    same = [n for n, other in known.items() if n != name and other.shape == known[name].shape]
    same = [n for n in same if not (written and known[n].fixed)]
    return sorted(same, key=lambda other: (-_alike(name, other), other))[:most]


def _alike(one: str, other: str) -> float:
    same_letters = re.sub(r"\d+", "#", one) == re.sub(r"\d+", "#", other)
    return SequenceMatcher(None, one, other).ratio() + same_letters


def paired(one: str, other: str) -> bool:
    """Whether two names are those of the two halves of something: alike but for one word, and that its opposite."""
    parts = [re.findall(r"[A-Z]?[a-z]+|\d|_", name) for name in (one, other)]
    if len(parts[0]) != len(parts[1]):
        return False
    differ = [(a.lower(), b.lower()) for a, b in zip(*parts) if a != b]
    return len(differ) == 1 and (differ[0] in _OPPOSITE or differ[0][::-1] in _OPPOSITE)
