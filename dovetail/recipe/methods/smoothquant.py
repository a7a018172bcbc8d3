"""SmoothQuant (Xiao et al., arXiv 2211.10438): outliers of activations are moved into the weights that read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from dovetail.core.errors import DovetailError
from dovetail.model.graph import Graph
from dovetail.recipe.arithmetic.balance import balance
from dovetail.recipe.layerwise.scaling import largest, pairs, rescale
from dovetail.recipe.method import Form, method
from dovetail.recipe.quantising import stored_dtypes
from dovetail.recipe.targets import check_dense, graph_of

if TYPE_CHECKING:
    from dovetail.recipe.layerwise.run import OnLayer
    from dovetail.recipe.layerwise.work import LayerWork
    from dovetail.runtime.checkpoint import Checkpoint


@method("smoothquant")
@dataclass(frozen=True, slots=True)
class SmoothQuant:
    """Divide channels of activations by what makes them easy to round, and multiply the weights that read them.

    What the model computes stays the same; a method after this one rounds weights and activations. Channels of norms,
    and those between two linear layers of a block, are scaled: what each layer has of them is found by trying.
    """

    alpha: float = 0.5  # share of the difficulty that weights take over: 0 none, 1 all

    takes: ClassVar[Form] = "dense"
    leaves: ClassVar[Form] = "dense"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise DovetailError(f"an alpha of {self.alpha}", where="smoothquant.alpha", hint="0.5: from 0 to 1")

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return cls(), cls(0.8)

    def rewrite(self, graph: Graph) -> Graph:
        check_dense(graph)
        return graph

    def on_layers(self, checkpoint: Checkpoint) -> tuple[Checkpoint, OnLayer]:
        check_dense(graph_of(checkpoint.config)[0])
        dtypes = stored_dtypes(checkpoint)

        def smoothed(work: LayerWork) -> None:
            inputs = work.inputs(moments=False)
            for pair in pairs(work):
                names = pair.targets(work)
                x = pair.to_channels(inputs[names[0]].peak, pair.channels(work))
                w = pair.to_channels(largest(work, names), pair.channels(work))
                rescale(work, pair, balance(x, w, self.alpha), dtypes)

        return checkpoint, smoothed
