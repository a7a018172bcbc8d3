"""fp8 (Micikevicius et al., arXiv 2209.05433): e4m3 weights, and inputs rounded to e4m3 as they come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.model.graph import Graph
from dovetail.recipe.arithmetic.blocks import block_grid, block_quantise
from dovetail.recipe.method import Form, method
from dovetail.recipe.packing import round_each, stored_nearest
from dovetail.recipe.quantising import Quantised, quantised
from dovetail.recipe.scheme import Scheme

if TYPE_CHECKING:
    from torch import Tensor

    from dovetail.runtime.checkpoint import Checkpoint

_SCALES = ("row", "block")


@method("fp8")
@dataclass(frozen=True, slots=True)
class FP8:
    """Store linear weights as e4m3, and round their inputs likewise, so that products run on fp8 units.

    Embeddings, norms, biases, routers and the output head stay as they are. No data is looked at.
    """

    scales: str = "row"  # row: one for each output and each token; block: for each 128 x 128, and 128 of a token
    act_bits: int = 8  # of inputs; 16: as they are, weights are unpacked

    takes: ClassVar[Form] = "dense"
    leaves: ClassVar[Form] = "packed"

    def __post_init__(self) -> None:
        if self.scales not in _SCALES:
            hint = did_you_mean(self.scales, list(_SCALES))
            raise DovetailError(f"unknown scales '{self.scales}'", where="fp8.scales", hint=hint)
        self.scheme()

    def scheme(self) -> Scheme:
        """How every matrix is stored."""
        if self.scales == "block":
            return Scheme(8, 128, act_bits=self.act_bits, kind="block")
        return Scheme(8, 0, act_bits=self.act_bits, kind="float")

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        blocks = all(size % 128 == 0 for size in columns)
        return cls(), cls(act_bits=16), *((cls("block"), cls("block", 16)) if blocks else ())

    def rewrite(self, graph: Graph) -> Graph:
        return Quantised.of(graph, self.scheme()).rewrite()

    def on_weights(self, checkpoint: Checkpoint) -> Checkpoint:
        declared, schemes = quantised(checkpoint, self.scheme())
        return round_each(declared, schemes, _stored)


def _stored(name: str, weight: Tensor, scheme: Scheme) -> dict[str, Tensor]:
    if scheme.kind == "block":
        scale = block_grid(weight, scheme.group)
        return {name: block_quantise(weight, scale, scheme.group), f"{name}_scale": scale}
    return stored_nearest(name, weight, scheme)
