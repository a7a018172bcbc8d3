"""How tensor parallelism divides a traced module: as Megatron-LM does (arXiv 1909.08053), found by following the data.

Tensors between products form regions: what elementwise work and attention connect, without passing a matrix. A region
that only products enter and only products leave can be divided by channels: those that make it are split by outputs,
those that read it by inputs, and their partial sums are reduced. The residual stream is never such a region.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dovetail.model.traced.atens import aten
from dovetail.model.traced.attention import Found
from dovetail.model.traced.contractions import Contraction
from dovetail.model.traced.flow import Flow

if TYPE_CHECKING:
    from torch.fx import Node

_OVER_CHANNELS = frozenset(["layer_norm", "rms_norm", "mean", "sum", "softmax", "_softmax", "amax", "norm", "var"])
_WHOLE = frozenset(["cumsum", "sort", "topk", "argmax", "group_norm", "native_layer_norm", "prod", "std", "var_mean"])


@dataclass(slots=True)
class Region:
    """Tensors that one another's channels meet in."""

    sources: list[Node] = field(default_factory=list)
    sinks: list[Node] = field(default_factory=list)
    attends: bool = False
    whole: bool = False  # not to be divided


@dataclass(frozen=True, slots=True)
class Splits:
    """What is divided: `products` as `Linear.split` says, elementwise nodes and attentions in `divided`."""

    products: Mapping[Node, str]
    divided: frozenset[Node]


def splits(flow: Flow, products: Mapping[Node, Contraction], attentions: Mapping[Node, Found], hidden: int) -> Splits:
    """How every product with a weight is divided; ``whole`` where following the data finds no way."""
    regions, inner = _Regions(flow, products, attentions, hidden), set[int]()
    for number, region in regions.ordered():
        reduced = any(regions.entered(source) in inner for source in region.sources)
        if region.sources and region.sinks and not region.whole and not reduced:
            inner.add(number)
    found = {node: regions.split(node, inner) for node in products}
    return Splits(found, frozenset(n for n, number in regions.of.items() if number in inner and n not in products))


class _Regions:
    """Connected tensors, by union of each node with what it computes on; a product starts a region of its own."""

    def __init__(
        self, flow: Flow, products: Mapping[Node, Contraction], attentions: Mapping[Node, Found], hidden: int
    ) -> None:
        self.flow, self.products, self.hidden = flow, products, hidden
        self.nodes = [n for n in flow.trace.nodes if n in flow.data or n.op == "output"]
        self.parent: dict[Node, Node] = {n: n for n in self.nodes}
        for node in self.nodes:
            for each in () if node in products else self._computed_on(node):
                self.parent[self._top(node)] = self._top(each)
        places = {n: i for i, n in enumerate(self.nodes)}
        self.of = {n: places[self._top(n)] for n in self.nodes}
        self.regions: dict[int, Region] = {}
        for node in self.nodes:
            self._note(node, node in attentions or any(node in a.inner for a in attentions.values()))

    def ordered(self) -> list[tuple[int, Region]]:
        """Regions in the order in which the data reaches them."""
        return list(self.regions.items())

    def entered(self, product: Node) -> int:
        """The region that a product reads."""
        return self.of[self._activation(product)]

    def split(self, node: Node, inner: set[int]) -> str:
        if self.entered(node) in inner:
            return "in"
        if self.of[node] not in inner:
            return "whole"
        return "heads" if self.regions[self.of[node]].attends else "out"

    def _note(self, node: Node, attends: bool) -> None:
        region = self.regions.setdefault(self.of[node], Region())
        if node in self.products:
            region.sources.append(node)
            read = self.regions.setdefault(self.entered(node), Region())
            read.sinks.append(node)
            found = self.products[node]
            read.whole |= found.n.constant != self.hidden or found.batch.constant != 1
            region.whole |= found.batch.constant != 1 or aten(node).startswith("conv")
        else:
            region.attends |= attends
            region.whole |= self._keeps_whole(node, attends)

    def _keeps_whole(self, node: Node, attends: bool) -> bool:
        """Whether a node needs all channels, or is where tensors come from or go to."""
        name = aten(node)
        if attends or self.flow.parameter(node):
            return False
        if node.op != "call_function" or name in _WHOLE or name == "embedding" or name.endswith(("mm", "matmul")):
            return True
        return name in _OVER_CHANNELS and not self._within_heads(node)

    def _within_heads(self, node: Node) -> bool:
        """Whether it reduces the last dimension alone, of a tensor that has been divided into heads."""
        shape = self.flow.trace.shape(node.all_input_nodes[0])
        given = node.args[1] if len(node.args) > 1 else None
        last = given in (-1, [-1], len(shape) - 1, [len(shape) - 1]) or (given == [shape[-1].constant])
        return last and len(shape) > 3

    def _computed_on(self, node: Node) -> list[Node]:
        return [i for i in node.all_input_nodes if i in self.parent and not self.flow.parameter(i)]

    def _activation(self, product: Node) -> Node:
        found = self.products[product]
        return found.right if self.flow.parameter(found.left) and not self.flow.parameter(found.right) else found.left

    def _top(self, node: Node) -> Node:
        while self.parent[node] is not node:
            self.parent[node] = self.parent[self.parent[node]]
            node = self.parent[node]
        return node
