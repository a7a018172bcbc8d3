"""Multi-head latent attention (MLA, DeepSeek-V2, arXiv 2405.04434): a token caches one small latent for all heads.

With an index (DeepSeek sparse attention, arXiv 2512.02556) each query attends only to the keys picked for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dovetail.core.content import ByContent
from dovetail.core.formats import Number
from dovetail.model.blocks.compressor import CompressorSpec
from dovetail.model.graph import Cache
from dovetail.model.latents import LatentShape
from dovetail.model.operators import Attention, Operator
from dovetail.model.step import NORM_FLOPS, ROTARY_FLOPS, Step


@dataclass(frozen=True, slots=True, eq=False)
class IndexSpec(ByContent):
    """What picks the keys of sparse attention: small heads score every cached token, all against one key of it.

    A score is the sum over heads of ``weight ReLU(q k)``. Every chip of a group needs the whole choice, so none of it
    is divided. Roles: ``index_q, index_k, index_k_norm, index_weights``.

    Parameters
    ----------
    heads, head_dim : Number
        Of the index; its one key of `head_dim` channels a token is cached beside the latents.
    keys : CompressorSpec or None
        What makes one key of several tokens (roles ``index_compress_*``) instead of one of each.
    """

    heads: Number
    head_dim: Number
    keys: CompressorSpec | None = None

    def operators(self, step: Step, q_rank: Number, rope: Number) -> Iterator[Operator]:
        """Queries from the latent of the queries, keys and weights of heads from the stream, rotary, scores."""
        hidden, rows = step.arch.hidden, step.rows
        yield step.linear("index_q", {"index_q": self.heads * self.head_dim}, q_rank, split="whole")
        if self.keys is not None:
            yield from self.keys.operators(step, "index_compress", rope)
        else:
            yield step.linear("index_k", {"index_k": self.head_dim}, hidden, split="whole")
            norm, keys = tuple(step.vectors("index_k_norm", self.head_dim)), rows * self.head_dim
            yield step.pointwise("index_k_norm", keys, keys, NORM_FLOPS["layer"], norm)
        turned = rows * (self.heads + (self.keys is None)) * rope
        yield step.pointwise("index_rotary", turned, turned, ROTARY_FLOPS)
        yield step.linear("index_weights", {"index_weights": self.heads}, hidden, quantisable=False, split="whole")
        # The sum over heads costs a multiply and an add a score: what a value of one channel would
        yield Attention(
            "index_scores" + step.suffix, step.layers, (), step.batch, step.tokens, step.kv_len, self.heads, 1,
            self.head_dim, None, step.arch.dtype, step.kv_dtype, 1, latent=True, whole=True,
            rate=self.keys.rate if self.keys else 1,
        )  # fmt: skip

    def caches(self, step: Step) -> Iterator[Cache]:
        """One key a token, or what a compressor keeps."""
        if self.keys is not None:
            yield from self.keys.caches(step, "index")
            return
        width = self.head_dim
        yield Cache(step.layers, step.batch, step.kv_len, 1, width, step.kv_dtype, value_dim=0, kind="index")


@dataclass(frozen=True, slots=True, eq=False)
class LatentAttentionSpec(ByContent):
    """One layer's latent attention.

    Keys and values of all heads are products of a latent of `kv_rank` channels; `rope` channels of the key, the same
    for all heads, carry the position. Two ways to execute it (`Step.absorb`):

    - expanded: the latents of all cached tokens are multiplied out, and attention runs over heads of ``nope + rope``
      channels; that is what prefill does, and `transformers` always.
    - absorbed: queries are multiplied into the latent space (``q W_UK``), attention runs over the cached latents as
      over one KV head, and its outputs are multiplied out (``W_UV``): the weights are the same tensor, met once by
      each new token. That is what engines do in decode.

    Parameters
    ----------
    heads : Number
        Query heads.
    q_rank : Number
        Width of the queries' own latent; 0 where queries are projected directly.
    kv_rank, nope, rope, values : Number
        Channels of the latent, of a head's key without and with positions, of a head's value.
    bias : bool
        Of the projections from and to the hidden size, but for direct queries.
    selected : int or None
        Keys that each query attends to, at most; None for all.
    index : IndexSpec or None
        What picks them; None where all are seen, or where the choice of an earlier layer is used again.
    """

    heads: Number
    q_rank: Number
    kv_rank: Number
    nope: Number
    rope: Number
    values: Number
    bias: bool = False
    selected: int | None = None
    index: IndexSpec | None = None

    @property
    def kv_heads(self) -> Number:
        """Keys and values differ for each head once expanded."""
        return self.heads

    @property
    def head_dim(self) -> Number:
        """Channels of a query or expanded key head."""
        return self.nope + self.rope

    def operators(self, step: Step) -> Iterator[Operator]:
        """Queries, latents, rotary, expansion or absorption, index, attention, output."""
        hidden, rows = step.arch.hidden, step.rows
        yield from self._queries(step)
        latent = self.kv_rank + self.rope
        yield step.linear("kv_a", {"kv_a": latent}, hidden, bias=self.bias, split="whole")
        norm = tuple(step.vectors("kv_a_norm", self.kv_rank))
        yield step.pointwise("kv_a_norm", rows * self.kv_rank, rows * self.kv_rank, NORM_FLOPS["rms"], norm)
        turned = rows * (self.heads + 1) * self.rope
        yield step.pointwise("rotary", turned, turned, ROTARY_FLOPS, split=True)
        m = rows if step.absorb else step.batch * step.kv_len
        yield step.linear("kv_b", {"kv_b": self.heads * (self.nope + self.values)}, self.kv_rank, m=m)
        if self.index is not None:
            yield from self.index.operators(step, self.q_rank, self.rope)
        yield self._attention(step)
        yield step.linear("o", {"o": hidden}, self.heads * self.values, bias=self.bias, split="in")

    def caches(self, step: Step) -> Iterator[Cache]:
        """The latents and the part of the key with positions, one row a token for all heads; then keys of the index."""
        width = self.kv_rank + self.rope
        yield Cache(step.layers, step.batch, step.kv_len, 1, width, step.kv_dtype, value_dim=0, kind="latent")
        if self.index is not None:
            yield from self.index.caches(step)

    def _queries(self, step: Step) -> Iterator[Operator]:
        wide = self.heads * self.head_dim
        if not self.q_rank:
            yield step.linear("q", {"q": wide}, step.arch.hidden)
            return
        yield step.linear("q_a", {"q_a": self.q_rank}, step.arch.hidden, bias=self.bias, split="whole")
        norm, elements = tuple(step.vectors("q_a_norm", self.q_rank)), step.rows * self.q_rank
        yield step.pointwise("q_a_norm", elements, elements, NORM_FLOPS["rms"], norm)
        yield step.linear("q_b", {"q_b": wide}, self.q_rank)

    def _attention(self, step: Step) -> Attention:
        kv_heads, head_dim, values = (
            (1, self.kv_rank + self.rope, self.kv_rank) if step.absorb else (self.heads, self.head_dim, self.values)
        )
        return Attention(
            "attention" + step.suffix, step.layers, (), step.batch, step.tokens, step.kv_len, self.heads, kv_heads,
            head_dim, None, step.arch.dtype, step.kv_dtype, values, selected=self.selected, latent=step.absorb,
            latents=LatentShape(self.kv_rank, self.rope, self.nope, self.values),
        )  # fmt: skip
