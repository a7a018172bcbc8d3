"""The graph in float64: what the front end is checked with, and what calibration watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from dovetail.accel import graph as g
from dovetail.accel.arithmetic.gate import gate_function

Values = dict[str, npt.NDArray[Any]]


def evaluate(graph: g.Graph, given: npt.NDArray[Any]) -> Values:
    """Every tensor by name: (..., tokens, channels) for token ids (..., tokens), (..., channels) for features."""
    values: Values = {graph.source: given}
    for node in graph.nodes:
        values[node.name] = apply(node, [values[name] for name in node.inputs])
    return values


def apply(node: g.Node, inputs: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """What a node makes of its inputs."""
    return _APPLY[type(node)](node, *inputs)


def _embedding(node: g.Embedding, ids: Any) -> Any:
    return node.table[ids]


def _positions(node: g.Positions, x: Any) -> Any:
    return x + node.table[: x.shape[-2]]


def _linear(node: g.Linear, x: Any) -> Any:
    return x @ node.weight.T + (0 if node.bias is None else node.bias)


def _norm(node: g.Norm, x: Any) -> Any:
    y = x.reshape(*x.shape[:-1], node.heads, -1)
    y = y - y.mean(-1, keepdims=True) if node.mean else y
    y = y / np.sqrt((y * y).mean(-1, keepdims=True) + node.epsilon) * node.weight
    return (y if node.bias is None else y + node.bias).reshape(x.shape)


def _rotary(node: g.Rotary, x: Any) -> Any:
    y = x.reshape(*x.shape[:-1], node.heads, -1)
    half = y.shape[-1] // 2
    cosine, sine = (table[: x.shape[-2], None] for table in (node.cosine, node.sine))
    a, b = y[..., :half], y[..., half:]
    return np.concatenate([a * cosine - b * sine, b * cosine + a * sine], -1).reshape(x.shape)


def by_head(x: Any, heads: int) -> Any:
    """(..., tokens, heads * n) as (..., heads, tokens, n)."""
    return np.swapaxes(x.reshape(*x.shape[:-1], heads, -1), -2, -3)


def _attention(node: g.Attention, q: Any, k: Any, v: Any) -> Any:
    tokens, group = q.shape[-2], node.heads // node.kv_heads
    keys, values = (np.repeat(by_head(x, node.kv_heads), group, axis=-3) for x in (k, v))
    scores = by_head(q, node.heads) @ np.swapaxes(keys, -1, -2) * node.scale
    scores = np.where(np.tril(np.ones((tokens, tokens), bool)), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    found = weights @ values / weights.sum(-1, keepdims=True)
    return np.swapaxes(found, -2, -3).reshape(q.shape)


def _activation(node: g.Activation, x: Any) -> Any:
    if node.kind == "relu":
        return np.maximum(x, 0)
    if node.kind == "silu":
        return x / (1 + np.exp(-np.maximum(x, -700)))
    if node.kind == "gelu_tanh":
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return x * np.vectorize(lambda value: gate_function(node.kind, value), otypes=[float])(x)


def patches(x: Any, shape: tuple[int, int, int], size: tuple[int, int], stride: int, padding: int) -> Any:
    """Squares of a map (..., channels * height * width): (..., rows, columns, channels, size, size)."""
    y = x.reshape(*x.shape[:-1], *shape)
    y = np.pad(y, [(0, 0)] * (y.ndim - 2) + [(padding, padding)] * 2)
    windows = np.lib.stride_tricks.sliding_window_view(y, size, axis=(-2, -1))[..., ::stride, ::stride, :, :]
    return np.moveaxis(windows, -5, -3)


def _convolution(node: g.Convolution, x: Any) -> Any:
    found = patches(x, node.shape, node.weight.shape[2:], node.stride, node.padding)
    y = np.moveaxis(np.tensordot(found, node.weight, axes=((-3, -2, -1), (1, 2, 3))), -1, -3)
    y = y if node.bias is None else y + node.bias[:, None, None]
    return y.reshape(*x.shape[:-1], -1)


def _pool(node: g.Pool, x: Any) -> Any:
    found = patches(x, node.shape, (node.size, node.size), node.stride, 0)
    y = found.max(axis=(-2, -1)) if node.kind == "max" else found.mean(axis=(-2, -1))
    return np.moveaxis(y, -1, -3).reshape(*x.shape[:-1], -1)


_APPLY: dict[type, Callable[..., npt.NDArray[Any]]] = {
    g.Embedding: _embedding, g.Positions: _positions, g.Linear: _linear, g.Norm: _norm, g.Rotary: _rotary,
    g.Attention: _attention, g.Activation: _activation, g.Multiply: lambda _, x, y: x * y, g.Add: lambda _, x, y: x + y,
    g.Convolution: _convolution, g.Pool: _pool,
}  # fmt: skip
