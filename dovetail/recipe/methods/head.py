"""The output head in few bits: a large share of what a small model reads for each token, and no target of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.model.graph import Graph
from dovetail.model.operators import Weight
from dovetail.recipe.arithmetic.rounding import check_finite
from dovetail.recipe.head import check_mixture, head_of, packed_head, with_head
from dovetail.recipe.method import Copied, Form, method
from dovetail.recipe.packing import rounding_bytes, stored_infos, stored_nearest
from dovetail.recipe.scheme import Scheme
from dovetail.recipe.targets import graph_of

if TYPE_CHECKING:
    from torch import Tensor

    from dovetail.runtime.checkpoint import Checkpoint
    from dovetail.runtime.tensorfile import TensorInfo


@method("head")
@dataclass(frozen=True, slots=True)
class Head:
    """Store the output head as integers of `bits`, rounded to nearest; a head tied to the embedding is untied first.

    The embedding stays as it is: only rows are looked up in it. After any method that quantises, or alone.
    """

    bits: int = 8  # 2 to 8
    group: int = 32  # inputs that share a scale, or the nearest divisor of the columns below; 0: one scale per row

    takes: ClassVar[Form] = "any"
    leaves: ClassVar[Form] = "packed"

    def __post_init__(self) -> None:
        self.scheme()

    def scheme(self) -> Scheme:
        """How the head is stored."""
        return Scheme(self.bits, self.group)

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return cls(), cls(4, int(np.gcd.reduce([*columns, 128]))), cls(8, 0)

    def rewrite(self, graph: Graph) -> Graph:
        return packed_head(graph, self.scheme())

    def on_weights(self, checkpoint: Checkpoint) -> Checkpoint:
        graph, inputs_first = graph_of(checkpoint.config)
        where = str(checkpoint.folder)
        if inputs_first:
            why = "compressed-tensors holds nn.Linear only, these weights are stored (inputs, outputs)"
            raise DovetailError("cannot be packed", where=where, why=why, exit_code=INFEASIBLE)
        found, head = head_of(graph)
        if found.name not in checkpoint.infos():
            raise DovetailError(f"no tensor '{found.name}'", where=where, hint="a complete checkpoint of this model")
        scheme = self.scheme().fitted(found.cols, head)
        check_mixture(checkpoint, graph, scheme)

        def rounded(name: str, tensor: Tensor) -> dict[str, Tensor]:
            if name == found.name:
                check_finite(head, tensor)
                return {**_kept(found, head, tensor), **stored_nearest(head, tensor, scheme)}
            return {} if name == head else {name: tensor}

        def forecast(info: TensorInfo) -> tuple[TensorInfo, ...]:
            if info.name == found.name:
                return (*(() if found.name == head else (info,)), *stored_infos(replace(info, name=head), scheme))
            return () if info.name == head else (info,)

        return with_head(checkpoint, head, scheme).map(rounded, forecast)

    def copies(self, checkpoint: Checkpoint, infos: Sequence[TensorInfo]) -> Copied:
        found, _ = head_of(graph_of(checkpoint.config)[0])
        return Copied("rounding the head", max((rounding_bytes(i) for i in infos if i.name == found.name), default=0.0))


def _kept(found: Weight, head: str, tensor: Tensor) -> dict[str, Tensor]:
    """The embedding, where the head was tied to it."""
    return {} if found.name == head else {found.name: tensor}
