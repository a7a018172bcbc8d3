"""Matrices of a graph rounded in its order, each making up for what those before it cost.

Two copies of every sample run side by side: in real numbers, and with the matrices that are rounded so far. A layer is
first fitted to give the first copy's result from the second copy's input (with the residual stream it is added to, so
that errors do not pile up there), then rounded for that input. After asymmetric calibration, arXiv 2504.02692.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dovetail.accel import floating
from dovetail.accel import graph as g
from dovetail.accel.lowering.weights import DAMPING, Matrix, in_eight_bits, in_four_bits

Rows = npt.NDArray[np.float64]


def matrices(graph: g.Graph, samples: Sequence[npt.NDArray[np.generic]], group: int) -> dict[str, Matrix]:
    """Each node's matrix, by name. A head whose weights are the embedding's shares its integers.

    Parameters
    ----------
    group : int
        Inputs to a step of 4 bits; 0 stores all matrices in 8, for which nothing needs to be made up.
    """
    found: dict[str, Matrix] = {}
    pair = None if group == 0 else _Pair(graph, samples)
    for node in graph.nodes:
        matrix = _shared(graph, node, found) or _matrix(graph, node, pair, group)
        if matrix is not None:
            found[node.name] = matrix
        if pair is not None:
            pair.advance(node, matrix)
    return found


def _matrix(graph: g.Graph, node: g.Node, pair: _Pair | None, group: int) -> Matrix | None:
    if isinstance(node, g.Embedding):
        return in_eight_bits(node.name, node.table)
    if isinstance(node, g.Convolution):
        return in_eight_bits(node.name, node.weight.reshape(node.weight.shape[0], -1))
    if not isinstance(node, g.Linear):
        return None
    if pair is None or node.name == graph.nodes[-1].name or isinstance(_origin(graph, node), g.Convolution | g.Pool):
        return in_eight_bits(node.name, node.weight)
    weight, moments = pair.fitted(node)
    return in_four_bits(node.name, weight, group, moments)


def _origin(graph: g.Graph, node: g.Node) -> g.Node:
    """The node whose result a layer reads, activations aside: the groups of a map's channels do not stand together."""
    source = next((each for each in graph.nodes if each.name == node.inputs[0]), node)
    return _origin(graph, source) if isinstance(source, g.Activation) else source


def _shared(graph: g.Graph, node: g.Node, found: dict[str, Matrix]) -> Matrix | None:
    """The embedding's matrix, for a head with the same weights."""
    if not isinstance(node, g.Linear):
        return None
    for table in graph.of(g.Embedding):
        if table.table.shape == node.weight.shape and np.array_equal(table.table, node.weight):
            return found[table.name]
    return None


class _Pair:
    """All samples at the node that is being rounded, exact and rounded so far; what no later node reads is gone."""

    def __init__(self, graph: g.Graph, samples: Sequence[npt.NDArray[np.generic]]) -> None:
        self.graph = graph
        self.exact = [{graph.source: np.asarray(sample)} for sample in samples]
        self.rounded = [dict(values) for values in self.exact]
        self._last = {name: node.name for node in graph.nodes for name in node.inputs}

    def advance(self, node: g.Node, matrix: Matrix | None) -> None:
        """Compute a node's tensor in both copies."""
        if node is self.graph.nodes[-1]:
            return
        for copy, made in ((self.exact, node), (self.rounded, _with(node, matrix))):
            for values in copy:
                values[node.name] = floating.apply(made, [values[name] for name in node.inputs])
                for name in {name for name in node.inputs if self._last[name] == node.name}:
                    del values[name]

    def fitted(self, node: g.Linear) -> tuple[g.Reals, Rows]:
        """Weights that give the exact result from rounded inputs, and the products of these inputs."""
        name, width = node.inputs[0], node.weight.shape[1]
        moments, errors = np.zeros((width, width)), np.zeros((width, node.channels))
        for exact, rounded in zip(self.exact, self.rounded, strict=True):
            x, y = (_rows(values[name]) for values in (exact, rounded))
            moments += y.T @ y
            errors += y.T @ ((x - y) @ node.weight.T + self._stream(node, exact, rounded))
        damped = moments + DAMPING * max(float(np.diag(moments).mean()), 1e-12) * np.eye(width)
        return node.weight + np.linalg.solve(damped, errors).T, moments

    def _stream(self, node: g.Linear, exact: floating.Values, rounded: floating.Values) -> Rows | float:
        """What the residual stream, which the result is added to, has lost so far."""
        users = self.graph.users(node.name)
        if len(users) != 1 or not isinstance(users[0], g.Add):
            return 0.0
        stream = users[0].inputs[0]
        return _rows(exact[stream]) - _rows(rounded[stream])


def _with(node: g.Node, matrix: Matrix | None) -> g.Node:
    """A node with the reals that its integers stand for."""
    if matrix is None:
        return node
    if isinstance(node, g.Embedding):
        return replace(node, table=matrix.reals().astype(node.table.dtype))
    if isinstance(node, g.Linear | g.Convolution):
        return replace(node, weight=matrix.reals().astype(node.weight.dtype).reshape(node.weight.shape))
    return node


def _rows(values: npt.NDArray[np.generic]) -> Rows:
    return np.asarray(values, np.float64).reshape(-1, values.shape[-1])
