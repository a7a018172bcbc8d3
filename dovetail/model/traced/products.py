"""Products as operators: the tensor that is a parameter becomes the weight, under the path it has in the module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovetail.core.formats import Format
from dovetail.model.operators import Linear, Operator, Pointwise, Weight
from dovetail.model.traced.contractions import Contraction
from dovetail.model.traced.flow import Flow, order
from dovetail.model.traced.size import Size

if TYPE_CHECKING:
    from torch.fx import Node


class Products:
    """Makes operators of contractions; a parameter that is read in slices is stored with the first of them."""

    def __init__(self, flow: Flow, formats: dict[str, Format]) -> None:
        self.flow = flow
        self.formats = formats
        self.sizes = {name: p.numel() for name, p in flow.trace.module.named_parameters()}
        self.sliced: set[str] = set()

    def operators(self, name: str, found: Contraction, *, linear: bool, split: str) -> Iterator[Operator]:
        """The product; where both operands are activations, also the reading of the second."""
        if self.flow.parameter(found.left) and not self.flow.parameter(found.right):
            found = found.turned()
        matrix = self.flow.parameter(found.right)
        experts = (found.batch.constant or 1) if matrix else 1
        weights = (*self._matrix(found, matrix, experts, linear), *self._bias(found.bias))
        rows = found.batch * found.m
        yield Linear(
            name, weights=weights, m=rows, k=_plain(found.k), n=_plain(found.n), experts=experts, active=experts,
            split=split, top_k=experts,
        )  # fmt: skip
        if not matrix:
            yield Pointwise(f"{name}.operand", read=self.flow.smallest(found.right), flops_per_element=0.0)

    def _matrix(self, found: Contraction, name: str, experts: int, linear: bool) -> Iterator[Weight]:
        if not name or name in self.sliced:
            return
        if order(self.flow.smallest(found.right)) < self.sizes[name]:
            self.sliced.add(name)
        inputs = found.k.constant or 1
        yield Weight(name, self.sizes[name] // (inputs * experts), inputs, self.formats[name], experts, linear)

    def _bias(self, bias: Node | None) -> Iterator[Weight]:
        if bias is not None and (name := self.flow.parameter(bias)):
            yield self.vector(name)

    def vector(self, name: str) -> Weight:
        """A parameter that is no matrix of a product: a row, or a table as it is."""
        shape = tuple(self.flow.trace.module.get_parameter(name).shape)
        rows = shape[0] if len(shape) > 1 else 1
        return Weight(name, rows, self.sizes[name] // max(1, rows), self.formats[name], linear=False)


def _plain(size: Size) -> Size | int:
    """A number where it is one."""
    return size if size.constant is None else size.constant
