"""Round-to-nearest quantisation: the baseline every calibrated method must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from dovetail.model.graph import Graph
from dovetail.recipe.arithmetic.rounding import grid, nearest
from dovetail.recipe.method import Form, method
from dovetail.recipe.packing import round_each, stored_nearest
from dovetail.recipe.quantising import LayerBits, Quantised, quantised
from dovetail.recipe.scheme import Scheme

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dovetail.recipe.layerwise.inputs import Inputs
    from dovetail.runtime.checkpoint import Checkpoint


@method("rtn")
@dataclass(frozen=True, slots=True)
class RTN:
    """Store linear weights as integers of `bits` with one scale per `group` inputs, from the weights alone.

    Embeddings, norms, biases, routers and the output head stay as they are. No data is looked at.
    """

    bits: int = 4  # 2 to 8
    group: int = 128  # inputs that share a scale, or the nearest divisor of the columns below; 0: one scale per row
    symmetric: bool = True  # otherwise each scale has a zero point
    act_bits: int = 16  # of inputs, rounded per token as they come: 8 or 4; 16: as they are
    layers: LayerBits = ()  # bits of single layers: {glob: bits}; 16: as it is

    takes: ClassVar[Form] = "dense"
    leaves: ClassVar[Form] = "packed"

    def __post_init__(self) -> None:
        self.scheme()

    def scheme(self) -> Scheme:
        """How every matrix is stored that `layers` does not name."""
        return Scheme(self.bits, self.group, self.symmetric, self.act_bits)

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        group = min(*columns, 128)
        wide = int(np.gcd.reduce([*columns, 128]))
        several = cls(4, group, layers=(("*.0.*.down_proj", 8), ("*.q_proj", 3), ("*.1.*.o_proj", 16)))
        return (
            *(cls(bits, wide) for bits in (2, 3, 4, 8)), cls(4, 0), cls(5, 0), cls(4, group, False), cls(3, 0, False),
            cls(8, 0, True, 8), cls(4, wide, True, 8), several,
        )  # fmt: skip

    def rewrite(self, graph: Graph) -> Graph:
        return Quantised.of(graph, self.scheme(), self.layers).rewrite()

    def on_weights(self, checkpoint: Checkpoint) -> Checkpoint:
        declared, schemes = quantised(checkpoint, self.scheme(), self.layers)
        return round_each(declared, schemes, stored_nearest)

    def rounded(self, weights: Sequence[Tensor], inputs: Inputs, bits: int, dtype: torch.dtype) -> Sequence[Tensor]:
        scheme = replace(self.scheme(), bits=bits).fitted(weights[0].shape[1], "rtn")
        return [nearest(weight, *grid(weight, scheme, dtype), scheme) for weight in weights]
