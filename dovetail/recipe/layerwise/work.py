"""One decoder layer while calibrated methods change it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from dovetail.core.lazy import require
from dovetail.recipe.layerwise.decoder import Call
from dovetail.recipe.layerwise.inputs import Inputs, collect
from dovetail.recipe.layerwise.states import States

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(slots=True, eq=False)
class LayerWork:
    """A decoder layer with its weights in fp32, the hidden states that come to it, and what is to be stored of it.

    Parameters
    ----------
    index : int
    prefix : str
        What the names of its tensors begin with.
    module : nn.Module
        The layer; methods change its parameters in place.
    linears : mapping of str to nn.Linear
        The layers whose matrices recipes change, by the name of the matrix in the checkpoint, in the order in which
        they come to be called.
    """

    index: int
    prefix: str
    module: nn.Module
    linears: Mapping[str, nn.Linear]
    states: States
    call: Call
    _stored: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def run(self, hidden: Tensor) -> Tensor:
        """The layer's output (B, T, hidden) as it now is."""
        torch = require("torch", "torch")
        with torch.inference_mode():
            out = self.module(hidden, **self.call)
        found: Tensor = out[0] if isinstance(out, tuple) else out
        return found

    def stages(self) -> list[list[str]]:
        """Names of `linears` in the order they are called, those that read the same tensor together."""
        found: dict[int, list[str]] = {}
        for name, one in collect(self.linears, [partial(self.run, next(iter(self.states)))], 1).items():
            found.setdefault(id(one), []).append(name)
        return list(found.values())

    def inputs(self, names: Sequence[str] = (), moments: bool = True) -> dict[str, Inputs]:
        """Statistics of the inputs of some linears, all by default, with the weights as they now are."""
        chosen = {name: self.linears[name] for name in names or self.linears}
        passes = (partial(self.run, batch) for batch in self.states)
        return collect(chosen, passes, self.states.batches, moments)

    def keep(self, name: str, stored: Mapping[str, Tensor], values: Tensor) -> None:
        """Store `stored` instead of the matrix `name`, which stands for `values` (rows, cols) from now on."""
        self._stored[name] = dict(stored)
        self.linears[name].weight.data = values

    def tensors(self, dtypes: Mapping[str, torch.dtype]) -> dict[str, Tensor]:
        """All tensors of the layer as they are to be stored; what no method stored, in its dtype of before.

        From now on the layer computes with what is stored.
        """
        found: dict[str, Tensor] = {}
        for name, value in self.module.state_dict().items():
            full = self.prefix + name
            if full in self._stored:
                found |= self._stored[full]
            else:
                found[full] = value.to(dtypes[full])
                value.copy_(found[full])
        return found
