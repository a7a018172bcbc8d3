"""The typed dataflow graph of a model: what the front end finds, with real numbers still.

A tensor is one vector of channels for each token (or one feature map for each image) and has the name of the node that
makes it. Nodes are in an order in which they can run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from dovetail.core.errors import DovetailError

Reals = npt.NDArray[np.floating[Any]]
N = TypeVar("N", bound="Node")


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """What makes the tensor `name` of the tensors `inputs`.

    Parameters
    ----------
    name : str
        From the module that computes it: ``model.layers.0.self_attn.q_proj``.
    inputs : tuple of str
        Names of nodes; `Graph.source` is what the user gives (token ids, features, an image).
    channels : int
        Of the result, all heads (of all places of a feature map) together.
    """

    name: str
    inputs: tuple[str, ...]
    channels: int


@dataclass(frozen=True, slots=True, eq=False)
class Embedding(Node):
    """Rows of `table` (vocabulary, channels) by token."""

    table: Reals


@dataclass(frozen=True, slots=True, eq=False)
class Positions(Node):
    """Rows of `table` (context, channels) by position, added to the input."""

    table: Reals


@dataclass(frozen=True, slots=True, eq=False)
class Linear(Node):
    """``x @ weight.T + bias``: weight (channels, inputs), bias (channels,) or None."""

    weight: Reals
    bias: Reals | None


@dataclass(frozen=True, slots=True, eq=False)
class Norm(Node):
    """RMSNorm, or LayerNorm where `mean`: weight and bias (channels / heads,), over each of `heads` alone."""

    weight: Reals
    bias: Reals | None
    epsilon: float
    mean: bool
    heads: int


@dataclass(frozen=True, slots=True, eq=False)
class Rotary(Node):
    """Channels i and i + n/2 of each head turned by the angle of the position: tables (context, n/2)."""

    heads: int
    cosine: Reals
    sine: Reals


@dataclass(frozen=True, slots=True, eq=False)
class Attention(Node):
    """Causal attention of queries, keys and values (the three inputs)."""

    heads: int
    kv_heads: int
    scale: float


@dataclass(frozen=True, slots=True, eq=False)
class Activation(Node):
    """``silu``, ``gelu``, ``gelu_tanh`` or ``relu``."""

    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class Multiply(Node):
    """Product of the two inputs, channel by channel."""


@dataclass(frozen=True, slots=True, eq=False)
class Add(Node):
    """Sum of the two inputs: the residual stream first, what joins it second."""


@dataclass(frozen=True, slots=True, eq=False)
class Convolution(Node):
    """2-d: weight (out, in, rows, columns), bias (out,) or None; maps are (channels, height, width), flattened.

    `shape` is the map that goes in; `stride` and `padding` are the same in both directions.
    """

    weight: Reals
    bias: Reals | None
    shape: tuple[int, int, int]
    stride: int
    padding: int


@dataclass(frozen=True, slots=True, eq=False)
class Pool(Node):
    """``max`` or ``mean`` over squares of `size`, `stride` apart, of a map of `shape`."""

    kind: str
    shape: tuple[int, int, int]
    size: int
    stride: int


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Nodes in order; the last makes the result.

    Parameters
    ----------
    name : str
    nodes : tuple of Node
    context : int
        Most tokens that the tables of positions reach; 1 for a model without tokens.
    source : str
        The tensor that the user gives.
    source_channels : int
        Of it; 0 where it is token ids.
    """

    name: str
    nodes: tuple[Node, ...]
    context: int
    source: str
    source_channels: int

    def of(self, kind: type[N]) -> Iterator[N]:
        """Nodes of one kind."""
        return (node for node in self.nodes if isinstance(node, kind))

    def node(self, name: str) -> Node:
        """The node that makes a tensor. Raises `DovetailError`."""
        found = next((node for node in self.nodes if node.name == name), None)
        if found is None:
            raise DovetailError(f"no tensor '{name}'", where=self.name, hint="a name that the graph lists")
        return found

    def users(self, name: str) -> list[Node]:
        """Nodes that read a tensor."""
        return [node for node in self.nodes if name in node.inputs]

    def with_nodes(self, changed: dict[str, Node]) -> Graph:
        """The graph with some nodes in place of those of the same name."""
        return replace(self, nodes=tuple(changed.get(node.name, node) for node in self.nodes))
