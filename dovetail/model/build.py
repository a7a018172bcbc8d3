"""From an architecture to the operators of one step, once for each *kind* of layer.

Letters: B sequences, T new tokens of each, D hidden channels; ``rows = B T``. Shapes may be arrays and broadcast.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dovetail.core.formats import Format, Number, plain
from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.graph import Attention, Cache, Graph, Linear, Operator, Pointwise, Weight

# FLOPs per element written, counted in the definitions: x rsqrt(mean x²) w, (x − mean) rsqrt(var) w + b, x cos + y sin
NORM_FLOPS = {"rms": 4.0, "layer": 7.0}
ROTARY_FLOPS = 3.0
SOFTMAX_FLOPS = 5.0
ACTIVATION_FLOPS = {"relu": 1.0, "silu": 4.0}
GELU_FLOPS = 8.0  # of the tanh form, and of any activation not named above


def decoder_graph(
    arch: Architecture,
    batch: Number,
    tokens: Number,
    context: Number,
    logit_tokens: Number = 1,
    kv_dtype: str = "bf16",
) -> Graph:
    """The operators of one forward pass over `tokens` new tokens for each of `batch` sequences that hold `context`.

    Parameters
    ----------
    arch : Architecture
        Its widths may be arrays too; the numbers of layers and experts are the graph's structure and may not.
    batch, tokens, context : Number
        Scalars or arrays that broadcast. Prefill is ``context=0``, decode is ``tokens=1``.
    logit_tokens : Number
        Positions of each sequence that get logits: 1 in serving, `tokens` for perplexity.
    kv_dtype : str
        Dtype of the KV cache.

    Returns
    -------
    Graph
        Identical layers share one operator. Where layers differ, names carry the first layer of their kind (``qkv@0``).
    """
    batch, tokens, context, logit_tokens = number(batch), number(tokens), number(context), number(logit_tokens)
    rows = batch * tokens
    kinds = layer_kinds(arch.layers)
    once = _Step(arch, (), "", plain(arch.dtype), rows, rows * arch.hidden)
    kv_len = context + tokens
    operators: list[Operator] = [*once.embedding()]
    for spec, layers in kinds:
        step = replace(once, layers=layers, suffix=f"@{layers[0]}" if len(kinds) > 1 else "")
        operators += step.attention(spec.attention, batch, tokens, kv_len, kv_dtype)
        operators += step.feed_forward(spec.feed_forward)
    operators += once.head(batch * logit_tokens)
    caches = tuple(_cache(spec.attention, layers, batch, kv_len, kv_dtype) for spec, layers in kinds)
    return Graph(tuple(operators), caches, batch, tokens, context, arch.hidden)


def number(value: Any) -> Number:
    """`value` as something arithmetic on points cannot overflow: a Python scalar, or an array of 64 bits.

    Raises `TypeError` for what is not a number.
    """
    if isinstance(value, int | float):
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "iubf":
        raise TypeError(f"{value!r} is not a number")
    if array.ndim == 0:
        return array.item()
    return array.astype(np.int64) if array.dtype.kind in "iub" else array.astype(float, copy=False)


def layer_kinds(layers: tuple[LayerSpec, ...]) -> list[tuple[LayerSpec, tuple[int, ...]]]:
    """Layers grouped by content, in order of first appearance; the same object is compared once."""
    if len(set(map(id, layers))) == 1:
        return [(layers[0], tuple(range(len(layers))))]
    objects: dict[int, list[int]] = {}
    for index, layer in enumerate(layers):
        objects.setdefault(id(layer), []).append(index)
    kinds: dict[LayerSpec, list[int]] = {}
    for indices in objects.values():
        kinds.setdefault(layers[indices[0]], []).extend(indices)
    return [(spec, tuple(sorted(indices))) for spec, indices in kinds.items()]


def expected_experts(experts: Number, top_k: Number, rows: Number) -> Number:
    """Expected number of distinct experts that `rows` tokens reach, each choosing `top_k` uniformly at random.

    ``E (1 - (1 - k / E)^rows)``: an expert is missed by one token with probability ``1 - k / E``. Trained routers are a
    little less even, hence reach fewer.
    """
    return experts * (1.0 - (1.0 - top_k / experts) ** rows)


def _cache(spec: AttentionSpec, layers: tuple[int, ...], batch: Number, kv_len: Number, dtype: str) -> Cache:
    length = kv_len if spec.window is None else np.minimum(kv_len, spec.window)
    return Cache(layers, batch, length, spec.kv_heads, spec.head_dim, dtype, spec.window)


@dataclass(frozen=True, slots=True)
class _Step:
    """What the operators of one kind of layer share: `rows` tokens, `flow` = rows x hidden of the residual stream."""

    arch: Architecture
    layers: tuple[int, ...]
    suffix: str
    format: Format
    rows: Number
    flow: Number

    def weights(self, role: str, rows: Number, cols: Number, *, bias: bool = False, **rest: Any) -> Iterator[Weight]:
        names = self.arch.names[role]
        yield Weight(names[0], rows, cols, self.format, **rest)
        if bias:
            yield Weight(names[1], 1, rows, self.format, linear=False)

    def linear(
        self, name: str, parts: dict[str, Number], k: Number, *, m: Number = None, bias: bool = False,
        experts: int = 1, active: Number = 1, quantisable: bool = True,
    ) -> Linear:  # fmt: skip
        """One product with the matrices of `parts` (role to outputs) stacked."""
        stacked = tuple(
            weight for role, rows in parts.items()
            for weight in self.weights(role, rows, k, bias=bias, experts=experts, linear=quantisable)
        )  # fmt: skip
        n = sum(parts.values())
        m = self.rows if m is None else m
        return Linear(name + self.suffix, self.layers, stacked, m, k, n, self.arch.dtype, experts, active)

    def pointwise(
        self, name: str, read: Number, written: Number, flops: float, weights: tuple[Weight, ...] = ()
    ) -> Pointwise:
        return Pointwise(name + self.suffix, self.layers, weights, read, written, flops, self.arch.dtype)

    def norm(self, name: str, role: str) -> Pointwise:
        vectors = tuple(Weight(n, 1, self.arch.hidden, self.format, linear=False) for n in self.arch.names[role])
        return self.pointwise(name, self.flow, self.flow, NORM_FLOPS[self.arch.norm], vectors)

    def residual(self, name: str) -> Pointwise:
        return self.pointwise(name, 2 * self.flow, self.flow, 1.0)

    def embedding(self) -> Iterator[Operator]:
        """Rows gathered from the token table, and from the table of positions where there is one."""
        arch = self.arch
        tables = tuple(self.weights("embed", arch.vocab, arch.hidden, linear=False))
        if arch.learned_positions:
            tables += tuple(self.weights("positions", arch.learned_positions, arch.hidden, linear=False))
        yield self.pointwise("embed", len(tables) * self.flow, self.flow, float(len(tables) - 1), tables)

    def attention(
        self, spec: AttentionSpec, batch: Number, tokens: Number, kv_len: Number, kv_dtype: str
    ) -> Iterator[Operator]:
        """Norm, projections, QK-norm, rotary, attention, output, residual."""
        hidden, q, kv = self.arch.hidden, spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
        yield self.norm("norm_in", "norm_in")
        parts = {"qkv": q + 2 * kv} if "qkv" in self.arch.names else {"q": q, "k": kv, "v": kv}
        yield self.linear("qkv", parts, hidden, bias=spec.qkv_bias)
        turned = self.rows * (q + kv) if spec.qk_norm or spec.rotary else 0
        if spec.qk_norm:
            vectors = tuple(w for r in ("q_norm", "k_norm") for w in self.weights(r, 1, spec.head_dim, linear=False))
            yield self.pointwise("qk_norm", turned, turned, NORM_FLOPS["rms"], vectors)
        if spec.rotary:
            yield self.pointwise("rotary", turned, turned, ROTARY_FLOPS)
        yield Attention(
            "attention" + self.suffix, self.layers, (), batch, tokens, kv_len, spec.heads, spec.kv_heads, spec.head_dim,
            spec.window, self.arch.dtype, kv_dtype,
        )  # fmt: skip
        yield self.linear("o", {"o": hidden}, q, bias=spec.out_bias)
        yield self.residual("residual_attention")

    def feed_forward(self, spec: FeedForwardSpec) -> Iterator[Operator]:
        """Norm, dense block or mixture, residual."""
        yield self.norm("norm_post", "norm_post")
        yield from self.mixture(spec) if spec.experts > 1 else self.dense(spec)
        yield self.residual("residual_mlp")

    def activation(self, spec: FeedForwardSpec, rows: Number) -> Pointwise:
        inner = rows * spec.intermediate
        flops = ACTIVATION_FLOPS.get(spec.activation, GELU_FLOPS)
        return self.pointwise("activation", 2 * inner if spec.gated else inner, inner, flops + spec.gated)

    def dense(self, spec: FeedForwardSpec) -> Iterator[Operator]:
        hidden, inner = self.arch.hidden, spec.intermediate
        if spec.gated:
            yield self.linear("gate_up", {"gate": inner, "up": inner}, hidden, bias=spec.bias)
        else:
            yield self.linear("up", {"up": inner}, hidden, bias=spec.bias)
        yield self.activation(spec, self.rows)
        yield self.linear("down", {"down": hidden}, inner, bias=spec.bias)

    def mixture(self, spec: FeedForwardSpec) -> Iterator[Operator]:
        """Router, grouped products over the experts reached, and the weighted sum of each token's experts."""
        hidden, inner, experts, rows = self.arch.hidden, spec.intermediate, spec.experts, self.rows
        reached, m = expected_experts(experts, spec.top_k, rows), rows * spec.top_k
        scores = rows * experts
        yield self.linear("router", {"router": experts}, hidden, quantisable=False)
        yield self.pointwise("route", scores, scores, SOFTMAX_FLOPS)
        parts = {"expert_gate": inner, "expert_up": inner} if spec.gated else {"expert_up": inner}
        yield self.linear("experts_gate_up", parts, hidden, m=m, experts=experts, active=reached)
        yield self.activation(spec, m)
        yield self.linear("experts_down", {"expert_down": hidden}, inner, m=m, experts=experts, active=reached)
        yield self.pointwise("combine", self.flow * spec.top_k, self.flow, 2.0 * spec.top_k)

    def head(self, rows: Number) -> Iterator[Operator]:
        """Final norm on every token and logits for `rows` of them; a tied head reads the embedding table."""
        yield self.norm("norm_out", "norm_out")
        role = "embed" if self.arch.tied else "head"
        yield self.linear("lm_head", {role: self.arch.vocab}, self.arch.hidden, m=rows, quantisable=not self.arch.tied)
