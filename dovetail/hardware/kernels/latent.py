"""Latent attention: what is measured of its kernels once for a chip."""

from __future__ import annotations

from dataclasses import dataclass

from dovetail.core.content import ByContent
from dovetail.core.formats import Number


@dataclass(frozen=True, slots=True, eq=False)
class LatentConstants(ByContent):
    """Multi-head latent attention: expanded in prefill, absorbed in decode (`cost.latent`).

    Parameters
    ----------
    compute : float
        Share of the peak that full tiles of attention reach, softmax included, 0.3 to 1.
    project : float
        Share of the peak of the products that expand latents or absorb queries, 0.3 to 1.
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
        What storing one new token in the cache costs a core, 0.05 to 5 us: a block of threads for each.
    short_bytes : float
        Bytes per query and head that short prefills move in addition, 0 to 10,000. Up to `short_tokens` new tokens a
        sequence, FlashAttention 3 on Hopper takes about twice as long per token as beyond; measured, the cause is not
        documented.
    kernels_s : float
        Time of the gaps between the call's kernels, 1 to 200 us.
    prefill_floor_s, decode_floor_s : float
        Time the host takes to launch the call, in which a short one hides entirely, 10 to 500 us.
    short_tokens : int
        See `short_bytes`; 0 for a kernel without.
    head_block : int
        Heads that share one read of the cache: all of a chip's with FlashAttention, 16 in vLLM's Triton kernel.
    head_rows : int
        Heads are padded to a multiple of these rows of a tile in decode.
    splits : int
        Parts of a sequence that different cores attend to in decode; 0 for as many as there are free cores.
    padded_values : bool
        Values are padded to the width of the keys in prefill (FlashAttention 2).
    """

    compute: Number = 0.75
    project: Number = 0.6
    memory: Number = 0.9
    pointwise: Number = 0.5
    overlap: Number = 0.9
    tile_s: Number = 1e-6
    tail: Number = 0.5
    store_s: Number = 0.6e-6
    short_bytes: Number = 3000.0
    kernels_s: Number = 50e-6
    prefill_floor_s: Number = 160e-6
    decode_floor_s: Number = 160e-6
    short_tokens: int = 0
    head_block: int = 128
    head_rows: int = 64
    splits: int = 0
    padded_values: bool = False
