"""A method has two faces: what it does to the graph, as data, and what it does to weights or decoding, for real.

Adding a method is adding one file to `methods`: a frozen dataclass under ``@method("name")``. Its fields are the
parameters a recipe may give. It has

- ``rewrite(graph)``: the predicting face;
- ``on_weights(checkpoint)``: the doing face, where it changes stored tensors one by one; or
- ``on_layers(checkpoint)``: the same, where it has to see what a calibration text makes of each decoder layer's inputs;
- ``on_model(checkpoint, job)``: the same, where it trains the whole model on that text;
- ``on_decoding(loaded, folder)``: the same, where it guesses tokens while a model decodes;
- ``on_cache(plan)``: the same, where it keeps the cache in another way; ``caches`` says whether it is a ``"policy"``
  that keeps some tokens, or a ``"format"`` of those kept: a recipe has at most one of each, in any order;
- ``guesses = True``, ``sizes``, ``sized(guesses)``: it is a method of speculation, of which a recipe has at most one;
- ``copies(checkpoint, infos)`` (optional): the memory that it takes for a tensor, where that is more than rounding a
  matrix of a decoder layer takes: what is forecast before any work;
- ``rounded(weights, inputs, bits, dtype)`` (optional, with parameters ``bits`` and ``layers``): the values it stores of
  some matrices by themselves, by which bits are chosen layer by layer;
- ``takes`` and ``leaves`` (class variables, optional): the form weights must have before, and have after, ``"dense"``
  or ``"packed"``; a method may take ``"any"``. A recipe whose forms do not meet is refused when it is made. Without
  them any form is taken and kept.
- ``makes_zeros`` or ``fills_zeros`` (class variables, optional): it prunes, or it mixes weights so that zeros are lost;
  the second after the first is refused.
- ``examples(columns)`` (class method): a few representative instances that fit matrices with these numbers of columns.
  The shared test runs each of them through both faces, so a new method is covered by existing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, Self, runtime_checkable

from dovetail.core.registry import Registry
from dovetail.model.graph import Graph

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dovetail.recipe.layerwise.calibration import Calibration
    from dovetail.recipe.layerwise.inputs import Inputs
    from dovetail.recipe.layerwise.job import Job
    from dovetail.recipe.layerwise.run import OnLayer
    from dovetail.runtime.cache.plan import CachePlan
    from dovetail.runtime.checkpoint import Checkpoint
    from dovetail.runtime.decoding.proposal import Proposer
    from dovetail.runtime.load import Loaded
    from dovetail.runtime.tensorfile import TensorInfo

Form = Literal["dense", "packed", "any"]


@runtime_checkable
class Method(Protocol):
    """The face every method has; the doing hooks (`OnWeights`, …) are added by the methods that need them."""

    def rewrite(self, graph: Graph) -> Graph:
        """The graph as this method leaves it: bits per tensor, kept fraction, cache length, tokens a step.

        Shapes may be arrays. Raises `DovetailError` when the method cannot be applied to this graph.
        """
        ...

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        """Representative instances for matrices with these numbers of columns: what the shared test runs."""
        ...


@runtime_checkable
class OnWeights(Protocol):
    """A method that changes stored tensors."""

    takes: ClassVar[Form]
    leaves: ClassVar[Form]

    def on_weights(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint as this method leaves it; tensors are transformed as they stream through."""
        ...


@runtime_checkable
class OnLayers(Protocol):
    """A method that changes stored tensors by what a calibration text makes of them, one decoder layer at a time."""

    takes: ClassVar[Form]
    leaves: ClassVar[Form]

    def on_layers(self, checkpoint: Checkpoint) -> tuple[Checkpoint, OnLayer]:
        """The checkpoint with what this method declares of it, and what it does to each decoder layer."""
        ...


@runtime_checkable
class OnModel(Protocol):
    """A method that trains what is stored, all of the model in memory."""

    takes: ClassVar[Form]
    leaves: ClassVar[Form]

    def training_bytes(self, checkpoint: Checkpoint, calibration: Calibration) -> Mapping[str, float]:
        """Most memory while it trains, by what it is for, from headers alone."""
        ...

    def on_model(self, checkpoint: Checkpoint, job: Job) -> Checkpoint:
        """The trained checkpoint; the dense model that it learns from is in the checkpoint's folder."""
        ...


class Guesses(Method, Protocol):
    """A method of speculation: a decode step verifies guesses of several tokens to come.

    Its graph of a decode step is that of the pass that verifies, with what it takes to guess.
    """

    guesses: ClassVar[bool]
    sizes: ClassVar[tuple[int, ...]]  # numbers of guesses worth a try when the best is looked for

    def sized(self, guesses: int) -> Self:
        """The same with another number of guesses a step."""
        ...


@runtime_checkable
class OnDecoding(Protocol):
    """A method of speculation that the decoder here executes."""

    def on_decoding(self, loaded: Loaded, folder: Path) -> Proposer:
        """What guesses for this model; what was learned for it lies beside the weights in `folder`."""
        ...


@runtime_checkable
class OnCache(Protocol):
    """A method that keeps keys and values in another way while a model decodes."""

    caches: ClassVar[Literal["policy", "format"]]

    def on_cache(self, plan: CachePlan) -> CachePlan:
        """The plan of a cache as this method leaves it."""
        ...


class Copied(NamedTuple):
    """What a method holds of a tensor: for what, most bytes at once, and those that are left when it is done."""

    what: str
    bytes: float
    left: float = 0.0


@runtime_checkable
class Copies(Protocol):
    """A method that holds more of a tensor than rounding a matrix of a decoder layer takes."""

    def copies(self, checkpoint: Checkpoint, infos: Sequence[TensorInfo]) -> Copied:
        """For which of some of the checkpoint's tensors it holds most, by their headers, the tensor itself included."""
        ...


@runtime_checkable
class Rounds(Protocol):
    """A method whose bits can be chosen layer by layer: it says what it makes of some matrices by themselves."""

    def rounded(self, weights: Sequence[Tensor], inputs: Inputs, bits: int, dtype: torch.dtype) -> Sequence[Tensor]:
        """The values (rows, cols) that it stores, with these bits and scales of this dtype, of matrices in fp32.

        `inputs` are those that all of them read; second moments are among them.
        """
        ...


METHODS: Registry[type[Any]] = Registry("method", "dovetail.recipe.methods")
method = METHODS.register
