"""How the tree of a number looks: one number a line, its sources numbered and named once below."""

from __future__ import annotations

from typing import Any

from dovetail.app.output import folded
from dovetail.core.quantity import Quantity
from dovetail.core.units import show


def print_tree(name: str, root: Quantity, depth: int) -> None:
    """Print the tree of a quantity to `depth` levels below the root (0: all): value, formula, kind, number of source.

    With a depth, the number of what is below the last level is said.
    """
    sources: dict[str, int] = {}
    for level, part, q in root.tree(name):
        if depth and level > depth:
            continue
        number = f" {sources.setdefault(q.source, len(sources) + 1)}" if q.source else ""
        formula = f"  = {q.formula}" if q.formula else ""
        more = sum(1 for _ in q.tree(part)) - 1 if depth and level == depth else 0
        below = f"  ({more} more below)" if more else ""
        indent = "  " * level
        print(
            folded(f"{indent}{part}: {show(q.value, q.unit, 4)}{formula}  [{q.kind}{number}]{below}", len(indent) + 4)
        )
    print("sources")
    for source, number_of in sources.items():
        print(folded(f"{number_of:>4}  {source}", 6))


def tree_json(name: str, root: Quantity) -> dict[str, Any]:
    """The tree as nested JSON: each quantity with its name, formula and parts."""
    return {"name": name, **root.to_json(), "formula": root.formula, "parts": [tree_json(n, q) for n, q in root.parts]}
