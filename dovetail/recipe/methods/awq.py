"""AWQ (Lin et al., arXiv 2306.00978): weights that large activations meet are scaled up before they are rounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.lazy import require
from dovetail.model.graph import Graph
from dovetail.recipe.arithmetic.balance import searched
from dovetail.recipe.arithmetic.rounding import grid, nearest, quantise, searched_grid
from dovetail.recipe.layerwise.inputs import Inputs
from dovetail.recipe.layerwise.scaling import Pair, average, pairs, rescale
from dovetail.recipe.method import Form, method
from dovetail.recipe.methods.gptq import GPTQ
from dovetail.recipe.packing import stored_tensors
from dovetail.recipe.quantising import LayerBits, Quantised, quantised, stored_dtypes
from dovetail.recipe.scheme import Scheme

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dovetail.recipe.layerwise.run import OnLayer
    from dovetail.recipe.layerwise.work import LayerWork
    from dovetail.runtime.checkpoint import Checkpoint

_ROUNDINGS = ("nearest", "gptq")


@method("awq")
@dataclass(frozen=True, slots=True)
class AWQ:
    """Store linear weights as integers of `bits`, after scaling up those channels whose inputs are large.

    The inverse goes into the norm or the linear layer that makes the channel. How far is tried on a calibration text:
    ``mean|x|**alpha / mean|w|**(1 - alpha)`` with the alpha that changes the outputs of the layers that read it least
    when rounded, or not at all. Then weights are rounded: to the nearest level, or as `gptq` does.
    """

    bits: int = 4  # 2 to 8
    group: int = 128  # inputs that share a scale, or the nearest divisor of the columns below; 0: one scale per row
    symmetric: bool = True  # otherwise each scale has a zero point
    act_bits: int = 16  # of inputs, rounded per token as they come: 8 or 4; 16: as they are
    layers: LayerBits = ()  # bits of single layers: {glob: bits}; 16: as it is
    points: int = 20  # values of alpha that are tried, from 0 to 1
    search: bool = True  # scales by the least squared error instead of the largest weight
    rounding: str = "nearest"  # or gptq

    takes: ClassVar[Form] = "dense"
    leaves: ClassVar[Form] = "packed"

    def __post_init__(self) -> None:
        self.scheme()
        if self.points < 1:
            raise DovetailError(f"{self.points} values of alpha", where="awq.points", hint="20: 1 or more")
        if self.rounding not in _ROUNDINGS:
            hint = did_you_mean(self.rounding, list(_ROUNDINGS))
            raise DovetailError(f"unknown rounding '{self.rounding}'", where="awq.rounding", hint=hint)

    def scheme(self) -> Scheme:
        """How every matrix is stored that `layers` does not name."""
        return Scheme(self.bits, self.group, self.symmetric, self.act_bits)

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        group = min(*columns, 128)
        kept = cls(4, group, layers=(("*.1.*.up_proj", 16), ("*.0.*.o_proj", 16)), points=3)
        return cls(4, group), cls(3, 0, False, points=3), cls(4, group, rounding="gptq", points=3), kept

    def rewrite(self, graph: Graph) -> Graph:
        return Quantised.of(graph, self.scheme(), self.layers).rewrite()

    def on_layers(self, checkpoint: Checkpoint) -> tuple[Checkpoint, OnLayer]:
        dtypes = stored_dtypes(checkpoint)
        declared, schemes = quantised(checkpoint, self.scheme(), self.layers)
        _, compensated = self._compensated().on_layers(checkpoint)

        def change(work: LayerWork) -> None:
            inputs = work.inputs(moments=False)
            for pair in pairs(work):
                self._scale(work, pair, inputs, schemes, dtypes)
            if self.rounding == "gptq":
                compensated(work)
                return
            for name in filter(schemes.__contains__, work.linears):
                self._round(work, name, inputs[name], schemes[name], dtypes[name])

        return declared, change

    def _scale(
        self,
        work: LayerWork,
        pair: Pair,
        inputs: dict[str, Inputs],
        schemes: Mapping[str, Scheme],
        dtypes: Mapping[str, torch.dtype],
    ) -> None:
        """Scale the channels of a pair; their inputs are then what they are after that."""
        names = [name for name in pair.targets(work) if name in schemes]
        if not names:
            return  # they stay as they are
        sample = inputs[names[0]].sample

        def loss(scale: Tensor) -> float:
            columns = pair.to_columns(scale, sample.shape[1])
            return sum(error(work.linears[n].weight, columns, sample, schemes[n], dtypes[n]) for n in names)

        x = pair.to_channels(inputs[names[0]].mean, pair.channels(work))
        w = pair.to_channels(average(work, names), pair.channels(work))
        columns = rescale(work, pair, searched(x, w, loss, self._alphas()).scale, dtypes)
        for name in names:
            inputs[name] = replace(inputs[name], sample=sample / columns)

    def _compensated(self) -> GPTQ:
        return GPTQ(self.bits, self.group, self.symmetric, self.act_bits, self.layers, search=self.search)

    def _alphas(self) -> list[float]:
        return [i / self.points for i in range(self.points + 1)]

    def rounded(self, weights: Sequence[Tensor], inputs: Inputs, bits: int, dtype: torch.dtype) -> Sequence[Tensor]:
        """As if each column could be scaled by itself, and nothing but these matrices knew of it."""
        torch = require("torch", "torch", to="quantise")
        scheme = replace(self.scheme(), bits=bits).fitted(weights[0].shape[1], "awq")

        def loss(scale: Tensor) -> float:
            return sum(error(weight, scale, inputs.sample, scheme, dtype) for weight in weights)

        columns = searched(inputs.mean, torch.cat(list(weights)).abs().mean(0), loss, self._alphas()).scale
        scaled = [weight * columns for weight in weights]
        if self.rounding == "gptq":
            moment = inputs.moment / columns / columns[:, None]
            found = self._compensated().rounded(scaled, replace(inputs, moment=moment), bits, dtype)
        else:
            power = (inputs.sample / columns).square().mean(0) if self.search else None
            found = [nearest(w, *searched_grid(w, scheme, power, dtype), scheme) for w in scaled]
        return [values / columns for values in found]

    def _round(self, work: LayerWork, name: str, inputs: Inputs, scheme: Scheme, dtype: torch.dtype) -> None:
        weight = work.linears[name].weight.data
        power = inputs.sample.square().mean(0) if self.search else None
        scale, zero = searched_grid(weight, scheme, power, dtype)
        stored = stored_tensors(name, quantise(weight, scale, zero, scheme), scale, zero, scheme)
        work.keep(name, stored, nearest(weight, scale, zero, scheme))


def error(weight: Tensor, columns: Tensor, sample: Tensor, scheme: Scheme, dtype: torch.dtype) -> float:
    """Squared error of a layer's outputs on `sample` (rows, columns) when its columns are rounded scaled."""
    scaled = weight * columns
    changed = nearest(scaled, *grid(scaled, scheme, dtype), scheme) / columns - weight
    return float((sample @ changed.T).square().sum())
