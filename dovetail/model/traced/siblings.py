"""What engines run as one kernel: products of one input, stacked, and the elementwise work of one block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dovetail.model.operators import Linear, Operator
from dovetail.model.traced.atens import aten
from dovetail.model.traced.contractions import Contraction
from dovetail.model.traced.export import module_path
from dovetail.model.traced.flow import Flow
from dovetail.model.traced.place import unit_of

if TYPE_CHECKING:
    from torch.fx import Node


def siblings(flow: Flow, products: Mapping[Node, Contraction]) -> dict[Node, list[Node]]:
    """Linear layers of one module and one input (queries, keys, values), by each of them; single ones are absent."""
    alike: dict[object, list[Node]] = {}
    for node, found in products.items():
        if aten(node) == "linear" and flow.parameter(found.right):
            path = module_path(node)
            parent = path.rpartition(".")[0]
            alike.setdefault((found.left, parent, unit_of(path), found.m, found.k), []).append(node)
    return {node: group for group in alike.values() if len(group) > 1 for node in group}


def stacked(name: str, products: list[Operator]) -> Linear:
    """One product with the matrices of all, stacked along the outputs."""
    linear = [p for p in products if isinstance(p, Linear)]
    first = linear[0]
    weights = tuple(w for p in linear for w in p.weights)
    return Linear(name, (), weights, first.m, first.k, sum(p.n for p in linear), split=first.split)


def stacked_name(paths: list[str]) -> str:
    """``self_attn.q_proj+k_proj+v_proj``."""
    parent = paths[0].rpartition(".")[0]
    return ".".join(filter(None, (parent, "+".join(path.rpartition(".")[2] for path in paths))))


def together(last: str, path: str) -> bool:
    """Whether elementwise work called in these places is one kernel: in one module, or in a block and a part of it.

    A layer as a whole is no block: its residual and the norm after it stay two.
    """
    if last == path:
        return True
    short, long = sorted((last, path), key=len)
    unit = unit_of(short)
    return unit is not None and f"{short}." > unit.prefix and long.startswith(f"{short}.")
