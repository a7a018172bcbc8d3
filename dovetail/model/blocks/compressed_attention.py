"""Attention over the last tokens and, of those before, over compressed entries, all or those picked (DeepSeek-V4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from dovetail.core.content import ByContent
from dovetail.core.formats import Number
from dovetail.model.blocks.compressor import CompressorSpec
from dovetail.model.blocks.latent import IndexSpec
from dovetail.model.graph import Cache
from dovetail.model.operators import Attention, Linear, Operator
from dovetail.model.step import NORM_FLOPS, ROTARY_FLOPS, Step


@dataclass(frozen=True, slots=True, eq=False)
class CompressedAttentionSpec(ByContent):
    """One layer's attention: many query heads, one key that is its own value, for tokens and entries alike.

    One softmax runs over both; here they are two operators, for they read different caches. Since the value carries
    rotary positions, the output is turned back. The output projection is a product for each group of heads, then one
    for all.

    Parameters
    ----------
    heads, head_dim : Number
        Query heads, and channels of each, of the key, and of an entry.
    rope : Number
        Channels of them that turn with the position.
    q_rank : Number
        Width of the latent of the queries, which the index reads too.
    groups, o_rank : Number
        Groups of heads, and channels that each group's output is projected to.
    window : int
        Last tokens that a query sees.
    compressor : CompressorSpec or None
        What makes entries; None for the window only.
    index : IndexSpec or None
        What picks `selected` entries for each query; None where it sees all.
    """

    heads: Number
    head_dim: Number
    rope: Number
    q_rank: Number
    groups: Number
    o_rank: Number
    window: int
    compressor: CompressorSpec | None = None
    index: IndexSpec | None = None
    selected: int | None = None

    @property
    def kv_heads(self) -> Number:
        """All heads share one key."""
        return 1

    def operators(self, step: Step) -> Iterator[Operator]:
        """Queries, key, compressor, index, attention over the window and over entries, output."""
        rows = step.rows
        yield from self._queries(step)
        yield from self._key(step)
        turned = rows * (self.heads + 1) * self.rope
        yield step.pointwise("rotary", turned, turned, ROTARY_FLOPS, split=True)
        if self.compressor is not None:
            yield from self.compressor.operators(step, "compress", self.rope)
        if self.index is not None:
            yield from self.index.operators(step, self.q_rank, self.rope)
        yield from self._attention(step)
        back = rows * self.heads * self.rope
        yield step.pointwise("rotary_back", back, back, ROTARY_FLOPS, split=True)
        yield self._grouped(step)
        yield step.linear("o_b", {"o_b": step.arch.hidden}, self.groups * self.o_rank, split="in")

    def caches(self, step: Step) -> Iterator[Cache]:
        """Keys of the window, entries, keys of the index; the unfinished windows of both compressors."""
        length = np.minimum(step.kv_len, self.window)
        yield Cache(
            step.layers, step.batch, length, 1, self.head_dim, step.kv_dtype, self.window, value_dim=0, kind="latent"
        )
        if self.compressor is not None:
            yield from self.compressor.caches(step, "latent")
        if self.index is not None:
            yield from self.index.caches(step)

    def _queries(self, step: Step) -> Iterator[Operator]:
        wide, elements = self.heads * self.head_dim, step.rows * self.q_rank
        yield step.linear("q_a", {"q_a": self.q_rank}, step.arch.hidden, split="whole")
        norm = tuple(step.vectors("q_a_norm", self.q_rank))
        yield step.pointwise("q_a_norm", elements, elements, NORM_FLOPS["rms"], norm)
        yield step.linear("q_b", {"q_b": wide}, self.q_rank)
        yield step.pointwise("q_b_norm", step.rows * wide, step.rows * wide, NORM_FLOPS["rms"] - 1.0, split=True)

    def _key(self, step: Step) -> Iterator[Operator]:
        elements = step.rows * self.head_dim
        yield step.linear("kv", {"kv": self.head_dim}, step.arch.hidden, split="whole")
        norm = tuple(step.vectors("kv_norm", self.head_dim))
        yield step.pointwise("kv_norm", elements, elements, NORM_FLOPS["rms"], norm)

    def _attention(self, step: Step) -> Iterator[Attention]:
        near = Attention(
            "attention" + step.suffix, step.layers, tuple(step.vectors("sinks", self.heads)), step.batch, step.tokens,
            step.kv_len, self.heads, 1, self.head_dim, self.window, step.arch.dtype, step.kv_dtype, latent=True,
        )  # fmt: skip
        yield near
        if self.compressor is not None:
            name, rate = "attention_compressed" + step.suffix, self.compressor.rate
            yield replace(near, name=name, weights=(), window=None, selected=self.selected, rate=rate)

    def _grouped(self, step: Step) -> Linear:
        inputs, outputs = self.heads * self.head_dim // self.groups, self.groups * self.o_rank
        found = step.linear("o_a", {"o_a": outputs}, inputs, m=step.rows * self.groups, split="group")
        return replace(found, n=self.o_rank)
