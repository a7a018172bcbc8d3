"""Latent attention: what is measured of its kernels once for a chip."""

from __future__ import annotations

from dataclasses import dataclass

from dovetail.core.content import ByContent
from dovetail.core.formats import Number


@dataclass(frozen=True, slots=True, eq=False)
class LatentConstants(ByContent):
    """Multi-head latent attention: expanded in long prefills, absorbed in short ones and in decode (`cost.latent`).

    The products that expand latents or absorb queries are not among it: those are priced as products.

    Parameters
    ----------
    expanded : float
        Share of the peak that full tiles of attention over expanded keys reach, softmax included, 0.3 to 1.
    absorbed : float
        The same over the latents themselves, 0.2 to 1.
    memory : float
        Share of the bandwidth at which the cache is read, 0.2 to 1.
    pointwise : float
        Share of the bandwidth at which copies, concatenations and paddings move, 0.1 to 1.
    overlap : float
        How much of the shorter of compute and memory hides behind the longer, 0 to 1.
    tile_s : float
        What one tile of queries costs a core beyond its arithmetic, 0.1 to 10 us.
    tail : float
        Share of the longest tile for which the other cores wait at the end, 0 to 1.
    store_s : float
        What one new token costs a core beyond its heads, 0.05 to 5 us: a block of threads that stores it in the cache,
        and the module's passes over its stream that a graph has no operators for.
    expanded_gaps_s, absorbed_gaps_s : float
        Time of the gaps between the kernels of a call that expands, or absorbs, 1 to 200 us.
    short_tokens : int
        Prefills of up to this many new tokens a sequence are absorbed too: 512 with vLLM's FlashAttention, 128 with its
        FlashMLA; 0 for a kernel of one query.
    head_block : int
        Heads that share one read of the cache: all of a chip's with FlashAttention, 16 in vLLM's Triton kernel.
    head_rows : int
        Queries of all heads are padded to a multiple of these rows of a tile where they are absorbed.
    splits : int
        Parts of a sequence that different cores attend to in decode; 0 for as many as there are free cores.
    padded_values : bool
        Values are padded to the width of the keys in prefill (FlashAttention 2).
    spread : float
        A measured call lies within a factor 1 + spread of the model in nine cases of ten.
    """

    expanded: Number = 0.7
    absorbed: Number = 0.7
    memory: Number = 0.9
    pointwise: Number = 0.5
    overlap: Number = 0.9
    tile_s: Number = 1e-6
    tail: Number = 0.5
    store_s: Number = 0.6e-6
    expanded_gaps_s: Number = 50e-6
    absorbed_gaps_s: Number = 40e-6
    short_tokens: int = 0
    head_block: int = 128
    head_rows: int = 64
    splits: int = 0
    padded_values: bool = False
    spread: float = 0.3
