"""A copy of a model with the outliers that large models have, computing what the model computes.

Small models have few large activations, so methods made against them (AWQ, SmoothQuant, rotation) have little to do
there. Here some channels become 16 to 64 times larger where they are made, and the columns that read them smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.model.graph import Graph
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.layerwise.scaling import pairs, rescale
from dovetail.recipe.method import Form
from dovetail.recipe.quantising import stored_dtypes
from dovetail.recipe.recipe import Recipe
from dovetail.recipe.targets import check_dense, graph_of

if TYPE_CHECKING:
    import torch

    from dovetail.recipe.layerwise.run import OnLayer
    from dovetail.recipe.layerwise.work import LayerWork
    from dovetail.runtime.checkpoint import Checkpoint

_LOOK = Calibration(samples=1, tokens=16)  # the text only shows which channels go where
_POWERS = (4, 7)  # factors are 2**4 to 2**6: powers of two change no digit of a weight


@dataclass(frozen=True, slots=True)
class Outliers:
    """Make `channels` channels of every norm, and between linear layers of a block, much larger.

    As a method it stands in no recipe's list of names: it helps to judge methods, and helps no model.
    """

    channels: int = 4  # of each norm, and of the rows of each value and up projection
    seed: int = 0  # which, and how much larger: 16, 32 or 64 times

    takes: ClassVar[Form] = "dense"
    leaves: ClassVar[Form] = "dense"

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise DovetailError(f"{self.channels} channels", where="outliers.channels", hint="4: 1 or more")

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Outliers, ...]:
        """Representative instances."""
        return (cls(),)

    def rewrite(self, graph: Graph) -> Graph:
        """The graph as it is. Raises `DovetailError` where it is quantised."""
        check_dense(graph)
        return graph

    def on_layers(self, checkpoint: Checkpoint) -> tuple[Checkpoint, OnLayer]:
        """The checkpoint as it is, and what is done to each layer."""
        self.rewrite(graph_of(checkpoint.config)[0])
        dtypes = stored_dtypes(checkpoint)
        return checkpoint, lambda work: self._put(work, dtypes)

    def _put(self, work: LayerWork, dtypes: Mapping[str, torch.dtype]) -> None:
        torch = require("torch", "torch")
        source = torch.Generator().manual_seed((self.seed << 16) + work.index)
        for pair in pairs(work):
            size = pair.channels(work)
            chosen = torch.randperm(size, generator=source)[: self.channels]
            scale = torch.ones(size)
            scale[chosen] = 0.5 ** torch.randint(*_POWERS, chosen.shape, generator=source)
            rescale(work, pair, scale, dtypes)


def with_outliers(folder: str | Path, out: str | Path, *, channels: int = 4, seed: int = 0) -> Path:
    """Write a copy of a model whose activations have outliers, and which computes the same.

    Exactly so where norms hold their gains as they are; where they hold ``gain - 1``, to fp32 rounding.

    Raises
    ------
    DovetailError
        A model that has no tokenizer, whose layers are not understood, or that is quantised.
    """
    return Recipe("outliers", (Outliers(channels, seed),)).apply(folder, out, calibration=_LOOK).path
