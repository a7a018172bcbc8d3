"""Block-sparse attention (MiniMax-M3): an index scores all keys, and each query attends to the best blocks of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dovetail.core.content import ByContent
from dovetail.core.formats import Number
from dovetail.model.blocks.attention import AttentionSpec
from dovetail.model.graph import Cache
from dovetail.model.operators import Attention, Operator
from dovetail.model.step import NORM_FLOPS, ROTARY_FLOPS, Step


@dataclass(frozen=True, slots=True, eq=False)
class BlockSparseAttentionSpec(ByContent):
    """Grouped-query attention whose keys are picked by blocks, for each group of heads by a head of the index.

    A block's score is the largest of its keys'; the query's own block is always among those picked. The index has one
    key a token for all its heads, and no values. Chips of a group each run the whole index. Roles: ``index_q, index_k,
    index_q_norm, index_k_norm``.

    Parameters
    ----------
    attention : AttentionSpec
        Heads, projections and norms.
    index_heads, index_dim : Number
        Heads of the index and channels of each.
    block : int
        Keys of one block.
    picked : int
        Blocks that a query attends to, at most.
    """

    attention: AttentionSpec
    index_heads: Number
    index_dim: Number
    block: int
    picked: int

    @property
    def heads(self) -> Number:
        """Query heads."""
        return self.attention.heads

    @property
    def kv_heads(self) -> Number:
        """KV heads."""
        return self.attention.kv_heads

    @property
    def head_dim(self) -> Number:
        """Channels of a head."""
        return self.attention.head_dim

    def operators(self, step: Step) -> Iterator[Operator]:
        """Those of the attention, which the index comes before and whose keys are fewer."""
        for operator in self.attention.operators(step):
            if isinstance(operator, Attention):
                yield from self._index(step)
                yield replace(operator, selected=self.picked * self.block, block=self.block)
            else:
                yield operator

    def caches(self, step: Step) -> Iterator[Cache]:
        """Keys and values of all tokens, and their keys of the index."""
        yield from self.attention.caches(step)
        yield Cache(step.layers, step.batch, step.kv_len, 1, self.index_dim, step.kv_dtype, value_dim=0, kind="index")

    def _index(self, step: Step) -> Iterator[Operator]:
        hidden, wide = step.arch.hidden, self.index_heads * self.index_dim
        yield step.linear("index_q", {"index_q": wide}, hidden, split="whole")
        yield step.linear("index_k", {"index_k": self.index_dim}, hidden, split="whole")
        norms = tuple(w for role in ("index_q_norm", "index_k_norm") for w in step.vectors(role, self.index_dim))
        elements = step.rows * (wide + self.index_dim)
        yield step.pointwise("index_norm", elements, elements, NORM_FLOPS["rms"], norms)
        turned = elements * self.attention.rotary
        yield step.pointwise("index_rotary", turned, turned, ROTARY_FLOPS)
        yield Attention(
            "index_scores" + step.suffix, step.layers, (), step.batch, step.tokens, step.kv_len, self.index_heads, 1,
            self.index_dim, None, step.arch.dtype, step.kv_dtype, 0, latent=True, whole=True,
        )  # fmt: skip
