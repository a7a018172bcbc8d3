"""Which scheme each matrix of a model gets: one, with bits that may differ by layer; for both faces of a method."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import product
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import INFEASIBLE, DovetailError, did_you_mean
from dovetail.model.config import Config
from dovetail.model.graph import Graph
from dovetail.model.operators import Weight
from dovetail.model.storage.compressed import compressed_tensors
from dovetail.model.storage.graph import as_stored
from dovetail.recipe.scheme import Scheme, quantization_config
from dovetail.recipe.targets import check_dense, graph_of, is_target, targets_in, tensor_names
from dovetail.runtime.tensorfile import TORCH_NAMES

if TYPE_CHECKING:
    import torch

    from dovetail.runtime.checkpoint import Checkpoint

LayerBits = tuple[tuple[str, int], ...]
"""Bits of the layers that a glob names (``*.down_proj``, ``model.layers.0.*``); the first to name a layer decides.

`AS_IT_IS` leaves a layer dense.
"""
AS_IT_IS = 16


@dataclass(frozen=True, slots=True)
class Target:
    """The matrices of one name in some layers, which share a scheme."""

    weight: Weight
    layers: tuple[int, ...]
    scheme: Scheme

    def tensors(self) -> Iterator[str]:
        """Names in the checkpoint."""
        for layer, expert in product(self.layers or (0,), range(self.weight.experts)):
            yield self.weight.name.format(layer=layer, expert=expert)

    def pattern(self, everywhere: bool) -> str:
        """A target of compressed-tensors: a regular expression for the modules, or a name."""
        name = self.weight.name.removesuffix(".weight")
        if "{" not in name:
            return name
        layers = r"\d+" if everywhere else f"({'|'.join(map(str, self.layers))})"
        return "re:" + re.escape(name).replace(r"\{layer\}", layers).replace(r"\{expert\}", r"\d+") + "$"


@dataclass(frozen=True, slots=True)
class Quantised:
    """What a method quantises of a graph, and how.

    Parameters
    ----------
    targets : tuple of Target
    graph : Graph
        Before the method; its targets are dense.
    kept : tuple of str
        Matrices that recipes change and this one leaves as they are.
    """

    targets: tuple[Target, ...]
    graph: Graph
    kept: tuple[str, ...] = ()

    @classmethod
    def of(cls, graph: Graph, scheme: Scheme, layers: LayerBits = ()) -> Quantised:
        """Every matrix that recipes change, by `scheme`, with the bits of `layers` where they name it.

        Raises
        ------
        DovetailError
            Weights that are quantised already, a group that a layer cannot have, a layer that does not exist.
        """
        check_dense(graph)
        targets = [(w, o.layers) for o in graph.operators for w in o.weights if is_target(o, w)]
        parts = [(w, own, some) for w, all_ in targets for own, some in _by_bits(w, all_, scheme, layers).items()]
        found = [Target(w, some, _fitted(w, some, own, scheme)) for w, own, some in parts if own != AS_IT_IS]
        kept = [name for w, own, some in parts if own == AS_IT_IS for name in Target(w, some, scheme).tensors()]
        _check_named(layers, [*kept, *(name for target in found for name in target.tensors())] if layers else [])
        return cls(tuple(found), graph, tuple(kept))

    def rewrite(self) -> Graph:
        """The graph whose targets are stored, and multiplied, by their schemes."""
        if not self.targets:
            return self.graph
        return as_stored(self.graph, compressed_tensors(Config(self.config()), self.targets[0].weight.format.dtype))

    def by_tensor(self) -> dict[str, Scheme]:
        """The scheme of each matrix, by its name in the checkpoint."""
        return {name: target.scheme for target in self.targets for name in target.tensors()}

    def config(self) -> dict[str, Any]:
        """The ``quantization_config`` of the checkpoint."""
        alone = Counter(target.weight.name for target in self.targets)
        schemes = [
            (target.pattern(alone[target.weight.name] == 1), target.scheme, len(list(target.tensors())))
            for target in self.targets
        ]
        others = (*tensor_names(self.graph, target=False), *self.kept)
        ignored = (name.removesuffix(".weight") for name in others if name.endswith(".weight"))
        return quantization_config(schemes, {"lm_head", *(name for name in ignored if "embed" not in name)})


def _by_bits(weight: Weight, layers: tuple[int, ...], scheme: Scheme, bits: LayerBits) -> dict[int, tuple[int, ...]]:
    """The layers of one weight by the bits that they get; of a weight that is in no layer, no number."""
    groups: dict[int, tuple[int, ...]] = {}
    for layer in layers or (0,):
        own = _own_bits(weight, layer, scheme.bits, bits)
        groups[own] = (*groups.get(own, ()), layer)
    return groups if layers else dict.fromkeys(groups, ())


def _own_bits(weight: Weight, layer: int, usual: int, bits: LayerBits) -> int:
    """Bits of one weight in one layer. Raises `DovetailError` where globs give its experts different ones."""
    names = (weight.name.format(layer=layer, expert=expert) for expert in range(weight.experts if bits else 1))
    modules = (name.removesuffix(".weight") for name in names)
    found = {next((own for glob, own in bits if fnmatchcase(module, glob)), usual) for module in modules}
    if len(found) > 1:
        why = f"experts of layer {layer} would have {' and '.join(map(str, sorted(found)))} bits, and share a product"
        hint = "a * in the place of the expert"
        raise DovetailError("globs that name single experts", where="layers", why=why, hint=hint)
    return found.pop()


def _fitted(weight: Weight, layers: tuple[int, ...], bits: int, scheme: Scheme) -> Scheme:
    return replace(scheme, bits=bits).fitted(weight.cols, next(weight.tensors(layers)))


def _check_named(bits: LayerBits, tensors: list[str]) -> None:
    """Every glob names a layer."""
    names = [name.removesuffix(".weight") for name in tensors]
    for pattern, _ in bits:
        if not any(fnmatchcase(name, pattern) for name in names):
            why = f"none of the {len(names)} linear layers is called so"
            raise DovetailError(f"no layer '{pattern}'", where="layers", why=why, hint=did_you_mean(pattern, names))


def quantised(
    checkpoint: Checkpoint, scheme: Scheme, layers: LayerBits = ()
) -> tuple[Checkpoint, Mapping[str, Scheme]]:
    """The checkpoint declaring its ``quantization_config``, and the scheme of each tensor that is to be quantised.

    Raises
    ------
    DovetailError
        As `Quantised.of`; weights that are not there, or stored as no format of compressed-tensors holds them.
    """
    graph, inputs_first = graph_of(checkpoint.config)
    where = str(checkpoint.folder)
    found = Quantised.of(graph, scheme, layers)
    if inputs_first:
        hint = "magnitude pruning works on it; or a model of the Llama, Mistral or Qwen families"
        why = "compressed-tensors holds nn.Linear only, these weights are stored (inputs, outputs)"
        raise DovetailError("cannot be packed", where=where, why=why, hint=hint, exit_code=INFEASIBLE)
    targets_in(checkpoint.stored, graph, where)
    if not found.targets:
        return checkpoint, {}  # all are kept as they are: readers refuse a declaration of nothing
    return checkpoint.with_quantization(found.config()), found.by_tensor()


def stored_dtypes(checkpoint: Checkpoint) -> Mapping[str, torch.dtype]:
    """The dtype of each tensor as transforms leave it: that in which its scales are stored."""
    import torch

    return {name: getattr(torch, TORCH_NAMES[info.dtype]) for name, info in checkpoint.infos().items()}
