"""GPTQ (Frantar et al., arXiv 2210.17323): integer weights whose rounding errors make good for each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.model.graph import Graph
from dovetail.recipe.arithmetic.gptq import compensated
from dovetail.recipe.layerwise.staged import staged
from dovetail.recipe.method import Form, method
from dovetail.recipe.quantising import LayerBits, Quantised
from dovetail.recipe.scheme import Scheme

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dovetail.recipe.arithmetic.gptq import Rounded
    from dovetail.recipe.layerwise.inputs import Inputs
    from dovetail.recipe.layerwise.run import OnLayer
    from dovetail.runtime.checkpoint import Checkpoint


@method("gptq")
@dataclass(frozen=True, slots=True)
class GPTQ:
    """Store linear weights as integers of `bits`, rounded so that outputs on a calibration text change least.

    As `rtn`, but each weight's rounding error is made good by the weights of the same row that are rounded after it.
    Layers that read what earlier ones write are calibrated on what these write after rounding.
    """

    bits: int = 4  # 2 to 8
    group: int = 128  # inputs that share a scale, or the nearest divisor of the columns below; 0: one scale per row
    symmetric: bool = True  # otherwise each scale has a zero point
    act_bits: int = 16  # of inputs, rounded per token as they come: 8 or 4; 16: as they are
    layers: LayerBits = ()  # bits of single layers: {glob: bits}; 16: as it is
    order: bool = True  # columns with the largest inputs are rounded first
    search: bool = True  # scales by the least squared error instead of the largest weight
    damp: float = 0.01  # added to the diagonal of the inputs' second moment, as a share of its mean

    takes: ClassVar[Form] = "dense"
    leaves: ClassVar[Form] = "packed"

    def __post_init__(self) -> None:
        self.scheme()
        if not 0 < self.damp < np.inf:
            raise DovetailError(f"a damping of {self.damp}", where="gptq.damp", hint="0.01: above 0")

    def scheme(self) -> Scheme:
        """How every matrix is stored that `layers` does not name."""
        return Scheme(self.bits, self.group, self.symmetric, self.act_bits)

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        group = min(*columns, 128)
        return cls(4, group), cls(3, 0, False, order=False), cls(8, 0, act_bits=8), cls(2, group, order=False)

    def rewrite(self, graph: Graph) -> Graph:
        return Quantised.of(graph, self.scheme(), self.layers).rewrite()

    def on_layers(self, checkpoint: Checkpoint) -> tuple[Checkpoint, OnLayer]:
        return staged(checkpoint, self.scheme(), self.layers, self._rounded)

    def rounded(self, weights: Sequence[Tensor], inputs: Inputs, bits: int, dtype: torch.dtype) -> Sequence[Tensor]:
        scheme = replace(self.scheme(), bits=bits).fitted(weights[0].shape[1], "gptq")
        factored = inputs.factored(self.damp, self.order)
        return [compensated(w, factored, scheme, search=self.search, dtype=dtype).values for w in weights]

    def _rounded(self, weight: Tensor, inputs: Inputs, scheme: Scheme, dtype: torch.dtype) -> Rounded:
        factored = inputs.factored(self.damp, self.order)
        return compensated(weight, factored, scheme, search=self.search, dtype=dtype)
