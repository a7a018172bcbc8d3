"""Attention with keys and values of its own heads: MHA, GQA (arXiv 2305.13245), MQA; windows, QK-norm, sinks, gates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dovetail.core.content import ByContent
from dovetail.core.formats import Number
from dovetail.model.graph import Cache
from dovetail.model.operators import Attention, Operator
from dovetail.model.step import NORM_FLOPS, ROTARY_FLOPS, Step


@dataclass(frozen=True, slots=True, eq=False)
class AttentionSpec(ByContent):
    """One layer's attention.

    Parameters
    ----------
    heads, kv_heads, head_dim : Number
        Query heads, KV heads, channels of a query or key head. `value_dim`: channels of a value head, if they differ.
    qkv_bias, out_bias : bool
        Whether the projections have biases.
    qk_norm : bool or "full"
        Queries and keys are normalised: each head by itself, or over all heads at once. ``"plain"`` has no weights.
    v_norm : bool
        So are values, each head by itself and without weights.
    window : int or None
        Sliding window in tokens. With `chunked` the window does not slide: a query sees its own chunk of that size.
    rotary : Number or bool
        Share of the channels of a head that turn with the position; True for all, False for none.
    sinks : bool
        One learned logit a head joins each softmax (gpt-oss).
    softcap : bool
        Scores pass through a tanh (Gemma 2).
    gate : "" or "channel" or "head"
        A sigmoid gate on the output: with ``channel`` the query projection is twice as wide, with ``head`` a
        projection of its own makes one number a head.
    shared_kv : bool
        Values are the projected keys: there is no value projection (both are cached).
    kv_source : int or None
        The layer whose cache this one reads; it has neither projections of keys and values nor a cache.
    causal : bool
        A token sees only those before it; False in encoders, which cache nothing.
    """

    heads: Number
    kv_heads: Number
    head_dim: Number
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: bool | str = False
    window: int | None = None
    rotary: bool | float = True
    value_dim: Number | None = None
    chunked: bool = False
    sinks: bool = False
    softcap: bool = False
    gate: str = ""
    shared_kv: bool = False
    kv_source: int | None = None
    causal: bool = True
    v_norm: bool = False

    @property
    def values(self) -> Number:
        """Channels of a value head."""
        return self.head_dim if self.value_dim is None else self.value_dim

    def operators(self, step: Step) -> Iterator[Operator]:
        """Projections, QK-norm, rotary, attention, gate, output."""
        hidden, q = step.arch.hidden, self.heads * self.head_dim
        k, v = self.kv_heads * self.head_dim, self.kv_heads * self.values
        yield step.linear("qkv", self._projections(step, q, k, v), hidden, bias=self.qkv_bias)
        turned = step.rows * (q + k if self.kv_source is None else q)
        if self.qk_norm:
            yield step.pointwise("qk_norm", turned, turned, NORM_FLOPS["rms"], self._norms(step, q, k), split=True)
        if self.v_norm and self.kv_source is None:
            yield step.pointwise("v_norm", step.rows * v, step.rows * v, NORM_FLOPS["rms"] - 1.0, split=True)
        if self.rotary:
            yield step.pointwise("rotary", turned * self.rotary, turned * self.rotary, ROTARY_FLOPS, split=True)
        yield self._attention(step)
        if self.gate:
            yield from self._gate(step)
        yield step.linear("o", {"o": hidden}, self.heads * self.values, bias=self.out_bias, split="in")

    def caches(self, step: Step) -> Iterator[Cache]:
        """Keys and values, of at most a window; none in an encoder or where another layer's are read."""
        if self.causal and self.kv_source is None:
            length = step.kv_len if self.window is None else np.minimum(step.kv_len, self.window)
            yield Cache(
                step.layers,
                step.batch,
                length,
                self.kv_heads,
                self.head_dim,
                step.kv_dtype,
                self.window,
                self.value_dim,
            )

    def _projections(self, step: Step, q: Number, k: Number, v: Number) -> dict[str, Number]:
        q = 2 * q if self.gate == "channel" else q
        if self.kv_source is not None:
            return {"q": q}
        if "qkv" in step.arch.names:
            return {"qkv": q + k + v}
        return {"q": q, "k": k} if self.shared_kv else {"q": q, "k": k, "v": v}

    def _norms(self, step: Step, q: Number, k: Number) -> tuple:  # type: ignore[type-arg]
        if self.qk_norm == "plain":
            return ()
        widths = (
            {"q_norm": q, "k_norm": k} if self.qk_norm == "full" else dict.fromkeys(("q_norm", "k_norm"), self.head_dim)
        )
        if self.kv_source is not None:
            widths.pop("k_norm")
        return tuple(w for role, width in widths.items() for w in step.vectors(role, width))

    def _attention(self, step: Step) -> Attention:
        return Attention(
            "attention" + step.suffix, step.layers, tuple(step.vectors("sinks", self.heads)) if self.sinks else (),
            step.batch, step.tokens, step.kv_len, self.heads, self.kv_heads, self.head_dim, self.window,
            step.arch.dtype, step.kv_dtype, self.value_dim, self.causal, self.chunked,
        )  # fmt: skip

    def _gate(self, step: Step) -> Iterator[Operator]:
        out = step.rows * self.heads * self.values
        if self.gate == "head":
            yield step.linear("attention_gate", {"attention_gate": self.heads}, step.arch.hidden)
        yield step.pointwise("attention_gating", 2 * out, out, 5.0, split=True)
