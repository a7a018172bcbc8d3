"""A model's integers without its weights, from its configuration alone: what a budget is checked with before torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dovetail.accel import graph as g
from dovetail.accel.arithmetic.rounding import BYTE, HALF, WORD
from dovetail.accel.golden.model import IntegerModel
from dovetail.accel.golden.program import Format
from dovetail.accel.lowering.emit import Emitter
from dovetail.accel.lowering.lower import Scheme
from dovetail.accel.lowering.weights import Matrix
from dovetail.model import Model

ACTIVATIONS = {"silu": "silu", "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}
FRACTION, SHIFT = 10, 40  # of every tensor and multiplier: any that the emitter accepts


def outline(model: Model, context: int, scheme: Scheme) -> IntegerModel | None:
    """Steps of the shapes that lowering will make; None where that is not known without reading the model.

    Their programs take the same memories, so a budget that none of them meets is met by none of the model itself.
    """
    if not _plain(model.architecture):
        return None
    nodes = tuple(_nodes(model.architecture, context))
    graph = g.Graph(model.name, nodes, context, "tokens", 0)
    words = g.Embedding | g.Positions | g.Add | g.Multiply
    forms = {each.name: Format(WORD if isinstance(each, words) else HALF, FRACTION) for each in nodes}
    forms[nodes[-1].name] = Format(WORD, FRACTION)
    forms |= {each.inputs[2]: Format(BYTE, FRACTION) for each in graph.of(g.Attention)}
    made = {node.name: _matrix(node, scheme) for node in nodes if isinstance(node, g.Embedding | g.Linear)}
    return IntegerModel(model.name, Emitter(graph, forms, made).emit(), "tokens", context, scheme.weights)


def _plain(of: Any) -> bool:
    """Whether all layers are a Llama's, a Qwen's or a GPT-2's."""
    same = all(each == of.layers[0] for each in of.layers)
    layer: Any = of.layers[0]
    mixer: Any = layer.mixer
    ahead: Any = layer.feed_forward
    return (
        same and of.norm in ("rms", "layer") and of.vision is None and of.traced is None and not layer.parallel
        and type(mixer).__name__ == "AttentionSpec" and mixer.window is None and not mixer.sinks and not mixer.gate
        and type(ahead).__name__ == "FeedForwardSpec" and ahead.experts == 1 and not of.head_bias
        and ahead.activation in ACTIVATIONS and of.embed_dim in (None, of.hidden)
    )  # fmt: skip


def _matrix(node: g.Node, scheme: Scheme) -> Matrix:
    shape = node.table.shape if isinstance(node, g.Embedding) else node.weight.shape  # type: ignore[attr-defined]
    values, rows = np.broadcast_to(np.int8(0), shape), np.broadcast_to(np.int64(SHIFT), shape[:1])
    if scheme.weights == "w8a8" or isinstance(node, g.Embedding) or node.name == "head":
        return Matrix("embedding" if node.name == "head" else node.name, values, rows, rows)
    steps = np.broadcast_to(np.int8(1), (shape[0], -(-shape[1] // scheme.group)))
    return Matrix(node.name, values, rows, rows, values, steps, scheme.group)


def _reals(*shape: int) -> g.Reals:
    return np.broadcast_to(np.float32(1), shape)


def _nodes(of: Any, context: int) -> Iterator[g.Node]:
    stream = "embedding"
    yield g.Embedding(stream, ("tokens",), of.hidden, _reals(of.vocab, of.hidden))
    if of.learned_positions:
        yield g.Positions("positions", (stream,), of.hidden, _reals(context, of.hidden))
        stream = "positions"
    for index, layer in enumerate(of.layers):
        yield from _layer(of, layer, stream, str(index), context)
        stream = f"{index} sum 2"
    yield _norm(of, "norm", stream, of.hidden, 1)
    yield _linear("head", "norm", of.hidden, of.vocab, False)


def _layer(of: Any, layer: Any, stream: str, name: str, context: int) -> Iterator[g.Node]:
    at, ahead = layer.mixer, layer.feed_forward
    wide, narrow = at.heads * at.head_dim, at.kv_heads * at.head_dim
    yield _norm(of, f"{name} norm 1", stream, of.hidden, 1)
    names = {}
    for part, size, heads in (("q", wide, at.heads), ("k", narrow, at.kv_heads), ("v", narrow, 0)):
        names[part] = f"{name} {part}"
        yield _linear(names[part], f"{name} norm 1", of.hidden, size, at.qkv_bias)
        if heads and at.qk_norm:
            yield _norm(of, f"{names[part]} norm", names[part], size, heads)
            names[part] += " norm"
        if heads and at.rotary and not of.learned_positions:
            table = _reals(context, at.head_dim // 2)
            yield g.Rotary(f"{names[part]} turned", (names[part],), size, heads, table, table)
            names[part] += " turned"
    yield g.Attention(f"{name} attention", tuple(names.values()), wide, at.heads, at.kv_heads, 0.1)
    yield _linear(f"{name} o", f"{name} attention", wide, of.hidden, at.out_bias)
    yield g.Add(f"{name} sum 1", (stream, f"{name} o"), of.hidden)
    yield _norm(of, f"{name} norm 2", f"{name} sum 1", of.hidden, 1)
    yield _linear(f"{name} gate", f"{name} norm 2", of.hidden, ahead.intermediate, ahead.bias)
    yield g.Activation(f"{name} act", (f"{name} gate",), ahead.intermediate, ACTIVATIONS[ahead.activation])
    last = f"{name} act"
    if ahead.gated:
        yield _linear(f"{name} up", f"{name} norm 2", of.hidden, ahead.intermediate, ahead.bias)
        yield g.Multiply(f"{name} product", (last, f"{name} up"), ahead.intermediate)
        last = f"{name} product"
    yield _linear(f"{name} down", last, ahead.intermediate, of.hidden, ahead.bias)
    yield g.Add(f"{name} sum 2", (f"{name} sum 1", f"{name} down"), of.hidden)


def _norm(of: Any, name: str, source: str, channels: int, heads: int) -> g.Norm:
    layer = of.norm == "layer"
    weight = _reals(channels // heads)
    return g.Norm(name, (source,), channels, weight, weight if layer else None, 1e-5, layer, heads)


def _linear(name: str, source: str, inputs: int, outputs: int, biased: bool) -> g.Linear:
    return g.Linear(name, (source,), outputs, _reals(outputs, inputs), _reals(outputs) if biased else None)
