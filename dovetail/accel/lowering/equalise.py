"""Keys and values scaled by channel so that one power of two for a layer's cache wastes none of its eight bits.

What a key channel is multiplied by, the query's is divided by; what a value channel is, the output projection's column
is. The function of the model stays what it was (in real numbers), and the hardware needs no scales for its cache.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dovetail.accel.graph import Attention, Graph, Linear, Node, Norm, Reals, Rotary
from dovetail.accel.lowering.calibrate import Observed

MOST = 64.0  # a channel that hardly holds anything is not blown up by more

Row = npt.NDArray[np.float64]


def cache_fraction(top: float) -> int:
    """Fraction bits of int8 values whose largest magnitude is `top`; half a unit too much still rounds to 127."""
    return math.floor(math.log2(127.4 / top))


def equalise(graph: Graph, observed: Observed) -> Graph:
    """The same function with keys and values that fill the range of int8, where the nodes around attention allow it."""
    for node in list(graph.of(Attention)):
        graph = _values(_keys(graph, node, observed), node, observed)
    return graph


def _wanted(top: Row) -> Row:
    """Factors that bring each channel's largest magnitude to 127 units."""
    unit = 2.0 ** -cache_fraction(float(top.max()))
    return np.minimum(127 * unit / np.maximum(top, 1e-12), MOST)


def _keys(graph: Graph, node: Attention, observed: Observed) -> Graph:
    query, key = (_source(graph, name) for name in node.inputs[:2])
    if query is None or key is None or type(query) is not type(key):
        return graph
    top = observed.largest[node.inputs[1]].reshape(node.kv_heads, -1)
    half = top.shape[1] // 2
    if isinstance(graph.node(node.inputs[1]), Rotary):
        top = np.tile(np.maximum(top[:, :half], top[:, half:]), 2)
    if isinstance(key, Norm):
        top = np.broadcast_to(top.max(axis=0), top.shape)
    by = _wanted(top)
    group = node.heads // node.kv_heads
    return graph.with_nodes({
        key.name: _scaled(key, by.reshape(-1)),
        query.name: _scaled(query, (1 / np.repeat(by, group, axis=0)).reshape(-1)),
    })  # fmt: skip


def _values(graph: Graph, node: Attention, observed: Observed) -> Graph:
    value, users = graph.node(node.inputs[2]), graph.users(node.name)
    if len(users) != 1 or not isinstance(users[0], Linear) or not isinstance(value, Linear):
        return graph
    by = _wanted(observed.largest[value.name].reshape(node.kv_heads, -1))
    columns = np.repeat(by, node.heads // node.kv_heads, axis=0).reshape(-1)
    output = replace(users[0], weight=_as(users[0].weight / columns, users[0].weight))
    return graph.with_nodes({value.name: _scaled(value, by.reshape(-1)), output.name: output})


def _source(graph: Graph, name: str) -> Linear | Norm | None:
    """The layer or the norm whose channels a query or key has, through rotation; None where others read it too."""
    node: Node = graph.node(name)
    while isinstance(node, Rotary) and len(graph.users(node.name)) == 1:
        node = graph.node(node.inputs[0])
    return node if isinstance(node, Linear | Norm) and len(graph.users(node.name)) == 1 else None


def _scaled(node: Linear | Norm, by: Row) -> Node:
    if isinstance(node, Norm):
        by = by[: node.weight.shape[0]]  # all heads have the same
        weight = node.weight * by
    else:
        weight = node.weight * by[:, None]
    bias = None if node.bias is None else _as(node.bias * by, node.bias)
    return replace(node, weight=_as(weight, node.weight), bias=bias)


def _as(values: Row, like: Reals) -> Reals:
    return values.astype(like.dtype)
