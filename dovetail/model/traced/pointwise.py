"""Elementwise work of one module in a row, as one kernel: what it reads from outside, and what outside reads of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dovetail.core.formats import Number
from dovetail.model.operators import Pointwise
from dovetail.model.traced.atens import FLOPS, aten
from dovetail.model.traced.flow import Flow, is_tensor, order, readers, root
from dovetail.model.traced.products import Products
from dovetail.model.traced.size import Ratio, Size

if TYPE_CHECKING:
    from torch.fx import Node


def pointwise(name: str, nodes: list[Node], flow: Flow, products: Products) -> Pointwise | None:
    """The operator of nodes that follow one another; None where nothing uses what they make."""
    group = set(nodes)
    written = [flow.elements(n) for n in nodes if any(reader not in group for reader in readers(n))]
    if not written:
        return None
    total = sum(written, start=Size())
    work = sum((flow.elements(n) * Size.of(int(FLOPS[aten(n)])) for n in nodes), start=Size())
    names = {flow.parameter(i): None for n in nodes for i in n.all_input_nodes if flow.parameter(i)}
    weights = tuple(products.vector(each) for each in names)
    read = _read(group, flow)
    rate: Number = Ratio(work, total)
    return Pointwise(name, (), weights, read, total, rate, held=read + total)


def _read(group: set[Node], flow: Flow) -> Size:
    """Elements that come from outside: of each tensor the views that are used, and no more than all of it."""
    used: dict[Node, dict[Node, Size]] = {}
    for node in group:
        for each in filter(is_tensor, node.all_input_nodes):
            source = root(each)
            if source not in group and not flow.parameter(each):
                used.setdefault(source, {})[each] = flow.elements(each)
    for node in group:  # of a table, the rows that are gathered
        if aten(node) == "embedding":
            used[node] = {node: flow.elements(node)}
    return sum((_capped(sum(parts.values(), start=Size()), flow.elements(s)) for s, parts in used.items()), Size())


def _capped(size: Size, most: Size) -> Size:
    return min(size, most, key=order) if most.terms else size
