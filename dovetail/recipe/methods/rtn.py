"""Round-to-nearest weight quantisation: the baseline every calibrated method must beat."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.formats import packed_int
from dovetail.model.graph import Graph, Weight
from dovetail.recipe.method import Form, method
from dovetail.recipe.packing import packed_infos, packed_tensors, quantization_config
from dovetail.recipe.rounding import absmax_scale, quantise
from dovetail.recipe.targets import check_dense, columns, graph_of, map_targets, targets_in, tensor_names

if TYPE_CHECKING:
    from torch import Tensor

    from dovetail.runtime.checkpoint import Checkpoint
    from dovetail.runtime.tensorfile import TensorInfo


@method("rtn")
@dataclass(frozen=True, slots=True)
class RTN:
    """Store linear weights as symmetric integers of `bits` with one absmax scale per `group` inputs; activations stay.

    Embeddings, norms, biases, routers and the output head stay as they are. No data is looked at.
    """

    bits: int = 4  # 2 to 8
    group: int = 128  # inputs that share a scale; 0: one scale per row

    takes: ClassVar[Form] = "dense"
    leaves: ClassVar[Form] = "packed"

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise DovetailError(f"{self.bits} bits cannot be packed", where="rtn.bits", hint="2 to 8")
        if self.group < 0:
            raise DovetailError(f"a group of {self.group} inputs", where="rtn.group", hint="0 (per row), 32, 64 or 128")

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        shared = int(np.gcd.reduce([*columns, 128]))
        return (*(cls(bits, shared) for bits in (2, 3, 4, 8)), cls(4, 0), cls(5, 0))

    def rewrite(self, graph: Graph) -> Graph:
        check_dense(graph)
        self._check_groups(graph)
        return map_targets(graph, self._stored)

    def _stored(self, weight: Weight) -> Weight:
        old = weight.format
        new = packed_int(self.bits, self.group, scale=old.dtype)
        return replace(weight, format=replace(new, density=old.density, pattern=old.pattern))

    def _check_groups(self, graph: Graph) -> None:
        """Groups must divide the columns: compressed-tensors, and every engine that reads it, has no partial groups."""
        found = columns(graph)
        wrong = {name: cols for name, cols in found.items() if self.group and np.any(np.asarray(cols) % self.group)}
        if not wrong:
            return
        name, cols = next(iter(wrong.items()))
        fits = int(np.gcd.reduce(np.concatenate([np.ravel(c) for c in found.values()] + [[self.group]]).astype(int)))
        raise DovetailError(
            f"groups of {self.group} do not divide its inputs", where=name, why=f"{int(np.max(cols))} columns",
            hint=f"group={fits}, or group=0 for one scale per row", exit_code=INFEASIBLE,
        )  # fmt: skip

    def on_weights(self, checkpoint: Checkpoint) -> Checkpoint:
        graph, inputs_first = graph_of(checkpoint.config)
        where = str(checkpoint.folder)
        check_dense(graph)
        if inputs_first:
            hint = "magnitude pruning works on it; or a model of the Llama, Mistral or Qwen families"
            why = "pack-quantized holds nn.Linear only, these weights are stored (inputs, outputs)"
            raise DovetailError("cannot be packed", where=where, why=why, hint=hint, exit_code=INFEASIBLE)
        self._check_groups(graph)
        targets = targets_in(checkpoint.stored, graph, where)

        def rounded(name: str, tensor: Tensor) -> dict[str, Tensor]:
            return self._packed(name, tensor) if name in targets else {name: tensor}

        def forecast(info: TensorInfo) -> tuple[TensorInfo, ...]:
            return packed_infos(info, self.bits, self.group) if info.name in targets else (info,)

        ignored = (
            name.removesuffix(".weight") for name in tensor_names(graph, target=False) if name.endswith(".weight")
        )
        dense = {"lm_head", *(name for name in ignored if "embed" not in name)}
        return checkpoint.with_quantization(quantization_config(self.bits, self.group, dense)).map(rounded, forecast)

    def _packed(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        if not weight.isfinite().all():
            raise DovetailError("holds a weight that is not finite", where=name, hint="a checkpoint that is not broken")
        scale = absmax_scale(weight, self.bits, self.group)
        return packed_tensors(name, quantise(weight, scale, self.bits), scale, self.bits)
