"""Methods that round a layer's matrices in the order they are read, those that read one tensor together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dovetail.recipe.arithmetic.rounding import check_finite
from dovetail.recipe.packing import stored_tensors
from dovetail.recipe.quantising import LayerBits, quantised, stored_dtypes
from dovetail.recipe.scheme import Scheme

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dovetail.recipe.arithmetic.gptq import Rounded
    from dovetail.recipe.layerwise.inputs import Inputs
    from dovetail.recipe.layerwise.run import OnLayer
    from dovetail.recipe.layerwise.work import LayerWork
    from dovetail.runtime.checkpoint import Checkpoint

    Rounding = Callable[[Tensor, Inputs, Scheme, torch.dtype], Rounded]


def staged(checkpoint: Checkpoint, scheme: Scheme, layers: LayerBits, rounding: Rounding) -> tuple[Checkpoint, OnLayer]:
    """A method's `on_layers`: what it declares of a checkpoint, and what it does to one layer.

    Parameters
    ----------
    scheme : Scheme
        Of every matrix that `layers` does not name.
    rounding : callable
        Rounds a matrix (outputs, inputs), given what it reads, its scheme and the dtype that scales are stored in.
        Matrices of a later stage read what earlier ones write after rounding.
    """
    declared, schemes = quantised(checkpoint, scheme, layers)
    dtypes = stored_dtypes(checkpoint)

    def on_layer(work: LayerWork) -> None:
        for stage in filter(None, ([n for n in stage if n in schemes] for stage in work.stages())):
            for name, inputs in work.inputs(stage).items():
                weight, own = work.linears[name].weight.data, schemes[name]
                check_finite(name, weight)
                done = rounding(weight, inputs, own, dtypes[name])
                work.keep(name, stored_tensors(name, done.steps, done.scale, done.zero, own), done.values)

    return declared, on_layer
