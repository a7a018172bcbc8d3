"""What picks blocks of keys for grouped attention (MiniMax-M3, 2026): small heads score each key, blocks compete.

Each KV head has a head of the index and attends to its own choice. Roles: ``index_q, index_k, index_q_norm,
index_k_norm``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dovetail.core.content import ByContent
from dovetail.core.formats import Number
from dovetail.model.graph import Attention, Cache, Operator
from dovetail.model.step import NORM_FLOPS, ROTARY_FLOPS, Step


@dataclass(frozen=True, slots=True, eq=False)
class BlockIndexSpec(ByContent):
    """The index of one layer.

    Parameters
    ----------
    heads, head_dim : Number
        Of the index; its one key of `head_dim` channels a token is cached beside keys and values.
    rotary : float
        Share of the channels that turn with the position.
    block, blocks : int
        Keys of a block, and blocks that a query attends to: the best ones and those just before it, together.
    """

    heads: Number
    head_dim: Number
    rotary: float
    block: int
    blocks: int

    @property
    def selected(self) -> int:
        """Keys that a query attends to, at most: kernels run over whole blocks."""
        return self.block * self.blocks

    def operators(self, step: Step) -> Iterator[Operator]:
        """Queries and keys from the stream, their norms, rotary, scores, the best of each block."""
        wide = self.heads * self.head_dim
        yield step.linear("index_q", {"index_q": wide}, step.arch.hidden, split="whole")
        yield step.linear("index_k", {"index_k": self.head_dim}, step.arch.hidden, split="whole")
        made = step.rows * (wide + self.head_dim)
        norms = tuple(v for role in ("index_q_norm", "index_k_norm") for v in step.vectors(role, self.head_dim))
        yield step.pointwise("index_norm", made, made, NORM_FLOPS[step.arch.norm], norms)
        yield step.pointwise("index_rotary", made * self.rotary, made * self.rotary, ROTARY_FLOPS)
        yield Attention(
            "index_scores" + step.suffix, step.layers, (), step.batch, step.tokens, step.kv_len, self.heads, 1,
            self.head_dim, None, step.arch.dtype, step.kv_dtype, 0, latent=True, whole=True,
        )  # fmt: skip

    def caches(self, step: Step) -> Iterator[Cache]:
        """One key a token."""
        width = self.head_dim
        yield Cache(step.layers, step.batch, step.kv_len, 1, width, step.kv_dtype, value_dim=0, kind="index")
