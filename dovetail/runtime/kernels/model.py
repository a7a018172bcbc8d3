"""A transformers module whose packed matrices stay packed: built without them, then given `PackedLinear` layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dovetail.core.errors import DovetailError
from dovetail.runtime.activations import round_layer
from dovetail.runtime.kernels.fused import fuse
from dovetail.runtime.kernels.linear import PackedLinear
from dovetail.runtime.stored import Stored

_HEAD_GROUP = 128


class NoPlaceError(Exception):
    """A packed matrix belongs to no linear layer of the module: the name of the matrix."""


class Place(nn.Module):
    """Where a linear layer was: keeps its bias, so that it is loaded, and no weight, so that none is made."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.bias = layer.bias


def packed_module(kind: type[Any], config: Any, stored: Stored, arithmetic: str, **rest: Any) -> Any:
    """A module of the transformers class `kind` with the tensors of a packed checkpoint, never unpacked as a whole.

    Parameters
    ----------
    arithmetic : str
        ``exact`` or ``int8``, as `PackedLinear` has it, of the layers whose inputs the checkpoint leaves as they are;
        others round them as it says.
    rest
        What ``from_pretrained`` is given beside the config and the tensors; ``dtype`` among it.

    Raises
    ------
    NoPlaceError
        The module has no linear layer for one of the matrices: it fuses them, as mixtures of experts do.
    DovetailError
        A part of a packed matrix is not stored.
    """
    names = stored.integers()

    class Hollow(kind):  # type: ignore[misc]
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            for name in names:
                _put(self, name, Place(_linear(self, name)))

    Hollow.__name__, Hollow.__qualname__, Hollow.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    tensors = dict(stored.plain_tensors(rest["dtype"]))
    model = Hollow.from_pretrained(None, config=config, state_dict=tensors, **rest)
    model.__class__ = kind
    for name, layer in _layers(model, stored, names, arithmetic):
        _put(model, name, layer)
    model.requires_grad_(False)
    fuse(model)
    return model


def pack_head(model: Any, arithmetic: str) -> None:
    """Replace the output head by integers of 8 bits in groups of 128, rounded to nearest here; a tied embedding stays.

    Raises
    ------
    DovetailError
        The model has no linear output head.
    """
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        raise DovetailError("no output head to pack", where=type(model).__name__, hint="head_bits=None")
    steps, scale = rounded(head.weight.detach().float(), _HEAD_GROUP)
    bias = None if head.bias is None else head.bias.detach()
    model.requires_grad_(False)
    model.set_output_embeddings(PackedLinear(steps, scale, 8, _HEAD_GROUP, bias, arithmetic=arithmetic))


def pack_linears(model: Any, bits: int, group: int, arithmetic: str) -> None:
    """Replace every linear layer, the output head too, by integers of `bits` rounded to nearest here, in place.

    For models whose weights mean nothing: a calibration times them. Checkpoints are packed by recipes.
    """
    model.requires_grad_(False)
    for name, layer in [found for found in model.named_modules() if isinstance(found[1], nn.Linear)]:
        steps, scale = rounded(layer.weight.detach().float(), group, bits)
        _put(model, name, PackedLinear(steps, scale, bits, group, layer.bias, arithmetic=arithmetic))
    fuse(model)


def rounded(weight: Tensor, group: int, bits: int = 8) -> tuple[Tensor, Tensor]:
    """Integers of `bits` around 0 and the scale of each group of a row, the last of which may be shorter."""
    rows, cols = weight.shape
    blocks = nn.functional.pad(weight, (0, -cols % group)).reshape(rows, -1, group)
    peak = blocks.abs().amax(-1)
    scale = torch.where(peak == 0, torch.ones_like(peak), peak / (2 ** (bits - 1) - 1))
    steps = torch.round(blocks / scale.unsqueeze(-1)).to(torch.int8)
    return steps.reshape(rows, -1)[:, :cols], scale


def _layers(model: Any, stored: Stored, names: list[str], arithmetic: str) -> Iterator[tuple[str, PackedLinear]]:
    for name in names:
        steps, scale, zero, bits = stored.matrix(name)
        bias, act = model.get_submodule(name.removesuffix(".weight")).bias, stored.rule(name).act
        how = "int8-token" if act == "int8" else "exact" if act else arithmetic
        group = steps.shape[1] // scale.shape[1] if scale.shape[1] > 1 else 0
        layer = PackedLinear(steps, scale, bits, group, bias, zero=zero, arithmetic=how)
        if act not in ("", "int8"):
            round_layer(layer, act)
        yield name, layer


def _linear(model: Any, name: str) -> nn.Linear:
    try:
        found = model.get_submodule(name.removesuffix(".weight"))
    except AttributeError:
        raise NoPlaceError(name) from None
    if not isinstance(found, nn.Linear):
        raise NoPlaceError(name)
    return found


def _put(model: Any, name: str, layer: nn.Module) -> None:
    parent, _, child = name.removesuffix(".weight").rpartition(".")
    setattr(model.get_submodule(parent), child, layer)
