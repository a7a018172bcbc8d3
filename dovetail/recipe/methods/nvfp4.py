"""NVFP4 (NVIDIA, arXiv 2509.25149): e2m1 in groups of 16 with e4m3 scales, and a number of the whole tensor.

That number is one for the matrices that engines stack into one product (queries, keys and values; gate and up).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.model.graph import Graph
from dovetail.recipe.arithmetic.rounding import check_finite
from dovetail.recipe.method import Form, method
from dovetail.recipe.packing import round_each, stored_fp4
from dovetail.recipe.quantising import Quantised, quantised
from dovetail.recipe.scheme import Scheme
from dovetail.runtime import fp4

if TYPE_CHECKING:
    from torch import Tensor

    from dovetail.recipe.layerwise.run import OnLayer
    from dovetail.recipe.layerwise.work import LayerWork
    from dovetail.runtime.checkpoint import Checkpoint

GROUP = fp4.GROUPS["nvfp4"]
_STACKED = tuple(re.compile(rf"(.+\.){some}(\.weight)") for some in ("[qkv]_proj", "(?:gate|up)_proj", "w[13]"))


@method("nvfp4a16")
@dataclass(frozen=True, slots=True)
class NVFP4Weights:
    """Store linear weights as 4-bit floats (e2m1) in groups of 16, from the weights alone; inputs stay as they are.

    Embeddings, norms, biases, routers and the output head stay as they are. No data is looked at.
    """

    takes: ClassVar[Form] = "dense"
    leaves: ClassVar[Form] = "packed"

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return (cls(),) if all(size % GROUP == 0 for size in columns) else ()

    def rewrite(self, graph: Graph) -> Graph:
        return Quantised.of(graph, _scheme(16)).rewrite()

    def on_weights(self, checkpoint: Checkpoint) -> Checkpoint:
        declared, schemes = quantised(checkpoint, _scheme(16))

        def stored(name: str, weight: Tensor, _: Scheme) -> dict[str, Tensor]:
            return _stored(name, weight, _whole(name, weight, schemes, lambda other: checkpoint.read(other)[other]))

        return round_each(declared, schemes, stored)


@method("nvfp4")
@dataclass(frozen=True, slots=True)
class NVFP4:
    """Store linear weights as 4-bit floats (e2m1) in groups of 16, and round their inputs likewise as they come.

    The number of the whole tensor of an input is fixed, by the largest input on a calibration text.
    """

    takes: ClassVar[Form] = "dense"
    leaves: ClassVar[Form] = "packed"

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return (cls(),) if all(size % GROUP == 0 for size in columns) else ()

    def rewrite(self, graph: Graph) -> Graph:
        return Quantised.of(graph, _scheme(4)).rewrite()

    def on_layers(self, checkpoint: Checkpoint) -> tuple[Checkpoint, OnLayer]:
        declared, schemes = quantised(checkpoint, _scheme(4))

        def rounded(work: LayerWork) -> None:
            weights = {name: linear.weight.data for name, linear in work.linears.items()}
            inputs = work.inputs(moments=False)
            for name, weight in weights.items():
                if name not in inputs:
                    raise DovetailError("never ran on the calibration text", where=name, hint="more text")
                whole = _whole(name, weight, schemes, weights.__getitem__)
                stored = _stored(name, weight, whole, fp4.whole_scale(inputs[name].peak.max()))
                steps = fp4.step(stored[f"{name}_scale"], whole)
                work.keep(name, stored, fp4.dequantise(fp4.unpack(stored[f"{name}_packed"]), steps))

        return declared, rounded


def _scheme(act_bits: int) -> Scheme:
    return Scheme(4, GROUP, act_bits=act_bits, kind="nvfp4")


def _stored(name: str, weight: Tensor, whole: Tensor, whole_input: Tensor | None = None) -> dict[str, Tensor]:
    check_finite(name, weight)
    scale = fp4.group_scale(fp4.peaks(weight, GROUP), whole)
    codes = fp4.in_groups(weight, fp4.step(scale, whole))
    return stored_fp4(name, codes, scale, whole, whole_input)


def _whole(name: str, weight: Tensor, names: Mapping[str, Scheme], read: Callable[[str], Tensor]) -> Tensor:
    """The number of the whole tensor: the one of the largest of the matrices that are stacked with this one."""
    torch = require("torch", "torch", to="quantise")
    others = (read(other) for other in _stacked(name, names))
    peaks = [matrix.abs().max().float() for matrix in (weight, *others)]
    return fp4.whole_scale(torch.stack(peaks).max())


def _stacked(name: str, names: Iterable[str]) -> list[str]:
    """The other matrices that engines stack with this one."""
    for pattern in _STACKED:
        if found := pattern.fullmatch(name):
            same = (other for other in names if (its := pattern.fullmatch(other)) and its.groups() == found.groups())
            return [other for other in same if other != name]
    return []
