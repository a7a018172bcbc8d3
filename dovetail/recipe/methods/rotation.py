"""Rotation (QuaRot, Ashkboos et al., arXiv 2404.00456): the same function with the outliers spread over all channels.

The residual stream x becomes x R for an orthogonal R: what writes to it writes in the new basis, what reads from it
reads in the new basis, and a norm without gain does not see the difference (its gain goes into the matrices that read
it). Values are turned likewise between each value head and the output matrix. All of it is folded into the weights that
are there: nothing is added to what is executed. Turning the inputs of down matrices, or the cache, would take a product
at run time; this method does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.model.operators import Operator, Weight
from dovetail.recipe.arithmetic.hadamard import rotation
from dovetail.recipe.method import Copied, Form, method
from dovetail.recipe.residual import EMBED, FAMILIES, HEAD, Turned, check_known, turning_bytes
from dovetail.recipe.targets import check_dense, targets_in

if TYPE_CHECKING:
    from dovetail.runtime.checkpoint import Checkpoint
    from dovetail.runtime.tensorfile import TensorInfo


@method("rotation")
@dataclass(frozen=True, slots=True)
class Rotate:
    """Turn the residual stream, and value heads, by random Hadamard matrices that are folded into the weights.

    The model computes the same. Its channels become alike, so that inputs of layers round better, and weights too. No
    data is looked at. A tied head is untied: the final norm's gain goes into it, and not into the embedding.
    """

    seed: int = 0  # which random signs
    values: bool = True  # turn value heads too

    takes: ClassVar[Form] = "dense"
    leaves: ClassVar[Form] = "dense"
    fills_zeros: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise DovetailError(f"a seed of {self.seed}", where="rotation.seed", hint="0 or more")

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return cls(), cls(3, values=False)

    def rewrite(self, graph: Graph) -> Graph:
        check_dense(graph)
        check_known(graph)
        return graph.map_operators(_untied)

    def on_weights(self, checkpoint: Checkpoint) -> Checkpoint:
        model, where = Model.load(dict(checkpoint.config)), str(checkpoint.folder)
        arch, graph = model.architecture, model.graph(batch=1, tokens=1, context=0)
        check_dense(graph)
        if arch.family not in FAMILIES:
            why = f"the norms and blocks of {arch.family} are not known to keep their function"
            hint = f"a model of the families {', '.join(FAMILIES)}"
            raise DovetailError("cannot be rotated", where=where, why=why, hint=hint, exit_code=INFEASIBLE)
        check_known(graph, checkpoint.stored)
        targets_in(checkpoint.stored, graph, where)
        head = rotation(int(arch.first("head_dim") or 1), self.seed) if self.values else None
        turned = Turned(checkpoint, rotation(int(arch.hidden), self.seed), head, FAMILIES[arch.family], arch.tied)
        config = {**checkpoint.config, "tie_word_embeddings": False} if arch.tied else checkpoint.config
        return replace(checkpoint, config=config).map(turned.tensors, turned.infos)

    def copies(self, checkpoint: Checkpoint, infos: Sequence[TensorInfo]) -> Copied:
        tied = Model.load(dict(checkpoint.config)).architecture.tied
        most = max((turning_bytes(info, tied, self.values) for info in infos), default=0.0)
        left = max((info.bytes * (2 if tied and info.name == EMBED else 1) for info in infos), default=0)
        return Copied("turning a tensor", most, left)


def _untied(operator: Operator) -> Operator:
    """The head with a matrix of its own where it reads the embedding's."""

    def own(weight: Weight) -> Weight:
        return replace(weight, name=HEAD, linear=True) if weight.name == EMBED else weight

    if not operator.name.startswith("lm_head"):
        return operator
    return replace(operator, weights=tuple(map(own, operator.weights)))
