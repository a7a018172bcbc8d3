"""Attention kernels: how they cut a call into tiles, and what is measured of them once for a chip."""

from __future__ import annotations

from dataclasses import dataclass

from dovetail.core.content import ByContent
from dovetail.core.formats import Number


@dataclass(frozen=True, slots=True)
class AttentionKernel:
    """How an attention kernel cuts a call into tiles: facts of its source code, not fitted.

    A tile is some query rows of one KV head and the blocks of keys that they see; a core works on one tile at a time.

    Parameters
    ----------
    rows, narrow_rows : int
        Query rows of a tile; `narrow_rows` at a head dim of 64 or less. Where heads are folded, a row is a token of
        one of the heads that share a KV head.
    granule : int
        Rows are computed in multiples of this, filled or not.
    keys : int
        Keys of a block at a head dim of 128 or less; wider heads have fewer (a block keeps its bytes), at least 64.
    folds_prefill : bool
        Heads that share keys are folded into one tile for many tokens too; for one token they always are.
    splits : int
        Most parts that the keys of a tile are split into to fill the cores; the parts are combined by a second pass.
    splits_prefill, splits_single_heads : bool
        Whether calls of many tokens, and calls whose heads share no keys, are split.
    longest_last : bool
        Tiles are started in the order of their tokens, so the longest of a causal call starts last; otherwise first.
    sequences : int
        Sequences of a batch that the scheduler orders one by one; larger batches take it no longer.
    combine_passes, fold_passes, regroup_passes : float
        Further kernels that a call starts: to combine splits, to fold heads (one token), and to bring the heads of
        several KV heads and several sequences into order for it.
    """

    rows: int
    narrow_rows: int
    granule: int
    keys: int
    folds_prefill: bool
    splits: int
    splits_prefill: bool
    splits_single_heads: bool
    longest_last: bool
    sequences: int
    combine_passes: float
    fold_passes: float = 0.0
    regroup_passes: float = 0.0


# Dao, "FlashAttention-2", ICLR 2024, as engines run it over paged caches: its split-KV kernel, 64 x 128 tiles.
FLASH_2 = AttentionKernel(
    rows=64, narrow_rows=64, granule=64, keys=128, folds_prefill=False, splits=128, splits_prefill=False,
    splits_single_heads=False, longest_last=True, sequences=0, combine_passes=2, fold_passes=0.5, regroup_passes=2,
)  # fmt: skip
# Shah et al., "FlashAttention-3", NeurIPS 2024: two or three warp groups of 64 rows, heads folded, longest tiles first.
FLASH_3 = AttentionKernel(
    rows=128, narrow_rows=192, granule=64, keys=128, folds_prefill=True, splits=32, splits_prefill=True,
    splits_single_heads=True, longest_last=False, sequences=512, combine_passes=1,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class AttentionConstants(ByContent):
    """What is measured once for a chip, a dtype and a stack's attention kernel.

    Parameters
    ----------
    launch_s : Number
        Seconds from one call to the next beyond the kernel's own work (1e-6 to 1e-5).
    pass_s : Number
        Seconds of each further kernel that a call starts (5e-7 to 1e-5).
    tile_s : Number
        Seconds that a tile takes beyond its blocks: scheduling, first loads, the last store (3e-7 to 6e-6).
    pipeline_s : Number
        Seconds to fill the pipeline of loads and products, in tiles of more than one block (0 to 3e-6).
    sequence_s : Number
        Seconds that the scheduler spends on each sequence of a batch (0 to 3e-8).
    compute : Number
        Share of a core's matrix peak that the products of a block reach (0.3 to 1).
    score_clocks : Number
        Core clocks for the softmax of one score that products do not hide (0 to 1/8; an exponential takes 1/16 in
        the special-function units of NVIDIA's cores).
    core_bandwidth : Number
        Bytes/s that one core draws from main memory by itself: what it has in flight over the latency (1e10 to 2e11).
    memory : Number
        Share of the main memory's bandwidth that streaming reaches (0.5 to 1).
    resident : Number
        Share of the cache that keeps keys and values from one call to the next (0 to 1).
    append : Number
        Share of the main memory's bandwidth that scattered writes into a paged cache reach (0.1 to 1).
    append_token_s : Number
        Seconds to place one token's keys and values (0 to 5e-9).
    spread : float
        A measured call lies within a factor 1 + spread of the model in nine cases of ten.
    """

    launch_s: Number
    pass_s: Number
    tile_s: Number
    pipeline_s: Number
    sequence_s: Number
    compute: Number
    score_clocks: Number
    core_bandwidth: Number
    memory: Number
    resident: Number
    append: Number
    append_token_s: Number
    spread: float = 0.3
