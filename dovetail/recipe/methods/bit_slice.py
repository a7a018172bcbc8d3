"""Weights for crossbars: codes whose slices are empty and whose bitlines are small, at the least error of outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.crossbar.cells import Cells
from dovetail.crossbar.columns import Arrays
from dovetail.model.graph import Graph
from dovetail.recipe.arithmetic.slices import Price, sliced
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

_PRICED = ("balanced", "differential")


@method("bit-slice")
@dataclass(frozen=True, slots=True)
class BitSlice:
    """Store linear weights as integers that leave many cells of a crossbar empty; any reader of int8 rows loads them.

    As `gptq`, but among codes near a weight the cheapest counts, not the nearest: `price` is what a cell that is not
    empty costs, `level` what its conductance does. Each row's scale is the one whose codes cost least.
    """

    bits: int = 8  # of a code with its sign, 3 to 8
    price: float = 1e-4  # of a cell that is not empty, against errors of outputs; 0: the nearest codes
    level: float = 0.5  # of each level of a cell, in prices of a cell: large sums take large converters
    adc_bits: int = 0  # of converters whose range bitlines are kept within where that is cheap; 0: no matter
    over: float = 1e-3  # of a level beyond it, against errors of outputs
    encoding: str = "differential"  # of codes in cells; balanced: smaller sums on bitlines, more cells
    cell: int = 2  # bits of a cell: 1, 2 or 4
    rows: int = 128  # of an array
    act_bits: int = 16  # of inputs, rounded per token as they come: 8; 16: as they are
    layers: LayerBits = ()  # bits of single layers: {glob: bits}; 16: stays digital, as it is
    order: bool = True  # columns with the largest inputs are rounded first
    damp: float = 0.01  # added to the diagonal of the inputs' second moment, as a share of its mean

    takes: ClassVar[Form] = "dense"
    leaves: ClassVar[Form] = "packed"

    def __post_init__(self) -> None:
        self.scheme()
        Cells(self.cell, self.encoding)
        if self.encoding not in _PRICED:
            hint = "balanced or differential; sim and map know the others"
            raise DovetailError(f"no prices of cells in '{self.encoding}'", where="bit-slice.encoding", hint=hint)
        Arrays(self.rows)
        if not 3 <= self.bits <= 8:
            raise DovetailError(f"codes of {self.bits} bits", where="bit-slice.bits", hint="8: 3 to 8")
        self.costs(self.scheme())
        if not 0 < self.damp < np.inf:
            raise DovetailError(f"a damping of {self.damp}", where="bit-slice.damp", hint="0.01: above 0")

    def scheme(self) -> Scheme:
        """How every matrix is stored that `layers` does not name."""
        return Scheme(self.bits, 0, True, self.act_bits)

    def costs(self, scheme: Scheme) -> Price:
        """What codes cost in a matrix of this scheme."""
        balanced = self.encoding == "balanced"
        return Price(self.price, self.level, scheme.bits - 1, self.cell, self.rows, self.adc_bits, self.over, balanced)

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        kept = cls(6, 0.05, adc_bits=4, layers=(("*.1.*.up_proj", 16), ("*.0.*.o_proj", 4)))
        return cls(), cls(8, 0.1, cell=1, rows=64, act_bits=8, encoding="balanced"), kept

    def rewrite(self, graph: Graph) -> Graph:
        return Quantised.of(graph, self.scheme(), self.layers).rewrite()

    def on_layers(self, checkpoint: Checkpoint) -> tuple[Checkpoint, OnLayer]:
        return staged(checkpoint, self.scheme(), self.layers, self._rounded)

    def _rounded(self, weight: Tensor, inputs: Inputs, scheme: Scheme, dtype: torch.dtype) -> Rounded:
        """A row's error is counted against the energy of all of them."""
        factored = inputs.factored(self.damp, self.order)
        energy = float(((weight.float() @ inputs.moment) * weight.float()).sum())
        return sliced(weight, factored, self.costs(scheme), energy=energy, dtype=dtype)
