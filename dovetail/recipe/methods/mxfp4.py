"""MXFP4 (OCP Microscaling Formats 1.0, 2023; Rouhani et al., arXiv 2310.10537): e2m1 in groups of 32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from dovetail.model.graph import Graph
from dovetail.recipe.method import Form, method
from dovetail.recipe.packing import round_each, stored_fp4
from dovetail.recipe.quantising import Quantised, quantised
from dovetail.recipe.scheme import Scheme
from dovetail.runtime import fp4

if TYPE_CHECKING:
    from torch import Tensor

    from dovetail.runtime.checkpoint import Checkpoint

GROUP = fp4.GROUPS["mxfp4"]


@method("mxfp4")
@dataclass(frozen=True, slots=True)
class MXFP4:
    """Store linear weights as 4-bit floats (e2m1) that share a power of two by 32, from the weights alone.

    Embeddings, norms, biases, routers and the output head stay as they are. No data is looked at.
    """

    act_bits: int = 4  # of inputs, rounded likewise as they come; 16: as they are, weights are unpacked

    takes: ClassVar[Form] = "dense"
    leaves: ClassVar[Form] = "packed"

    def __post_init__(self) -> None:
        self.scheme()

    def scheme(self) -> Scheme:
        """How every matrix is stored."""
        return Scheme(4, GROUP, act_bits=self.act_bits, kind="mxfp4")

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return (cls(), cls(16)) if all(size % GROUP == 0 for size in columns) else ()

    def rewrite(self, graph: Graph) -> Graph:
        return Quantised.of(graph, self.scheme()).rewrite()

    def on_weights(self, checkpoint: Checkpoint) -> Checkpoint:
        declared, schemes = quantised(checkpoint, self.scheme())

        def stored(name: str, weight: Tensor, _: Scheme) -> dict[str, Tensor]:
            scale = fp4.group_scale(fp4.peaks(weight, GROUP), None)
            return stored_fp4(name, fp4.in_groups(weight, fp4.step(scale, None)), scale)

        return round_each(declared, schemes, stored)
