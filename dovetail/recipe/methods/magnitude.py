"""Magnitude pruning (Han et al., arXiv 1506.02626): the weights nearest to zero become zero."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.model.graph import Graph
from dovetail.model.operators import Weight
from dovetail.recipe.method import Form, method
from dovetail.recipe.targets import check_dense, graph_of, map_targets, targets_in

if TYPE_CHECKING:
    from torch import Tensor

    from dovetail.runtime.checkpoint import Checkpoint

_SCOPES = ("row", "tensor")


@method("magnitude")
@dataclass(frozen=True, slots=True)
class Magnitude:
    """Zero the smallest `fraction` of each row, or of each matrix. Zeros are stored: no byte is saved by itself."""

    fraction: float = 0.5  # between 0 and 1
    per: str = "row"  # row: every output keeps equally many inputs; tensor: one threshold a matrix

    takes: ClassVar[Form] = "dense"
    leaves: ClassVar[Form] = "dense"
    makes_zeros: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise DovetailError(
                f"cannot prune {self.fraction}", where="magnitude.fraction", hint="0.5: above 0, below 1"
            )
        if self.per not in _SCOPES:
            hint = did_you_mean(self.per, list(_SCOPES))
            raise DovetailError(f"unknown scope '{self.per}'", where="magnitude.per", hint=hint)

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return cls(0.5), cls(0.3, "tensor"), cls(0.75)

    def rewrite(self, graph: Graph) -> Graph:
        check_dense(graph)
        return map_targets(graph, self._stored)

    def _stored(self, weight: Weight) -> Weight:
        kept = min(weight.format.density, 1.0 - self.fraction)
        return replace(weight, format=replace(weight.format, density=kept, pattern="unstructured"))

    def on_weights(self, checkpoint: Checkpoint) -> Checkpoint:
        graph, inputs_first = graph_of(checkpoint.config)
        check_dense(graph)
        targets = targets_in(checkpoint.stored, graph, str(checkpoint.folder))

        def pruned(name: str, tensor: Tensor) -> dict[str, Tensor]:
            if name not in targets:
                return {name: tensor}
            return {name: self._pruned(tensor.T).T.contiguous() if inputs_first else self._pruned(tensor)}

        return checkpoint.map(pruned)

    def _pruned(self, weight: Tensor) -> Tensor:
        """`weight` (outputs, inputs) with exactly ``round(fraction * n)`` zeros in each row, or in all."""
        rows = weight if self.per == "row" else weight.reshape(1, -1)
        count = round(self.fraction * rows.shape[1])
        smallest = rows.abs().topk(count, dim=1, largest=False).indices
        return rows.scatter(1, smallest, 0.0).reshape(weight.shape)
