"""A method has two faces: what it does to the graph, as data, and what it does to weights or decoding, for real."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from dovetail.core.registry import Registry
from dovetail.model.graph import Graph

if TYPE_CHECKING:
    from dovetail.runtime.checkpoint import Checkpoint


@runtime_checkable
class Method(Protocol):
    """The face every method has; the doing hooks (`OnWeights`, …) are added by the methods that need them."""

    def rewrite(self, graph: Graph) -> Graph:
        """The graph as this method leaves it: bits per tensor, kept fraction, cache length, tokens a step. Arrays allowed."""
        ...


@runtime_checkable
class OnWeights(Protocol):
    """A method that changes stored tensors."""

    def on_weights(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint as this method leaves it; tensors are transformed as they stream through."""
        ...


METHODS: Registry[type[Any]] = Registry("method", "dovetail.recipe.methods")
method = METHODS.register
